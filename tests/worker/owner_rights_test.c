/* Who may do what: no tenant cancels, collides with or overwrites another's job; and the audit trail says who did. */
#include "tests/worker/owner_hand.h"

static void cancel_from(const char *topic, int64_t offset, const char *job)
{
    char text[128];
    int n = snprintf(text, sizeof text, "{\"v\":1,\"kind\":\"cancel\",\"job\":\"%s\",\"by\":\"eve\"}", job);
    tell(MR_LOG_FOLLOWED, topic, (struct mr_log_event){.record = {.offset = offset, .value = {text, (size_t)n}}});
}

/* beta/a on beta's own route. */
static void begin_beta(void)
{
    assign_topic("jobs.b", "stream.b", 3, 0);
    input_to("jobs.b", 0, NULL);
    verdict("beta/a", "h", NULL);
    flow();
}

TEST(a_cancel_from_elsewhere_is_refused)
{
    begin_job();
    cancel_from("control.b", 0, "acme/a"); /* beta's topic: none of its business */
    EXPECT(t.cancel == 0 && stats_now().cancels_refused == 1);
    EXPECT(audited("\"action\":\"refused\"", "\"by\":\"eve\""));
    input(1);
    cancel_from("control.b", 1, "acme/b"); /* before the job is there */
    verdict("acme/b", "h", NULL);
    flow();
    EXPECT(t.cancel == 0 && last_kind() == MR_FOLD_START && t.submit != 0);
    cancel_from("control", 0, "acme/b");
    EXPECT(t.cancel == t.submit);
    EXPECT(audited("\"action\":\"accepted\"", "\"from\":\"control\""));
    close_owner();
}

TEST(the_tenants_own_topic_and_a_trusted_one_cancel)
{
    for (int trusted = 0; trusted < 2; trusted++) {
        open_owner();
        begin_beta();
        cancel_from(trusted ? "control" : "control.b", 0, "beta/a");
        EXPECT(t.cancel == t.submit && t.submit != 0 && stats_now().cancels_refused == 0);
        close_owner();
    }
}

TEST(a_topic_of_two_tenants_is_neithers)
{
    static const struct mr_route shared[] = {
        {.name = "a", .jobs = "jobs", .parked = "", .stream = "stream", .stream_parked = "", .results = "results", .dead = "dead",
         .control = "control", .tier = MR_TIER_REALTIME, .tenant = "acme"},
        {.name = "b", .jobs = "jobs.b", .parked = "", .stream = "stream.b", .stream_parked = "", .results = "results.b", .dead = "dead.b",
         .control = "control", .tier = MR_TIER_REALTIME, .tenant = "beta"},
    };
    prepare();
    t.config.routes = shared;
    start_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    cancel_from("control", 0, "acme/a"); /* the options refuse such a config; should one get here, nobody may */
    EXPECT(t.cancel == 0 && stats_now().cancels_refused == 1);
    close_owner();
}

TEST(one_id_of_two_tenants_is_two_jobs)
{
    begin_job();
    uint64_t first = t.submit;
    begin_beta();
    EXPECT(t.submit != first && last_kind() == MR_FOLD_START);
    EXPECT(strcmp(t.streams[t.n_log - 1], "stream.b") == 0);
    end(MR_FINISH_STOP);
    flow();
    EXPECT(last_kind() == MR_FOLD_DONE && t.results == 1 && t.cancel == 0 && t.drop == 0);
    close_owner();
}

TEST(a_second_record_of_a_name_never_writes_a_result)
{
    struct mr_refusal refusal = {.reason = MR_REASON_OUT_OF_RANGE, .field = "top_p", .message = "top_p is out of range"};
    begin_job();
    end(MR_FINISH_STOP);
    flow();
    EXPECT_EQ(t.results, 1);
    input(1);
    verdict("acme/a", "other", &refusal); /* refused, and over the first one's key it would stand */
    flow();
    EXPECT(last_kind() == MR_FOLD_FAILED && t.starts[t.n_log - 1].reason == MR_REASON_ID_CONFLICT);
    input(2);
    cancel_from("control", 0, "acme/a");
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_DUPLICATE);
    struct mr_job *job = job_make("acme/a", "h");
    job->deadline_ms = 1;
    pass(60000);
    input(3);
    step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = job});
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_DUPLICATE);
    EXPECT_EQ(t.results, 1);
    close_owner();
}

TEST(the_trail)
{
    static const struct mr_header redrive = {MR_STR("redrive-of"), MR_STR("acme/a")};
    begin_job();
    EXPECT(audited("\"kind\":\"job\",\"action\":\"accepted\"", "\"job\":\"acme/a\""));
    tokens(0, 5);
    end(MR_FINISH_STOP);
    flow();
    EXPECT(audited("\"kind\":\"outcome\",\"action\":\"done\"", "\"tokens\":1"));
    EXPECT(audited("\"src\":\"0.4000\"", "\"model_digest\":\"m\"") && audited("\"worker\":\"w\"", "\"when_ms\":5"));
    input_to("jobs", 1, &redrive);
    verdict("acme/a~r1", "h", NULL);
    EXPECT(audited("\"kind\":\"redrive\"", "acme/a~r1"));
    EXPECT_EQ(t.n_audit, 3);
    close_owner();
    prepare();
    t.config.audit = "";
    start_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_audit, 0);
    close_owner();
}

/* ---- another model ---- */

static void start_of(const char *stream, const char *job, const char *model)
{
    struct mr_stream_record r = {.kind = MR_FOLD_START, .job = mr_str_from(job), .src = {0, 4000}, .epoch = 9, .writer = 1, .process = 11,
                                 .model_digest = mr_str_from(model), .tokenizer_digest = MR_STR("k"), .body_hash = MR_STR("h")};
    foreign_record(&r);
    t.streams[t.n_log - 1] = stream;
}

TEST(another_model_fails_or_begins_again)
{
    for (int restart = 0; restart < 2; restart++) {
        for (int tokens_there = 0; tokens_there < 2; tokens_there++) {
            const char *job = restart ? "beta/a" : "acme/a", *stream = restart ? "stream.b" : "stream", *jobs = restart ? "jobs.b" : "jobs";
            open_owner();
            start_of(stream, job, "another");
            if (tokens_there) {
                int32_t id = 5;
                struct mr_fold fold;
                mr_fold_init(&fold, job, strlen(job));
                struct mr_stream_record tok = {.kind = MR_FOLD_TOK, .job = mr_str_from(job), .src = {0, 4000}, .epoch = 9, .writer = 1, .ids = &id,
                                               .n_ids = 1, .ctx = mr_fold_ctx(fold.ctx, 0, &id, 1)};
                foreign_record(&tok);
                t.streams[t.n_log - 1] = stream;
            }
            tell(MR_LOG_ASSIGNED, jobs, (struct mr_log_event){.offset = 0, .generation = 3});
            flow();
            tell(MR_LOG_CAUGHT_UP, stream, (struct mr_log_event){.offset = t.told});
            input_to(jobs, 0, NULL);
            verdict(job, "h", NULL);
            flow();
            bool goes_on = restart && !tokens_there; /* beta's route says restart */
            EXPECT((t.submit != 0) == goes_on);
            EXPECT_EQ(last_kind(), goes_on ? MR_FOLD_START : MR_FOLD_FAILED);
            if (!goes_on)
                EXPECT(t.starts[t.n_log - 1].reason == MR_REASON_MODEL_CHANGED && t.results == 1);
            EXPECT(audited("\"kind\":\"model\"", goes_on ? "restarted" : "refused"));
            close_owner();
        }
    }
}

TEST_MAIN(TEST_CASE(a_cancel_from_elsewhere_is_refused), TEST_CASE(the_tenants_own_topic_and_a_trusted_one_cancel),
          TEST_CASE(a_topic_of_two_tenants_is_neithers), TEST_CASE(one_id_of_two_tenants_is_two_jobs),
          TEST_CASE(a_second_record_of_a_name_never_writes_a_result), TEST_CASE(the_trail), TEST_CASE(another_model_fails_or_begins_again))
