/* Swap or recompute (scheduling.md 3.8): is the KV of a preempted sequence better read back from the host than computed again?
 * Pure arithmetic in picoseconds; who asks is whoever owns a host tier.
 *
 * Swap if kappa x L x kvB / B + t_fix < max(0, L_unc x b x [n > n_k]) + d L^2 / 2; kappa is 1 when the blocks are on the host
 * already (written through), 2 when they must be written first. Under the knee n_k tokens are free: a step that waits for the
 * weights anyway recomputes at no cost but attention's. */
#ifndef MR_SCHEDULER_SWAP_H
#define MR_SCHEDULER_SWAP_H

#include "scheduler/scheduler.h"

#define MR_SWAP_FIXED_PS INT64_C(300000000) /* launch, event and the pages' bookkeeping: what 3.8's break-evens imply */

struct mr_swap_link {
    int64_t bytes_per_s; /* host to device, measured */
    int64_t token_bytes; /* KV of one token, all layers */
    int64_t fixed_ps;    /* a transfer of any size; 0: MR_SWAP_FIXED_PS */
};

struct mr_swap_ask {
    int32_t tokens;      /* L: computed positions that would be lost */
    int32_t uncached;    /* of these, what no prefix in the pool gives back: at most tokens */
    int32_t step_tokens; /* n of the step that would recompute them */
    bool checkpointed;   /* on the host already */
    bool host_full;
};

bool mr_swap_pays(const struct mr_sched_cost *cost, const struct mr_swap_link *link, const struct mr_swap_ask *ask);
/* L*: the least number of tokens for which a swap pays by the linear terms, above the knee; INT64_MAX: none. */
int64_t mr_swap_break_even(const struct mr_sched_cost *cost, const struct mr_swap_link *link, bool checkpointed);
/* n_k: tokens of a step at which computing takes as long as reading the weights. */
int64_t mr_swap_knee(const struct mr_sched_cost *cost);

#endif
