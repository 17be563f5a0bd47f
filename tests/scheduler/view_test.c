#include "tests/scheduler/hand.h"

TEST(why_a_job_waited_in_order_of_time)
{
    struct mr_sched_config config = hand_config(64, 1);
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_span spans[8];
    int64_t waited[MR_WAIT_COUNT];
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 20);
    hand_step(s, 1 * MS, 0);
    hand_submit(s, 2, 1, MR_TIER_STANDARD, 8, 20);
    hand_step(s, 10 * MS, 0); /* the one slot is taken */
    hand_step(s, 20 * MS, 0);
    REQUIRE(mr_sched_why(s, 2, 30 * MS, waited));
    EXPECT_EQ(waited[MR_WAIT_SLOTS], 20 * MS);
    EXPECT_EQ(mr_sched_why_spans(s, 2, 30 * MS, spans, 8), 2);
    EXPECT(spans[0].wait == MR_WAIT_TURN && spans[1].wait == MR_WAIT_SLOTS && spans[1].from_ns == 10 * MS && spans[1].to_ns == 30 * MS);
    EXPECT_EQ(mr_sched_why_spans(s, 9, 30 * MS, spans, 8), -1);
    mr_sched_close(s);
}

TEST(what_stands_before_a_job)
{
    struct mr_sched_config config = hand_config(64, 1);
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_standing standing;
    struct mr_sched_tenant contract = {.concurrency = 1};
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 20);
    hand_step(s, 0, 0);
    EXPECT(!mr_sched_standing(s, 1, &standing)); /* it runs */
    for (uint64_t id = 2; id < 5; id++)
        hand_submit(s, id, 0, MR_TIER_STANDARD, 8, 20);
    hand_submit(s, 5, 1, MR_TIER_STANDARD, 8, 20);
    hand_step(s, 10 * MS, 0);
    REQUIRE(mr_sched_standing(s, 4, &standing));
    EXPECT(standing.before == 2 && standing.tenants_before == 1 && standing.wait == MR_WAIT_SLOTS);
    EXPECT_EQ(mr_sched_tenant_set(s, 0, &contract, NULL), MR_OK);
    REQUIRE(mr_sched_standing(s, 4, &standing));
    EXPECT_EQ(standing.wait, MR_WAIT_CONCURRENCY);
    mr_sched_close(s);
}

TEST(finished_and_on_time_by_tenant)
{
    struct mr_sched_config config = hand_config(64, 4);
    config.tier[MR_TIER_STANDARD] = (struct mr_sched_tier_config){100 * MS, 20 * MS, 250};
    config.off = MR_PART_RELEGATION;
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_tenant_stats stats;
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 20);
    hand_step(s, 50 * MS, 1); /* its only token comes in time */
    hand_submit(s, 2, 0, MR_TIER_STANDARD, 8, 20);
    hand_step(s, 120 * MS, 2); /* this one's does not */
    mr_sched_tenant_stats(s, MR_TIER_STANDARD, 0, &stats);
    EXPECT_EQ(stats.finished, 2);
    EXPECT_EQ(stats.on_time, 1);
    mr_sched_close(s);
}

TEST(when_to_come_again_after_quota)
{
    struct mr_sched_config config = hand_config(64, 1);
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    EXPECT_EQ(mr_sched_retry_after_ns(s, MR_TIER_STANDARD, 0), 1000 * MS); /* no rate is known: the least */
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 100);
    for (int64_t t = 0; t < 60; t++) /* two tokens of service every 100 ms: 20 a second */
        hand_step(s, t * 100 * MS, 0);
    for (uint64_t id = 2; id < 12; id++) /* 8 + 2 x 32 service each, none seen yet: predicted to their most */
        hand_submit(s, id, 0, MR_TIER_STANDARD, 8, 32);
    EXPECT_NEAR((double)mr_sched_retry_after_ns(s, MR_TIER_STANDARD, 0) / 1e9, 10 * 72.0 / 2 / 20, 1);
    mr_sched_close(s);
}

TEST_MAIN(TEST_CASE(why_a_job_waited_in_order_of_time), TEST_CASE(what_stands_before_a_job), TEST_CASE(finished_and_on_time_by_tenant),
          TEST_CASE(when_to_come_again_after_quota))
