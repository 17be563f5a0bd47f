#include "scheduler/lengths.h"
#include "tests/test.h"

TEST(buckets_cover_every_length)
{
    for (int32_t length = 0; length < 1 << 20; length += 1 + length / 64) {
        int32_t bucket = length_bucket(length);
        EXPECT(length <= length_bucket_top(bucket));
        EXPECT(bucket == 0 || length > length_bucket_top(bucket - 1));
    }
}

TEST(quantiles_depend_on_what_was_produced)
{
    struct lengths lengths;
    REQUIRE(lengths_open(&lengths, 3));
    struct lengths_query query = {.tenant = 1, .tier = 2, .most = 1000, .permille = 500};
    EXPECT_EQ(lengths_quantile(&lengths, &query), 1000); /* nothing known: the most */
    for (int i = 0; i < LENGTH_ENOUGH - 1; i++)
        lengths_add(&lengths, 1, 0, 2, 10);
    EXPECT_EQ(lengths_quantile(&lengths, &query), 1000); /* one short of enough */
    lengths_add(&lengths, 1, 0, 2, 10);
    EXPECT_EQ(lengths_quantile(&lengths, &query), 10);
    for (int i = 0; i < LENGTH_ENOUGH / 2; i++)
        lengths_add(&lengths, 1, 0, 2, 400);
    EXPECT_EQ(lengths_quantile(&lengths, &query), 10); /* the median */
    query.produced = 50;
    int32_t rest = lengths_quantile(&lengths, &query); /* given 50, only the long ones are left */
    EXPECT(rest >= 400 && rest < 512);
    query.tenant = 9; /* unknown tenant: the tier's pooled prior */
    query.produced = 0;
    EXPECT_EQ(lengths_quantile(&lengths, &query), 10);
    query.most = 5;
    EXPECT_EQ(lengths_quantile(&lengths, &query), 5);
    lengths_close(&lengths);
}

TEST(old_lengths_fade)
{
    struct lengths lengths;
    REQUIRE(lengths_open(&lengths, 3));
    struct lengths_query query = {.tenant = 1, .tier = 1, .most = 1000, .permille = 500};
    for (int i = 0; i < 2000; i++)
        lengths_add(&lengths, 1, 0, 1, 8);
    for (int i = 0; i < 1100; i++)
        lengths_add(&lengths, 1, 0, 1, 15);
    EXPECT_EQ(lengths_quantile(&lengths, &query), 15);
    lengths_close(&lengths);
}

TEST_MAIN(TEST_CASE(buckets_cover_every_length), TEST_CASE(quantiles_depend_on_what_was_produced), TEST_CASE(old_lengths_fade))
