/* The journal: what is written, and the head start that the fold may overrule. */
#include "tests/worker/owner_hand.h"

static void open_with_journal(void)
{
    prepare();
    t.config.journal = true;
    start_owner();
    step(&(struct mr_owner_event){.kind = MR_OWNER_STORE, .on = true});
}

static uint64_t ctx_of(const int32_t *ids, size_t n)
{
    struct mr_fold fold;
    mr_fold_init(&fold, "acme/a", 6);
    return mr_fold_ctx(fold.ctx, 0, ids, n);
}

static void line_of_epoch(char *out, size_t size, int64_t epoch, const int32_t *ids, int n)
{
    int at = snprintf(out, size, "0.4000 %lld 0000000000000021 %d %016llx ", (long long)epoch, n, (unsigned long long)ctx_of(ids, (size_t)n));
    for (int i = 0; i < n; i++)
        at += snprintf(out + at, size - (size_t)at, "%08x", (unsigned)ids[i]);
}

static void line_of(char *out, size_t size, const int32_t *ids, int n) { line_of_epoch(out, size, 9, ids, n); }

/* The partition is ours, its tail under way, the job admitted. */
static void take_over_in(int32_t generation)
{
    open_with_journal();
    foreign_start(9, 11, false);
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = generation});
    input(0);
    verdict("acme/a", "h", NULL);
}

static void take_over_slowly(void) { take_over_in(3); }

static void answer(const char *line)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", line);
    struct mr_state_answer a = {.kind = MR_STATE_TAKE, .tag = t.ask_tag, .text = copy, .n = strlen(copy)};
    step(&(struct mr_owner_event){.kind = MR_OWNER_ANSWER, .answer = &a});
}

static void foreign_token(int64_t seq, const int32_t *ids)
{
    foreign_record(&(struct mr_stream_record){.kind = MR_FOLD_TOK, .job = MR_STR("acme/a"), .src = {0, 4000}, .epoch = 9, .writer = 33, .seq = seq,
                                              .ids = ids + seq, .n_ids = 1, .ctx = ctx_of(ids, (size_t)seq + 1)});
}

static void catch_up(void)
{
    while (t.told < t.n_log) {
        int64_t at = t.told++;
        tell(MR_LOG_FOLLOWED, "stream", (struct mr_log_event){.record = {.offset = at, .value = mr_buf_view(&t.values[at])}});
    }
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = t.told});
}

TEST(written_from_reports_now_and_then)
{
    int32_t id = 7;
    char line[128];
    open_with_journal();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT_STR(t.state_line, ""); /* nothing accepted, nothing to say */
    pass(500);
    tokens(0, 7);
    flow();
    snprintf(line, sizeof line, "0.4000 %d %016x 1 %016llx 00000007", 3 << 20, 1, (unsigned long long)ctx_of(&id, 1));
    EXPECT_STR(t.state_line, line);
    tokens(1, 8);
    flow();
    EXPECT_STR(t.state_line, line); /* twice a second is enough */
    pass(501);
    tokens(2, 9);
    flow();
    EXPECT(strstr(t.state_line, " 3 ") && strstr(t.state_line, "000000070000000800000009"));
    close_owner();
}

TEST(a_head_start_that_the_fold_agrees_with)
{
    static const int32_t ids[] = {5, 6};
    char line[128];
    take_over_slowly();
    foreign_token(0, ids);
    foreign_token(1, ids);
    EXPECT(t.asks == 1 && t.ask_kind == MR_STATE_TAKE && t.submit == 0);
    EXPECT_STR(t.ask_key, "{acme/a}:t");
    line_of(line, sizeof line, ids, 2);
    answer(line);
    EXPECT(t.submit != 0 && t.submit_accepted == 2); /* the engine is at work, */
    EXPECT_EQ(t.n_log, 3);                           /* and nothing is appended */
    tokens(2, 7);
    catch_up();
    EXPECT(t.kinds[3] == MR_FOLD_START && t.drop == 0);
    flow();
    EXPECT(t.n_log == 5 && last_kind() == MR_FOLD_TOK && t.drop == 0);
    close_owner();
}

TEST(a_head_start_that_the_fold_overrules)
{
    static const int32_t ids[] = {5, 6}, others[] = {5, 9};
    char line[128];
    take_over_slowly();
    foreign_token(0, ids);
    foreign_token(1, ids);
    line_of(line, sizeof line, others, 2);
    answer(line);
    uint64_t wrong = t.submit;
    tokens(2, 7); /* made behind what never was */
    catch_up();
    flow();
    EXPECT(t.drop == wrong && t.n_log == 4); /* START, and no token of that prefix */
    t.submit = 0;
    step(&(struct mr_owner_event){.kind = MR_OWNER_DROPPED, .handle = wrong});
    EXPECT(t.submit != 0 && t.submit_accepted == 2);
    close_owner();
}

TEST(what_the_engine_will_not_take_is_tried_again_from_the_fold)
{
    static const int32_t ids[] = {5};
    char line[128];
    take_over_slowly();
    foreign_token(0, ids);
    line_of(line, sizeof line, ids, 1);
    answer(line);
    step(&(struct mr_owner_event){.kind = MR_OWNER_UNTAKEN, .handle = t.submit, .status = MR_ERR_INVALID});
    t.submit = 0;
    catch_up();
    flow();
    EXPECT(t.submit != 0 && last_kind() == MR_FOLD_START);
    close_owner();
}

TEST(lines_that_are_nothing)
{
    static const int32_t ids[] = {5}, large[] = {1000};
    char good[128], large_id[128], bad[5][160];
    line_of(good, sizeof good, ids, 1);
    line_of(large_id, sizeof large_id, large, 1); /* no token of the vocabulary */
    snprintf(bad[0], sizeof bad[0], "%s0", good);
    snprintf(bad[1], sizeof bad[1], "1%s", good); /* another src */
    snprintf(bad[2], sizeof bad[2], "%s", good);
    bad[2][strlen(good) - 1] ^= 1; /* another token than the hash is of */
    snprintf(bad[3], sizeof bad[3], "%s", large_id);
    snprintf(bad[4], sizeof bad[4], "x");
    for (int i = 0; i < 5; i++) {
        take_over_slowly();
        answer(bad[i]);
        EXPECT(t.submit == 0);
        answer(good);
        EXPECT(t.submit != 0);
        close_owner();
    }
}

/* A job that kills whoever prefills it: no line tells of a START behind which nothing was shown, though its report comes last. */
TEST(no_line_without_progress)
{
    static const int32_t ids[] = {5, 6};
    take_over_slowly();
    foreign_token(0, ids);
    foreign_token(1, ids);
    catch_up();
    t.hold_acks = true;
    flow(); /* the barrier is passed before START's report comes */
    pass(1000);
    t.hold_acks = false;
    flow();
    EXPECT(last_kind() == MR_FOLD_START && t.submit != 0);
    EXPECT_STR(t.state_line, "");
    tokens(2, 7);
    flow();
    EXPECT(t.state_line[0] != 0);
    close_owner();
}

/* And a store that gives the same line whenever it is asked is believed for a few generations only. */
TEST(an_old_line_is_no_head_start)
{
    static const int32_t ids[] = {5};
    char line[128];
    for (int more = 0; more < 3; more++) { /* at the limit, past it, and of a generation to come */
        take_over_in(9);
        line_of_epoch(line, sizeof line, (int64_t)(more == 2 ? 10 : 9 - MR_OWNER_JOURNAL_GENERATIONS - more) << 20, ids, 1);
        answer(line);
        EXPECT((t.submit != 0) == (more == 0));
        close_owner();
    }
}

TEST(longer_runs_are_not_journaled)
{
    static int32_t ids[MR_OWNER_JOURNAL_TOKENS_MAX + 1];
    for (int more = 0; more < 2; more++) {
        open_with_journal();
        assign(3, 0);
        input(0);
        verdict("acme/a", "h", NULL);
        flow();
        pass(1000);
        int first = MR_OWNER_JOURNAL_TOKENS_MAX - 1 + more;
        step(&(struct mr_owner_event){.kind = MR_OWNER_TOKENS, .handle = t.submit, .seq = 0, .n_tokens = first, .ids = ids, .text = MR_STR("x")});
        t.hold_acks = true;
        flow();
        tokens(first, 1);
        flow();
        t.hold_acks = false;
        flow();
        EXPECT((t.state_line[0] != 0) == (more == 0));
        close_owner();
    }
}

TEST_MAIN(TEST_CASE(written_from_reports_now_and_then), TEST_CASE(a_head_start_that_the_fold_agrees_with),
          TEST_CASE(a_head_start_that_the_fold_overrules), TEST_CASE(what_the_engine_will_not_take_is_tried_again_from_the_fold),
          TEST_CASE(lines_that_are_nothing), TEST_CASE(no_line_without_progress),
          TEST_CASE(an_old_line_is_no_head_start), TEST_CASE(longer_runs_are_not_journaled))
