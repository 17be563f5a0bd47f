/* The accounting of KV blocks: ids, reference counts, the free list. No bytes, no device: those are kv_store's.
 * Pure, deterministic (lowest free id first after a reset, then last freed first), no allocation after open. One thread. */
#ifndef MR_KV_BLOCK_POOL_H
#define MR_KV_BLOCK_POOL_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct mr_block_pool {
    int32_t n_blocks;
    int32_t n_free;
    int32_t *references; /* [n_blocks]; 0: free */
    int32_t *free_stack; /* [n_blocks]; the top n_free entries are free ids */
};

enum mr_status mr_block_pool_open(struct mr_block_pool *pool, int32_t n_blocks, struct mr_err *err);
void mr_block_pool_close(struct mr_block_pool *pool);

/* A block with one reference; -1 when none is free. */
int32_t mr_block_pool_take(struct mr_block_pool *pool);
void mr_block_pool_share(struct mr_block_pool *pool, int32_t block);   /* one more reference */
void mr_block_pool_release(struct mr_block_pool *pool, int32_t block); /* one fewer; free at 0 */
/* Re-asserts: free + used = total, no count below 0, no id twice on the free list. */
void mr_block_pool_check(const struct mr_block_pool *pool);

#endif
