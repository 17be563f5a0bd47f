#include "scheduler/pressure.h"

#include "scheduler/mutant.h"

void pressure_measure(struct pressure *pressure, const int64_t service[MR_SCHED_CLASSES], int64_t elapsed_ns)
{
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        pressure->window[tier] += service[tier];
    pressure->window_ns += elapsed_ns;
    if (pressure->window_ns < 1000000000)
        return;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        int64_t rate = (int64_t)((__int128)pressure->window[tier] * 1000000000 / pressure->window_ns);
        pressure->rate[tier] = pressure->rate[tier] ? pressure->rate[tier] + (rate - pressure->rate[tier]) / 4 : rate;
        pressure->window[tier] = 0;
    }
    pressure->window_ns = 0;
}

void pressure_update(struct pressure *pressure, int64_t now_ns)
{
    for (int tier = MR_TIER_STANDARD; tier < MR_TIER_COUNT; tier++) {
        int64_t high = pressure->rate[tier] * PRESSURE_HIGH_S;
        high = high > PRESSURE_LEAST ? high : PRESSURE_LEAST;
        bool paused = pressure->paused[tier] ? pressure->queued[tier] > high / 2 : pressure->queued[tier] > high;
        paused |= MUTANT(MUTANT_PAUSE_STAYS) && pressure->paused[tier];
        if (paused != pressure->paused[tier] && now_ns - pressure->changed_ns[tier] >= PRESSURE_DWELL_NS) {
            pressure->paused[tier] = paused;
            pressure->changed_ns[tier] = now_ns;
        }
    }
}
