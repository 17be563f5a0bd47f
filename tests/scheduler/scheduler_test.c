#include "base/clock.h"
#include "scheduler/scheduler.h"
#include "tests/test.h"

#include <stdlib.h>

static struct mr_sched *open_parts(int32_t n_blocks, int32_t max_seqs, int32_t max_step, uint32_t off)
{
    struct mr_sched_config config = {.n_blocks = n_blocks, .block_tokens = 4, .max_seqs = max_seqs, .max_step_tokens = max_step,
                                     .max_jobs = 64, .max_tenants = 4, .max_context = 64, .chunk_quantum = 4,
                                     .off = off, .cost = {.base_ps = 1000000, .token_ps = 1000000}};
    struct mr_sched *s = NULL;
    return mr_sched_open(&config, &s, NULL) == MR_OK ? s : NULL;
}

static struct mr_sched *open_small(int32_t n_blocks, int32_t max_seqs, int32_t max_step)
{
    return open_parts(n_blocks, max_seqs, max_step, 0);
}

static enum mr_status submit(struct mr_sched *s, uint64_t id, int tier, int32_t known, int32_t output)
{
    struct mr_sched_job job = {.id = id, .tier = tier, .known_tokens = known, .max_tokens = known + output, .arrival_ns = (int64_t)id};
    return mr_sched_submit(s, &job, 0, NULL);
}

/* Runs one step; every sampled job gets a token; returns the tokens planned. done: job that ends now (0: none). */
static int32_t step(struct mr_sched *s, int64_t now, uint64_t done, struct mr_sched_plan *plan)
{
    struct mr_sched_result results[64] = {{0}};
    mr_sched_plan(s, now, plan);
    mr_sched_check(s);
    for (int32_t i = 0; i < plan->n_items; i++) {
        results[i].new_tokens = plan->items[i].samples;
        results[i].finished = plan->items[i].id == done;
    }
    mr_sched_commit(s, results, plan->n_items, now);
    mr_sched_check(s);
    return plan->n_tokens;
}

TEST(a_job_is_prefilled_in_chunks_then_decodes)
{
    struct mr_sched *s = open_small(16, 4, 8);
    struct mr_sched_plan plan;
    REQUIRE(s);
    EXPECT_EQ(submit(s, 7, MR_TIER_STANDARD, 18, 4), MR_OK);
    EXPECT_EQ(step(s, 0, 0, &plan), 8);
    EXPECT(!plan.items[0].samples);
    EXPECT_EQ(step(s, 0, 0, &plan), 8);
    EXPECT_EQ(step(s, 0, 0, &plan), 2);
    EXPECT(plan.items[0].samples);
    EXPECT_EQ(plan.items[0].start, 16);
    EXPECT_EQ(step(s, 0, 7, &plan), 1);
    EXPECT_EQ(plan.items[0].start, 18);
    EXPECT_EQ(plan.items[0].n_blocks, 5);
    EXPECT_EQ(step(s, 0, 0, &plan), 0);
    struct mr_sched_stats stats;
    mr_sched_stats(s, &stats);
    EXPECT_EQ(stats.blocks_used, 0);
    mr_sched_close(s);
}

TEST(chunks_and_decodes_share_a_step)
{
    struct mr_sched *s = open_small(32, 4, 9);
    struct mr_sched_plan plan;
    REQUIRE(s);
    submit(s, 1, MR_TIER_BULK, 4, 8);
    step(s, 0, 0, &plan);
    submit(s, 2, MR_TIER_REALTIME, 30, 8);
    EXPECT_EQ(step(s, 0, 0, &plan), 9);
    REQUIRE(plan.n_items == 2);
    EXPECT_EQ(plan.items[0].id, 1); /* the decode stands before the chunk, and is not pushed out by it */
    EXPECT_EQ(plan.items[0].n, 1);
    EXPECT_EQ(plan.items[1].n, 8);
    mr_sched_close(s);
}

TEST(a_lower_tier_yields_when_blocks_run_out)
{
    struct mr_sched *s = open_parts(8, 4, 64, MR_PART_QUANTILES);
    struct mr_sched_plan plan;
    REQUIRE(s);
    submit(s, 1, MR_TIER_BULK, 16, 12);
    submit(s, 2, MR_TIER_STANDARD, 8, 8);
    step(s, 0, 0, &plan);
    submit(s, 3, MR_TIER_REALTIME, 12, 8);
    step(s, 0, 0, &plan);
    EXPECT_EQ(plan.n_preempted, 1);
    EXPECT_EQ(plan.preempted[0], 1);
    EXPECT_EQ(plan.items[0].id, 2);
    EXPECT_EQ(plan.items[1].id, 3);
    step(s, 0, 3, &plan);
    step(s, 0, 2, &plan);
    REQUIRE(plan.n_items == 2);
    EXPECT_EQ(plan.items[1].id, 1); /* back, with its generated tokens: 16 + 1 */
    EXPECT_EQ(plan.items[1].n, 17);
    mr_sched_close(s);
}

TEST(two_jobs_that_fill_the_pool_do_not_wait_for_each_other)
{
    struct mr_sched *s = open_parts(4, 4, 64, MR_PART_QUANTILES);
    struct mr_sched_plan plan;
    REQUIRE(s);
    submit(s, 1, MR_TIER_STANDARD, 8, 8);
    submit(s, 2, MR_TIER_STANDARD, 8, 8);
    step(s, 0, 0, &plan);
    step(s, 0, 0, &plan);
    EXPECT_EQ(plan.n_preempted, 1);
    EXPECT_EQ(plan.preempted[0], 2);
    EXPECT_EQ(plan.n_items, 1);
    mr_sched_close(s);
}

TEST(priority_counts_inside_a_tenant_only)
{
    struct mr_sched *s = open_small(16, 1, 64);
    struct mr_sched_plan plan;
    struct mr_sched_job jobs[] = {
        {.id = 1, .tenant = 0, .tier = 1, .priority = 0, .known_tokens = 4, .max_tokens = 8, .arrival_ns = 1},
        {.id = 2, .tenant = 1, .tier = 1, .priority = 9, .known_tokens = 4, .max_tokens = 8, .arrival_ns = 2},
        {.id = 3, .tenant = 0, .tier = 1, .priority = 5, .known_tokens = 4, .max_tokens = 8, .arrival_ns = 3},
    };
    REQUIRE(s);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(mr_sched_submit(s, &jobs[i], 0, NULL), MR_OK);
    step(s, 0, 2, &plan);
    EXPECT_EQ(plan.items[0].id, 2); /* tenant 1 came before tenant 0's choice */
    step(s, 0, 3, &plan);
    EXPECT_EQ(plan.items[0].id, 3);
    step(s, 0, 1, &plan);
    EXPECT_EQ(plan.items[0].id, 1);
    mr_sched_close(s);
}

TEST(deadlines_expire_waiting_and_resident_jobs)
{
    struct mr_sched *s = open_small(16, 1, 64);
    struct mr_sched_plan plan;
    struct mr_sched_job jobs[] = {{.id = 1, .known_tokens = 4, .max_tokens = 20, .deadline_ns = 50, .arrival_ns = 1},
                                  {.id = 2, .known_tokens = 4, .max_tokens = 20, .deadline_ns = 90, .arrival_ns = 2}};
    REQUIRE(s);
    mr_sched_submit(s, &jobs[0], 0, NULL);
    mr_sched_submit(s, &jobs[1], 0, NULL);
    step(s, 49, 0, &plan);
    EXPECT_EQ(plan.n_expired, 0);
    step(s, 50, 0, &plan);
    REQUIRE(plan.n_expired == 1);
    EXPECT_EQ(plan.expired[0], 1);
    EXPECT_EQ(plan.items[0].id, 2);
    step(s, 90, 0, &plan);
    EXPECT_EQ(plan.expired[0], 2);
    EXPECT_EQ(plan.n_items, 0);
    mr_sched_close(s);
}

TEST(refuses_at_the_limits)
{
    struct mr_sched *s = open_small(8, 2, 8);
    REQUIRE(s);
    EXPECT_EQ(submit(s, 1000, 0, 32, 0), MR_OK); /* exactly the pool */
    EXPECT_EQ(submit(s, 1001, 0, 32, 1), MR_ERR_LIMIT);
    EXPECT_EQ(submit(s, 1001, 0, 60, 5), MR_ERR_INVALID); /* past the context */
    EXPECT_EQ(submit(s, 1001, 0, 0, 5), MR_ERR_INVALID);
    EXPECT_EQ(submit(s, 1001, 3, 4, 5), MR_ERR_INVALID);
    EXPECT_EQ(submit(s, 1000, 0, 4, 5), MR_ERR_INVALID); /* live already */
    for (uint64_t id = 1; id < 64; id++)
        EXPECT_EQ(submit(s, id, 0, 4, 4), MR_OK);
    EXPECT_EQ(submit(s, 64, 0, 4, 4), MR_ERR_LIMIT);
    EXPECT(mr_sched_cancel(s, 5));
    EXPECT(!mr_sched_cancel(s, 5));
    EXPECT_EQ(submit(s, 64, 0, 4, 4), MR_OK);
    mr_sched_check(s);
    mr_sched_close(s);
}

TEST(cancel_while_its_step_runs_returns_the_blocks_at_commit)
{
    struct mr_sched *s = open_small(8, 2, 8);
    struct mr_sched_plan plan;
    struct mr_sched_stats stats;
    struct mr_sched_result result = {.new_tokens = 1};
    REQUIRE(s);
    submit(s, 1, 0, 4, 4);
    mr_sched_plan(s, 0, &plan);
    EXPECT(mr_sched_cancel(s, 1));
    mr_sched_stats(s, &stats);
    EXPECT_EQ(stats.blocks_used, 1);
    mr_sched_commit(s, &result, 1, 0);
    mr_sched_stats(s, &stats);
    EXPECT_EQ(stats.blocks_used, 0);
    mr_sched_check(s);
    mr_sched_close(s);
}

/* Random submits, cancels, preemptions, deadlines: the invariants hold, and every job comes to an end. */
static void random_run(unsigned seed)
{
    struct mr_sched *s = open_parts(6 + (int32_t)(seed % 20), 1 + (int32_t)(seed % 7), 4 + (int32_t)(seed % 30), seed % 2 ? MR_PART_QUANTILES : 0);
    struct mr_sched_plan plan;
    uint64_t next_id = 1;
    int32_t most[512];
    int live = 0, submitted = 0, ended = 0, idle = 0;
    REQUIRE(s);
    for (int i = 0; i < 400 || live > 0; i++) {
        struct mr_sched_result results[64] = {{0}};
        if (i < 400 && rand_r(&seed) % 2) {
            int32_t known = 1 + rand_r(&seed) % 16;
            most[next_id] = known + 1 + rand_r(&seed) % 8;
            struct mr_sched_job job = {.id = next_id, .tenant = (uint32_t)rand_r(&seed) % 4, .tier = rand_r(&seed) % 3,
                                       .priority = rand_r(&seed) % 10, .known_tokens = known, .max_tokens = most[next_id],
                                       .arrival_ns = i, .deadline_ns = rand_r(&seed) % 5 ? 0 : i + 1 + rand_r(&seed) % 40};
            bool taken = mr_sched_submit(s, &job, i, NULL) == MR_OK;
            live += taken;
            submitted += taken;
            next_id++;
        }
        if (rand_r(&seed) % 8 == 0 && mr_sched_cancel(s, 1 + (uint64_t)rand_r(&seed) % next_id))
            live--, ended++;
        if (i < 400 && rand_r(&seed) % 16 == 0)
            mr_sched_preempt(s, 1 + (uint64_t)rand_r(&seed) % next_id);
        mr_sched_plan(s, i, &plan);
        mr_sched_check(s);
        live -= plan.n_expired, ended += plan.n_expired;
        idle = plan.n_items ? 0 : idle + 1;
        uint64_t cancelled = plan.n_items && rand_r(&seed) % 8 == 0 ? plan.items[rand_r(&seed) % plan.n_items].id : 0;
        if (cancelled)
            EXPECT(mr_sched_cancel(s, cancelled)), live--, ended++;
        for (int32_t k = 0; k < plan.n_items; k++) {
            results[k].new_tokens = plan.items[k].samples && rand_r(&seed) % 6;
            bool full = plan.items[k].start + plan.items[k].n + results[k].new_tokens >= most[plan.items[k].id];
            results[k].finished = plan.items[k].samples && (full || !results[k].new_tokens);
            bool over = results[k].finished && plan.items[k].id != cancelled;
            live -= over, ended += over;
        }
        mr_sched_commit(s, results, plan.n_items, i);
        mr_sched_check(s);
        REQUIRE(idle < 2 || live == 0 || i < 400);
        REQUIRE(i < 100000);
    }
    EXPECT_EQ(submitted, ended);
    struct mr_sched_stats stats;
    mr_sched_stats(s, &stats);
    EXPECT_EQ(stats.blocks_used, 0);
    mr_sched_close(s);
}

TEST(random_operations_keep_the_invariants)
{
    for (unsigned seed = 0; seed < 200; seed++)
        random_run(seed);
}

TEST_MAIN(TEST_CASE(a_job_is_prefilled_in_chunks_then_decodes), TEST_CASE(chunks_and_decodes_share_a_step),
          TEST_CASE(a_lower_tier_yields_when_blocks_run_out), TEST_CASE(two_jobs_that_fill_the_pool_do_not_wait_for_each_other),
          TEST_CASE(priority_counts_inside_a_tenant_only), TEST_CASE(deadlines_expire_waiting_and_resident_jobs),
          TEST_CASE(refuses_at_the_limits), TEST_CASE(cancel_while_its_step_runs_returns_the_blocks_at_commit),
          TEST_CASE(random_operations_keep_the_invariants))
