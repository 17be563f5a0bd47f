#include "tests/scheduler/hand.h"

/* 1 us a token, steps of at most 15 ms (1.5 x TPOT) of which 1 ms is fixed. */
static struct mr_sched *open_slo(void)
{
    struct mr_sched_config config = hand_config(4096, 16);
    config.max_context = 8192;
    config.n_blocks = 16384;
    config.max_step_tokens = 8192;
    config.cost.token_ps = 10000000; /* 10 us */
    config.tier[MR_TIER_REALTIME] = (struct mr_sched_tier_config){100 * MS, 10 * MS, 700};
    config.tier[MR_TIER_STANDARD] = (struct mr_sched_tier_config){400 * MS, 40 * MS, 250};
    return hand_open(&config);
}

static bool relegated(struct mr_sched *s, uint64_t id)
{
    struct mr_sched_job_info info = {0};
    return mr_sched_job_info(s, id, &info) && info.relegated;
}

TEST(what_cannot_be_kept_alone_is_told_before_it_gets_blocks)
{
    struct mr_sched *s = open_slo();
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 8000, 8); /* 80 ms of work, 15/14 of that in steps: kept */
    hand_submit(s, 2, 0, MR_TIER_STANDARD, 8000, 8);
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    EXPECT(!relegated(s, 1) && !relegated(s, 2) && plan.n_items > 0);
    mr_sched_close(s);
    s = open_slo();
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 8000, 8);
    plan = hand_step(s, 20 * MS, 0); /* 80 ms are left for 85 */
    EXPECT(relegated(s, 1));
    mr_sched_close(s);
}

TEST(the_largest_before_a_missed_deadline_goes) /* Moore and Hodgson: the number of late jobs is least */
{
    struct mr_sched *s = open_slo();
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 3000, 8);
    hand_submit(s, 2, 0, MR_TIER_REALTIME, 5000, 8);
    hand_submit(s, 3, 0, MR_TIER_REALTIME, 3000, 8); /* 110 ms due at 100: without the second it is 60 */
    hand_step(s, 0, 0);
    EXPECT(!relegated(s, 1) && relegated(s, 2) && !relegated(s, 3));
    mr_sched_close(s);
}

TEST(realtime_work_stands_before_standard_deadlines)
{
    struct mr_sched *s = open_slo();
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 5000, 8);
    hand_step(s, 0, 0);
    EXPECT(!relegated(s, 1));
    int64_t t = 320 * MS; /* 80 ms before its deadline; what is left of it fits alone, and does not behind 80 ms of realtime */
    hand_submit(s, 2, 1, MR_TIER_STANDARD, 6500, 8);
    EXPECT_EQ(hand_job(s, 2)->due_ns, 400 * MS + 2);
    struct mr_sched_job urgent = {.id = 3, .tenant = 2, .tier = MR_TIER_REALTIME, .known_tokens = 8000, .max_tokens = 8008, .arrival_ns = t};
    EXPECT_EQ(mr_sched_submit(s, &urgent, t, NULL), MR_OK);
    hand_step(s, t, 0);
    EXPECT(relegated(s, 2) && !relegated(s, 3));
    mr_sched_close(s);
}

TEST(a_relegated_job_still_runs)
{
    struct mr_sched *s = open_slo();
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 64, 8);
    struct mr_sched_plan plan = hand_step(s, 500 * MS, 0);
    EXPECT(relegated(s, 1) && hand_plans(&plan, 1));
    mr_sched_close(s);
}

TEST_MAIN(TEST_CASE(what_cannot_be_kept_alone_is_told_before_it_gets_blocks), TEST_CASE(the_largest_before_a_missed_deadline_goes),
          TEST_CASE(realtime_work_stands_before_standard_deadlines), TEST_CASE(a_relegated_job_still_runs))
