// Only hiredis' reader is used; the bytes travel on SwiftNIO channels.
#include <hiredis/read.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#ifndef SYNCD_CHIREDIS_SHIM_H
#define SYNCD_CHIREDIS_SHIM_H

// A reply is stored as one list and one text, not as a tree with separate memory for every value, text and array.
// hiredis calls the functions below in the order in which a reply is written: an array's header, then its elements.

// Maximum number of elements in one reply, those of nested arrays included. syncd's greatest request has 512 entries of
// 5 elements. hiredis itself would reserve memory for as many as a header announces: 16 GB for `*2147483647`.
#define SYNCD_MAX_ELEMENTS 65536

// Maximum memory that is kept from one reply to the next, in bytes.
#define SYNCD_KEPT_BYTES 65536

// The type differs between hiredis 0.14 and 1.x.
#if HIREDIS_MAJOR >= 1
typedef size_t syncd_element_count;
#else
typedef int syncd_element_count;
#endif

typedef struct {
    int type;          // REDIS_REPLY_…
    long long number;  // An integer, or how many elements an array has, or how many bytes a text.
} syncd_value;

typedef struct {
    syncd_value *values;
    size_t count, capacity;
    char *text;  // The texts of all values, one after the other.
    size_t bytes, text_capacity;
    size_t announced;  // Elements that the headers so far have announced.
} syncd_reply;

static inline void *syncd_add(syncd_reply *reply, int type, long long number) {
    if (reply->count == reply->capacity) {
        size_t capacity = reply->capacity == 0 ? 64 : reply->capacity * 2;
        syncd_value *values = (syncd_value *)realloc(reply->values, capacity * sizeof(syncd_value));
        if (values == NULL) return NULL;
        reply->values = values;
        reply->capacity = capacity;
    }
    reply->values[reply->count] = (syncd_value){type, number};
    reply->count += 1;
    // hiredis expects a value other than NULL.
    return reply;
}

static inline void *syncd_create_string(const redisReadTask *task, char *text, size_t length) {
    syncd_reply *reply = (syncd_reply *)task->privdata;
    if (length > reply->text_capacity - reply->bytes) {
        size_t capacity = reply->text_capacity == 0 ? 1024 : reply->text_capacity;
        while (capacity - reply->bytes < length) capacity *= 2;
        char *grown = (char *)realloc(reply->text, capacity);
        if (grown == NULL) return NULL;
        reply->text = grown;
        reply->text_capacity = capacity;
    }
    if (length > 0) memcpy(reply->text + reply->bytes, text, length);
    reply->bytes += length;
    return syncd_add(reply, task->type, (long long)length);
}

static inline void *syncd_create_array(const redisReadTask *task, syncd_element_count elements) {
    syncd_reply *reply = (syncd_reply *)task->privdata;
    if ((size_t)elements > SYNCD_MAX_ELEMENTS - reply->announced) return NULL;
    reply->announced += (size_t)elements;
    return syncd_add(reply, REDIS_REPLY_ARRAY, (long long)elements);
}

static inline void *syncd_create_integer(const redisReadTask *task, long long number) {
    return syncd_add((syncd_reply *)task->privdata, REDIS_REPLY_INTEGER, number);
}

static inline void *syncd_create_nil(const redisReadTask *task) {
    return syncd_add((syncd_reply *)task->privdata, REDIS_REPLY_NIL, 0);
}

// syncd requests no types of RESP3; where hiredis reads one, it becomes null.
#if HIREDIS_MAJOR >= 1
static inline void *syncd_create_double(const redisReadTask *task, double number, char *text, size_t length) {
    return syncd_create_nil(task);
}

static inline void *syncd_create_bool(const redisReadTask *task, int flag) { return syncd_create_nil(task); }
#endif

static inline void syncd_free_object(void *object) {}

// Makes room for the next reply.
static inline void syncd_reply_clear(syncd_reply *reply) {
    reply->count = 0;
    reply->bytes = 0;
    reply->announced = 0;
    if (reply->capacity * sizeof(syncd_value) > SYNCD_KEPT_BYTES) {
        free(reply->values);
        reply->values = NULL;
        reply->capacity = 0;
    }
    if (reply->text_capacity > SYNCD_KEPT_BYTES) {
        free(reply->text);
        reply->text = NULL;
        reply->text_capacity = 0;
    }
}

static inline void syncd_reply_free(syncd_reply *reply) {
    free(reply->values);
    free(reply->text);
    free(reply);
}

// A reader whose replies are `reply`, which has to live as long as it. NULL: out of memory.
static inline redisReader *syncd_reader_create(syncd_reply *reply) {
    // hiredis only reads the table.
    static redisReplyObjectFunctions functions = {
        .createString = syncd_create_string,
        .createArray = syncd_create_array,
        .createInteger = syncd_create_integer,
        .createNil = syncd_create_nil,
#if HIREDIS_MAJOR >= 1
        .createDouble = syncd_create_double,
        .createBool = syncd_create_bool,
#endif
        .freeObject = syncd_free_object,
    };
    redisReader *reader = redisReaderCreateWithFunctions(&functions);
    if (reader != NULL) reader->privdata = reply;
    return reader;
}

static inline syncd_reply *syncd_reply_create(void) { return (syncd_reply *)calloc(1, sizeof(syncd_reply)); }

#endif
