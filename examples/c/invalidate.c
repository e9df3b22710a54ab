// Tells syncd of a change: invalidate TAG…
//
// For programs that change the database without a cache. Prints the position in the log, or DEFERRED while this host is
// cut off from it. If syncd does not answer, the tags are left in the journal, where syncd finds them, and the program
// ends when no cache on this host that is older is trusted any more: with status 0, the invalidation is done. A tag
// that syncd refuses (empty or too long) is not invalidated: status 1. (A program that may die between its write and
// this call writes the journal before its write: docs/clients.md.)
//
//     cc -o invalidate invalidate.c -lhiredis
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MOST_TAGS = 1024, PATH_BYTES = 256 };
static const struct timeval silence = {.tv_usec = 500000};
static const struct timespec trust_window = {.tv_sec = 1, .tv_nsec = 1000000};

// Sends the request. Returns 1 if syncd has accepted the invalidation, -1 if it refuses, 0 if it does not answer.
static int ask(const char *socket_path, char **tags, int count) {
    const char *words[MOST_TAGS + 2] = {"INVALIDATE", "TAGS"};
    for (int index = 0; index < count; index++) words[index + 2] = tags[index];
    int is_taken = 0;
    redisContext *syncd = redisConnectUnixWithTimeout(socket_path, silence);
    // A stopped syncd accepts connections and never answers.
    if (syncd && !syncd->err && redisSetTimeout(syncd, silence) == REDIS_OK) {
        redisReply *reply = redisCommandArgv(syncd, count + 2, words, NULL);
        if (reply && reply->type == REDIS_REPLY_INTEGER) {
            printf("%lld\n", reply->integer);
            is_taken = 1;
        } else if (reply && reply->type == REDIS_REPLY_STATUS) {
            printf("%s\n", reply->str);
            is_taken = 1;
        } else if (reply && reply->type == REDIS_REPLY_ERROR) {
            fprintf(stderr, "invalidate: %s\n", reply->str);
            is_taken = -1;
        }
        if (reply) freeReplyObject(reply);
    }
    if (syncd) redisFree(syncd);
    return is_taken;
}

// Leaves the tags in the journal: a file that is complete before it has its name. Returns whether this succeeded.
static int leave_in_journal(const char *socket_path, char **tags, int count) {
    unsigned long long owner;
    if (getrandom(&owner, sizeof owner, 0) != sizeof owner) return 0;
    const char *slash = strrchr(socket_path, '/');
    int folder = slash ? (int)(slash - socket_path) + 1 : 0;
    char new_name[PATH_BYTES], name[PATH_BYTES];
    snprintf(new_name, sizeof new_name, "%.*sjournal/.new-%016llx-%d", folder, socket_path, owner, getpid());
    snprintf(name, sizeof name, "%.*sjournal/%016llx-%d-1.pending", folder, socket_path, owner, getpid());

    int descriptor = open(new_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    if (!file) return 0;
    fchmod(descriptor, 0644);
    fprintf(file, "*%d\r\n", count);
    for (int index = 0; index < count; index++) fprintf(file, "$%zu\r\n%s\r\n", strlen(tags[index]), tags[index]);
    int is_written = !ferror(file);
    is_written = fclose(file) == 0 && is_written;
    if (is_written && rename(new_name, name) == 0) return 1;
    unlink(new_name);
    return 0;
}

int main(int argc, char **argv) {
    const char *socket_path = getenv("SYNCD_SOCKET");
    if (!socket_path) socket_path = "/run/syncd/syncd.sock";
    if (argc < 2 || argc > MOST_TAGS + 1) {
        fprintf(stderr, "usage: invalidate TAG… (at most %d)\n", MOST_TAGS);
        return 64;
    }
    int is_taken = ask(socket_path, argv + 1, argc - 1);
    if (is_taken != 0) return is_taken > 0 ? 0 : 1;
    if (!leave_in_journal(socket_path, argv + 1, argc - 1)) {
        perror("invalidate: syncd does not answer, and the journal cannot be written");
        return 1;
    }
    // From here on syncd reads the journal before each heartbeat; after the wait no older heartbeat is trusted.
    nanosleep(&trust_window, NULL);
    printf("OWED\n");
    return 0;
}
