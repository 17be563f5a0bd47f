#include "kv/block_pool.h"

#include "base/check.h"

#include <stdlib.h>

enum mr_status mr_block_pool_open(struct mr_block_pool *pool, int32_t n_blocks, struct mr_err *err)
{
    *pool = (struct mr_block_pool){0};
    if (n_blocks < 1)
        return mr_err_set(err, MR_ERR_INVALID, "a block pool needs at least one block, not %d", n_blocks);
    pool->references = calloc((size_t)n_blocks, sizeof *pool->references);
    pool->free_stack = calloc((size_t)n_blocks, sizeof *pool->free_stack);
    if (!pool->references || !pool->free_stack) {
        mr_block_pool_close(pool);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the accounts of %d blocks", n_blocks);
    }
    pool->n_blocks = pool->n_free = n_blocks;
    for (int32_t i = 0; i < n_blocks; i++)
        pool->free_stack[i] = n_blocks - 1 - i;
    return MR_OK;
}

void mr_block_pool_close(struct mr_block_pool *pool)
{
    free(pool->references);
    free(pool->free_stack);
    *pool = (struct mr_block_pool){0};
}

int32_t mr_block_pool_take(struct mr_block_pool *pool)
{
    if (pool->n_free == 0)
        return -1;
    int32_t block = pool->free_stack[--pool->n_free];
    pool->references[block] = 1;
    return block;
}

void mr_block_pool_share(struct mr_block_pool *pool, int32_t block)
{
    CHECK(block >= 0 && block < pool->n_blocks && pool->references[block] > 0 && pool->references[block] < INT32_MAX);
    pool->references[block]++;
}

void mr_block_pool_release(struct mr_block_pool *pool, int32_t block)
{
    CHECK(block >= 0 && block < pool->n_blocks && pool->references[block] > 0);
    if (--pool->references[block] == 0)
        pool->free_stack[pool->n_free++] = block;
}

void mr_block_pool_check(const struct mr_block_pool *pool)
{
    int32_t used = 0;
    CHECK(pool->n_free >= 0 && pool->n_free <= pool->n_blocks);
    for (int32_t i = 0; i < pool->n_blocks; i++) {
        CHECK(pool->references[i] >= 0);
        used += pool->references[i] > 0;
    }
    CHECK(used + pool->n_free == pool->n_blocks);
    unsigned char *seen = calloc((size_t)pool->n_blocks, 1);
    CHECK(seen || pool->n_blocks == 0);
    for (int32_t i = 0; i < pool->n_free; i++) {
        int32_t block = pool->free_stack[i];
        CHECK(block >= 0 && block < pool->n_blocks && pool->references[block] == 0 && !seen[block]);
        seen[block] = 1;
    }
    free(seen);
}
