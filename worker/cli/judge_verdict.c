/* The judge's verdict, once everything is gathered: each input record against its run, each run against its result.
 *
 * Owns an index of the runs by name, for the time of finish.
 * 1 Each input record is judged once, each run once, each result and dead letter against the one run that it names.
 * 2 What retention took is no fault: a run whose input lies before the first record that was read needs none.
 * Rejected: judging while reading (the order of partitions against each other is no order). */
#include "worker/cli/judge_state.h"

#include "base/check.h"
#include "worker/encoding.h"
#include "worker/job_decode.h"
#include "worker/result.h"

#include <stdio.h>
#include <stdlib.h>

struct verdict {
    struct mr_judge *judge;
    struct judge_run **by_name; /* [n] the runs, by name */
    size_t n;
};

static void violation(struct verdict *v, const struct judge_run *j, const char *what)
{
    v->judge->report.violations++;
    judge_complain(v->judge, j, "%s", what);
}

static void lost(struct verdict *v, const struct judge_run *j, const char *what)
{
    v->judge->report.lost++;
    judge_complain(v->judge, j, "%s", what);
}

static int compare_str(struct mr_str a, struct mr_str b)
{
    int order = memcmp(a.p ? a.p : "", b.p ? b.p : "", a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_runs(const void *a, const void *b)
{
    return compare_str((*(struct judge_run *const *)a)->run->name, (*(struct judge_run *const *)b)->run->name);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t first_named(const struct verdict *v, struct mr_str name)
{
    size_t low = 0, high = v->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_str(v->by_name[middle]->run->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The run that a result or dead letter speaks of, by name and src ("offset.timestamp"). */
static struct judge_run *run_of(const struct verdict *v, struct mr_str name, struct mr_str src)
{
    for (size_t i = first_named(v, name); i < v->n && mr_str_equal(v->by_name[i]->run->name, name); i++) {
        char text[48];
        const struct mr_src *is = &v->by_name[i]->src;
        snprintf(text, sizeof text, "%lld.%lld", (long long)is->offset, (long long)is->timestamp_ms);
        if (mr_str_is(src, text))
            return v->by_name[i];
    }
    return NULL;
}

/* Gives every result and dead letter to its run. */
static void hand_out(struct verdict *v)
{
    for (struct judge_kept *kept = v->judge->orphans, *next; kept; kept = next) {
        next = kept->next;
        struct mr_str dead = mr_record_header(&kept->record, "mr-dead-src");
        struct judge_run *j = run_of(v, dead.p ? mr_record_header(&kept->record, "mr-dead-job") : kept->record.key,
                                     dead.p ? dead : mr_record_header(&kept->record, "mr-src"));
        if (!j) {
            struct judge_run nowhere = {.input = dead.p ? "dead" : "results", .partition = kept->record.partition, .src = {kept->record.offset, 0}};
            violation(v, &nowhere, "speaks of a run that no stream holds");
            continue;
        }
        struct judge_kept **list = dead.p ? &j->dead : &j->results;
        kept->next = *list;
        *list = kept;
    }
}

/* A kept stream value, decoded again. */
static bool decode(struct verdict *v, const struct mr_run *run, struct mr_str value, struct mr_stream_record *out)
{
    struct mr_header type = {MR_STR("content-type"), mr_str_from(mr_encoding_codec(run->log_encoding)->content_type)};
    struct mr_record record = {.value = value, .headers = &type, .n_headers = 1};
    return mr_stream_record_decode(&record, &v->judge->scratch, out, NULL) == MR_OK;
}

static struct mr_logprob *logprobs_of(struct verdict *v, const struct mr_run *run)
{
    struct mr_logprob *all = run->scored.n ? mr_arena_array(&v->judge->scratch, (size_t)run->fold.seq, sizeof *all) : NULL;
    int64_t n = 0;
    for (size_t at = 0; all && at < run->scored.n;) {
        uint32_t bytes;
        struct mr_stream_record tok;
        memcpy(&bytes, run->scored.p + at, sizeof bytes);
        if (!decode(v, run, (struct mr_str){run->scored.p + at + sizeof bytes, bytes}, &tok) || n + tok.n_ids > run->fold.seq)
            return NULL;
        memcpy(all + n, tok.logprobs, sizeof *all * (size_t)tok.n_ids);
        n += tok.n_ids;
        at += sizeof bytes + bytes;
    }
    return n == run->fold.seq ? all : NULL;
}

/* The result that this run must have, in out. */
static bool make_result(struct verdict *v, const struct judge_run *j, const struct mr_job *job, const struct mr_stream_record *end,
                        struct mr_buf *out)
{
    const struct mr_run *run = j->run;
    struct mr_stream_record start;
    struct mr_buf text = {0};
    mr_buf_add_str(&text, mr_buf_view(&run->text));
    mr_buf_add_str(&text, end->text);
    struct mr_result_choice choice = {.ids = (const int32_t *)run->ids.p, .n = (int32_t)run->fold.seq, .text = mr_buf_view(&text),
                                      .logprobs = logprobs_of(v, run)};
    if (end->n_finish > 0)
        choice.finish = end->finish[0];
    struct mr_result result = {.job = job, .route = j->route, .partition = j->partition, .src = j->src, .start = &start, .terminal = end,
                               .takeovers = run->takeovers, .choices = &choice, .n_choices = 1, .prompt_text = job->prompt};
    bool made = !text.failed && decode(v, run, mr_buf_view(&run->start), &start) && mr_result_encode(&result, job->encoding, out);
    mr_buf_fini(&text);
    return made;
}

static bool has_result(const struct mr_stream_record *end)
{
    if (end->kind == MR_FOLD_FAILED)
        return end->reason != MR_REASON_ID_CONFLICT && end->reason != MR_REASON_LOG_EXPIRED;
    return end->kind != MR_FOLD_DUPLICATE && end->kind != MR_FOLD_MOVED;
}

static void judge_result(struct verdict *v, const struct judge_run *j, const struct mr_job *job, const struct mr_stream_record *end)
{
    struct mr_buf wanted = {0};
    if (!j->results) {
        lost(v, j, "the result is missing");
        return;
    }
    if (job->return_token_ids && !job->prompt_ids)
        v->judge->report.unchecked++; /* the prompt's ids need the tokenizer */
    else if (!make_result(v, j, job, end, &wanted))
        violation(v, j, "the stream does not make a result");
    for (const struct judge_kept *kept = j->results; kept && wanted.n; kept = kept->next)
        if (!mr_str_equal(kept->record.value, mr_buf_view(&wanted)))
            violation(v, j, "the result is not what input record and stream make");
    mr_buf_fini(&wanted);
}

/* A closed run that has its input record. */
static void judge_closed(struct verdict *v, const struct judge_run *j)
{
    const struct mr_options *options = v->judge->options;
    struct mr_job_source source = {.record = j->record, .route = j->route, .lenient = options->worker.lenient,
                                   .max_record_bytes = (size_t)options->limits.record_bytes, .max_deadline_ms = options->limits.deadline_ms};
    struct mr_job *job = NULL;
    struct mr_refusal refusal;
    struct mr_stream_record end;
    mr_job_decode(&source, &job, &refusal);
    mr_arena_fini(&v->judge->scratch);
    if (!job || !decode(v, j->run, mr_buf_view(&j->run->end), &end)) {
        v->judge->out_of_memory = true;
    } else {
        if (!j->parked && !mr_str_equal(job->name, j->run->name))
            violation(v, j, "the input record has another name");
        if (strcmp(job->body_hash, j->run->body_hash) != 0)
            violation(v, j, "START has another body_hash than the input record");
        if (has_result(&end))
            judge_result(v, j, job, &end);
        else if (j->results)
            violation(v, j, "a result where there must be none");
        if (end.kind == MR_FOLD_FAILED && !j->dead)
            lost(v, j, "the dead letter is missing");
    }
    mr_job_free(job);
}

/* The first offset of an input partition that was read: what lies before it, retention has taken. */
static int64_t log_start(const struct verdict *v, const struct judge_run *j)
{
    int64_t start = INT64_MAX;
    for (const struct judge_run *other = v->judge->first; other; other = other->next)
        if (other->record && other->partition == j->partition && strcmp(other->input, j->input) == 0 && other->src.offset < start)
            start = other->src.offset;
    return start;
}

static void judge_one(struct verdict *v, const struct judge_run *j)
{
    struct mr_judge_report *report = &v->judge->report;
    if (j->run && j->run->fold.closed)
        report->outcome[j->run->fold.end]++;
    if (!j->record) {
        if (j->src.offset >= log_start(v, j))
            violation(v, j, "a run without an input record");
    } else if (!j->run) {
        lost(v, j, "no stream record");
    } else if (!j->run->fold.closed) {
        lost(v, j, j->run->fold.starts ? "no terminal that counts" : "no START that counts");
    } else {
        judge_closed(v, j);
    }
}

/* Of the runs of one name only one may end otherwise than as duplicate, moved, or in conflict. */
static void judge_names(struct verdict *v)
{
    for (size_t i = 0, ended = 0; i < v->n; i++) {
        struct judge_run *j = v->by_name[i];
        struct mr_stream_record end;
        if (i == 0 || !mr_str_equal(j->run->name, v->by_name[i - 1]->run->name))
            ended = 0;
        mr_arena_fini(&v->judge->scratch);
        if (!j->run->fold.closed || !decode(v, j->run, mr_buf_view(&j->run->end), &end) || !has_result(&end))
            continue;
        if (ended++) {
            v->judge->report.duplicates++;
            judge_complain(v->judge, j, "the name ended a second time");
        }
    }
}

static double percentile(const double *sorted, size_t n, double share)
{
    return n ? sorted[(size_t)(share * (double)(n - 1) + 0.5)] : -1;
}

const struct mr_judge_report *mr_judge_finish(struct mr_judge *judge)
{
    struct verdict v = {.judge = judge, .by_name = calloc(judge->n + 1, sizeof *v.by_name)};
    CHECK(v.by_name);
    for (struct judge_run *j = judge->first; j; j = j->next)
        if (j->run && j->run->name.n)
            v.by_name[v.n++] = j;
    qsort(v.by_name, v.n, sizeof *v.by_name, compare_runs);
    hand_out(&v);
    for (const struct judge_run *j = judge->first; j; j = j->next)
        judge_one(&v, j);
    judge_names(&v);
    free(v.by_name);
    if (judge->n_recoveries)
        qsort(judge->recoveries, judge->n_recoveries, sizeof *judge->recoveries, compare_doubles);
    judge->report.recovery_ms_p50 = percentile(judge->recoveries, judge->n_recoveries, 0.5);
    judge->report.recovery_ms_p99 = percentile(judge->recoveries, judge->n_recoveries, 0.99);
    return judge->out_of_memory ? NULL : &judge->report;
}
