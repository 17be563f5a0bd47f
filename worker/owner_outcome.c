/* What follows from a run's end: result, dead letter, reply copy, parked record; its state in the mirror; its count.
 *
 * A result is made from the input record's job and from what the log holds (the accepted START and terminal, decoded again from
 * their bytes, and the accepted tokens), never from what this process happens to remember: so every owner makes the same bytes. */
#include "worker/owner_state.h"

#include "base/check.h"
#include "worker/result.h"

#include <stdio.h>

enum { DEAD_HEADERS = 7 };

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
        owner_publish_kept(owner, run, (struct mr_str){run->scored.p + at + sizeof bytes, bytes}, &tok);
        memcpy(all + n, tok.logprobs, sizeof *all * (size_t)tok.n_ids);
        n += tok.n_ids;
        at += sizeof bytes + bytes;
    }
    return n == run->fold.seq ? all : NULL;
}

static void produce(struct mr_owner *owner, const char *topic, struct mr_run *run, uint64_t tag, struct mr_record *record)
{
    record->topic = owner_out_str(owner, mr_str_from(topic));
    record->partition = -1;
    record->key = owner_out_str(owner, run->name);
    record->timestamp_ms = 0;
    record->offset = 0;
    struct mr_log_action *log = &owner_act(owner, MR_OWNER_DO_LOG)->log;
    log->kind = MR_LOG_PRODUCE;
    log->tag = tag;
    log->record = *record;
    log->transaction = owner->config.transactions;
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
                               .created_ms = run->origin ? run->origin->timestamp_ms : run->src.timestamp_ms,
                               .takeovers = run->takeovers, .choices = &choice, .n_choices = 1, .prompt_text = run->job->prompt};
    mr_buf_clear(&owner->scratch);
    CHECK(!text.failed && mr_result_encode(&result, run->job->encoding, &owner->scratch));
    mr_buf_fini(&text);
    struct mr_stream_headers *headers = mr_arena_alloc(&owner->out, sizeof *headers);
    CHECK(headers);
    mr_stream_record_headers(end, run->job->encoding, run->job->echoed, run->job->n_echoed, headers);
    owner_out_headers(owner, headers->list, headers->n);
    struct mr_record record = {.value = owner_out_scratch(owner), .headers = headers->list, .n_headers = headers->n};
    produce(owner, p->route->results, run, owner_tag(owner, run, TAG_RESULT), &record);
    if (run->job->reply_topic.n && owner_reply_allow(owner, run->job->reply_topic)) { /* a copy that nobody waits for */
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
    struct mr_str copy = owner_out_str(owner, mr_buf_view(&text));
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
    owner_out_headers(owner, headers, n);
    for (int32_t i = 0; i < n; i++)
        bytes += (int64_t)(headers[i].key.n + headers[i].value.n);
    headers[n++] = (struct mr_header){MR_STR("mr-dead-reason"), mr_str_from(mr_reason_name(end->reason))};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-field"), end->field};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-message"), end->message};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-job"), owner_out_str(owner, run->name)};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-src"), owner_out_format(owner, "%lld.%lld", (long long)run->src.offset,
        (long long)run->src.timestamp_ms)};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-position"),
                                      owner_out_format(owner, "%s/%d/%lld", p->topic, p->number, (long long)run->src.offset)};
    headers[n++] = (struct mr_header){MR_STR("mr-dead-history"), history_text(owner, run)};
    record.n_headers = n;
    if (bytes > owner->config.max_dead_bytes)
        record.value = (struct mr_str){0};
    else if (record.value.p)
        record.value = owner_out_str(owner, record.value);
    owner->stats.dead++;
    produce(owner, p->route->dead, run, owner_tag(owner, run, TAG_RESULT), &record);
}

void owner_outcome(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_stream_record start, end;
    owner_publish_kept(owner, run, mr_buf_view(&run->start), &start);
    owner_publish_kept(owner, run, mr_buf_view(&run->end), &end);
    bool failed = end.kind == MR_FOLD_FAILED;
    bool result = failed ? end.reason != MR_REASON_ID_CONFLICT && end.reason != MR_REASON_LOG_EXPIRED
                         : end.kind != MR_FOLD_DUPLICATE && end.kind != MR_FOLD_MOVED;
    if (result)
        publish_result(owner, run, &start, &end);
    if (failed)
        publish_dead(owner, run, &end);
    if (end.kind == MR_FOLD_MOVED)
        owner_move_publish(owner, run);
}

/* ---- what people see ---- */

static void field(struct mr_state_update *state, const char *name, struct mr_str value)
{
    state->field[state->n_fields] = mr_str_from(name);
    state->value[state->n_fields++] = value;
}

void owner_outcome_state(struct mr_owner *owner, struct mr_run *run, const char *name)
{
    const struct mr_partition *p = run->partition;
    int64_t broker_ms;
    struct mr_state_update *state = &owner_act(owner, MR_OWNER_DO_STATE)->state;
    state->key = owner_out_format(owner, "{%.*s}", (int)run->name.n, run->name.p);
    state->epoch = (int64_t)run->fold.epoch;
    state->expire_ms = owner->config.state_expire_ms;
    field(state, "state", mr_str_from(name));
    field(state, "tier", mr_str_from(mr_tier_name(p->route->tier)));
    field(state, "route", mr_str_from(p->route->name));
    field(state, "topic", mr_str_from(p->topic));
    field(state, "partition", owner_out_format(owner, "%d", p->number));
    field(state, "src", owner_out_format(owner, "%lld.%lld", (long long)run->src.offset, (long long)run->src.timestamp_ms));
    field(state, "tokens", owner_out_format(owner, "%lld", (long long)run->fold.seq));
    field(state, "epoch", owner_out_format(owner, "%llu", (unsigned long long)run->fold.epoch));
    field(state, "worker", mr_str_from(owner->config.worker));
    if (run->job)
        field(state, "body_hash", owner_out_str(owner, mr_str_from(run->job->body_hash)));
    if (owner_broker_now(owner, &broker_ms))
        field(state, "updated_ms", owner_out_format(owner, "%lld", (long long)broker_ms));
    if (run->fold.closed && run->decision.refusal.reason != MR_REASON_NONE)
        field(state, "reason", mr_str_from(mr_reason_name(run->decision.refusal.reason)));
}

void owner_outcome_count(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_stream_record end;
    owner_publish_kept(owner, run, mr_buf_view(&run->end), &end);
    struct mr_owner_outcome *outcome = &owner_act(owner, MR_OWNER_DO_COUNT)->outcome;
    outcome->tier = run->partition->route->tier;
    outcome->tenant = owner_out_str(owner, run->job->tenant);
    outcome->kind = run->fold.end;
    outcome->reason = end.reason;
    outcome->n_output = run->fold.seq;
    outcome->timings = end.timings;
    owner_audit_run(owner, run, "outcome", mr_fold_kind_name(run->fold.end), mr_str_from(end.reason ? mr_reason_name(end.reason) : ""));
}
