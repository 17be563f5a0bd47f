/* The result of a run as a tree, then as bytes.
 *
 * Pure; any thread.
 * 1 Nothing but the arguments goes in: whoever publishes a result again, after a crash or on another worker, publishes the
 *   same bytes. What is said beyond the tokens stands in the accepted START and the terminal.
 * 2 Keys stand in one fixed order; what is unknown is left out, never null, unless OpenAI writes null there.
 * 3 mr_result_bound_bytes is never below the size of what encode writes for a job that ended within its max_tokens.
 * Rejected: a timestamp of now, a random id (both would break 1). */
#include "worker/result.h"

#include "base/check.h"
#include "base/starved.h"
#include "worker/result_logprobs.h"
#include "worker/text/utf8.h"

#include <inttypes.h>
#include <math.h>

static struct mr_value kept(struct mr_arena *arena, struct mr_buf *text)
{
    struct mr_str s = text->failed ? (struct mr_str){0} : mr_arena_str(arena, mr_buf_view(text));
    mr_buf_fini(text);
    return s.p ? mr_value_string(s) : mr_value_null();
}

static struct mr_value ids_value(struct mr_arena *arena, const int32_t *ids, int32_t n)
{
    struct mr_value array = mr_value_array(arena, (size_t)n);
    for (int32_t i = 0; i < n; i++)
        mr_value_push(&array, mr_value_int(ids[i]));
    return array;
}

static void set_ms(struct mr_value *map, const char *key, double ms)
{
    if (ms >= 0)
        mr_value_set(map, key, mr_value_float(round(ms * 1000) / 1000));
}

static struct mr_value usage_value(struct mr_arena *arena, const struct mr_usage *usage)
{
    struct mr_value map = mr_value_map(arena, 4), details = mr_value_map(arena, 1);
    mr_value_set(&details, "cached_tokens", mr_value_int(usage->cached_tokens));
    mr_value_set(&map, "prompt_tokens", mr_value_int(usage->prompt_tokens));
    mr_value_set(&map, "completion_tokens", mr_value_int(usage->completion_tokens));
    mr_value_set(&map, "total_tokens", mr_value_int((int64_t)usage->prompt_tokens + usage->completion_tokens));
    mr_value_set(&map, "prompt_tokens_details", details);
    return map;
}

/* What the terminal says and the OpenAI object round it has no place for. */
static void set_remains(struct mr_arena *arena, struct mr_value *map, const struct mr_result *r)
{
    const struct mr_stream_record *end = r->terminal;
    if (end->kind == MR_FOLD_EXPIRED) {
        if (end->message.n)
            mr_value_set(map, "message", mr_value_string(end->message));
        if (end->field.n)
            mr_value_set(map, "field", mr_value_string(end->field));
        return;
    }
    if (end->has_usage)
        mr_value_set(map, "usage", usage_value(arena, &end->usage));
    if (r->n_choices && r->choices[0].text.n)
        mr_value_set(map, "text", mr_value_string(r->choices[0].text));
}

/* The run's own words: how it ended, where it came from, and what it takes to run it again. */
static struct mr_value millrace_value(struct mr_arena *arena, const struct mr_result *r)
{
    const struct mr_stream_record *end = r->terminal;
    struct mr_value map = mr_value_map(arena, 24);
    mr_value_set(&map, "status", mr_value_string(mr_str_from(mr_fold_kind_name(end->kind))));
    if (end->reason != MR_REASON_NONE)
        mr_value_set(&map, "reason", mr_value_string(mr_str_from(mr_reason_name(end->reason))));
    mr_value_set(&map, "tenant", mr_value_string(r->job->tenant));
    mr_value_set(&map, "tier", mr_value_string(mr_str_from(mr_tier_name(r->job->tier))));
    if (r->route) {
        struct mr_buf src = {0};
        mr_buf_addf(&src, "%" PRId64 ".%" PRId64, r->src.offset, r->src.timestamp_ms);
        mr_value_set(&map, "route", mr_value_string(mr_str_from(r->route->name)));
        mr_value_set(&map, "partition", mr_value_int(r->partition));
        mr_value_set(&map, "src", kept(arena, &src));
        mr_value_set(&map, "takeovers", mr_value_int(r->takeovers));
        mr_value_set(&map, "epoch", mr_value_int(end->epoch));
    }
    set_ms(&map, "queue_ms", end->timings.queue_ms);
    set_ms(&map, "ttft_ms", end->timings.ttft_ms);
    set_ms(&map, "tpot_ms", end->timings.tpot_ms);
    if (end->has_usage) {
        struct mr_value cached = mr_value_map(arena, 1);
        mr_value_set(&cached, "device", mr_value_int(end->usage.cached_tokens));
        mr_value_set(&map, "cached_tokens", cached);
    }
    if (end->kind == MR_FOLD_FAILED || end->kind == MR_FOLD_EXPIRED)
        set_remains(arena, &map, r);
    if (r->start) {
        mr_value_set(&map, "model_digest", mr_value_string(r->start->model_digest));
        mr_value_set(&map, "tokenizer_digest", mr_value_string(r->start->tokenizer_digest));
        mr_value_set(&map, "build", mr_value_string(r->start->build));
        mr_value_set(&map, "worker", mr_value_string(r->start->worker));
        if (r->start->body_hash.n)
            mr_value_set(&map, "body_hash", mr_value_string(r->start->body_hash));
    }
    mr_value_set(&map, "seed", mr_value_int((int64_t)(r->start ? r->start->seed : r->job->sampling.seed)));
    if (r->job->metadata)
        mr_value_set(&map, "metadata", *r->job->metadata);
    return map;
}

static struct mr_value text_value(struct mr_arena *arena, struct mr_str prompt, struct mr_str text)
{
    struct mr_buf whole = {0};
    if (!prompt.n)
        return mr_value_string(text.p ? text : MR_STR(""));
    mr_utf8_repair(prompt, &whole); /* its end may be a part of a character */
    mr_buf_add_str(&whole, text);
    return kept(arena, &whole);
}

static struct mr_value choice_value(struct mr_arena *arena, const struct mr_result *r, int32_t index)
{
    const struct mr_result_choice *choice = &r->choices[index];
    const struct mr_stream_record *end = r->terminal;
    bool chat = r->job->kind == MR_JOB_CHAT, as_ids = r->job->return_tokens_as_token_ids;
    struct mr_value map = mr_value_map(arena, 8), logprobs = mr_value_null();
    mr_value_set(&map, "index", mr_value_int(index));
    if (chat) {
        struct mr_value message = mr_value_map(arena, 2);
        mr_value_set(&message, "role", mr_value_string(MR_STR("assistant")));
        mr_value_set(&message, "content", text_value(arena, (struct mr_str){0}, choice->text));
        mr_value_set(&map, "message", message);
    } else {
        mr_value_set(&map, "text", text_value(arena, r->job->echo ? r->prompt_text : (struct mr_str){0}, choice->text));
    }
    if (choice->logprobs)
        logprobs = chat ? mr_result_logprobs_chat(arena, choice->logprobs, choice->n, as_ids)
                        : mr_result_logprobs_completion(arena, choice->logprobs, choice->n, as_ids);
    mr_value_set(&map, "logprobs", logprobs);
    mr_value_set(&map, "finish_reason", mr_value_string(choice->finish));
    if (r->job->return_token_ids)
        mr_value_set(&map, "token_ids", ids_value(arena, choice->ids, choice->n));
    if (!chat && end->prompt_logprobs)
        mr_value_set(&map, "prompt_logprobs", mr_result_logprobs_prompt(arena, end->prompt_logprobs, end->n_prompt_logprobs));
    return map;
}

static struct mr_value completion_value(struct mr_arena *arena, const struct mr_result *r)
{
    bool chat = r->job->kind == MR_JOB_CHAT;
    const struct mr_stream_record *end = r->terminal;
    struct mr_value map = mr_value_map(arena, 10), choices = mr_value_array(arena, (size_t)r->n_choices);
    for (int32_t i = 0; i < r->n_choices; i++)
        mr_value_push(&choices, choice_value(arena, r, i));
    mr_value_set(&map, "id", mr_value_string(r->job->id));
    mr_value_set(&map, "object", mr_value_string(chat ? MR_STR("chat.completion") : MR_STR("text_completion")));
    mr_value_set(&map, "created", mr_value_int((r->created_ms ? r->created_ms : r->src.timestamp_ms) / 1000));
    mr_value_set(&map, "model", mr_value_string(r->start && r->start->model.n ? r->start->model : r->job->model));
    mr_value_set(&map, "choices", choices);
    mr_value_set(&map, "usage", usage_value(arena, &end->usage));
    if (r->job->return_token_ids)
        mr_value_set(&map, "prompt_token_ids", ids_value(arena, r->job->prompt_ids, r->job->n_prompt));
    if (chat && end->prompt_logprobs)
        mr_value_set(&map, "prompt_logprobs", mr_result_logprobs_prompt(arena, end->prompt_logprobs, end->n_prompt_logprobs));
    mr_value_set(&map, "millrace", millrace_value(arena, r));
    return map;
}

static struct mr_value error_value(struct mr_arena *arena, const struct mr_result *r)
{
    const struct mr_stream_record *end = r->terminal;
    struct mr_value map = mr_value_map(arena, 4), error = mr_value_map(arena, 5);
    mr_value_set(&error, "message", mr_value_string(end->message.n ? end->message : mr_str_from(mr_reason_sentence(end->reason))));
    mr_value_set(&error, "type", mr_value_string(mr_str_from(mr_reason_openai_type(end->reason))));
    mr_value_set(&error, "param", end->field.n ? mr_value_string(end->field) : mr_value_null());
    mr_value_set(&error, "code", mr_value_string(mr_str_from(mr_reason_name(end->reason))));
    if (end->retry_after_ms > 0)
        mr_value_set(&error, "retry_after", mr_value_int((end->retry_after_ms + 999) / 1000));
    mr_value_set(&map, "error", error);
    mr_value_set(&map, "id", mr_value_string(r->job->id));
    mr_value_set(&map, "created", mr_value_int((r->created_ms ? r->created_ms : r->src.timestamp_ms) / 1000));
    mr_value_set(&map, "millrace", millrace_value(arena, r));
    return map;
}

/* The line of an OpenAI Batch output file round a body. */
static struct mr_value line_value(struct mr_arena *arena, const struct mr_result *r, struct mr_value body)
{
    struct mr_value map = mr_value_map(arena, 4), response = mr_value_map(arena, 3);
    int status = r->terminal->kind == MR_FOLD_DONE ? 200 : r->terminal->kind == MR_FOLD_CANCELLED ? 499 : mr_reason_status(r->terminal->reason);
    struct mr_buf id = {0};
    mr_buf_addf(&id, "batch_req_%.*s", (int)r->job->id.n, r->job->id.p);
    mr_value_set(&response, "status_code", mr_value_int(status));
    mr_value_set(&response, "request_id", mr_value_string(r->job->id));
    mr_value_set(&response, "body", body);
    mr_value_set(&map, "id", kept(arena, &id));
    mr_value_set(&map, "custom_id", r->job->custom_id.p ? mr_value_string(r->job->custom_id) : mr_value_null());
    mr_value_set(&map, "response", response);
    mr_value_set(&map, "error", mr_value_null());
    return map;
}

bool mr_result_encode(const struct mr_result *result, enum mr_encoding encoding, struct mr_buf *out)
{
    enum mr_fold_kind kind = result->terminal->kind;
    CHECK(kind == MR_FOLD_DONE || kind == MR_FOLD_FAILED || kind == MR_FOLD_CANCELLED || kind == MR_FOLD_EXPIRED);
    struct mr_arena arena;
    uint64_t starved = mr_starved_count();
    mr_arena_init(&arena, 0);
    struct mr_value value = kind == MR_FOLD_FAILED ? error_value(&arena, result) : completion_value(&arena, result);
    if (result->job->batch_line)
        value = line_value(&arena, result, value);
    bool whole = value.kind == MR_MAP;
    if (whole)
        mr_encoding_codec(encoding)->encode(&value, out);
    mr_arena_fini(&arena);
    return whole && !out->failed && mr_starved_count() == starved; /* a list without memory would be null */
}

bool mr_result_encode_refusal(const struct mr_job *job, const struct mr_refusal *refusal, int64_t created_ms, struct mr_buf *out)
{
    struct mr_stream_record terminal = {
        .kind = MR_FOLD_FAILED,
        .reason = refusal->reason,
        .message = mr_str_from(refusal->message),
        .field = mr_str_from(refusal->field),
        .timings = {-1, -1, -1},
    };
    struct mr_result result = {.job = job, .src = {0, created_ms}, .terminal = &terminal};
    return mr_result_encode(&result, job->encoding, out);
}

int64_t mr_result_bound_bytes(const struct mr_job *job, int32_t n_prompt, int32_t token_bytes)
{
    enum { FRAME_BYTES = 4096, ID_BYTES = 11, ENTRY_BYTES = 72, AS_ID_BYTES = 20, ESCAPED = 6 };
    const struct mr_sampling *s = &job->sampling;
    int64_t token = token_bytes > AS_ID_BYTES ? token_bytes : AS_ID_BYTES;
    int64_t entry = ENTRY_BYTES + token;
    int64_t chat_entry = entry + 4 * (int64_t)token_bytes; /* its bytes too, as three digits and a comma each */
    int64_t bytes = FRAME_BYTES + ESCAPED * (int64_t)(job->custom_id.n + job->model.n + job->tenant.n + 3 * job->id.n);
    if (job->metadata) {
        struct mr_buf text = {0};
        mr_codec_canonical(job->metadata, &text);
        bytes += 3 * (int64_t)text.n; /* msgpack may take nine bytes where JSON takes four */
        mr_buf_fini(&text);
    }
    bytes += s->max_tokens * (int64_t)token_bytes + (job->echo ? n_prompt * (int64_t)token_bytes : 0);
    if (job->return_token_ids)
        bytes += ID_BYTES * ((int64_t)s->max_tokens + n_prompt);
    if (s->n_logprobs >= 0)
        bytes += s->max_tokens * (s->n_logprobs + 2) * (job->kind == MR_JOB_CHAT ? chat_entry : entry);
    if (s->n_prompt_logprobs >= 0)
        bytes += n_prompt * (s->n_prompt_logprobs + 2) * entry;
    return bytes;
}
