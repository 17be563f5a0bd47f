#include "worker/policy.h"

#include "tests/test.h"

/* Each is the simulator's policy of that name. */
TEST(names_and_parts)
{
    struct mr_sched_config config = {.off = 1};
    EXPECT_STR(mr_policy_names[0], "ours");
    mr_policy_apply(0, &config);
    EXPECT_EQ(config.off, 0);
    EXPECT_STR(mr_policy_names[1], "fcfs");
    mr_policy_apply(1, &config);
    EXPECT(config.off & MR_PART_FAIR && config.off & MR_PART_TIERS && config.off & MR_PART_PREFIX && !(config.off & MR_PART_LIFT));
    EXPECT_STR(mr_policy_names[3], "vtc");
    mr_policy_apply(3, &config);
    EXPECT(!(config.off & MR_PART_FAIR) && config.off & MR_PART_PREFIX);
    EXPECT(mr_policy_names[5] == NULL);
}

TEST_MAIN(TEST_CASE(names_and_parts))
