#include "scheduler/limits.h"
#include "tests/test.h"

enum { UNIT = MR_SCHED_SERVICE_UNIT };
#define SECOND INT64_C(1000000000)

TEST(the_bucket_shapes_and_refills)
{
    struct limits limits;
    enum mr_sched_wait wait;
    struct mr_sched_tenant contract = {.weight = 1, .rate_tokens = 100, .burst_tokens = 200};
    REQUIRE(limits_open(&limits, 2));
    limits_set(&limits, 0, &contract, 0);
    limits_start(&limits, 0, 250 * UNIT, 0);
    EXPECT(!limits_allow(&limits, 0, &wait));
    EXPECT_EQ(wait, MR_WAIT_RATE);
    EXPECT(limits_allow(&limits, 1, &wait)); /* nobody else waits for it */
    EXPECT_EQ(limits_refilled(&limits, SECOND / 4), -1);
    EXPECT_EQ(limits_refilled(&limits, SECOND / 2 + 10), 0);
    EXPECT(limits_allow(&limits, 0, &wait));
    limits_settle(&limits, 0, -100 * UNIT, SECOND / 2 + 10); /* it cost less than was thought */
    EXPECT_NEAR(limits.tenants[0].level, 100 * UNIT, UNIT);
    limits_close(&limits);
}

TEST(debt_goes_down_to_one_burst)
{
    struct limits limits;
    struct mr_sched_tenant contract = {.weight = 1, .rate_tokens = 100, .burst_tokens = 200};
    REQUIRE(limits_open(&limits, 1));
    limits_set(&limits, 0, &contract, 0);
    limits_start(&limits, 0, 100000 * UNIT, 0);
    EXPECT_EQ(limits.tenants[0].level, -200 * UNIT);
    limits_close(&limits);
}

TEST(concurrency_and_queue_at_the_limit_and_past_it)
{
    struct limits limits;
    enum mr_sched_wait wait;
    struct mr_sched_tenant contract = {.weight = 1, .concurrency = 2, .queued_tokens = 100};
    REQUIRE(limits_open(&limits, 1));
    limits_set(&limits, 0, &contract, 0);
    limits_start(&limits, 0, 0, 0);
    EXPECT(limits_allow(&limits, 0, &wait));
    limits_start(&limits, 0, 0, 0);
    EXPECT(!limits_allow(&limits, 0, &wait));
    EXPECT_EQ(wait, MR_WAIT_CONCURRENCY);
    limits_end(&limits, 0);
    EXPECT(limits_allow(&limits, 0, &wait));
    EXPECT(limits_queue_fits(&limits, 0, 100));
    EXPECT(!limits_queue_fits(&limits, 0, 101));
    limits_queue(&limits, 0, 60);
    EXPECT(limits_queue_fits(&limits, 0, 40));
    EXPECT(!limits_queue_fits(&limits, 0, 41));
    limits_close(&limits);
}

TEST_MAIN(TEST_CASE(the_bucket_shapes_and_refills), TEST_CASE(debt_goes_down_to_one_burst), TEST_CASE(concurrency_and_queue_at_the_limit_and_past_it))
