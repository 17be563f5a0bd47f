/* One run's text: tokens in, released text out, through the detokenizer and the stop strings. What a control token is called
 * never becomes text. One run, one thread. */
#ifndef MR_WORKER_STREAM_H
#define MR_WORKER_STREAM_H

#include "worker/text/detokenizer.h"
#include "worker/text/stop.h"
#include "worker/text/tokenizer.h"

struct mr_stream {
    const struct mr_tokenizer *tokenizer; /* borrowed */
    struct mr_detokenizer detokenizer;
    struct mr_stop stop;
    struct mr_buf fresh;                  /* what the last token completed, before the stop strings saw it */
    bool stopped;                         /* a stop string is complete: no text follows */
};

/* stops: [n_stops], borrowed until fini. */
void mr_stream_init(struct mr_stream *stream, const struct mr_tokenizer *tokenizer, const struct mr_str *stops, int n_stops);
void mr_stream_fini(struct mr_stream *stream);
/* Appends to out the text that id releases. may_stop false: stop strings do not look at it (min_tokens). true: a stop string
 * is complete, and out ends before it. */
bool mr_stream_add(struct mr_stream *stream, int32_t id, bool may_stop, struct mr_buf *out);
/* The end without a stop string: appends what was held back. After one: nothing. */
void mr_stream_finish(struct mr_stream *stream, struct mr_buf *out);

#endif
