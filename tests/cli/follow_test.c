/* The reader of streams that the client verbs share: it sees what the fold accepts, whoever else writes into the partition. */
#include "tests/test.h"

#include "tests/cli/hostile.h"
#include "tests/cli/recorded.h"
#include "worker/cli/follow.h"

static struct mr_options options;
static struct recorded r;

static const struct recorded_plan plans[] = {
    {.route = 0, .partition = 0, .offset = 0, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 4, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 0, .offset = 1, .body = "{\"id\":\"b\",\"prompt\":\"two\"}", .n_tokens = 5, .takeover_after = 2, .zombie = true, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 0, .offset = 2, .body = "{\"id\":\"c\",\"prompt\":\"two\"}", .n_tokens = 1},
};

static void record_all(void)
{
    r = (struct recorded){.options = &options, .clock_ms = 1000, .tick_ms = 5};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        recorded_job(&r, &plans[i]);
}

static bool is_stream(const struct mr_record *record) { return strstr(record->topic.p, ".stream.") != NULL; }

/* Feeds every stream record; before each of them, what intrude appends. */
static void feed(struct mr_follow *follow, const struct mr_record *intruder)
{
    for (size_t i = 0; i < r.n; i++) {
        struct mr_follow_run *run = NULL;
        struct mr_stream_record out;
        if (!is_stream(&r.records[i]))
            continue;
        if (intruder)
            EXPECT(mr_follow_add(follow, intruder, &run, &out) != MR_FOLLOW_ACCEPTED);
        mr_follow_add(follow, &r.records[i], &run, &out);
    }
}

static const struct mr_follow_run *run_at(const struct mr_follow *follow, int64_t offset)
{
    return mr_follow_find(follow, mr_str_from(options.routes[0].stream), 0, (struct mr_src){offset, -1});
}

static void expect_whole(const struct mr_follow *follow)
{
    static const char *const texts[] = {" t0 t1 t2 t3 end", " t0 t1 t2 t3 t4 end", " t0"};
    for (int i = 0; i < 3; i++) {
        const struct mr_follow_run *run = run_at(follow, i);
        REQUIRE(run != NULL);
        EXPECT(mr_str_is(mr_buf_view(&run->text), texts[i]));
        EXPECT_STR(mr_follow_state(run), i < 2 ? "done" : "running");
    }
    EXPECT_EQ(run_at(follow, 0)->fold.seq, 4);
    EXPECT_EQ(run_at(follow, 1)->attempt, 2);
    EXPECT_EQ(run_at(follow, 1)->usage.completion_tokens, 5);
    EXPECT(!follow->out_of_memory);
}

TEST(runs_are_seen_through_the_fold)
{
    struct mr_follow follow;
    record_all();
    mr_follow_init(&follow, NULL, NULL);
    feed(&follow, NULL);
    EXPECT_EQ(follow.n, 3);
    EXPECT_EQ(run_at(&follow, 1)->fold.ignored[MR_FOLD_TOK], 1);
    expect_whole(&follow);
    EXPECT(mr_follow_find(&follow, MR_STR("other"), 0, (struct mr_src){0, -1}) == NULL);
    EXPECT(mr_follow_find(&follow, mr_str_from(options.routes[0].stream), 0, (struct mr_src){0, 1}) == NULL);
    mr_follow_fini(&follow);
    mr_arena_fini(&r.arena);
}

/* A hostile writer's record before every record of the honest ones: nothing that is read of a job's stream changes. A START with an epoch
 * above the owner's would (the broker's access lists keep such a writer out); none of these is one. */
TEST(hostile_records_change_nothing)
{
    struct mr_record intruder = {.topic = mr_str_from(options.routes[0].stream)};
    record_all();
    for (size_t i = 0; i < HOSTILE_COUNT + HOSTILE_BYTES_COUNT; i++) {
        struct mr_follow follow;
        intruder.value = i < HOSTILE_COUNT ? mr_str_from(hostile_values[i].json) : hostile_bytes[i - HOSTILE_COUNT];
        if (strstr(intruder.value.p ? intruder.value.p : "", "acme/a") && strstr(intruder.value.p, "start"))
            continue; /* first of all records, it would name the run: below */
        mr_follow_init(&follow, NULL, NULL);
        struct mr_follow_run *run = NULL;
        struct mr_stream_record out;
        for (size_t k = 0; k < r.n; k++) {
            if (!is_stream(&r.records[k]))
                continue;
            mr_follow_add(&follow, &r.records[k], &run, &out);
            EXPECT(mr_follow_add(&follow, &intruder, &run, &out) != MR_FOLLOW_ACCEPTED || mr_str_equal(run->name, MR_STR("")) || run->src.offset != 0);
        }
        expect_whole(&follow);
        mr_follow_fini(&follow);
    }
    mr_arena_fini(&r.arena);
}

/* Another tenant's name on a run that is known: counted as foreign, and its reader never sees it. */
TEST(another_tenants_name_is_foreign)
{
    struct mr_follow follow;
    struct mr_record intruder = {.topic = mr_str_from(options.routes[0].stream), .value = mr_str_from(hostile_values[0].json)};
    struct mr_follow_run *run = NULL;
    struct mr_stream_record out;
    record_all();
    mr_follow_init(&follow, NULL, NULL);
    feed(&follow, NULL);
    EXPECT_EQ(mr_follow_add(&follow, &intruder, &run, &out), MR_FOLLOW_OTHER);
    EXPECT_EQ(follow.foreign, 1);
    expect_whole(&follow);
    mr_follow_fini(&follow);
    mr_arena_fini(&r.arena);
}

/* A second process that drew the owner's epoch and writer: its records must continue the accepted prefix, or count for nothing. */
TEST(a_shared_writer_cannot_change_what_was_accepted)
{
    struct mr_follow follow;
    struct mr_follow_run *run = NULL;
    struct mr_stream_record out, tok;
    struct mr_arena arena = {0};
    record_all();
    mr_follow_init(&follow, NULL, NULL);
    for (size_t i = 0; i < r.n; i++) {
        if (!is_stream(&r.records[i]))
            continue;
        EXPECT(mr_stream_record_decode(&r.records[i], &arena, &tok, NULL) == MR_OK);
        if (tok.kind == MR_FOLD_TOK && tok.src.offset == 0) {
            int32_t other = tok.ids[0] + 1;
            tok.ids = &other; /* another token in the owner's place, with the owner's ctx */
            struct mr_buf value = {0};
            EXPECT(mr_stream_record_encode(&tok, MR_ENCODING_JSON, &value));
            struct mr_record forged = r.records[i];
            forged.value = mr_buf_view(&value);
            EXPECT_EQ(mr_follow_add(&follow, &forged, &run, &out), MR_FOLLOW_IGNORED);
            mr_buf_fini(&value);
        }
        mr_follow_add(&follow, &r.records[i], &run, &out);
    }
    expect_whole(&follow);
    mr_follow_fini(&follow);
    mr_arena_fini(&arena);
    mr_arena_fini(&r.arena);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {TEST_CASE(runs_are_seen_through_the_fold), TEST_CASE(hostile_records_change_nothing),
                                             TEST_CASE(another_tenants_name_is_foreign), TEST_CASE(a_shared_writer_cannot_change_what_was_accepted)};
    struct mr_err err;
    if (mr_options_open(&options, NULL, NULL, 0, &err) != MR_OK)
        return 1;
    int code = test_run(cases, sizeof cases / sizeof *cases, argc, argv);
    mr_options_fini(&options);
    return code;
}
