#ifndef SYNCD_LEAST_H
#define SYNCD_LEAST_H

#include <stddef.h>
#include <stdint.h>

// The least process that can stand between a client and Redis: one epoll loop. A frame from a client becomes the command
// `append`, already encoded. The position in the script's reply is stored in `number`, and is the answer to the client.
// With a channel, positions of the messages that arrive are stored as well.
//
// It listens on `socket` when everything else is ready. Returns an error text, and nothing if there is no error.
const char *least_run(
    const char *socket, const char *redis, const char *channel, const char *append, size_t length, uint64_t *number);

// Stores a position.
static inline void least_store(uint64_t *number, uint64_t position) {
    __atomic_store_n(number, position, __ATOMIC_RELEASE);
}

// Reads what was stored.
static inline uint64_t least_number(const uint64_t *number) { return __atomic_load_n(number, __ATOMIC_ACQUIRE); }

#endif
