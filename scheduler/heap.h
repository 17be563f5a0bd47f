/* A binary min-heap of small ids, ordered by (key, id). Every id is inside at most once; its place is known, so that any id
 * can be moved or removed in O(log n). Storage is one allocation at open. One thread. */
#ifndef MR_SCHEDULER_HEAP_H
#define MR_SCHEDULER_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct heap {
    int32_t *items; /* [n] ids in heap order */
    int32_t *at;    /* [ids] place in items; -1: outside */
    int64_t *keys;  /* [ids] */
    int32_t n;
};

bool heap_open(struct heap *heap, int32_t ids); /* false: no memory */
void heap_close(struct heap *heap);
static inline bool heap_has(const struct heap *heap, int32_t id) { return heap->at[id] >= 0; }
void heap_set(struct heap *heap, int32_t id, int64_t key); /* adds, or moves */
void heap_remove(struct heap *heap, int32_t id);           /* fine when outside */
void heap_check(const struct heap *heap);

#endif
