#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* madvise */
#endif
#include "kernels/cpu/pages.h"

#include "base/check.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

struct mr_pages_chunk {
    struct mr_pages_chunk *older;
    char *memory;
    size_t size, used;
    int pieces; /* not yet released */
};

void *mr_pages_block(size_t bytes)
{
    if (bytes > SIZE_MAX - MR_PAGE_BYTES)
        return NULL;
    if (bytes < MR_PAGE_BYTES)
        return aligned_alloc(64, (bytes + 63) / 64 * 64);
    size_t whole = (bytes + MR_PAGE_BYTES - 1) / MR_PAGE_BYTES * MR_PAGE_BYTES;
    void *memory = aligned_alloc(MR_PAGE_BYTES, whole);
#ifdef MADV_HUGEPAGE
    if (memory)
        madvise(memory, whole, MADV_HUGEPAGE); /* a wish: refused, it is memory all the same */
#endif
    return memory;
}

static struct mr_pages_chunk *add_chunk(struct mr_pages *pages, size_t bytes)
{
    struct mr_pages_chunk *chunk = calloc(1, sizeof *chunk);
    if (!chunk)
        return NULL;
    chunk->size = bytes > MR_PAGES_CHUNK ? bytes : MR_PAGES_CHUNK;
    chunk->memory = mr_pages_block(chunk->size);
    if (!chunk->memory) {
        free(chunk);
        return NULL;
    }
    chunk->older = pages->chunks;
    pages->chunks = chunk;
    return chunk;
}

void *mr_pages_alloc(struct mr_pages *pages, size_t bytes)
{
    struct mr_pages_chunk *chunk = pages->chunks;
    bytes = bytes > SIZE_MAX - 63 ? SIZE_MAX / 64 * 64 : (bytes + 63) / 64 * 64;
    if (!chunk || chunk->size - chunk->used < bytes)
        chunk = add_chunk(pages, bytes);
    if (!chunk)
        return NULL;
    void *memory = chunk->memory + chunk->used;
    chunk->used += bytes;
    chunk->pieces++;
    return memory;
}

void mr_pages_release(struct mr_pages *pages, void *memory)
{
    if (!memory)
        return;
    struct mr_pages_chunk **link = &pages->chunks;
    while (*link && ((char *)memory < (*link)->memory || (char *)memory >= (*link)->memory + (*link)->size))
        link = &(*link)->older;
    struct mr_pages_chunk *chunk = *link;
    CHECK(chunk && chunk->pieces > 0);
    if (--chunk->pieces == 0) {
        *link = chunk->older;
        free(chunk->memory);
        free(chunk);
    }
}
