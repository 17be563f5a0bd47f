/* Where jobs come from: the loads of a scenario as one stream in order of time, and jobs on demand for the loads that keep a
 * backlog. */
#ifndef MR_SCHEDULER_SIM_LOADS_H
#define MR_SCHEDULER_SIM_LOADS_H

#include "scheduler/sim/sim.h"
#include "scheduler/sim/trace.h"

struct sim_loads {
    const struct sim_scenario *scenario;
    struct sim_random random[SIM_LOADS_MAX];
    struct sim_trace trace[SIM_LOADS_MAX];
    struct sim_job *jobs;       /* [n] every job ever, in order of creation */
    int32_t n, capacity;
    int32_t *arrivals;          /* [n_arrivals] open jobs in order of time */
    int32_t n_arrivals;
};

enum mr_status sim_loads_open(struct sim_loads *loads, const struct sim_scenario *scenario, const char *trace_folder, struct mr_err *err);
void sim_loads_close(struct sim_loads *loads);
/* A new job of a load that keeps a backlog; -1: no memory. */
int32_t sim_loads_more(struct sim_loads *loads, int32_t load, uint32_t tenant, int64_t now_ns);
bool sim_load_active(const struct sim_load *load, double second);
/* Names of the job's full prompt blocks, allocated into job->names; salted by tenant unless told otherwise. */
bool sim_job_names(const struct sim_loads *loads, struct sim_job *job, int32_t block_tokens, bool salted);

#endif
