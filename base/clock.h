/* Time as a port: the worker never asks the system for it, so that a test can drive it. */
#ifndef MR_BASE_CLOCK_H
#define MR_BASE_CLOCK_H

#include <stdint.h>

#define MR_NS_PER_MS INT64_C(1000000)
#define MR_NS_PER_S INT64_C(1000000000)

/* A source of time. Both calls may come from any thread. */
struct mr_clock {
    int64_t (*monotonic_ns)(void *self); /* never goes back; origin unspecified */
    int64_t (*wall_ms)(void *self);      /* Unix time; may jump: for people and records, never for deadlines */
    void *self;
};

/* A clock that moves only when told. One thread. */
struct mr_manual_clock {
    int64_t monotonic_ns;
    int64_t wall_ms;
};

/* CLOCK_MONOTONIC and CLOCK_REALTIME. */
struct mr_clock mr_clock_system(void);
/* Reads *manual; the caller keeps it alive and advances it. */
struct mr_clock mr_clock_manual(struct mr_manual_clock *manual);

static inline int64_t mr_clock_ns(const struct mr_clock *clock) { return clock->monotonic_ns(clock->self); }
static inline int64_t mr_clock_wall_ms(const struct mr_clock *clock) { return clock->wall_ms(clock->self); }

#endif
