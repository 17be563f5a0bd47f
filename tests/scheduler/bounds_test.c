/* The bounds of scheduling.md section 4 that hold once a scenario or between a pair of runs: B6, I14, I15, I16, I20, I21; what holds
 * at every event is scheduler/sim/oracle.c's, which runs with them here. MILLRACE_LONG=1: I21 over 24 simulated hours. */
#include "scheduler/sim/sim.h"
#include "tests/test.h"

#include <stdlib.h>

static struct sim_scenario scenario;
static struct sim_result result;

static const struct sim_result *run_text(const char *text, bool check)
{
    struct sim_options options = {.check = check};
    struct mr_err err = {0};
    EXPECT_EQ(sim_scenario_parse(&scenario, text, &err), MR_OK);
    scenario.config.max_tenants = 16;
    EXPECT_EQ(sim_run(&scenario, &options, &result, &err), MR_OK);
    EXPECT_STR(result.violation, "");
    return &result;
}

static const struct sim_result *run_checked(const char *text) { return run_text(text, true); }

#define CLUSTER "card h200-8b\nblocks 4000 block_tokens 16 max_seqs 12 max_context 4096 workers 3\nslo standard 0 0\nslo realtime 0 0\n" \
                "seconds 38 warmup 2 %s\nload tenants=0-3 tier=standard source=backlog:12 prompt=512~0.5 output=64~0.5\n"

TEST(redis_away_for_30_s_changes_only_the_bound_between_workers) /* B6, I20 */
{
    char text[512];
    snprintf(text, sizeof text, CLUSTER, "");
    double with = run_text(text, false)->tok_s;
    EXPECT(result.jain >= 0.99);
    snprintf(text, sizeof text, CLUSTER, "\nredis 5 35");
    EXPECT_NEAR(run_checked(text)->tok_s / with, 1, 0.02);
    EXPECT(result.finished > 1000);
}

TEST(a_feasible_set_misses_no_deadline) /* I14: exact model; what fits must be on time, first token and pace, and nothing is relegated */
{
    int64_t finished = 0;
    for (int seed = 1; seed <= 6; seed++) {
        char text[512];
        snprintf(text, sizeof text, "card h200-8b\nblocks 30000 block_tokens 16 max_seqs 256 max_context 8192\nslo realtime 500 50\n"
                                    "seconds 10 drain 1\n"
                                    "seed %d\nload tenants=0-3 tier=realtime source=poisson:%g prompt=%d~0.8 output=60~0.8 max=400\n%s", seed,
                 0.5 + seed % 4 * 0.5, 300 + 100 * (seed % 3), /* and bulk that takes all that is left */
                 seed % 2 ? "" : "load tenants=5 tier=bulk source=backlog:32 prompt=800~0.8 output=100~0.5\n");
        const struct sim_tier_result *tier = &run_checked(text)->tier[MR_TIER_REALTIME];
        if (result.optimum_on_time < 1)
            continue; /* not even alone */
        EXPECT_EQ(tier->relegated, 0);
        EXPECT_EQ(tier->on_time, tier->arrived);
        finished += tier->finished;
    }
    EXPECT(finished > 200);
}

/* Steps of a scheduler alone, with jobs of exact length, so that its measured rate is what it admits by. */
struct bulk_run {
    struct mr_sched *sched;
    int64_t now;
    int32_t produced[20000];
    bool infeasible[20000];
    int32_t accepted, refused, missed, kept_by_accepted;
};

enum { BULK_OUTPUT = 40 };

static void bulk_step(struct bulk_run *run)
{
    struct mr_sched_plan plan;
    struct mr_sched_result results[16];
    mr_sched_plan(run->sched, run->now, &plan);
    for (int32_t i = 0; i < plan.n_expired; i++)
        run->missed += !run->infeasible[plan.expired[i]];
    for (int32_t i = 0; i < plan.n_items; i++) {
        int32_t *produced = &run->produced[plan.items[i].id];
        *produced += plan.items[i].samples;
        results[i] = (struct mr_sched_result){.new_tokens = plan.items[i].samples, .finished = *produced == BULK_OUTPUT};
        run->kept_by_accepted += results[i].finished && !run->infeasible[plan.items[i].id];
    }
    run->now += plan.predicted_ns + 1000000;
    mr_sched_commit(run->sched, results, plan.n_items, run->now);
}

TEST(no_accepted_bulk_job_misses_its_deadline) /* I15: the rate stays what it was measured to be; more is asked for than it can do */
{
    static struct bulk_run run;
    struct mr_sched_config config = {.n_blocks = 4000, .block_tokens = 16, .max_seqs = 16, .max_step_tokens = 512, .max_jobs = 16384,
                                     .max_tenants = 3,
                                     .max_context = 1024, .chunk_quantum = 16, .cost = {0, 20000000000, 200000000, 0, 0, 0, 0}};
    unsigned seed = 5;
    REQUIRE(mr_sched_open(&config, &run.sched, NULL) == MR_OK);
    run.now = 1000000000000;
    for (uint64_t id = 1; id < 12000; id++) {
        bool warm = id < 200; /* nothing is known of rate and lengths yet: due tomorrow */
        int64_t minutes = warm ? 24 * 60 : 2 + rand_r(&seed) % 8;
        struct mr_sched_job job = {.id = id, .tenant = (uint32_t)rand_r(&seed) % 3, .tier = MR_TIER_BULK, .known_tokens = 100,
                                   .max_tokens = 100 + BULK_OUTPUT, .arrival_ns = run.now, .deadline_ns = run.now + minutes * 60000000000};
        struct mr_sched_job_info info;
        if (mr_sched_submit(run.sched, &job, run.now, NULL) != MR_OK)
            continue;
        REQUIRE(mr_sched_job_info(run.sched, id, &info));
        run.infeasible[id] = info.infeasible;
        *(info.infeasible ? &run.refused : &run.accepted) += 1;
        if (info.infeasible)
            mr_sched_cancel(run.sched, id); /* told at once, so its sender gives it to somebody else */
        for (int steps = 0; steps < (warm ? 40 : 1); steps++)
            bulk_step(&run);
    }
    for (int64_t end = run.now + 11 * 60000000000; run.now < end;)
        bulk_step(&run);
    EXPECT_EQ(run.missed, 0);
    EXPECT(run.accepted > 3000 && run.refused > 1000);
    EXPECT(run.kept_by_accepted > 3000);
    printf("    bulk: %d accepted, all kept; %d told at once\n", run.accepted, run.refused);
    mr_sched_close(run.sched);
}

TEST(few_preemptions_on_a_stationary_trace) /* I16: at most 1 % of finished jobs at q = 0.5, with the pool as what binds */
{
    run_checked("card h200-8b\nblocks 2500 block_tokens 16 max_seqs 256 max_context 8192\nseconds 60 warmup 10\n"
                "load tenants=0-3 tier=bulk source=backlog:48 prompt=1000~0.8 output=200~0.8 max=1600\n");
    EXPECT(result.finished > 500);
    EXPECT(result.pool_share > 0.6);
    EXPECT((double)result.preemptions <= 0.01 * (double)result.finished);
    printf("    %lld preemptions of %lld finished, pool %.0f %% full\n", (long long)result.preemptions, (long long)result.finished,
           100 * result.pool_share);
}

TEST(the_queue_is_bounded_at_95_percent_of_capacity) /* I21 */
{
    const char *long_form = getenv("MILLRACE_LONG");
    int32_t seconds = long_form && long_form[0] == '1' ? 24 * 3600 : 1800;
    struct sim_options options = {0};
    struct mr_err err = {0};
    char text[512];
    static const char *const card = "cost 0 50000000000 1000000000 20000 0 0\nblocks 2000 block_tokens 16 max_seqs 16 max_step 256 quantum 16\n"
                                    "max_context 1024\nslo standard 60000 2000\nslo realtime 20000 2000\n";
    snprintf(text, sizeof text, "%sseconds 600 warmup 100\nload tenants=0-3 tier=bulk source=backlog:32 prompt=100~0.5 output=30~0.5\n", card);
    EXPECT_EQ(sim_scenario_parse(&scenario, text, &err), MR_OK);
    EXPECT_EQ(sim_run(&scenario, &options, &result, &err), MR_OK);
    double jobs_s = (double)result.finished / result.seconds * 0.95; /* a load that is 0.95 of what was done of a backlog */
    snprintf(text, sizeof text, "%sseconds %d drain 1\nload tenants=0-3 tier=bulk source=poisson:%g prompt=100~0.5 output=30~0.5\n", card, seconds,
             jobs_s / 4);
    EXPECT_EQ(sim_scenario_parse(&scenario, text, &err), MR_OK);
    EXPECT_EQ(sim_run(&scenario, &options, &result, &err), MR_OK);
    const struct sim_tier_result *bulk = &result.tier[MR_TIER_BULK];
    EXPECT_EQ(bulk->finished, bulk->arrived);
    EXPECT(bulk->stretch_ms < 300e3); /* of M/G/1 at 0.95: tens of service times; not of the order of the horizon */
    printf("    %d s at %.2f jobs a second: longest wait %.1f s, p99 %.1f s\n", seconds, jobs_s, bulk->stretch_ms / 1e3, bulk->ttft_ms[1] / 1e3);
}

TEST_MAIN(TEST_CASE(redis_away_for_30_s_changes_only_the_bound_between_workers), TEST_CASE(a_feasible_set_misses_no_deadline),
          TEST_CASE(no_accepted_bulk_job_misses_its_deadline), TEST_CASE(few_preemptions_on_a_stationary_trace),
          TEST_CASE(the_queue_is_bounded_at_95_percent_of_capacity))
