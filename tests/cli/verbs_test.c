/* The client verbs against a log in memory that holds a recorded run, and a worker that answers from a plan: what they print, what
 * they append, and their exit codes. */
#include "tests/test.h"

#include "adapters/codec/codec.h"
#include "adapters/memory.h"
#include "tests/cli/recorded.h"
#include "worker/cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

int mr_verb_tail(struct mr_cli *cli, int argc, char **argv);
int mr_verb_status(struct mr_cli *cli, int argc, char **argv);
int mr_verb_cancel(struct mr_cli *cli, int argc, char **argv);
int mr_verb_submit(struct mr_cli *cli, int argc, char **argv);
int mr_verb_collect(struct mr_cli *cli, int argc, char **argv);
int mr_verb_check(struct mr_cli *cli, int argc, char **argv);
int mr_verb_topics(struct mr_cli *cli, int argc, char **argv);
int mr_verb_top(struct mr_cli *cli, int argc, char **argv);

enum { PARTITIONS = 2, TOPICS_MAX = 32, OUT_BYTES = 1 << 16 };

static struct mr_options options;
static struct mr_manual_clock clock_now;
static struct mr_memory *memory;
static struct mr_log_port inner;
static struct recorded recorded;
static char out[OUT_BYTES], errors[OUT_BYTES];

/* ---- the outside ---- */

static const struct recorded_plan answers_as[] = {
    {.route = 1, .n_tokens = 3, .end = MR_FOLD_DONE},
    {.route = 1, .end = MR_FOLD_FAILED, .reason = MR_REASON_WRONG_TYPE},
};
static int64_t answered[PARTITIONS]; /* records of jobs.standard that the worker has seen */
static bool worker_lives;

/* Appends what was recorded from first on. */
static void replay(size_t first)
{
    for (size_t i = first; i < recorded.n; i++)
        mr_memory_append(memory, &recorded.records[i]);
}

static void work(void)
{
    for (int32_t p = 0; p < PARTITIONS && worker_lives; p++) {
        struct mr_record input;
        while (mr_memory_read(memory, "millrace.jobs.standard", p, answered[p], &input)) {
            bool bad = input.value.n && !memchr(input.value.p, ':', input.value.n);
            struct recorded_plan plan = answers_as[bad];
            size_t first = recorded.n;
            plan.partition = p;
            answered[p]++;
            recorded_answer(&recorded, &plan, &input);
            replay(first);
        }
    }
}

static bool poll_memory(void *self, int64_t timeout_ns, struct mr_log_event *event)
{
    (void)self;
    clock_now.monotonic_ns += MR_NS_PER_MS;
    mr_memory_step(memory);
    work();
    bool got = inner.poll(inner.self, timeout_ns, event);
    if (got && event->kind == MR_LOG_DELIVERED)
        event->record.partition = (int32_t)(event->tag % PARTITIONS);
    return got;
}

/* A record that leaves its partition to the key goes to the one of its tag's parity. */
static enum mr_status act_memory(void *self, const struct mr_log_action *action)
{
    struct mr_log_action with = *action;
    if (with.kind == MR_LOG_PRODUCE && with.record.partition < 0)
        with.record.partition = (int32_t)(with.tag % PARTITIONS);
    return inner.act(self, &with);
}
static int32_t partitions_memory(void *self, struct mr_str topic) { return inner.partitions(self, topic); }

static enum mr_status log_open(const struct mr_options *with, enum mr_log_role role, struct mr_wake *wake, struct mr_log_port *port, struct mr_err *err)
{
    (void)with, (void)err;
    EXPECT(role == MR_LOG_CLIENT);
    mr_memory_client_open(memory, NULL, 0, &inner);
    *port = (struct mr_log_port){.poll = poll_memory, .act = act_memory, .partitions = partitions_memory, .wake = wake, .self = inner.self};
    return MR_OK;
}

static void log_close(struct mr_log_port *port)
{
    (void)port;
    for (int i = 0; i < 10; i++) { /* what was produced arrives */
        struct mr_log_event event;
        poll_memory(NULL, 0, &event);
    }
}

static const char *state_of; /* the key that the store knows */
static struct mr_str state_fields[16];
static size_t n_state;

static enum mr_status state_read(const struct mr_options *with, struct mr_str key, struct mr_arena *arena, struct mr_str **fields, size_t *n, struct mr_err *err)
{
    (void)with, (void)arena, (void)err;
    *fields = state_fields;
    *n = state_of && mr_str_is(key, state_of) ? n_state : 0;
    return MR_OK;
}

static enum mr_status state_keys(const struct mr_options *with, struct mr_str prefix, struct mr_arena *arena, struct mr_str **keys, size_t *n, struct mr_err *err)
{
    static struct mr_str key;
    (void)with, (void)arena, (void)err;
    EXPECT(mr_str_is(prefix, "worker:"));
    key = mr_str_from(state_of ? state_of : "");
    *keys = &key;
    *n = state_of != NULL;
    return MR_OK;
}

static struct mr_topic topics[TOPICS_MAX];
static size_t n_topics;

static enum mr_status topic_create(const struct mr_options *with, const struct mr_topic *topic, struct mr_err *err)
{
    (void)with, (void)err;
    CHECK(n_topics < TOPICS_MAX);
    topics[n_topics++] = *topic;
    return MR_OK;
}

static enum mr_status topic_describe(const struct mr_options *with, struct mr_topic *topic, struct mr_err *err)
{
    (void)with;
    for (size_t i = 0; i < n_topics; i++) {
        if (strcmp(topics[i].name, topic->name) == 0) {
            *topic = topics[i];
            return MR_OK;
        }
    }
    return mr_err_set(err, MR_ERR_NOT_FOUND, "no topic %s", topic->name);
}

static const struct mr_outside outside = {.log_open = log_open, .log_close = log_close, .state_read = state_read, .state_keys = state_keys,
                                          .topic_create = topic_create, .topic_describe = topic_describe};

/* ---- running a verb ---- */

static void redirect(FILE *stream, int to)
{
    fflush(stream);
    dup2(to, fileno(stream));
}

static void slurp(FILE *file, char *text)
{
    rewind(file);
    text[fread(text, 1, OUT_BYTES - 1, file)] = '\0';
    fclose(file);
}

/* Runs the verb; argv ends with NULL. What it prints goes to out and errors. */
static int run(int (*verb)(struct mr_cli *cli, int argc, char **argv), const char *const *words)
{
    char *argv[32];
    int argc = 0, kept[] = {dup(1), dup(2)};
    FILE *files[] = {tmpfile(), tmpfile()};
    struct mr_cli cli = {.outside = &outside};
    for (; words[argc]; argc++)
        argv[argc] = (char *)words[argc];
    redirect(stdout, fileno(files[0]));
    redirect(stderr, fileno(files[1]));
    int code = verb(&cli, argc, argv);
    redirect(stdout, kept[0]);
    redirect(stderr, kept[1]);
    close(kept[0]);
    close(kept[1]);
    slurp(files[0], out);
    slurp(files[1], errors);
    mr_cli_close(&cli);
    return code;
}
#define RUN(verb, ...) run(mr_verb_##verb, (const char *const[]){#verb, __VA_ARGS__, NULL})

static const struct recorded_plan plans[] = {
    {.route = 0, .partition = 0, .offset = 0, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .n_tokens = 4, .end = MR_FOLD_DONE},
    {.route = 0, .partition = 0, .offset = 1, .body = "{\"id\":\"b\",\"prompt\":\"two\"}", .n_tokens = 5, .takeover_after = 2, .zombie = true, .end = MR_FOLD_DONE},
    {.route = 1, .partition = 1, .offset = 0, .body = "{\"id\":\"c\",\"tenant\":\"acme\",\"prompt\":\"three\"}", .n_tokens = 2, .end = MR_FOLD_CANCELLED},
    {.route = 0, .partition = 0, .offset = 2, .body = "{\"id\":\"a\",\"prompt\":\"one\"}", .end = MR_FOLD_DUPLICATE},
    {.route = 2, .partition = 1, .offset = 0, .body = "{\"custom_id\":\"x\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"four\"}}",
     .batch = "b1", .n_tokens = 3, .end = MR_FOLD_DONE},
};

static void world_open(void)
{
    clock_now = (struct mr_manual_clock){MR_NS_PER_S, 1700000000000};
    memory = mr_memory_open(1, &clock_now);
    for (int32_t i = 0; i < options.n_routes; i++) {
        const struct mr_route *r = &options.routes[i];
        const char *names[] = {r->jobs, r->parked, r->stream, r->stream_parked};
        for (size_t k = 0; k < 4; k++)
            mr_memory_topic(memory, names[k], PARTITIONS);
    }
    const char *shared[] = {options.routes[0].results, options.routes[0].dead, options.routes[0].control};
    for (size_t k = 0; k < 3; k++)
        mr_memory_topic(memory, shared[k], 1);
    recorded = (struct recorded){.options = &options, .clock_ms = clock_now.wall_ms};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        recorded_job(&recorded, &plans[i]);
    replay(0);
    answered[0] = 0;
    answered[1] = 1;
    worker_lives = true;
    state_of = NULL;
    n_topics = 0;
}

static void world_close(void)
{
    mr_memory_close(memory);
    mr_arena_fini(&recorded.arena);
}

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
    static char path[64];
    snprintf(path, sizeof path, "/tmp/millrace-verbs-%d.jsonl", (int)getpid());
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0);
    fclose(file);
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
    EXPECT(strstr(out, "15 topics, 15 faults") != NULL);
    EXPECT_EQ(RUN(topics, "create", "--json"), MR_EXIT_DONE);
    EXPECT_STR(out, "{\"made\":15,\"there\":0}\n");
    EXPECT_EQ(RUN(topics, "create", "--json"), MR_EXIT_DONE);
    EXPECT_STR(out, "{\"made\":0,\"there\":15}\n");
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
    struct mr_err err;
    if (mr_options_open(&options, NULL, NULL, 0, &err) != MR_OK)
        return 1;
    int code = test_run(cases, sizeof cases / sizeof *cases, argc, argv);
    mr_options_fini(&options);
    return code;
}
