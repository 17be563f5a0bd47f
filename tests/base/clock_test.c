#include "base/clock.h"
#include "tests/test.h"

TEST(a_manual_clock_moves_only_when_told)
{
    struct mr_manual_clock manual = {5, 1000};
    struct mr_clock clock = mr_clock_manual(&manual);
    EXPECT_EQ(mr_clock_ns(&clock), 5);
    manual.monotonic_ns += MR_NS_PER_S;
    EXPECT_EQ(mr_clock_ns(&clock), 5 + MR_NS_PER_S);
    EXPECT_EQ(mr_clock_wall_ms(&clock), 1000);
}

TEST(the_system_clock_does_not_go_back)
{
    struct mr_clock clock = mr_clock_system();
    int64_t last = mr_clock_ns(&clock);
    for (int i = 0; i < 10000; i++) {
        int64_t now = mr_clock_ns(&clock);
        EXPECT(now >= last);
        last = now;
    }
    EXPECT(mr_clock_wall_ms(&clock) > INT64_C(1700000000000));
}

TEST_MAIN(TEST_CASE(a_manual_clock_moves_only_when_told), TEST_CASE(the_system_clock_does_not_go_back))
