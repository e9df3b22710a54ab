#include "least.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
    int descriptor;
    redisReader *reader;
};

static int listening(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) return -1;
    strcpy(address.sun_path, path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&address, sizeof(address)) != 0) return -1;
    return listen(descriptor, 16) == 0 ? descriptor : -1;
}

static int watch(int poll, int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    return epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event);
}

static void store(uint64_t *number, const char *text) { least_store(number, strtoull(text, NULL, 10)); }

// Reads once. Returns whether the client is still there.
static int client_sent(struct client *client, redisContext *commands, const char *append, size_t length) {
    char bytes[4096];
    ssize_t count = read(client->descriptor, bytes, sizeof(bytes));
    if (count <= 0) return 0;
    redisReaderFeed(client->reader, bytes, (size_t)count);
    void *request = NULL;
    while (redisReaderGetReply(client->reader, &request) == REDIS_OK && request != NULL) {
        freeReplyObject(request);
        redisAppendFormattedCommand(commands, append, length);
    }
    int done = 0;
    return redisBufferWrite(commands, &done) == REDIS_OK;
}

static const char *appended(redisContext *commands, int client, uint64_t *number) {
    if (redisBufferRead(commands) != REDIS_OK) return "Redis closed the connection";
    redisReply *reply = NULL;
    while (redisGetReplyFromReader(commands, (void **)&reply) == REDIS_OK && reply != NULL) {
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) return "the script appends nothing";
        const char *position = reply->element[2]->str;
        store(number, position);
        char answer[32];
        int length = snprintf(answer, sizeof(answer), ":%s\r\n", position);
        freeReplyObject(reply);
        if (write(client, answer, (size_t)length) != length) return "the client takes nothing";
    }
    return NULL;
}

static const char *published(redisContext *subscription, uint64_t *number) {
    if (redisBufferRead(subscription) != REDIS_OK) return "Redis closed the subscription";
    redisReply *message = NULL;
    while (redisGetReplyFromReader(subscription, (void **)&message) == REDIS_OK && message != NULL) {
        // The payload is the incarnation, the position and the body.
        const char *position = message->elements == 3 ? strchr(message->element[2]->str, ' ') : NULL;
        if (position == NULL) return "a message without a position";
        store(number, position);
        freeReplyObject(message);
    }
    return NULL;
}

const char *least_run(
    const char *socket, const char *redis, const char *channel, const char *append, size_t length, uint64_t *number) {
    int poll = epoll_create1(0);
    redisContext *commands = redisConnectUnix(redis), *subscription = NULL;
    if (poll < 0 || commands == NULL || commands->err) return "no connection to Redis";
    watch(poll, commands->fd);
    if (channel != NULL) {
        subscription = redisConnectUnix(redis);
        redisReply *confirmation = subscription ? redisCommand(subscription, "SUBSCRIBE %s", channel) : NULL;
        if (confirmation == NULL) return "no subscription";
        freeReplyObject(confirmation);
        watch(poll, subscription->fd);
    }
    int listener = listening(socket);
    if (listener < 0 || watch(poll, listener) != 0) return "the socket cannot be used";
    // One client at a time: the last one that has connected.
    struct client client = {.descriptor = -1};
    while (1) {
        struct epoll_event events[8];
        int count = epoll_wait(poll, events, 8, -1);
        for (int index = 0; index < count; index++) {
            int ready = events[index].data.fd;
            const char *error = NULL;
            if (ready == listener) {
                client = (struct client){accept(listener, NULL, NULL), redisReaderCreate()};
                watch(poll, client.descriptor);
            } else if (ready == commands->fd) {
                error = appended(commands, client.descriptor, number);
            } else if (subscription != NULL && ready == subscription->fd) {
                error = published(subscription, number);
            } else if (ready != client.descriptor || !client_sent(&client, commands, append, length)) {
                close(ready);
            }
            if (error != NULL) return error;
        }
    }
}
