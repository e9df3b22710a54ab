#include <zlib.h>

#ifndef SYNCD_CZLIB_SHIM_H
#define SYNCD_CZLIB_SHIM_H

// deflateInit2 is a macro. The window has 15 bits; 16 more select a gzip header instead of one of zlib.
static inline int syncd_gzip_init(z_stream *stream, int level) {
    return deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}

#endif
