/* Sets the time of the programs that load this library: it adds the seconds in /clock/seconds.

   The monotonic clock stays as it is, as when somebody sets the time of the machine. The system
   calls are made directly, because the malloc of Redis needs the time before symbols can be found.
*/

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long seconds(void) {
    static volatile long *shared;
    if (!shared) {
        int file = open("/clock/seconds", O_RDONLY);
        shared = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
        close(file);
    }
    /* It compares the times of files, which are those of the kernel. */
    if (!strcmp(program_invocation_short_name, "find"))
        return 0;
    return *shared;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += seconds();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *stored) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (stored)
        *stored = exact.tv_sec;
    return exact.tv_sec;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    struct timespec real = {until->tv_sec - seconds(), until->tv_nsec};
    return sem_clockwait(semaphore, CLOCK_REALTIME, &real);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    struct timespec real = {until->tv_sec - seconds(), until->tv_nsec};
    return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &real);
}
