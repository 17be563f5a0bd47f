/* T by scheduling.md 3.4, step 1. One token is 1 us, a step 1 ms: T_floor of d decodes and 16 floor tokens is 1.016 ms + d us, and 1 ns. */
#include "tests/scheduler/hand.h"

static struct mr_sched_config slo(void)
{
    struct mr_sched_config config = hand_config(256, 8);
    config.tier[MR_TIER_REALTIME] = (struct mr_sched_tier_config){100 * MS, 10 * MS, 700};
    config.tier[MR_TIER_STANDARD] = (struct mr_sched_tier_config){1000 * MS, 40 * MS, 250};
    return config;
}

static int64_t budget_at(struct mr_sched *s, int64_t now) { return hand_step(s, now, 0).budget_ns; }

TEST(without_a_latency_tier_a_tenth_of_the_realtime_ttft)
{
    struct mr_sched_config config = slo();
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 8, 8);
    EXPECT_EQ(budget_at(s, 0), 10 * MS);
    mr_sched_close(s);
}

TEST(the_clamp_is_one_and_a_half_of_the_least_tpot)
{
    struct mr_sched_config config = slo();
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 100);
    EXPECT_EQ(budget_at(s, 0), 60 * MS);
    hand_submit(s, 2, 0, MR_TIER_REALTIME, 8, 100);
    EXPECT_EQ(budget_at(s, 10 * MS), 15 * MS);
    mr_sched_close(s);
}

TEST(else_95_percent_of_the_least_slack_that_can_be_kept)
{
    struct mr_sched_config config = slo();
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 8, 100);
    hand_step(s, 0, 0);
    int64_t due = hand_job(s, 1)->due_ns; /* first token at 1.008 ms, the next is due 10 ms later */
    EXPECT_EQ(due, 1008000 + 10 * MS);
    EXPECT_EQ(budget_at(s, due - 8 * MS), 8 * MS / 100 * 95);
    mr_sched_close(s);
}

TEST(the_interval_is_never_empty)
{
    struct mr_sched_config config = slo();
    config.tier[MR_TIER_REALTIME].tpot_ns = 2 * MS; /* 1.5 x 2 ms is less than T_floor of 4096 floor tokens */
    config.floor_tokens = 4096;
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 8, 100);
    EXPECT_EQ(budget_at(s, 0), 1000000 + 4096 * 1000 + 1);
    mr_sched_close(s);
}

TEST(a_late_sequence_does_not_collapse_the_step) /* trap (a) of section 2 */
{
    struct mr_sched_config config = slo();
    config.off = MR_PART_RELEGATION;
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 8, 100);
    hand_step(s, 0, 0);
    int64_t late = budget_at(s, 500 * MS); /* long overdue: it catches up at 3/4 of its TPOT, not at T_floor */
    EXPECT(late >= 75 * MS / 10 && late <= 15 * MS);
    mr_sched_close(s);
}

/* A step with a realtime prompt of 8 tokens has time for all of the bulk's 100 as well, unless that time is kept. */
TEST(what_is_kept_from_backfill)
{
    struct mr_sched_config config = slo();
    struct mr_err err;
    for (int i = 0; i < 2; i++) {
        config.backfill_keep_permille = i ? 1000 : 0;
        struct mr_sched *s = hand_open(&config);
        REQUIRE(s);
        hand_submit(s, 1, 0, MR_TIER_REALTIME, 8, 100);
        hand_submit(s, 2, 1, MR_TIER_BULK, 100, 8);
        EXPECT_EQ(hand_step(s, 0, 0).n_tokens, i ? 8 : 108);
        EXPECT(hand_step(s, 2 * MS, 0).n_tokens > 1); /* no prompt of realtime in this one: the bulk's decode or its prompt goes along */
        mr_sched_close(s);
    }
    config.backfill_keep_permille = 1001;
    struct mr_sched *s;
    EXPECT_EQ(mr_sched_open(&config, &s, &err), MR_ERR_INVALID);
}

TEST(a_pace_below_one_shortens_the_step)
{
    struct mr_sched_config config = slo();
    config.pace_permille = 500;
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 8, 100);
    EXPECT_EQ(budget_at(s, 0), 75 * MS / 10);
    EXPECT_EQ(hand_job(s, 1)->due_ns, 1008000 + 5 * MS);
    mr_sched_close(s);
    config.pace_permille = 1001;
    struct mr_err err = {0};
    EXPECT_EQ(mr_sched_open(&config, &s, &err), MR_ERR_INVALID);
    config.pace_permille = 100; /* 1 ms: less than a step of one decode takes */
    EXPECT_EQ(mr_sched_open(&config, &s, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "this device needs"));
}

TEST_MAIN(TEST_CASE(without_a_latency_tier_a_tenth_of_the_realtime_ttft), TEST_CASE(the_clamp_is_one_and_a_half_of_the_least_tpot),
          TEST_CASE(else_95_percent_of_the_least_slack_that_can_be_kept), TEST_CASE(the_interval_is_never_empty),
          TEST_CASE(a_late_sequence_does_not_collapse_the_step), TEST_CASE(a_pace_below_one_shortens_the_step), TEST_CASE(what_is_kept_from_backfill))
