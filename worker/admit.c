/* Owns: the rules between a valid job and a runnable one.
 *
 * Rules
 * 1 A control token comes from a template or as an id, never from text that a user wrote.
 * 2 The vocabulary's BOS stands in front of text unless the template has written it; ids are taken as they are.
 * 3 max_tokens: as asked; else 16 for a completion, and for a chat what the context leaves. Always cut to what the context,
 *   the limit and, unless it was asked for, the size of a result allow. A prompt that leaves no room for a token is too long.
 *
 * Rejected: refusing a max_tokens that passes the context (its run ends with `length`, which says the same and costs nobody a
 * second try). */
#include "worker/admit.h"

#include "worker/result.h"

enum { ADMIT_COMPLETION_TOKENS = 16 };

/* Bytes of a token's text once it is written in JSON, at most: a byte that starts no character becomes U+FFFD. */
static int32_t admit_written_bytes(struct mr_str piece)
{
    int32_t n = 0;
    for (size_t i = 0; i < piece.n; i++) {
        unsigned char c = (unsigned char)piece.p[i];
        n += c < 0x20 || c == 0x7f ? 6 : c == '"' || c == '\\' ? 2 : c >= 0x80 ? 3 : 1;
    }
    return n;
}

static int32_t admit_least(int64_t a, int64_t b) { return (int32_t)(a < b ? a : b); }

void mr_admit_open(struct mr_admit *admit, const struct mr_bundle *bundle, const struct mr_admit_options *options)
{
    int32_t context = admit_least(bundle->context, options->cache_tokens);
    *admit = (struct mr_admit){
        .bundle = bundle,
        .context = context,
        .max_prompt = options->prompt_tokens ? admit_least(options->prompt_tokens, context) : context,
        .max_output = options->output_tokens ? admit_least(options->output_tokens, context) : context,
        .max_result_bytes = options->result_bytes,
    };
    for (size_t id = 0; id < mr_tokenizer_size(bundle->tokenizer); id++) {
        int32_t n = admit_written_bytes(mr_tokenizer_piece(bundle->tokenizer, (int32_t)id));
        if (n > admit->token_bytes)
            admit->token_bytes = n;
    }
}

static enum mr_reason admit_model(const struct mr_admit *admit, const struct mr_route *route, const struct mr_job *job,
                                  struct mr_refusal *refusal)
{
    struct mr_str served = mr_str_from(admit->bundle->name);
    struct mr_str asked = job->model.n ? job->model : served;
    bool allowed = !route || route->n_models == 0;
    for (int32_t i = 0; !allowed && i < route->n_models; i++)
        allowed = mr_str_is(asked, route->models[i]);
    if (allowed && mr_str_equal(asked, served))
        return MR_REASON_NONE;
    return mr_refuse(refusal, MR_REASON_UNKNOWN_MODEL, "model", "there is no model \"%.*s\" here; this worker serves \"%s\"",
                     (int)(asked.n < 100 ? asked.n : 100), asked.p, admit->bundle->name);
}

static enum mr_reason admit_check_ids(const struct mr_admit *admit, const int32_t *ids, int32_t n, const char *field,
                                      struct mr_refusal *refusal)
{
    size_t size = mr_tokenizer_size(admit->bundle->tokenizer);
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= size)
            return mr_refuse(refusal, MR_REASON_INVALID_TOKEN, field, "%s: %d is no token of a vocabulary of %zu", field, ids[i], size);
    return MR_REASON_NONE;
}

/* The spans of the prompt: the rendered chat, or the text as one that is the user's. */
static enum mr_reason admit_render(const struct mr_admit *admit, struct mr_job *job, struct mr_chat_spans *out, struct mr_refusal *refusal)
{
    if (job->kind == MR_JOB_COMPLETION) {
        out->spans = mr_arena_alloc(&job->arena, sizeof *out->spans);
        if (!out->spans)
            return mr_refuse(refusal, MR_REASON_INTERNAL, "prompt", "no memory for the prompt");
        out->spans[0] = (struct mr_chat_span){.text = job->prompt};
        out->n = 1;
        return MR_REASON_NONE;
    }
    struct mr_err err;
    if (!admit->bundle->chat)
        return mr_refuse(refusal, MR_REASON_TEMPLATE_FAILED, "messages", "this model takes no chat: %s", admit->bundle->chat_error);
    if (mr_chat_render(admit->bundle->chat, job->messages, true, &job->arena, out, &err) != MR_OK)
        return mr_refuse(refusal, MR_REASON_TEMPLATE_FAILED, "messages", "%s", err.text);
    return MR_REASON_NONE;
}

static enum mr_reason admit_too_long(const struct mr_admit *admit, const char *field, int64_t n, struct mr_refusal *refusal)
{
    if (n < 0)
        return mr_refuse(refusal, MR_REASON_PROMPT_TOO_LONG, field, "%s is too long: at most %d tokens fit", field, admit->max_prompt);
    return mr_refuse(refusal, MR_REASON_PROMPT_TOO_LONG, field, "%s has %lld tokens: at most %d fit, and the context of %d must hold an answer",
                     field, (long long)n, admit->max_prompt, admit->context);
}

static enum mr_reason admit_encode(const struct mr_admit *admit, struct mr_job *job, const int32_t **ids, int32_t *n_ids,
                                   struct mr_refusal *refusal)
{
    const struct mr_tokenizer *tokenizer = admit->bundle->tokenizer;
    const char *field = job->kind == MR_JOB_CHAT ? "messages" : "prompt";
    struct mr_chat_spans prompt;
    size_t bytes = 0;
    enum mr_reason reason = admit_render(admit, job, &prompt, refusal);
    if (reason != MR_REASON_NONE)
        return reason;
    for (size_t i = 0; i < prompt.n; i++)
        bytes += prompt.spans[i].text.n;
    /* one place in front for BOS, one more to see that it is too many */
    size_t most = bytes * MR_TOKENIZER_IDS_PER_BYTE;
    struct mr_token_ids out = {.capacity = 2 + (most < (size_t)admit->max_prompt ? most : (size_t)admit->max_prompt), .n = 1};
    out.ids = mr_arena_array(&job->arena, out.capacity, sizeof *out.ids);
    if (!out.ids)
        return mr_refuse(refusal, MR_REASON_INTERNAL, field, "no memory for the prompt");
    struct mr_err err;
    enum mr_status status = mr_tokenizer_encode_spans(tokenizer, prompt.spans, prompt.n, &out, &err);
    if (status == MR_ERR_LIMIT)
        return admit_too_long(admit, field, -1, refusal);
    if (status != MR_OK)
        return mr_refuse(refusal, MR_REASON_INTERNAL, field, "%s", err.text);
    if (out.n == 1)
        return mr_refuse(refusal, MR_REASON_EMPTY_PROMPT, field, "%s has no token", field);
    bool bos = mr_tokenizer_bos(tokenizer) >= 0 && out.ids[1] != mr_tokenizer_bos(tokenizer);
    out.ids[0] = mr_tokenizer_bos(tokenizer);
    *ids = bos ? out.ids : out.ids + 1;
    *n_ids = (int32_t)out.n - !bos;
    return MR_REASON_NONE;
}

/* The largest max_tokens up to `most` whose result stays within its size; 0: not even one. */
static int32_t admit_fit_result(const struct mr_admit *admit, struct mr_job *job, int32_t n_prompt, int32_t most)
{
    int32_t fits = 0, asked = job->sampling.max_tokens;
    for (int32_t low = 1, high = most; low <= high;) {
        int32_t middle = low + (high - low) / 2;
        job->sampling.max_tokens = middle;
        if (mr_result_bound_bytes(job, n_prompt, admit->token_bytes) <= admit->max_result_bytes)
            fits = middle, low = middle + 1;
        else
            high = middle - 1;
    }
    job->sampling.max_tokens = asked;
    return fits;
}

static enum mr_reason admit_output(const struct mr_admit *admit, struct mr_job *job, int32_t n_prompt, struct mr_refusal *refusal)
{
    struct mr_sampling *sampling = &job->sampling;
    int32_t asked = sampling->max_tokens, room = admit_least(admit->context - n_prompt, admit->max_output);
    int32_t most = asked >= 0 ? asked : job->kind == MR_JOB_CHAT ? room : ADMIT_COMPLETION_TOKENS;
    most = admit_least(most, room);
    if (asked < 0)
        most = admit_fit_result(admit, job, n_prompt, most);
    sampling->max_tokens = most;
    int64_t bytes = mr_result_bound_bytes(job, n_prompt, admit->token_bytes);
    if ((most > 0 || asked == 0) && bytes <= admit->max_result_bytes) {
        if (sampling->min_tokens > most)
            sampling->min_tokens = most;
        return MR_REASON_NONE;
    }
    sampling->max_tokens = asked;
    return mr_refuse(refusal, MR_REASON_RESULT_TOO_LARGE, "max_tokens", "max_tokens: the result could take %lld bytes, and at most %lld may be",
                     (long long)bytes, (long long)admit->max_result_bytes);
}

enum mr_reason mr_admit_job(const struct mr_admit *admit, const struct mr_route *route, struct mr_job *job, struct mr_refusal *refusal)
{
    const struct mr_sampling *sampling = &job->sampling;
    const char *field = job->kind == MR_JOB_CHAT ? "messages" : "prompt";
    const int32_t *ids = job->prompt_ids;
    int32_t n = job->n_prompt;
    enum mr_reason reason = admit_model(admit, route, job, refusal);
    if (reason == MR_REASON_NONE)
        reason = admit_check_ids(admit, sampling->stop_ids, sampling->n_stop_ids, "stop_token_ids", refusal);
    if (reason == MR_REASON_NONE)
        reason = admit_check_ids(admit, sampling->bias_ids, sampling->n_bias, "logit_bias", refusal);
    if (reason == MR_REASON_NONE)
        reason = ids ? admit_check_ids(admit, ids, n, "prompt", refusal) : admit_encode(admit, job, &ids, &n, refusal);
    if (reason != MR_REASON_NONE)
        return reason;
    if (n == 0)
        return mr_refuse(refusal, MR_REASON_EMPTY_PROMPT, field, "%s has no token", field);
    if (job->model.n == 0)
        job->model = mr_str_from(admit->bundle->name); /* before the result is bounded: it stands there */
    if (n > admit->max_prompt || n >= admit->context + (sampling->max_tokens == 0))
        return admit_too_long(admit, field, n, refusal);
    reason = admit_output(admit, job, n, refusal);
    if (reason != MR_REASON_NONE)
        return reason;
    job->prompt_ids = ids;
    job->n_prompt = n;
    return MR_REASON_NONE;
}
