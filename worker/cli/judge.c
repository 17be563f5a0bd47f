/* Judges what the topics hold.
 *
 * Owns a copy of every input and result, and each run as worker/run.h folds it.
 *
 * How it finds what is wrong
 * 1 A stream record dropped, moved or altered in seq, choice, ids, epoch, writer, n or ctx is not accepted by the fold, and what
 *   follows it neither: the run never closes, and its job counts as lost.
 * 2 START's attempt, body_hash and digests are held against the count of STARTs, the input record, and the other STARTs of run and process;
 *   every record's mr-* headers against its value.
 * 3 A result is a pure function of the input record and the accepted stream: it is made again, with the worker's own code, and
 *   must be the same bytes (judge_verdict.c). That covers text, logprobs, finish, usage, timings, reason, message, seed, digests.
 *
 * Rejected: a second implementation of the result's fields (it would be the one that is wrong). */
#include "worker/cli/judge_state.h"

#include "base/hash.h"
#include "worker/encoding.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct mr_judge *mr_judge_open(const struct mr_options *options)
{
    struct mr_judge *judge = calloc(1, sizeof *judge);
    if (!judge)
        return NULL;
    judge->options = options;
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
    free(judge->recoveries);
    free(judge->report.complaints);
    free(judge);
}

void judge_complain(struct mr_judge *judge, const struct judge_run *j, const char *format, ...)
{
    struct mr_judge_report *report = &judge->report;
    if (report->n_complaints++ >= MR_JUDGE_COMPLAINTS_MAX)
        return;
    char *line = report->complaints[report->n_complaints - 1];
    struct mr_str name = j->run ? j->run->name : (struct mr_str){0};
    int n = snprintf(line, sizeof *report->complaints, "%s/%d/%lld %.*s: ", j->input, j->partition, (long long)j->src.offset,
                     name.n > 100 ? 100 : (int)name.n, name.p ? name.p : "");
    va_list args;
    va_start(args, format);
    vsnprintf(line + n, sizeof *report->complaints - (size_t)n, format, args);
    va_end(args);
}

/* ---- gathering ---- */

static size_t slot_of(const struct mr_judge *judge, const char *input, int32_t partition, struct mr_src src)
{
    int64_t numbers[] = {partition, src.offset, src.timestamp_ms};
    return mr_mix64(mr_fnv1a64(mr_fnv1a64(MR_FNV1A64_START, input, strlen(input)), numbers, sizeof numbers)) & (judge->capacity - 1);
}

static struct judge_run *find(const struct mr_judge *judge, const char *input, int32_t partition, struct mr_src src)
{
    struct judge_run *j = judge->capacity ? judge->table[slot_of(judge, input, partition, src)] : NULL;
    while (j && (j->partition != partition || j->src.offset != src.offset || j->src.timestamp_ms != src.timestamp_ms || strcmp(j->input, input) != 0))
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
        struct judge_run **slot = &table[slot_of(judge, j->input, j->partition, j->src)];
        j->chain = *slot;
        *slot = j;
    }
    return true;
}

/* The run of that src, made when it is new; NULL: no memory. */
static struct judge_run *entry(struct mr_judge *judge, const struct mr_route *route, bool parked, int32_t partition, struct mr_src src)
{
    const char *input = parked ? route->parked : route->jobs;
    struct judge_run *j = find(judge, input, partition, src);
    if (j)
        return j;
    if ((judge->n >= judge->capacity && !grow(judge)) || !(j = mr_arena_alloc(&judge->arena, sizeof *j)))
        return NULL;
    *j = (struct judge_run){.input = input, .route = route, .parked = parked, .partition = partition, .src = src, .last_ms = -1, .start_ms = -1};
    struct judge_run **slot = &judge->table[slot_of(judge, input, partition, src)];
    j->chain = *slot;
    *slot = j;
    *judge->last = j;
    judge->last = &j->next;
    judge->n++;
    return j;
}

static struct judge_kept *keep(struct mr_judge *judge, const struct mr_record *record)
{
    struct mr_arena *arena = &judge->arena;
    struct judge_kept *kept = mr_arena_alloc(arena, sizeof *kept);
    struct mr_header *headers = mr_arena_array(arena, (size_t)record->n_headers, sizeof *headers);
    if (!kept || !headers)
        return NULL;
    kept->record = *record;
    kept->record.topic = mr_arena_str(arena, record->topic);
    if (record->key.p)
        kept->record.key = mr_arena_str(arena, record->key);
    if (record->value.p)
        kept->record.value = mr_arena_str(arena, record->value);
    for (int32_t i = 0; i < record->n_headers; i++)
        headers[i] = (struct mr_header){mr_arena_str(arena, record->headers[i].key), mr_arena_str(arena, record->headers[i].value)};
    kept->record.headers = headers;
    return kept;
}

/* ---- stream records ---- */

static void check_headers(struct mr_judge *judge, const struct judge_run *j, const struct mr_record *record, const struct mr_stream_record *decoded,
                          enum mr_encoding encoding)
{
    struct mr_stream_headers wanted;
    mr_stream_record_headers(decoded, encoding, NULL, 0, &wanted);
    for (int32_t i = 0; i < wanted.n; i++) {
        char key[32] = "";
        memcpy(key, wanted.list[i].key.p, wanted.list[i].key.n < sizeof key ? wanted.list[i].key.n : sizeof key - 1);
        struct mr_str is = mr_record_header(record, key);
        if (mr_str_equal(is, wanted.list[i].value))
            continue;
        judge->report.violations++;
        judge_complain(judge, j, "stream offset %lld: header %s is \"%.*s\", its value says \"%.*s\"", (long long)record->offset, key,
                 is.n > 40 ? 40 : (int)is.n, is.p ? is.p : "", (int)wanted.list[i].value.n, wanted.list[i].value.p);
    }
}

/* The process that START names; what it says of itself must be the same in all its STARTs. */
static void check_process(struct mr_judge *judge, const struct judge_run *j, const struct mr_stream_record *start)
{
    struct judge_process *p = judge->processes;
    while (p && p->process != start->process)
        p = p->next;
    if (!p) {
        p = mr_arena_alloc(&judge->arena, sizeof *p);
        if (!p) {
            judge->out_of_memory = true;
            return;
        }
        *p = (struct judge_process){.next = judge->processes, .process = start->process};
        p->worker = mr_arena_str(&judge->arena, start->worker);
        p->build = mr_arena_str(&judge->arena, start->build);
        p->model = mr_arena_str(&judge->arena, start->model_digest);
        p->tokenizer = mr_arena_str(&judge->arena, start->tokenizer_digest);
        judge->processes = p;
    }
    if (!mr_str_equal(p->worker, start->worker) || !mr_str_equal(p->build, start->build) || !mr_str_equal(p->model, start->model_digest) ||
        !mr_str_equal(p->tokenizer, start->tokenizer_digest)) {
        judge->report.violations++;
        judge_complain(judge, j, "two STARTs of one process name different workers, builds, models or tokenizers");
    }
}

static void check_start(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *start)
{
    check_process(judge, j, start);
    if (start->attempt != (int64_t)j->run->fold.starts) {
        judge->report.violations++;
        judge_complain(judge, j, "START says attempt %lld, it is the %u. that counts", (long long)start->attempt, j->run->fold.starts);
    }
    if (!j->model.n) {
        j->model = mr_arena_str(&judge->arena, start->model_digest);
        j->tokenizer = mr_arena_str(&judge->arena, start->tokenizer_digest);
        j->body_hash = mr_arena_str(&judge->arena, start->body_hash);
    } else if (!mr_str_equal(start->model_digest, j->model) || !mr_str_equal(start->tokenizer_digest, j->tokenizer) ||
               !mr_str_equal(start->body_hash, j->body_hash)) {
        judge->report.violations++;
        judge_complain(judge, j, "two STARTs of one run name different models, tokenizers or bodies");
    }
}

static void add_recovery(struct mr_judge *judge, double ms)
{
    if (judge->n_recoveries == judge->recoveries_capacity) {
        size_t capacity = judge->recoveries_capacity ? 2 * judge->recoveries_capacity : 64;
        double *more = reallocarray(judge->recoveries, capacity, sizeof *more);
        if (!more) {
            judge->out_of_memory = true;
            return;
        }
        judge->recoveries = more;
        judge->recoveries_capacity = capacity;
    }
    judge->recoveries[judge->n_recoveries++] = ms;
}

/* An accepted record's part in the figures. */
static void count_accepted(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *decoded, int64_t timestamp_ms)
{
    struct mr_judge_report *report = &judge->report;
    if (decoded->kind == MR_FOLD_START) {
        report->starts++;
        report->takeovers += decoded->cause == MR_CAUSE_TAKEOVER;
        if (decoded->cause == MR_CAUSE_TAKEOVER && j->start_ms < 0)
            j->start_ms = j->last_ms;
        check_start(judge, j, decoded);
    } else if (decoded->kind != MR_FOLD_YIELD && j->start_ms >= 0) {
        add_recovery(judge, (double)(timestamp_ms - j->start_ms));
        j->start_ms = -1;
    }
    j->last_ms = timestamp_ms;
    report->tokens += decoded->n_ids;
}

static bool add_stream(struct mr_judge *judge, const struct mr_route *route, bool parked, const struct mr_record *record)
{
    struct mr_stream_record decoded;
    enum mr_encoding encoding;
    struct mr_err err = {.text = "its content type is unknown"};
    judge->report.records++;
    mr_arena_fini(&judge->scratch);
    if (!mr_encoding_of(record, &encoding) || mr_stream_record_decode(record, &judge->scratch, &decoded, &err) != MR_OK) {
        struct judge_run nowhere = {.input = parked ? route->stream_parked : route->stream, .partition = record->partition};
        nowhere.src.offset = record->offset;
        judge->report.violations++;
        judge_complain(judge, &nowhere, "no stream record: %s", err.text);
        return true;
    }
    struct judge_run *j = entry(judge, route, parked, record->partition, decoded.src);
    if (!j || (!j->run && !(j->run = mr_run_open(NULL, decoded.src))))
        return false;
    bool accepted = mr_run_follow(j->run, &decoded, record->offset, record->value, encoding);
    check_headers(judge, j, record, &decoded, encoding);
    if (j->run->foreign) {
        judge->report.violations++;
        judge_complain(judge, j, "stream offset %lld: a record of another name", (long long)record->offset);
        j->run->foreign = false;
    } else if (accepted) {
        count_accepted(judge, j, &decoded, record->timestamp_ms);
    } else {
        judge->report.ignored[decoded.kind]++;
        judge->report.tokens_twice += decoded.n_ids;
    }
    return true;
}

bool mr_judge_add(struct mr_judge *judge, const struct mr_record *record)
{
    bool kept_once = false;
    for (int32_t i = 0; i < judge->options->n_routes; i++) {
        const struct mr_route *route = &judge->options->routes[i];
        bool parked = mr_str_is(record->topic, route->parked) && route->parked[0];
        if (parked || mr_str_is(record->topic, route->jobs)) {
            struct judge_run *j = entry(judge, route, parked, record->partition, (struct mr_src){record->offset, record->timestamp_ms});
            struct judge_kept *kept = j ? keep(judge, record) : NULL;
            if (!kept)
                return false;
            j->record = &kept->record;
            judge->report.jobs += !parked;
            return true;
        }
        parked = mr_str_is(record->topic, route->stream_parked) && route->stream_parked[0];
        if (parked || mr_str_is(record->topic, route->stream))
            return add_stream(judge, route, parked, record) && !judge->out_of_memory;
        if (!kept_once && (mr_str_is(record->topic, route->results) || mr_str_is(record->topic, route->dead))) {
            struct judge_kept *kept = keep(judge, record);
            if (!kept)
                return false;
            kept->next = judge->orphans;
            judge->orphans = kept;
            kept_once = true;
        }
    }
    return true;
}
