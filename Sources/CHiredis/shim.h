// Only hiredis' reader and formatter are used; the bytes travel on SwiftNIO channels.
#include <hiredis/read.h>
#include <hiredis/hiredis.h>
