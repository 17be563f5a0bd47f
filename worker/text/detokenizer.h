/* Tokens to text, one at a time: never half a character, invalid bytes as U+FFFD (one per maximal invalid subsequence, as
 * the Unicode standard 3.9 and the WHATWG decoder do). One sequence, one thread; the state is plain data and may be copied. */
#ifndef MR_WORKER_TEXT_DETOKENIZER_H
#define MR_WORKER_TEXT_DETOKENIZER_H

#include "base/buf.h"
#include "base/str.h"

#include <stdint.h>

struct mr_detokenizer {
    unsigned char held[4]; /* start of a character that is not whole yet */
    int n_held;
};

/* Appends to out the characters that piece completes. */
void mr_detokenizer_add(struct mr_detokenizer *detokenizer, struct mr_str piece, struct mr_buf *out);
/* The end: what is still held becomes one U+FFFD. */
void mr_detokenizer_finish(struct mr_detokenizer *detokenizer, struct mr_buf *out);

#endif
