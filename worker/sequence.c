/* Owns: a run's token list and everything derived from it.
 *
 * Invariants
 * 1 Every derived thing (history, text state, finish) is a function of the job and tokens[0 .. n_tokens) alone, so replaying
 *   accepted tokens leaves the same state as having generated them.
 * 2 n_prompt <= n_tokens <= max_tokens; once finish is set no token is taken.
 * 3 Bans of min_tokens stand behind the job's own bias entries, so that lifting them is a shorter count.
 *
 * Thread: the engine's. Rejected: a count array over the whole vocabulary for penalties (200 kB a run). */
#include "worker/sequence.h"

#include "base/check.h"
#include "base/hash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool sequence_penalised(const struct mr_sampling *sampling)
{
    return sampling->repetition_penalty != 1 || sampling->frequency_penalty != 0 || sampling->presence_penalty != 0;
}

/* The place of id in the history, adding it when it is new. */
static int32_t history_find(struct mr_history *history, int32_t id)
{
    uint32_t mask = history->index_size - 1;
    uint32_t at = (uint32_t)mr_mix64((uint64_t)id) & mask;
    while (history->index[at]) {
        if (history->ids[history->index[at] - 1] == id)
            return history->index[at] - 1;
        at = (at + 1) & mask;
    }
    history->ids[history->n] = id;
    history->counts[history->n] = 0;
    history->index[at] = ++history->n;
    return history->n - 1;
}

/* Whether generation ends at id, and so the id's text is not part of the output. */
static bool sequence_ends_at(const struct mr_sequence *s, const struct mr_sequence_context *context, int32_t id)
{
    const struct mr_sampling *sampling = &s->job->sampling;
    for (int32_t i = 0; !sampling->ignore_eos && i < context->n_end_ids; i++)
        if (context->end_ids[i] == id)
            return true;
    for (int32_t i = 0; i < sampling->n_stop_ids; i++)
        if (sampling->stop_ids[i] == id)
            return true;
    return false;
}

/* Carves the arrays out of one block: measured with memory NULL, then done. */
static size_t sequence_carve(struct mr_sequence *s, unsigned char *memory)
{
    const struct mr_sampling *sampling = &s->job->sampling;
    size_t at = 0;
#define CARVE(field, count) \
    do { \
        (field) = memory ? (void *)(memory + at) : NULL; \
        at += ((size_t)(count) * sizeof *(field) + 15) & ~(size_t)15; \
    } while (0)
    CARVE(s->tokens, s->max_tokens);
    CARVE(s->bias_ids, s->n_bias + s->n_bans);
    CARVE(s->bias_values, s->n_bias + s->n_bans);
    if (sequence_penalised(sampling)) {
        s->history.index_size = 16;
        while (s->history.index_size < 2 * (uint32_t)s->max_tokens)
            s->history.index_size *= 2;
        CARVE(s->history.ids, s->max_tokens);
        CARVE(s->history.counts, s->max_tokens);
        CARVE(s->history.index, s->history.index_size);
    }
    if (sampling->n_prompt_logprobs >= 0)
        CARVE(s->prompt_scores, s->n_prompt);
    CARVE(s->prefix, s->n_prefix);
#undef CARVE
    return at;
}

static void sequence_fill_bias(struct mr_sequence *s, const struct mr_sequence_context *context)
{
    const struct mr_sampling *sampling = &s->job->sampling;
    int32_t n = 0;
    for (; n < s->n_bias; n++) {
        s->bias_ids[n] = sampling->bias_ids[n];
        s->bias_values[n] = sampling->bias_values[n];
    }
    if (s->n_bans == 0)
        return;
    for (int32_t i = 0; !sampling->ignore_eos && i < context->n_end_ids; i++)
        s->bias_ids[n++] = context->end_ids[i];
    for (int32_t i = 0; i < sampling->n_stop_ids; i++)
        s->bias_ids[n++] = sampling->stop_ids[i];
    for (int32_t i = s->n_bias; i < n; i++)
        s->bias_values[i] = -INFINITY;
    s->n_bans = n - s->n_bias;
}

enum mr_status mr_sequence_open(struct mr_sequence *s, const struct mr_engine_run *run, const struct mr_sequence_context *context,
                                struct mr_err *err)
{
    const struct mr_job *job = run->job;
    const struct mr_sampling *sampling = &job->sampling;
    CHECK(job->n_prompt > 0 && sampling->max_tokens >= 0);
    if (run->n_accepted > sampling->max_tokens)
        return mr_err_set(err, MR_ERR_INVALID, "%d accepted tokens, but max_tokens is %d", run->n_accepted, sampling->max_tokens);
    *s = (struct mr_sequence){.run = run->run, .tenant = run->tenant, .job = job,
                               .n_prompt = job->n_prompt, .n_scored = 1, .n_bias = sampling->n_bias};
    s->max_tokens = job->n_prompt + sampling->max_tokens;
    s->n_bans = sampling->min_tokens > 0 ? context->n_end_ids + sampling->n_stop_ids : 0;
    if (context->names && sampling->n_prompt_logprobs < 0) /* a prompt that is scored must be computed */
        s->n_prefix = job->n_prompt / context->names->block_tokens;
    s->memory = calloc(1, sequence_carve(s, NULL));
    if (!s->memory)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a run of %d tokens", s->max_tokens);
    sequence_carve(s, s->memory);
    sequence_fill_bias(s, context);
    if (s->prompt_scores)
        s->prompt_scores[0].id = -1;
    mr_stream_init(&s->stream, context->tokenizer, sampling->stop, sampling->n_stop);
    for (int32_t i = 0; i < job->n_prompt; i++) {
        s->tokens[s->n_tokens++] = job->prompt_ids[i];
        if (s->history.index_size)
            history_find(&s->history, job->prompt_ids[i]);
    }
    if (s->n_prefix)
        s->n_prefix = mr_block_names_of(context->names, job->tenant, job->cache_scope, s->tokens, s->n_prefix, s->prefix);
    struct mr_buf released = {0};
    for (int32_t i = 0; i < run->n_accepted && s->finish == MR_FINISH_NONE; i++) {
        mr_sequence_take(s, context, run->accepted[i], &released);
        mr_buf_clear(&released);
    }
    mr_buf_fini(&released);
    if (mr_sequence_n_output(s) < run->n_accepted) {
        mr_sequence_close(s);
        return mr_err_set(err, MR_ERR_INVALID, "accepted tokens go on behind the run's end");
    }
    if (sampling->max_tokens == 0)
        s->finish = MR_FINISH_LENGTH;
    return MR_OK;
}

void mr_sequence_close(struct mr_sequence *s)
{
    mr_stream_fini(&s->stream);
    free(s->memory);
    *s = (struct mr_sequence){0};
}

void mr_sequence_row(const struct mr_sequence *s, struct mr_sample_row *row)
{
    const struct mr_sampling *sampling = &s->job->sampling;
    bool banned = mr_sequence_n_output(s) + s->n_coming < sampling->min_tokens;
    *row = (struct mr_sample_row){
        .temperature = (float)sampling->temperature,
        .top_p = (float)sampling->top_p,
        .min_p = (float)sampling->min_p,
        .top_k = sampling->top_k,
        .repetition_penalty = (float)sampling->repetition_penalty,
        .frequency_penalty = (float)sampling->frequency_penalty,
        .presence_penalty = (float)sampling->presence_penalty,
        .seed = sampling->seed,
        .position = (uint32_t)(s->n_tokens + s->n_coming),
        .n_logprobs = sampling->n_logprobs,
        .n_bias = s->n_bias + (banned ? s->n_bans : 0),
        .bias_ids = s->bias_ids,
        .bias_values = s->bias_values,
        .n_history = s->history.n,
        .history_ids = s->history.ids,
        .history_counts = s->history.counts,
    };
}

void mr_sequence_take(struct mr_sequence *s, const struct mr_sequence_context *context, int32_t id, struct mr_buf *text)
{
    CHECK(s->finish == MR_FINISH_NONE && s->n_tokens < s->max_tokens);
    s->tokens[s->n_tokens++] = id;
    if (s->history.index_size)
        s->history.counts[history_find(&s->history, id)]++;
    bool may_stop = mr_sequence_n_output(s) > s->job->sampling.min_tokens;
    if (sequence_ends_at(s, context, id) || mr_stream_add(&s->stream, id, may_stop, text))
        s->finish = MR_FINISH_STOP;
    else if (s->n_tokens == s->max_tokens)
        s->finish = MR_FINISH_LENGTH;
}
