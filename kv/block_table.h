/* One sequence's view of the cache: logical block i holds tokens [i block_tokens, (i + 1) block_tokens).
 * Reserve before a step, so that the step itself can never run out. One thread. */
#ifndef MR_KV_BLOCK_TABLE_H
#define MR_KV_BLOCK_TABLE_H

#include "kv/block_pool.h"

struct mr_block_table {
    int32_t *blocks;    /* [capacity] physical ids; n_blocks used; storage is the owner's */
    int32_t n_blocks;
    int32_t capacity;
};

static inline int32_t mr_blocks_for(int32_t tokens, int32_t block_tokens) { return (tokens + block_tokens - 1) / block_tokens; }

/* Grows the table to hold `tokens`. All or nothing: false, and nothing taken, when the pool or the capacity is too small. */
bool mr_block_table_reserve(struct mr_block_table *table, struct mr_block_pool *pool, int32_t tokens, int32_t block_tokens);
/* Gives back the blocks behind the first `tokens` (0: all). */
void mr_block_table_trim(struct mr_block_table *table, struct mr_block_pool *pool, int32_t tokens, int32_t block_tokens);

#endif
