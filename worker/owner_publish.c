/* The stream records that the owner appends. Every function turns a run's present state into actions; none decides.
 *
 * Invariants:
 * 1. A record says what holds when it is appended; nothing in it is changed afterwards.
 * 2. Everything that an action points at is copied into owner->out: the run may be gone before the action is performed.
 * Thread: the owner's. Rejected: encoding without a copy (a run that ends in the same step would pull it away). */
#include "worker/owner_state.h"

#include "base/check.h"
#include "worker/encoding.h"

#include <stdarg.h>
#include <stdio.h>

struct mr_str owner_out_str(struct mr_owner *owner, struct mr_str s)
{
    struct mr_str copy = mr_arena_str(&owner->out, s);
    CHECK(copy.p);
    return copy;
}

struct mr_str owner_out_scratch(struct mr_owner *owner)
{
    CHECK(!owner->scratch.failed);
    return owner_out_str(owner, mr_buf_view(&owner->scratch));
}

struct mr_str owner_out_format(struct mr_owner *owner, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return owner_out_str(owner, (struct mr_str){text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1});
}

void owner_out_headers(struct mr_owner *owner, struct mr_header *headers, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        headers[i].key = owner_out_str(owner, headers[i].key);
        headers[i].value = owner_out_str(owner, headers[i].value);
    }
}

uint64_t owner_tag(const struct mr_owner *owner, const struct mr_run *run, uint64_t kind)
{
    return (uint64_t)owner->producer << 56 | kind << 54 | run->handle;
}

/* ---- stream records ---- */

static struct mr_stream_record record_of(const struct mr_run *run, enum mr_fold_kind kind)
{
    return (struct mr_stream_record){.kind = kind, .job = run->name, .src = run->src, .epoch = run->epoch, .writer = run->writer,
                                     .timings = {-1, -1, -1}};
}

/* bare: what a record points at lives until the step ends, but for what is the run's: a START's and terminal's text is copied. */
static void echo(struct mr_owner *owner, struct mr_run *run, const struct mr_stream_record *record, struct mr_str value)
{
    struct owner_echo *echo = mr_arena_alloc(&owner->out, sizeof *echo);
    CHECK(echo);
    *echo = (struct owner_echo){.partition = run->partition, .record = *record, .value = value, .encoding = run->job->encoding};
    echo->record.job = owner_out_str(owner, record->job);
    echo->record.text = owner_out_str(owner, record->text);
    echo->record.body_hash = owner_out_str(owner, record->body_hash);
    *owner->echo_end = echo;
    owner->echo_end = &echo->next;
}

static void append(struct mr_owner *owner, struct mr_run *run, const struct mr_stream_record *record, uint64_t tag_kind)
{
    const struct mr_job *job = run->job;
    struct mr_stream_headers *headers = mr_arena_alloc(&owner->out, sizeof *headers);
    CHECK(headers);
    mr_buf_clear(&owner->scratch);
    CHECK(mr_stream_record_encode(record, job->encoding, &owner->scratch));
    mr_stream_record_headers(record, job->encoding, job->echoed, job->n_echoed, headers);
    struct mr_log_action *log = &owner_act(owner, MR_OWNER_DO_LOG)->log;
    log->kind = MR_LOG_PRODUCE;
    log->tag = owner_tag(owner, run, tag_kind);
    log->record.topic = mr_str_from(run->partition->stream);
    log->record.partition = run->partition->number;
    log->record.key = owner_out_str(owner, run->name);
    log->record.value = owner_out_scratch(owner);
    log->record.headers = headers->list;
    log->record.n_headers = headers->n;
    owner_out_headers(owner, headers->list, headers->n); /* echoed and name are the run's: the run may go before the action is done */
    run->unacked += tag_kind == TAG_STREAM;
    if (owner->config.bare)
        echo(owner, run, record, log->record.value);
}

void owner_publish_start(struct mr_owner *owner, struct mr_run *run)
{
    const struct mr_owner_config *config = &owner->config;
    int64_t epoch = (int64_t)run->partition->generation << 20;
    if (epoch <= (int64_t)run->fold.epoch)
        epoch = (int64_t)run->fold.epoch + 1;
    if (epoch <= run->epoch)
        epoch = run->epoch + 1; /* a START of ours that the tail has not shown yet */
    run->epoch = epoch;
    run->start_ns = owner->now_ns;
    run->writer = config->random(config->self);
    struct mr_stream_record record = record_of(run, MR_FOLD_START);
    record.cause = mr_run_cause(run, config->process);
    record.attempt = (int64_t)run->fold.starts + 1;
    record.process = config->process;
    record.alone = run->alone;
    record.worker = mr_str_from(config->worker);
    record.model = run->job->model;
    record.model_digest = mr_str_from(config->model_digest);
    record.tokenizer_digest = mr_str_from(config->tokenizer_digest);
    record.build = mr_str_from(config->build);
    record.seed = run->job->sampling.seed;
    record.body_hash = mr_str_from(run->job->body_hash);
    record.from = run->fold.seq;
    append(owner, run, &record, TAG_STREAM);
    if (record.cause == MR_CAUSE_NEW)
        owner_audit_run(owner, run, mr_run_redriven(run) ? "redrive" : "job", "accepted", (struct mr_str){0});
}

static struct mr_chunk *first_unsent(const struct mr_run *run)
{
    struct mr_chunk *chunk = run->chunks;
    while (chunk && chunk->seq < run->sent_seq)
        chunk = chunk->next;
    return chunk;
}

/* One TOK of whole chunks, at most MR_STREAM_IDS_MAX tokens. */
static void append_tokens(struct mr_owner *owner, struct mr_run *run, struct mr_chunk *first)
{
    int32_t n = 0;
    bool scored = first->logprobs != NULL;
    struct mr_buf text = {0};
    const struct mr_chunk *end = first;
    for (; end && n + end->n_ids <= MR_STREAM_IDS_MAX; end = end->next)
        n += end->n_ids;
    int32_t *ids = mr_arena_array(&owner->out, (size_t)n, sizeof *ids);
    struct mr_logprob *logprobs = scored ? mr_arena_array(&owner->out, (size_t)n, sizeof *logprobs) : NULL;
    CHECK(n > 0 && ids && (!scored || logprobs));
    int32_t at = 0;
    for (struct mr_chunk *chunk = first; chunk != end; chunk = chunk->next) {
        chunk->sent_ns = owner->now_ns;
        memcpy(ids + at, chunk->ids, sizeof *ids * (size_t)chunk->n_ids);
        if (scored)
            memcpy(logprobs + at, chunk->logprobs, sizeof *logprobs * (size_t)chunk->n_ids);
        mr_buf_add_str(&text, chunk->text);
        at += chunk->n_ids;
    }
    CHECK(!text.failed);
    struct mr_stream_record record = record_of(run, MR_FOLD_TOK);
    record.seq = run->sent_seq;
    record.ids = ids;
    record.n_ids = n;
    record.text = mr_buf_view(&text);
    record.logprobs = logprobs;
    record.ctx = run->sent_ctx = mr_fold_ctx(run->sent_ctx, 0, ids, (size_t)n);
    run->sent_seq += n;
    append(owner, run, &record, TAG_STREAM);
    mr_buf_fini(&text);
}

/* The tier's rhythm; a run that was taken over without progress shows some at once; a job that did not ask for a stream is batched at least as the
 * standard tier is. */
static bool tokens_due(const struct mr_owner *owner, const struct mr_run *run, const struct mr_chunk *first)
{
    struct mr_owner_tier tier = owner->config.tier[run->job->tier];
    const struct mr_owner_tier *batched = &owner->config.tier[MR_TIER_STANDARD];
    if (!run->job->stream && tier.batch_tokens < batched->batch_tokens)
        tier = *batched;
    int64_t n = 0;
    for (const struct mr_chunk *chunk = first; chunk && n < tier.batch_tokens; chunk = chunk->next)
        n += chunk->n_ids;
    return run->alone || run->n_history > 1 || n >= tier.batch_tokens || owner->now_ns - first->made_ns >= tier.batch_ns;
}

void owner_publish_tokens(struct mr_owner *owner, struct mr_run *run, bool all)
{
    struct mr_chunk *first;
    while ((first = first_unsent(run)) && (all || tokens_due(owner, run, first)))
        append_tokens(owner, run, first);
}

void owner_publish_yield(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_stream_record record = record_of(run, MR_FOLD_YIELD);
    append(owner, run, &record, TAG_YIELD);
    owner->yields_out++;
}

static double ms_between(int64_t from_ns, int64_t to_ns) { return from_ns && to_ns >= from_ns ? (double)(to_ns - from_ns) / 1e6 : -1; }

static struct mr_timings timings_of(const struct mr_run *run, int64_t n)
{
    const struct mr_engine_timing *t = &run->timing;
    struct mr_timings out = {-1, -1, -1};
    if (!run->ended)
        return out;
    out.queue_ms = t->first_planned_ns ? ms_between(run->arrival_ns, t->first_planned_ns) : -1;
    out.ttft_ms = t->first_token_ns ? ms_between(run->arrival_ns, t->first_token_ns) : -1;
    if (n > 1 && t->first_token_ns && t->last_token_ns > t->first_token_ns)
        out.tpot_ms = ms_between(t->first_token_ns, t->last_token_ns) / (double)(n - 1);
    return out;
}

/* How it ended: what was decided, else what the engine said. */
static void outcome_of(struct mr_owner *owner, struct mr_run *run, struct mr_stream_record *record, struct mr_str *finish)
{
    static const struct mr_str word[] = {[MR_FINISH_STOP] = MR_STR("stop"), [MR_FINISH_LENGTH] = MR_STR("length"),
                                         [MR_FINISH_CANCELLED] = MR_STR("cancelled"), [MR_FINISH_EXPIRED] = MR_STR("expired")};
    (void)owner;
    enum mr_fold_kind kind = run->decision.kind;
    if (kind == MR_FOLD_START) {
        static const enum mr_fold_kind of_finish[] = {[MR_FINISH_STOP] = MR_FOLD_DONE, [MR_FINISH_LENGTH] = MR_FOLD_DONE,
                                                      [MR_FINISH_CANCELLED] = MR_FOLD_CANCELLED, [MR_FINISH_EXPIRED] = MR_FOLD_EXPIRED,
                                                      [MR_FINISH_FAILED] = MR_FOLD_FAILED, [MR_FINISH_NONE] = MR_FOLD_FAILED};
        kind = of_finish[run->finish];
        if (kind == MR_FOLD_FAILED)
            mr_refuse(&run->decision.refusal, run->finish_reason ? run->finish_reason : MR_REASON_INTERNAL, "", "the run failed on the worker");
        if (kind == MR_FOLD_EXPIRED)
            mr_refuse(&run->decision.refusal, MR_REASON_DEADLINE_PASSED, "", "the deadline passed");
    }
    record->kind = kind;
    *finish = kind == MR_FOLD_CANCELLED ? MR_STR("cancelled") : kind == MR_FOLD_EXPIRED ? MR_STR("expired") : word[run->finish];
    if (kind == MR_FOLD_FAILED || kind == MR_FOLD_EXPIRED) {
        record->reason = run->decision.refusal.reason;
        record->message = mr_str_from(run->decision.refusal.message);
        record->field = mr_str_from(run->decision.refusal.field);
        record->retry_after_ms = run->decision.retry_after_ms;
    }
}

void owner_publish_terminal(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_str finish;
    struct mr_stream_record record = record_of(run, MR_FOLD_DONE);
    outcome_of(owner, run, &record, &finish);
    record.n = run->sent_seq;
    record.ctx = run->sent_ctx;
    record.text = run->ended ? mr_buf_view(&run->tail_text) : (struct mr_str){0};
    bool ran = record.kind == MR_FOLD_DONE || record.kind == MR_FOLD_CANCELLED || record.kind == MR_FOLD_EXPIRED;
    if (ran && finish.n) {
        record.finish = &finish;
        record.n_finish = 1;
    }
    if (run->job->prompt_ids && record.kind != MR_FOLD_DUPLICATE && record.kind != MR_FOLD_MOVED) {
        record.has_usage = true;
        record.usage = (struct mr_usage){run->job->n_prompt, (int32_t)record.n, run->ended ? run->n_cached : 0};
    }
    record.timings = timings_of(run, record.n);
    if (record.kind == MR_FOLD_DONE && run->prompt_logprobs) {
        record.prompt_logprobs = run->prompt_logprobs;
        record.n_prompt_logprobs = run->n_prompt_logprobs;
    }
    if (record.kind == MR_FOLD_DUPLICATE) {
        record.first.topic = mr_str_from(run->decision.first_topic);
        record.first.partition = run->decision.first_partition;
        record.first.offset = run->decision.first_offset;
    }
    if (record.kind == MR_FOLD_MOVED)
        record.to_topic = mr_str_from(run->partition->route->parked);
    append(owner, run, &record, TAG_STREAM);
}

/* ---- what was followed ---- */

void owner_publish_kept(struct mr_owner *owner, const struct mr_run *run, struct mr_str value, struct mr_stream_record *out)
{
    struct mr_header type = {MR_STR("content-type"), mr_str_from(mr_encoding_codec(run->log_encoding)->content_type)};
    struct mr_record in = {.value = value, .headers = &type, .n_headers = 1};
    CHECK(mr_stream_record_decode(&in, &owner->out, out, NULL) == MR_OK); /* it was decoded when it was followed */
}

bool owner_publish_same_model(struct mr_owner *owner, const struct mr_run *run)
{
    struct mr_stream_record start;
    owner_publish_kept(owner, run, mr_buf_view(&run->start), &start);
    return mr_str_is(start.model_digest, owner->config.model_digest) && mr_str_is(start.tokenizer_digest, owner->config.tokenizer_digest);
}
