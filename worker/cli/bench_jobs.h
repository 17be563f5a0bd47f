/* What the kinds of `millrace bench` that run the engine share: jobs of random ids, and how figures are summed up. */
#ifndef MR_WORKER_CLI_BENCH_JOBS_H
#define MR_WORKER_CLI_BENCH_JOBS_H

#include "worker/job.h"

/* Job number j: fills prompt [n_prompt], which it borrows, with random ids below vocabulary; n_output tokens, whatever is chosen. */
struct mr_job mr_bench_job(int64_t j, int32_t *prompt, int64_t n_prompt, int64_t n_output, int32_t vocabulary);

/* p50 and p99 of values [n], which it sorts; 0 of none. */
void mr_bench_percentiles(double *values, int64_t n, double out[2]);

#endif
