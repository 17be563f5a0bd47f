/* A bump arena: what lives as long as one job, one record or one load comes from here and goes in one call.
 * One thread at a time. Memory is zeroed. */
#ifndef MR_BASE_ARENA_H
#define MR_BASE_ARENA_H

#include "base/str.h"

#include <stddef.h>

struct mr_arena_block;

struct mr_arena {
    struct mr_arena_block *head; /* newest block first */
    size_t used_bytes;           /* sum of what was handed out, padding included */
    size_t limit_bytes;          /* an allocation that would pass it returns NULL; 0: no limit */
};

/* An empty arena holds no memory; fini frees everything and leaves it empty (and usable again). */
void mr_arena_init(struct mr_arena *arena, size_t limit_bytes);
void mr_arena_fini(struct mr_arena *arena);

/* bytes zeroed bytes, aligned to 16; NULL when the limit or the memory is exhausted. bytes may be 0 (non-NULL result). */
void *mr_arena_alloc(struct mr_arena *arena, size_t bytes);
/* The same for count elements of size bytes; NULL also when the product overflows. */
void *mr_arena_array(struct mr_arena *arena, size_t count, size_t size);
/* A copy of s with a NUL behind it (not counted in the view). {NULL, 0} on failure. */
struct mr_str mr_arena_str(struct mr_arena *arena, struct mr_str s);

#endif
