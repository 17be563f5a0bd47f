/* Back-pressure by predicted service, not by messages (scheduling.md 3.9): a tier is to be paused when its waiting jobs hold
 * more than 2 x 5 s of what it gets served, and goes on below half of that, each no sooner than PRESSURE_DWELL_NS after the
 * other. Realtime is never paused here. */
#ifndef MR_SCHEDULER_PRESSURE_H
#define MR_SCHEDULER_PRESSURE_H

#include "scheduler/scheduler.h"

#define PRESSURE_DWELL_NS INT64_C(250000000)
enum { PRESSURE_HIGH_S = 10 };
#define PRESSURE_LEAST (INT64_C(65536) * MR_SCHED_SERVICE_UNIT) /* a tier whose rate is not known yet may queue this much */

struct pressure {
    int64_t queued[MR_TIER_COUNT]; /* predicted service of waiting jobs */
    int64_t rate[MR_TIER_COUNT];   /* service units a second, smoothed */
    int64_t window_ns, window[MR_TIER_COUNT];
    int64_t changed_ns[MR_TIER_COUNT];
    bool paused[MR_TIER_COUNT];
};

void pressure_measure(struct pressure *pressure, const int64_t service[MR_SCHED_CLASSES], int64_t elapsed_ns);
void pressure_update(struct pressure *pressure, int64_t now_ns);

#endif
