#include "base/arena.h"

#include "base/starved.h"

#include <stdint.h>
#include <stdlib.h>

enum { ALIGN = 16, BLOCK_BYTES = 16 * 1024 };

struct mr_arena_block {
    struct mr_arena_block *next;
    size_t used, capacity;
    _Alignas(ALIGN) unsigned char bytes[];
};

void mr_arena_init(struct mr_arena *arena, size_t limit_bytes) { *arena = (struct mr_arena){.limit_bytes = limit_bytes}; }

void mr_arena_fini(struct mr_arena *arena)
{
    while (arena->head) {
        struct mr_arena_block *next = arena->head->next;
        free(arena->head);
        arena->head = next;
    }
    arena->used_bytes = 0;
}

static struct mr_arena_block *block_add(struct mr_arena *arena, size_t bytes)
{
    size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    struct mr_arena_block *block = calloc(1, sizeof *block + capacity);
    if (!block) {
        mr_starved_add();
        return NULL;
    }
    block->capacity = capacity;
    block->next = arena->head;
    arena->head = block;
    return block;
}

void *mr_arena_alloc(struct mr_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t padded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (arena->limit_bytes && padded > arena->limit_bytes - arena->used_bytes)
        return NULL;
    struct mr_arena_block *block = arena->head;
    if (!block || padded > block->capacity - block->used)
        block = block_add(arena, padded);
    if (!block)
        return NULL;
    void *p = block->bytes + block->used;
    block->used += padded;
    arena->used_bytes += padded;
    return p;
}

void *mr_arena_array(struct mr_arena *arena, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    return mr_arena_alloc(arena, count * size);
}

struct mr_str mr_arena_str(struct mr_arena *arena, struct mr_str s)
{
    char *p = s.n == SIZE_MAX ? NULL : mr_arena_alloc(arena, s.n + 1);
    if (!p)
        return (struct mr_str){0};
    if (s.n)
        memcpy(p, s.p, s.n);
    return (struct mr_str){p, s.n};
}
