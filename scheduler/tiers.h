/* Floors: what a backlogged tier is owed of the service (scheduling.md 3.4, step 5). A tier's debt grows with everybody's
 * service and falls with its own; past TIER_QUANTUM it goes next, at most TIER_DEFERRAL_NS later when realtime is late. */
#ifndef MR_SCHEDULER_TIERS_H
#define MR_SCHEDULER_TIERS_H

#include "scheduler/scheduler.h"

#define TIER_QUANTUM (INT64_C(16384) * MR_SCHED_SERVICE_UNIT) /* Q_T */
#define TIER_DEFERRAL_NS INT64_C(2000000000)                  /* D */

struct tiers {
    int32_t permille[MR_TIER_COUNT];
    int64_t debt[MR_TIER_COUNT];        /* service units */
    int64_t deferred_ns[MR_TIER_COUNT]; /* since when it was due and put off; 0: not */
};

/* After a step: service of each class in it; a tier that is not backlogged is owed nothing. */
void tiers_account(struct tiers *tiers, const int64_t service[MR_SCHED_CLASSES], const bool backlogged[MR_TIER_COUNT]);
/* Does the tier go next in the step that begins at start? violating: a realtime job is late, which puts it off. */
bool tiers_owed(struct tiers *tiers, int tier, bool violating, int64_t start_ns);

#endif
