/* Owns the counts, the stack of free ids, the idle list and the index of names.
 *
 * 1. A block is used (references > 0), idle (named, on the idle list) or free (nameless, on the stack).
 * 2. A name is in the index exactly while its block has it. 3. Two beginnings with one name are one beginning here: that they are is the
 * caller's word (block_names.h).
 * Rejected: a tree of prefixes; a chain of names finds the same blocks with one table. One thread. */
#include "kv/block_pool.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdlib.h>

enum mr_status mr_block_pool_open(struct mr_block_pool *pool, int32_t n_blocks, struct mr_err *err)
{
    *pool = (struct mr_block_pool){.idle_head = -1, .idle_tail = -1};
    if (n_blocks < 1 || n_blocks > 1 << 28)
        return mr_err_set(err, MR_ERR_INVALID, "a block pool has 1 to %d blocks, not %d", 1 << 28, n_blocks);
    size_t n = (size_t)n_blocks, slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    pool->references = calloc(n, sizeof *pool->references);
    pool->free_stack = calloc(n, sizeof *pool->free_stack);
    pool->names = calloc(n, sizeof *pool->names);
    pool->idle_next = calloc(n, sizeof *pool->idle_next);
    pool->idle_prev = calloc(n, sizeof *pool->idle_prev);
    pool->index = calloc(slots, sizeof *pool->index);
    pool->changes = calloc(MR_BLOCK_POOL_CELLS + 1, sizeof *pool->changes);
    pool->index_mask = (int32_t)(slots - 1);
    if (!pool->changes || !pool->references || !pool->free_stack || !pool->names || !pool->idle_next || !pool->idle_prev || !pool->index) {
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
    free(pool->names);
    free(pool->idle_next);
    free(pool->idle_prev);
    free(pool->index);
    free(pool->changes);
    *pool = (struct mr_block_pool){0};
}

/* The slot of a name, or the empty one where it would go. */
static int32_t index_slot(const struct mr_block_pool *pool, uint64_t name)
{
    int32_t at = (int32_t)(mr_mix64(name) & (uint64_t)pool->index_mask);
    while (pool->index[at] && pool->names[pool->index[at] - 1] != name)
        at = (at + 1) & pool->index_mask;
    return at;
}

/* Closes the gap behind the removed entry, so that no tombstones gather (Knuth 6.4, algorithm R). */
static void name_forget(struct mr_block_pool *pool, int32_t block)
{
    int32_t hole = index_slot(pool, pool->names[block]), at = hole;
    CHECK(pool->index[hole] == block + 1);
    pool->changes[mr_block_pool_cell(pool->names[block])]++;
    pool->names[block] = 0;
    for (;;) {
        pool->index[hole] = 0;
        int32_t home;
        do {
            at = (at + 1) & pool->index_mask;
            if (!pool->index[at])
                return;
            home = (int32_t)(mr_mix64(pool->names[pool->index[at] - 1]) & (uint64_t)pool->index_mask);
        } while (((at - home) & pool->index_mask) < ((at - hole) & pool->index_mask));
        pool->index[hole] = pool->index[at];
        hole = at;
    }
}

static void idle_remove(struct mr_block_pool *pool, int32_t block)
{
    int32_t next = pool->idle_next[block], prev = pool->idle_prev[block];
    *(prev >= 0 ? &pool->idle_next[prev] : &pool->idle_head) = next;
    *(next >= 0 ? &pool->idle_prev[next] : &pool->idle_tail) = prev;
    pool->n_idle--;
}

static void idle_append(struct mr_block_pool *pool, int32_t block)
{
    pool->idle_next[block] = -1;
    pool->idle_prev[block] = pool->idle_tail;
    *(pool->idle_tail >= 0 ? &pool->idle_next[pool->idle_tail] : &pool->idle_head) = block;
    pool->idle_tail = block;
    pool->n_idle++;
}

int32_t mr_block_pool_take(struct mr_block_pool *pool)
{
    int32_t block = pool->idle_head;
    if (pool->n_free > 0) {
        block = pool->free_stack[--pool->n_free];
    } else if (block >= 0) {
        idle_remove(pool, block);
        name_forget(pool, block);
    } else {
        return -1;
    }
    pool->references[block] = 1;
    return block;
}

void mr_block_pool_share(struct mr_block_pool *pool, int32_t block)
{
    CHECK(block >= 0 && block < pool->n_blocks && pool->references[block] < INT32_MAX);
    if (pool->references[block] == 0) {
        CHECK(pool->names[block]);
        idle_remove(pool, block);
    }
    pool->references[block]++;
}

void mr_block_pool_release(struct mr_block_pool *pool, int32_t block)
{
    CHECK(block >= 0 && block < pool->n_blocks && pool->references[block] > 0);
    if (--pool->references[block] > 0)
        return;
    if (pool->names[block])
        idle_append(pool, block);
    else
        pool->free_stack[pool->n_free++] = block;
}

void mr_block_pool_name(struct mr_block_pool *pool, int32_t block, uint64_t name)
{
    CHECK(name && block >= 0 && block < pool->n_blocks && pool->references[block] > 0);
    int32_t at = index_slot(pool, name);
    if (pool->names[block] || pool->index[at])
        return;
    pool->names[block] = name;
    pool->index[at] = block + 1;
    pool->changes[mr_block_pool_cell(name)]++;
}

int32_t mr_block_pool_cell(uint64_t name) { return (int32_t)(mr_mix64(name) >> 52 & (MR_BLOCK_POOL_CELLS - 1)); }

int32_t mr_block_pool_find(const struct mr_block_pool *pool, uint64_t name) { return pool->index[index_slot(pool, name)] - 1; }

void mr_block_pool_check(const struct mr_block_pool *pool)
{
    int32_t used = 0, named = 0, indexed = 0, idle = 0;
    CHECK(pool->n_free >= 0 && pool->n_free <= pool->n_blocks);
    for (int32_t i = 0; i < pool->n_blocks; i++) {
        CHECK(pool->references[i] >= 0);
        used += pool->references[i] > 0;
        named += pool->names[i] != 0;
        CHECK(!pool->names[i] || mr_block_pool_find(pool, pool->names[i]) == i);
    }
    CHECK(used + pool->n_free + pool->n_idle == pool->n_blocks);
    for (int32_t i = 0; i <= pool->index_mask; i++)
        indexed += pool->index[i] != 0;
    CHECK(indexed == named);
    for (int32_t b = pool->idle_head, prev = -1; b >= 0; prev = b, b = pool->idle_next[b], idle++)
        CHECK(pool->references[b] == 0 && pool->names[b] && pool->idle_prev[b] == prev && idle < pool->n_idle);
    CHECK(idle == pool->n_idle);
    unsigned char *seen = calloc((size_t)pool->n_blocks + 1, 1);
    CHECK(seen);
    for (int32_t i = 0; i < pool->n_free; i++) {
        int32_t block = pool->free_stack[i];
        CHECK(block >= 0 && block < pool->n_blocks && pool->references[block] == 0 && !pool->names[block] && !seen[block]);
        seen[block] = 1;
    }
    free(seen);
}
