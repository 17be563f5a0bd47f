#include "base/clock.h"

#include <time.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * MR_NS_PER_S + t.tv_nsec;
}

static int64_t system_monotonic_ns(void *self)
{
    (void)self;
    return read_ns(CLOCK_MONOTONIC);
}

static int64_t system_wall_ms(void *self)
{
    (void)self;
    return read_ns(CLOCK_REALTIME) / MR_NS_PER_MS;
}

static int64_t manual_monotonic_ns(void *self) { return ((struct mr_manual_clock *)self)->monotonic_ns; }
static int64_t manual_wall_ms(void *self) { return ((struct mr_manual_clock *)self)->wall_ms; }

struct mr_clock mr_clock_system(void) { return (struct mr_clock){system_monotonic_ns, system_wall_ms, 0}; }

struct mr_clock mr_clock_manual(struct mr_manual_clock *manual)
{
    return (struct mr_clock){manual_monotonic_ns, manual_wall_ms, manual};
}
