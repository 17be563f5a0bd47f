/* Reads a result for `replay`, and compares two of one job.
 *
 * Pure.
 * 1 What is compared is what a result holds, exactly: token ids where both hold them, else text; then how it ended; then every log
 *   probability as it is written. Times, worker and position are no part of it.
 * 2 The first difference in the order of tokens is told: a later one may only follow from it.
 * Rejected: comparing the bytes of the two records (their times differ always). */
#include "worker/cli/replay_result.h"

#include "worker/encoding.h"

#include <inttypes.h>
#include <stdio.h>

static struct mr_str text_of(const struct mr_value *map, const char *key)
{
    const struct mr_value *value = mr_value_get(map, key);
    return value && value->kind == MR_STRING ? value->as.string : (struct mr_str){0};
}

static int64_t int_of(const struct mr_value *map, const char *key)
{
    const struct mr_value *value = mr_value_get(map, key);
    return value && value->kind == MR_INT ? value->as.integer : -1;
}

static const struct mr_value *array_of(const struct mr_value *map, const char *key)
{
    const struct mr_value *value = mr_value_get(map, key);
    return value && value->kind == MR_ARRAY ? value : NULL;
}

/* What millrace says of the run. */
static bool read_own(const struct mr_value *own, struct mr_replay_result *out)
{
    char src[48] = "";
    struct mr_str build = text_of(own, "build"), text = text_of(own, "src");
    const char *space = build.n ? memchr(build.p, ' ', build.n) : NULL;
    const struct mr_value *seed = mr_value_get(own, "seed");
    out->tenant = text_of(own, "tenant");
    out->status = text_of(own, "status");
    out->route = text_of(own, "route");
    out->model_digest = text_of(own, "model_digest");
    out->tokenizer_digest = text_of(own, "tokenizer_digest");
    out->body_hash = text_of(own, "body_hash");
    if (!space || !seed || seed->kind != MR_INT || !out->model_digest.n || !out->tokenizer_digest.n)
        return false;
    out->version = (struct mr_str){build.p, (size_t)(space - build.p)};
    out->path = (struct mr_str){space + 1, build.n - out->version.n - 1};
    out->seed = (uint64_t)seed->as.integer;
    out->partition = (int32_t)int_of(own, "partition");
    if (!out->route.n)
        return true;
    memcpy(src, text.p ? text.p : "", text.n < sizeof src ? text.n : 0);
    return sscanf(src, "%" SCNd64 ".%" SCNd64, &out->src.offset, &out->src.timestamp_ms) == 2 && out->partition >= 0;
}

static bool read_choice(const struct mr_value *choice, struct mr_replay_result *out)
{
    const struct mr_value *message = mr_value_get(choice, "message"), *logprobs = mr_value_get(choice, "logprobs");
    out->text = message ? text_of(message, "content") : text_of(choice, "text");
    out->finish = text_of(choice, "finish_reason");
    out->ids = array_of(choice, "token_ids");
    out->logprobs = logprobs && logprobs->kind == MR_MAP ? logprobs : NULL;
    return out->text.p && out->finish.p;
}

enum mr_status mr_replay_result_read(struct mr_str bytes, struct mr_arena *arena, struct mr_replay_result *out, struct mr_err *err)
{
    enum mr_encoding encoding;
    struct mr_record record = {.value = bytes};
    struct mr_value *tree = mr_arena_alloc(arena, sizeof *tree);
    *out = (struct mr_replay_result){0};
    mr_encoding_of(&record, &encoding);
    if (!tree || mr_encoding_codec(encoding)->decode(bytes, NULL, arena, tree, err) != MR_CODEC_OK)
        return tree ? MR_ERR_INVALID : mr_err_set(err, MR_ERR_NOMEM, "out of memory");
    const struct mr_value *response = mr_value_get(tree, "response"), *body = response ? mr_value_get(response, "body") : tree;
    const struct mr_value *own = mr_value_get(body, "millrace"), *choices = array_of(body, "choices"), *usage = mr_value_get(body, "usage");
    out->custom_id = text_of(tree, "custom_id");
    out->id = text_of(body, "id");
    if (!own || !out->id.n)
        return mr_err_set(err, MR_ERR_INVALID, "it is no result");
    if (mr_value_get(body, "error"))
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "the job failed (%.*s): there is nothing to run again", (int)text_of(own, "reason").n,
                          text_of(own, "reason").p ? text_of(own, "reason").p : "");
    out->prompt_tokens = (int32_t)int_of(usage, "prompt_tokens");
    out->n = (int32_t)int_of(usage, "completion_tokens");
    out->prompt_ids = array_of(body, "prompt_token_ids");
    bool one = choices && choices->as.array.n == 1 && out->n >= 0;
    if (!one || !read_choice(&choices->as.array.items[0], out) || !read_own(own, out))
        return mr_err_set(err, MR_ERR_INVALID, "it lacks what a replay needs (one choice, usage, model_digest, tokenizer_digest, build, seed)");
    return MR_OK;
}

/* ---- comparing ---- */

const char *mr_replay_what_name(enum mr_replay_what what)
{
    static const char *const names[] = {"same", "prompt", "token", "text", "finish_reason", "logprob", "top_logprobs"};
    return names[what];
}

static int32_t id_at(const struct mr_value *ids, int32_t i)
{
    if ((size_t)i >= ids->as.array.n)
        return -1;
    const struct mr_value *id = &ids->as.array.items[i];
    return id->kind == MR_INT && id->as.integer >= 0 && id->as.integer <= INT32_MAX ? (int32_t)id->as.integer : -1;
}

static bool same_ids(const struct mr_value *a, const struct mr_value *b)
{
    bool same = a->as.array.n == b->as.array.n;
    for (int32_t i = 0; same && (size_t)i < a->as.array.n; i++)
        same = id_at(a, i) == id_at(b, i);
    return same;
}

static size_t common_bytes(struct mr_str a, struct mr_str b)
{
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

static struct mr_str behind(struct mr_str text, size_t at) { return (struct mr_str){text.p + at, text.n - at}; }

/* The first token in which they differ, by ids where the result holds them, else by the text that tokens released. */
static bool tokens_differ(const struct mr_replay_result *was, const struct mr_replay_made *is, struct mr_replay_difference *out)
{
    for (int32_t i = 0; was->ids && (i < is->n || (size_t)i < was->ids->as.array.n); i++) {
        int32_t id = i < is->n ? is->ids[i] : -1;
        if (id_at(was->ids, i) == id)
            continue;
        *out = (struct mr_replay_difference){.what = MR_REPLAY_TOKEN, .token = i, .was_id = id_at(was->ids, i), .is_id = id};
        return true;
    }
    if (mr_str_equal(was->text, is->result->text) && was->n == is->n)
        return false;
    size_t at = common_bytes(was->text, is->result->text);
    out->what = MR_REPLAY_TEXT;
    while (out->token < is->n && (size_t)is->text_end[out->token] <= at)
        out->token++;
    out->was_text = behind(was->text, at);
    out->is_text = behind(is->result->text, at);
    return true;
}

/* The log probability of token i as OpenAI's map has it: a completion's, or a chat's. */
static const struct mr_value *logprob_at(const struct mr_value *logprobs, int32_t i)
{
    const struct mr_value *list = array_of(logprobs, "token_logprobs"), *content = array_of(logprobs, "content");
    if (list && (size_t)i < list->as.array.n)
        return &list->as.array.items[i];
    return content && (size_t)i < content->as.array.n ? mr_value_get(&content->as.array.items[i], "logprob") : NULL;
}

static const struct mr_value *top_at(const struct mr_value *logprobs, int32_t i)
{
    const struct mr_value *list = array_of(logprobs, "top_logprobs"), *content = array_of(logprobs, "content");
    const struct mr_value *from = list ? list : content;
    return from && (size_t)i < from->as.array.n ? &from->as.array.items[i] : NULL;
}

static bool same_value(const struct mr_value *a, const struct mr_value *b)
{
    struct mr_buf x = {0}, y = {0};
    if (a && b) {
        mr_codec_canonical(a, &x);
        mr_codec_canonical(b, &y);
    }
    bool same = !a == !b && !x.failed && !y.failed && mr_str_equal(mr_buf_view(&x), mr_buf_view(&y));
    mr_buf_fini(&x);
    mr_buf_fini(&y);
    return same;
}

static bool logprobs_differ(const struct mr_replay_result *was, const struct mr_replay_made *is, struct mr_replay_difference *out)
{
    const struct mr_value *a = was->logprobs, *b = is->result->logprobs;
    for (int32_t i = 0; a && b && i < is->n; i++) {
        out->token = i;
        out->was = out->is = 0;
        bool both = mr_value_number(logprob_at(a, i), &out->was) && mr_value_number(logprob_at(b, i), &out->is);
        out->what = MR_REPLAY_SAME;
        if (!both || out->was != out->is)
            out->what = MR_REPLAY_LOGPROB;
        else if (!same_value(top_at(a, i), top_at(b, i)))
            out->what = MR_REPLAY_TOP_LOGPROBS;
        if (out->what != MR_REPLAY_SAME)
            return true;
    }
    return false;
}

struct mr_replay_difference mr_replay_compare(const struct mr_replay_result *was, const struct mr_replay_made *is, bool finishes)
{
    struct mr_replay_difference out = {.was_id = -1, .is_id = -1};
    const struct mr_replay_result *now = is->result;
    if (was->prompt_tokens != now->prompt_tokens || (was->prompt_ids && now->prompt_ids && !same_ids(was->prompt_ids, now->prompt_ids)))
        out.what = MR_REPLAY_PROMPT;
    else if (tokens_differ(was, is, &out) || logprobs_differ(was, is, &out))
        return out;
    else if (finishes && !mr_str_equal(was->finish, now->finish))
        out = (struct mr_replay_difference){.what = MR_REPLAY_FINISH, .token = is->n, .was_text = was->finish, .is_text = now->finish};
    return out;
}
