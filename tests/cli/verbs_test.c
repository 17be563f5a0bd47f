/* The client verbs against a log in memory that holds a recorded run, and a worker that answers from a plan: what they print, what
 * they append, and their exit codes. */
#include "tests/test.h"

#include "adapters/codec/codec.h"
#include "tests/cli/verb_world.h"
#include "worker/cli/cli.h"

#include <stdlib.h>

int mr_verb_tail(struct mr_cli *cli, int argc, char **argv);
int mr_verb_status(struct mr_cli *cli, int argc, char **argv);
int mr_verb_cancel(struct mr_cli *cli, int argc, char **argv);
int mr_verb_submit(struct mr_cli *cli, int argc, char **argv);
int mr_verb_collect(struct mr_cli *cli, int argc, char **argv);
int mr_verb_check(struct mr_cli *cli, int argc, char **argv);
int mr_verb_topics(struct mr_cli *cli, int argc, char **argv);
int mr_verb_top(struct mr_cli *cli, int argc, char **argv);

static const struct recorded_plan plans[] = {
    {.route = 0, .partition = 0, .offset = 0, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 4, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 0, .offset = 1, .body = "{\"id\":\"b\",\"prompt\":\"two\"}", .n_tokens = 5, .takeover_after = 2, .zombie = true, .end = MR_FOLD_DONE},
    {.route = 1, .partition = 1, .offset = 0, .body = "{\"id\":\"c\",\"tenant\":\"acme\",\"prompt\":\"three\"}", .n_tokens = 2, .end = MR_FOLD_CANCELLED},
    {.route = 0, .partition = 0, .offset = 2, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .end = MR_FOLD_DUPLICATE},
    {.route = 2, .partition = 1, .offset = 0, .body = "{\"custom_id\":\"x\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"four\"}}",
     .batch = "b1", .n_tokens = 3, .end = MR_FOLD_DONE},
};

static void world_open(void) { world_open_with(plans, sizeof plans / sizeof *plans); }

/* ---- the verbs ---- */

TEST(tail_shows_each_token_once)
{
    world_open();
    EXPECT_EQ(RUN(tail, "a"), MR_EXIT_DONE);
    EXPECT_STR(out, " t0 t1 t2 t3 end\n");
    EXPECT_EQ(RUN(tail, "default/b"), MR_EXIT_DONE); /* through a takeover and past a zombie */
    EXPECT_STR(out, " t0 t1 t2 t3 t4 end\n");
    EXPECT_EQ(RUN(tail, "c", "--tenant", "acme"), MR_EXIT_FAILED);
    EXPECT_STR(out, " t0 t1 end\n");
    EXPECT(strstr(errors, "cancelled") != NULL);
    EXPECT_EQ(RUN(tail, "nobody"), MR_EXIT_FAILED);
    EXPECT(strstr(errors, "default/nobody") != NULL);
    EXPECT_EQ(RUN(tail, "NOT A TENANT/x"), MR_EXIT_USAGE);
    EXPECT_EQ(RUN(tail, "b", "--json"), MR_EXIT_DONE);
    int lines = 0;
    for (const char *p = out; *p; p++)
        lines += *p == '\n';
    EXPECT_EQ(lines, 2 + 5 + 1); /* two STARTs, five tokens, DONE */
    world_close();
}

TEST(status_asks_the_store_then_the_streams)
{
    world_open();
    EXPECT_EQ(RUN(status, "acme/c", "--json"), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"status\":\"cancelled\"") != NULL);
    EXPECT(strstr(out, "\"tokens\":2") != NULL);
    EXPECT_EQ(RUN(status, "a", "--json"), MR_EXIT_DONE); /* the duplicate does not speak for it */
    EXPECT(strstr(out, "\"status\":\"done\"") != NULL);
    EXPECT_EQ(RUN(status, "nobody"), MR_EXIT_FAILED);
    const char *fields[] = {"state", "running", "topic", "millrace.jobs.realtime", "partition", "0", "tokens", "7"};
    for (n_state = 0; n_state < 8; n_state++)
        state_fields[n_state] = mr_str_from(fields[n_state]);
    state_of = "{default/a}";
    EXPECT_EQ(RUN(status, "a", "--json", "--set", "redis.address=here:1"), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"from\":\"store\",\"status\":\"running\"") != NULL);
    EXPECT_EQ(RUN(status, "a", "--json", "--streams", "--set", "redis.address=here:1"), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"status\":\"done\"") != NULL);
    EXPECT_EQ(RUN(tail, "a", "--set", "redis.address=here:1"), MR_EXIT_DONE); /* by the store's hint */
    EXPECT_STR(out, " t0 t1 t2 t3 end\n");
    world_close();
}

TEST(cancel_goes_to_the_control_topic)
{
    struct mr_record record;
    world_open();
    EXPECT_EQ(RUN(cancel, "acme/c", "--reason", "tired"), MR_EXIT_DONE);
    EXPECT_EQ(mr_memory_end(memory, options.routes[0].control, 0), 1); /* one topic for all routes: one record */
    REQUIRE(mr_memory_read(memory, options.routes[0].control, 0, 0, &record));
    EXPECT(mr_str_is(record.key, "acme/c"));
    struct mr_value value = {0};
    REQUIRE(mr_codec_json.decode(record.value, NULL, &recorded.arena, &value, NULL) == MR_CODEC_OK);
    EXPECT(mr_str_is(mr_value_get(&value, "kind")->as.string, "cancel"));
    EXPECT(mr_str_is(mr_value_get(&value, "job")->as.string, "acme/c"));
    EXPECT(mr_str_is(mr_value_get(&value, "reason")->as.string, "tired"));
    EXPECT_EQ(mr_value_get(&value, "v")->as.integer, 1);
    EXPECT_EQ(RUN(cancel, "acme/c", "--wait"), MR_EXIT_DONE);
    EXPECT_EQ(RUN(cancel, "a", "--wait"), MR_EXIT_FAILED); /* it was done before */
    EXPECT_EQ(RUN(cancel, "acme/c", "--json"), MR_EXIT_DONE);
    EXPECT_STR(out, "{\"job\":\"acme/c\",\"cancel\":\"sent\"}\n");
    world_close();
}

TEST(submit_appends_and_waits)
{
    struct mr_record record;
    world_open();
    worker_lives = false;
    EXPECT_EQ(RUN(submit, "why?", "--id", "s1", "--tenant", "acme", "--max-tokens", "9", "--temperature", "0", "--extra", "{\"top_k\":3}"), MR_EXIT_DONE);
    EXPECT_STR(out, "acme/s1\n");
    REQUIRE(mr_memory_read(memory, "millrace.jobs.standard", 1, 1, &record));
    EXPECT(mr_str_is(record.key, "acme/s1"));
    EXPECT(mr_str_is(record.value, "{\"id\":\"s1\",\"tenant\":\"acme\",\"prompt\":\"why?\",\"max_tokens\":9,\"temperature\":0.0,\"top_k\":3}"));
    EXPECT_EQ(RUN(submit, "why?", "--wait", "--timeout", "0.2"), MR_EXIT_FAILED); /* nobody works */
    worker_lives = true;
    EXPECT_EQ(RUN(submit, "why?", "--wait"), MR_EXIT_DONE);
    EXPECT_STR(out, " t0 t1 t2 end\n");
    EXPECT_EQ(RUN(submit, "why?", "--stream", "--chat", "--system", "Be brief."), MR_EXIT_DONE);
    EXPECT_STR(out, " t0 t1 t2 end\n");
    EXPECT_EQ(RUN(submit, "why?", "--wait", "--json"), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"status\":\"done\"") && strstr(out, "\"text\":\" t0 t1 t2 end\"") && strstr(out, "\"ttft_ms\":20.25"));
    EXPECT_EQ(RUN(submit, "why?", "--tier", "warp"), MR_EXIT_USAGE);
    EXPECT_EQ(RUN(submit, "--wait"), MR_EXIT_USAGE);
    EXPECT_EQ(RUN(submit, "why?", "--extra", "[1]"), MR_EXIT_USAGE);
    EXPECT_EQ(RUN(submit, "why?", "--file", "x"), MR_EXIT_USAGE);
    world_close();
}

static const char *write_file(const char *text)
{
    static char path[96];
    world_file(path, "verbs.jsonl", text);
    return path;
}

TEST(a_file_goes_out_and_comes_back_in_order)
{
    const char *path = write_file("{\"prompt\":\"1\"}\n\nnot json\n{\"id\":\"mine\",\"prompt\":\"3\"}\n"
                                  "{\"custom_id\":\"q\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"4\"}}");
    world_open();
    EXPECT_EQ(RUN(collect, path), MR_EXIT_FAILED); /* not sent yet: every line says so */
    EXPECT(strstr(out, "no_result") != NULL);
    EXPECT_EQ(RUN(submit, "--file", path, "--wait", "--json"), MR_EXIT_FAILED); /* one line is bad */
    EXPECT(strstr(errors, "4 of 4 jobs appended") != NULL);
    EXPECT(strstr(out, "\"reason\":\"wrong_type\"") != NULL);
    EXPECT_EQ(RUN(collect, path), MR_EXIT_DONE);
    const char *first = strstr(out, "\"id\":\""), *bad = strstr(out, "\"error\":{\"message\""), *mine = strstr(out, "\"id\":\"mine\""),
               *line = strstr(out, "\"custom_id\":\"q\"");
    EXPECT(first && bad && mine && line && first < bad && bad < mine && mine < line);
    EXPECT_EQ(RUN(submit, "--file", path, "--batch", "not a batch!"), MR_EXIT_FAILED);
    unlink(path);
    path = write_file("{\"custom_id\":\"y\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"5\"}}\n"
                      "{\"custom_id\":\"x\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"four\"}}\n");
    EXPECT_EQ(RUN(collect, path, "--batch", "b1", "--tier", "bulk"), MR_EXIT_FAILED);
    EXPECT(strncmp(out, "{\"id\":\"default/b1.y\",\"custom_id\":\"y\",\"response\":null,\"error\":{\"code\":\"no_result\"", 80) == 0);
    EXPECT(strstr(out, "\"custom_id\":\"x\",\"response\":{\"status_code\":200") != NULL);
    EXPECT_EQ(RUN(collect, path, "--batch", "b1", "--tier", "bulk", "--wait", "--timeout", "0.2"), MR_EXIT_FAILED);
    unlink(path);
    EXPECT_EQ(RUN(collect, "/nowhere"), MR_EXIT_FAILED);
    world_close();
}

TEST(check_judges_what_it_reads)
{
    world_open();
    EXPECT_EQ(RUN(check, "--json"), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"jobs\":5,") && strstr(out, "\"violations\":0,\"lost\":0,\"duplicates\":0,"));
    EXPECT(strstr(out, "\"ignored\":{\"tok\":1}") != NULL);
    EXPECT(strstr(out, "\"tokens_twice\":1") != NULL);
    struct mr_record stranger = {.topic = mr_str_from(options.routes[0].results), .key = MR_STR("default/z"), .value = MR_STR("{}")};
    mr_memory_append(memory, &stranger);
    EXPECT_EQ(RUN(check, "--json"), MR_EXIT_FAILED);
    EXPECT(strstr(out, "\"violations\":1,") != NULL);
    EXPECT_EQ(RUN(check, "--all"), MR_EXIT_FAILED);
    EXPECT(strstr(out, "violations 1, lost 0, duplicates 0") && strstr(out, "speaks of a run that no stream holds"));
    world_close();
}

TEST(topics_are_planned_made_and_judged)
{
    world_open();
    EXPECT_EQ(RUN(topics, "plan"), MR_EXIT_DONE);
    EXPECT(strstr(out, "millrace.stream.parked.bulk") && strstr(out, "cleanup.policy=compact,delete"));
    EXPECT_EQ(RUN(topics, "check"), MR_EXIT_FAILED);
    EXPECT(strstr(out, "16 topics, 16 faults") != NULL);
    EXPECT_EQ(RUN(topics, "create", "--json"), MR_EXIT_DONE);
    EXPECT_STR(out, "{\"made\":16,\"there\":0}\n");
    EXPECT_EQ(RUN(topics, "create", "--json"), MR_EXIT_DONE);
    EXPECT_STR(out, "{\"made\":0,\"there\":16}\n");
    EXPECT_EQ(RUN(topics, "check"), MR_EXIT_DONE);
    for (size_t i = 0; i < n_topics; i++)
        if (strcmp(topics[i].name, "millrace.stream.bulk") == 0)
            topics[i].partitions = 1;
    EXPECT_EQ(RUN(topics, "check", "--json"), MR_EXIT_FAILED);
    EXPECT(strstr(out, "\"topic\":\"millrace.stream.bulk\",\"setting\":\"partitions\",\"is\":\"1\"") != NULL);
    EXPECT_EQ(RUN(topics, "destroy"), MR_EXIT_USAGE);
    world_close();
}

TEST(top_prints_heartbeats)
{
    const char *fields[] = {"state", "ready", "output_tokens", "70", "prompt_tokens", "7", "bulk", "1/2"};
    world_open();
    for (n_state = 0; n_state < 8; n_state++)
        state_fields[n_state] = mr_str_from(fields[n_state]);
    state_of = "worker:w1";
    EXPECT_EQ(RUN(top, "--json", "--set", "redis.address=here:1", "--set", "worker.heartbeat=100ms"), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"worker\":\"w1\",\"state\":\"ready\"") && strstr(out, "\"output_tok_s\":0.0"));
    EXPECT_EQ(RUN(top, "--json"), MR_EXIT_FAILED); /* no store */
    world_close();
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        TEST_CASE(tail_shows_each_token_once), TEST_CASE(status_asks_the_store_then_the_streams), TEST_CASE(cancel_goes_to_the_control_topic),
        TEST_CASE(submit_appends_and_waits), TEST_CASE(a_file_goes_out_and_comes_back_in_order), TEST_CASE(check_judges_what_it_reads),
        TEST_CASE(topics_are_planned_made_and_judged), TEST_CASE(top_prints_heartbeats)};
    return world_main(cases, sizeof cases / sizeof *cases, argc, argv);
}
