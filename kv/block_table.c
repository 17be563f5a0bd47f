#include "kv/block_table.h"

#include "base/check.h"

bool mr_block_table_reserve(struct mr_block_table *table, struct mr_block_pool *pool, int32_t tokens, int32_t block_tokens)
{
    int32_t wanted = mr_blocks_for(tokens, block_tokens);
    if (wanted <= table->n_blocks)
        return true;
    if (wanted > table->capacity || wanted - table->n_blocks > mr_block_pool_available(pool))
        return false;
    while (table->n_blocks < wanted)
        table->blocks[table->n_blocks++] = mr_block_pool_take(pool);
    return true;
}

void mr_block_table_trim(struct mr_block_table *table, struct mr_block_pool *pool, int32_t tokens, int32_t block_tokens)
{
    int32_t kept = mr_blocks_for(tokens, block_tokens);
    CHECK(kept >= 0);
    while (table->n_blocks > kept)
        mr_block_pool_release(pool, table->blocks[--table->n_blocks]);
}
