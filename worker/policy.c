#include "worker/policy.h"

#include "base/check.h"

#include <stddef.h>

enum {
    OFF_ORDER = MR_PART_SLACK | MR_PART_RELEGATION | MR_PART_FLOORS | MR_PART_QUANTILES | MR_PART_VICTIMS | MR_PART_CAP | MR_PART_GUARD |
                MR_PART_WINDOW,
};

const char *const mr_policy_names[] = {"ours", "fcfs", "strict", "vtc", "lpm", NULL};

static const uint32_t parts_off[] = {
    0,
    OFF_ORDER | MR_PART_TIERS | MR_PART_FAIR | MR_PART_PREFIX,
    OFF_ORDER | MR_PART_FAIR | MR_PART_PREFIX,
    OFF_ORDER | MR_PART_TIERS | MR_PART_PREFIX,
    OFF_ORDER | MR_PART_TIERS | MR_PART_FAIR,
};
_Static_assert(sizeof parts_off / sizeof *parts_off + 1 == sizeof mr_policy_names / sizeof *mr_policy_names, "a name a policy");

void mr_policy_apply(int64_t policy, struct mr_sched_config *config)
{
    CHECK(policy >= 0 && (size_t)policy < sizeof parts_off / sizeof *parts_off);
    config->off = parts_off[policy];
}
