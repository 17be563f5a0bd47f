/* `millrace worker`: the service. Judges its topics, then runs until SIGTERM or SIGINT has drained it; a second signal leaves at
 * once. The main thread is the log thread. */
#include "base/log.h"
#include "worker/cli/cli.h"
#include "worker/options.h"
#include "worker/topic_plan.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

enum { WORKER_TOPIC_TRIES = 15 };

static struct mr_worker *volatile signalled; /* for the handler only */

static void on_signal(int number)
{
    (void)number;
    if (signalled)
        mr_worker_signal(signalled);
}

static bool catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    return sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGPIPE, &ignore, NULL) == 0;
}

/* One topic of the plan against the broker; its partitions, -1: it is not there. false: it cannot be asked. tries: left for all topics. */
static bool judge_topic(struct mr_cli *cli, const struct mr_topic_need *need, bool dev, int *tries, int32_t *partitions,
                        struct mr_topic_faults *faults)
{
    const struct mr_options *options = mr_cli_options(cli);
    struct mr_topic is = {0};
    struct mr_err err;
    snprintf(is.name, sizeof is.name, "%s", need->topic.name);
    enum mr_status status = cli->outside->topic_describe(options, &is, &err);
    for (; *tries > 0 && status == MR_ERR_NOT_FOUND; --*tries) { /* made a moment ago: brokers learn of it one by one */
        nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
        status = cli->outside->topic_describe(options, &is, &err);
    }
    if (status != MR_OK && status != MR_ERR_NOT_FOUND) {
        mr_cli_fail("%s", err.text);
        return false;
    }
    *partitions = is.partitions = status == MR_OK ? is.partitions : -1;
    mr_topic_judge(options, need, &is, dev, faults);
    return true;
}

static int32_t partitions_of(const struct mr_topic_need *needs, const int32_t *partitions, size_t n, const char *topic)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(needs[i].topic.name, topic) == 0)
            return partitions[i];
    }
    return -1;
}

/* A topic that breaks the promise: the worker does not start, and says which setting. */
static int judge_topics(struct mr_cli *cli, const struct mr_options *options)
{
    size_t n;
    struct mr_topic_need *needs = mr_topic_plan(options, &cli->arena, &n);
    int32_t *partitions = needs ? mr_arena_array(&cli->arena, n, sizeof *partitions) : NULL;
    struct mr_topic_faults *faults = mr_arena_alloc(&cli->arena, sizeof *faults);
    struct mr_topic marker = {.name = "millrace.dev-broker"};
    if (!partitions || !faults)
        return mr_cli_fail("out of memory");
    bool dev = cli->outside->topic_describe(options, &marker, NULL) == MR_OK;
    int tries = WORKER_TOPIC_TRIES;
    for (size_t i = 0; i < n; i++) {
        if (!judge_topic(cli, &needs[i], dev, &tries, &partitions[i], faults))
            return MR_EXIT_FAILED;
    }
    for (int32_t i = 0; i < options->n_routes; i++) {
        const struct mr_route *r = &options->routes[i];
        struct mr_topic_counts counts = {partitions_of(needs, partitions, n, r->jobs), partitions_of(needs, partitions, n, r->parked),
                                         partitions_of(needs, partitions, n, r->stream), partitions_of(needs, partitions, n, r->stream_parked)};
        mr_topic_judge_counts(r, &counts, faults);
    }
    for (size_t i = 0; i < faults->n; i++) {
        const struct mr_topic_fault *f = &faults->list[i];
        mr_cli_fail("topic %s: %s is %s, wanted: %s", f->topic, f->setting, f->is, f->wanted);
    }
    if (dev)
        mr_log(MR_LOG_WARN, "worker.dev_broker", "note=\"the embedded broker keeps nothing: its topics are judged by their partitions only\"");
    return faults->n ? MR_EXIT_FAILED : MR_EXIT_DONE;
}

int mr_verb_worker(struct mr_cli *cli, int argc, char **argv)
{
    bool print_config = false;
    const struct mr_flag flags[] = {
        {.name = "print-config", .help = "print the whole configuration and leave", .kind = MR_FLAG_BOOL, .target = &print_config},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "worker -c FILE",
        .about = "Takes jobs from the routes' topics, runs them, writes streams and results. SIGTERM or SIGINT drains: running jobs get\n"
                 "worker.grace to finish, the rest is left for another worker; a second signal leaves at once, and nothing is lost.",
        .flags = flags,
        .n_flags = 1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    const struct mr_options *options = mr_cli_options(cli);
    if (!options)
        return MR_EXIT_USAGE;
    if (print_config) {
        struct mr_buf out = {0};
        if (cli->json)
            mr_options_print_json(options, &out);
        else
            mr_options_print(options, &out);
        fwrite(out.p, 1, out.n, stdout);
        mr_buf_fini(&out);
        return MR_EXIT_DONE;
    }
    if (!mr_cli_has(cli->outside->log_open, "Kafka") || !mr_cli_has(cli->outside->topic_describe, "Kafka"))
        return MR_EXIT_FAILED;
    mr_log_setup((enum mr_log_level)options->log.level, options->log.format == 1);
    int code = judge_topics(cli, options);
    if (code != MR_EXIT_DONE)
        return code;
    struct mr_worker *worker;
    struct mr_err err;
    if (!catch_signals())
        return mr_cli_fail("signals cannot be caught");
    if (mr_worker_open(options, cli->outside, MILLRACE_VERSION, &worker, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    signalled = worker;
    enum mr_status status = mr_worker_loop(worker, &err);
    signalled = NULL;
    if (status == MR_ERR_TIMEOUT)
        return mr_cli_fail("%s", err.text); /* a thread hangs in it: it cannot be closed, only left */
    mr_worker_close(worker);
    return status == MR_OK ? MR_EXIT_DONE : mr_cli_fail("%s", err.text);
}
