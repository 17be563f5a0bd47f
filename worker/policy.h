/* The orders that jobs can run in (option scheduler.policy): the product's own, and the peers' to compare with. The same scheduler
 * with parts of it off, as the simulator's policies are. */
#ifndef MR_WORKER_POLICY_H
#define MR_WORKER_POLICY_H

#include "scheduler/scheduler.h"

extern const char *const mr_policy_names[]; /* NULL at the end; the first is the default */

/* Sets config->off by the name's index. */
void mr_policy_apply(int64_t policy, struct mr_sched_config *config);

#endif
