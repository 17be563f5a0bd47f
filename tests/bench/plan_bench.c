/* What a plan costs: percentiles of mr_sched_plan's CPU time over residents x visible jobs, in steady state.
 *
 * Complexity of a step with D decodes, P resident prefills, A admissions, V victims' needs, F = 64 flows looked at, J = 64 jobs
 * visible a flow, N waiting jobs: D array entries are read twice and copied once (no job is touched) + O(P) + 4 classes x 5 F + A x (8
 * flows + J + 84 remainders + O(log N)) + V x array entries of the residents of the classes that may yield + at most 2 x 256 jobs of
 * the feasibility test.
 * Nothing is O(N): the curve over visible jobs is flat but for caches.
 *
 * Plans are deterministic, so a life is replayed and a plan's time is its least of the replays: what else ran on the machine
 * drops out. "p99 once" is of the last replay alone. `plan_bench REPLAYS` (default 5). */
#include "base/hash.h"
#include "scheduler/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WARM = 300, PLANS = 2000, JOBS = 1 << 20 };

struct size {
    int32_t resident, visible, tenants;
};

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The thread's own time: what else runs on the machine is not the plan's. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t next_random(uint64_t *state) { return mr_mix64(*state += UINT64_C(0x9e3779b97f4a7c15)); }

static void submit(struct mr_sched *sched, uint64_t id, const struct size *size, int64_t now, uint64_t *random)
{
    static uint64_t names[64][64];
    int32_t prompt = 64 + (int32_t)(next_random(random) % 512), group = (int32_t)(next_random(random) % 64);
    for (int b = 0; b < 64; b++)
        names[group][b] = mr_mix64((uint64_t)group * 64 + (uint64_t)b + 1);
    int tier = (int)(id % 10) < 2 ? MR_TIER_REALTIME : (int)(id % 10) < 5 ? MR_TIER_STANDARD : MR_TIER_BULK;
    struct mr_sched_job job = {.id = id, .tenant = (uint32_t)(next_random(random) % (uint64_t)size->tenants), .tier = tier, .known_tokens = prompt,
                               .max_tokens = prompt + 256, .arrival_ns = now, .prefix = names[group],
                                       .n_prefix = prompt / 16 < 16 ? prompt / 16 : 16};
    mr_sched_submit(sched, &job, now, NULL);
}

struct life {
    int64_t took[PLANS];
    int64_t items, commit_ns;
    uint64_t digest;
};

/* The same life every time: WARM plans, then PLANS that are timed. */
static void live_once(const struct size *size, struct life *life)
{
    struct mr_sched_config config = {.n_blocks = size->resident * 60, .block_tokens = 16, .max_seqs = size->resident, .max_step_tokens = 8192,
                                     .max_jobs = size->resident + size->visible + 16, .max_tenants = size->tenants, .max_context = 1024,
                                     .chunk_quantum = 64, .tier = {{500000000, 50000000, 700}, {5000000000, 100000000, 250}, {0, 0, 50}},
                                     .cost = {3900000000, 1500000000, 18400000, 36400, 1310, 600000000, 0}};
    struct mr_sched *sched = NULL;
    struct mr_err err;
    int32_t *left = calloc(JOBS, sizeof *left); /* tokens a job still makes, by id */
    struct mr_sched_result *results = calloc((size_t)size->resident, sizeof *results);
    uint64_t id = 1, random = 7;
    int64_t now = 1000000000;
    int32_t live = 0;
    *life = (struct life){.digest = 0};
    if (!left || !results || mr_sched_open(&config, &sched, &err) != MR_OK)
        abort();
    for (int32_t step = -WARM; step < PLANS; step++) {
        struct mr_sched_plan plan;
        for (; live < size->resident + size->visible && id < JOBS; live++, id++) {
            left[id] = 32 + (int32_t)(next_random(&random) % 224);
            submit(sched, id, size, now, &random);
        }
        int64_t before = cpu_ns();
        mr_sched_plan(sched, now, &plan);
        int64_t took = cpu_ns() - before;
        for (int32_t i = 0; i < plan.n_items; i++) {
            results[i] = (struct mr_sched_result){.new_tokens = plan.items[i].samples};
            results[i].finished = plan.items[i].samples && --left[plan.items[i].id] == 0;
            live -= results[i].finished;
            life->digest = mr_mix64(life->digest ^ plan.items[i].id ^ (uint64_t)plan.items[i].start << 32 ^ (uint64_t)plan.items[i].n << 16);
        }
        now += plan.predicted_ns;
        int32_t n = plan.n_items;
        before = cpu_ns();
        mr_sched_commit(sched, results, n, now);
        if (step >= 0) {
            life->took[step] = took;
            life->items += n;
            life->commit_ns += cpu_ns() - before;
        }
    }
    mr_sched_close(sched);
    free(left), free(results);
}

static double us_at(const int64_t *sorted, int permille) { return (double)sorted[(int64_t)PLANS * permille / 1000] / 1e3; }

static void measure(const struct size *size, int replays)
{
    static struct life life;
    static int64_t least[PLANS], once[PLANS];
    int64_t commit_ns = INT64_MAX;
    uint64_t digest = 0;
    for (int replay = 0; replay < replays; replay++) {
        live_once(size, &life);
        if (replay > 0 && life.digest != digest)
            abort(); /* the same calls, and not the same plans */
        digest = life.digest;
        commit_ns = life.commit_ns < commit_ns ? life.commit_ns : commit_ns;
        for (int32_t i = 0; i < PLANS; i++) {
            least[i] = replay == 0 || life.took[i] < least[i] ? life.took[i] : least[i];
            once[i] = life.took[i];
        }
    }
    qsort(least, PLANS, sizeof *least, compare);
    qsort(once, PLANS, sizeof *once, compare);
    printf("%8d %8d %8d %7.0f %8.2f %8.2f %8.2f %10.2f %10.2f   %016llx\n", size->resident, size->visible, size->tenants, (double)life.items / PLANS,
           us_at(least, 500), us_at(least, 990), us_at(least, 999), us_at(once, 990), (double)commit_ns / PLANS / 1e3, (unsigned long long)digest);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct size sizes[] = {{10, 100, 16}, {10, 1000, 64}, {10, 16000, 250}, {100, 100, 16}, {100, 1000, 64}, {100, 16000, 250},
                                        {1000, 100, 16}, {1000, 1000, 64}, {1000, 16000, 250}, {1000, 16000, 4}, {2000, 16000, 250}};
    int replays = argc > 1 ? atoi(argv[1]) : 5;
    printf("%8s %8s %8s %7s %8s %8s %8s %10s %10s   %s\n", "resident", "visible", "tenants", "items", "p50 us", "p99 us", "p99.9 us", "p99 once",
           "commit us", "digest");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        measure(&sizes[i], replays > 0 ? replays : 1);
    return 0;
}
