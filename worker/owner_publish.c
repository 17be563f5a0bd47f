/* What the owner appends: stream records, outcomes, state. Every function turns a run's present state into actions; none decides.
 *
 * A result is made from the input record's job and from what the log holds (the accepted START and terminal, decoded again from
 * their bytes, and the accepted tokens), never from what this process happens to remember: so every owner makes the same bytes. */
#include "worker/owner_state.h"

#include "base/check.h"
#include "worker/encoding.h"
#include "worker/result.h"

#include <stdarg.h>
#include <stdio.h>

enum { DEAD_HEADERS = 7 };

static struct mr_str out_str(struct mr_owner *owner, struct mr_str s)
{
    struct mr_str copy = mr_arena_str(&owner->out, s);
    CHECK(copy.p);
    return copy;
}

static struct mr_str out_scratch(struct mr_owner *owner)
{
    CHECK(!owner->scratch.failed);
    return out_str(owner, mr_buf_view(&owner->scratch));
}

static struct mr_str out_format(struct mr_owner *owner, const char *format, ...) __attribute__((format(printf, 2, 3)));
static struct mr_str out_format(struct mr_owner *owner, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return out_str(owner, (struct mr_str){text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1});
}

static uint64_t tag_of(const struct mr_owner *owner, const struct mr_run *run, uint64_t kind)
{
    return (uint64_t)owner->producer << 56 | kind << 54 | run->handle;
}

/* ---- stream records ---- */

static struct mr_stream_record record_of(const struct mr_run *run, enum mr_fold_kind kind)
{
    return (struct mr_stream_record){.kind = kind, .job = run->name, .src = run->src, .epoch = run->epoch, .writer = run->writer,
                                     .timings = {-1, -1, -1}};
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
    log->tag = tag_of(owner, run, tag_kind);
    log->record.topic = mr_str_from(run->partition->stream);
    log->record.partition = run->partition->number;
    log->record.key = out_str(owner, run->name);
    log->record.value = out_scratch(owner);
    log->record.headers = headers->list;
    log->record.n_headers = headers->n;
    for (int32_t i = 0; i < headers->n; i++) { /* echoed and name are the run's: the run may go before the action is done */
        headers->list[i].key = out_str(owner, headers->list[i].key);
        headers->list[i].value = out_str(owner, headers->list[i].value);
    }
    run->unacked += tag_kind == TAG_STREAM;
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
}

static const struct mr_chunk *first_unsent(const struct mr_run *run)
{
    const struct mr_chunk *chunk = run->chunks;
    while (chunk && chunk->seq < run->sent_seq)
        chunk = chunk->next;
    return chunk;
}

/* One TOK of whole chunks, at most MR_STREAM_IDS_MAX tokens. */
static void append_tokens(struct mr_owner *owner, struct mr_run *run, const struct mr_chunk *first)
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
    for (const struct mr_chunk *chunk = first; chunk != end; chunk = chunk->next) {
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
    const struct mr_chunk *first;
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
    if (run->job->prompt_ids && record.kind != MR_FOLD_DUPLICATE) {
        record.has_usage = true;
        record.usage = (struct mr_usage){run->job->n_prompt, (int32_t)record.n, run->ended ? run->n_cached : 0};
    }
    record.timings = timings_of(run, record.n);
    if (record.kind == MR_FOLD_DONE && run->prompt_logprobs) {
        record.prompt_logprobs = run->prompt_logprobs;
        record.n_prompt_logprobs = run->n_prompt_logprobs;
    }
    if (record.kind == MR_FOLD_DUPLICATE) {
        record.first.topic = mr_str_from(run->partition->topic);
        record.first.partition = run->partition->number;
        record.first.offset = run->decision.first_offset;
    }
    append(owner, run, &record, TAG_STREAM);
}

/* ---- outcomes ---- */

static void decode_kept(struct mr_owner *owner, const struct mr_run *run, struct mr_str value, struct mr_stream_record *out)
{
    struct mr_header type = {MR_STR("content-type"), mr_str_from(mr_encoding_codec(run->log_encoding)->content_type)};
    struct mr_record in = {.value = value, .headers = &type, .n_headers = 1};
    CHECK(mr_stream_record_decode(&in, &owner->out, out, NULL) == MR_OK); /* it was decoded when it was followed */
}

bool owner_publish_same_model(struct mr_owner *owner, const struct mr_run *run)
{
    struct mr_stream_record start;
    decode_kept(owner, run, mr_buf_view(&run->start), &start);
    return mr_str_is(start.model_digest, owner->config.model_digest) && mr_str_is(start.tokenizer_digest, owner->config.tokenizer_digest);
}

/* Log probabilities of all accepted tokens, or NULL when some have none. */
static const struct mr_logprob *kept_logprobs(struct mr_owner *owner, const struct mr_run *run)
{
    int64_t n = 0;
    if (run->scored.n == 0)
        return NULL;
    struct mr_logprob *all = mr_arena_array(&owner->out, (size_t)run->fold.seq, sizeof *all);
    CHECK(all);
    for (size_t at = 0; at < run->scored.n;) {
        uint32_t bytes;
        struct mr_stream_record tok;
        memcpy(&bytes, run->scored.p + at, sizeof bytes);
        decode_kept(owner, run, (struct mr_str){run->scored.p + at + sizeof bytes, bytes}, &tok);
        memcpy(all + n, tok.logprobs, sizeof *all * (size_t)tok.n_ids);
        n += tok.n_ids;
        at += sizeof bytes + bytes;
    }
    return n == run->fold.seq ? all : NULL;
}

static void produce(struct mr_owner *owner, const char *topic, struct mr_run *run, uint64_t tag, struct mr_record *record)
{
    record->topic = out_str(owner, mr_str_from(topic));
    record->partition = -1;
    record->key = out_str(owner, run->name);
    record->timestamp_ms = 0;
    record->offset = 0;
    struct mr_log_action *log = &owner_act(owner, MR_OWNER_DO_LOG)->log;
    log->kind = MR_LOG_PRODUCE;
    log->tag = tag;
    log->record = *record;
    run->closing += tag != 0;
}

static void publish_result(struct mr_owner *owner, struct mr_run *run, const struct mr_stream_record *start, const struct mr_stream_record *end)
{
    const struct mr_partition *p = run->partition;
    struct mr_buf text = {0};
    mr_buf_add_str(&text, mr_buf_view(&run->text));
    mr_buf_add_str(&text, end->text);
    struct mr_result_choice choice = {.ids = (const int32_t *)run->ids.p, .n = (int32_t)run->fold.seq, .text = mr_buf_view(&text),
                                      .logprobs = kept_logprobs(owner, run)};
    if (end->n_finish > 0)
        choice.finish = end->finish[0];
    struct mr_result result = {.job = run->job, .route = p->route, .partition = p->number, .src = run->src, .start = start, .terminal = end,
                               .takeovers = run->takeovers, .choices = &choice, .n_choices = 1, .prompt_text = run->job->prompt};
    mr_buf_clear(&owner->scratch);
    CHECK(!text.failed && mr_result_encode(&result, run->job->encoding, &owner->scratch));
    mr_buf_fini(&text);
    struct mr_stream_headers *headers = mr_arena_alloc(&owner->out, sizeof *headers);
    CHECK(headers);
    mr_stream_record_headers(end, run->job->encoding, run->job->echoed, run->job->n_echoed, headers);
    for (int32_t i = 0; i < headers->n; i++) {
        headers->list[i].key = out_str(owner, headers->list[i].key);
        headers->list[i].value = out_str(owner, headers->list[i].value);
    }
    struct mr_record record = {.value = out_scratch(owner), .headers = headers->list, .n_headers = headers->n};
    produce(owner, p->route->results, run, tag_of(owner, run, TAG_RESULT), &record);
    if (run->job->reply_topic.n) { /* a copy that nobody waits for */
        char topic[MR_TOPIC_BYTES_MAX + 1] = {0};
        memcpy(topic, run->job->reply_topic.p, run->job->reply_topic.n < MR_TOPIC_BYTES_MAX ? run->job->reply_topic.n : MR_TOPIC_BYTES_MAX);
        produce(owner, topic, run, 0, &record);
    }
}

static struct mr_str history_text(struct mr_owner *owner, const struct mr_run *run)
{
    struct mr_buf text = {0};
    for (int32_t i = 0; i < run->n_history; i++)
        mr_buf_addf(&text, "%s%016llx:%s%s", i ? "," : "", (unsigned long long)run->history[i].process, mr_stream_cause_name(run->history[i].cause),
                    run->history[i].alone ? ":alone" : "");
    struct mr_str copy = out_str(owner, mr_buf_view(&text));
    mr_buf_fini(&text);
    return copy;
}

/* The original bytes and headers, and why they are here. */
static void publish_dead(struct mr_owner *owner, struct mr_run *run, const struct mr_stream_record *end)
{
    const struct mr_partition *p = run->partition;
    struct mr_header *headers = mr_arena_array(&owner->out, MR_HEADERS_MAX, sizeof *headers);
    struct mr_record record;
    CHECK(headers);
    mr_run_input(run, headers, &record);
    int32_t n = record.n_headers < MR_HEADERS_MAX - DEAD_HEADERS ? record.n_headers : MR_HEADERS_MAX - DEAD_HEADERS;
    int64_t bytes = (int64_t)record.value.n;
    for (int32_t i = 0; i < n; i++) {
        headers[i].key = out_str(owner, headers[i].key);
        headers[i].value = out_str(owner, headers[i].value);
        bytes += (int64_t)(headers[i].key.n + headers[i].value.n);
    }
    headers[n++] = (struct mr_header){MR_STR("mr-dead-reason"), mr_str_from(mr_reason_name(end->reason))};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-field"), end->field};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-message"), end->message};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-job"), out_str(owner, run->name)};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-src"), out_format(owner, "%lld.%lld", (long long)run->src.offset,
        (long long)run->src.timestamp_ms)};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-position"), out_format(owner, "%s/%d/%lld", p->topic, p->number, (long long)run->src.offset)};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-history"), history_text(owner, run)};
    record.n_headers = n;
    if (bytes > owner->config.max_dead_bytes)
        record.value = (struct mr_str){0};
    else if (record.value.p)
        record.value = out_str(owner, record.value);
    owner->stats.dead++;
    produce(owner, p->route->dead, run, tag_of(owner, run, TAG_RESULT), &record);
}

void owner_publish_outcome(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_stream_record start, end;
    decode_kept(owner, run, mr_buf_view(&run->start), &start);
    decode_kept(owner, run, mr_buf_view(&run->end), &end);
    bool failed = end.kind == MR_FOLD_FAILED;
    bool result = failed ? end.reason != MR_REASON_ID_CONFLICT && end.reason != MR_REASON_LOG_EXPIRED
                         : end.kind != MR_FOLD_DUPLICATE && end.kind != MR_FOLD_MOVED;
    if (result)
        publish_result(owner, run, &start, &end);
    if (failed)
        publish_dead(owner, run, &end);
}

/* ---- what people see ---- */

static void field(struct mr_state_update *state, const char *name, struct mr_str value)
{
    state->field[state->n_fields] = mr_str_from(name);
    state->value[state->n_fields++] = value;
}

void owner_publish_state(struct mr_owner *owner, struct mr_run *run, const char *name)
{
    const struct mr_partition *p = run->partition;
    int64_t broker_ms;
    struct mr_state_update *state = &owner_act(owner, MR_OWNER_DO_STATE)->state;
    state->key = out_format(owner, "{%.*s}", (int)run->name.n, run->name.p);
    state->epoch = (int64_t)run->fold.epoch;
    state->expire_ms = owner->config.state_expire_ms;
    field(state, "state", mr_str_from(name));
    field(state, "tier", mr_str_from(mr_tier_name(p->route->tier)));
    field(state, "route", mr_str_from(p->route->name));
    field(state, "topic", mr_str_from(p->topic));
    field(state, "partition", out_format(owner, "%d", p->number));
    field(state, "src", out_format(owner, "%lld.%lld", (long long)run->src.offset, (long long)run->src.timestamp_ms));
    field(state, "tokens", out_format(owner, "%lld", (long long)run->fold.seq));
    field(state, "epoch", out_format(owner, "%llu", (unsigned long long)run->fold.epoch));
    field(state, "worker", mr_str_from(owner->config.worker));
    if (run->job)
        field(state, "body_hash", out_str(owner, mr_str_from(run->job->body_hash)));
    if (owner_broker_now(owner, &broker_ms))
        field(state, "updated_ms", out_format(owner, "%lld", (long long)broker_ms));
    if (run->fold.closed && run->decision.refusal.reason != MR_REASON_NONE)
        field(state, "reason", mr_str_from(mr_reason_name(run->decision.refusal.reason)));
}

void owner_publish_count(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_stream_record end;
    decode_kept(owner, run, mr_buf_view(&run->end), &end);
    struct mr_owner_outcome *outcome = &owner_act(owner, MR_OWNER_DO_COUNT)->outcome;
    outcome->tier = run->partition->route->tier;
    outcome->tenant = out_str(owner, run->job->tenant);
    outcome->kind = run->fold.end;
    outcome->reason = end.reason;
    outcome->n_output = run->fold.seq;
    outcome->timings = end.timings;
}
