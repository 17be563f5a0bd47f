#include "tests/scheduler/hand.h"

enum { STEPS = REFRESH_STEPS + 1 }; /* of a job, so that its flow has looked anew when it ends */

static const uint64_t A[] = {101, 102}, B[] = {201, 202};

static void submit(struct mr_sched *s, uint64_t id, const uint64_t *names)
{
    struct mr_sched_job job = {.id = id, .tier = MR_TIER_BULK, .known_tokens = 9, .max_tokens = 20, .arrival_ns = (int64_t)id, .prefix = names,
                               .n_prefix = 2};
    EXPECT_EQ(mr_sched_submit(s, &job, 0, NULL), MR_OK);
}

TEST(jobs_that_begin_alike_are_one_group)
{
    struct mr_sched_config config = hand_config(64, 4);
    struct mr_sched *s = hand_open(&config);
    REQUIRE(s);
    submit(s, 1, A), submit(s, 2, B), submit(s, 3, A);
    int32_t a = hand_job(s, 1)->group;
    EXPECT(a >= 0 && a == hand_job(s, 3)->group && a != hand_job(s, 2)->group);
    EXPECT_EQ(s->groups.all[a].n, 2);
    mr_sched_cancel(s, 1);
    EXPECT_EQ(s->groups.all[a].n, 1);
    EXPECT_EQ(s->groups.all[a].head, jobs_find(s, 3));
    mr_sched_close(s);
}

TEST(a_beginning_is_computed_once_and_then_serves_them_all)
{
    struct mr_sched_config config = hand_config(64, 8);
    config.max_step_tokens = 4;
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_stats stats;
    REQUIRE(s);
    submit(s, 1, A), submit(s, 2, A), submit(s, 3, A);
    struct mr_sched_plan plan = hand_step(s, 0, 0);
    EXPECT_EQ(plan.n_items, 1);
    config.max_step_tokens = s->config.max_step_tokens = 64; /* there is room, and the others wait while it is warming */
    mr_sched_plan(s, 1, &plan);
    EXPECT_EQ(plan.n_items, 1);
    EXPECT(!groups_ready(s, hand_job(s, 2)->group));
    mr_sched_commit(s, &(struct mr_sched_result){.new_tokens = 1}, 1, 1);
    for (int i = 2; i < 4; i++)
        hand_step(s, i, 0);
    mr_sched_stats(s, &stats);
    EXPECT_EQ(stats.cached_tokens, 2 * 8);
    mr_sched_close(s);
}

TEST(one_group_is_drained_before_the_next)
{
    struct mr_sched_config config = hand_config(64, 1);
    struct mr_sched *s = hand_open(&config);
    uint64_t order[6];
    REQUIRE(s);
    for (uint64_t id = 1; id <= 6; id++)
        submit(s, id, id % 2 ? A : B);
    for (int i = 0; i < 6 * STEPS; i++) {
        struct mr_sched_plan plan;
        struct mr_sched_result result = {.new_tokens = 1, .finished = i % STEPS == STEPS - 1};
        mr_sched_plan(s, i, &plan);
        REQUIRE(plan.n_items == 1);
        order[i / STEPS] = plan.items[0].id;
        mr_sched_commit(s, &result, 1, i);
    }
    for (int i = 1; i < 3; i++)
        EXPECT_EQ(order[i] % 2, order[0] % 2);
    for (int i = 4; i < 6; i++)
        EXPECT_EQ(order[i] % 2, order[3] % 2);
    mr_sched_close(s);
}

TEST(where_deadlines_rule_there_are_no_groups)
{
    struct mr_sched_config config = hand_config(64, 4);
    config.tier[MR_TIER_STANDARD].ttft_ns = 1000 * MS;
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_job job = {.id = 1, .tier = MR_TIER_STANDARD, .known_tokens = 9, .max_tokens = 20, .prefix = A, .n_prefix = 2};
    REQUIRE(s);
    mr_sched_submit(s, &job, 0, NULL);
    EXPECT_EQ(hand_job(s, 1)->group, -1);
    EXPECT(groups_ready(s, -1));
    mr_sched_close(s);
}

TEST_MAIN(TEST_CASE(jobs_that_begin_alike_are_one_group), TEST_CASE(a_beginning_is_computed_once_and_then_serves_them_all),
          TEST_CASE(one_group_is_drained_before_the_next), TEST_CASE(where_deadlines_rule_there_are_no_groups))
