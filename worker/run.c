/* Owns a run's memory and the bookkeeping that needs no partner: folding, suspicion, and the chunks between engine and log.
 * What to do about any of it is the owner's business.
 *
 * Invariants:
 * 1. ids holds exactly fold.seq tokens, and text what they released: both grow only with the fold.
 * 2. chunks are contiguous in seq from chunks_seq on; chunks_ctx is the chain before the first of them.
 * 3. history holds the accepted STARTs since the last progress, the newest last.
 *
 * Rejected: keeping every accepted record whole (a realtime token is 4 bytes here and 250 on the wire); cutting a chunk in the
 * middle when another owner's record ended there (text cannot be cut with it: the run is then computed again from its prefix). */
#include "worker/run.h"

#include "base/check.h"

#include <stdlib.h>

struct mr_run *mr_run_open(struct mr_partition *partition, struct mr_src src)
{
    struct mr_run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->partition = partition;
    run->src = src;
    run->first_start = -1;
    run->chunks_end = &run->chunks;
    run->restart = MR_CAUSE_REBALANCE;
    mr_arena_init(&run->extra, 0);
    return run;
}

void mr_run_close(struct mr_run *run)
{
    mr_run_forget(run);
    mr_job_free(run->job);
    free(run->origin);
    struct mr_buf *bufs[] = {&run->ids, &run->text, &run->start, &run->end, &run->scored, &run->input, &run->input_headers, &run->tail_text};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        mr_buf_fini(bufs[i]);
    mr_arena_fini(&run->extra);
    free((char *)run->name.p);
    free(run);
}

bool mr_run_name(struct mr_run *run, struct mr_str name)
{
    if (run->name.n)
        return mr_str_equal(run->name, name);
    char *copy = malloc(name.n + 1);
    CHECK(copy); /* a few bytes; without them the run cannot even be refused */
    memcpy(copy, name.p, name.n);
    run->name = (struct mr_str){copy, name.n};
    mr_fold_init(&run->fold, copy, name.n);
    run->chunks_ctx = run->fold.ctx;
    return true;
}

static void keep(struct mr_buf *buf, struct mr_str value)
{
    mr_buf_clear(buf);
    mr_buf_add_str(buf, value);
}

static void follow_start(struct mr_run *run, const struct mr_stream_record *record, struct mr_str value)
{
    if (run->n_history == MR_RUN_HISTORY_MAX)
        memmove(run->history, run->history + 1, sizeof *run->history * (size_t)--run->n_history);
    run->history[run->n_history++] = (struct mr_run_start){record->process, record->cause, record->alone};
    run->last_process = record->process;
    run->takeovers += record->cause == MR_CAUSE_NEW || record->cause == MR_CAUSE_TAKEOVER;
    if (record->body_hash.n < sizeof run->body_hash) {
        memcpy(run->body_hash, record->body_hash.p ? record->body_hash.p : "", record->body_hash.n);
        run->body_hash[record->body_hash.n] = 0;
    }
    keep(&run->start, value);
}

bool mr_run_follow(struct mr_run *run, const struct mr_stream_record *record, int64_t offset, struct mr_str value, enum mr_encoding encoding)
{
    if (!mr_run_name(run, record->job) || record->src.timestamp_ms != run->src.timestamp_ms) {
        run->foreign = true;
        return false;
    }
    if (record->kind == MR_FOLD_START && run->first_start < 0)
        run->first_start = offset;
    struct mr_fold_record view = mr_stream_record_fold(record);
    if (!mr_fold_add(&run->fold, &view))
        return false;
    run->log_encoding = encoding;
    if (record->kind == MR_FOLD_START) {
        follow_start(run, record, value);
    } else if (record->kind == MR_FOLD_TOK) {
        run->n_history = 0;
        mr_buf_add(&run->ids, record->ids, sizeof *record->ids * (size_t)record->n_ids);
        mr_buf_add_str(&run->text, record->text);
        if (record->logprobs) {
            uint32_t n = (uint32_t)value.n;
            mr_buf_add(&run->scored, &n, sizeof n);
            mr_buf_add_str(&run->scored, value);
        }
    } else if (record->kind == MR_FOLD_YIELD) {
        run->n_history = 0;
    } else {
        keep(&run->end, value);
    }
    CHECK(!run->ids.failed && !run->text.failed && !run->scored.failed && !run->start.failed && !run->end.failed);
    return true;
}

static bool lost_after(const struct mr_run *run, int32_t i, uint64_t process)
{
    const struct mr_run_start *start = &run->history[i];
    if (start->process == process)
        return false;
    return i + 1 < run->n_history ? run->history[i + 1].cause == MR_CAUSE_TAKEOVER : true;
}

int32_t mr_run_suspicion(const struct mr_run *run, uint64_t process)
{
    int32_t n = 0;
    for (int32_t i = 0; i < run->n_history; i++) {
        bool counted = false;
        for (int32_t j = 0; j < i; j++)
            counted |= run->history[j].process == run->history[i].process && lost_after(run, j, process);
        n += !counted && lost_after(run, i, process);
    }
    return n;
}

int32_t mr_run_alone_lost(const struct mr_run *run, uint64_t process)
{
    int32_t n = 0;
    for (int32_t i = 0; i < run->n_history; i++)
        n += run->history[i].alone && lost_after(run, i, process);
    return n;
}

enum mr_stream_cause mr_run_cause(const struct mr_run *run, uint64_t process)
{
    if (run->fold.starts == 0)
        return MR_CAUSE_NEW;
    return run->last_process != process ? MR_CAUSE_TAKEOVER : run->restart;
}

static void keep_piece(struct mr_buf *buf, struct mr_str piece)
{
    uint32_t n = (uint32_t)piece.n;
    mr_buf_add(buf, &n, sizeof n);
    mr_buf_add_str(buf, piece);
}

static struct mr_str next_piece(const struct mr_buf *buf, size_t *at)
{
    uint32_t n;
    memcpy(&n, buf->p + *at, sizeof n);
    struct mr_str piece = {buf->p + *at + sizeof n, n};
    *at += sizeof n + n;
    return piece;
}

bool mr_run_keep_input(struct mr_run *run, const struct mr_record *record)
{
    mr_buf_clear(&run->input);
    mr_buf_clear(&run->input_headers);
    run->input_has_key = record->key.p != NULL;
    run->input_has_value = record->value.p != NULL;
    mr_buf_add_str(&run->input, record->value);
    keep_piece(&run->input_headers, record->key);
    for (int32_t i = 0; i < record->n_headers && i < MR_HEADERS_MAX; i++) {
        keep_piece(&run->input_headers, record->headers[i].key);
        keep_piece(&run->input_headers, record->headers[i].value);
    }
    return !run->input.failed && !run->input_headers.failed;
}

void mr_run_input(const struct mr_run *run, struct mr_header *headers, struct mr_record *out)
{
    size_t at = 0;
    *out = (struct mr_record){.offset = run->src.offset, .timestamp_ms = run->src.timestamp_ms, .headers = headers};
    out->key = next_piece(&run->input_headers, &at);
    if (!run->input_has_key)
        out->key = (struct mr_str){0};
    if (run->input_has_value)
        out->value = (struct mr_str){run->input.n ? run->input.p : "", run->input.n};
    while (at < run->input_headers.n) {
        headers[out->n_headers].key = next_piece(&run->input_headers, &at);
        headers[out->n_headers++].value = next_piece(&run->input_headers, &at);
    }
}

bool mr_run_redriven(const struct mr_run *run)
{
    struct mr_header headers[MR_HEADERS_MAX];
    struct mr_record record;
    mr_run_input(run, headers, &record);
    return mr_record_header(&record, "redrive-of").p != NULL;
}

static bool copy_logprob(struct mr_arena *arena, const struct mr_logprob *from, struct mr_logprob *to)
{
    struct mr_token_logprob *top = mr_arena_array(arena, (size_t)from->n_top, sizeof *top);
    if (!top)
        return false;
    *to = *from;
    to->chosen.bytes = mr_arena_str(arena, from->chosen.bytes);
    for (int32_t i = 0; i < from->n_top; i++) {
        top[i] = from->top[i];
        top[i].bytes = mr_arena_str(arena, from->top[i].bytes);
    }
    to->top = top;
    return true;
}

struct mr_logprob *mr_run_copy_logprobs(struct mr_arena *arena, const struct mr_logprob *from, int32_t n)
{
    struct mr_logprob *to = mr_arena_array(arena, (size_t)n, sizeof *to);
    for (int32_t i = 0; to && i < n; i++) {
        if (!copy_logprob(arena, &from[i], &to[i]))
            return NULL;
    }
    return to;
}

bool mr_run_add_chunk(struct mr_run *run, const struct mr_chunk *views, int64_t now_ns)
{
    size_t ids_bytes = sizeof *views->ids * (size_t)views->n_ids;
    struct mr_chunk *chunk = calloc(1, sizeof *chunk + ids_bytes + views->text.n);
    if (!chunk)
        return false;
    char *memory = (char *)(chunk + 1);
    memcpy(memory, views->ids, ids_bytes);
    chunk->seq = views->seq;
    chunk->n_ids = views->n_ids;
    chunk->ids = (const int32_t *)memory;
    chunk->text = (struct mr_str){memory + ids_bytes, views->text.n};
    if (views->text.n)
        memcpy(memory + ids_bytes, views->text.p, views->text.n);
    chunk->made_ns = now_ns;
    if (views->logprobs)
        chunk->logprobs = mr_run_copy_logprobs(&chunk->arena, views->logprobs, views->n_ids);
    *run->chunks_end = chunk;
    run->chunks_end = &chunk->next;
    return !views->logprobs || chunk->logprobs;
}

static void pop_chunk(struct mr_run *run)
{
    struct mr_chunk *chunk = run->chunks;
    run->chunks = chunk->next;
    if (!run->chunks)
        run->chunks_end = &run->chunks;
    mr_arena_fini(&chunk->arena);
    free(chunk);
}

bool mr_run_align(struct mr_run *run)
{
    while (run->chunks && run->chunks->seq + run->chunks->n_ids <= run->fold.seq) {
        struct mr_chunk *chunk = run->chunks;
        run->chunks_ctx = mr_fold_ctx(run->chunks_ctx, 0, chunk->ids, (size_t)chunk->n_ids);
        run->chunks_seq = chunk->seq + chunk->n_ids;
        pop_chunk(run);
    }
    return run->chunks_seq == run->fold.seq && run->chunks_ctx == run->fold.ctx;
}

int64_t mr_run_made(const struct mr_run *run)
{
    int64_t made = run->chunks_seq;
    for (const struct mr_chunk *chunk = run->chunks; chunk; chunk = chunk->next)
        made = chunk->seq + chunk->n_ids;
    return made;
}

void mr_run_forget(struct mr_run *run)
{
    while (run->chunks)
        pop_chunk(run);
    run->chunks_seq = run->fold.seq;
    run->chunks_ctx = run->fold.ctx;
    run->ended = false;
    mr_buf_clear(&run->tail_text);
}
