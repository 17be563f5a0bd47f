/* `millrace sim`: the scheduler on a scenario, without a model or a card. One policy prints its figures; several, separated by
 * commas, or `all`, beside each other. A trace alone makes a scenario too: the same text that a file would have. Owns the scenario and
 * the results of one call.
 *
 * 1. Nothing is written until every policy has run. 2. A broken invariant is a failure of the call. One thread. */
#include "worker/cli/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POLICIES_MAX = 32, SCENARIO_BYTES_MAX = 1 << 20 };

struct sim_runs {
    struct sim_scenario *base;
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

bool sim_file_read(struct mr_cli *cli, const char *path, char **out)
{
    FILE *file = fopen(path, "rb");
    long size = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    bool whole = size >= 0 && size <= SCENARIO_BYTES_MAX && fseek(file, 0, SEEK_SET) == 0;
    char *text = whole ? mr_arena_alloc(&cli->arena, (size_t)size + 1) : NULL;
    whole = text && fread(text, 1, (size_t)size, file) == (size_t)size;
    if (file)
        fclose(file);
    if (whole)
        text[size] = 0;
    *out = text;
    return whole;
}

bool sim_file_write(const char *path, const struct mr_buf *buf)
{
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(buf->p, 1, buf->n, file) == buf->n;
    return file && fclose(file) == 0 && ok;
}

bool sim_run_policy(const struct sim_scenario *base, const char *policy, const struct sim_options *options, struct sim_result *result,
                    struct mr_err *err)
{
    struct sim_scenario *scenario = malloc(sizeof *scenario);
    if (!scenario)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the simulation") == MR_OK;
    *scenario = *base;
    bool ok = sim_policy_apply(scenario, policy, err) == MR_OK && sim_run(scenario, options, result, err) == MR_OK;
    free(scenario);
    if (ok && result->violation[0])
        ok = mr_err_set(err, MR_ERR_INVALID, "policy %s breaks an invariant: %s", policy, result->violation) == MR_OK;
    return ok;
}

/* Traces lie beside the scenario when no folder is given. */
static const char *trace_folder(struct mr_cli *cli, const struct sim_flags *flags)
{
    const char *slash = flags->scenario ? strrchr(flags->scenario, '/') : NULL;
    if (flags->traces || !slash)
        return flags->traces;
    return mr_arena_str(&cli->arena, (struct mr_str){flags->scenario, (size_t)(slash - flags->scenario)}).p;
}

static bool run_one(struct sim_runs *runs, const char *policy, struct mr_err *err)
{
    if (runs->n == POLICIES_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "at most %d policies at once", POLICIES_MAX) == MR_OK;
    struct sim_result *result = &runs->results[runs->n];
    if (!sim_run_policy(runs->base, policy, &runs->options, result, err))
        return false;
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
        ok = ok && sim_file_write(flags->csv, &file);
    }
    mr_buf_clear(&file);
    if (flags->svg) {
        sim_report_svg(runs->reports, runs->n, &file);
        ok = ok && sim_file_write(flags->svg, &file);
    }
    mr_buf_fini(&out);
    mr_buf_fini(&file);
    return ok ? MR_EXIT_DONE : mr_cli_fail("a result could not be written: %s", strerror(errno));
}

/* The trace as realtime with one tenant, or its clients as tenants, until it has ended or `seconds` have. */
static bool scenario_of_trace(struct mr_cli *cli, const struct sim_flags *flags, char **text)
{
    struct mr_buf out = {0};
    double ttft = 500, tpot = 50;
    if (flags->slo && (sscanf(flags->slo, "%lf,%lf", &ttft, &tpot) != 2 || ttft < 0 || tpot < 0))
        return false;
    mr_buf_addf(&out, "name trace\ncard %s\nslo realtime %g %g\nmax_context 131072\ndrain 1\nseconds %g\n", flags->card ? flags->card : "h200-8b",
                ttft, tpot, flags->seconds);
    mr_buf_addf(&out, "load tenants=0-%d tier=realtime source=trace:%s speed=%g\n", SIM_TENANTS_MAX - 1, flags->trace, flags->speed);
    mr_buf_add_char(&out, 0);
    *text = out.failed ? NULL : mr_arena_alloc(&cli->arena, out.n);
    if (*text)
        memcpy(*text, out.p, out.n);
    mr_buf_fini(&out);
    return *text != NULL;
}

static int sim_main(struct mr_cli *cli, const struct sim_flags *flags, struct sim_runs *runs)
{
    const char *name = flags->scenario ? flags->scenario : flags->trace;
    struct mr_err err;
    char *text;
    if (!runs->base || !runs->results)
        return mr_cli_fail("no memory for the simulation");
    if (flags->scenario && !sim_file_read(cli, flags->scenario, &text))
        return mr_cli_fail("%s: %s", flags->scenario, errno ? strerror(errno) : "cannot be read whole");
    if (!flags->scenario && !scenario_of_trace(cli, flags, &text))
        return mr_cli_misuse("--slo is two times in ms, TTFT,TPOT");
    if (sim_scenario_parse(runs->base, text, &err) != MR_OK)
        return mr_cli_misuse("%s: %s", name, err.text);
    if (flags->seed >= 0)
        runs->base->seed = (uint64_t)flags->seed;
    if (flags->check)
        runs->base->config.max_tenants = 16; /* the oracles look at that many */
    runs->options = (struct sim_options){.check = flags->check, .plan_clock_ns = cpu_ns, .trace_folder = trace_folder(cli, flags)};
    if (flags->cards)
        return sim_cards_answer(cli, runs->base, flags, &runs->options);
    if (!run_policies(cli, runs, flags->policy ? flags->policy : "ours", &err))
        return mr_cli_fail("%s", err.text);
    return results_print(cli, runs, flags);
}

int mr_verb_sim(struct mr_cli *cli, int argc, char **argv)
{
    struct sim_flags flags = {.seed = -1, .cards_max = SIM_WORKERS_MAX, .speed = 1, .seconds = 600};
    const struct mr_flag table[] = {
        {"scenario", "FILE", "the scenario (tests/scheduler/scenarios has some; scheduler/sim/scenario.h has the language)", MR_FLAG_TEXT,
            &flags.scenario, NULL},
        {"trace", "FILE", "instead of a scenario: a trace (Azure 2023, Mooncake, VTC) as realtime", MR_FLAG_TEXT, &flags.trace, NULL},
        {"speed", "X", "of --trace: so many times as fast (default 1)", MR_FLAG_NUMBER, &flags.speed, NULL},
        {"seconds", "S", "of --trace: the first S seconds of it, at that speed (default 600)", MR_FLAG_NUMBER, &flags.seconds, NULL},
        {"card", "NAME", "of --trace: h200-8b (default), h200-70b-tp4, cpu-2", MR_FLAG_TEXT, &flags.card, NULL},
        {"slo", "TTFT,TPOT", "of --trace: what is promised, in ms (default 500,50)", MR_FLAG_TEXT, &flags.slo, NULL},
        {"policy", "NAMES", "ours (default), fcfs, fcfs-512, strict, strict-512, vtc, lpm, ours-clairvoyant, ours-no-PART (tiers, fair, "
            "prefix, slack, relegation, floors, quantiles, victims, cap, lift, guard, window); several with commas, or all", MR_FLAG_TEXT,
            &flags.policy, NULL},
        {"cards", NULL, "how many cards until enough jobs keep their SLO", MR_FLAG_BOOL, &flags.cards, NULL},
        {"on-time", "SHARE", "the share that is enough for --cards (default 0.99); alone, it means --cards", MR_FLAG_NUMBER, &flags.on_time, NULL},
        {"cards-max", "N", "give up there (default 64)", MR_FLAG_INT, &flags.cards_max, NULL},
        {"all", "FOLDER", "run what the folder's claims name and print the table of what they show", MR_FLAG_TEXT, &flags.all, NULL},
        {"traces", "FOLDER", "where the scenario's traces lie (default: beside it)", MR_FLAG_TEXT, &flags.traces, NULL},
        {"seed", "N", "another seed than the scenario's", MR_FLAG_INT, &flags.seed, NULL},
        {"csv", "FILE", "write the figures as CSV, a line a policy and tier", MR_FLAG_TEXT, &flags.csv, NULL},
        {"svg", "FILE", "write a picture: rates, shares on time, waits", MR_FLAG_TEXT, &flags.svg, NULL},
        {"check", NULL, "check every invariant at every event (slow)", MR_FLAG_BOOL, &flags.check, NULL},
    };
    const struct mr_flags_usage usage = {
        "sim --scenario FILE | --trace FILE | --all FOLDER [--policy NAMES] [--cards]",
        "The worker's own scheduler on a trace or on synthetic load, against a cost model of the card: simulated, not measured. "
        "`bench calibrate` writes the cost model of the device that is there. Same seed, same plans, whatever the machine.\n"
        "on time: the share of the jobs that arrived that kept both SLOs; drift/bound: the most that two tenants with work without end "
        "were apart, over 2 (Q + U); recomp.: recomputed tokens of all computed.", table, sizeof table / sizeof *table, 0, 0};
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    if ((flags.scenario != NULL) + (flags.trace != NULL) + (flags.all != NULL) != 1)
        return mr_cli_misuse("one of --scenario, --trace and --all is wanted");
    if (flags.cards_max < 1 || flags.cards_max > SIM_WORKERS_MAX || flags.speed <= 0 || flags.seconds <= 0 ||
        flags.on_time < 0 || flags.on_time > 1)
        return mr_cli_misuse("--cards-max is 1 to %d, --on-time a share, --speed and --seconds more than 0", SIM_WORKERS_MAX);
    if (flags.all)
        return sim_all_answer(cli, &flags);
    flags.cards |= flags.on_time > 0;
    flags.on_time = flags.on_time > 0 ? flags.on_time : 0.99;
    struct sim_runs runs = {.base = calloc(1, sizeof *runs.base), .results = calloc(POLICIES_MAX, sizeof *runs.results)};
    int code = sim_main(cli, &flags, &runs);
    free(runs.base);
    free(runs.results);
    return code;
}
