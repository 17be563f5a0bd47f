#include "tests/scheduler/hand.h"

static struct mr_sched *open_pool(void)
{
    struct mr_sched_config config = hand_config(64, 4);
    return hand_open(&config);
}

TEST(ids_are_found_whatever_was_removed) /* the index closes its gaps */
{
    struct mr_sched *s = open_pool();
    REQUIRE(s);
    for (uint64_t round = 0; round < 20; round++) {
        for (uint64_t id = 1; id <= 64; id++)
            EXPECT_EQ(hand_submit(s, round * 1000 + id * 64, 0, MR_TIER_STANDARD, 4, 4), MR_OK);
        EXPECT_EQ(hand_submit(s, 5, 0, MR_TIER_STANDARD, 4, 4), MR_ERR_LIMIT); /* max_jobs, and one past it */
        for (uint64_t id = 1; id <= 64; id += 2)
            EXPECT(mr_sched_cancel(s, round * 1000 + id * 64));
        for (uint64_t id = 1; id <= 64; id++)
            EXPECT_EQ(jobs_find(s, round * 1000 + id * 64) >= 0, id % 2 == 0);
        for (uint64_t id = 2; id <= 64; id += 2)
            EXPECT(mr_sched_cancel(s, round * 1000 + id * 64));
        mr_sched_check(s);
    }
    EXPECT_EQ(s->n_live, 0);
    mr_sched_close(s);
}

TEST(a_flow_is_kept_in_order_of_arrival_by_priority)
{
    struct mr_sched *s = open_pool();
    static const struct {
        uint64_t id;
        int32_t priority;
        int64_t arrival;
    } in[] = {{1, 0, 30}, {2, 0, 10}, {3, 5, 40}, {4, 0, 20}, {5, 0, 20}};
    static const uint64_t order[] = {2, 4, 5, 1};
    REQUIRE(s);
    for (int i = 0; i < 5; i++) {
        struct mr_sched_job job = {.id = in[i].id, .tier = MR_TIER_STANDARD, .priority = in[i].priority, .known_tokens = 4, .max_tokens = 8,
                                   .arrival_ns = in[i].arrival};
        EXPECT_EQ(mr_sched_submit(s, &job, 50, NULL), MR_OK);
    }
    const struct flow *flow = flow_of(s, MR_TIER_STANDARD, 0);
    EXPECT_EQ(s->jobs[flow->head[5]].in.id, 3);
    int32_t j = flow->head[0];
    for (int i = 0; i < 4; i++, j = s->next[j]) {
        REQUIRE(j >= 0);
        EXPECT_EQ(s->jobs[j].in.id, order[i]);
    }
    EXPECT_EQ(j, -1);
    mr_sched_close(s);
}

TEST(a_victim_returns_to_the_head_of_its_tenant_with_its_age)
{
    struct mr_sched *s = open_pool();
    REQUIRE(s);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 8, 40);
    hand_step(s, 0, 0);
    struct mr_sched_job urgent = {.id = 2, .tier = MR_TIER_STANDARD, .priority = 9, .known_tokens = 4, .max_tokens = 8, .arrival_ns = 2};
    mr_sched_submit(s, &urgent, 0, NULL);
    EXPECT(mr_sched_preempt(s, 1));
    EXPECT_EQ(hand_job(s, 1)->level, LEVEL_PREEMPTED);
    EXPECT_EQ(hand_job(s, 1)->in.arrival_ns, 1);
    EXPECT_EQ(hand_job(s, 1)->known, 9); /* its tokens stay, its KV is gone */
    EXPECT_EQ(hand_job(s, 1)->computed, 0);
    EXPECT_EQ(mr_block_pool_available(&s->pool), 64);
    mr_sched_close(s);
}

TEST(decodes_are_kept_as_the_items_they_will_be)
{
    struct mr_sched *s = open_pool();
    REQUIRE(s);
    for (uint64_t id = 1; id <= 4; id++)
        hand_submit(s, id, 0, MR_TIER_STANDARD, 4 * (int32_t)id, 40);
    hand_step(s, 0, 0);
    const struct class *class = &s->classes[MR_TIER_STANDARD];
    EXPECT_EQ(class->n_decodes, 4);
    EXPECT_EQ(class->decode_context, 5 + 9 + 13 + 17);
    mr_sched_cancel(s, 1); /* the last one takes its place */
    EXPECT_EQ(class->n_decodes, 3);
    EXPECT_EQ(class->decode_context, 9 + 13 + 17);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    EXPECT_EQ(plan.n_items, 3);
    for (int32_t i = 0; i < plan.n_items; i++)
        EXPECT_EQ(plan.items[i].start, 4 * (int32_t)plan.items[i].id);
    mr_sched_close(s);
}

TEST_MAIN(TEST_CASE(ids_are_found_whatever_was_removed), TEST_CASE(a_flow_is_kept_in_order_of_arrival_by_priority),
          TEST_CASE(a_victim_returns_to_the_head_of_its_tenant_with_its_age), TEST_CASE(decodes_are_kept_as_the_items_they_will_be))
