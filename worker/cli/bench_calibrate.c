/* `millrace bench calibrate`: what a step costs on this device, fitted to timed steps, as a piece of configuration; --validate times as
 * many other steps and prints how far the scheduler's and the simulator's prediction is off. One thread.
 *
 * The steps are random ones (calibration.h): sequences, contexts and chunks uniform in their logarithm. */
#include "worker/calibration.h"
#include "worker/cli/bench.h"
#include "worker/serving.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CALIBRATE_STEPS_MAX = MR_STEP_COST_SAMPLES_MAX };

struct calibrate {
    struct mr_serving serving;
    struct mr_calibration_options options;
    struct mr_step_sample fitted[CALIBRATE_STEPS_MAX], others[CALIBRATE_STEPS_MAX];
    int32_t n_fitted, n_others;
    struct mr_sched_cost cost;
};

struct calibrate_flags {
    int64_t steps, seconds, limit_percent;
    bool validate, dump;
    const char *out;
};

static bool write_fragment(const struct calibrate *c, const char *path, const char *device)
{
    char text[MR_STEP_COST_TEXT_BYTES];
    FILE *file = fopen(path, "w");
    mr_step_cost_print(&c->cost, text);
    bool ok = file && fprintf(file, "# What a step costs: %s on %s, fitted to %d steps. `@include` it in a worker's configuration.\n"
                                    "# Picoseconds: floor, base, a token, a token of context, a pair, overhead, a decode's row.\n"
                                    "# In a scenario: cost %s\n"
                                    "scheduler = { cost = \"%s\"; };\n", c->serving.bundle->name, device, c->n_fitted, text, text) > 0;
    return file && fclose(file) == 0 && ok;
}

struct calibrate_errors {
    double fit, p50, p90, p99; /* shares; fit: median over the fitted steps themselves, the others over the other steps */
    bool ok;                   /* within the limit, or none was given */
};

static void print_json(const struct calibrate *c, const struct calibrate_flags *flags, const struct calibrate_errors *e, const char *device)
{
    char text[MR_STEP_COST_TEXT_BYTES];
    mr_step_cost_print(&c->cost, text);
    printf("{\"model\":\"%s\",\"path\":\"%s\",\"cost\":\"%s\",\"steps\":%d,\"fit_error_p50\":%.5f", c->serving.bundle->name, device, text,
           c->n_fitted, e->fit);
    if (flags->validate)
        printf(",\"other_steps\":%d,\"error_p50\":%.5f,\"error_p90\":%.5f,\"error_p99\":%.5f,\"ok\":%s", c->n_others, e->p50, e->p90, e->p99,
               e->ok ? "true" : "false");
    printf("}\n");
}

static void print_text(const struct calibrate *c, const struct calibrate_flags *flags, const struct calibrate_errors *e, const char *device)
{
    const struct mr_sched_cost *k = &c->cost;
    char text[MR_STEP_COST_TEXT_BYTES];
    mr_step_cost_print(k, text);
    printf("%s, %s, fitted to %d steps (half of them within %.1f %%):\n", c->serving.bundle->name, device, c->n_fitted, 100 * e->fit);
    printf("  a step takes at least %.3f ms, else %.3f ms + %.3f ms a token; + %.3f ms a decode, + %.3f us a token of context, + %.3f us a pair\n",
           (double)k->floor_ps / 1e9, (double)k->base_ps / 1e9, (double)k->token_ps / 1e9, (double)k->row_ps / 1e9, (double)k->context_ps / 1e6,
           (double)k->pair_ps / 1e6);
    printf("  cost = \"%s\"\n", text);
    if (flags->validate)
        printf("predicted against measured on %d other steps: off by %.1f %% (p50), %.1f %% (p90), %.1f %% (p99)\n", c->n_others, 100 * e->p50,
               100 * e->p90, 100 * e->p99);
    if (flags->validate && flags->limit_percent)
        printf("%s p50 %.1f %%, limit %lld %%\n", e->ok ? "ok    " : "FAILED", 100 * e->p50, (long long)flags->limit_percent);
}

static int print_all(struct mr_cli *cli, const struct calibrate *c, const struct calibrate_flags *flags, const char *device)
{
    struct calibrate_errors e = {
        .fit = mr_step_cost_error(&c->cost, c->fitted, c->n_fitted, 0.5),
        .p50 = mr_step_cost_error(&c->cost, c->others, c->n_others, 0.5),
        .p90 = mr_step_cost_error(&c->cost, c->others, c->n_others, 0.9),
        .p99 = mr_step_cost_error(&c->cost, c->others, c->n_others, 0.99),
    };
    e.ok = !flags->validate || flags->limit_percent == 0 || 100 * e.p50 <= (double)flags->limit_percent;
    for (int i = 0; flags->dump && i < c->n_fitted; i++)
        fprintf(stderr, "%lld %lld %lld %.3f ms, predicted %.3f ms\n", (long long)c->fitted[i].load.tokens, (long long)c->fitted[i].load.context,
                (long long)c->fitted[i].load.pairs, (double)c->fitted[i].ns / 1e6, (double)cost_step_ps(&c->cost, c->fitted[i].load) / 1e9);
    (cli->json ? print_json : print_text)(c, flags, &e, device);
    return e.ok ? MR_EXIT_DONE : MR_EXIT_FAILED;
}

static int calibrate(struct mr_cli *cli, struct calibrate *c, const struct calibrate_flags *flags)
{
    struct mr_err err;
    const struct mr_options *options = mr_cli_options(cli);
    if (mr_serving_open(options, &c->serving, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    c->options = (struct mr_calibration_options){(int32_t)options->engine.max_seqs, (int32_t)options->engine.max_step_tokens,
                                                 (int32_t)options->engine.max_logits, flags->seconds * MR_NS_PER_S};
    c->n_fitted = c->n_others = (int32_t)flags->steps;
    if (mr_calibration_random(c->serving.bundle, &c->options, 1, c->fitted, &c->n_fitted, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    if (!mr_step_cost_fit(c->fitted, c->n_fitted, &c->cost))
        return mr_cli_fail("%d steps are too few for a fit", c->n_fitted);
    if (flags->validate && mr_calibration_random(c->serving.bundle, &c->options, 2, c->others, &c->n_others, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    const char *device = c->serving.bundle->ops->path(c->serving.bundle->device);
    if (flags->out && !write_fragment(c, flags->out, device))
        return mr_cli_fail("%s: %s", flags->out, strerror(errno));
    return print_all(cli, c, flags, device);
}

int mr_bench_calibrate(struct mr_cli *cli, int argc, char **argv)
{
    struct calibrate_flags f = {.steps = 200, .seconds = 120};
    const struct mr_flag flags[] = {
        MR_FLAG_ROW_MODEL,
        {"out", "FILE", "write it as a piece of configuration", MR_FLAG_TEXT, &f.out, NULL},
        {"steps", "N", "steps that are timed for the fit (200)", MR_FLAG_INT, &f.steps, NULL},
        {"validate", NULL, "time as many others and compare", MR_FLAG_BOOL, &f.validate, NULL},
        {"limit", "PERCENT", "with --validate: fail when the median error is over it", MR_FLAG_INT, &f.limit_percent, NULL},
        {"seconds", "N", "at most so long for each of the two (120)", MR_FLAG_INT, &f.seconds, NULL},
        {"dump", NULL, "every step on standard error: tokens, context, pairs, time", MR_FLAG_BOOL, &f.dump, NULL},
        MR_FLAG_ROW_DEVICE,
        MR_FLAG_ROW_THREADS,
        MR_FLAG_ROW_PRECISION,
        MR_FLAG_ROW_KV_MEMORY,
        MR_FLAG_ROW_MAX_SEQS,
        MR_FLAG_ROW_MAX_STEP_TOKENS,
    };
    const struct mr_flags_usage usage = {
        .synopsis = "bench calibrate [MODEL] [--out FILE] [--validate]",
        .about = "What a step costs on this device, fitted to timed steps: what the scheduler plans with and the simulator runs on.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .max_args = 1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    if (f.steps < MR_STEP_COST_LEAST || f.steps > CALIBRATE_STEPS_MAX || f.seconds < 1 || f.limit_percent < 0)
        return mr_cli_misuse("%d to %d steps, at least one second", MR_STEP_COST_LEAST, CALIBRATE_STEPS_MAX);
    if ((args.n && !mr_cli_set(cli, "model", args.items[0])) || !mr_cli_set(cli, "scheduler.calibrate", "0") || !mr_cli_options(cli))
        return MR_EXIT_USAGE;
    static struct calibrate c;
    int code = calibrate(cli, &c, &f);
    mr_serving_close(&c.serving);
    return code;
}
