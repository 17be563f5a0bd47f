#include "scheduler/tiers.h"

void tiers_account(struct tiers *tiers, const int64_t service[MR_SCHED_CLASSES], const bool backlogged[MR_TIER_COUNT])
{
    int64_t sum = 0;
    for (int class = 0; class < MR_SCHED_CLASSES; class++)
        sum += service[class];
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        int64_t debt = tiers->debt[tier] + sum * tiers->permille[tier] / 1000 - service[tier];
        if (debt < -TIER_QUANTUM) /* what it had too much of is not held against it for ever */
            debt = -TIER_QUANTUM;
        if (!backlogged[tier])
            debt = debt > 0 ? 0 : debt, tiers->deferred_ns[tier] = 0;
        tiers->debt[tier] = debt;
    }
}

bool tiers_owed(struct tiers *tiers, int tier, bool violating, int64_t start_ns)
{
    if (tiers->debt[tier] <= TIER_QUANTUM) {
        tiers->deferred_ns[tier] = 0;
        return false;
    }
    if (!violating)
        return true;
    if (!tiers->deferred_ns[tier])
        tiers->deferred_ns[tier] = start_ns;
    return start_ns - tiers->deferred_ns[tier] >= TIER_DEFERRAL_NS;
}
