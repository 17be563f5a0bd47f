#include "kv/block_table.h"
#include "tests/test.h"

TEST(counts_blocks)
{
    EXPECT_EQ(mr_blocks_for(0, 16), 0);
    EXPECT_EQ(mr_blocks_for(1, 16), 1);
    EXPECT_EQ(mr_blocks_for(16, 16), 1);
    EXPECT_EQ(mr_blocks_for(17, 16), 2);
}

TEST(reserves_all_or_nothing)
{
    struct mr_block_pool pool;
    int32_t ids[3];
    struct mr_block_table table = {.blocks = ids, .capacity = 3};
    REQUIRE(mr_block_pool_open(&pool, 4, NULL) == MR_OK);
    EXPECT(mr_block_table_reserve(&table, &pool, 40, 16));
    EXPECT_EQ(table.n_blocks, 3);
    EXPECT(mr_block_table_reserve(&table, &pool, 48, 16)); /* fits already */
    EXPECT_EQ(pool.n_free, 1);
    EXPECT(!mr_block_table_reserve(&table, &pool, 49, 16)); /* past the capacity, though the pool has one */
    EXPECT_EQ(pool.n_free, 1);
    int32_t other_ids[8];
    struct mr_block_table other = {.blocks = other_ids, .capacity = 8};
    EXPECT(!mr_block_table_reserve(&other, &pool, 17, 16)); /* two blocks, the pool has one */
    EXPECT_EQ(other.n_blocks, 0);
    EXPECT_EQ(pool.n_free, 1);
    mr_block_table_trim(&table, &pool, 17, 16);
    EXPECT_EQ(table.n_blocks, 2);
    EXPECT(mr_block_table_reserve(&other, &pool, 17, 16));
    mr_block_table_trim(&table, &pool, 0, 16);
    mr_block_table_trim(&other, &pool, 0, 16);
    EXPECT_EQ(pool.n_free, 4);
    mr_block_pool_check(&pool);
    mr_block_pool_close(&pool);
}

TEST_MAIN(TEST_CASE(counts_blocks), TEST_CASE(reserves_all_or_nothing))
