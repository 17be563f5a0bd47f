/* The accounting of KV blocks: ids, reference counts, the free list, and the names of blocks whose content can be found
 * again. No bytes, no device: those are kv_store's. Pure, deterministic (lowest free id first after a reset, then last
 * freed first), no allocation after open. One thread.
 *
 * A full block may be given a name, which stands for its content, for everything before it and for whoever may see it
 * (block_names.h). When its last reference goes, a named block is idle rather than free: it is found by its name until take needs it, the one
 * that idles longest first (a sequence gives back its last block first, so leaves go before their roots). */
#ifndef MR_KV_BLOCK_POOL_H
#define MR_KV_BLOCK_POOL_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { MR_BLOCK_POOL_CELLS = 4096 };

struct mr_block_pool {
    int32_t n_blocks;
    int32_t n_free;              /* without content; n_free + n_idle can be taken */
    int32_t n_idle;              /* named, without a reference */
    int32_t *references;         /* [n_blocks]; 0: free or idle */
    int32_t *free_stack;         /* [n_blocks]; the top n_free entries are free ids */
    uint64_t *names;             /* [n_blocks]; 0: none */
    int32_t *idle_next, *idle_prev; /* [n_blocks] the idle list, longest idle first */
    int32_t idle_head, idle_tail;
    int32_t *index;              /* [index_mask + 1] name -> block + 1, open addressing; 0: empty */
    int32_t index_mask;
    uint32_t *changes;           /* [MR_BLOCK_POOL_CELLS + 1] names that came or went, by cell; the last never changes */
};

enum mr_status mr_block_pool_open(struct mr_block_pool *pool, int32_t n_blocks, struct mr_err *err);
void mr_block_pool_close(struct mr_block_pool *pool);

static inline int32_t mr_block_pool_available(const struct mr_block_pool *pool) { return pool->n_free + pool->n_idle; }
/* A block with one reference and no name; -1 when none is available. */
int32_t mr_block_pool_take(struct mr_block_pool *pool);
void mr_block_pool_share(struct mr_block_pool *pool, int32_t block);   /* one more reference; an idle block comes back to life */
void mr_block_pool_release(struct mr_block_pool *pool, int32_t block); /* one fewer; free or idle at 0 */
/* Names a held block, name != 0. Without effect when it has a name or the name is taken: the first content stays. */
void mr_block_pool_name(struct mr_block_pool *pool, int32_t block, uint64_t name);
int32_t mr_block_pool_find(const struct mr_block_pool *pool, uint64_t name); /* -1: unknown */
/* The cell of a name: while changes[cell] stands, whether the name is known has not changed. It lets a caller that asked once
 * ask again without a look at the index. */
int32_t mr_block_pool_cell(uint64_t name);
/* Re-asserts: free + idle + used = total, no count below 0, no id twice on a list, names and index agree. */
void mr_block_pool_check(const struct mr_block_pool *pool);

#endif
