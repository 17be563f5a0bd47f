#include "scheduler/heap.h"

#include "base/check.h"

#include <stdlib.h>

bool heap_open(struct heap *heap, int32_t ids)
{
    *heap = (struct heap){.items = calloc((size_t)ids, sizeof *heap->items), .at = calloc((size_t)ids, sizeof *heap->at),
                          .keys = calloc((size_t)ids, sizeof *heap->keys)};
    if (!heap->items || !heap->at || !heap->keys)
        return false;
    for (int32_t i = 0; i < ids; i++)
        heap->at[i] = -1;
    return true;
}

void heap_close(struct heap *heap)
{
    free(heap->items);
    free(heap->at);
    free(heap->keys);
    *heap = (struct heap){0};
}

static bool before(const struct heap *heap, int32_t a, int32_t b)
{
    return heap->keys[a] != heap->keys[b] ? heap->keys[a] < heap->keys[b] : a < b;
}

static void put(struct heap *heap, int32_t place, int32_t id)
{
    heap->items[place] = id;
    heap->at[id] = place;
}

static void settle(struct heap *heap, int32_t id)
{
    int32_t place = heap->at[id];
    for (; place > 0 && before(heap, id, heap->items[(place - 1) / 2]); place = (place - 1) / 2)
        put(heap, place, heap->items[(place - 1) / 2]);
    for (int32_t child; (child = 2 * place + 1) < heap->n; place = child) {
        if (child + 1 < heap->n && before(heap, heap->items[child + 1], heap->items[child]))
            child++;
        if (!before(heap, heap->items[child], id))
            break;
        put(heap, place, heap->items[child]);
    }
    put(heap, place, id);
}

void heap_set(struct heap *heap, int32_t id, int64_t key)
{
    heap->keys[id] = key;
    if (heap->at[id] < 0)
        put(heap, heap->n++, id);
    settle(heap, id);
}

void heap_remove(struct heap *heap, int32_t id)
{
    int32_t place = heap->at[id];
    if (place < 0)
        return;
    int32_t last = heap->items[--heap->n];
    heap->at[id] = -1;
    if (last != id) {
        put(heap, place, last);
        settle(heap, last);
    }
}

void heap_check(const struct heap *heap)
{
    for (int32_t i = 0; i < heap->n; i++) {
        CHECK(heap->at[heap->items[i]] == i);
        CHECK(i == 0 || !before(heap, heap->items[i], heap->items[(i - 1) / 2]));
    }
}
