/* `millrace sim`: the scheduler on a scenario, without a model or a card. One policy prints its figures; several, separated by
 * commas, or `all`, a table. With --on-time it answers how many cards the scenario needs: workers are added until that share
 * of the realtime jobs keeps both SLOs. */
#include "scheduler/sim/report.h"
#include "worker/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POLICIES_MAX = 32, SCENARIO_BYTES_MAX = 1 << 20 };

struct sim_flags {
    const char *scenario, *policy, *traces, *csv, *svg;
    double on_time;
    int64_t cards_max, seed;
    bool check;
};

struct sim_runs {
    struct sim_scenario *base, *scenario;
    struct sim_options options;
    struct sim_result *results;           /* [POLICIES_MAX] */
    struct sim_run_report reports[POLICIES_MAX];
    int32_t n;
};

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool file_read(struct mr_arena *arena, const char *path, char **out)
{
    FILE *file = fopen(path, "rb");
    char *text = file ? mr_arena_alloc(arena, SCENARIO_BYTES_MAX + 1) : NULL;
    size_t n = text ? fread(text, 1, SCENARIO_BYTES_MAX, file) : 0;
    bool whole = text && !ferror(file) && feof(file);
    if (file)
        fclose(file);
    if (text)
        text[n] = 0;
    *out = text;
    return whole;
}

static bool file_write(const char *path, const struct mr_buf *buf)
{
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(buf->p, 1, buf->n, file) == buf->n;
    return file && fclose(file) == 0 && ok;
}

/* Traces lie beside the scenario when no folder is given. */
static const char *trace_folder(struct mr_cli *cli, const struct sim_flags *flags)
{
    const char *slash = strrchr(flags->scenario, '/');
    if (flags->traces || !slash)
        return flags->traces;
    return mr_arena_str(&cli->arena, (struct mr_str){flags->scenario, (size_t)(slash - flags->scenario)}).p;
}

static bool run_one(struct sim_runs *runs, const char *policy, struct mr_err *err)
{
    if (runs->n == POLICIES_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "at most %d policies at once", POLICIES_MAX) == MR_OK;
    struct sim_result *result = &runs->results[runs->n];
    *runs->scenario = *runs->base;
    if (sim_policy_apply(runs->scenario, policy, err) != MR_OK || sim_run(runs->scenario, &runs->options, result, err) != MR_OK)
        return false;
    if (result->violation[0]) {
        mr_err_set(err, MR_ERR_INVALID, "policy %s breaks an invariant: %s", policy, result->violation);
        return false;
    }
    runs->reports[runs->n++] = (struct sim_run_report){runs->base->name, policy, result};
    return true;
}

static bool run_policies(struct mr_cli *cli, struct sim_runs *runs, const char *policies, struct mr_err *err)
{
    if (strcmp(policies, "all") == 0) {
        for (const char *const *name = sim_policy_names(); *name; name++)
            if (!run_one(runs, *name, err))
                return false;
        return true;
    }
    char *list = (char *)(uintptr_t)mr_arena_str(&cli->arena, mr_str_from(policies)).p, *save = NULL;
    if (!list)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory") == MR_OK;
    for (char *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save))
        if (!run_one(runs, name, err))
            return false;
    return true;
}

static int results_print(struct mr_cli *cli, const struct sim_runs *runs, const struct sim_flags *flags)
{
    struct mr_buf out = {0}, file = {0};
    for (int32_t i = 0; cli->json && i < runs->n; i++) {
        sim_report_json(&runs->reports[i], &out);
        mr_buf_add_char(&out, '\n');
    }
    if (!cli->json)
        sim_report_table(runs->reports, runs->n, &out);
    fwrite(out.p, 1, out.n, stdout);
    bool ok = !out.failed;
    if (flags->csv) {
        sim_report_csv(runs->reports, runs->n, &file);
        ok = ok && file_write(flags->csv, &file);
    }
    mr_buf_clear(&file);
    if (flags->svg) {
        sim_report_svg(runs->reports, runs->n, &file);
        ok = ok && file_write(flags->svg, &file);
    }
    mr_buf_fini(&out);
    mr_buf_fini(&file);
    return ok ? MR_EXIT_DONE : mr_cli_fail("a result could not be written: %s", strerror(errno));
}

static int cards_answer(struct mr_cli *cli, struct sim_runs *runs, const struct sim_flags *flags)
{
    const char *policy = flags->policy ? flags->policy : "ours";
    struct mr_err err;
    for (int32_t cards = 1; cards <= flags->cards_max; cards++) {
        runs->base->workers = cards;
        runs->n = 0;
        if (!run_one(runs, policy, &err))
            return mr_cli_fail("%s", err.text);
        const struct sim_tier_result *realtime = &runs->results[0].tier[MR_TIER_REALTIME];
        double share = realtime->arrived ? (double)realtime->on_time / (double)realtime->arrived : 1;
        if (cli->json)
            printf("{\"scenario\":\"%s\",\"policy\":\"%s\",\"cards\":%d,\"on_time\":%.5f,\"wanted\":%.5f,\"enough\":%s,\"ttft_ms_p99\":%.3f}\n",
                    runs->base->name,
                   policy, cards, share, flags->on_time, share >= flags->on_time ? "true" : "false", realtime->ttft_ms[1]);
        else
            printf("%2d card%s  %6.2f %% on time, TTFT p99 %.0f ms%s\n", cards, cards == 1 ? " " : "s", 100 * share, realtime->ttft_ms[1],
                   share >= flags->on_time ? "  <- enough" : "");
        if (share >= flags->on_time)
            return MR_EXIT_DONE;
    }
    return mr_cli_fail("%lld cards are not enough for %.2f %% on time", (long long)flags->cards_max, 100 * flags->on_time);
}

static int sim_main(struct mr_cli *cli, const struct sim_flags *flags, struct sim_runs *runs)
{
    struct mr_err err;
    char *text;
    if (!runs->base || !runs->scenario || !runs->results)
        return mr_cli_fail("no memory for the simulation");
    if (!file_read(&cli->arena, flags->scenario, &text))
        return mr_cli_fail("%s: %s", flags->scenario, errno ? strerror(errno) : "cannot be read whole");
    if (sim_scenario_parse(runs->base, text, &err) != MR_OK)
        return mr_cli_misuse("%s: %s", flags->scenario, err.text);
    if (flags->seed >= 0)
        runs->base->seed = (uint64_t)flags->seed;
    if (flags->check)
        runs->base->config.max_tenants = 16; /* the oracles look at that many */
    runs->options = (struct sim_options){.check = flags->check, .plan_clock_ns = cpu_ns, .trace_folder = trace_folder(cli, flags)};
    if (flags->on_time > 0)
        return cards_answer(cli, runs, flags);
    if (!run_policies(cli, runs, flags->policy ? flags->policy : "ours", &err))
        return mr_cli_fail("%s", err.text);
    return results_print(cli, runs, flags);
}

int mr_verb_sim(struct mr_cli *cli, int argc, char **argv)
{
    struct sim_flags flags = {.seed = -1, .cards_max = SIM_WORKERS_MAX};
    const struct mr_flag table[] = {
        {"scenario", "FILE", "the scenario (tests/scheduler/scenarios has some)", MR_FLAG_TEXT, &flags.scenario, NULL},
        {"policy", "NAMES", "ours (default), fcfs, fcfs-512, strict, vtc, lpm, ours-no-PART; several with commas, or all", MR_FLAG_TEXT,
                &flags.policy, NULL},
        {"traces", "FOLDER", "where the scenario's traces lie (default: beside it)", MR_FLAG_TEXT, &flags.traces, NULL},
        {"seed", "N", "another seed than the scenario's", MR_FLAG_INT, &flags.seed, NULL},
        {"on-time", "SHARE", "how many cards until this share of realtime keeps its SLO", MR_FLAG_NUMBER, &flags.on_time, NULL},
        {"cards-max", "N", "give up there (default 16)", MR_FLAG_INT, &flags.cards_max, NULL},
        {"csv", "FILE", "write the figures as CSV", MR_FLAG_TEXT, &flags.csv, NULL},
        {"svg", "FILE", "write a picture", MR_FLAG_TEXT, &flags.svg, NULL},
        {"check", NULL, "check every invariant at every event (slow)", MR_FLAG_BOOL, &flags.check, NULL},
    };
    const struct mr_flags_usage usage = {"sim --scenario FILE [--policy NAMES] [--traces FOLDER]",
                                         "The worker's own scheduler on a trace or on synthetic load, against a cost model of the card.", table,
                                         sizeof table / sizeof *table, 0, 0};
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    if (!flags.scenario || flags.cards_max < 1 || flags.cards_max > SIM_WORKERS_MAX)
        return mr_cli_misuse("--scenario is wanted, and --cards-max is 1 to %d", SIM_WORKERS_MAX);
    struct sim_runs runs = {.base = calloc(1, sizeof *runs.base), .scenario = calloc(1, sizeof *runs.scenario),
                            .results = calloc(POLICIES_MAX, sizeof *runs.results)};
    int code = sim_main(cli, &flags, &runs);
    free(runs.base);
    free(runs.scenario);
    free(runs.results);
    return code;
}
