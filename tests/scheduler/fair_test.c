#include "tests/scheduler/hand.h"

#define UNIT MR_SCHED_SERVICE_UNIT

TEST(charges_input_hits_and_outputs_once)
{
    struct mr_sched_config config = hand_config(64, 4);
    struct mr_sched *s = hand_open(&config);
    const uint64_t names[] = {11, 12};
    struct mr_sched_job job = {.id = 1, .tier = MR_TIER_STANDARD, .known_tokens = 10, .max_tokens = 20, .prefix = names, .n_prefix = 2};
    REQUIRE(s);
    EXPECT_EQ(mr_sched_submit(s, &job, 0, NULL), MR_OK);
    hand_step(s, 0, 0);
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 0)->charged, (10 + 2) * UNIT);
    job.id = 2; /* finds two blocks of 4: 8 x 0.1 + 2 + 2, beside the first's next output */
    mr_sched_submit(s, &job, 0, NULL);
    hand_step(s, 0, 0);
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 0)->charged, (12 + 2 + 2 + 2) * UNIT + 8 * UNIT / 10);
    mr_sched_preempt(s, 1);
    int64_t before = flow_of(s, MR_TIER_STANDARD, 0)->charged;
    hand_step(s, 0, 0); /* 12 positions again: only the two outputs are charged */
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 0)->charged, before + 4 * UNIT);
    mr_sched_close(s);
}

TEST(the_least_weighted_service_goes_first)
{
    struct mr_sched_config config = hand_config(256, 1);
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_tenant heavy = {.weight = 3};
    int64_t served[2] = {0};
    REQUIRE(s);
    EXPECT_EQ(mr_sched_tenant_set(s, 1, &heavy, NULL), MR_OK);
    for (uint64_t id = 1; id <= 60; id++)
        hand_submit(s, id, (uint32_t)(id % 2), MR_TIER_STANDARD, 8, 4);
    for (int i = 0; i < 40; i++) { /* one slot, jobs of one step */
        struct mr_sched_plan plan;
        struct mr_sched_result result = {.new_tokens = 1, .finished = true};
        mr_sched_plan(s, i, &plan);
        REQUIRE(plan.n_items == 1);
        served[plan.items[0].id % 2]++;
        mr_sched_commit(s, &result, 1, i);
    }
    EXPECT_EQ(served[1], 30);
    mr_sched_close(s);
}

TEST(who_returns_is_lifted_to_the_highest_least)
{
    struct mr_sched_config config = hand_config(64, 1);
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 40, 4);
    hand_submit(s, 2, 0, MR_TIER_STANDARD, 40, 4);
    hand_step(s, 0, 1); /* 42 of service while job 2 waits */
    EXPECT_EQ(s->classes[MR_TIER_STANDARD].virtual_time, 42 * UNIT * FAIR_SCALE);
    hand_step(s, 1, 2);
    hand_submit(s, 3, 1, MR_TIER_STANDARD, 8, 4); /* all idled meanwhile: the height is kept */
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 1)->counter, 42 * UNIT * FAIR_SCALE);
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 0)->counter, 84 * UNIT * FAIR_SCALE);
    mr_sched_close(s);
}

TEST(pending_counts_for_the_choice_and_a_cancel_refunds_nothing)
{
    struct mr_sched_config config = hand_config(64, 4);
    config.max_step_tokens = 16;
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 40, 4);
    hand_step(s, 0, 0); /* 16 computed, 24 admitted and to come */
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 0)->pending, 24 * UNIT);
    EXPECT(mr_sched_cancel(s, 1));
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 0)->pending, 0);
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 0)->counter, 16 * UNIT * FAIR_SCALE);
    mr_sched_close(s);
}

TEST(the_cap_is_one_and_a_half_shares_of_the_pool)
{
    struct mr_sched_config config = hand_config(40, 8);
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 4, 4);
    hand_step(s, 0, 0);
    hand_submit(s, 2, 0, MR_TIER_STANDARD, 4, 4);
    hand_submit(s, 3, 1, MR_TIER_STANDARD, 4, 4);
    int32_t held = flow_of(s, MR_TIER_STANDARD, 0)->held_blocks, cap = 40 * 3 / 2 / 2; /* two tenants of weight 1 */
    EXPECT(!fair_over_cap(s, MR_TIER_STANDARD, 0, cap - held));
    EXPECT(fair_over_cap(s, MR_TIER_STANDARD, 0, cap - held + 1));
    mr_sched_close(s);
}

/* 32 jobs of 8 tokens fill a step: the picks until LOOKS_PER_STEP compare 64 tenants each, those after it 8. */
TEST(a_step_of_many_admissions_compares_fewer_tenants_for_the_later)
{
    struct mr_sched_config config = hand_config(1024, 64);
    config.max_tenants = config.max_jobs = 128;
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    for (uint64_t id = 1; id <= 128; id++)
        hand_submit(s, id, (uint32_t)id - 1, MR_TIER_STANDARD, 8, 4);
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    int full = LOOKS_PER_STEP / FLOWS_LOOKED_AT;
    EXPECT_EQ(plan.n_items, 32);
    EXPECT_EQ(s->classes[MR_TIER_STANDARD].looked, full * FLOWS_LOOKED_AT + (32 - full) * FLOWS_LOOKED_AT_LATE);
    for (uint32_t tenant = 0; tenant < 128; tenant++)
        EXPECT(flow_of(s, MR_TIER_STANDARD, tenant)->n_resident <= 1);
    mr_sched_close(s);
}

TEST(bulk_blends_by_what_binds_the_step)
{
    for (int memory = 0; memory < 2; memory++) {
        struct mr_sched_config config = hand_config(256, 1);
        config.cost.floor_ps = memory ? 50000000000 : 0;
        struct mr_sched *s = hand_open(&config);
        REQUIRE(s);
        hand_submit(s, 1, 0, MR_TIER_BULK, 16, 64); /* decode-heavy */
        hand_submit(s, 2, 0, MR_TIER_BULK, 64, 16); /* prefill-heavy */
        struct mr_sched_plan plan = hand_step(s, 0, 0);
        REQUIRE(plan.n_items == 1);
        EXPECT_EQ(plan.items[0].id, memory ? 2 : 1);
        mr_sched_close(s);
    }
}

/* Another tenant's index: weight, debt, counter and lengths are not inherited, and nothing is given away while a job is live. */
TEST(a_renewed_tenant_begins_as_at_open)
{
    struct mr_sched_config config = hand_config(64, 4);
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_tenant contract = {.weight = 3, .rate_tokens = 1, .burst_tokens = 1};
    struct mr_sched_tenant_stats stats;
    REQUIRE(s);
    EXPECT_EQ(mr_sched_tenant_set(s, 1, &contract, NULL), MR_OK);
    EXPECT_EQ(hand_submit(s, 1, 1, MR_TIER_STANDARD, 8, 8), MR_OK);
    EXPECT(!mr_sched_tenant_renew(s, 1));
    hand_step(s, 0, 0);
    EXPECT(!mr_sched_tenant_renew(s, 1));
    mr_sched_tenant_stats(s, MR_TIER_STANDARD, 1, &stats);
    EXPECT(stats.over_limit);
    hand_step(s, 0, 1);
    uint32_t history = job_history(s, &(struct job){.in = {.tenant = 1}});
    mr_sched_tenant_stats(s, MR_TIER_STANDARD, 1, &stats);
    EXPECT(stats.charged > 0 && stats.counter > 0 && stats.finished == 1);
    EXPECT(mr_sched_tenant_renew(s, 1));
    mr_sched_tenant_stats(s, MR_TIER_STANDARD, 1, &stats);
    EXPECT(stats.charged == 0 && stats.counter == 0 && !stats.over_limit && stats.finished == 0);
    EXPECT_EQ(flow_of(s, MR_TIER_STANDARD, 1)->weight, 1);
    EXPECT(job_history(s, &(struct job){.in = {.tenant = 1}}) != history);
    EXPECT_EQ(mr_sched_delta_take(s, MR_TIER_STANDARD, 1), 0);
    EXPECT_EQ(hand_submit(s, 2, 1, MR_TIER_STANDARD, 8, 8), MR_OK);
    mr_sched_check(s);
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    EXPECT(hand_plans(&plan, 2));
    mr_sched_close(s);
}

TEST_MAIN(TEST_CASE(a_renewed_tenant_begins_as_at_open), TEST_CASE(charges_input_hits_and_outputs_once), TEST_CASE(the_least_weighted_service_goes_first),
          TEST_CASE(who_returns_is_lifted_to_the_highest_least), TEST_CASE(pending_counts_for_the_choice_and_a_cancel_refunds_nothing),
          TEST_CASE(the_cap_is_one_and_a_half_shares_of_the_pool), TEST_CASE(a_step_of_many_admissions_compares_fewer_tenants_for_the_later),
          TEST_CASE(bulk_blends_by_what_binds_the_step))
