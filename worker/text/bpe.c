/* Owns the rules in a hash table, and, a call, the symbols of one piece.
 *
 * Symbols form a list by index. A merge gives the left symbol the product and takes the right one out of the list. The heap
 * holds offers (rank, left symbol); an offer is good while the pair that now starts at that symbol still has that rank, for a
 * rank names one pair. So nothing is ever searched in the heap or taken out of its middle.
 *
 * Rejected: the search for the best pair after every merge (quadratic in a piece of one class). */
#include "worker/text/bpe.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdlib.h>

struct mr_bpe_rule {
    int32_t left, right; /* left < 0: free slot */
    uint32_t rank;
    int32_t product;
};

enum { GONE = -1 };

struct mr_bpe_symbol {
    int32_t id;      /* GONE: merged into the symbol to its left */
    uint32_t before; /* index of the left neighbour; its own index: none */
    uint32_t after;  /* index of the right neighbour; n_symbols: none */
};

static struct mr_bpe_rule *slot_of(const struct mr_bpe *bpe, int32_t left, int32_t right)
{
    size_t mask = bpe->capacity - 1;
    size_t i = mr_mix64((uint64_t)(uint32_t)left << 32 | (uint32_t)right) & mask;
    while (bpe->rules[i].left >= 0 && (bpe->rules[i].left != left || bpe->rules[i].right != right))
        i = (i + 1) & mask;
    return &bpe->rules[i];
}

bool mr_bpe_init(struct mr_bpe *bpe, size_t n_rules)
{
    size_t capacity = 16;
    while (capacity < 2 * n_rules)
        capacity *= 2;
    *bpe = (struct mr_bpe){calloc(capacity, sizeof *bpe->rules), capacity};
    if (!bpe->rules)
        return false;
    for (size_t i = 0; i < capacity; i++)
        bpe->rules[i].left = -1;
    return true;
}

void mr_bpe_fini(struct mr_bpe *bpe)
{
    free(bpe->rules);
    *bpe = (struct mr_bpe){0};
}

void mr_bpe_add(struct mr_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t product)
{
    struct mr_bpe_rule *slot = slot_of(bpe, left, right);
    if (slot->left < 0)
        *slot = (struct mr_bpe_rule){left, right, rank, product};
}

void mr_bpe_scratch_fini(struct mr_bpe_scratch *scratch)
{
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (struct mr_bpe_scratch){0};
}

void mr_bpe_clear(struct mr_bpe_scratch *scratch)
{
    scratch->n_symbols = scratch->n_heap = 0;
}

/* items (n of *capacity used) with room for one more; NULL: no memory, and items stays as it is. */
static void *grown(void *items, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return items;
    size_t more = *capacity ? *capacity * 2 : 64;
    void *p = reallocarray(items, more, size);
    if (p)
        *capacity = more;
    return p;
}

bool mr_bpe_push(struct mr_bpe_scratch *scratch, int32_t id)
{
    struct mr_bpe_symbol *symbols = grown(scratch->symbols, scratch->n_symbols, &scratch->capacity, sizeof *symbols);
    if (!symbols)
        return false;
    scratch->symbols = symbols;
    uint32_t i = (uint32_t)scratch->n_symbols++;
    scratch->symbols[i] = (struct mr_bpe_symbol){id, i ? i - 1 : i, i + 1};
    return true;
}

static bool heap_push(struct mr_bpe_scratch *scratch, uint64_t offer)
{
    uint64_t *heap = grown(scratch->heap, scratch->n_heap, &scratch->heap_capacity, sizeof *heap);
    if (!heap)
        return false;
    scratch->heap = heap;
    size_t i = scratch->n_heap++;
    for (; i && heap[(i - 1) / 2] > offer; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = offer;
    return true;
}

static uint64_t heap_pop(struct mr_bpe_scratch *scratch)
{
    uint64_t *heap = scratch->heap, least = heap[0], last = heap[--scratch->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < scratch->n_heap; i = child) {
        if (child + 1 < scratch->n_heap && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return least;
}

/* The rule for the pair whose left symbol is i; NULL: none. */
static const struct mr_bpe_rule *rule_at(const struct mr_bpe *bpe, const struct mr_bpe_scratch *scratch, uint32_t i)
{
    const struct mr_bpe_symbol *left = &scratch->symbols[i];
    if (left->id == GONE || left->after == scratch->n_symbols)
        return NULL;
    const struct mr_bpe_rule *rule = slot_of(bpe, left->id, scratch->symbols[left->after].id);
    return rule->left < 0 ? NULL : rule;
}

static bool offer(const struct mr_bpe *bpe, struct mr_bpe_scratch *scratch, uint32_t i)
{
    const struct mr_bpe_rule *rule = rule_at(bpe, scratch, i);
    return !rule || heap_push(scratch, (uint64_t)rule->rank << 32 | i);
}

bool mr_bpe_merge(const struct mr_bpe *bpe, struct mr_bpe_scratch *scratch)
{
    struct mr_bpe_symbol *symbols = scratch->symbols;
    CHECK(scratch->n_symbols < UINT32_MAX);
    for (uint32_t i = 0; i + 1 < scratch->n_symbols; i++)
        if (!offer(bpe, scratch, i))
            return false;
    while (scratch->n_heap) {
        uint64_t best = heap_pop(scratch);
        uint32_t i = (uint32_t)best;
        const struct mr_bpe_rule *rule = rule_at(bpe, scratch, i);
        if (!rule || rule->rank != best >> 32)
            continue;
        uint32_t right = symbols[i].after;
        symbols[i].id = rule->product;
        symbols[i].after = symbols[right].after;
        symbols[right].id = GONE;
        if (symbols[i].after < scratch->n_symbols)
            symbols[symbols[i].after].before = i;
        if (!offer(bpe, scratch, i) || (symbols[i].before != i && !offer(bpe, scratch, symbols[i].before)))
            return false;
    }
    return true;
}

int32_t mr_bpe_next(const struct mr_bpe_scratch *scratch, size_t *at)
{
    if (*at >= scratch->n_symbols)
        return -1;
    const struct mr_bpe_symbol *symbol = &scratch->symbols[*at];
    *at = symbol->after;
    return symbol->id;
}
