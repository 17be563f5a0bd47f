/* The judge's verdict, once everything is gathered: each input record against its run, each run against what left the log behind it.
 *
 * Owns an index of the runs by name, for the time of finish.
 * 1 Each input record is judged once, each run once, each result and dead letter against the one run that it names.
 * 2 What retention took is no fault: a run whose input lies before the first record that was read needs none.
 * 3 The input record is read without the limits of any configuration: what a worker refused by its own limits failed, and what it
 *   did not refuse must be readable.
 * Thread: the judge's. Rejected: judging while reading (the order of partitions against each other is no order). */
#include "worker/cli/judge_state.h"

#include "base/check.h"
#include "worker/encoding.h"
#include "worker/job_decode.h"
#include "worker/origin.h"

#include <stdio.h>
#include <stdlib.h>

struct verdict {
    struct mr_judge *judge;
    struct judge_run **by_name; /* [n] the runs, by name */
    size_t n;
};

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
            judge_complain(v->judge, &nowhere, JUDGE_VIOLATION, "speaks of a run that no stream holds");
            continue;
        }
        struct judge_kept **list = dead.p ? &j->dead : &j->results;
        kept->next = *list;
        *list = kept;
    }
}

/* The input record's job; NULL: no memory. A parked one is what it was where it lay first. A record that the worker found too large was
 * not looked into. */
static struct mr_job *job_of(const struct judge_run *j, bool too_large, bool *readable)
{
    struct mr_record record = *j->record;
    struct mr_job_source source = {.record = &record, .route = j->route, .lenient = true, .max_record_bytes = SIZE_MAX,
                                   .max_deadline_ms = INT64_MAX};
    struct mr_job *job;
    struct mr_refusal refusal;
    struct mr_origin origin;
    if (j->parked && mr_origin_read(j->record, &origin)) {
        record.topic = mr_str_from(origin.topic);
        record.partition = origin.partition;
        record.offset = origin.offset;
        record.timestamp_ms = origin.timestamp_ms;
    }
    if (too_large && j->record->value.n)
        source.max_record_bytes = j->record->value.n - 1;
    *readable = mr_job_decode(&source, &job, &refusal) == MR_REASON_NONE;
    return job;
}

/* A terminal's own fields, where nothing else holds them. */
static void judge_terminal(struct verdict *v, struct judge_run *j, const struct mr_stream_record *end)
{
    bool ran = end->kind == MR_FOLD_DONE || end->kind == MR_FOLD_CANCELLED || end->kind == MR_FOLD_EXPIRED;
    if (end->has_usage && end->usage.completion_tokens != end->n)
        judge_complain(v->judge, j, JUDGE_VIOLATION, "usage says %d tokens, the stream holds %lld", end->usage.completion_tokens, (long long)end->n);
    if (end->n_finish != ran)
        judge_complain(v->judge, j, JUDGE_VIOLATION, "a %s with %d reasons to finish", mr_fold_kind_name(end->kind), end->n_finish);
    if (!judge_logprobs_agree(end->prompt_logprobs, end->n_prompt_logprobs))
        judge_complain(v->judge, j, JUDGE_VIOLATION, "a prompt token has two log probabilities");
    if (end->kind == MR_FOLD_MOVED && !j->arrived)
        judge_complain(v->judge, j, JUDGE_LOST, "moved, and no parked record says so");
    if (end->kind == MR_FOLD_MOVED && !mr_str_is(end->to_topic, j->route->parked))
        judge_complain(v->judge, j, JUDGE_VIOLATION, "moved to a topic that is not the route's");
}

/* A duplicate's first: another record, earlier read, with the same name and body, unless retention took it. */
static void judge_duplicate(struct verdict *v, struct judge_run *j, const struct mr_job *job, const struct mr_stream_record *end)
{
    const struct judge_partition *p = judge_partition_of(v->judge, end->first.topic, end->first.partition);
    const struct judge_run *first = judge_at(v->judge, end->first.topic, end->first.partition, end->first.offset, NULL);
    while (first && !first->record)
        first = judge_at(v->judge, end->first.topic, end->first.partition, end->first.offset, first);
    if (!first && p && end->first.offset >= 0 && end->first.offset < p->first)
        return;
    bool readable, same = false;
    struct mr_job *other = first && first != j ? job_of(first, false, &readable) : NULL;
    if (other)
        same = mr_str_equal(other->name, job->name) && strcmp(other->body_hash, job->body_hash) == 0;
    mr_job_free(other);
    if (!same)
        judge_complain(v->judge, j, JUDGE_VIOLATION, "a duplicate of what is not the same job");
}

/* A closed run that has its input record. */
static void judge_closed(struct verdict *v, struct judge_run *j)
{
    struct mr_judge *judge = v->judge;
    struct mr_stream_record end;
    bool readable;
    mr_arena_fini(&judge->scratch);
    bool decoded = judge_decode(judge, j->run, mr_buf_view(&j->run->end), &end);
    struct mr_job *job = decoded ? job_of(j, end.reason == MR_REASON_TOO_LARGE, &readable) : NULL;
    if (!job) {
        judge->out_of_memory = true;
        return;
    }
    if (!mr_str_equal(job->name, j->run->name))
        judge_complain(judge, j, JUDGE_VIOLATION, "the input record has another name");
    if (!mr_str_is(j->body_hash, job->body_hash))
        judge_complain(judge, j, JUDGE_VIOLATION, "START has another body_hash than the input record");
    if ((end.kind != MR_FOLD_FAILED || !judge_has_result(&end)) && job->sampling.seed != j->seed)
        judge_complain(judge, j, JUDGE_VIOLATION, "START has another seed than the input record");
    if (!readable && end.kind == MR_FOLD_DONE)
        judge_complain(judge, j, JUDGE_VIOLATION, "done, though the input record is no job");
    judge_terminal(v, j, &end);
    if (end.kind == MR_FOLD_DUPLICATE)
        judge_duplicate(v, j, job, &end);
    judge_outcomes(judge, j, job, &end);
    mr_job_free(job);
}

/* A parked record was another one first, which must have moved, unless retention took it. */
static void judge_origin(struct verdict *v, struct judge_run *j)
{
    struct mr_origin origin;
    if (!j->parked || !j->record || !mr_origin_read(j->record, &origin))
        return;
    const struct judge_partition *p = judge_partition_of(v->judge, mr_str_from(origin.topic), origin.partition);
    struct judge_run *first = judge_at(v->judge, mr_str_from(origin.topic), origin.partition, origin.offset, NULL);
    while (first && first->src.timestamp_ms != origin.timestamp_ms)
        first = judge_at(v->judge, mr_str_from(origin.topic), origin.partition, origin.offset, first);
    j->origin_ms = origin.timestamp_ms;
    if (first && first->run && first->run->fold.closed && first->run->fold.end == MR_FOLD_MOVED)
        first->arrived = true;
    else if (first || !p || origin.offset >= p->first)
        judge_complain(v->judge, j, JUDGE_VIOLATION, "parked, and its first record did not move");
}

static void judge_one(struct verdict *v, struct judge_run *j)
{
    struct mr_judge *judge = v->judge;
    if (j->run && j->run->fold.closed)
        judge->report.outcome[j->run->fold.end]++;
    if (j->run && j->run->takeovers > 1)
        judge_number(judge, &judge->twice[j->route->tier], (double)j->tokens_twice);
    if (!j->record) {
        const struct judge_partition *p = judge_partition_of(judge, mr_str_from(j->input), j->partition);
        if (p && j->src.offset >= p->first)
            judge_complain(judge, j, JUDGE_VIOLATION, "a run without an input record");
    } else if (!j->run) {
        judge_complain(judge, j, JUDGE_LOST, "no stream record");
    } else if (!j->run->fold.closed) {
        judge_complain(judge, j, JUDGE_LOST, j->run->fold.starts ? "no terminal that counts" : "no START that counts");
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
        if (j->run->fold.closed && judge_decode(v->judge, j->run, mr_buf_view(&j->run->end), &end) && judge_has_result(&end) && ended++)
            judge_complain(v->judge, j, JUDGE_DUPLICATE, "the name ended a second time");
    }
}

static double percentile(struct judge_numbers *numbers, double share)
{
    if (!numbers->n)
        return -1;
    qsort(numbers->list, numbers->n, sizeof *numbers->list, compare_doubles);
    return numbers->list[(size_t)(share * (double)(numbers->n - 1) + 0.5)];
}

const struct mr_judge_report *mr_judge_finish(struct mr_judge *judge)
{
    struct verdict v = {.judge = judge, .by_name = calloc(judge->n + 1, sizeof *v.by_name)};
    struct mr_judge_report *report = &judge->report;
    CHECK(v.by_name);
    for (struct judge_run *j = judge->first; j; j = j->next)
        if (j->run && j->run->name.n)
            v.by_name[v.n++] = j;
    qsort(v.by_name, v.n, sizeof *v.by_name, compare_runs);
    hand_out(&v);
    for (struct judge_run *j = judge->first; j; j = j->next)
        judge_origin(&v, j);
    for (struct judge_run *j = judge->first; j; j = j->next)
        judge_one(&v, j);
    judge_names(&v);
    free(v.by_name);
    report->recoveries = (int64_t)judge->recoveries.n;
    report->recovery_ms_p50 = percentile(&judge->recoveries, 0.5);
    report->recovery_ms_p99 = percentile(&judge->recoveries, 0.99);
    report->first_token_ms_p50 = percentile(&judge->first_tokens, 0.5);
    report->first_token_ms_p99 = percentile(&judge->first_tokens, 0.99);
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        report->twice_p50[tier] = percentile(&judge->twice[tier], 0.5);
    return judge->out_of_memory ? NULL : report;
}
