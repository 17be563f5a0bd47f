/* Stop strings over streamed text: text is released as soon as it can no longer be the start of a stop string.
 * The stop string that is complete first wins, and of those complete at the same byte the longest; so the outcome does not
 * depend on how the text was cut into pieces, and a resumed run stops where the first one would have.
 * Matching is Knuth, Morris and Pratt 1977: linear in the text whatever the strings. One sequence, one thread. */
#ifndef MR_WORKER_TEXT_STOP_H
#define MR_WORKER_TEXT_STOP_H

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { MR_STOP_MAX = 16, MR_STOP_BYTES_MAX = 256 };

struct mr_stop {
    const struct mr_str *strings; /* [n] borrowed, each 1 .. MR_STOP_BYTES_MAX bytes */
    int n;
    bool stopped;
    char held[MR_STOP_BYTES_MAX]; /* [n_held] text that may be the start of a stop string */
    size_t n_held;
    uint16_t matched[MR_STOP_MAX];                     /* bytes of each string that the text's end equals */
    uint8_t border[MR_STOP_MAX][MR_STOP_BYTES_MAX];    /* [i][k]: longest proper border of string i's first k + 1 bytes */
};

void mr_stop_init(struct mr_stop *stop, const struct mr_str *strings, int n);
void mr_stop_fini(struct mr_stop *stop); /* the state owns no memory and may be copied; kept for symmetry with init */
/* Appends to out what text releases. true: a stop string is complete; out ends before it, and what came behind it is dropped. */
bool mr_stop_add(struct mr_stop *stop, struct mr_str text, struct mr_buf *out);
/* The end without a stop: what is held is released. */
void mr_stop_finish(struct mr_stop *stop, struct mr_buf *out);

#endif
