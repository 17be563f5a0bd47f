#include "tests/scheduler/hand.h"

static struct mr_sched_config slo(void)
{
    struct mr_sched_config config = hand_config(256, 8);
    config.cost.token_ps = 100000000; /* 0.1 ms a token */
    config.tier[MR_TIER_REALTIME] = (struct mr_sched_tier_config){500 * MS, 10 * MS, 700};
    config.tier[MR_TIER_STANDARD] = (struct mr_sched_tier_config){5000 * MS, 40 * MS, 250};
    config.tier[MR_TIER_BULK].floor_permille = 50;
    return config;
}

TEST(the_predicted_time_is_within_t)
{
    struct mr_sched_config config = slo();
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 120, 8);
    hand_submit(s, 2, 0, MR_TIER_BULK, 120, 8);
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    EXPECT_EQ(plan.budget_ns, 15 * MS); /* 140 tokens after the millisecond: 120 of the first, 20 of the second */
    EXPECT_EQ(plan.predicted_ns, 15 * MS);
    REQUIRE(plan.n_items == 2);
    EXPECT(plan.items[0].id == 1 && plan.items[0].n == 120 && plan.items[1].n == 20);
    mr_sched_close(s);
}

TEST(chunks_are_multiples_of_the_quantum_but_the_last)
{
    struct mr_sched_config config = slo();
    config.chunk_quantum = 32;
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 100, 8);
    hand_submit(s, 2, 0, MR_TIER_REALTIME, 100, 8);
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    REQUIRE(plan.n_items == 2);
    EXPECT_EQ(plan.items[0].n, 100);
    EXPECT_EQ(plan.items[1].n, 32);
    mr_sched_close(s);
}

TEST(no_budget_allows_it_and_it_goes_on_by_force)
{
    struct mr_sched_config config = slo();
    config.forced_chunk = 8;
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_stats stats;
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 64, 8);
    s->config.cost.base_ps = 80 * MS * 1000; /* the device slowed down under it: nothing fits the 50 ms of an idle machine's T */
    s->config.floor_tokens = 0;
    s->config.tier[MR_TIER_REALTIME].ttft_ns = 10;
    s->config.cost.token_ps = 1000 * MS * 1000;
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    REQUIRE(plan.n_items == 1);
    EXPECT(plan.forced && plan.items[0].n == 8);
    mr_sched_stats(s, &stats);
    EXPECT_EQ(stats.forced_steps, 1);
    mr_sched_close(s);
}

TEST(relegated_decodes_stand_before_bulk_decodes)
{
    struct mr_sched_config config = slo();
    config.max_step_tokens = 40;
    config.tier[MR_TIER_REALTIME] = config.tier[MR_TIER_STANDARD] = (struct mr_sched_tier_config){0};
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 4, 8);
    hand_submit(s, 2, 0, MR_TIER_BULK, 4, 8);
    hand_step(s, 0, 0);
    jobs_reclass(s, jobs_find(s, 2), MR_SCHED_RELEGATED);
    s->config.max_step_tokens = 1;
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT(plan.n_items == 1 && plan.items[0].id == 2);
    mr_sched_close(s);
}

TEST(decodes_that_do_not_all_fit_take_turns)
{
    struct mr_sched_config config = slo();
    config.tier[MR_TIER_REALTIME] = config.tier[MR_TIER_STANDARD] = (struct mr_sched_tier_config){0};
    struct mr_sched *s = hand_open(&config);
    int32_t turns[7] = {0};
    REQUIRE(s);
    for (uint64_t id = 1; id <= 6; id++)
        hand_submit(s, id, 0, MR_TIER_BULK, 4, 60);
    hand_step(s, 0, 0);
    s->config.max_step_tokens = 4;
    for (int i = 0; i < 12; i++) {
        struct mr_sched_plan plan = hand_step(s, i, 0);
        for (int32_t k = 0; k < plan.n_items; k++)
            turns[plan.items[k].id]++;
    }
    for (int id = 1; id <= 6; id++)
        EXPECT_EQ(turns[id], 8);
    mr_sched_close(s);
}

TEST(a_floor_past_its_quantum_goes_next)
{
    struct mr_sched_config config = slo();
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 120, 8);
    hand_submit(s, 2, 0, MR_TIER_REALTIME, 120, 8);
    hand_submit(s, 3, 0, MR_TIER_BULK, 64, 8);
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    EXPECT(!hand_plans(&plan, 3)); /* realtime takes it all */
    s->tiers.debt[MR_TIER_BULK] = TIER_QUANTUM + 1;
    plan = hand_step(s, 1 * MS, 0);
    EXPECT(hand_plans(&plan, 3));
    mr_sched_close(s);
}

TEST(a_tenant_over_its_rate_waits_or_scavenges)
{
    for (int scavenge = 0; scavenge < 2; scavenge++) {
        struct mr_sched_config config = hand_config(64, 4);
        struct mr_sched *s = hand_open(&config);
        struct mr_sched_tenant contract = {.rate_tokens = 10, .burst_tokens = 10, .scavenge = scavenge};
        struct mr_sched_job_info info;
        REQUIRE(s);
        EXPECT_EQ(mr_sched_tenant_set(s, 0, &contract, NULL), MR_OK);
        hand_submit(s, 1, 0, MR_TIER_REALTIME, 40, 8); /* what is left of the bucket is debt now */
        hand_submit(s, 2, 0, MR_TIER_REALTIME, 40, 8);
        struct mr_sched_plan plan = hand_step(s, 0, 0);
        EXPECT(hand_plans(&plan, 1));
        int64_t debt = s->limits.tenants[0].level;
        plan = hand_step(s, 10 * MS, 0);
        EXPECT_EQ(hand_plans(&plan, 2), scavenge);
        EXPECT(mr_sched_job_info(s, 2, &info) && info.relegated == scavenge);
        EXPECT_EQ(s->limits.tenants[0].level, debt); /* not paid for from the bucket */
        hand_submit(s, 3, 1, MR_TIER_BULK, 40, 8);  /* another's bulk is not held up by it */
        plan = hand_step(s, 20 * MS, 0);
        EXPECT(hand_plans(&plan, 3));
        mr_sched_close(s);
    }
}

TEST_MAIN(TEST_CASE(the_predicted_time_is_within_t), TEST_CASE(chunks_are_multiples_of_the_quantum_but_the_last),
          TEST_CASE(no_budget_allows_it_and_it_goes_on_by_force), TEST_CASE(relegated_decodes_stand_before_bulk_decodes),
          TEST_CASE(decodes_that_do_not_all_fit_take_turns), TEST_CASE(a_floor_past_its_quantum_goes_next),
          TEST_CASE(a_tenant_over_its_rate_waits_or_scavenges))
