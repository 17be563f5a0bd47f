#include "scheduler/sim/feed.h"
#include "tests/test.h"

static struct sim_scenario scenario;
static struct sim_feed feed;

static void open_feed(int32_t workers, int32_t prefetch)
{
    static const bool all[SIM_WORKERS_MAX] = {true, true, true};
    sim_scenario_default(&scenario);
    scenario.workers = workers;
    scenario.prefetch = prefetch;
    scenario.fetch_ns = 10;
    scenario.rebalance_ns = 1000;
    sim_feed_open(&feed, &scenario);
    sim_feed_rebalance(&feed, all, 0);
}

TEST(a_partition_keeps_its_order_and_takes_a_fetch)
{
    open_feed(1, 100);
    for (int32_t j = 0; j < 200; j++)
        REQUIRE(sim_feed_put(&feed, MR_TIER_BULK, 7, j, 0));
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_BULK, false, 9), -1);
    EXPECT_EQ(sim_feed_moment(&feed, 0, 0), 10);
    for (int32_t j = 0; j < 100; j++)
        EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_BULK, false, 10), j);
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_BULK, false, 10), -1); /* what was fetched ahead is used up */
    EXPECT_EQ(sim_feed_moment(&feed, 0, 10), 20);
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_BULK, false, 20), 100);
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_REALTIME, false, 20), -1);
    EXPECT_EQ(feed.longest, 200);
    sim_feed_close(&feed);
}

TEST(a_pause_throws_away_what_was_fetched)
{
    open_feed(1, 4);
    for (int32_t j = 0; j < 6; j++)
        REQUIRE(sim_feed_put(&feed, MR_TIER_STANDARD, 7, j, 0));
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_STANDARD, true, 50), -1);
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_STANDARD, true, 60), -1);
    EXPECT_EQ(feed.pauses, 1);
    EXPECT_EQ(feed.refetched, 4);
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_STANDARD, false, 70), -1); /* fetched again */
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_STANDARD, false, 80), 0);
    sim_feed_close(&feed);
}

TEST(a_rebalance_moves_partitions_and_holds_them_for_a_while)
{
    static const bool without_one[SIM_WORKERS_MAX] = {true, false, true};
    open_feed(3, 100);
    int32_t mine = 0;
    for (uint64_t key = 0; key < SIM_PARTITIONS; key++) {
        REQUIRE(sim_feed_put(&feed, MR_TIER_BULK, key, (int32_t)key, 0));
        mine += feed.partitions[MR_TIER_BULK][key].owner == 1;
    }
    EXPECT_EQ(mine, SIM_PARTITIONS / 3);
    EXPECT_EQ(feed.partitions[MR_TIER_BULK][8].owner, 1);
    REQUIRE(sim_feed_return(&feed, MR_TIER_BULK, 8, 99)); /* what the dead worker had in hand comes before the rest */
    sim_feed_rebalance(&feed, without_one, 100);
    EXPECT_EQ(feed.partitions[MR_TIER_BULK][8].owner, 0);
    for (int32_t j = 0; j < 8; j++)
        EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_BULK, false, 200), j);
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_BULK, false, 200), -1);
    EXPECT_EQ(sim_feed_moment(&feed, 0, 200), 1100);
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_BULK, false, 1100), 99);
    EXPECT_EQ(sim_feed_take(&feed, 0, MR_TIER_BULK, false, 1100), 8);
    sim_feed_close(&feed);
}

TEST_MAIN(TEST_CASE(a_partition_keeps_its_order_and_takes_a_fetch), TEST_CASE(a_pause_throws_away_what_was_fetched),
          TEST_CASE(a_rebalance_moves_partitions_and_holds_them_for_a_while))
