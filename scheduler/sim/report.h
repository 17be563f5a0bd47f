/* A simulation's result for people and scripts: one JSON object, a table of several policies, CSV, an SVG picture. */
#ifndef MR_SCHEDULER_SIM_REPORT_H
#define MR_SCHEDULER_SIM_REPORT_H

#include "base/buf.h"
#include "scheduler/sim/sim.h"

struct sim_run_report {
    const char *scenario, *policy;
    const struct sim_result *result;
};

void sim_report_json(const struct sim_run_report *run, struct mr_buf *out); /* one line, without its end */
void sim_report_table(const struct sim_run_report *runs, int32_t n, struct mr_buf *out);
void sim_report_csv(const struct sim_run_report *runs, int32_t n, struct mr_buf *out);
void sim_report_svg(const struct sim_run_report *runs, int32_t n, struct mr_buf *out);

#endif
