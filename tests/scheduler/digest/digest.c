/* A random life of a scheduler, integers only, and one digest of all its plans: tests/scheduler/digest/run builds this with every
 * compiler there is, with and without optimisation, and compares. Pools from a few blocks to many, every tier, weights, rates,
 * deadlines, prefixes, cancels, preemptions by hand, other workers' totals. */
#include "base/hash.h"
#include "scheduler/scheduler.h"

#include <stdio.h>
#include <stdlib.h>

enum { JOBS = 96, TENANTS = 7, STEPS = 600, SEEDS = 60, NAMES = 24 };

static uint64_t random_state;
static int64_t below(int64_t n)
{
    return (int64_t)(mr_mix64(random_state += UINT64_C(0x9e3779b97f4a7c15)) % (uint64_t)n);
}

/* One after the other: the order in which an initializer's calls are made is the compiler's. */
static void draw(int64_t *values, const int64_t *limits, int n)
{
    for (int i = 0; i < n; i++)
        values[i] = below(limits[i]);
}

static uint64_t digest = MR_FNV1A64_START, names[TENANTS][NAMES];
static int32_t left[STEPS * 4];

static void digest_add(int64_t value) { digest = mr_fnv1a64(digest, &value, sizeof value); }

static struct mr_sched *life_open(uint64_t seed)
{
    random_state = mr_mix64(seed);
    int64_t r[6];
    draw(r, (const int64_t[]){200, 24, 200, 8, 400, 501}, 6);
    struct mr_sched_config config = {.n_blocks = 12 + (int32_t)r[0], .block_tokens = 4, .max_seqs = 1 + (int32_t)r[1],
                                     .max_step_tokens = 32 + (int32_t)r[2], .max_jobs = JOBS, .max_tenants = TENANTS, .max_context = 48,
                                     .chunk_quantum = 1 + (int32_t)r[3], .window_tokens = 1 + (int32_t)r[4], .pace_permille = 500 + (int32_t)r[5],
                                     .tier = {{40000000, 9000000, 700}, {400000000, 30000000, 250}, {0, 0, 50}},
                                     .cost = {1000000000, 500000000, 20000000, 100000, 1000, 100000000, 3000000}};
    struct mr_sched *sched = NULL;
    struct mr_err err;
    if (mr_sched_open(&config, &sched, &err) != MR_OK) {
        printf("%s\n", err.text);
        exit(1);
    }
    for (uint32_t t = 0; t < TENANTS; t++) {
        draw(r, (const int64_t[]){5, 3, 4000, 2}, 4);
        struct mr_sched_tenant contract = {.weight = 1 + (int32_t)r[0], .rate_tokens = r[1] ? 0 : 500 + r[2], .scavenge = r[3]};
        mr_sched_tenant_set(sched, t, &contract, NULL);
        for (int32_t b = 0; b < NAMES; b++)
            names[t][b] = mr_mix64(t * 1000 + (uint64_t)b + 1);
    }
    return sched;
}

static void life_submit(struct mr_sched *sched, uint64_t id, int64_t now)
{
    int64_t r[9];
    draw(r, (const int64_t[]){24, TENANTS, 3, 4, 10, 20, 6, 300000000, 3}, 9);
    int32_t known = 1 + (int32_t)r[0];
    struct mr_sched_job job = {.id = id, .tenant = (uint32_t)r[1], .tier = (int32_t)r[2], .priority = r[3] ? 0 : (int32_t)r[4],
                               .known_tokens = known, .max_tokens = known + 1 + (int32_t)r[5], .arrival_ns = now,
                               .deadline_ns = r[6] ? 0 : now + 1 + r[7], .template_id = (uint32_t)r[8]};
    left[id] = 1 + (int32_t)below(job.max_tokens - known);
    job.prefix = below(2) ? names[job.tenant] : NULL;
    job.n_prefix = job.prefix ? known / 4 : 0;
    digest_add(mr_sched_submit(sched, &job, now, NULL));
}

static void life(uint64_t seed)
{
    struct mr_sched *sched = life_open(seed);
    struct mr_sched_result results[64];
    int64_t now = 1000000000;
    uint64_t id = 1;
    for (int32_t step = 0; step < STEPS; step++) {
        struct mr_sched_plan plan;
        for (int64_t n = below(3); n > 0; n--)
            life_submit(sched, id++, now);
        if (below(8) == 0)
            digest_add(mr_sched_cancel(sched, 1 + (uint64_t)below((int64_t)id)));
        if (below(16) == 0)
            digest_add(mr_sched_preempt(sched, 1 + (uint64_t)below((int64_t)id)));
        int64_t r[4];
        draw(r, (const int64_t[]){20, 3, TENANTS, 1 << 20}, 4);
        if (r[0] == 0)
            mr_sched_total_set(sched, (int)r[1], (uint32_t)r[2], r[3]);
        mr_sched_plan(sched, now, &plan);
        digest_add(plan.budget_ns), digest_add(plan.predicted_ns), digest_add(plan.n_preempted), digest_add(plan.n_expired);
        for (int32_t i = 0; i < plan.n_items; i++) {
            const struct mr_sched_item *item = &plan.items[i];
            results[i] = (struct mr_sched_result){.new_tokens = item->samples, .finished = item->samples && --left[item->id] == 0};
            digest_add((int64_t)item->id), digest_add(item->start), digest_add(item->n), digest_add(item->blocks[item->n_blocks - 1]);
        }
        for (int32_t i = 0; i < plan.n_preempted; i++)
            digest_add((int64_t)plan.preempted[i]);
        now += plan.predicted_ns + 1000;
        mr_sched_commit(sched, results, plan.n_items, now);
        mr_sched_check(sched);
    }
    mr_sched_close(sched);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        life(seed);
    printf("%016llx\n", (unsigned long long)digest);
    return 0;
}
