/* Tokens that are recognised in a text as they stand, before anything is split or merged: control tokens where they are
 * meant, user-defined ones anywhere. Leftmost first, and of those the longest. Immutable once built: any thread. */
#ifndef MR_WORKER_TEXT_MARKER_H
#define MR_WORKER_TEXT_MARKER_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mr_mark {
    struct mr_str name; /* not empty; borrowed, outlives the marker */
    int32_t id;
    bool control;
};

struct mr_marker {
    struct mr_mark *marks;    /* [n] by first byte, then the longest first; owned */
    size_t n;
    size_t start[257];        /* marks[start[b] .. start[b + 1]) begin with byte b */
};

/* Copies marks; false: no memory. Of two with one name the lower id stays in front. */
bool mr_marker_init(struct mr_marker *marker, const struct mr_mark *marks, size_t n);
void mr_marker_fini(struct mr_marker *marker);
/* The first mark of text that starts in [from, until): its place in *at. A control token counts only when meant, and only
 * when it also ends there. NULL: none. */
const struct mr_mark *mr_marker_find(const struct mr_marker *marker, struct mr_str text, size_t from, size_t until, bool meant, size_t *at);

#endif
