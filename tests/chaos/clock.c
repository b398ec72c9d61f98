/* Preloaded into the agent: its wall clock is so many seconds off as the file $CLOCK_OFFSET says; other clocks are right. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *path = getenv("CLOCK_OFFSET");
    if (clock == CLOCK_REALTIME && path) {
        FILE *file = fopen(path, "re");
        long long seconds;
        if (file && fscanf(file, "%lld", &seconds) == 1)
            now->tv_sec += seconds;
        if (file)
            fclose(file);
    }
    return result;
}
