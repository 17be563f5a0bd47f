/* Stop strings over streamed text: text is released as soon as it can no longer be the start of a stop string.
 * One sequence, one thread. */
#ifndef MR_WORKER_TEXT_STOP_H
#define MR_WORKER_TEXT_STOP_H

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>

enum { MR_STOP_MAX = 16, MR_STOP_BYTES_MAX = 256 };

struct mr_stop {
    const struct mr_str *strings; /* [n] borrowed, each 1 .. MR_STOP_BYTES_MAX bytes */
    int n;
    struct mr_buf held;           /* text that may be the start of a stop string */
    bool stopped;
};

void mr_stop_init(struct mr_stop *stop, const struct mr_str *strings, int n);
void mr_stop_fini(struct mr_stop *stop);
/* Appends to out what text releases. true: a stop string is complete; out ends before it (the earliest start wins, then the
 * longest), and what came behind it is dropped. */
bool mr_stop_add(struct mr_stop *stop, struct mr_str text, struct mr_buf *out);
/* The end without a stop: what is held is released. */
void mr_stop_finish(struct mr_stop *stop, struct mr_buf *out);

#endif
