/* The fields of a job, and the reading of each.
 *
 * Immutable; any thread.
 * 1 Every number is checked against its row's bounds at the only place where it is read; what follows may rely on them.
 * 2 A field that is known and does nothing says so: it is refused unless its value asks for nothing.
 * 3 A refusal names the field and its rule, and never repeats a value: it goes to logs and to other people's dead letters.
 * Rejected: one function a field (four types and a range cover most); ignoring what is not implemented (a job that asks for
 * tools and gets prose has not been served). */
#include "worker/job_field.h"

#include "base/check.h"
#include "worker/job_prompt.h"
#include "worker/text/stop.h"

#include <stdio.h>

enum { METADATA_BYTES_MAX = 16384, LOGPROBS_MAX = 20 };

static enum mr_reason wrong_type(struct mr_field_reader *r, const char *field, const char *wanted, const struct mr_value *value)
{
    return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, field, "%s must be %s, not %s", field, wanted, mr_value_kind_name(value->kind));
}

static enum mr_reason no_memory(struct mr_field_reader *r, const char *field)
{
    return mr_refuse(r->refusal, MR_REASON_TOO_LARGE, field, "%s needs more memory than one job may take", field);
}

/* Read by job_decode.c before all others, because a refusal of any field needs the job's name. */
static enum mr_reason read_identity(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    (void)r, (void)field, (void)value;
    return MR_REASON_NONE;
}

static enum mr_reason read_version(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    if (value->kind != MR_INT)
        return wrong_type(r, field->name, "an integer", value);
    return value->as.integer == 1 ? MR_REASON_NONE : mr_refuse(r->refusal, MR_REASON_UNSUPPORTED_FIELD, field->name, "v must be 1");
}

/* max_completion_tokens is the newer name of max_tokens; both may be given when they agree. */
static enum mr_reason read_max_tokens(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    int32_t *most = &r->job->sampling.max_tokens;
    if (value->kind != MR_INT)
        return wrong_type(r, field->name, "an integer", value);
    if (value->as.integer < (int64_t)field->least || value->as.integer > (int64_t)field->most)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "%s must be %.0f to %.0f", field->name, field->least, field->most);
    if (*most >= 0 && *most != value->as.integer)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "max_tokens and max_completion_tokens differ");
    *most = (int32_t)value->as.integer;
    return MR_REASON_NONE;
}

static enum mr_reason read_seed(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    if (value->kind != MR_INT)
        return wrong_type(r, field->name, "an integer", value);
    r->job->sampling.seed = (uint64_t)value->as.integer;
    r->job->sampling.seed_given = true;
    return MR_REASON_NONE;
}

static enum mr_reason read_top_k(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    if (value->kind != MR_INT)
        return wrong_type(r, field->name, "an integer", value);
    if (value->as.integer < (int64_t)field->least || value->as.integer > (int64_t)field->most)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "top_k must be -1 or 0 (off) to %.0f", field->most);
    r->job->sampling.top_k = value->as.integer > 0 ? (int32_t)value->as.integer : 0;
    return MR_REASON_NONE;
}

/* completions: a number; chat: true, and top_logprobs says how many. */
static enum mr_reason read_logprobs(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    int32_t *n = &r->job->sampling.n_logprobs;
    if (r->job->kind == MR_JOB_CHAT) {
        if (value->kind != MR_BOOL)
            return wrong_type(r, field->name, "true or false", value);
        *n = !value->as.boolean ? -1 : *n < 0 ? 0 : *n;
        return MR_REASON_NONE;
    }
    if (value->kind != MR_INT)
        return wrong_type(r, field->name, "an integer", value);
    if (value->as.integer < 0 || value->as.integer > LOGPROBS_MAX)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "logprobs must be 0 to %d", LOGPROBS_MAX);
    *n = (int32_t)value->as.integer;
    return MR_REASON_NONE;
}

static enum mr_reason read_stop(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    const struct mr_value *items = value->kind == MR_ARRAY ? value->as.array.items : value;
    size_t n = value->kind == MR_ARRAY ? value->as.array.n : 1;
    if (value->kind != MR_STRING && value->kind != MR_ARRAY)
        return wrong_type(r, field->name, "a string or an array of strings", value);
    if (n > MR_STOP_MAX)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "stop has more than %d strings", MR_STOP_MAX);
    struct mr_str *stop = mr_arena_array(&r->job->arena, n, sizeof *stop);
    if (!stop)
        return no_memory(r, field->name);
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind != MR_STRING)
            return wrong_type(r, field->name, "a string or an array of strings", &items[i]);
        stop[i] = items[i].as.string;
        if (stop[i].n < 1 || stop[i].n > MR_STOP_BYTES_MAX)
            return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "a stop string must have 1 to %d bytes", MR_STOP_BYTES_MAX);
    }
    r->job->sampling.stop = stop;
    r->job->sampling.n_stop = (int32_t)n;
    return MR_REASON_NONE;
}

static enum mr_reason read_stop_ids(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    if (value->kind != MR_ARRAY)
        return wrong_type(r, field->name, "an array of token ids", value);
    size_t n = value->as.array.n;
    if (n > MR_STOP_IDS_MAX)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "stop_token_ids has more than %d ids", MR_STOP_IDS_MAX);
    int32_t *ids = mr_arena_array(&r->job->arena, n, sizeof *ids);
    if (!ids)
        return no_memory(r, field->name);
    for (size_t i = 0; i < n; i++) {
        const struct mr_value *id = &value->as.array.items[i];
        if (id->kind != MR_INT)
            return wrong_type(r, field->name, "an array of token ids", id);
        if (id->as.integer < 0 || id->as.integer > INT32_MAX)
            return mr_refuse(r->refusal, MR_REASON_INVALID_TOKEN, field->name, "stop_token_ids[%zu] is no token id", i);
        ids[i] = (int32_t)id->as.integer;
    }
    r->job->sampling.stop_ids = ids;
    r->job->sampling.n_stop_ids = (int32_t)n;
    return MR_REASON_NONE;
}

/* A key of logit_bias: the digits of a token id. -1: it is none. */
static int64_t id_from_text(struct mr_str text)
{
    int64_t id = 0;
    if (text.n < 1 || text.n > 10 || (text.n > 1 && text.p[0] == '0'))
        return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        id = id * 10 + text.p[i] - '0';
    }
    return id <= INT32_MAX ? id : -1;
}

static enum mr_reason read_bias(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    if (value->kind != MR_MAP)
        return wrong_type(r, field->name, "an object of token ids and numbers", value);
    size_t n = value->as.map.n;
    if (n > MR_LOGIT_BIAS_MAX)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "logit_bias has more than %d entries", MR_LOGIT_BIAS_MAX);
    int32_t *ids = mr_arena_array(&r->job->arena, n, sizeof *ids);
    float *values = mr_arena_array(&r->job->arena, n, sizeof *values);
    if (!ids || !values)
        return no_memory(r, field->name);
    for (size_t i = 0; i < n; i++) {
        const struct mr_pair *pair = &value->as.map.items[i];
        int64_t id = id_from_text(pair->key);
        double bias;
        if (id < 0)
            return mr_refuse(r->refusal, MR_REASON_INVALID_TOKEN, field->name, "a key of logit_bias is no token id");
        if (!mr_value_number(&pair->value, &bias))
            return wrong_type(r, field->name, "an object of token ids and numbers", &pair->value);
        if (!(bias >= field->least && bias <= field->most))
            return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "a bias must be %g to %g", field->least, field->most);
        ids[i] = (int32_t)id;
        values[i] = (float)bias;
    }
    r->job->sampling.bias_ids = ids;
    r->job->sampling.bias_values = values;
    r->job->sampling.n_bias = (int32_t)n;
    return MR_REASON_NONE;
}

static enum mr_reason read_deadline(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    if (value->kind != MR_INT)
        return wrong_type(r, field->name, "an integer", value);
    if (value->as.integer < 1 || value->as.integer > r->source->max_deadline_ms)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "deadline_ms must be 1 to %lld", (long long)r->source->max_deadline_ms);
    r->job->deadline_ms = value->as.integer;
    return MR_REASON_NONE;
}

static bool listed(struct mr_str name, const char *const *list, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (mr_str_is(name, list[i]))
            return true;
    return false;
}

static enum mr_reason read_reply_topic(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    const struct mr_route *route = r->source->route;
    if (value->kind != MR_STRING)
        return wrong_type(r, field->name, "a string", value);
    if (!listed(value->as.string, route->reply_topics, route->n_reply_topics))
        return mr_refuse(r->refusal, MR_REASON_REPLY_NOT_ALLOWED, field->name, "route %s does not allow this reply topic", route->name);
    r->job->reply_topic = value->as.string;
    return MR_REASON_NONE;
}

static enum mr_reason read_model(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    const struct mr_route *route = r->source->route;
    if (value->kind != MR_STRING)
        return wrong_type(r, field->name, "a string", value);
    if (value->as.string.n < (size_t)field->least || value->as.string.n > (size_t)field->most)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "model must have %.0f to %.0f bytes", field->least, field->most);
    if (route->n_models && !listed(value->as.string, route->models, route->n_models))
        return mr_refuse(r->refusal, MR_REASON_UNKNOWN_MODEL, field->name, "route %s does not serve this model", route->name);
    r->job->model = value->as.string;
    return MR_REASON_NONE;
}

static enum mr_reason read_metadata(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    struct mr_buf text = {0};
    if (value->kind != MR_MAP)
        return wrong_type(r, field->name, "an object", value);
    mr_codec_canonical(value, &text);
    bool fits = !text.failed && text.n <= METADATA_BYTES_MAX;
    mr_buf_fini(&text);
    r->job->metadata = value;
    return fits ? MR_REASON_NONE : mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "metadata has more than %d bytes", METADATA_BYTES_MAX);
}

#define AT(field) offsetof(struct mr_job, field)
#define PLAIN(name, kinds, type, field, least, most, text) {name, kinds, MR_FIELD_IMPLEMENTED, type, AT(field), least, most, NULL, NULL, text}
#define SPECIAL(name, kinds, read, least, most, text) {name, kinds, MR_FIELD_IMPLEMENTED, MR_FIELD_OTHER, 0, least, most, read, NULL, text}
#define NEUTRAL(name, kinds, values) {name, kinds, MR_FIELD_NEUTRAL, MR_FIELD_OTHER, 0, 0, 0, NULL, values, ""}
#define IGNORED(name) {name, MR_FIELD_BOTH, MR_FIELD_IGNORED, MR_FIELD_OTHER, 0, 0, 0, NULL, NULL, ""}
#define COMPLETION MR_FIELD_COMPLETION
#define CHAT MR_FIELD_CHAT
#define BOTH MR_FIELD_BOTH
#define TOKENS_MAX 16777216

static const struct mr_job_field table[] = {
    SPECIAL("prompt", COMPLETION, mr_job_prompt_read, 0, 0, "A string, or an array of token ids. An array may hold one such prompt."),
    SPECIAL("messages", CHAT, mr_job_messages_read, 0, 0, "Array of {role, content}; content is a string or an array of {type: text, text}."),
    SPECIAL("model", BOTH, read_model, 1, 256, "Name of the model. Default: the one that the worker serves."),
    SPECIAL("v", BOTH, read_version, 1, 1, "Version of the job's schema: 1."),
    SPECIAL("id", BOTH, read_identity, 1, MR_JOB_ID_BYTES_MAX,
            "The job's name inside its tenant: [A-Za-z0-9._:~-]{1,120}. Header idempotency-key says the same. "
            "Default: <topic>.<partition>.<offset>."),
    SPECIAL("tenant", BOTH, read_identity, 1, MR_TENANT_BYTES_MAX, "[a-z0-9-]{1,63}, where the route lets jobs name it."),
    SPECIAL("deadline_ms", BOTH, read_deadline, 1, 0, "Milliseconds from the record's broker timestamp; limits.deadline is the most."),
    SPECIAL("reply_topic", BOTH, read_reply_topic, 0, 0, "A topic that gets a copy of the result; the route lists the allowed ones."),
    PLAIN("cache_scope", BOTH, MR_FIELD_STRING, cache_scope, 1, 128, "Jobs share cached prefixes only inside one scope of one tenant."),
    PLAIN("priority", BOTH, MR_FIELD_INT32, priority, 0, 9, "Higher first, inside one tenant. Default 0."),
    SPECIAL("metadata", BOTH, read_metadata, 0, METADATA_BYTES_MAX, "An object of at most 16384 bytes, kept with the job."),
    PLAIN("stream", BOTH, MR_FIELD_BOOL, stream, 0, 0, "false: token records are batched. Default true: as often as the tier says."),
    SPECIAL("max_tokens", BOTH, read_max_tokens, 1, TOKENS_MAX,
            "Most tokens of the output. Default: 16 for completions, what the context leaves for chat."),
    SPECIAL("max_completion_tokens", BOTH, read_max_tokens, 1, TOKENS_MAX, "The same as max_tokens."),
    PLAIN("min_tokens", BOTH, MR_FIELD_INT32, sampling.min_tokens, 0, TOKENS_MAX, "The output does not end before it has so many tokens."),
    PLAIN("temperature", BOTH, MR_FIELD_NUMBER, sampling.temperature, 0, 2, "0: the likeliest token always. Default 1."),
    PLAIN("top_p", BOTH, MR_FIELD_NUMBER, sampling.top_p, 0, 1, "Default 1: off."),
    PLAIN("min_p", BOTH, MR_FIELD_NUMBER, sampling.min_p, 0, 1, "Default 0: off."),
    SPECIAL("top_k", BOTH, read_top_k, -1, INT32_MAX, "-1 or 0: off, the default."),
    PLAIN("repetition_penalty", BOTH, MR_FIELD_NUMBER, sampling.repetition_penalty, 0.01, 10, "Default 1: off."),
    PLAIN("frequency_penalty", BOTH, MR_FIELD_NUMBER, sampling.frequency_penalty, -2, 2, "Default 0: off."),
    PLAIN("presence_penalty", BOTH, MR_FIELD_NUMBER, sampling.presence_penalty, -2, 2, "Default 0: off."),
    SPECIAL("seed", BOTH, read_seed, 0, 0, "A 64-bit integer. Default: a hash of the job's name and body."),
    SPECIAL("stop", BOTH, read_stop, 1, MR_STOP_MAX, "A string, or an array of at most 16 strings, of at most 256 bytes each."),
    SPECIAL("stop_token_ids", BOTH, read_stop_ids, 0, MR_STOP_IDS_MAX, "Array of at most 64 token ids."),
    PLAIN("ignore_eos", BOTH, MR_FIELD_BOOL, sampling.ignore_eos, 0, 0, "Go on behind the model's own end."),
    SPECIAL("logit_bias", BOTH, read_bias, -100, 100, "Object of at most 1024 token ids and what is added to their logits, -100 to 100."),
    SPECIAL("logprobs", BOTH, read_logprobs, 0, LOGPROBS_MAX, "Completions: 0 to 20 alternatives. Chat: true or false."),
    PLAIN("top_logprobs", CHAT, MR_FIELD_INT32, sampling.n_logprobs, 0, LOGPROBS_MAX, "Alternatives; needs logprobs = true."),
    PLAIN("prompt_logprobs", BOTH, MR_FIELD_INT32, sampling.n_prompt_logprobs, 0, LOGPROBS_MAX, "Alternatives at every position of the prompt."),
    PLAIN("echo", COMPLETION, MR_FIELD_BOOL, echo, 0, 0, "The text begins with the prompt. Not together with logprobs."),
    PLAIN("return_token_ids", BOTH, MR_FIELD_BOOL, return_token_ids, 0, 0, "Adds prompt_token_ids, and token_ids to every choice."),
    PLAIN("return_tokens_as_token_ids", BOTH, MR_FIELD_BOOL, return_tokens_as_token_ids, 0, 0, "Writes the tokens of logprobs as token_id:N."),
    NEUTRAL("n", BOTH, "1"),
    NEUTRAL("best_of", COMPLETION, "1"),
    NEUTRAL("suffix", COMPLETION, "\"\""),
    NEUTRAL("tools", CHAT, "[]"),
    NEUTRAL("tool_choice", CHAT, "\"none\" \"auto\""),
    NEUTRAL("parallel_tool_calls", CHAT, "true false"),
    NEUTRAL("functions", CHAT, "[]"),
    NEUTRAL("function_call", CHAT, "\"none\" \"auto\""),
    NEUTRAL("response_format", BOTH, "{\"type\":\"text\"}"),
    NEUTRAL("modalities", CHAT, "[\"text\"]"),
    NEUTRAL("audio", CHAT, ""),
    NEUTRAL("prediction", CHAT, ""),
    NEUTRAL("reasoning_effort", CHAT, "\"none\""),
    NEUTRAL("verbosity", CHAT, ""),
    NEUTRAL("web_search_options", CHAT, ""),
    NEUTRAL("use_beam_search", BOTH, "false"),
    NEUTRAL("length_penalty", BOTH, "1 1.0"),
    NEUTRAL("skip_special_tokens", BOTH, "true"),
    NEUTRAL("spaces_between_special_tokens", BOTH, "true"),
    NEUTRAL("include_stop_str_in_output", BOTH, "false"),
    NEUTRAL("add_special_tokens", BOTH, "true"),
    NEUTRAL("add_generation_prompt", CHAT, "true"),
    NEUTRAL("continue_final_message", CHAT, "false"),
    NEUTRAL("chat_template", CHAT, ""),
    NEUTRAL("chat_template_kwargs", CHAT, "{}"),
    NEUTRAL("documents", CHAT, "[]"),
    NEUTRAL("truncate_prompt_tokens", BOTH, ""),
    NEUTRAL("allowed_token_ids", BOTH, ""),
    NEUTRAL("bad_words", BOTH, "[]"),
    NEUTRAL("structured_outputs", BOTH, ""),
    NEUTRAL("guided_json", BOTH, ""),
    NEUTRAL("guided_regex", BOTH, ""),
    NEUTRAL("guided_choice", BOTH, ""),
    NEUTRAL("guided_grammar", BOTH, ""),
    IGNORED("user"),
    IGNORED("store"),
    IGNORED("service_tier"),
    IGNORED("safety_identifier"),
    IGNORED("stream_options"),
};

const struct mr_job_field *mr_job_field_table(size_t *n)
{
    *n = sizeof table / sizeof *table;
    return table;
}

const struct mr_job_field *mr_job_field_find(struct mr_str name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (mr_str_is(name, table[i].name))
            return &table[i];
    return NULL;
}

const char *mr_job_field_shown(struct mr_str name, char out[64])
{
    size_t n = name.n < 60 ? name.n : 60;
    for (size_t i = 0; i < n; i++)
        out[i] = name.p[i] > 0x20 && name.p[i] < 0x7f ? name.p[i] : '?';
    out[n] = 0;
    return out;
}

static enum mr_reason read_neutral(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    struct mr_buf text = {0};
    bool accepted = false;
    mr_codec_canonical(value, &text);
    for (const char *at = field->neutral; *at && !text.failed && !accepted; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        accepted = mr_str_equal(mr_buf_view(&text), (struct mr_str){at, n});
        at += n;
    }
    mr_buf_fini(&text);
    if (accepted)
        return MR_REASON_NONE;
    return mr_refuse(r->refusal, MR_REASON_UNSUPPORTED_FIELD, field->name, "%s is not implemented; it may be absent%s%s", field->name,
                     field->neutral[0] ? " or " : "", field->neutral);
}

static enum mr_reason read_number(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    void *at = (char *)r->job + field->offset;
    double number;
    if (field->type == MR_FIELD_NUMBER ? !mr_value_number(value, &number) : value->kind != MR_INT)
        return wrong_type(r, field->name, field->type == MR_FIELD_NUMBER ? "a number" : "an integer", value);
    mr_value_number(value, &number);
    if (!(number >= field->least && number <= field->most))
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "%s must be %g to %.10g", field->name, field->least, field->most);
    if (field->type == MR_FIELD_NUMBER)
        *(double *)at = number;
    else
        *(int32_t *)at = (int32_t)value->as.integer;
    return MR_REASON_NONE;
}

enum mr_reason mr_job_field_read(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    if (field->fate == MR_FIELD_IGNORED || value->kind == MR_NULL)
        return MR_REASON_NONE;
    if (field->fate == MR_FIELD_NEUTRAL)
        return read_neutral(r, field, value);
    switch (field->type) {
    case MR_FIELD_OTHER: return field->read(r, field, value);
    case MR_FIELD_BOOL:
        if (value->kind != MR_BOOL)
            return wrong_type(r, field->name, "true or false", value);
        *(bool *)((char *)r->job + field->offset) = value->as.boolean;
        return MR_REASON_NONE;
    case MR_FIELD_STRING:
        if (value->kind != MR_STRING)
            return wrong_type(r, field->name, "a string", value);
        if (value->as.string.n < (size_t)field->least || value->as.string.n > (size_t)field->most)
            return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "%s must have %.0f to %.0f bytes", field->name, field->least,
                             field->most);
        *(struct mr_str *)(void *)((char *)r->job + field->offset) = value->as.string;
        return MR_REASON_NONE;
    default: return read_number(r, field, value);
    }
}
