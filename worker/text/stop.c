#include "worker/text/stop.h"

#include "base/check.h"

/* The match of string i grown by one byte: the longest prefix of it that ends the text. */
static unsigned advance(const struct mr_stop *stop, int i, unsigned matched, char byte)
{
    struct mr_str s = stop->strings[i];
    while (matched && (matched == s.n || s.p[matched] != byte))
        matched = stop->border[i][matched - 1];
    return s.p[matched] == byte ? matched + 1 : 0;
}

void mr_stop_init(struct mr_stop *stop, const struct mr_str *strings, int n)
{
    CHECK(n >= 0 && n <= MR_STOP_MAX);
    *stop = (struct mr_stop){.strings = strings, .n = n};
    for (int i = 0; i < n; i++) {
        CHECK(strings[i].n >= 1 && strings[i].n <= MR_STOP_BYTES_MAX);
        for (size_t k = 1; k < strings[i].n; k++)
            stop->border[i][k] = (uint8_t)advance(stop, i, stop->border[i][k - 1], strings[i].p[k]);
    }
}

void mr_stop_fini(struct mr_stop *stop)
{
    *stop = (struct mr_stop){0};
}

/* Moves all but the last keep bytes of held to out. */
static void release(struct mr_stop *stop, size_t keep, struct mr_buf *out)
{
    size_t released = stop->n_held - keep;
    mr_buf_add(out, stop->held, released);
    memmove(stop->held, stop->held + released, keep);
    stop->n_held = keep;
}

bool mr_stop_add(struct mr_stop *stop, struct mr_str text, struct mr_buf *out)
{
    if (stop->n == 0)
        mr_buf_add_str(out, text);
    for (size_t at = 0; at < text.n && stop->n && !stop->stopped; at++) {
        size_t longest = 0, complete = 0;
        stop->held[stop->n_held++] = text.p[at]; /* at most the longest string: what is held is a proper prefix of one */
        for (int i = 0; i < stop->n; i++) {
            stop->matched[i] = (uint16_t)advance(stop, i, stop->matched[i], text.p[at]);
            if (stop->matched[i] == stop->strings[i].n && stop->matched[i] > complete)
                complete = stop->matched[i];
            if (stop->matched[i] > longest)
                longest = stop->matched[i];
        }
        stop->stopped = complete > 0;
        release(stop, complete ? complete : longest, out);
    }
    return stop->stopped;
}

void mr_stop_finish(struct mr_stop *stop, struct mr_buf *out)
{
    if (!stop->stopped)
        release(stop, 0, out);
}
