/* `millrace check`: reads the topics of the configuration back, from their start to their present end, and judges them. One thread.
 *
 * Owns the reading and the printing; what is right and wrong is the judge's (judge.h). A topic that is not there has nothing to say;
 * each is followed once, however many routes name it. Rejected: a live check (what is on its way would look lost). */
#include "worker/cli/client.h"
#include "worker/cli/judge.h"
#include "worker/cli/lines.h"
#include "worker/cli/outcome.h"

#include <stdio.h>

enum { CHECK_TOPICS_MAX = 6 * MR_ROUTES_MAX, CHECK_SHOWN = 20, CHECK_LINE_MAX = 511 };

struct check {
    struct mr_cli *cli;
    struct mr_client client;
    const char *deaths;
    bool all, jobs;
};

static void set_kinds(struct mr_value *map, const char *key, const int64_t *counts, struct mr_arena *arena)
{
    struct mr_value kinds = mr_value_map(arena, MR_FOLD_KINDS);
    for (int kind = 0; kind < MR_FOLD_KINDS; kind++)
        if (counts[kind])
            mr_value_set(&kinds, mr_fold_kind_name((enum mr_fold_kind)kind), mr_value_int(counts[kind]));
    mr_value_set(map, key, kinds);
}

static struct mr_value ms_or_null(double ms) { return ms < 0 ? mr_value_null() : mr_value_float(ms); }

/* One job as a map or a line: what became of it, and whether anything is wrong with it. */
static void check_tell(void *self, const struct mr_judge_job *job)
{
    struct check *c = self;
    int64_t wrong = job->violations + job->lost + job->duplicates;
    if (!c->cli->json) {
        printf("%-10s %s/%d/%lld ", job->state, job->topic, job->partition, (long long)job->src.offset);
        mr_outcome_print_text(job->name);
        printf(" tokens %lld starts %lld%s\n", (long long)job->tokens, (long long)job->starts, wrong ? " WRONG" : "");
        return;
    }
    struct mr_arena arena = {0};
    struct mr_value map = mr_value_map(&arena, 11);
    mr_value_set(&map, "job", mr_value_string(job->name));
    mr_value_set(&map, "state", mr_value_string(mr_str_from(job->state)));
    mr_value_set(&map, "topic", mr_value_string(mr_str_from(job->topic)));
    mr_value_set(&map, "partition", mr_value_int(job->partition));
    mr_value_set(&map, "offset", mr_value_int(job->src.offset));
    mr_value_set(&map, "tokens", mr_value_int(job->tokens));
    mr_value_set(&map, "starts", mr_value_int(job->starts));
    mr_value_set(&map, "tokens_twice", mr_value_int(job->tokens_twice));
    mr_value_set(&map, "violations", mr_value_int(job->violations));
    mr_value_set(&map, "lost", mr_value_int(job->lost));
    mr_value_set(&map, "duplicates", mr_value_int(job->duplicates));
    mr_outcome_print_json(&map);
    mr_arena_fini(&arena);
}

static void check_print_json(struct check *c, const struct mr_judge_report *report)
{
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {
        {"jobs", report->jobs}, {"records", report->records}, {"violations", report->violations}, {"lost", report->lost},
        {"duplicates", report->duplicates}, {"starts", report->starts}, {"extra_starts", report->extra_starts}, {"takeovers", report->takeovers},
        {"tokens", report->tokens}, {"tokens_twice", report->tokens_twice}, {"unchecked", report->unchecked}, {"recoveries", report->recoveries},
    };
    struct mr_value map = mr_value_map(&c->cli->arena, 20), twice = mr_value_map(&c->cli->arena, MR_TIER_COUNT);
    int64_t n = report->n_complaints < MR_JUDGE_COMPLAINTS_MAX ? report->n_complaints : MR_JUDGE_COMPLAINTS_MAX;
    struct mr_value complaints = mr_value_array(&c->cli->arena, (size_t)n);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        mr_value_set(&map, counts[i].name, mr_value_int(counts[i].value));
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        mr_value_set(&twice, mr_tier_name((enum mr_tier)tier), ms_or_null(report->twice_p50[tier]));
    mr_value_set(&map, "tokens_twice_p50", twice);
    set_kinds(&map, "outcomes", report->outcome, &c->cli->arena);
    set_kinds(&map, "ignored", report->ignored, &c->cli->arena);
    mr_value_set(&map, "recovery_ms_p50", ms_or_null(report->recovery_ms_p50));
    mr_value_set(&map, "recovery_ms_p99", ms_or_null(report->recovery_ms_p99));
    mr_value_set(&map, "first_token_ms_p50", ms_or_null(report->first_token_ms_p50));
    mr_value_set(&map, "first_token_ms_p99", ms_or_null(report->first_token_ms_p99));
    for (int64_t i = 0; i < n; i++)
        mr_value_push(&complaints, mr_value_string(mr_str_from(report->complaints[i])));
    mr_value_set(&map, "complaints", complaints);
    mr_outcome_print_json(&map);
}

static void check_print_ignored(const struct mr_judge_report *report)
{
    int64_t ignored = 0;
    printf("ignored records:");
    for (int kind = 0; kind < MR_FOLD_KINDS; kind++) {
        ignored += report->ignored[kind];
        if (report->ignored[kind])
            printf(" %s %lld", mr_fold_kind_name((enum mr_fold_kind)kind), (long long)report->ignored[kind]);
    }
    printf("%s; tokens generated twice %lld", ignored ? "" : " none", (long long)report->tokens_twice);
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        if (report->twice_p50[tier] >= 0)
            printf(", %s %.0f an interrupted job (median)", mr_tier_name((enum mr_tier)tier), report->twice_p50[tier]);
    printf("\n");
}

static void check_print(const struct check *c, const struct mr_judge_report *report)
{
    printf("%lld jobs, %lld stream records, %lld tokens\n", (long long)report->jobs, (long long)report->records, (long long)report->tokens);
    for (int kind = 0; kind < MR_FOLD_KINDS; kind++)
        if (report->outcome[kind])
            printf("  %-10s %lld\n", mr_fold_kind_name((enum mr_fold_kind)kind), (long long)report->outcome[kind]);
    printf("violations %lld, lost %lld, duplicates %lld\n", (long long)report->violations, (long long)report->lost, (long long)report->duplicates);
    printf("starts %lld, extra %lld, takeovers %lld; ", (long long)report->starts, (long long)report->extra_starts, (long long)report->takeovers);
    check_print_ignored(report);
    if (report->recoveries)
        printf("recovery of %lld runs: %.0f ms (median), %.0f ms (99 %%); to the next token %.0f and %.0f ms\n", (long long)report->recoveries,
               report->recovery_ms_p50, report->recovery_ms_p99, report->first_token_ms_p50, report->first_token_ms_p99);
    if (report->unchecked)
        printf("%lld results hold prompt token ids that only their tokenizer could make again\n", (long long)report->unchecked);
    int64_t shown = c->all ? MR_JUDGE_COMPLAINTS_MAX : CHECK_SHOWN;
    for (int64_t i = 0; i < report->n_complaints && i < shown && i < MR_JUDGE_COMPLAINTS_MAX; i++)
        printf("  %s\n", report->complaints[i]);
    if (report->n_complaints > shown)
        printf("  and %lld more (--all)\n", (long long)(report->n_complaints - shown));
}

/* Deaths: lines "<Unix time in ms> <worker.id>", "-" for a broker that goes away, "*" for its return; # and blank lines are passed over. */
static int check_deaths(const struct check *c, struct mr_judge *judge)
{
    struct mr_lines lines;
    struct mr_str line;
    struct mr_err err;
    enum mr_lines_next next = MR_LINES_END;
    int code = MR_EXIT_DONE;
    if (mr_lines_open(&lines, c->deaths, CHECK_LINE_MAX, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    while (code == MR_EXIT_DONE && (next = mr_lines_next(&lines, -1, &line)) == MR_LINES_LINE) {
        char text[CHECK_LINE_MAX + 1] = {0}, worker[CHECK_LINE_MAX + 1], rest[2];
        long long time_ms;
        memcpy(text, line.p ? line.p : "", line.n < CHECK_LINE_MAX ? line.n : CHECK_LINE_MAX);
        if (text[0] == 0 || text[0] == '#')
            continue;
        if (line.n > CHECK_LINE_MAX || sscanf(text, "%lld %s %1s", &time_ms, worker, rest) != 2)
            code = mr_cli_fail("%s:%lld: a line is a time in ms and a worker", c->deaths, (long long)lines.number);
        else if (!mr_judge_death(judge, mr_str_from(worker), time_ms))
            code = mr_cli_fail("out of memory");
    }
    if (next == MR_LINES_FAILED)
        code = mr_cli_fail("%s cannot be read", c->deaths);
    mr_lines_close(&lines);
    return code;
}

static bool check_take(void *self, const struct mr_record *record) { return mr_judge_add(self, record); }

static int check_read(struct check *c, struct mr_judge *judge)
{
    const struct mr_options *options = c->client.options;
    const char *names[CHECK_TOPICS_MAX];
    struct mr_client_topics topics = {.names = names, .what = "topic"};
    for (int32_t i = 0; i < options->n_routes; i++) {
        const struct mr_route *route = &options->routes[i];
        const char *its[] = {route->jobs, route->parked, route->stream, route->stream_parked, route->results, route->dead};
        for (size_t k = 0; k < sizeof its / sizeof *its; k++)
            names[topics.n++] = its[k];
    }
    return mr_client_read(&c->client, &topics, check_take, judge);
}

static int check_run(struct check *c)
{
    struct mr_judge *judge = mr_judge_open(c->client.options);
    if (!judge)
        return mr_cli_fail("out of memory");
    struct mr_clock clock = mr_clock_system();
    mr_judge_now(judge, mr_clock_wall_ms(&clock));
    int code = c->deaths ? check_deaths(c, judge) : MR_EXIT_DONE;
    if (code == MR_EXIT_DONE)
        code = check_read(c, judge);
    const struct mr_judge_report *report = code == MR_EXIT_DONE ? mr_judge_finish(judge) : NULL;
    if (report && c->jobs)
        mr_judge_each(judge, check_tell, c);
    if (report && c->cli->json)
        check_print_json(c, report);
    else if (report)
        check_print(c, report);
    else if (code == MR_EXIT_DONE)
        code = mr_cli_fail("out of memory");
    if (report && (report->violations || report->lost || report->duplicates))
        code = MR_EXIT_FAILED;
    mr_judge_close(judge);
    return code;
}

int mr_verb_check(struct mr_cli *cli, int argc, char **argv)
{
    struct check c = {.cli = cli};
    const struct mr_flag flags[] = {
        {"brokers", "LIST", "host:port[,host:port]", MR_FLAG_SETTING, NULL, "kafka.brokers"},
        {"prefix", "P", "what the topics' names begin with", MR_FLAG_SETTING, NULL, "kafka.prefix"},
        {"jobs", NULL, "a line a job too: what became of it", MR_FLAG_BOOL, &c.jobs, NULL},
        {"all", NULL, "print every complaint, not only the first 20", MR_FLAG_BOOL, &c.all, NULL},
        {"deaths", "FILE", "lines \"<Unix ms> <worker.id>\": when workers died (- and *: the broker goes, is back); recovery begins there",
         MR_FLAG_TEXT, &c.deaths, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "check [--brokers LIST] [-c FILE]",
        .about = "Reads the topics of the configuration back and says for every job what happened: each input record must have one outcome,\n"
                 "a stream without gap or repeat, and a result that is what record and stream make. Jobs still on their way count as lost, so\n"
                 "check when nothing runs. It needs nothing but the topics: a broker's address, and the configuration only where routes are not\n"
                 "the three of the default. recovery: from the lost owner's last record (or its death) to the next one's first.\n"
                 "Exit code 1: something is wrong.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    int code = mr_client_open(&c.client, cli);
    if (code != MR_EXIT_DONE)
        return code;
    code = check_run(&c);
    mr_client_close(&c.client);
    return code;
}
