/* Gathers what the topics hold, for judge_verdict.c.
 *
 * Owns a copy of every input, result and dead letter, each run as worker/run.h folds it, and what was read of every partition.
 *
 * How it finds what is wrong
 * 1 Offsets of a stream partition are dense (nobody writes it in transactions, nothing compacts it): a record that was taken out or
 *   moved leaves a gap or an offset out of order.
 * 2 A stream record altered in seq, choice, ids, epoch, writer, n or ctx is not accepted by the fold, and what follows it neither:
 *   the run never closes, and its job counts as lost. Every record's writer must have begun with a START (judge_stream.c).
 * 3 START's attempt, cause, from, seed, body_hash and digests are held against the count of STARTs, the input record, and the other
 *   STARTs of run and process; every record's key and mr-* headers against its value.
 * 4 A result is a pure function of the input record and the accepted stream: it is made again, with the worker's own code, and
 *   must be the same bytes (judge_result.c). That covers text, logprobs, finish, usage, timings, reason, message, seed, digests.
 *   A dead letter must be its input record, with the terminal's reason, field and message.
 *
 * Thread: one. Rejected: a second implementation of the result's fields (it would be the one that is wrong). */
#include "worker/cli/judge_state.h"

#include "base/hash.h"
#include "worker/cli/record_copy.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct mr_judge *mr_judge_open(const struct mr_options *options)
{
    struct mr_judge *judge = calloc(1, sizeof *judge);
    if (!judge)
        return NULL;
    judge->options = options;
    judge->now_ms = INT64_MIN;
    judge->last = &judge->first;
    judge->report.complaints = calloc(MR_JUDGE_COMPLAINTS_MAX, sizeof *judge->report.complaints);
    if (judge->report.complaints)
        return judge;
    free(judge);
    return NULL;
}

void mr_judge_close(struct mr_judge *judge)
{
    if (!judge)
        return;
    for (struct judge_run *j = judge->first; j; j = j->next)
        if (j->run)
            mr_run_close(j->run);
    mr_arena_fini(&judge->arena);
    mr_arena_fini(&judge->scratch);
    free(judge->table);
    free(judge->recoveries.list);
    free(judge->first_tokens.list);
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        free(judge->twice[tier].list);
    free(judge->report.complaints);
    free(judge);
}

/* What records say of themselves may be anything: a terminal and a JSON reader get printable ASCII. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

void judge_complain(struct mr_judge *judge, struct judge_run *j, enum judge_fault fault, const char *format, ...)
{
    struct mr_judge_report *report = &judge->report;
    int64_t *const counts[JUDGE_FAULTS] = {&report->violations, &report->lost, &report->duplicates};
    j->faults[fault]++;
    ++*counts[fault];
    if (report->n_complaints++ >= MR_JUDGE_COMPLAINTS_MAX)
        return;
    char *line = report->complaints[report->n_complaints - 1];
    struct mr_str name = j->run ? j->run->name : (struct mr_str){0};
    int n = snprintf(line, sizeof *report->complaints, "%.100s/%d/%lld %.*s: ", j->input, j->partition, (long long)j->src.offset,
                     name.n > 100 ? 100 : (int)name.n, name.p ? name.p : "");
    va_list args;
    va_start(args, format);
    if (n >= 0 && (size_t)n < sizeof *report->complaints)
        vsnprintf(line + n, sizeof *report->complaints - (size_t)n, format, args);
    va_end(args);
    make_printable(line);
}

void judge_number(struct mr_judge *judge, struct judge_numbers *numbers, double number)
{
    if (numbers->n == numbers->capacity) {
        size_t capacity = numbers->capacity ? 2 * numbers->capacity : 64;
        double *more = reallocarray(numbers->list, capacity, sizeof *more);
        if (!more) {
            judge->out_of_memory = true;
            return;
        }
        numbers->list = more;
        numbers->capacity = capacity;
    }
    numbers->list[numbers->n++] = number;
}

bool mr_judge_death(struct mr_judge *judge, struct mr_str worker, int64_t time_ms)
{
    struct judge_death *death = mr_arena_alloc(&judge->arena, sizeof *death);
    if (!death)
        return false;
    *death = (struct judge_death){judge->deaths, mr_arena_str(&judge->arena, worker), time_ms};
    judge->deaths = death;
    return death->worker.p != NULL;
}

void mr_judge_now(struct mr_judge *judge, int64_t now_ms) { judge->now_ms = now_ms; }

/* ---- runs ---- */

static size_t slot_of(const struct mr_judge *judge, struct mr_str input, int32_t partition, int64_t offset)
{
    int64_t numbers[] = {partition, offset};
    return mr_mix64(mr_fnv1a64(mr_fnv1a64(MR_FNV1A64_START, input.p, input.n), numbers, sizeof numbers)) & (judge->capacity - 1);
}

struct judge_run *judge_at(const struct mr_judge *judge, struct mr_str input, int32_t partition, int64_t offset, const struct judge_run *after)
{
    struct judge_run *j = after ? after->chain : judge->capacity ? judge->table[slot_of(judge, input, partition, offset)] : NULL;
    while (j && (j->partition != partition || j->src.offset != offset || !mr_str_is(input, j->input)))
        j = j->chain;
    return j;
}

static bool grow(struct mr_judge *judge)
{
    size_t capacity = judge->capacity ? 2 * judge->capacity : 1024;
    struct judge_run **table = calloc(capacity, sizeof *table);
    if (!table)
        return false;
    free(judge->table);
    judge->table = table;
    judge->capacity = capacity;
    for (struct judge_run *j = judge->first; j; j = j->next) {
        struct judge_run **slot = &table[slot_of(judge, mr_str_from(j->input), j->partition, j->src.offset)];
        j->chain = *slot;
        *slot = j;
    }
    return true;
}

struct judge_run *judge_entry(struct mr_judge *judge, const struct mr_route *route, bool parked, int32_t partition, struct mr_src src)
{
    struct mr_str input = mr_str_from(parked ? route->parked : route->jobs);
    struct judge_run *j = judge_at(judge, input, partition, src.offset, NULL);
    while (j && j->src.timestamp_ms != src.timestamp_ms)
        j = judge_at(judge, input, partition, src.offset, j);
    if (j)
        return j;
    if ((judge->n >= judge->capacity && !grow(judge)) || !(j = mr_arena_alloc(&judge->arena, sizeof *j)))
        return NULL;
    *j = (struct judge_run){.input = input.p, .route = route, .parked = parked, .partition = partition, .src = src, .last_ms = -1, .lost_ms = -1};
    struct judge_run **slot = &judge->table[slot_of(judge, input, partition, src.offset)];
    j->chain = *slot;
    *slot = j;
    *judge->last = j;
    judge->last = &j->next;
    judge->n++;
    return j;
}

/* ---- records ---- */

static struct judge_kept *keep(struct mr_judge *judge, const struct mr_record *record)
{
    struct judge_kept *kept = mr_arena_alloc(&judge->arena, sizeof *kept);
    return kept && mr_record_copy(&judge->arena, record, &kept->record) ? kept : NULL;
}

struct judge_partition *judge_partition_of(const struct mr_judge *judge, struct mr_str topic, int32_t number)
{
    struct judge_partition *p = judge->partitions;
    while (p && (p->number != number || !mr_str_equal(p->topic, topic)))
        p = p->next;
    return p;
}

/* The partition of a record, noted; NULL: no memory. */
static struct judge_partition *note_partition(struct mr_judge *judge, const struct mr_record *record)
{
    struct judge_partition *p = judge_partition_of(judge, record->topic, record->partition);
    if (p || !(p = mr_arena_alloc(&judge->arena, sizeof *p)))
        return p;
    *p = (struct judge_partition){judge->partitions, mr_arena_str(&judge->arena, record->topic), record->partition, record->offset, record->offset};
    judge->partitions = p;
    return p;
}

/* An input record. */
static bool add_input(struct mr_judge *judge, const struct mr_route *route, bool parked, const struct mr_record *record)
{
    struct judge_run *j = judge_entry(judge, route, parked, record->partition, (struct mr_src){record->offset, record->timestamp_ms});
    struct judge_kept *kept = j ? keep(judge, record) : NULL;
    if (!kept)
        return false;
    j->record = &kept->record;
    judge->report.jobs += !parked;
    return true;
}

/* A result or a dead letter, for whichever run it will turn out to speak of. */
static bool add_outcome(struct mr_judge *judge, const struct mr_record *record)
{
    struct judge_kept *kept = keep(judge, record);
    if (!kept)
        return false;
    kept->next = judge->orphans;
    judge->orphans = kept;
    return true;
}

bool mr_judge_add(struct mr_judge *judge, const struct mr_record *record)
{
    const struct mr_options *options = judge->options;
    bool outcome = false;
    struct judge_partition *partition = note_partition(judge, record);
    if (!partition)
        return false;
    for (int32_t i = 0; i < options->n_routes; i++) {
        const struct mr_route *route = &options->routes[i];
        bool parked = route->parked[0] && mr_str_is(record->topic, route->parked);
        if (parked || mr_str_is(record->topic, route->jobs))
            return add_input(judge, route, parked, record);
        parked = route->stream_parked[0] && mr_str_is(record->topic, route->stream_parked);
        if (parked || mr_str_is(record->topic, route->stream))
            return judge_stream(judge, route, parked, partition, record) && !judge->out_of_memory;
        outcome |= mr_str_is(record->topic, route->results) || mr_str_is(record->topic, route->dead);
    }
    return !outcome || add_outcome(judge, record);
}

void mr_judge_each(const struct mr_judge *judge, void (*tell)(void *self, const struct mr_judge_job *job), void *self)
{
    for (const struct judge_run *j = judge->first; j; j = j->next) {
        struct mr_judge_job job = {.topic = j->input, .partition = j->partition, .src = j->src, .state = "unseen", .tokens_twice = j->tokens_twice,
                                   .violations = j->faults[JUDGE_VIOLATION], .lost = j->faults[JUDGE_LOST], .duplicates = j->faults[JUDGE_DUPLICATE]};
        if (j->run) {
            job.name = j->run->name;
            job.state = j->run->fold.closed ? mr_fold_kind_name(j->run->fold.end) : "running";
            job.tokens = j->run->fold.seq;
            job.starts = j->run->fold.starts;
        }
        tell(self, &job);
    }
}
