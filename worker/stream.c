#include "worker/stream.h"

/* Room for what one token completes, so that the step loop grows no buffer in the common case. */
enum { STREAM_FRESH_BYTES = 256 };

void mr_stream_init(struct mr_stream *stream, const struct mr_tokenizer *tokenizer, const struct mr_str *stops, int n_stops)
{
    *stream = (struct mr_stream){.tokenizer = tokenizer};
    mr_stop_init(&stream->stop, stops, n_stops);
    if (n_stops > 0)
        mr_buf_reserve(&stream->fresh, STREAM_FRESH_BYTES);
}

void mr_stream_fini(struct mr_stream *stream)
{
    mr_stop_fini(&stream->stop);
    mr_buf_fini(&stream->fresh);
}

bool mr_stream_add(struct mr_stream *stream, int32_t id, bool may_stop, struct mr_buf *out)
{
    if (mr_tokenizer_is_control(stream->tokenizer, id))
        return false;
    struct mr_str piece = mr_tokenizer_piece(stream->tokenizer, id);
    if (!may_stop || stream->stop.n == 0) {
        mr_detokenizer_add(&stream->detokenizer, piece, out);
        return false;
    }
    mr_buf_clear(&stream->fresh);
    mr_detokenizer_add(&stream->detokenizer, piece, &stream->fresh);
    if (mr_stop_add(&stream->stop, mr_buf_view(&stream->fresh), out))
        stream->stopped = true;
    return stream->stopped;
}

void mr_stream_finish(struct mr_stream *stream, struct mr_buf *out)
{
    if (stream->stopped)
        return;
    if (stream->stop.n == 0) {
        mr_detokenizer_finish(&stream->detokenizer, out);
        return;
    }
    mr_buf_clear(&stream->fresh);
    mr_detokenizer_finish(&stream->detokenizer, &stream->fresh);
    if (!mr_stop_add(&stream->stop, mr_buf_view(&stream->fresh), out))
        mr_stop_finish(&stream->stop, out);
    stream->stopped = true;
}
