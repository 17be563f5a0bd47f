#include "scheduler/pressure.h"
#include "tests/test.h"

TEST(pauses_above_ten_seconds_of_service_and_goes_on_at_half)
{
    struct pressure p = {0};
    const int64_t service[MR_SCHED_CLASSES] = {0, 100000 * MR_SCHED_SERVICE_UNIT, 0, 0};
    int64_t high = 10 * service[1];
    pressure_measure(&p, service, 1000000000);
    p.queued[MR_TIER_STANDARD] = high;
    pressure_update(&p, 1000000000);
    EXPECT(!p.paused[MR_TIER_STANDARD]);
    p.queued[MR_TIER_STANDARD] = high + 1;
    pressure_update(&p, 1000000000);
    EXPECT(p.paused[MR_TIER_STANDARD]);
    p.queued[MR_TIER_STANDARD] = high / 2;
    pressure_update(&p, 1000000000 + PRESSURE_DWELL_NS - 1);
    EXPECT(p.paused[MR_TIER_STANDARD]); /* not so soon */
    pressure_update(&p, 1000000000 + PRESSURE_DWELL_NS);
    EXPECT(!p.paused[MR_TIER_STANDARD]);
    p.queued[MR_TIER_REALTIME] = INT64_MAX / 2;
    pressure_update(&p, 9000000000);
    EXPECT(!p.paused[MR_TIER_REALTIME]); /* never here */
}

TEST_MAIN(TEST_CASE(pauses_above_ten_seconds_of_service_and_goes_on_at_half))
