/* Admission: a decoded job and one model to a job that the engine can run, or to the reason why not (step 3 of a job's way).
 * Pure: what it makes lies in the job's own arena. Any thread; a struct mr_admit is read-only once it is set up. */
#ifndef MR_WORKER_ADMIT_H
#define MR_WORKER_ADMIT_H

#include "worker/bundle.h"
#include "worker/job.h"
#include "worker/route.h"

struct mr_admit {
    const struct mr_bundle *bundle; /* borrowed */
    int32_t context;                /* longest prompt + output */
    int32_t max_prompt, max_output; /* tokens of one job, at most */
    int64_t max_result_bytes;
    int32_t token_bytes;            /* the longest that a token of this vocabulary can be in a result */
};

struct mr_admit_options {
    int64_t prompt_tokens, output_tokens; /* limits.*; 0: what the context allows */
    int64_t result_bytes;                 /* result.max_bytes */
    int64_t cache_tokens;                 /* what the whole cache holds: no job may need more */
};

void mr_admit_open(struct mr_admit *admit, const struct mr_bundle *bundle, const struct mr_admit_options *options);

/* Fills job->prompt_ids, n_prompt and, where it was not given, model (a view of the bundle's name); resolves
 * sampling.max_tokens. route NULL: any model name that is this bundle's.
 * MR_REASON_NONE: the job can run. Otherwise *refusal says why, and the job is as it was, but for its arena and model. */
enum mr_reason mr_admit_job(const struct mr_admit *admit, const struct mr_route *route, struct mr_job *job, struct mr_refusal *refusal);

#endif
