/* Owns: what one job of `run` has said so far, as a worker's run would have written it to its stream.
 *
 * Invariants
 * 1 The records given for a job (start, take's) fold without a rejection: one writer, seq and ctx in step with ids.
 * 2 ids, logprobs and text are what those records hold, joined; the result is made of them and of the terminal alone.
 *
 * Thread: the caller's. Rejected: decoding the records again for the result (a fold over one's own output). */
#include "worker/cli/answer.h"

#include "worker/logprob.h"

#include <stdlib.h>

enum { ANSWER_EPOCH = 1, ANSWER_WRITER = 1 }; /* one writer, once: nobody takes over a run of this program */

enum mr_status mr_answer_open(struct mr_answer *a, struct mr_job *job, struct mr_src src, const struct mr_serving *serving,
                              const char *build, int64_t arrival_ns)
{
    struct mr_fold fold;
    size_t max_tokens = (size_t)job->sampling.max_tokens;
    mr_fold_init(&fold, job->name.p, job->name.n);
    *a = (struct mr_answer){.job = job, .src = src, .arrival_ns = arrival_ns, .ctx = fold.ctx};
    a->start = (struct mr_stream_record){
        .kind = MR_FOLD_START,
        .job = job->name,
        .src = src,
        .epoch = ANSWER_EPOCH,
        .writer = ANSWER_WRITER,
        .cause = MR_CAUSE_NEW,
        .attempt = 1,
        .worker = MR_STR("run"),
        .model_digest = mr_str_from(mr_model_digest(serving->bundle->model)),
        .tokenizer_digest = mr_str_from(mr_tokenizer_digest(serving->bundle->tokenizer)),
        .build = mr_str_from(build),
        .body_hash = mr_str_from(job->body_hash),
        .seed = job->sampling.seed,
    };
    a->ids = mr_arena_array(&a->arena, max_tokens, sizeof *a->ids);
    if (job->sampling.n_logprobs >= 0)
        a->logprobs = mr_arena_array(&a->arena, max_tokens, sizeof *a->logprobs);
    if (a->ids && (a->logprobs || job->sampling.n_logprobs < 0))
        return MR_OK;
    mr_answer_close(a);
    return MR_ERR_NOMEM;
}

void mr_answer_close(struct mr_answer *a)
{
    mr_job_free(a->job);
    mr_arena_fini(&a->arena);
    mr_buf_fini(&a->text);
    *a = (struct mr_answer){0};
}

static double answer_ms(int64_t from_ns, int64_t to_ns) { return from_ns && to_ns ? (double)(to_ns - from_ns) / 1e6 : -1; }

static const char *answer_finish(enum mr_finish finish)
{
    switch (finish) {
    case MR_FINISH_STOP: return "stop";
    case MR_FINISH_LENGTH: return "length";
    case MR_FINISH_CANCELLED: return "cancelled";
    case MR_FINISH_EXPIRED: return "expired";
    default: return "error";
    }
}

static enum mr_fold_kind answer_kind(enum mr_finish finish)
{
    switch (finish) {
    case MR_FINISH_STOP:
    case MR_FINISH_LENGTH: return MR_FOLD_DONE;
    case MR_FINISH_CANCELLED: return MR_FOLD_CANCELLED;
    case MR_FINISH_EXPIRED: return MR_FOLD_EXPIRED;
    default: return MR_FOLD_FAILED;
    }
}

/* The terminal record of an END event. */
static bool answer_end(struct mr_answer *a, const struct mr_engine_event *event, struct mr_stream_record *record)
{
    const struct mr_engine_timing *t = &event->timing;
    struct mr_str *finish = mr_arena_alloc(&a->arena, sizeof *finish);
    if (!finish)
        return false;
    *finish = mr_str_from(answer_finish(event->finish));
    record->kind = answer_kind(event->finish);
    record->n = event->n_output;
    record->finish = finish;
    record->n_finish = 1;
    record->has_usage = true;
    record->usage = (struct mr_usage){a->job->n_prompt, event->n_output, event->n_cached};
    record->timings = (struct mr_timings){
        .queue_ms = answer_ms(a->arrival_ns, t->first_planned_ns),
        .ttft_ms = answer_ms(a->arrival_ns, t->first_token_ns),
        .tpot_ms = event->n_output > 1 ? answer_ms(t->first_token_ns, t->last_token_ns) / (event->n_output - 1) : -1,
    };
    record->prompt_logprobs = a->prompt_logprobs;
    record->n_prompt_logprobs = a->prompt_logprobs ? a->job->n_prompt : 0;
    record->reason = event->reason;
    if (event->reason != MR_REASON_NONE)
        record->message = mr_str_from(event->reason == MR_REASON_DEADLINE_PASSED ? "the deadline passed" : "the run failed inside the engine");
    return true;
}

/* The token record of a TOKENS event; the tokens join the answer. */
static bool answer_tokens(struct mr_answer *a, const struct mr_engine_event *event, const struct mr_tokenizer *tokenizer,
                          struct mr_stream_record *record)
{
    if (a->logprobs) {
        struct mr_logprob *logprobs = mr_logprob_from(tokenizer, event->logprobs, event->n_tokens, &a->arena);
        if (!logprobs)
            return false;
        record->logprobs = logprobs;
        memcpy(a->logprobs + a->n_ids, logprobs, (size_t)event->n_tokens * sizeof *logprobs);
    }
    memcpy(a->ids + a->n_ids, event->ids, (size_t)event->n_tokens * sizeof *event->ids);
    a->n_ids += event->n_tokens;
    a->ctx = mr_fold_ctx(a->ctx, 0, event->ids, (size_t)event->n_tokens);
    record->kind = MR_FOLD_TOK;
    record->seq = event->seq;
    record->ids = event->ids;
    record->n_ids = event->n_tokens;
    return true;
}

bool mr_answer_take(struct mr_answer *a, const struct mr_engine_event *event, const struct mr_tokenizer *tokenizer,
                    struct mr_stream_record *record, bool *failed)
{
    *failed = false;
    if (event->kind == MR_ENGINE_PROMPT) {
        a->prompt_logprobs = mr_logprob_from(tokenizer, event->logprobs, event->n_tokens, &a->arena);
        *failed = !a->prompt_logprobs;
        return false;
    }
    *record = (struct mr_stream_record){.job = a->job->name, .src = a->src, .epoch = ANSWER_EPOCH, .writer = ANSWER_WRITER, .text = event->text};
    mr_buf_add_str(&a->text, event->text);
    bool done = event->kind == MR_ENGINE_TOKENS ? answer_tokens(a, event, tokenizer, record) : answer_end(a, event, record);
    record->ctx = a->ctx;
    *failed = !done || a->text.failed;
    return !*failed;
}

bool mr_answer_result(const struct mr_answer *a, const struct mr_stream_record *terminal, const struct mr_tokenizer *tokenizer,
                      struct mr_buf *out)
{
    struct mr_result_choice choice = {.ids = a->ids, .n = a->n_ids, .text = mr_buf_view(&a->text), .logprobs = a->logprobs,
                                      .finish = terminal->finish[0]};
    struct mr_result result = {.job = a->job, .src = a->src, .start = &a->start, .terminal = terminal, .choices = &choice, .n_choices = 1};
    struct mr_buf prompt = {0};
    if (a->job->echo) {
        for (int32_t i = 0; i < a->job->n_prompt; i++)
            mr_buf_add_str(&prompt, mr_tokenizer_piece(tokenizer, a->job->prompt_ids[i]));
        result.prompt_text = mr_buf_view(&prompt);
    }
    bool done = !prompt.failed && mr_result_encode(&result, a->job->encoding, out);
    mr_buf_fini(&prompt);
    return done;
}
