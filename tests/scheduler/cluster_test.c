#include "tests/scheduler/hand.h"

static struct mr_sched *worker_open(void)
{
    struct mr_sched_config config = hand_config(64, 4);
    return hand_open(&config);
}

/* One exchange with a store that holds *total: raise, add, read, take over. */
static int64_t exchange(struct mr_sched *s, int64_t *total, int64_t raise)
{
    *total = *total > raise ? *total : raise;
    *total += mr_sched_delta_take(s, MR_TIER_STANDARD, 0);
    return mr_sched_total_set(s, MR_TIER_STANDARD, 0, *total);
}

static int64_t counter(const struct mr_sched *s, uint32_t tenant)
{
    struct mr_sched_tenant_stats stats;
    mr_sched_tenant_stats(s, MR_TIER_STANDARD, tenant, &stats);
    return stats.counter;
}

TEST(two_workers_come_to_the_same_counter)
{
    struct mr_sched *a = worker_open(), *b = worker_open();
    int64_t total = 0;
    REQUIRE(a && b);
    hand_submit(a, 1, 0, MR_TIER_STANDARD, 40, 8);
    hand_submit(b, 1, 0, MR_TIER_STANDARD, 20, 8);
    hand_step(a, 0, 0);
    hand_step(b, 0, 0);
    for (int i = 0; i < 2; i++) {
        exchange(a, &total, 0);
        exchange(b, &total, 0);
    }
    EXPECT_EQ(total, (40 + 2 + 20 + 2) * MR_SCHED_SERVICE_UNIT);
    EXPECT_EQ(counter(a, 0), total);
    EXPECT_EQ(counter(b, 0), total);
    EXPECT_EQ(mr_sched_delta_take(a, MR_TIER_STANDARD, 0), 0);
    mr_sched_close(a), mr_sched_close(b);
}

TEST(a_store_that_forgot_is_raised_and_never_believed)
{
    struct mr_sched *a = worker_open();
    int64_t total = 5000;
    REQUIRE(a);
    int64_t raise = exchange(a, &total, 0);
    EXPECT_EQ(counter(a, 0), 5000);
    total = 0; /* flushed */
    hand_submit(a, 1, 0, MR_TIER_STANDARD, 8, 8);
    hand_step(a, 0, 0);
    int64_t own = (8 + 2) * MR_SCHED_SERVICE_UNIT, before = counter(a, 0);
    EXPECT_EQ(before, 5000 + own);
    raise = mr_sched_total_set(a, MR_TIER_STANDARD, 0, total += mr_sched_delta_take(a, MR_TIER_STANDARD, 0)); /* read without a raise */
    EXPECT_EQ(raise, 5000 + own); /* what it should hold: the delta that went into the void is among it */
    EXPECT_EQ(counter(a, 0), before);
    EXPECT_EQ(exchange(a, &total, raise), 5000 + own);
    EXPECT_EQ(total, 5000 + own);
    mr_sched_close(a);
}

TEST(a_delta_that_was_refused_goes_later)
{
    struct mr_sched *a = worker_open();
    int64_t total = 0;
    REQUIRE(a);
    hand_submit(a, 1, 0, MR_TIER_STANDARD, 8, 8);
    hand_step(a, 0, 0);
    int64_t delta = mr_sched_delta_take(a, MR_TIER_STANDARD, 0), before = counter(a, 0);
    mr_sched_delta_return(a, MR_TIER_STANDARD, 0, delta);
    EXPECT_EQ(counter(a, 0), before);
    exchange(a, &total, 0);
    EXPECT_EQ(total, delta);
    EXPECT_EQ(counter(a, 0), before);
    mr_sched_close(a);
}

TEST(who_comes_is_lifted_to_the_least_of_all_workers)
{
    struct mr_sched *a = worker_open();
    REQUIRE(a);
    EXPECT_EQ(mr_sched_least(a, MR_TIER_STANDARD), INT64_MAX);
    mr_sched_least_set(a, MR_TIER_STANDARD, 700);
    hand_submit(a, 1, 1, MR_TIER_STANDARD, 8, 8);
    EXPECT_EQ(counter(a, 1), 700);
    EXPECT_EQ(mr_sched_least(a, MR_TIER_STANDARD), 700);
    mr_sched_least_set(a, MR_TIER_STANDARD, 900); /* tenant 1 waits here at 700: it is the least */
    hand_submit(a, 2, 2, MR_TIER_STANDARD, 8, 8);
    EXPECT_EQ(counter(a, 2), 700);
    mr_sched_close(a);
}

TEST_MAIN(TEST_CASE(two_workers_come_to_the_same_counter), TEST_CASE(a_store_that_forgot_is_raised_and_never_believed),
          TEST_CASE(a_delta_that_was_refused_goes_later), TEST_CASE(who_comes_is_lifted_to_the_least_of_all_workers))
