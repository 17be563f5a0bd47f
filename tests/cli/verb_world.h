/* A verb's world: a log in memory that holds a recorded run, a worker that answers jobs.standard from a plan, a store that knows
 * one key; and a way to run a verb in it and read what it prints. */
#ifndef MR_TESTS_CLI_VERB_WORLD_H
#define MR_TESTS_CLI_VERB_WORLD_H

#include "tests/test.h"

#include "adapters/memory.h"
#include "tests/cli/recorded.h"
#include "worker/cli/cli.h"

#include <unistd.h>

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

static void world_open_with(const struct recorded_plan *plans, size_t n)
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
    for (size_t i = 0; i < n; i++)
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

/* A file of that text, named by the test's process and name; path: where it is, to be unlinked. */
static inline void world_file(char path[96], const char *name, const char *text)
{
    snprintf(path, 96, "/tmp/millrace-%s-%d", name, (int)getpid());
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0);
    fclose(file);
}

/* main of such a test: with the default options. */
static inline int world_main(const struct test_case *cases, size_t n, int argc, char **argv)
{
    struct mr_err err;
    if (mr_options_open(&options, NULL, NULL, 0, &err) != MR_OK)
        return 1;
    int code = test_run(cases, n, argc, argv);
    mr_options_fini(&options);
    return code;
}

#endif
