#include "scheduler/breaker.h"
#include "tests/test.h"

#define S INT64_C(1000000000)

static void open_it(struct mr_breaker *b, int64_t now)
{
    for (int i = 0; i < MR_BREAKER_FAILURES; i++)
        mr_breaker_failed(b, now);
}

TEST(opens_at_its_number_of_failures_and_not_before)
{
    struct mr_breaker b = {0};
    for (int i = 0; i < MR_BREAKER_FAILURES - 1; i++)
        mr_breaker_failed(&b, i);
    EXPECT(b.state == MR_BREAKER_CLOSED && mr_breaker_allow(&b, 10));
    mr_breaker_failed(&b, 10);
    EXPECT(b.state == MR_BREAKER_OPEN && !mr_breaker_allow(&b, 11));
    EXPECT_EQ(mr_breaker_wait_ns(&b, 10), MR_BREAKER_OPEN_NS);
}

TEST(failures_far_apart_do_not_add_up)
{
    struct mr_breaker b = {0};
    for (int i = 0; i < 20; i++)
        mr_breaker_failed(&b, i * (MR_BREAKER_WINDOW_NS + 1));
    EXPECT_EQ(b.state, MR_BREAKER_CLOSED);
    mr_breaker_failed(&b, 19 * (MR_BREAKER_WINDOW_NS + 1) + MR_BREAKER_WINDOW_NS); /* the window's last moment counts */
    EXPECT_EQ(b.failures, 2);
}

TEST(half_open_lets_one_through_at_a_time)
{
    struct mr_breaker b = {0};
    open_it(&b, 0);
    EXPECT(!mr_breaker_allow(&b, MR_BREAKER_OPEN_NS - 1));
    EXPECT(mr_breaker_allow(&b, MR_BREAKER_OPEN_NS));
    EXPECT(!mr_breaker_allow(&b, MR_BREAKER_OPEN_NS + 1));
    mr_breaker_succeeded(&b);
    EXPECT_EQ(b.state, MR_BREAKER_HALF_OPEN);
    EXPECT(mr_breaker_allow(&b, MR_BREAKER_OPEN_NS + 2));
    mr_breaker_succeeded(&b);
    EXPECT_EQ(b.state, MR_BREAKER_CLOSED);
    EXPECT(mr_breaker_allow(&b, MR_BREAKER_OPEN_NS + 3) && mr_breaker_allow(&b, MR_BREAKER_OPEN_NS + 3));
}

TEST(a_failed_probe_doubles_the_wait_to_its_limit)
{
    struct mr_breaker b = {0};
    int64_t now = 0, expected = MR_BREAKER_OPEN_NS;
    open_it(&b, now);
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(mr_breaker_wait_ns(&b, now), expected);
        now += expected;
        EXPECT(mr_breaker_allow(&b, now));
        mr_breaker_failed(&b, now);
        expected = expected * 2 < MR_BREAKER_OPEN_MOST_NS ? expected * 2 : MR_BREAKER_OPEN_MOST_NS;
    }
    EXPECT_EQ(expected, 60 * S);
    EXPECT_STR(mr_breaker_name(b.state), "open");
}

TEST(a_probe_that_is_never_heard_of_again_has_failed)
{
    struct mr_breaker b = {0};
    open_it(&b, 0);
    EXPECT(mr_breaker_allow(&b, MR_BREAKER_OPEN_NS));
    EXPECT(!mr_breaker_allow(&b, MR_BREAKER_OPEN_NS + MR_BREAKER_PROBE_NS - 1));
    EXPECT_EQ(b.state, MR_BREAKER_HALF_OPEN);
    EXPECT(!mr_breaker_allow(&b, MR_BREAKER_OPEN_NS + MR_BREAKER_PROBE_NS));
    EXPECT_EQ(b.state, MR_BREAKER_OPEN);
}

TEST_MAIN(TEST_CASE(opens_at_its_number_of_failures_and_not_before), TEST_CASE(failures_far_apart_do_not_add_up),
          TEST_CASE(half_open_lets_one_through_at_a_time), TEST_CASE(a_failed_probe_doubles_the_wait_to_its_limit),
          TEST_CASE(a_probe_that_is_never_heard_of_again_has_failed))
