#include "tests/scheduler/hand.h"

static struct mr_sched *open_greedy(int32_t n_blocks, int32_t seqs) /* no look at the future: the pool is filled to the last block */
{
    struct mr_sched_config config = hand_config(n_blocks, seqs);
    config.off = MR_PART_QUANTILES;
    return hand_open(&config);
}

static bool gone(const struct mr_sched_plan *plan, uint64_t id)
{
    for (int32_t i = 0; i < plan->n_preempted; i++)
        if (plan->preempted[i] == id)
            return true;
    return false;
}

TEST(the_lowest_tier_yields_first_and_relegated_before_it)
{
    struct mr_sched *s = open_greedy(12, 8);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 13, 4);
    hand_submit(s, 2, 0, MR_TIER_STANDARD, 13, 4);
    hand_submit(s, 3, 0, MR_TIER_BULK, 13, 4);
    hand_step(s, 0, 0);
    jobs_reclass(s, jobs_find(s, 3), MR_SCHED_RELEGATED);
    hand_submit(s, 4, 0, MR_TIER_REALTIME, 13, 4);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT(gone(&plan, 3) && plan.n_preempted == 1 && hand_plans(&plan, 4));
    hand_submit(s, 5, 0, MR_TIER_REALTIME, 13, 4);
    plan = hand_step(s, 2, 0);
    EXPECT(gone(&plan, 1) && plan.n_preempted == 1);
    mr_sched_close(s);
}

TEST(the_largest_counter_then_the_cheapest_block)
{
    struct mr_sched *s = open_greedy(12, 8);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 15, 4);
    hand_submit(s, 2, 1, MR_TIER_BULK, 15, 4);
    hand_submit(s, 3, 2, MR_TIER_BULK, 15, 4);
    hand_step(s, 0, 0);
    flow_of(s, MR_TIER_BULK, 1)->counter += FAIR_SCALE * 1000000; /* tenant 1 has had most */
    hand_submit(s, 4, 0, MR_TIER_REALTIME, 15, 4);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT(gone(&plan, 2) && plan.n_preempted == 1);
    mr_sched_close(s);
}

TEST(no_more_than_needed_and_none_that_the_need_can_do_without)
{
    struct mr_sched *s = open_greedy(12, 8);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 3, 4); /* 1 block, the cheapest: chosen first, and let go again */
    hand_submit(s, 2, 0, MR_TIER_BULK, 39, 4);
    hand_step(s, 0, 0);
    hand_submit(s, 3, 0, MR_TIER_REALTIME, 32, 4);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT(gone(&plan, 2) && !gone(&plan, 1));
    EXPECT_EQ(plan.victims[0].freed, 10);
    mr_sched_close(s);
}

TEST(all_or_nothing)
{
    struct mr_sched *s = open_greedy(12, 8);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 23, 4);
    hand_submit(s, 2, 0, MR_TIER_BULK, 8, 8);
    hand_step(s, 0, 0);
    hand_submit(s, 3, 0, MR_TIER_REALTIME, 40, 4); /* ten blocks, and only three could yield beside three free */
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT_EQ(plan.n_preempted, 0);
    mr_sched_close(s);
}

TEST(the_excluded_stay)
{
    struct mr_sched *s = open_greedy(8, 8);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_BULK, 27, 4);
    hand_step(s, 0, 0);
    hand_job(s, 1)->preemptions = s->classes[MR_TIER_BULK].decode_tenure[0].preemptions = 1; /* since_resume 1 < 32 */
    hand_submit(s, 2, 0, MR_TIER_REALTIME, 12, 4);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT_EQ(plan.n_preempted, 0);
    hand_job(s, 1)->preemptions = s->classes[MR_TIER_BULK].decode_tenure[0].preemptions = 0;
    plan = hand_step(s, 2, 0);
    EXPECT(gone(&plan, 1));
    mr_sched_close(s);
}

TEST(a_slot_is_taken_from_a_lower_tier_never_from_the_own)
{
    struct mr_sched *s = open_greedy(64, 1);
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 40);
    hand_step(s, 0, 0);
    hand_submit(s, 2, 1, MR_TIER_STANDARD, 8, 40);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT_EQ(plan.n_preempted, 0);
    hand_submit(s, 3, 1, MR_TIER_REALTIME, 8, 40);
    plan = hand_step(s, 2, 0);
    EXPECT(gone(&plan, 1) && plan.victims[0].slot);
    mr_sched_close(s);
}

TEST(a_victim_frees_nothing_by_blocks_that_the_needing_one_shares)
{
    struct mr_sched *s = open_greedy(8, 8);
    const uint64_t names[] = {7, 8, 9};
    struct mr_sched_job job = {.id = 1, .tier = MR_TIER_BULK, .known_tokens = 13, .max_tokens = 20, .prefix = names, .n_prefix = 3};
    REQUIRE(s);
    mr_sched_submit(s, &job, 0, NULL);
    hand_step(s, 0, 0);
    hand_submit(s, 2, 1, MR_TIER_BULK, 15, 4);
    hand_step(s, 1, 0); /* 4 + 4 blocks: full */
    job = (struct mr_sched_job){.id = 3, .tier = MR_TIER_REALTIME, .known_tokens = 20, .max_tokens = 24, .prefix = names, .n_prefix = 3};
    mr_sched_submit(s, &job, 0, NULL); /* needs two more beside the three it shares with job 1, which alone has one to give */
    struct mr_sched_plan plan = hand_step(s, 2, 0);
    EXPECT(hand_plans(&plan, 3) && gone(&plan, 2));
    mr_sched_close(s);
}

TEST_MAIN(TEST_CASE(the_lowest_tier_yields_first_and_relegated_before_it), TEST_CASE(the_largest_counter_then_the_cheapest_block),
          TEST_CASE(no_more_than_needed_and_none_that_the_need_can_do_without), TEST_CASE(all_or_nothing), TEST_CASE(the_excluded_stay),
          TEST_CASE(a_slot_is_taken_from_a_lower_tier_never_from_the_own),
          TEST_CASE(a_victim_frees_nothing_by_blocks_that_the_needing_one_shares))
