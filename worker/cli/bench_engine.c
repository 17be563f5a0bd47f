/* `millrace bench engine`: how fast the engine is, each figure beside the limit that was measured in the same run.
 *
 * A setting is (jobs, prompt tokens, output tokens), prompts of random ids, ends ignored. It runs twice:
 *   prefill: every job with one output token: prompt tokens a second, with no decode in between;
 *   decode:  every job whole: latencies of all jobs, and tokens a second over the steps in which every job decodes.
 * Before each, one short job runs unmeasured, so that no page is touched for the first time.
 *
 * What a share is of: bandwidth_share counts the weights as stored (once a step) and the K and V that a step's sequences read;
 * flops_share counts two operations a weight and token, and attention's. Both for the decode phase; prefill_flops_share for the
 * other. Limits are of this machine, with the threads that the engine has. One thread. */
#include "worker/cli/bench.h"
#include "worker/cli/bench_jobs.h"
#include "worker/cli/bench_load.h"
#include "worker/model/format_gguf.h"
#include "worker/serving.h"

#include <stdio.h>
#include <stdlib.h>

enum { BENCH_JOBS_MAX = 4096, BENCH_SETTINGS_MAX = 4, BENCH_STEPS_MAX = 1 << 20 };

struct bench_setting {
    int64_t jobs, prompt_tokens, output_tokens;
};

struct bench_job {
    struct mr_job job;
    int64_t first_ns, last_ns;
    int32_t n_output;
};

struct bench_figures {
    double prefill_tok_s, decode_tok_s;
    double ttft_ms[2], tpot_ms[2], host_us[2]; /* p50, p99 */
    double bandwidth_share, flops_share, prefill_flops_share;
    int64_t preemptions;
};

struct bench {
    struct mr_serving serving;
    struct mr_clock clock;
    int64_t start_ns;        /* before anything is open */
    double first_token_s;    /* from then on */
    struct bench_job *jobs;  /* [BENCH_JOBS_MAX] */
    int32_t *prompts;        /* [jobs][prompt_tokens] */
    double *host_us;         /* [n_host] of the decode phase's steps */
    int32_t n_host;
    int64_t decode_tokens, decode_steps, decode_ns; /* steps in which every job decoded */
    double decode_context;   /* sum of positions over their rows */
    struct mr_ceilings limits;
};

/* ---- what a step costs ---- */

static double bench_token_flops(const struct mr_shape *s, double context)
{
    double q = (double)s->n_heads * s->head_dim, kv = 2.0 * s->n_kv_heads * s->head_dim;
    double layer = 2.0 * s->hidden * (q + kv) + 2.0 * q * s->hidden + 6.0 * s->hidden * s->ffn;
    return s->n_layers * (layer + 4.0 * q * context);
}

static double bench_head_flops(const struct mr_shape *s) { return 2.0 * s->hidden * s->vocabulary; }

/* ---- running ---- */

static void bench_make_jobs(struct bench *b, const struct bench_setting *setting, int64_t output_tokens)
{
    int32_t vocabulary = mr_model_shape(b->serving.bundle->model)->vocabulary;
    for (int64_t j = 0; j < setting->jobs; j++)
        b->jobs[j] = (struct bench_job){
            .job = mr_bench_job(j, b->prompts + j * setting->prompt_tokens, setting->prompt_tokens, output_tokens, vocabulary)};
}

static void bench_count_step(struct bench *b, const struct bench_setting *setting)
{
    struct mr_engine_stats stats;
    mr_engine_stats(b->serving.engine, &stats);
    if (b->n_host < BENCH_STEPS_MAX)
        b->host_us[b->n_host++] = (double)stats.last_host_ns / 1e3;
    if (stats.last_batch_seqs != setting->jobs || stats.last_batch_tokens != setting->jobs)
        return;
    b->decode_steps++;
    b->decode_tokens += setting->jobs;
    b->decode_ns += stats.last_step_ns;
    for (int64_t j = 0; j < setting->jobs; j++)
        b->decode_context += (double)setting->prompt_tokens + b->jobs[j].n_output;
}

/* Runs all jobs to their ends; the time it took, or -1. */
static int64_t bench_run(struct bench *b, const struct bench_setting *setting)
{
    const struct mr_engine_event *events;
    int32_t n_events;
    enum mr_status status;
    int64_t start_ns = mr_clock_ns(&b->clock);
    for (int64_t j = 0; j < setting->jobs; j++) {
        struct mr_engine_run run = {.run = (uint64_t)j, .job = &b->jobs[j].job, .arrival_ns = start_ns};
        struct mr_err err;
        if (mr_engine_submit(b->serving.engine, &run, start_ns, &err) != MR_OK) {
            mr_cli_fail("%s", err.text);
            return -1;
        }
    }
    b->n_host = 0;
    b->decode_steps = b->decode_tokens = b->decode_ns = 0;
    b->decode_context = 0;
    while (mr_engine_step(b->serving.engine, &b->clock, &events, &n_events, &status)) {
        if (status != MR_OK) {
            mr_cli_fail("a step failed: %s", mr_status_name(status));
            return -1;
        }
        bench_count_step(b, setting);
        for (int32_t i = 0; i < n_events; i++) {
            struct bench_job *job = &b->jobs[events[i].run];
            job->n_output += events[i].n_tokens;
            if (events[i].kind == MR_ENGINE_END)
                job->first_ns = events[i].timing.first_token_ns - start_ns, job->last_ns = events[i].timing.last_token_ns - start_ns;
        }
    }
    return mr_clock_ns(&b->clock) - start_ns;
}

static void bench_latencies(struct bench *b, const struct bench_setting *setting, struct bench_figures *out)
{
    static double values[BENCH_JOBS_MAX];
    for (int64_t j = 0; j < setting->jobs; j++)
        values[j] = (double)b->jobs[j].first_ns / 1e6;
    mr_bench_percentiles(values, setting->jobs, out->ttft_ms);
    for (int64_t j = 0; j < setting->jobs; j++)
        values[j] = setting->output_tokens > 1 ? (double)(b->jobs[j].last_ns - b->jobs[j].first_ns) / 1e6 / (double)(setting->output_tokens - 1) : 0;
    mr_bench_percentiles(values, setting->jobs, out->tpot_ms);
    mr_bench_percentiles(b->host_us, b->n_host, out->host_us);
}

static void bench_shares(const struct bench *b, const struct bench_setting *setting, double prefill_s, struct bench_figures *out)
{
    const struct mr_shape *shape = mr_model_shape(b->serving.bundle->model);
    const struct mr_kv_store_options *store = &b->serving.bundle->store->options;
    double kv_bytes = (double)mr_kv_block_bytes(store) / store->block_tokens;
    double jobs = (double)setting->jobs, prompt = (double)setting->prompt_tokens;
    double prefill = jobs * (prompt * bench_token_flops(shape, prompt / 2) + bench_head_flops(shape));
    if (b->limits.multiply_gflops > 0)
        out->prefill_flops_share = prefill / prefill_s / 1e9 / b->limits.multiply_gflops;
    if (b->decode_steps == 0)
        return;
    double seconds = (double)b->decode_ns / 1e9, tokens = (double)b->decode_tokens, context = b->decode_context / tokens;
    double bytes = (double)b->decode_steps * (double)mr_model_step_bytes(b->serving.bundle->model) + b->decode_context * kv_bytes;
    out->decode_tok_s = tokens / seconds;
    if (b->limits.multiply_gflops <= 0 || b->limits.read_gbs <= 0)
        return;
    out->bandwidth_share = bytes / seconds / 1e9 / b->limits.read_gbs;
    out->flops_share = tokens * (bench_token_flops(shape, context) + bench_head_flops(shape)) / seconds / 1e9 / b->limits.multiply_gflops;
}

static bool bench_measure(struct bench *b, const struct bench_setting *setting, struct bench_figures *out)
{
    const struct bench_setting warm = {1, setting->prompt_tokens < 16 ? setting->prompt_tokens : 16, 2};
    struct mr_engine_stats before, after;
    *out = (struct bench_figures){0};
    bench_make_jobs(b, &warm, warm.output_tokens);
    if (bench_run(b, &warm) < 0)
        return false;
    mr_engine_stats(b->serving.engine, &before);
    bench_make_jobs(b, setting, 1);
    int64_t prefill_ns = bench_run(b, setting);
    if (prefill_ns < 0)
        return false;
    bench_make_jobs(b, setting, setting->output_tokens);
    if (bench_run(b, setting) < 0)
        return false;
    mr_engine_stats(b->serving.engine, &after);
    out->prefill_tok_s = (double)(setting->jobs * setting->prompt_tokens) / ((double)prefill_ns / 1e9);
    out->preemptions = after.sched.preemptions - before.sched.preemptions;
    bench_latencies(b, setting, out);
    bench_shares(b, setting, (double)prefill_ns / 1e9, out);
    return true;
}

/* ---- the verb ---- */

/* A figure that is not known (the limits of a GPU are not measured here) is null. */
static const char *bench_number(double x, char out[32])
{
    snprintf(out, 32, x > 0 ? "%.4f" : "null", x);
    return out;
}

static void bench_print(const struct bench *b, const struct bench_setting *s, const struct bench_figures *f, bool json)
{
    char t[5][32];
    if (json)
        printf("{\"jobs\":%lld,\"prompt_tokens\":%lld,\"output_tokens\":%lld,\"prefill_tok_s\":%.2f,\"decode_tok_s\":%.2f,"
               "\"ttft_ms_p50\":%.3f,\"ttft_ms_p99\":%.3f,\"tpot_ms_p50\":%.3f,\"tpot_ms_p99\":%.3f,"
               "\"step_host_us_p50\":%.2f,\"step_host_us_p99\":%.2f,"
               "\"bandwidth_share\":%s,\"flops_share\":%s,\"prefill_flops_share\":%s,"
               "\"limit_read_gb_s\":%s,\"limit_multiply_gflop_s\":%s,\"preemptions\":%lld,\"model_s\":%.3f,\"first_token_s\":%.3f,\"path\":\"%s\"}\n",
               (long long)s->jobs, (long long)s->prompt_tokens, (long long)s->output_tokens, f->prefill_tok_s, f->decode_tok_s, f->ttft_ms[0],
               f->ttft_ms[1], f->tpot_ms[0], f->tpot_ms[1], f->host_us[0], f->host_us[1], bench_number(f->bandwidth_share, t[0]),
               bench_number(f->flops_share, t[1]), bench_number(f->prefill_flops_share, t[2]), bench_number(b->limits.read_gbs, t[3]),
               bench_number(b->limits.multiply_gflops, t[4]), (long long)f->preemptions,
               (double)b->serving.bundle->model_ns / 1e9, b->first_token_s, b->serving.bundle->ops->path(b->serving.bundle->device));
    else
        printf("%5lld %6lld %6lld %9.1f %9.1f %8.1f %8.1f %7.2f %7.2f %6.0f %6.0f %6.0f%% %6.0f%% %6.0f%%%s\n", (long long)s->jobs,
               (long long)s->prompt_tokens, (long long)s->output_tokens, f->prefill_tok_s, f->decode_tok_s, f->ttft_ms[0], f->ttft_ms[1],
               f->tpot_ms[0], f->tpot_ms[1], f->host_us[0], f->host_us[1], 100 * f->prefill_flops_share, 100 * f->bandwidth_share,
               100 * f->flops_share, f->preemptions ? "  (preempted: the cache is too small)" : "");
    fflush(stdout);
}

/* What a start takes: opening, and one token of a job of 16. */
static bool bench_start(struct bench *b, bool json)
{
    const struct bench_setting one = {1, 16, 1};
    const struct mr_bundle *bundle = b->serving.bundle;
    const struct mr_gguf *file = mr_model_file(bundle->model);
    bench_make_jobs(b, &one, 1);
    if (bench_run(b, &one) < 0)
        return false;
    b->first_token_s = (double)(mr_clock_ns(&b->clock) - b->start_ns) / 1e9;
    if (json)
        return true;
    printf("start: model in %.2f s, all open in %.2f s, first token at %.2f s\n", (double)bundle->model_ns / 1e9, (double)bundle->open_ns / 1e9,
           b->first_token_s);
    if (file)
        printf("       from a file of %.2f GB: %.1f GB/s\n", (double)file->size / 1e9, (double)file->size / (double)bundle->model_ns);
    return true;
}

static int bench_run_settings(struct bench *b, const struct bench_setting *settings, int n, bool json)
{
    int64_t most = 16;
    for (int i = 0; i < n; i++)
        most = settings[i].jobs * settings[i].prompt_tokens > most ? settings[i].jobs * settings[i].prompt_tokens : most;
    b->jobs = calloc(BENCH_JOBS_MAX, sizeof *b->jobs);
    b->prompts = calloc((size_t)most, sizeof *b->prompts);
    b->host_us = calloc(BENCH_STEPS_MAX, sizeof *b->host_us);
    if (!b->jobs || !b->prompts || !b->host_us)
        return mr_cli_fail("no memory for %lld prompt tokens", (long long)most);
    if (!bench_start(b, json))
        return MR_EXIT_FAILED;
    b->serving.bundle->ops->ceilings(b->serving.bundle->device, &b->limits);
    if (!json)
        printf("%s, %s; limits measured now: read %.1f GB/s, multiply %.0f GFLOP/s\n"
               " jobs prompt output  prefill    decode     ttft ms p50/p99     tpot ms p50/p99  host us p50/p99"
               " | prefill's flops, decode's bandwidth and flops\n",
               b->serving.bundle->name, b->serving.bundle->ops->path(b->serving.bundle->device), b->limits.read_gbs, b->limits.multiply_gflops);
    for (int i = 0; i < n; i++) {
        struct bench_figures figures;
        if (!bench_measure(b, &settings[i], &figures))
            return MR_EXIT_FAILED;
        bench_print(b, &settings[i], &figures, json);
    }
    return MR_EXIT_DONE;
}

static void bench_close(struct bench *b)
{
    mr_serving_close(&b->serving);
    free(b->jobs);
    free(b->prompts);
    free(b->host_us);
}

/* Room for so many jobs; steps are as full as they can be, whatever service level a tier has. */
static bool bench_grow(struct mr_cli *cli, int64_t jobs)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)jobs);
    if (!mr_cli_set(cli, "scheduler.calibrate", "0"))
        return false;
    return jobs <= 64 || (mr_cli_set(cli, "engine.max_seqs", text) && mr_cli_set(cli, "limits.jobs", text));
}

int mr_bench_engine(struct mr_cli *cli, int argc, char **argv)
{
    struct bench_setting asked = {0, 128, 64}, settings[BENCH_SETTINGS_MAX];
    struct mr_bench_load load = {.parts_s = 0.5};
    bool offline = false;
    static const int64_t usual[BENCH_SETTINGS_MAX] = {1, 4, 16, 64};
    const struct mr_flag flags[] = {
        MR_FLAG_ROW_MODEL,
        {"jobs", "N", "jobs at once (none: 1, 4, 16 and 64)", MR_FLAG_INT, &asked.jobs, NULL},
        {"prompt-tokens", "P", "of each (128)", MR_FLAG_INT, &asked.prompt_tokens, NULL},
        {"output-tokens", "O", "of each (64)", MR_FLAG_INT, &asked.output_tokens, NULL},
        {"offline", NULL, "all jobs (none: 3000) are queued at start, and what does not run yet waits: --max-seqs", MR_FLAG_BOOL, &offline, NULL},
        {"arrivals", "R", "jobs arrive at random, R a second", MR_FLAG_NUMBER, &load.arrivals, NULL},
        {"steps", NULL, "500 consecutive steps of the jobs side by side, beside replays of the recorded step", MR_FLAG_BOOL, &load.steps, NULL},
        {"parts", "S", "offline: look every S seconds at what a step is made of (0.5; 0: never)", MR_FLAG_NUMBER, &load.parts_s, NULL},
        MR_FLAG_ROW_MAX_SEQS,
        MR_FLAG_ROW_DEVICE,
        MR_FLAG_ROW_THREADS,
        MR_FLAG_ROW_PRECISION,
        MR_FLAG_ROW_KV_MEMORY,
        MR_FLAG_ROW_MAX_STEP_TOKENS,
    };
    const struct mr_flags_usage usage = {
        .synopsis = "bench engine --model M [--jobs N] [--prompt-tokens P] [--output-tokens O] [--offline] [--arrivals R] [--steps]",
        .about = "Tokens a second for prompts and for outputs, latencies, the host's part of a step, and the share of what this machine\n"
                 "can read and multiply, measured in the same run.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    if (asked.jobs < 0 || asked.jobs > BENCH_JOBS_MAX || asked.prompt_tokens < 1 || asked.prompt_tokens > 1 << 20 || asked.output_tokens < 1 ||
        asked.output_tokens > 1 << 20)
        return mr_cli_misuse("at most %d jobs; at least one prompt and one output token", BENCH_JOBS_MAX);
    if (offline || load.arrivals > 0 || load.steps) {
        load.jobs = asked.jobs ? asked.jobs : load.steps ? 1 : 3000;
        load.prompt_tokens = asked.prompt_tokens, load.output_tokens = asked.output_tokens;
        return mr_bench_load(cli, &load);
    }
    int n = 0;
    for (int i = 0; asked.jobs == 0 && i < BENCH_SETTINGS_MAX; i++)
        settings[n++] = (struct bench_setting){usual[i], asked.prompt_tokens, asked.output_tokens};
    if (n == 0)
        settings[n++] = asked;
    const struct mr_options *options = bench_grow(cli, asked.jobs) ? mr_cli_options(cli) : NULL;
    if (!options)
        return MR_EXIT_USAGE;
    struct bench b = {.clock = mr_clock_system()};
    b.start_ns = mr_clock_ns(&b.clock);
    struct mr_err err;
    int code = mr_serving_open(options, &b.serving, &err) != MR_OK ? mr_cli_fail("%s", err.text)
                                                                  : bench_run_settings(&b, settings, n, cli->json);
    bench_close(&b);
    return code;
}
