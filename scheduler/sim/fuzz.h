/* Random scenarios: tenants, weights, contracts, lengths, cancels, deadlines, faults, small pools. A seed is a scenario; one that
 * fails is made smaller while it still fails. */
#ifndef MR_SCHEDULER_SIM_FUZZ_H
#define MR_SCHEDULER_SIM_FUZZ_H

#include "scheduler/sim/sim.h"

void sim_fuzz_scenario(uint64_t seed, struct sim_scenario *out);
/* Takes away loads, contracts, faults, time, as long as fails(scenario) stays true. */
void sim_fuzz_shrink(struct sim_scenario *scenario, bool (*fails)(const struct sim_scenario *scenario, void *self), void *self);
/* The scenario in the text form of scenario.h. */
struct mr_buf;
void sim_scenario_print(const struct sim_scenario *scenario, struct mr_buf *out);

#endif
