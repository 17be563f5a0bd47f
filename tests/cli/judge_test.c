/* The judge over a recorded run: silent when all is well, and never silent when any record that counts is dropped, moved or
 * altered in a field that fold, result or input record fix. */
#include "tests/test.h"

#include "tests/cli/recorded.h"
#include "worker/cli/judge.h"
#include "worker/encoding.h"

static const struct recorded_plan plans[] = {
    {.route = 0, .partition = 0, .offset = 0, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 4, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 0, .offset = 1, .body = "{\"id\":\"b\",\"prompt\":\"two\"}", .n_tokens = 5, .takeover_after = 2, .zombie = true, .end = MR_FOLD_DONE},
    {.route = 1, .partition = 3, .offset = 7, .body = "{\"id\":\"c\",\"tenant\":\"acme\",\"prompt\":\"three\"}", .n_tokens = 2, .end = MR_FOLD_CANCELLED},
    {.route = 1, .partition = 3, .offset = 8, .body = "{\"prompt\":7}", .end = MR_FOLD_FAILED, .reason = MR_REASON_WRONG_TYPE},
    {.route = 0, .partition = 0, .offset = 2, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .end = MR_FOLD_DUPLICATE},
    {.route = 2, .partition = 1, .offset = 4, .body = "{\"custom_id\":\"x\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"four\"}}",
     .batch = "b1", .n_tokens = 3, .end = MR_FOLD_EXPIRED},
};
enum { N_PLANS = sizeof plans / sizeof *plans };

static struct mr_options options;

static void record_all(struct recorded *r)
{
    *r = (struct recorded){.options = &options, .clock_ms = 1000, .tick_ms = 7};
    mr_arena_init(&r->arena, 0);
    for (int i = 0; i < N_PLANS; i++)
        recorded_job(r, &plans[i]);
}

/* The verdict over the records, one of them left out (-1: none). */
static struct mr_judge_report verdict(const struct recorded *r, int without)
{
    struct mr_judge *judge = mr_judge_open(&options);
    for (size_t i = 0; i < r->n; i++)
        if ((int)i != without)
            CHECK(mr_judge_add(judge, &r->records[i]));
    const struct mr_judge_report *report = mr_judge_finish(judge);
    CHECK(report);
    struct mr_judge_report copy = *report;
    for (int64_t i = 0; i < report->n_complaints && without == -2; i++)
        printf("%s\n", report->complaints[i]);
    mr_judge_close(judge);
    return copy;
}

static int64_t wrongs(const struct mr_judge_report *report) { return report->violations + report->lost + report->duplicates; }

static bool is_stream(const struct mr_record *record) { return strstr(record->topic.p, ".stream.") != NULL; }

/* The zombie's record, which does not count: without it nothing is ignored. */
static size_t zombie_of(const struct recorded *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct mr_judge_report report = verdict(r, (int)i);
        if (report.ignored[MR_FOLD_TOK] == 0 && wrongs(&report) == 0)
            return i;
    }
    return r->n;
}

/* What lies before the first input record of a partition may have been taken by retention: its run needs none. */
static bool is_first_input(const struct recorded *r, size_t at)
{
    if (!strstr(r->records[at].topic.p, ".jobs."))
        return false;
    for (size_t i = 0; i < r->n; i++)
        if (mr_str_equal(r->records[i].topic, r->records[at].topic) && r->records[i].partition == r->records[at].partition &&
            r->records[i].offset < r->records[at].offset)
            return false;
    return true;
}

TEST(all_is_well)
{
    static struct recorded r;
    record_all(&r);
    struct mr_judge_report report = verdict(&r, -2);
    EXPECT_EQ(wrongs(&report), 0);
    EXPECT_EQ(report.jobs, N_PLANS);
    EXPECT_EQ(report.outcome[MR_FOLD_DONE], 2);
    EXPECT_EQ(report.outcome[MR_FOLD_FAILED], 1);
    EXPECT_EQ(report.outcome[MR_FOLD_CANCELLED], 1);
    EXPECT_EQ(report.outcome[MR_FOLD_EXPIRED], 1);
    EXPECT_EQ(report.outcome[MR_FOLD_DUPLICATE], 1);
    EXPECT_EQ(report.starts, N_PLANS + 1);
    EXPECT_EQ(report.takeovers, 1);
    EXPECT_EQ(report.tokens, 14);
    EXPECT_EQ(report.ignored[MR_FOLD_TOK], 1);
    EXPECT_EQ(report.tokens_twice, 1);
    EXPECT_EQ((int)report.recovery_ms_p50, 3 * 7); /* last token, START, the zombie's token, the next one's own */
    EXPECT_EQ(report.n_complaints, 0);
    mr_arena_fini(&r.arena);
}

TEST(a_dropped_record_is_reported)
{
    static struct recorded r;
    record_all(&r);
    size_t zombie = zombie_of(&r);
    EXPECT(zombie < r.n);
    for (size_t i = 0; i < r.n; i++) {
        struct mr_judge_report report = verdict(&r, (int)i);
        if (i == zombie || is_first_input(&r, i))
            continue;
        if (wrongs(&report) == 0)
            printf("record %zu of %.*s\n", i, (int)r.records[i].topic.n, r.records[i].topic.p);
        EXPECT(wrongs(&report) > 0);
    }
    mr_arena_fini(&r.arena);
}

/* Neighbours in one stream partition change places. */
TEST(reordered_records_are_reported)
{
    static struct recorded r;
    int swapped = 0;
    record_all(&r);
    size_t zombie = zombie_of(&r);
    for (size_t i = 0; i + 1 < r.n; i++) {
        struct mr_record *a = &r.records[i], *b = &r.records[i + 1], kept;
        if (!is_stream(a) || !is_stream(b) || !mr_str_equal(a->topic, b->topic))
            continue;
        kept = *a, *a = *b, *b = kept;
        struct mr_judge_report report = verdict(&r, -1);
        bool same_run = mr_str_equal(a->key, b->key), behind = i == zombie || i + 1 == zombie; /* one of the two same tokens counts, whichever */
        if (wrongs(&report) == 0 && same_run && !behind)
            printf("records %zu and %zu\n", i, i + 1);
        EXPECT(wrongs(&report) > 0 || !same_run || behind);
        swapped += wrongs(&report) > 0;
        kept = *a, *a = *b, *b = kept;
    }
    EXPECT(swapped >= 15);
    mr_arena_fini(&r.arena);
}

enum { N_CHANGES = 21 };

/* Whether the START at i is the one that a result speaks of. */
static bool in_force(const struct recorded *r, size_t i)
{
    struct mr_str src = mr_record_header(&r->records[i], "mr-src");
    bool result = false;
    for (size_t k = i + 1; k < r->n; k++) {
        const struct mr_record *other = &r->records[k];
        if (!mr_str_equal(other->key, r->records[i].key) || !mr_str_equal(mr_record_header(other, "mr-src"), src))
            continue;
        if (is_stream(other) && mr_str_is(mr_record_header(other, "mr-kind"), "start"))
            return false;
        result |= strstr(other->topic.p, ".results") != NULL;
    }
    return result;
}

/* Alters one field; false: this kind of record has it not. */
static bool change(struct mr_stream_record *s, int what, int32_t *ids, struct mr_str *finish)
{
    const struct mr_stream_record was = *s;
    bool start = s->kind == MR_FOLD_START, tok = s->kind == MR_FOLD_TOK, end = mr_fold_is_terminal(s->kind);
    switch (what) {
    case 0: return s->epoch++, true;
    case 1: return s->writer ^= 1, true;
    case 2: return s->src.offset += 1000, true;
    case 3: return s->src.timestamp_ms++, true;
    case 4: return s->attempt++, start;
    case 5: return s->body_hash = MR_STR("00000000000000000000000000000000000000000000000000000000000000cc"), start;
    case 6: return s->model_digest = MR_STR("00000000000000000000000000000000000000000000000000000000000000cc"), start;
    case 7: return s->seed ^= 1, start;
    case 8: return s->seq++, tok;
    case 9: return s->choice++, tok;
    case 10: return s->ctx ^= 1, tok || end;
    case 11: return ids[0]++, s->ids = ids, tok;
    case 12: return s->text = MR_STR("other"), tok || (end && was.text.n);
    case 13: return s->n++, end;
    case 14: return *finish = MR_STR("stop"), s->finish = finish, end && s->n_finish > 0;
    case 15: return s->usage.completion_tokens++, end && s->has_usage;
    case 16: return s->usage.cached_tokens++, end && s->has_usage;
    case 17: return s->timings.ttft_ms++, end && was.timings.ttft_ms > 0;
    case 18: return s->reason = MR_REASON_INTERNAL, end && was.reason != MR_REASON_NONE;
    case 19: return s->tokenizer_digest = MR_STR("00000000000000000000000000000000000000000000000000000000000000cc"), start;
    default: return s->message = MR_STR("other"), s->kind == MR_FOLD_FAILED; /* an expired run's message is in no result */
    }
}

/* One field of one record, in value and headers alike, so that only the content can tell. */
TEST(an_altered_field_is_reported)
{
    static struct recorded r;
    int altered = 0, by_kind[N_CHANGES] = {0};
    record_all(&r);
    size_t zombie = zombie_of(&r);
    for (size_t i = 0; i < r.n; i++) {
        for (int what = 0; what < N_CHANGES && is_stream(&r.records[i]); what++) {
            struct mr_arena arena = {0};
            struct mr_record *record = &r.records[i], original = *record;
            struct mr_stream_record stream;
            struct mr_buf value = {0};
            struct mr_str finish;
            int32_t ids[1];
            REQUIRE(mr_stream_record_decode(record, &arena, &stream, NULL) == MR_OK);
            if (stream.n_ids)
                ids[0] = stream.ids[0];
            if (change(&stream, what, ids, &finish)) {
                REQUIRE(mr_stream_record_encode(&stream, MR_ENCODING_JSON, &value));
                record->value = recorded_str(&r, &value);
                recorded_headers(&r, record, &stream);
                struct mr_judge_report report = verdict(&r, -1);
                bool held = i != zombie && !(what == 7 && !in_force(&r, i));
                if (held && wrongs(&report) == 0)
                    printf("record %zu, change %d\n", i, what);
                if (held)
                    EXPECT(wrongs(&report) > 0);
                altered += wrongs(&report) > 0;
                by_kind[what] += wrongs(&report) > 0;
                *record = original;
            }
            mr_arena_fini(&arena);
        }
    }
    for (int what = 0; what < N_CHANGES; what++)
        if (by_kind[what] == 0)
            printf("change %d was never reported\n", what);
    for (int what = 0; what < N_CHANGES; what++)
        EXPECT(by_kind[what] > 0);
    EXPECT(altered > 150);
    mr_arena_fini(&r.arena);
}

TEST(headers_are_held_against_values)
{
    static struct recorded r;
    record_all(&r);
    for (size_t i = 0; i < r.n; i++) {
        struct mr_header list[16];
        const struct mr_header *original = r.records[i].headers;
        if (!is_stream(&r.records[i]))
            continue;
        for (int32_t h = 0; h < r.records[i].n_headers; h++) {
            memcpy(list, original, sizeof *list * (size_t)r.records[i].n_headers);
            if (mr_str_is(list[h].key, "content-type"))
                continue;
            list[h].value = MR_STR("9");
            r.records[i].headers = list;
            struct mr_judge_report report = verdict(&r, -1);
            EXPECT(report.violations == 1);
        }
        r.records[i].headers = original;
    }
    mr_arena_fini(&r.arena);
}

/* A job that ran twice to its end, and a run that nobody asked for. */
TEST(repeats_and_strangers)
{
    static struct recorded r;
    record_all(&r);
    recorded_job(&r, &(struct recorded_plan){.route = 0, .partition = 2, .offset = 9, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 4, .end = MR_FOLD_DONE});
    struct mr_judge_report report = verdict(&r, -1);
    EXPECT_EQ(report.duplicates, 1);
    EXPECT_EQ(report.violations + report.lost, 0);
    size_t n = r.n;
    recorded_job(&r, &(struct recorded_plan){.route = 0, .partition = 0, .offset = 30, .body = "{\"id\":\"z\",\"prompt\":\"one\"}", .n_tokens = 1, .end = MR_FOLD_DONE});
    report = verdict(&r, (int)n);
    EXPECT_EQ(report.violations, 1);
    n = r.n;
    recorded_job(&r, &(struct recorded_plan){.route = 0, .partition = 0, .offset = 31, .body = "{\"id\":\"y\",\"prompt\":\"one\"}", .n_tokens = 1});
    report = verdict(&r, -1);
    EXPECT_EQ(report.lost, 1);
    mr_arena_fini(&r.arena);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {TEST_CASE(all_is_well), TEST_CASE(a_dropped_record_is_reported), TEST_CASE(reordered_records_are_reported),
                                             TEST_CASE(an_altered_field_is_reported), TEST_CASE(headers_are_held_against_values),
                                             TEST_CASE(repeats_and_strangers)};
    struct mr_err err;
    if (mr_options_open(&options, NULL, NULL, 0, &err) != MR_OK)
        return 1;
    int code = test_run(cases, sizeof cases / sizeof *cases, argc, argv);
    mr_options_fini(&options);
    return code;
}
