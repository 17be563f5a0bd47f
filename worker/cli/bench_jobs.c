#include "worker/cli/bench_jobs.h"

#include "base/hash.h"

#include <stdlib.h>

struct mr_job mr_bench_job(int64_t j, int32_t *prompt, int64_t n_prompt, int64_t n_output, int32_t vocabulary)
{
    for (int64_t i = 0; i < n_prompt; i++)
        prompt[i] = (int32_t)(mr_mix64((uint64_t)(j * 1000003 + i)) % (uint64_t)vocabulary);
    return (struct mr_job){
        .tier = MR_TIER_STANDARD, .prompt_ids = prompt, .n_prompt = (int32_t)n_prompt,
        .sampling = {.top_p = 1, .repetition_penalty = 1, .max_tokens = (int32_t)n_output, .ignore_eos = true, .n_logprobs = -1,
                     .n_prompt_logprobs = -1}};
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void mr_bench_percentiles(double *values, int64_t n, double out[2])
{
    out[0] = out[1] = 0;
    if (n == 0)
        return;
    qsort(values, (size_t)n, sizeof *values, ascending);
    out[0] = values[(n - 1) / 2];
    out[1] = values[(int64_t)((double)(n - 1) * 0.99 + 0.5)];
}
