#include "scheduler/tiers.h"
#include "tests/test.h"

TEST(a_starved_tier_is_owed_and_goes_next)
{
    struct tiers tiers = {.permille = {700, 250, 50}};
    const bool backlogged[MR_TIER_COUNT] = {true, false, true};
    const int64_t realtime_only[MR_SCHED_CLASSES] = {1000 * MR_SCHED_SERVICE_UNIT};
    int steps = 0;
    while (!tiers_owed(&tiers, MR_TIER_BULK, false, steps) && steps < 100000) {
        tiers_account(&tiers, realtime_only, backlogged);
        steps++;
    }
    EXPECT_EQ(steps, 16384 / 50 + 1); /* 5 % of 1,000 a step, to Q_T = 16,384 */
    EXPECT_EQ(tiers.debt[MR_TIER_STANDARD], 0); /* has no work: is owed nothing */
}

TEST(lateness_puts_it_off_for_two_seconds_at_most)
{
    struct tiers tiers = {.permille = {0, 0, 50}, .debt = {0, 0, TIER_QUANTUM + 1}};
    EXPECT(!tiers_owed(&tiers, MR_TIER_BULK, true, 5));
    EXPECT(!tiers_owed(&tiers, MR_TIER_BULK, true, 5 + TIER_DEFERRAL_NS - 1));
    EXPECT(tiers_owed(&tiers, MR_TIER_BULK, true, 5 + TIER_DEFERRAL_NS));
    EXPECT(tiers_owed(&tiers, MR_TIER_BULK, false, 6));
}

TEST_MAIN(TEST_CASE(a_starved_tier_is_owed_and_goes_next), TEST_CASE(lateness_puts_it_off_for_two_seconds_at_most))
