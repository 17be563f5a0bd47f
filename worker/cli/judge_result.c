/* The judge's second half of a run: what left the log behind its terminal, made again and compared.
 *
 * Owns nothing; works in the judge's scratch arena.
 * 1 The result is made by worker/result.h, as an owner makes it, of the input record's job and what the log holds.
 * 2 The prompt's token ids, where a result holds them and the job gave text, only the tokenizer could make again: they are taken from
 *   the result, must be as many as the terminal's usage says, and are counted as unchecked; all else of that result is compared.
 * 3 A result that retention may have taken is not missed; one that is there is compared all the same.
 * 4 A dead letter is the input record (or nothing, where both do not fit), with the terminal's reason, field and message.
 * Thread: the judge's. Rejected: loading the model for 2 (check would then need it, and the digest in START names it already). */
#include "worker/cli/judge_state.h"

#include "worker/encoding.h"
#include "worker/result.h"

bool judge_decode(struct mr_judge *judge, const struct mr_run *run, struct mr_str value, struct mr_stream_record *out)
{
    struct mr_header type = {MR_STR("content-type"), mr_str_from(mr_encoding_codec(run->log_encoding)->content_type)};
    struct mr_record record = {.value = value, .headers = &type, .n_headers = 1};
    return mr_stream_record_decode(&record, &judge->scratch, out, NULL) == MR_OK;
}

bool judge_has_result(const struct mr_stream_record *end)
{
    if (end->kind == MR_FOLD_FAILED)
        return end->reason != MR_REASON_ID_CONFLICT && end->reason != MR_REASON_LOG_EXPIRED;
    return end->kind != MR_FOLD_DUPLICATE && end->kind != MR_FOLD_MOVED;
}

bool judge_logprobs_agree(const struct mr_logprob *logprobs, int32_t n)
{
    for (int32_t i = 0; logprobs && i < n; i++) {
        const struct mr_token_logprob *chosen = &logprobs[i].chosen;
        for (int32_t k = 0; k < logprobs[i].n_top; k++) {
            const struct mr_token_logprob *top = &logprobs[i].top[k];
            if (top->id == chosen->id && (top->logprob != chosen->logprob || !mr_str_equal(top->bytes, chosen->bytes)))
                return false;
        }
    }
    return true;
}

static struct mr_logprob *logprobs_of(struct mr_judge *judge, const struct mr_run *run)
{
    struct mr_logprob *all = run->scored.n ? mr_arena_array(&judge->scratch, (size_t)run->fold.seq, sizeof *all) : NULL;
    int64_t n = 0;
    for (size_t at = 0; all && at < run->scored.n;) {
        uint32_t bytes;
        struct mr_stream_record tok;
        memcpy(&bytes, run->scored.p + at, sizeof bytes);
        if (!judge_decode(judge, run, (struct mr_str){run->scored.p + at + sizeof bytes, bytes}, &tok) || n + tok.n_ids > run->fold.seq)
            return NULL;
        memcpy(all + n, tok.logprobs, sizeof *all * (size_t)tok.n_ids);
        n += tok.n_ids;
        at += sizeof bytes + bytes;
    }
    return n == run->fold.seq ? all : NULL;
}

/* The result that this run must have, in out. */
static bool make_result(struct mr_judge *judge, const struct judge_run *j, const struct mr_job *job, const struct mr_stream_record *end,
                        struct mr_buf *out)
{
    const struct mr_run *run = j->run;
    struct mr_stream_record start;
    struct mr_buf text = {0};
    mr_buf_add_str(&text, mr_buf_view(&run->text));
    mr_buf_add_str(&text, end->text);
    struct mr_result_choice choice = {.ids = (const int32_t *)run->ids.p, .n = (int32_t)run->fold.seq, .text = mr_buf_view(&text),
                                      .logprobs = logprobs_of(judge, run)};
    if (end->n_finish > 0)
        choice.finish = end->finish[0];
    struct mr_result result = {.job = job, .route = j->route, .partition = j->partition, .src = j->src, .start = &start, .terminal = end,
                               .created_ms = j->origin_ms ? j->origin_ms : j->src.timestamp_ms, .takeovers = run->takeovers,
                               .choices = &choice, .n_choices = 1, .prompt_text = job->prompt};
    bool made = !text.failed && judge_decode(judge, run, mr_buf_view(&run->start), &start) && mr_result_encode(&result, job->encoding, out);
    mr_buf_fini(&text);
    return made;
}

/* The OpenAI object in a result, which may be a Batch line's. */
static const struct mr_value *body_of(const struct mr_value *result)
{
    const struct mr_value *response = mr_value_get(result, "response"), *body = response ? mr_value_get(response, "body") : NULL;
    return body ? body : result;
}

/* The prompt's ids as the result holds them, into job. */
static bool borrow_prompt_ids(struct mr_judge *judge, const struct mr_record *record, int32_t n, struct mr_job *job)
{
    struct mr_value value;
    enum mr_encoding encoding;
    if (!mr_encoding_of(record, &encoding) ||
        mr_encoding_codec(encoding)->decode(record->value, NULL, &judge->scratch, &value, NULL) != MR_CODEC_OK)
        return false;
    const struct mr_value *array = mr_value_get(body_of(&value), "prompt_token_ids");
    int32_t *ids = mr_arena_array(&judge->scratch, (size_t)(n > 0 ? n : 0), sizeof *ids);
    if (!ids || !array || array->kind != MR_ARRAY || n < 0 || array->as.array.n != (size_t)n)
        return false;
    for (int32_t i = 0; i < n; i++) {
        const struct mr_value *id = &array->as.array.items[i];
        if (id->kind != MR_INT || id->as.integer < 0 || id->as.integer > INT32_MAX)
            return false;
        ids[i] = (int32_t)id->as.integer;
    }
    job->prompt_ids = ids;
    job->n_prompt = n;
    return true;
}

/* Whether all results of the run are the one that it must have. */
static bool results_fit(struct mr_judge *judge, const struct judge_run *j, const struct mr_job *job, const struct mr_stream_record *end)
{
    struct mr_buf wanted = {0};
    bool fit = make_result(judge, j, job, end, &wanted);
    for (const struct judge_kept *kept = j->results; kept; kept = kept->next)
        fit = fit && mr_str_equal(kept->record.value, mr_buf_view(&wanted));
    mr_buf_fini(&wanted);
    return fit;
}

static void judge_results(struct mr_judge *judge, struct judge_run *j, struct mr_job *job, const struct mr_stream_record *end)
{
    bool kept = judge->now_ms == INT64_MIN || judge->now_ms - j->last_ms <= MR_JUDGE_RESULT_DAYS * INT64_C(86400000);
    if (!j->results && kept)
        judge_complain(judge, j, JUDGE_LOST, "the result is missing");
    if (!j->results)
        return;
    bool borrowed = end->kind != MR_FOLD_FAILED && job->return_token_ids && !job->prompt_ids;
    if (borrowed && !borrow_prompt_ids(judge, &j->results->record, end->usage.prompt_tokens, job)) {
        judge_complain(judge, j, JUDGE_VIOLATION, "the result has not the prompt's %d token ids", end->usage.prompt_tokens);
        return;
    }
    judge->report.unchecked += borrowed;
    bool fit = results_fit(judge, j, job, end);
    if (!fit && end->kind == MR_FOLD_FAILED) { /* refused before its metadata was read */
        job->metadata = NULL;
        fit = results_fit(judge, j, job, end);
    }
    if (!fit)
        judge_complain(judge, j, JUDGE_VIOLATION, "the result is not what input record and stream make");
}

static void judge_dead(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *end)
{
    if (!j->dead)
        judge_complain(judge, j, JUDGE_LOST, "the dead letter is missing");
    for (const struct judge_kept *kept = j->dead; kept; kept = kept->next) {
        const struct mr_record *letter = &kept->record;
        if (letter->value.p && !mr_str_equal(letter->value, j->record->value))
            judge_complain(judge, j, JUDGE_VIOLATION, "the dead letter is not the input record");
        if (!mr_str_is(mr_record_header(letter, "mr-dead-reason"), mr_reason_name(end->reason)) ||
            !mr_str_equal(mr_record_header(letter, "mr-dead-field"), end->field) ||
            !mr_str_equal(mr_record_header(letter, "mr-dead-message"), end->message))
            judge_complain(judge, j, JUDGE_VIOLATION, "the dead letter gives another reason than the stream");
    }
}

void judge_outcomes(struct mr_judge *judge, struct judge_run *j, struct mr_job *job, const struct mr_stream_record *end)
{
    if (judge_has_result(end))
        judge_results(judge, j, job, end);
    else if (j->results)
        judge_complain(judge, j, JUDGE_VIOLATION, "a result where there must be none");
    if (end->kind == MR_FOLD_FAILED)
        judge_dead(judge, j, end);
    else if (j->dead)
        judge_complain(judge, j, JUDGE_VIOLATION, "a dead letter where there must be none");
}
