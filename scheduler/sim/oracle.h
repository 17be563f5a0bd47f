/* The invariants and bounds of scheduling.md section 4, re-derived from outside: from plans, from the public statistics and
 * from what the simulator itself knows, never from the scheduler's state. The first one broken is kept as a sentence. */
#ifndef MR_SCHEDULER_SIM_ORACLE_H
#define MR_SCHEDULER_SIM_ORACLE_H

#include "scheduler/sim/loads.h"
#include "scheduler/sim/sim.h"

struct sim_oracle;

/* What an oracle is shown: one worker's scheduler and the jobs. */
struct sim_view {
    const struct sim_scenario *scenario;
    const struct sim_loads *loads;
    struct mr_sched *sched;
    int32_t worker;
    const int32_t *live;  /* [n_live] jobs on the worker */
    int32_t n_live;
    int64_t now_ns;
};

struct sim_oracle *sim_oracle_open(const struct sim_scenario *scenario, char violation[256]); /* NULL: no memory */
void sim_oracle_close(struct sim_oracle *oracle);
void sim_oracle_before_plan(struct sim_oracle *oracle, const struct sim_view *view);
void sim_oracle_after_plan(struct sim_oracle *oracle, const struct sim_view *view, const struct mr_sched_plan *plan);
void sim_oracle_after_commit(struct sim_oracle *oracle, const struct sim_view *view, const struct mr_sched_plan *plan);
/* When everything has ended. */
void sim_oracle_end(struct sim_oracle *oracle, const struct sim_view *view);

#endif
