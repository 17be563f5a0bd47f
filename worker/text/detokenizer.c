#include "worker/text/detokenizer.h"

#include "worker/text/utf8.h"

/* Byte by byte: what is held is always a proper prefix of a character, so one more byte completes it, continues it, or breaks
 * it; a break leaves at most that byte to look at again. */
void mr_detokenizer_add(struct mr_detokenizer *detokenizer, struct mr_str piece, struct mr_buf *out)
{
    unsigned char *held = detokenizer->held;
    for (size_t i = 0; i < piece.n; i++) {
        held[detokenizer->n_held++] = (unsigned char)piece.p[i];
        while (detokenizer->n_held) {
            struct mr_utf8_step step = mr_utf8_next((const char *)held, (size_t)detokenizer->n_held);
            if (step.kind == MR_UTF8_PARTIAL)
                break;
            if (step.kind == MR_UTF8_WHOLE)
                mr_buf_add(out, held, (size_t)step.n);
            else
                mr_buf_add_str(out, MR_STR(MR_UTF8_REPLACEMENT));
            detokenizer->n_held -= step.n;
            memmove(held, held + step.n, (size_t)detokenizer->n_held);
        }
    }
}

void mr_detokenizer_finish(struct mr_detokenizer *detokenizer, struct mr_buf *out)
{
    if (detokenizer->n_held)
        mr_buf_add_str(out, MR_STR(MR_UTF8_REPLACEMENT));
    detokenizer->n_held = 0;
}
