/* Loaded into the agent: calls on a spool's segments fail as the file $FAULTS says, a line each: CALL ERRNO, such as
 * "writev 5". An empty file means that all is well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int fault(const char *call, int fd) {
    char name[64], path[4096], wanted[64];
    int error = 0, number;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    const char *faults = getenv("FAULTS");
    if (length < 0 || !faults)
        return 0;
    path[length] = 0;
    if (!strstr(path, ".spool"))
        return 0;
    FILE *file = fopen(faults, "r");
    if (!file)
        return 0;
    while (fscanf(file, "%63s %d", wanted, &number) == 2)
        if (!strcmp(wanted, call))
            error = number;
    fclose(file);
    return error;
}

#define FAIL(call, fd) \
    do { \
        int error = fault(call, fd); \
        if (error) { \
            errno = error; \
            return -1; \
        } \
    } while (0)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    FAIL("writev", fd);
    ssize_t (*next)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    return next(fd, parts, count);
}

int fdatasync(int fd) {
    FAIL("fdatasync", fd);
    int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");
    return next(fd);
}

int ftruncate64(int fd, off64_t length) {
    FAIL("ftruncate", fd);
    int (*next)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    return next(fd, length);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    FAIL("pread", fd);
    /* Only the second page. */
    if (at < 8192 && at + (off64_t)count > 4096) {
        if (at >= 4096)
            FAIL("pread-page", fd);
        else if (fault("pread-page", fd))
            count = 4096 - at;
    }
    ssize_t (*next)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
    return next(fd, bytes, count, at);
}
