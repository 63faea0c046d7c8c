/*
 * A wall clock that can be stepped, for one process and those it starts: preloaded, it answers instead of the C library
 * whoever asks for the time, and adds what the file named by TRIAL_CLOCK holds: milliseconds, 64 bits, as the machine has
 * them. The monotonic clock is left alone, and so is every timer.
 *
 * It takes no lock, allocates nothing and calls nothing but the kernel, so that it may be asked in a signal handler, which
 * PostgreSQL does.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define MILLISECOND 1000000LL

/* NULL until the file is mapped: the time is right before that. */
static const volatile int64_t *step;

__attribute__((constructor)) static void follow(void)
{
    const char *path = getenv("TRIAL_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *step, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) {
        perror("the clock of the trial (TRIAL_CLOCK)");
        _exit(127);
    }
    close(file);
    step = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (syscall(SYS_clock_gettime, clock, now) != 0)
        return -1;
    if ((clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) || step == NULL)
        return 0;
    int64_t milliseconds = *step;
    int64_t nanoseconds = now->tv_nsec + milliseconds % 1000 * MILLISECOND;
    now->tv_sec += milliseconds / 1000;
    if (nanoseconds >= SECOND) {
        nanoseconds -= SECOND;
        now->tv_sec += 1;
    } else if (nanoseconds < 0) {
        nanoseconds += SECOND;
        now->tv_sec -= 1;
    }
    now->tv_nsec = nanoseconds;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now != NULL)
        *now = precise.tv_sec;
    return precise.tv_sec;
}
