/* Small hand-made schedulers for the tests of this folder: blocks of 4 tokens, a step of 1 ms + 1 us a token unless told otherwise. */
#ifndef MR_TESTS_SCHEDULER_HAND_H
#define MR_TESTS_SCHEDULER_HAND_H

#include "scheduler/core.h"
#include "tests/test.h"

#define MS INT64_C(1000000)

static inline struct mr_sched_config hand_config(int32_t n_blocks, int32_t max_seqs)
{
    return (struct mr_sched_config){.n_blocks = n_blocks, .block_tokens = 4, .max_seqs = max_seqs, .max_step_tokens = 256, .max_jobs = 64,
                                    .max_tenants = 4, .max_context = 128, .chunk_quantum = 4, .floor_tokens = 16, .window_tokens = 1,
                                    .cost = {.base_ps = 1000000000, .token_ps = 1000000}};
}

static inline struct mr_sched *hand_open(const struct mr_sched_config *config)
{
    struct mr_sched *s = NULL;
    struct mr_err err = {0};
    if (mr_sched_open(config, &s, &err) != MR_OK)
        printf("%s\n", err.text);
    return s;
}

/* Arrives at its id in ns, so that ids are an order. */
static inline enum mr_status hand_submit(struct mr_sched *s, uint64_t id, uint32_t tenant, int tier, int32_t known, int32_t output)
{
    struct mr_sched_job job = {.id = id, .tenant = tenant, .tier = tier, .known_tokens = known, .max_tokens = known + output,
                               .arrival_ns = (int64_t)id};
    return mr_sched_submit(s, &job, 0, NULL);
}

/* One step at now; every sampled item yields a token; `done` ends (0: none). */
static inline struct mr_sched_plan hand_step(struct mr_sched *s, int64_t now, uint64_t done)
{
    struct mr_sched_result results[64] = {{0}};
    struct mr_sched_plan plan;
    mr_sched_plan(s, now, &plan);
    mr_sched_check(s);
    for (int32_t i = 0; i < plan.n_items; i++)
        results[i] = (struct mr_sched_result){.new_tokens = plan.items[i].samples, .finished = plan.items[i].id == done};
    mr_sched_commit(s, results, plan.n_items, now + plan.predicted_ns);
    mr_sched_check(s);
    return plan;
}

static inline struct job *hand_job(struct mr_sched *s, uint64_t id) { return &s->jobs[jobs_find(s, id)]; }

static inline bool hand_plans(const struct mr_sched_plan *plan, uint64_t id)
{
    for (int32_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].id == id)
            return true;
    return false;
}

#endif
