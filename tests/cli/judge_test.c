/* The judge over a recorded run that holds every kind of record: silent when all is well, and never silent when any record that
 * counts is dropped, moved, or altered in a field that the fold, the result or the input record fix. Every such change of every record is
 * tried, alone. Then what nobody should have written. */
#define _GNU_SOURCE /* memmem */
#include "tests/test.h"

#include "tests/cli/hostile.h"
#include "tests/cli/recorded.h"
#include "worker/cli/judge.h"
#include "worker/encoding.h"

static const struct recorded_plan plans[] = {
    {.route = 0, .partition = 0, .offset = 0, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 4, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 0, .offset = 1, .body = "{\"id\":\"b\",\"prompt\":\"two\"}", .n_tokens = 5, .takeover_after = 2, .zombie = true, .end = MR_FOLD_DONE},
    {.route = 1, .partition = 3, .offset = 7, .body = "{\"id\":\"c\",\"tenant\":\"acme\",\"prompt\":\"three\"}", .n_tokens = 2, .end = MR_FOLD_CANCELLED},
    {.route = 1, .partition = 3, .offset = 8, .body = "{\"prompt\":7}", .end = MR_FOLD_FAILED, .reason = MR_REASON_WRONG_TYPE},
    {.route = 0, .partition = 0, .offset = 2, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .end = MR_FOLD_DUPLICATE, .first_offset = 0},
    {.route = 2, .partition = 1, .offset = 4, .body = "{\"custom_id\":\"x\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"four\"}}",
     .batch = "b1", .n_tokens = 3, .end = MR_FOLD_EXPIRED},
    {.route = 0, .partition = 1, .offset = 0, .body = "{\"id\":\"y\",\"prompt\":\"five\"}", .n_tokens = 4, .takeover_after = 2, .yield = true, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 1, .offset = 1, .body = "{\"id\":\"l\",\"prompt\":\"six\",\"logprobs\":1,\"prompt_logprobs\":1}", .n_tokens = 3, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 1, .offset = 2, .body = "{\"id\":\"li\",\"prompt\":\"six\",\"logprobs\":1,\"return_tokens_as_token_ids\":true}", .n_tokens = 2,
     .end = MR_FOLD_DONE},
    {.route = 1, .partition = 2, .offset = 0,
     .body = "{\"id\":\"lc\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"logprobs\":true,\"top_logprobs\":1}", .n_tokens = 2, .end = MR_FOLD_DONE},
    {.route = 1, .partition = 2, .offset = 1, .body = "{\"id\":\"ti\",\"prompt\":\"seven\",\"return_token_ids\":true}", .n_tokens = 2, .end = MR_FOLD_DONE},
    {.route = 1, .partition = 2, .offset = 2, .body = "{\"id\":\"f\",\"prompt\":\"eight\"}", .n_tokens = 2, .end = MR_FOLD_FAILED, .reason = MR_REASON_INTERNAL},
    {.route = 0, .partition = 0, .offset = 3, .body = "{\"id\":\"a\",\"prompt\":\"another\"}", .end = MR_FOLD_FAILED, .reason = MR_REASON_ID_CONFLICT},
    {.route = 2, .partition = 0, .offset = 0, .body = "{\"prompt\":\"parked\"}", .end = MR_FOLD_MOVED},
    {.route = 1, .partition = 2, .offset = 3, .body = "{\"id\":\"m\",\"prompt\":\"nine\",\"metadata\":{\"k\":1}}", .n_tokens = 1, .end = MR_FOLD_DONE},
};
enum { N_PLANS = sizeof plans / sizeof *plans, PARKED = N_PLANS - 2, COPIES = 2, DONE = 9, TICK_MS = 3000 /* past what a START may not have seen */,
       DEATHS_FROM_MS = 8500 };

static struct mr_options options;
static struct recorded r;

static struct mr_arena altered_arena; /* of what alter decodes */

static void record_all(void)
{
    r = (struct recorded){.options = &options, .clock_ms = 1000, .tick_ms = TICK_MS};
    mr_arena_init(&r.arena, 0);
    for (int i = 0; i < N_PLANS; i++) {
        struct recorded_plan parked = plans[i];
        recorded_job(&r, &plans[i]);
        parked.n_tokens = 2;
        if (i == PARKED)
            recorded_parked(&r, &parked, 0, MR_FOLD_DONE);
        if (i == PARKED) { /* a second copy of the record */
            parked.n_tokens = 0;
            recorded_parked(&r, &parked, 1, MR_FOLD_DUPLICATE);
        }
    }
}

static bool is_stream(const struct mr_record *record) { return strstr(record->topic.p, ".stream.") != NULL; }
static bool is_input(const struct mr_record *record) { return strstr(record->topic.p, ".jobs.") || strstr(record->topic.p, "millrace.parked."); }
static bool same_place(const struct mr_record *a, const struct mr_record *b) { return a->partition == b->partition && mr_str_equal(a->topic, b->topic); }
static bool kind_is(const struct mr_record *record, const char *kind) { return mr_str_is(mr_record_header(record, "mr-kind"), kind); }

/* Stream records as if the change had happened before they were appended: offsets follow the order. */
static void renumber(struct mr_record *records, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_stream(&records[i])) {
            records[i].offset = 0;
            for (size_t k = 0; k < i; k++)
                records[i].offset += same_place(&records[k], &records[i]);
        }
}

static struct mr_judge_report verdict_of(const struct mr_record *records, size_t n, bool show)
{
    struct mr_judge *judge = mr_judge_open(&options);
    for (size_t i = 0; i < n; i++)
        CHECK(mr_judge_add(judge, &records[i]));
    const struct mr_judge_report *report = mr_judge_finish(judge);
    CHECK(report);
    struct mr_judge_report copy = *report;
    for (int64_t i = 0; i < report->n_complaints && show; i++)
        printf("%s\n", report->complaints[i]);
    mr_judge_close(judge);
    return copy;
}

static struct mr_judge_report verdict(bool show) { return verdict_of(r.records, r.n, show); }

static int64_t wrongs(const struct mr_judge_report *report) { return report->violations + report->lost + report->duplicates; }

/* The zombie's record, which does not count. */
static size_t zombie;

static void find_zombie(void)
{
    struct mr_record list[RECORDED_MAX];
    for (zombie = 0; zombie < r.n; zombie++) {
        memcpy(list, r.records, zombie * sizeof *list);
        memcpy(list + zombie, r.records + zombie + 1, (r.n - zombie - 1) * sizeof *list);
        renumber(list, r.n - 1);
        struct mr_judge_report report = verdict_of(list, r.n - 1, false);
        if (kind_is(&r.records[zombie], "tok") && report.ignored[MR_FOLD_TOK] == 0 && wrongs(&report) == 0)
            return;
    }
    EXPECT(!"there is a zombie");
}

/* What lies before the first input record of a partition may have been taken by retention: its run needs none. */
static bool is_first_input(size_t at)
{
    for (size_t i = 0; i < r.n; i++)
        if (same_place(&r.records[i], &r.records[at]) && r.records[i].offset < r.records[at].offset)
            return false;
    return is_input(&r.records[at]);
}

static void show_record(size_t at, const char *what)
{
    const struct mr_record *record = &r.records[at];
    printf("%s: record %zu of %.*s, %.*s %.*s\n", what, at, (int)record->topic.n, record->topic.p, (int)mr_record_header(record, "mr-kind").n,
           mr_record_header(record, "mr-kind").p, (int)record->key.n, record->key.p);
}

TEST(all_is_well)
{
    record_all();
    struct mr_judge_report report = verdict(true);
    EXPECT_EQ(wrongs(&report), 0);
    EXPECT_EQ(report.jobs, N_PLANS);
    EXPECT_EQ(report.outcome[MR_FOLD_DONE], DONE);
    EXPECT_EQ(report.outcome[MR_FOLD_MOVED], 1);
    EXPECT_EQ(report.outcome[MR_FOLD_FAILED], 3);
    EXPECT_EQ(report.outcome[MR_FOLD_CANCELLED], 1);
    EXPECT_EQ(report.outcome[MR_FOLD_EXPIRED], 1);
    EXPECT_EQ(report.outcome[MR_FOLD_DUPLICATE], 2);
    EXPECT_EQ(report.starts, N_PLANS + COPIES + 2);
    EXPECT_EQ(report.extra_starts, 2);
    EXPECT_EQ(report.takeovers, 2);
    EXPECT_EQ(report.tokens, 4 + 5 + 2 + 3 + 4 + 3 + 2 + 2 + 2 + 2 + 2 + 1);
    EXPECT_EQ(report.ignored[MR_FOLD_TOK], 1);
    EXPECT_EQ(report.tokens_twice, 1);
    EXPECT_EQ((int)report.twice_p50[MR_TIER_REALTIME], 1); /* of 0 and 1: the upper */
    EXPECT_EQ((int)report.twice_p50[MR_TIER_BULK], -1);
    EXPECT_EQ(report.recoveries, 1);                                /* who yielded was not lost */
    EXPECT_EQ((int)report.recovery_ms_p50, TICK_MS);        /* last token, START, */
    EXPECT_EQ((int)report.first_token_ms_p50, 3 * TICK_MS); /* the zombie's token, the next one's own */
    EXPECT_EQ(report.unchecked, 1);
    EXPECT_EQ(report.n_complaints, 0);
    mr_arena_fini(&r.arena);
}

/* Taken out of its topic afterwards, and never appended in the first place. A YIELD moves nothing: only its gap can tell. */
TEST(a_dropped_record_is_reported)
{
    struct mr_record list[RECORDED_MAX];
    record_all();
    find_zombie();
    for (size_t i = 0; i < r.n; i++) {
        if (is_first_input(i))
            continue;
        for (int renumbered = 0; renumbered < 2; renumbered++) {
            memcpy(list, r.records, i * sizeof *list);
            memcpy(list + i, r.records + i + 1, (r.n - i - 1) * sizeof *list);
            if (renumbered)
                renumber(list, r.n - 1);
            struct mr_judge_report report = verdict_of(list, r.n - 1, false);
            bool last = is_stream(&r.records[i]) && i + 1 == r.n, untold = renumbered && (i == zombie || kind_is(&r.records[i], "yield"));
            if (wrongs(&report) == 0 && !untold)
                show_record(i, renumbered ? "never appended" : "taken out");
            EXPECT(wrongs(&report) > 0 || untold || last);
        }
    }
    mr_arena_fini(&r.arena);
}

/* Neighbours in one stream partition change places: as they stand, and as if they had been appended so. */
TEST(reordered_records_are_reported)
{
    int swapped = 0;
    record_all();
    find_zombie();
    for (size_t i = 0; i + 1 < r.n; i++) {
        struct mr_record *a = &r.records[i], *b = &r.records[i + 1], kept;
        if (!is_stream(a) || !is_stream(b) || !same_place(a, b))
            continue;
        kept = *a, *a = *b, *b = kept;
        struct mr_judge_report report = verdict(false);
        EXPECT(wrongs(&report) > 0);
        renumber(r.records, r.n);
        report = verdict(false);
        bool same_run = mr_str_equal(a->key, b->key), either = i == zombie || i + 1 == zombie; /* one of the two same tokens counts, whichever */
        bool yield = kind_is(b, "yield") && kind_is(a, "start"); /* the next owner may be faster than the last word of the one before */
        if (wrongs(&report) == 0 && same_run && !either && !yield)
            show_record(i, "reordered");
        EXPECT(wrongs(&report) > 0 || !same_run || either || yield);
        swapped += wrongs(&report) > 0;
        kept = *a, *a = *b, *b = kept;
        renumber(r.records, r.n);
    }
    EXPECT(swapped >= 40);
    mr_arena_fini(&r.arena);
}

/* ---- one field of one stream record ---- */

static int32_t new_ids[64];
static struct mr_logprob new_logprobs[64];
static struct mr_token_logprob new_top[8];
static struct mr_str new_finish[2];

static void own_arrays(struct mr_stream_record *s)
{
    const struct mr_logprob *scored = s->logprobs ? s->logprobs : s->prompt_logprobs;
    int32_t n = s->logprobs ? s->n_ids : s->n_prompt_logprobs;
    if (s->n_ids)
        memcpy(new_ids, s->ids, sizeof *new_ids * (size_t)s->n_ids), s->ids = new_ids;
    if (s->n_finish)
        new_finish[0] = s->finish[0], s->finish = new_finish;
    if (!scored)
        return;
    memcpy(new_logprobs, scored, sizeof *new_logprobs * (size_t)n);
    memcpy(new_top, scored[0].top, sizeof *new_top * (size_t)scored[0].n_top);
    new_logprobs[0].top = new_top;
    *(s->logprobs ? &s->logprobs : &s->prompt_logprobs) = new_logprobs;
}

#define DIGEST MR_STR("00000000000000000000000000000000000000000000000000000000000000cc")

enum { ANY = 1, START = 2, TOK = 4, END = 8, SCORED = 16, IN_FORCE = 32, HAS_RESULT = 64, BY_BYTES = 128, BY_IDS = 256 };
/* name, which records have it fixed, alteration */
#define FIELDS(X) \
    X(epoch, ANY, s->epoch++) X(epoch_lower, ANY, s->epoch--) X(writer, ANY, s->writer ^= 1) X(offset, ANY, s->src.offset += 1000) \
    X(timestamp, ANY, s->src.timestamp_ms++) X(job, ANY, s->job = MR_STR("default/other")) \
    X(attempt, START, s->attempt++) X(attempt_lower, START, s->attempt--) X(cause, START, s->cause = (s->cause + 1) % 2) X(rebalance, START, s->cause = 2) \
    X(body_hash, START, s->body_hash = DIGEST) X(model_digest, START, s->model_digest = DIGEST) X(tokenizer, START, s->tokenizer_digest = DIGEST) \
    X(seed, START, s->seed ^= 1) X(from, START, s->from++) X(worker, START, s->worker = MR_STR("other")) X(build, START, s->build = MR_STR("other")) \
    X(model, START | IN_FORCE, s->model = MR_STR("other")) \
    X(seq, TOK, s->seq++) X(choice, TOK, s->choice++) X(id, TOK, new_ids[0]++) X(id_more, TOK, new_ids[s->n_ids++] = 1) X(ctx, TOK | END, s->ctx ^= 1) \
    X(text, TOK, s->text = MR_STR("other")) X(no_text, TOK, s->text = MR_STR("")) \
    X(no_logprobs, TOK | SCORED, s->logprobs = NULL) X(chosen, TOK | SCORED, new_logprobs[0].chosen.id++) \
    X(chosen_logprob, SCORED, new_logprobs[0].chosen.logprob -= 1) X(chosen_bytes, SCORED | BY_BYTES, new_logprobs[0].chosen.bytes = MR_STR("z")) \
    X(top_logprob, SCORED, new_top[1].logprob -= 1) X(top_bytes, SCORED | BY_BYTES, new_top[1].bytes = MR_STR("z")) X(top_id, SCORED | BY_IDS, new_top[1].id++) \
    X(top_fewer, SCORED, new_logprobs[0].n_top--) \
    X(n, END, s->n++) X(kind, END, s->kind = s->kind == MR_FOLD_DONE ? MR_FOLD_CANCELLED : MR_FOLD_DONE) X(to_moved, END, s->kind = MR_FOLD_MOVED) \
    X(to_duplicate, END, s->kind = s->kind == MR_FOLD_DUPLICATE ? MR_FOLD_DONE : MR_FOLD_DUPLICATE) X(held_text, END | HAS_RESULT, s->text = MR_STR("other")) \
    X(finish, END, (new_finish[0] = MR_STR("stop"), s->finish = new_finish, s->n_finish = 1)) X(finishes, END, (s->finish = new_finish, s->n_finish = 2)) \
    X(prompt_tokens, END | HAS_RESULT, (s->has_usage = true, s->usage.prompt_tokens++)) X(completion_tokens, END, (s->has_usage = true, s->usage.completion_tokens++)) \
    X(cached, END | HAS_RESULT, (s->has_usage = true, s->usage.cached_tokens++)) X(queue_ms, END | HAS_RESULT, s->timings.queue_ms += 2) \
    X(ttft_ms, END | HAS_RESULT, s->timings.ttft_ms += 2) X(tpot_ms, END | HAS_RESULT, s->timings.tpot_ms += 2) X(reason, END, s->reason = MR_REASON_OVERLOADED) \
    X(message, END, s->message = MR_STR("other")) X(field, END, s->field = MR_STR("other")) X(first_offset, END, s->first.offset++) \
    X(first_partition, END, s->first.partition++) X(first_topic, END, s->first.topic = MR_STR("other")) X(to, END, s->to_topic = MR_STR("other"))

struct field {
    const char *name;
    int where;
    void (*change)(struct mr_stream_record *s);
};
#define X(name, where, change) static void change_##name(struct mr_stream_record *s) { (void)s, (void)(change); }
FIELDS(X)
#undef X
#define X(name, where, change) {#name, where, change_##name},
static const struct field fields[] = {FIELDS(X)};
#undef X
enum { N_FIELDS = sizeof fields / sizeof *fields };

/* Whether the record's run has a result; in_force: one that holds what the START at i says (an error object does not name the model). */
static bool has_result(size_t i, bool in_force)
{
    struct mr_str src = mr_record_header(&r.records[i], "mr-src");
    for (size_t k = i + 1; k < r.n; k++) {
        const struct mr_record *other = &r.records[k];
        if (!mr_str_equal(other->key, r.records[i].key) || !mr_str_equal(mr_record_header(other, "mr-src"), src))
            continue;
        if (in_force && is_stream(other) && (kind_is(other, "start") || kind_is(other, "failed")))
            return false;
        if (strstr(other->topic.p, ".results"))
            return true;
    }
    return false;
}

/* Whether fold, result, dead letter or input record fix the field in this record. */
static bool is_fixed(size_t i, const struct mr_stream_record *was, const struct field *f)
{
    bool start = was->kind == MR_FOLD_START, tok = was->kind == MR_FOLD_TOK, end = mr_fold_is_terminal(was->kind);
    bool ids_shown = mr_str_is(was->job, "default/li");
    if (i == zombie)
        return false;
    if (f->where & SCORED)
        return (was->logprobs || (was->prompt_logprobs && !(f->where & TOK))) && (!(f->where & BY_BYTES) || !ids_shown) && (!(f->where & BY_IDS) || ids_shown);
    if (((f->where & HAS_RESULT) && !has_result(i, false)) || ((f->where & IN_FORCE) && !has_result(i, true)))
        return false;
    return (f->where & ANY) || (start && (f->where & START)) || (tok && (f->where & TOK)) || (end && (f->where & END));
}

/* The record at i with one field changed, in value and headers alike, so that only the content can tell. false: it has no such field, or
 * encoded it is the same. */
static bool alter(size_t i, const struct field *f, struct mr_stream_record *was)
{
    struct mr_record *record = &r.records[i];
    struct mr_stream_record changed;
    struct mr_buf value = {0};
    mr_arena_fini(&altered_arena);
    CHECK(mr_stream_record_decode(record, &altered_arena, was, NULL) == MR_OK);
    if ((f->where & SCORED) && !was->logprobs && !was->prompt_logprobs)
        return false;
    changed = *was;
    own_arrays(&changed);
    f->change(&changed);
    CHECK(mr_stream_record_encode(&changed, MR_ENCODING_JSON, &value));
    if (mr_str_equal(mr_buf_view(&value), record->value)) {
        mr_buf_fini(&value);
        return false;
    }
    record->value = recorded_str(&r, &value);
    record->key = changed.job;
    recorded_headers(&r, record, &changed);
    return true;
}

TEST(an_altered_field_is_reported)
{
    int tried[N_FIELDS] = {0}, altered = 0;
    record_all();
    find_zombie();
    for (size_t i = 0; i < r.n; i++) {
        for (size_t f = 0; f < N_FIELDS && is_stream(&r.records[i]); f++) {
            struct mr_record original = r.records[i];
            struct mr_stream_record was;
            if (alter(i, &fields[f], &was) && is_fixed(i, &was, &fields[f])) {
                struct mr_judge_report report = verdict(false);
                if (wrongs(&report) == 0)
                    show_record(i, fields[f].name);
                EXPECT(wrongs(&report) > 0);
                tried[f]++;
                altered++;
            }
            r.records[i] = original;
        }
    }
    for (size_t f = 0; f < N_FIELDS; f++) {
        if (!tried[f])
            printf("%s was never altered\n", fields[f].name);
        EXPECT(tried[f] > 0);
    }
    printf("%d alterations, each reported\n", altered);
    EXPECT(altered > 900);
    mr_arena_fini(&r.arena);
}

/* Whether the byte at is one of the prompt's ids of a text job: only its tokenizer could make them again. */
static bool in_prompt_ids(struct mr_str value, size_t at)
{
    const char *ids = memmem(value.p, value.n, "prompt_token_ids", 16), *end = ids ? memchr(ids, ']', value.n - (size_t)(ids - value.p)) : NULL;
    return end && value.p + at > ids && value.p + at < end;
}

/* A byte of an input record, a result or a dead letter; a header of a dead letter. */
TEST(altered_inputs_and_outcomes_are_reported)
{
    record_all();
    for (size_t i = 0; i < r.n; i++) {
        struct mr_record *record = &r.records[i], original = *record;
        if (is_stream(record))
            continue;
        for (size_t at = 0; at < original.value.n; at += 19) {
            char *copy = mr_arena_alloc(&r.arena, original.value.n);
            memcpy(copy, original.value.p, original.value.n);
            copy[at] ^= 1;
            record->value.p = copy;
            struct mr_judge_report report = verdict(false);
            bool unchecked = in_prompt_ids(original.value, at);
            if (wrongs(&report) == 0 && !unchecked)
                show_record(i, "a byte"), printf("  at %zu of %.*s\n", at, (int)original.value.n, copy);
            EXPECT(wrongs(&report) > 0 || unchecked);
            *record = original;
        }
        for (int32_t h = 0; h < 3 && mr_record_header(record, "mr-dead-reason").p; h++) {
            struct mr_header list[6];
            memcpy(list, original.headers, sizeof list);
            list[h].value = MR_STR("other");
            record->headers = list;
            struct mr_judge_report report = verdict(false);
            EXPECT_EQ(report.violations, 1);
            *record = original;
        }
    }
    mr_arena_fini(&r.arena);
}

TEST(keys_and_headers_are_held_against_values)
{
    record_all();
    for (size_t i = 0; i < r.n; i++) {
        struct mr_header list[16];
        struct mr_record *record = &r.records[i], original = *record;
        if (!is_stream(record))
            continue;
        for (int32_t h = 0; h < original.n_headers; h++) {
            memcpy(list, original.headers, sizeof *list * (size_t)original.n_headers);
            if (mr_str_is(list[h].key, "content-type"))
                continue;
            list[h].value = MR_STR("9");
            record->headers = list;
            struct mr_judge_report report = verdict(false);
            EXPECT_EQ(report.violations, 1);
        }
        *record = original;
        record->key = MR_STR("default/q");
        struct mr_judge_report report = verdict(false);
        EXPECT_EQ(report.violations, 1);
        *record = original;
    }
    mr_arena_fini(&r.arena);
}

/* A job that ran twice to its end, a run that nobody asked for, and one that still runs. */
TEST(repeats_and_strangers)
{
    record_all();
    recorded_job(&r, &(struct recorded_plan){.route = 0, .partition = 2, .offset = 9, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 4, .end = MR_FOLD_DONE});
    struct mr_judge_report report = verdict(false);
    EXPECT_EQ(report.duplicates, 1);
    EXPECT_EQ(report.violations + report.lost, 0);
    size_t n = r.n;
    recorded_job(&r, &(struct recorded_plan){.route = 0, .partition = 0, .offset = 30, .body = "{\"id\":\"z\",\"prompt\":\"one\"}", .n_tokens = 1, .end = MR_FOLD_DONE});
    r.records[n].offset = 31; /* the input record is another one */
    report = verdict(false);
    EXPECT_EQ(report.violations, 1);
    EXPECT_EQ(report.lost, 1);
    r.records[n].offset = 30;
    recorded_job(&r, &(struct recorded_plan){.route = 0, .partition = 0, .offset = 32, .body = "{\"id\":\"w\",\"prompt\":\"one\"}", .n_tokens = 1});
    report = verdict(false);
    EXPECT_EQ(report.lost, 1);
    EXPECT_EQ(report.violations, 0);
    mr_arena_fini(&r.arena);
}

/* A START that was appended a moment after one that its writer had not seen yet; the same an hour later would be another thing. */
TEST(a_race_of_two_starts_is_none)
{
    for (int late = 0; late < 2; late++) {
        struct mr_arena arena = {0};
        struct mr_stream_record other;
        r = (struct recorded){.options = &options, .clock_ms = 1000, .tick_ms = late ? MR_JUDGE_UNSEEN_MS + 1 : MR_JUDGE_UNSEEN_MS};
        recorded_job(&r, &(struct recorded_plan){.route = 0, .partition = 0, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 1});
        REQUIRE(r.n == 3 && kind_is(&r.records[1], "start"));
        struct mr_record tok = r.records[2], start = r.records[1];
        CHECK(mr_stream_record_decode(&start, &arena, &other, NULL) == MR_OK);
        other.epoch = 1;
        other.writer = 77;
        other.process = 99;
        r.n = 1;
        r.clock_ms = start.timestamp_ms - r.tick_ms;
        recorded_stream(&r, start.topic.p, 0, &other); /* the first of two owners that both saw no START */
        r.records[r.n++] = start;
        r.records[r.n++] = tok;
        renumber(r.records, r.n);
        struct mr_judge_report report = verdict(!late);
        EXPECT_EQ(report.starts, 2);
        EXPECT_EQ(report.violations, late);
        EXPECT_EQ(report.lost, 1); /* it still runs */
        mr_arena_fini(&arena);
        mr_arena_fini(&r.arena);
    }
}

/* Seven days after its end a run's result may be gone; a moment before, it must be there. */
TEST(results_are_missed_as_long_as_they_are_kept)
{
    const int64_t days = MR_JUDGE_RESULT_DAYS * INT64_C(86400000);
    r = (struct recorded){.options = &options, .clock_ms = 1000, .tick_ms = TICK_MS};
    recorded_job(&r, &plans[0]);
    size_t result = r.n - 1; /* the last record; before it the terminal */
    EXPECT(strstr(r.records[result].topic.p, ".results") != NULL);
    for (int late = 0; late < 2; late++) {
        struct mr_judge *judge = mr_judge_open(&options);
        mr_judge_now(judge, r.records[result - 1].timestamp_ms + days + late);
        for (size_t i = 0; i < result; i++)
            EXPECT(mr_judge_add(judge, &r.records[i]));
        const struct mr_judge_report *report = mr_judge_finish(judge);
        EXPECT_EQ(report->lost, !late);
        EXPECT_EQ(report->violations + report->duplicates, 0);
        mr_judge_close(judge);
    }
    mr_arena_fini(&r.arena);
}

/* With the deaths told, a recovery begins there, and ends with the next owner's START; without a death there is none. Another's death
 * before that START, and a broker that comes back, begin it anew; a START before its return is noticed took no time. */
TEST(recovery_is_counted_from_deaths)
{
    static const struct {
        struct {
            const char *worker;
            int64_t ms;
        } deaths[3];
        int recoveries, recovery_ms, token_ms;
    } cases[] = {
        {{{"w1", 3300}}, 1, 700, 6700},                                                       /* the next START comes at 4000, its token at 10000 */
        {{{"w2", 3300}}, 0, -1, -1},                                                          /* not the owner */
        {{{"w1", 4001}}, 0, -1, -1},                                                          /* not dead yet */
        {{{"w1", 3000}, {"w9", 3600}}, 1, 400, 6400},                                         /* a second one died in between */
        {{{"w1", 3000}, {"w9", 4000}}, 1, 1000, 7000},                                        /* with it: too late */
        {{{"w1", 3000}, {MR_JUDGE_BROKER_BACK, 3800}}, 1, 200, 6200},
        {{{"w1", 3000}, {MR_JUDGE_BROKER_BACK, 4001}}, 1, 1000, 7000},                        /* of whose going nobody told */
        {{{"w1", 3000}, {MR_JUDGE_BROKER_AWAY, 3100}, {MR_JUDGE_BROKER_BACK, 4001}}, 1, 0, 6000},
        {{{"w1", 3000}, {MR_JUDGE_BROKER_AWAY, 4000}, {MR_JUDGE_BROKER_BACK, 9000}}, 1, 1000, 7000}, /* it went afterwards */
    };
    record_all();
    r.n = 0;
    r.clock_ms = 500;
    recorded_job(&r, &plans[1]); /* at 500 the record, then START, two tokens (the last at 3 ticks), START, zombie, token (at 6) */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mr_judge *judge = mr_judge_open(&options);
        for (size_t k = 0; k < 3 && cases[i].deaths[k].worker; k++)
            EXPECT(mr_judge_death(judge, mr_str_from(cases[i].deaths[k].worker), cases[i].deaths[k].ms + DEATHS_FROM_MS));
        for (size_t k = 0; k < r.n; k++)
            EXPECT(mr_judge_add(judge, &r.records[k]));
        const struct mr_judge_report *report = mr_judge_finish(judge);
        EXPECT_EQ(report->recoveries, cases[i].recoveries);
        EXPECT_EQ((int)report->recovery_ms_p50, cases[i].recovery_ms);
        EXPECT_EQ((int)report->first_token_ms_p50, cases[i].token_ms);
        mr_judge_close(judge);
    }
    mr_arena_fini(&r.arena);
}

/* What anybody could have written into a stream partition: told as no record at all, or as one that does not count; nothing else of the
 * verdict changes, and no writer of another run becomes its owner. */
TEST(hostile_records_change_nothing)
{
    record_all();
    size_t n = r.n;
    for (size_t i = 0; i < HOSTILE_COUNT; i++) {
        struct mr_record *record = recorded_add(&r, options.routes[0].stream, 0, recorded_end_of(&r, options.routes[0].stream, 0), MR_STR("default/a"),
                                                mr_str_from(hostile_values[i].json));
        (void)record;
        struct mr_judge_report report = verdict(false);
        if (report.violations == 0)
            printf("%s\n", hostile_values[i].json);
        EXPECT(report.violations > 0);
        EXPECT_EQ(report.lost + report.duplicates, 0);
        EXPECT_EQ(report.outcome[MR_FOLD_DONE], DONE);
        r.n = n;
    }
    for (size_t i = 0; i < HOSTILE_BYTES_COUNT; i++) {
        recorded_add(&r, options.routes[0].stream, 0, recorded_end_of(&r, options.routes[0].stream, 0), (struct mr_str){0}, hostile_bytes[i]);
        struct mr_judge_report report = verdict(false);
        EXPECT(report.violations > 0);
        EXPECT_EQ(report.lost + report.duplicates, 0);
        r.n = n;
    }
    mr_arena_fini(&r.arena);
}

/* Another process with the epoch and writer of the owner in force: its START does not count, and is told. */
TEST(a_shared_writer_is_told)
{
    record_all();
    for (size_t i = 0; i < r.n; i++) {
        struct mr_arena arena = {0};
        struct mr_stream_record start;
        size_t n = r.n;
        if (!kind_is(&r.records[i], "start"))
            continue;
        CHECK(mr_stream_record_decode(&r.records[i], &arena, &start, NULL) == MR_OK);
        start.process ^= 4;
        recorded_stream(&r, r.records[i].topic.p, r.records[i].partition, &start);
        struct mr_judge_report report = verdict(false);
        EXPECT_EQ(report.violations, 1);
        EXPECT_EQ(report.ignored[MR_FOLD_START], 1);
        r.n = n;
        mr_arena_fini(&arena);
    }
    mr_arena_fini(&r.arena);
}

/* Complaints repeat what records say of themselves: printable, whatever that is. */
TEST(complaints_are_printable)
{
    record_all();
    recorded_add(&r, options.routes[0].stream, 0, recorded_end_of(&r, options.routes[0].stream, 0), MR_STR("\x1b[2J"),
                 MR_STR("{\"v\":1,\"kind\":\"yield\",\"job\":\"\\u001b[2J\xc3\xa9\",\"src\":\"900.1\",\"epoch\":1,\"writer\":\"0000000000000001\"}"));
    struct mr_judge *judge = mr_judge_open(&options);
    for (size_t i = 0; i < r.n; i++)
        EXPECT(mr_judge_add(judge, &r.records[i]));
    const struct mr_judge_report *report = mr_judge_finish(judge);
    EXPECT(report->n_complaints > 0);
    for (int64_t i = 0; i < report->n_complaints; i++)
        for (const char *p = report->complaints[i]; *p; p++)
            EXPECT(*p >= 0x20 && *p < 0x7f);
    mr_judge_close(judge);
    mr_arena_fini(&r.arena);
}

static void count_jobs(void *self, const struct mr_judge_job *job)
{
    int *counts = self;
    counts[0]++;
    counts[1] += strcmp(job->state, "done") == 0;
    counts[2] += job->starts == 2 && job->tokens > 0;
    counts[3] += job->violations + job->lost + job->duplicates > 0;
}

TEST(every_job_is_told)
{
    int counts[4] = {0};
    record_all();
    struct mr_judge *judge = mr_judge_open(&options);
    for (size_t i = 0; i + 1 < r.n; i++) /* the last result is missing */
        EXPECT(mr_judge_add(judge, &r.records[i]));
    EXPECT(mr_judge_finish(judge) != NULL);
    mr_judge_each(judge, count_jobs, counts);
    EXPECT_EQ(counts[0], N_PLANS + COPIES);
    EXPECT_EQ(counts[1], DONE);
    EXPECT_EQ(counts[2], 2);
    EXPECT_EQ(counts[3], 1);
    mr_judge_close(judge);
    mr_arena_fini(&r.arena);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        TEST_CASE(all_is_well), TEST_CASE(a_dropped_record_is_reported), TEST_CASE(reordered_records_are_reported), TEST_CASE(an_altered_field_is_reported),
        TEST_CASE(altered_inputs_and_outcomes_are_reported), TEST_CASE(keys_and_headers_are_held_against_values), TEST_CASE(repeats_and_strangers),
        TEST_CASE(a_race_of_two_starts_is_none), TEST_CASE(results_are_missed_as_long_as_they_are_kept), TEST_CASE(recovery_is_counted_from_deaths), TEST_CASE(hostile_records_change_nothing),
        TEST_CASE(a_shared_writer_is_told), TEST_CASE(complaints_are_printable), TEST_CASE(every_job_is_told)};
    struct mr_err err;
    if (mr_options_open(&options, NULL, NULL, 0, &err) != MR_OK)
        return 1;
    int code = test_run(cases, sizeof cases / sizeof *cases, argc, argv);
    mr_arena_fini(&altered_arena);
    mr_options_fini(&options);
    return code;
}
