/* `millrace check` over a log in memory: a line a job, deaths from a file, what a stranger needs. The judge has its own test. */
#include "tests/cli/verb_world.h"

int mr_verb_check(struct mr_cli *cli, int argc, char **argv);

static const struct recorded_plan plans[] = {
    {.route = 0, .partition = 0, .offset = 0, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 4, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 0, .offset = 1, .body = "{\"id\":\"b\",\"tenant\":\"acme\",\"prompt\":\"two\"}", .n_tokens = 5, .takeover_after = 2, .zombie = true,
     .end = MR_FOLD_DONE},
    {.route = 1, .partition = 1, .offset = 0, .body = "{\"prompt\":7}", .end = MR_FOLD_FAILED, .reason = MR_REASON_WRONG_TYPE},
};

static void open_world(void)
{
    world_open_with(plans, sizeof plans / sizeof *plans);
    worker_lives = false;
}

static const char *write_deaths(const char *text)
{
    static char path[96];
    world_file(path, "check", text);
    return path;
}

TEST(a_line_a_job)
{
    open_world();
    EXPECT_EQ(RUN(check, "--jobs"), MR_EXIT_DONE);
    EXPECT(strstr(out, "done       millrace.jobs.realtime/0/0 default/a tokens 4 starts 1\n") != NULL);
    EXPECT(strstr(out, "done       millrace.jobs.realtime/0/1 acme/b tokens 5 starts 2\n") != NULL);
    EXPECT(strstr(out, "failed     millrace.jobs.standard/1/0 default/millrace.jobs.standard.1.0 tokens 0 starts 1\n") != NULL);
    EXPECT(strstr(out, "3 jobs, 17 stream records, 9 tokens\n") && strstr(out, "violations 0, lost 0, duplicates 0\n"));
    EXPECT(strstr(out, "starts 4, extra 1, takeovers 1; ignored records: tok 1; tokens generated twice 1, realtime 1 an interrupted job (median)\n") != NULL);
    EXPECT_EQ(RUN(check, "--jobs", "--json"), MR_EXIT_DONE);
    EXPECT(strstr(out, "{\"job\":\"acme/b\",\"state\":\"done\",\"topic\":\"millrace.jobs.realtime\",\"partition\":0,\"offset\":1,\"tokens\":5,\"starts\":2,"
                       "\"tokens_twice\":1,\"violations\":0,\"lost\":0,\"duplicates\":0}\n") != NULL);
    EXPECT(strstr(out, "\"extra_starts\":1,") && strstr(out, "\"tokens_twice_p50\":{\"realtime\":1.0,\"standard\":null,\"bulk\":null}"));
    world_close();
}

TEST(a_job_that_is_still_running_is_told)
{
    struct mr_record job = {.topic = MR_STR("millrace.jobs.bulk"), .value = MR_STR("{\"id\":\"new\",\"prompt\":\"x\"}")};
    open_world();
    mr_memory_append(memory, &job);
    EXPECT_EQ(RUN(check, "--jobs"), MR_EXIT_FAILED);
    EXPECT(strstr(out, "unseen     millrace.jobs.bulk/0/0  tokens 0 starts 0 WRONG\n") && strstr(out, "lost 1,") && strstr(out, "no stream record"));
    world_close();
}

TEST(deaths_come_from_a_file)
{
    char deaths[128];
    open_world();
    EXPECT_EQ(RUN(check, "--json", "--deaths", write_deaths("# nobody died\n\n1 w9\n")), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"recoveries\":0,") && strstr(out, "\"recovery_ms_p50\":null"));
    snprintf(deaths, sizeof deaths, "%lld w1\n", (long long)recorded.clock_ms);
    EXPECT_EQ(RUN(check, "--json", "--deaths", write_deaths(deaths)), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"recoveries\":1,") && strstr(out, "\"recovery_ms_p50\":0.0"));
    EXPECT_EQ(RUN(check, "--json"), MR_EXIT_DONE); /* without: from the last record */
    EXPECT(strstr(out, "\"recoveries\":1,") != NULL);
    EXPECT_EQ(RUN(check, "--deaths", write_deaths("1 w1\nsoon w1\n")), MR_EXIT_FAILED);
    EXPECT(strstr(errors, ":2: a line is a time in ms and a worker") != NULL);
    EXPECT_EQ(RUN(check, "--deaths", write_deaths("1 w1 w2\n")), MR_EXIT_FAILED);
    EXPECT_EQ(RUN(check, "--deaths", "/nowhere"), MR_EXIT_FAILED);
    unlink(write_deaths(""));
    world_close();
}

/* No configuration: a broker's address and the topics' prefix. */
TEST(a_stranger_needs_no_configuration)
{
    open_world();
    EXPECT_EQ(RUN(check, "--brokers", "localhost:1", "--prefix", "millrace."), MR_EXIT_DONE);
    EXPECT_EQ(RUN(check, "--brokers", "localhost:1", "--prefix", "other."), MR_EXIT_FAILED);
    EXPECT(strstr(errors, "no topic of the configuration exists") != NULL);
    world_close();
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {TEST_CASE(a_line_a_job), TEST_CASE(a_job_that_is_still_running_is_told), TEST_CASE(deaths_come_from_a_file),
                                             TEST_CASE(a_stranger_needs_no_configuration)};
    return world_main(cases, sizeof cases / sizeof *cases, argc, argv);
}
