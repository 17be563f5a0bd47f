/* The whole worker with its real threads, model and tokenizer (synthetic:tiny), over the log in memory: jobs in, results out,
 * a refusal beside them, a drain by signal. The log's clock follows the real one. */
#include "tests/test.h"

#include "adapters/memory.h"
#include "worker/encoding.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS = 12 };

static struct {
    struct mr_manual_clock clock;
    struct mr_clock real;
    struct mr_memory *memory;
    struct mr_log_port inner;
    const char *inputs[3];
    struct mr_worker *worker;
    int64_t wanted;      /* results to wait for, then the signal */
    bool signalled;
    int (*http)(void *self, const char *path, struct mr_buf *body, const char **type);
    void *http_self;
    int healthy, ready;
    bool watched, green, red; /* watched: /healthz is asked at every poll */
} w;

static int ask(const char *path)
{
    struct mr_buf body = {0};
    const char *type;
    int code = w.http(w.http_self, path, &body, &type);
    mr_buf_fini(&body);
    return code;
}

static bool poll_real(void *self, int64_t timeout_ns, struct mr_log_event *event)
{
    (void)self;
    w.clock.monotonic_ns = mr_clock_ns(&w.real);
    w.clock.wall_ms = mr_clock_wall_ms(&w.real);
    mr_memory_step(w.memory);
    if (!w.signalled && mr_memory_end(w.memory, "t.results", 0) >= w.wanted) {
        w.healthy = ask("/healthz");
        w.ready = ask("/readyz");
        w.signalled = w.ready == 200; /* it is told four times a second */
        if (w.signalled)
            mr_worker_signal(w.worker);
    }
    if (w.watched) {
        bool healthy = ask("/healthz") == 200;
        w.red |= w.green && !healthy;
        w.green |= healthy;
    }
    if (w.inner.poll(w.inner.self, 0, event))
        return true;
    if (timeout_ns > 0)
        mr_wake_wait(w.inner.wake, timeout_ns < MR_NS_PER_MS ? timeout_ns : MR_NS_PER_MS);
    return false;
}

static enum mr_status act(void *self, const struct mr_log_action *action)
{
    (void)self;
    return w.inner.act(w.inner.self, action);
}

static enum mr_status log_open(const struct mr_options *options, enum mr_log_role role, struct mr_wake *wake, struct mr_log_port *out, struct mr_err *err)
{
    (void)options, (void)role, (void)err;
    mr_memory_client_open(w.memory, w.inputs, 3, &w.inner);
    w.inner.wake = wake;
    *out = (struct mr_log_port){.poll = poll_real, .act = act, .wake = wake};
    return MR_OK;
}

static void log_close(struct mr_log_port *port) { (void)port; }

static enum mr_status http_open(const char *listen, mr_http_handler handler, void *self, void **out, struct mr_err *err)
{
    (void)listen, (void)err;
    w.http = handler;
    w.http_self = *out = self;
    return MR_OK;
}

static void http_close(void *http) { (void)http; }

static void open_topics(void)
{
    static const char *const tiers[] = {"realtime", "standard", "bulk"};
    static char names[3][4][40];
    for (int t = 0; t < 3; t++) {
        static const char *const forms[] = {"t.jobs.%s", "t.stream.%s", "t.parked.%s", "t.stream.parked.%s"};
        for (int f = 0; f < 4; f++) {
            snprintf(names[t][f], sizeof names[t][f], forms[f], tiers[t]);
            mr_memory_topic(w.memory, names[t][f], 2);
        }
        w.inputs[t] = names[t][0];
    }
    mr_memory_topic(w.memory, "t.results", 1);
    mr_memory_topic(w.memory, "t.dead", 1);
    mr_memory_topic(w.memory, "t.control", 1);
}

static void send_job(int i, const char *extra)
{
    char text[160];
    int n = snprintf(text, sizeof text, "{\"id\":\"j%d\",\"prompt\":\"hello %d\",\"max_tokens\":%d,\"ignore_eos\":true%s}", i, i, 1 + i * 3, extra);
    struct mr_record record = {.topic = mr_str_from(w.inputs[i % 3]), .partition = i % 2, .value = {text, (size_t)n}, .key = MR_STR("k")};
    mr_memory_append(w.memory, &record);
}

static const char *const worker_sets[] = {"model=synthetic:tiny", "kafka.prefix=t.", "http.listen=127.0.0.1:1", "redis.address=",
                                          "engine.threads=1", "worker.hung=1s"};
static const struct mr_outside worker_outside = {.log_open = log_open, .log_close = log_close, .http_open = http_open, .http_close = http_close};

static void open_world(void)
{
    memset(&w, 0, sizeof w);
    w.real = mr_clock_system();
    w.clock = (struct mr_manual_clock){mr_clock_ns(&w.real), mr_clock_wall_ms(&w.real)};
    w.memory = mr_memory_open(1, &w.clock);
    open_topics();
}

TEST(jobs_in_results_out_and_a_drain)
{
    struct mr_options options;
    struct mr_err err;
    open_world();
    for (int i = 0; i < JOBS; i++)
        send_job(i, "");
    send_job(JOBS, ",\"top_p\":7");
    w.wanted = JOBS + 1; /* the refused one has a result too: its error */
    if (mr_options_open(&options, NULL, worker_sets, 5, &err) != MR_OK || mr_worker_open(&options, &worker_outside, "test", &w.worker, &err) != MR_OK)
        printf("%s\n", err.text);
    REQUIRE(w.worker);
    EXPECT_EQ(mr_worker_loop(w.worker, &err), MR_OK);
    mr_worker_close(w.worker);
    EXPECT(w.healthy == 200 && w.ready == 200);
    EXPECT_EQ(mr_memory_end(w.memory, "t.results", 0), JOBS + 1);
    EXPECT_EQ(mr_memory_end(w.memory, "t.dead", 0), 1);
    mr_memory_step(w.memory);
    w.clock.monotonic_ns += MR_NS_PER_S; /* what was on its way arrives */
    mr_memory_step(w.memory);
    for (int t = 0; t < 3; t++) {
        for (int p = 0; p < 2; p++) {
            if (mr_memory_end(w.memory, w.inputs[t], p) > 0)
                EXPECT_EQ(mr_memory_committed(w.memory, w.inputs[t], p), mr_memory_end(w.memory, w.inputs[t], p));
        }
    }
    mr_memory_close(w.memory);
    mr_options_fini(&options);
}

/* In a process of its own: a worker with a hung thread cannot be closed. */
static int hang(void)
{
    struct mr_options options;
    struct mr_err err;
    open_world();
    setenv("MILLRACE_PLANTED", "hang:default/j0", 1);
    send_job(0, "");
    w.wanted = 1;
    w.watched = true;
    if (mr_options_open(&options, NULL, worker_sets, 6, &err) != MR_OK || mr_worker_open(&options, &worker_outside, "test", &w.worker, &err) != MR_OK)
        printf("%s\n", err.text);
    if (!w.worker || mr_worker_loop(w.worker, &err) != MR_ERR_TIMEOUT)
        return 1;
    return w.green && w.red ? 0 : 2;
}

TEST(a_hung_engine_turns_health_red_and_ends_the_worker)
{
    int status = -1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(hang());
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(what_cannot_open_says_why)
{
    static const char *const sets[] = {"model=synthetic:no-such-shape"};
    const struct mr_outside outside = {.log_open = log_open, .log_close = log_close};
    struct mr_options options;
    struct mr_worker *worker = NULL;
    struct mr_err err = {0};
    REQUIRE(mr_options_open(&options, NULL, sets, 1, &err) == MR_OK);
    EXPECT(mr_worker_open(&options, &outside, "test", &worker, &err) != MR_OK && err.text[0] && !worker);
    mr_options_fini(&options);
}

/* The one that forks comes first: no thread was made yet. */
TEST_MAIN(TEST_CASE(a_hung_engine_turns_health_red_and_ends_the_worker), TEST_CASE(jobs_in_results_out_and_a_drain),
          TEST_CASE(what_cannot_open_says_why))
