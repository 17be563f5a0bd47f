#include "tests/test.h"

#include "worker/run.h"

static struct mr_run *opened(void)
{
    struct mr_run *run = mr_run_open(NULL, (struct mr_src){5, 1000});
    EXPECT(mr_run_name(run, MR_STR("acme/a")));
    return run;
}

static struct mr_stream_record record(enum mr_fold_kind kind, int64_t epoch)
{
    return (struct mr_stream_record){.kind = kind, .job = MR_STR("acme/a"), .src = {5, 1000}, .epoch = epoch, .writer = (uint64_t)epoch * 7,
        .cause = MR_CAUSE_TAKEOVER};
}

static bool start(struct mr_run *run, int64_t epoch, uint64_t process, bool alone)
{
    struct mr_stream_record r = record(MR_FOLD_START, epoch);
    r.cause = run->fold.starts ? run->last_process == process ? MR_CAUSE_REBALANCE : MR_CAUSE_TAKEOVER : MR_CAUSE_NEW;
    r.process = process;
    r.alone = alone;
    return mr_run_follow(run, &r, epoch, MR_STR("start"), MR_ENCODING_JSON);
}

static bool tok(struct mr_run *run, int64_t epoch, int32_t id, const char *text)
{
    struct mr_stream_record r = record(MR_FOLD_TOK, epoch);
    r.seq = run->fold.seq;
    r.ids = &id;
    r.n_ids = 1;
    r.text = mr_str_from(text);
    r.ctx = mr_fold_ctx(run->fold.ctx, 0, &id, 1);
    return mr_run_follow(run, &r, 100, MR_STR("tok"), MR_ENCODING_JSON);
}

TEST(the_logs_view)
{
    struct mr_run *run = opened();
    EXPECT(start(run, 10, 1, false) && tok(run, 10, 7, "se") && !tok(run, 9, 8, "x") && tok(run, 10, 8, "ven"));
    EXPECT_EQ(run->first_start, 10);
    EXPECT_EQ(run->fold.seq, 2);
    EXPECT(mr_str_is(mr_buf_view(&run->text), "seven") && run->ids.n == 8);
    EXPECT_EQ(run->takeovers, 1);
    struct mr_stream_record other = record(MR_FOLD_START, 11);
    other.job = MR_STR("acme/b");
    EXPECT(!mr_run_follow(run, &other, 3, MR_STR("x"), MR_ENCODING_JSON) && run->foreign);
    mr_run_close(run);
}

TEST(suspicion_counts_processes_lost_without_progress)
{
    struct mr_run *run = opened();
    EXPECT_EQ(mr_run_cause(run, 9), MR_CAUSE_NEW);
    start(run, 1, 1, false);
    EXPECT_EQ(mr_run_suspicion(run, 9), 1);
    EXPECT_EQ(mr_run_suspicion(run, 1), 0); /* itself, back */
    EXPECT_EQ(mr_run_cause(run, 9), MR_CAUSE_TAKEOVER);
    start(run, 2, 1, false); /* the same process again: a rebalance loses nobody */
    EXPECT_EQ(mr_run_suspicion(run, 9), 1);
    start(run, 3, 2, false);
    EXPECT_EQ(mr_run_suspicion(run, 9), 2);
    tok(run, 3, 5, "");
    EXPECT_EQ(mr_run_suspicion(run, 9), 0);
    EXPECT_EQ(mr_run_cause(run, 9), MR_CAUSE_TAKEOVER);
    struct mr_stream_record yield = record(MR_FOLD_YIELD, 4);
    start(run, 4, 3, false);
    EXPECT_EQ(mr_run_suspicion(run, 9), 1);
    EXPECT(mr_run_follow(run, &yield, 9, MR_STR("y"), MR_ENCODING_JSON));
    EXPECT_EQ(mr_run_suspicion(run, 9), 0);
    mr_run_close(run);
}

TEST(three_lost_alone_are_poison)
{
    struct mr_run *run = opened();
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(mr_run_alone_lost(run, 99), i > 2 ? i - 2 : 0);
        start(run, i + 1, (uint64_t)i + 1, i >= 2);
    }
    EXPECT_EQ(mr_run_alone_lost(run, 99), MR_RUN_POISON_STARTS);
    EXPECT_EQ(mr_run_alone_lost(run, 5), MR_RUN_POISON_STARTS - 1); /* the last one is asking: it is not lost */
    for (int i = 5; i < 20; i++)
        start(run, i + 1, (uint64_t)i + 1, true);
    EXPECT_EQ(run->n_history, MR_RUN_HISTORY_MAX);
    EXPECT_EQ(mr_run_alone_lost(run, 99), MR_RUN_HISTORY_MAX);
    mr_run_close(run);
}

static void chunk(struct mr_run *run, int64_t seq, const int32_t *ids, int32_t n)
{
    struct mr_chunk c = {.seq = seq, .ids = ids, .n_ids = n, .text = MR_STR("t")};
    EXPECT(mr_run_add_chunk(run, &c, 1));
}

TEST(chunks_continue_the_accepted_tokens)
{
    static const int32_t ids[] = {1, 2, 3, 4};
    struct mr_run *run = opened();
    mr_run_forget(run);
    chunk(run, 0, ids, 2);
    chunk(run, 2, ids + 2, 2);
    start(run, 1, 1, false);
    EXPECT(mr_run_align(run)); /* nothing accepted yet: they continue the empty prefix */
    tok(run, 1, 1, "");
    EXPECT(!mr_run_align(run)); /* the log stands in the middle of a chunk */
    tok(run, 1, 2, "");
    EXPECT(mr_run_align(run) && run->chunks->seq == 2);
    tok(run, 1, 9, ""); /* somebody made another token */
    tok(run, 1, 4, "");
    EXPECT(!mr_run_align(run) && !run->chunks);
    mr_run_forget(run);
    EXPECT(mr_run_align(run));
    EXPECT_EQ(run->chunks_seq, 4);
    mr_run_close(run);
}

TEST(the_input_record_comes_back_whole)
{
    struct mr_header headers[MR_HEADERS_MAX], in[2] = {{MR_STR("a"), MR_STR("")}, {MR_STR("trace"), MR_STR("x\0y")}};
    struct mr_record record = {.key = MR_STR(""), .value = MR_STR("{\"v\":1}"), .headers = in, .n_headers = 2}, out;
    struct mr_run *run = opened();
    EXPECT(mr_run_keep_input(run, &record));
    mr_run_input(run, headers, &out);
    EXPECT(out.key.p && out.key.n == 0 && mr_str_equal(out.value, record.value) && out.n_headers == 2);
    EXPECT(mr_str_equal(out.headers[1].value, in[1].value) && out.offset == 5 && out.timestamp_ms == 1000);
    record = (struct mr_record){0};
    EXPECT(mr_run_keep_input(run, &record));
    mr_run_input(run, headers, &out);
    EXPECT(!out.key.p && !out.value.p && out.n_headers == 0);
    mr_run_close(run);
}

TEST_MAIN(TEST_CASE(the_logs_view), TEST_CASE(suspicion_counts_processes_lost_without_progress), TEST_CASE(three_lost_alone_are_poison),
          TEST_CASE(chunks_continue_the_accepted_tokens), TEST_CASE(the_input_record_comes_back_whole))
