/* Byte pair encoding (Sennrich et al. 2016): symbols are merged in pairs, always the pair of lowest rank, leftmost first,
 * until no neighbours have a rule. O(n log n) in the piece. The rules are immutable once added: any thread; a run of merging
 * has its own scratch. */
#ifndef MR_WORKER_TEXT_BPE_H
#define MR_WORKER_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mr_bpe {
    struct mr_bpe_rule *rules; /* open addressing, [capacity] a power of two at least twice the rules; owned */
    size_t capacity;
};

/* Room for n_rules rules; false: no memory. */
bool mr_bpe_init(struct mr_bpe *bpe, size_t n_rules);
void mr_bpe_fini(struct mr_bpe *bpe);
/* left right -> product. Rank: lower merges first; a pair that is there already keeps its rule. At most n_rules calls. */
void mr_bpe_add(struct mr_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t product);

/* One thread's working memory, grown as needed and kept between pieces. Starts zeroed. */
struct mr_bpe_scratch {
    struct mr_bpe_symbol *symbols; /* [n_symbols] */
    uint64_t *heap;                /* [n_heap] rank << 32 | index of the left symbol */
    size_t n_symbols, capacity, n_heap, heap_capacity;
};

void mr_bpe_scratch_fini(struct mr_bpe_scratch *scratch);
void mr_bpe_clear(struct mr_bpe_scratch *scratch);
bool mr_bpe_push(struct mr_bpe_scratch *scratch, int32_t id); /* one more symbol on the right; false: no memory */
/* Merges what was pushed. The result is read by mr_bpe_next from *at = 0; -1: no more. false: no memory. */
bool mr_bpe_merge(const struct mr_bpe *bpe, struct mr_bpe_scratch *scratch);
int32_t mr_bpe_next(const struct mr_bpe_scratch *scratch, size_t *at);

#endif
