#include "scheduler/bulk.h"
#include "tests/test.h"

#define SECOND INT64_C(1000000000)

TEST(says_at_once_when_a_deadline_cannot_be_kept)
{
    struct bulk bulk;
    int64_t now = 3600 * SECOND;
    REQUIRE(bulk_open(&bulk));
    EXPECT(bulk_add(&bulk, 1000, now + 60 * SECOND, now)); /* no rate measured: believed */
    for (int i = 0; i < 4; i++)
        bulk_measure(&bulk, 100000, SECOND);
    EXPECT_EQ(bulk.rate, 100000);
    EXPECT(bulk_add(&bulk, 5000000, now + 60 * SECOND, now));   /* 90 % of 100,000 a second for a minute is 5.4 million */
    EXPECT(!bulk_add(&bulk, 1000000, now + 60 * SECOND, now));  /* past it */
    EXPECT(!bulk_add(&bulk, 1000, now + 60 * SECOND, now));     /* and it counts */
    bulk_done(&bulk, 1001000, now + 60 * SECOND);
    EXPECT(bulk_add(&bulk, 1000, now + 60 * SECOND, now));
    EXPECT(bulk_add(&bulk, 5000000, now + 7200 * SECOND, now)); /* later ones have time */
    bulk_close(&bulk);
}

TEST(a_later_deadline_is_hurt_by_earlier_work)
{
    struct bulk bulk;
    int64_t now = 3600 * SECOND;
    REQUIRE(bulk_open(&bulk));
    bulk_measure(&bulk, 100000, SECOND);
    EXPECT(bulk_add(&bulk, 10000000, now + 180 * SECOND, now));
    EXPECT(!bulk_add(&bulk, 9000000, now + 180 * SECOND, now));
    bulk_close(&bulk);
}

TEST_MAIN(TEST_CASE(says_at_once_when_a_deadline_cannot_be_kept), TEST_CASE(a_later_deadline_is_hurt_by_earlier_work))
