#include "tests/scheduler/hand.h"

static struct mr_sched *open_pool(int32_t n_blocks, int32_t seqs)
{
    struct mr_sched_config config = hand_config(n_blocks, seqs);
    config.window_tokens = 8192; /* who is served more is not held back here */
    return hand_open(&config);
}

static enum mr_sched_wait stop_of(const struct mr_sched *s, int class) { return s->classes[class].stop; }

TEST(the_future_peak_must_fit)
{
    struct mr_sched *s = open_pool(20, 8); /* 80 tokens; standard keeps 2 % free: 78 */
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 32); /* 10 blocks at its end */
    hand_submit(s, 2, 0, MR_TIER_STANDARD, 8, 32); /* 20 with it: both end together, the peak is 80 */
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    EXPECT(hand_plans(&plan, 1) && !hand_plans(&plan, 2));
    EXPECT_EQ(stop_of(s, MR_TIER_STANDARD), MR_WAIT_BLOCKS);
    hand_submit(s, 3, 1, MR_TIER_STANDARD, 8, 8); /* short: it is gone before the first has grown */
    plan = hand_step(s, 1, 0);
    EXPECT(hand_plans(&plan, 3));
    mr_sched_close(s);
}

TEST(realtime_counts_only_what_cannot_yield_to_it)
{
    struct mr_sched *s = open_pool(20, 8);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 32, 32);
    hand_step(s, 0, 0);
    hand_submit(s, 2, 0, MR_TIER_REALTIME, 16, 32);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT(hand_plans(&plan, 2));
    mr_sched_close(s);
}

TEST(headroom_is_8_percent_for_bulk)
{
    for (int tier = MR_TIER_REALTIME; tier < MR_TIER_COUNT; tier++) {
        struct mr_sched *s = open_pool(25, 8); /* 100 tokens */
        REQUIRE(s);
        hand_submit(s, 1, 0, tier, 40, 4);
        hand_step(s, 0, 0);
        hand_submit(s, 2, 0, tier, 48, 4); /* with it 96 at the peak: within 100 and 98, not within 92 */
        struct mr_sched_plan plan = hand_step(s, 1, 0);
        EXPECT_EQ(hand_plans(&plan, 2), tier != MR_TIER_BULK);
        mr_sched_close(s);
    }
}

TEST(a_head_that_does_not_fit_is_overtaken_16_times_at_most)
{
    struct mr_sched *s = open_pool(32, 8);
    int overtakers = 0;
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 64, 32); /* holds most of the pool */
    hand_step(s, 0, 0);
    hand_submit(s, 2, 1, MR_TIER_STANDARD, 100, 4); /* the head */
    hand_step(s, 0, 0);
    for (uint64_t id = 10; id < 40; id++) {
        hand_submit(s, id, 2, MR_TIER_STANDARD, 4, 1);
        struct mr_sched_plan plan = hand_step(s, 1, id);
        overtakers += hand_plans(&plan, id);
        mr_sched_cancel(s, id);
    }
    EXPECT_EQ(overtakers, 16);
    EXPECT_EQ(stop_of(s, MR_TIER_STANDARD), MR_WAIT_RESERVED);
    mr_sched_close(s);
}

TEST(after_three_preemptions_the_whole_is_reserved)
{
    struct mr_sched *s = open_pool(32, 4);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 40);
    for (int i = 0; i < 3; i++) {
        hand_step(s, i, 0);
        hand_job(s, 1)->preemptions++;
        EXPECT(mr_sched_preempt(s, 1));
    }
    hand_step(s, 4, 0);
    EXPECT_EQ(hand_job(s, 1)->table.n_blocks, 12); /* 48 tokens */
    mr_sched_close(s);
}

TEST(an_idle_match_is_not_taken_for_others)
{
    struct mr_sched *s = open_pool(6, 4);
    const uint64_t names[] = {7, 8};
    struct mr_sched_job job = {.id = 1, .tier = MR_TIER_STANDARD, .known_tokens = 9, .max_tokens = 12, .prefix = names, .n_prefix = 2};
    REQUIRE(s);
    mr_sched_submit(s, &job, 0, NULL);
    hand_step(s, 0, 1); /* gone; its two full blocks are idle under their names */
    EXPECT_EQ(s->pool.n_idle, 2);
    job.id = 2;
    mr_sched_submit(s, &job, 0, NULL);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    REQUIRE(plan.n_items == 1);
    EXPECT_EQ(plan.items[0].start, 8);
    EXPECT_EQ(hand_job(s, 2)->cached, 8);
    mr_sched_close(s);
}

/* A bulk job of 40 tokens makes room for a realtime job, which ends: with 100 tokens, 8 % headroom and 40 kept free 52 are left. */
TEST(what_bulk_lost_stays_free_until_its_tax_is_paid)
{
    struct mr_sched *s = open_pool(25, 8);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 40, 8);
    hand_step(s, 0, 0);
    hand_submit(s, 2, 1, MR_TIER_REALTIME, 80, 4);
    struct mr_sched_plan plan = hand_step(s, 1, 2);
    EXPECT_EQ(plan.n_preempted, 1);
    EXPECT_EQ(s->kept_free, 40 * 1000 - 80 * 3);
    mr_sched_cancel(s, 1);
    hand_submit(s, 3, 1, MR_TIER_BULK, 20, 4);
    hand_submit(s, 4, 1, MR_TIER_BULK, 28, 4); /* with it 56 at the peak */
    plan = hand_step(s, 2, 0);
    EXPECT(hand_plans(&plan, 3) && !hand_plans(&plan, 4));
    s->kept_free = 30 * 1000; /* later: more has been computed */
    plan = hand_step(s, 3, 0);
    EXPECT(hand_plans(&plan, 4));
    mr_sched_close(s);
}

TEST(no_more_than_half_the_pool_is_kept_free)
{
    struct mr_sched *s = open_pool(25, 8);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 60, 8);
    hand_step(s, 0, 0);
    hand_submit(s, 2, 1, MR_TIER_REALTIME, 80, 4);
    struct mr_sched_plan plan;
    mr_sched_plan(s, 1, &plan);
    EXPECT_EQ(plan.n_preempted, 1);
    EXPECT_EQ(s->kept_free, 50 * 1000);
    admission_computed(s, 50 * 1000);
    EXPECT_EQ(s->kept_free, 0); /* never below */
    mr_sched_close(s);
}

TEST_MAIN(TEST_CASE(the_future_peak_must_fit), TEST_CASE(realtime_counts_only_what_cannot_yield_to_it), TEST_CASE(headroom_is_8_percent_for_bulk),
          TEST_CASE(a_head_that_does_not_fit_is_overtaken_16_times_at_most), TEST_CASE(after_three_preemptions_the_whole_is_reserved),
          TEST_CASE(an_idle_match_is_not_taken_for_others), TEST_CASE(what_bulk_lost_stays_free_until_its_tax_is_paid),
          TEST_CASE(no_more_than_half_the_pool_is_kept_free))
