// Only hiredis' reader and formatter are used; the bytes travel on SwiftNIO channels.
#include <hiredis/read.h>
#include <hiredis/hiredis.h>

#ifndef SYNCD_CHIREDIS_SHIM_H
#define SYNCD_CHIREDIS_SHIM_H

// hiredis reserves memory for as many elements as an array's header announces: 16 GB for `*2147483647`. These
// wrap its own function with a limit. Its type differs between hiredis 0.14 and 1.x.
#if HIREDIS_MAJOR >= 1
typedef size_t syncd_element_count;
#else
typedef int syncd_element_count;
#endif

// In one reply, those of nested arrays included. The greatest that syncd asks for has 512 entries of 5 elements.
#define SYNCD_MAX_ELEMENTS 65536

// hiredis' own functions, and the same with the limit. Set once, to the same values, by every reader.
typedef struct {
    redisReplyObjectFunctions original;
    redisReplyObjectFunctions limited;
} syncd_functions;

static inline syncd_functions *syncd_shared_functions(void) {
    static syncd_functions functions;
    return &functions;
}

// `privdata` of a reader: the elements that the present reply has announced.
static inline void *syncd_create_array(const redisReadTask *task, syncd_element_count elements) {
    size_t *announced = task->privdata;
    if ((size_t)elements > SYNCD_MAX_ELEMENTS - *announced) return NULL;
    *announced += (size_t)elements;
    return syncd_shared_functions()->original.createArray(task, elements);
}

// A reader that refuses replies of more than SYNCD_MAX_ELEMENTS elements; `announced` counts them, and is to be set to
// 0 after each reply. It has to live as long as the reader. NULL: out of memory.
static inline redisReader *syncd_reader_create(size_t *announced) {
    redisReader *reader = redisReaderCreate();
    if (reader == NULL) return NULL;
    syncd_functions *functions = syncd_shared_functions();
    functions->original = *reader->fn;
    functions->limited = *reader->fn;
    functions->limited.createArray = syncd_create_array;
    reader->fn = &functions->limited;
    reader->privdata = announced;
    *announced = 0;
    return reader;
}

#endif
