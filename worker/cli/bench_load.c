/* Owns a load's jobs and what was seen of its steps.
 *
 * 1. Offline: all jobs are submitted first, prompts of random ids, ends ignored. The rate is all output tokens over the time from the first
 *    submission to the last token, ramp and tail in it.
 * 2. What a step is made of is found by running the last step's ops again, one kind at a time (mr_model_again): every few hundred
 *    milliseconds, for a step with and without prompts each. The time of looking is taken out of the clock; the bubble it leaves is not.
 * 3. Steps beside replays: half of the steps, the replays of the recorded step, the other half, so that the replays stand in the middle of
 *    the contexts that the steps had.
 * The records that a rate is set beside are TensorRT-LLM 1.0's for one H200, FP8, Llama-3.1-8B; the floors are sums of cuBLAS times without
 * any overlap on that card. One thread. */
#include "worker/cli/bench_load.h"

#include "base/hash.h"
#include "worker/cli/bench_jobs.h"
#include "worker/serving.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOAD_STEPS_MAX = 1 << 18, LOAD_TIMED_STEPS = 500, LOAD_WARM_STEPS = 20, LOAD_PARTS = 4, LOAD_AGAIN = 2 };

static const char *const part_names[LOAD_PARTS] = {"products", "attention", "norms, rotation, gates", "sampling"};

struct load_step {
    int64_t ns;
    int32_t tokens, seqs;
};

struct load {
    struct mr_serving serving;
    struct mr_clock clock;
    const struct mr_bench_load *asked;
    struct mr_job *jobs;
    int32_t *prompts;
    int64_t *arrival_ns;                     /* [jobs] after the start */
    double *ttft_ms, *tpot_ms;               /* [jobs] */
    struct load_step *steps;                 /* [LOAD_STEPS_MAX] */
    double *host_us;                         /* [LOAD_STEPS_MAX] of the same steps */
    int32_t n_steps, submitted, ended;
    int64_t seen_steps, output_tokens, start_ns, end_ns, looked_ns, look_total_ns, look_debt_ns;
    /* by kind of step: 0 without prompts, 1 with */
    double part_ns[2][LOAD_PARTS], part_step_ns[2];
    int32_t n_looks[2];
    struct mr_sample_row *rows;
    struct mr_sampled *sampled;
};

static int64_t load_now(const struct load *b) { return mr_clock_ns(&b->clock); }

/* ---- jobs ---- */

static bool load_make(struct load *b)
{
    const struct mr_bench_load *a = b->asked;
    size_t n = (size_t)a->jobs;
    int32_t vocabulary = mr_model_shape(b->serving.bundle->model)->vocabulary, seqs = b->serving.engine_options.max_logits;
    b->jobs = calloc(n, sizeof *b->jobs);
    b->prompts = calloc(n * (size_t)a->prompt_tokens, sizeof *b->prompts);
    b->arrival_ns = calloc(n, sizeof *b->arrival_ns);
    b->ttft_ms = calloc(n, sizeof *b->ttft_ms);
    b->tpot_ms = calloc(n, sizeof *b->tpot_ms);
    b->steps = calloc(LOAD_STEPS_MAX, sizeof *b->steps);
    b->host_us = calloc(LOAD_STEPS_MAX, sizeof *b->host_us);
    b->rows = calloc((size_t)seqs, sizeof *b->rows);
    b->sampled = calloc((size_t)seqs, sizeof *b->sampled);
    if (!b->jobs || !b->prompts || !b->arrival_ns || !b->ttft_ms || !b->tpot_ms || !b->steps || !b->host_us || !b->rows || !b->sampled)
        return false;
    double at = 0;
    for (int32_t i = 0; i < seqs; i++)
        b->rows[i] = (struct mr_sample_row){.top_p = 1, .repetition_penalty = 1, .n_logprobs = -1};
    for (int64_t j = 0; j < a->jobs; j++) {
        b->jobs[j] = mr_bench_job(j, b->prompts + j * a->prompt_tokens, a->prompt_tokens, a->output_tokens, vocabulary);
        double u = ((double)(mr_mix64((uint64_t)j + 99) >> 11) + 1) * 0x1p-53;
        at += a->arrivals > 0 ? -log(u) / a->arrivals : 0;
        b->arrival_ns[j] = (int64_t)(at * 1e9);
    }
    return true;
}

/* All whose time has come. */
static bool load_submit(struct load *b)
{
    int64_t since_ns = load_now(b) - b->start_ns - b->look_total_ns;
    for (; b->submitted < b->asked->jobs && b->arrival_ns[b->submitted] <= since_ns; b->submitted++) {
        struct mr_engine_run run = {.run = (uint64_t)b->submitted, .job = &b->jobs[b->submitted],
                                    .arrival_ns = b->start_ns + b->arrival_ns[b->submitted]};
        struct mr_err err;
        if (mr_engine_submit(b->serving.engine, &run, load_now(b), &err) != MR_OK) {
            mr_cli_fail("%s", err.text);
            return false;
        }
    }
    return true;
}

static void load_take(struct load *b, const struct mr_engine_event *events, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        const struct mr_engine_event *event = &events[i];
        b->output_tokens += event->n_tokens;
        if (event->kind != MR_ENGINE_END)
            continue;
        const struct mr_engine_timing *t = &event->timing;
        b->ended++;
        b->ttft_ms[event->run] = (double)(t->first_token_ns - b->start_ns - b->arrival_ns[event->run]) / 1e6;
        b->tpot_ms[event->run] = event->n_output > 1 ? (double)(t->last_token_ns - t->first_token_ns) / 1e6 / (event->n_output - 1) : 0;
        b->end_ns = t->last_token_ns > b->end_ns ? t->last_token_ns : b->end_ns;
    }
}

/* ---- what a step is made of ---- */

static void load_wait(struct load *b)
{
    float first;
    b->serving.bundle->ops->download(b->serving.bundle->device, &first, mr_model_logits(b->serving.bundle->model), sizeof first);
}

static int64_t load_part(struct load *b, int part, int32_t tokens, int32_t rows)
{
    struct mr_bundle *bundle = b->serving.bundle;
    struct mr_sample_params sample = {.logits = mr_model_logits(bundle->model), .rows = rows, .row = b->rows, .out = b->sampled,
                                      .vocabulary = mr_model_shape(bundle->model)->vocabulary, .scratch = mr_model_scratch(bundle->model)};
    int64_t best = INT64_MAX;
    for (int i = 0; i < LOAD_AGAIN; i++) {
        int64_t start_ns = load_now(b);
        if (part < 3)
            mr_model_again(bundle->model, bundle->store, tokens, rows, 1u << part);
        else
            bundle->ops->sample(bundle->device, &sample);
        if (part == 3)
            bundle->ops->finish(bundle->device);
        else
            load_wait(b);
        int64_t ns = load_now(b) - start_ns;
        best = ns < best ? ns : best;
    }
    return best;
}

static void load_look(struct load *b, const struct load_step *step)
{
    if (b->asked->parts_s <= 0 || (double)(load_now(b) - b->looked_ns) < b->asked->parts_s * 1e9)
        return;
    load_wait(b); /* the step under way counts as what it is */
    int64_t start_ns = load_now(b);
    int kind = step->tokens != step->seqs;
    int32_t rows = step->seqs < b->serving.engine_options.max_logits ? step->seqs : b->serving.engine_options.max_logits;
    for (int part = 0; part < LOAD_PARTS; part++)
        b->part_ns[kind][part] += (double)load_part(b, part, step->tokens, rows);
    b->part_step_ns[kind] += (double)step->ns;
    b->n_looks[kind]++;
    b->looked_ns = load_now(b);
    b->look_debt_ns = b->looked_ns - start_ns;
    b->look_total_ns += b->look_debt_ns;
}

static void load_count(struct load *b)
{
    struct mr_engine_stats stats;
    mr_engine_stats(b->serving.engine, &stats);
    if (stats.steps == b->seen_steps || b->n_steps == LOAD_STEPS_MAX)
        return;
    b->seen_steps = stats.steps;
    int64_t ns = stats.last_step_ns - b->look_debt_ns;
    b->look_debt_ns = 0;
    b->host_us[b->n_steps] = (double)stats.last_host_ns / 1e3;
    b->steps[b->n_steps++] = (struct load_step){ns > 0 ? ns : 0, stats.last_batch_tokens, stats.last_batch_seqs};
    load_look(b, &b->steps[b->n_steps - 1]);
}

/* ---- running ---- */

/* One step with what goes with it. -1: failed; 0: nothing to do. */
static int load_step(struct load *b)
{
    const struct mr_engine_event *events;
    int32_t n_events;
    enum mr_status status;
    bool busy = mr_engine_step(b->serving.engine, &b->clock, &events, &n_events, &status);
    if (status != MR_OK) {
        mr_cli_fail("a step failed: %s", mr_status_name(status));
        return -1;
    }
    load_take(b, events, n_events);
    load_count(b);
    return busy;
}

static bool load_run(struct load *b)
{
    const struct timespec pause = {.tv_nsec = 50000};
    b->start_ns = b->looked_ns = load_now(b);
    while (b->ended < b->asked->jobs) {
        if (!load_submit(b))
            return false;
        int went = load_step(b);
        if (went < 0)
            return false;
        if (!went)
            nanosleep(&pause, NULL);
    }
    return true;
}

/* ---- printing ---- */

static void load_print_beside(const struct load *b, double rate)
{
    static const struct {
        int64_t prompt, output;
        double record, floor_fp8, floor_bf16;
    } known[] = {{128, 128, 27911, 34000, 19000}, {1000, 1000, 17744, 19600, 10500}, {2048, 128, 3538, 3700, 2100}, {128, 2048, 26221, 30000, 16000}};
    const struct mr_bench_load *a = b->asked;
    bool fp8 = strstr(b->serving.bundle->ops->path(b->serving.bundle->device), "fp8") != NULL;
    for (size_t i = 0; strcmp(b->serving.bundle->name, "synthetic:llama-3.1-8b") == 0 && i < sizeof known / sizeof *known; i++)
        if (known[i].prompt == a->prompt_tokens && known[i].output == a->output_tokens)
            printf("beside an H200's record (TensorRT-LLM 1.0, FP8) %.0f: %.3f; beside its floor without overlap %.0f: %.3f\n", known[i].record,
                   rate / known[i].record, fp8 ? known[i].floor_fp8 : known[i].floor_bf16, rate / (fp8 ? known[i].floor_fp8 : known[i].floor_bf16));
}

/* Where the time went: kinds of step, their parts, ramp and tail. */
static void load_print_time(const struct load *b, double seconds)
{
    double kind_s[2] = {0, 0}, tokens[2] = {0, 0}, ramp = 0, tail = 0;
    int32_t kind_n[2] = {0, 0}, peak = 0, first = b->n_steps, last = -1;
    for (int32_t i = 0; i < b->n_steps; i++)
        peak = b->steps[i].seqs > peak ? b->steps[i].seqs : peak;
    for (int32_t i = 0; i < b->n_steps; i++) {
        const struct load_step *s = &b->steps[i];
        int kind = s->tokens != s->seqs;
        kind_s[kind] += (double)s->ns / 1e9;
        tokens[kind] += s->tokens;
        kind_n[kind]++;
        if (s->seqs * 10 >= peak * 9)
            first = i < first ? i : first, last = i;
    }
    for (int32_t i = 0; i < b->n_steps; i++)
        *(i < first ? &ramp : i > last ? &tail : &(double){0}) += (double)b->steps[i].ns / 1e9;
    printf("%-34s %8.2f s  %5.1f %%\n", "all", seconds, 100.0);
    for (int kind = 1; kind >= 0; kind--) {
        if (!kind_n[kind])
            continue;
        double rest = 1;
        printf("%-34s %8.2f s  %5.1f %%   %d steps, mean %.0f tokens, %.2f ms\n", kind ? "steps with prompts" : "steps of outputs alone",
               kind_s[kind], 100 * kind_s[kind] / seconds, kind_n[kind], tokens[kind] / kind_n[kind], 1e3 * kind_s[kind] / kind_n[kind]);
        for (int part = 0; part < LOAD_PARTS && b->n_looks[kind]; part++) {
            double share = b->part_ns[kind][part] / b->part_step_ns[kind];
            rest -= share;
            printf("  %-32s %8.2f s  %5.1f %%\n", part_names[part], share * kind_s[kind], 100 * share * kind_s[kind] / seconds);
        }
        if (b->n_looks[kind])
            printf("  %-32s %8.2f s  %5.1f %%   of %d looks; below 0: overlapped\n", "between kernels", rest * kind_s[kind],
                   100 * rest * kind_s[kind] / seconds, b->n_looks[kind]);
    }
    printf("%-34s %8.2f s  %5.1f %%\n", "between steps (the host)", seconds - kind_s[0] - kind_s[1],
           100 * (seconds - kind_s[0] - kind_s[1]) / seconds);
    printf("of all: until %d run side by side (90 %% of the most) %.2f s, after the last such step %.2f s\n", peak, ramp, tail);
}

static int load_print(struct load *b, bool json)
{
    const struct mr_bench_load *a = b->asked;
    struct mr_engine_stats stats;
    double seconds = (double)(b->end_ns - b->start_ns - b->look_total_ns) / 1e9, rate = (double)b->output_tokens / seconds;
    double ttft[2], tpot[2], host[2];
    int64_t last = b->n_steps < a->jobs ? b->n_steps : a->jobs; /* steps whose host's part is told */
    mr_bench_percentiles(b->ttft_ms, a->jobs, ttft);
    mr_bench_percentiles(b->tpot_ms, a->jobs, tpot);
    mr_bench_percentiles(b->host_us + b->n_steps - last, last, host);
    mr_engine_stats(b->serving.engine, &stats);
    const char *path = b->serving.bundle->ops->path(b->serving.bundle->device);
    if (json) {
        printf("{\"jobs\":%lld,\"prompt_tokens\":%lld,\"output_tokens\":%lld,\"arrivals_s\":%.3f,\"seconds\":%.3f,\"output_tok_s\":%.1f,"
               "\"ttft_ms_p50\":%.3f,\"ttft_ms_p99\":%.3f,\"tpot_ms_p50\":%.3f,\"tpot_ms_p99\":%.3f,\"step_host_us_p50\":%.1f,"
               "\"step_host_us_p99\":%.1f,\"steps\":%d,\"preemptions\":%lld,\"path\":\"%s\"}\n",
               (long long)a->jobs, (long long)a->prompt_tokens, (long long)a->output_tokens, a->arrivals, seconds, rate, ttft[0], ttft[1], tpot[0],
               tpot[1], host[0], host[1], b->n_steps, (long long)stats.sched.preemptions, path);
        return MR_EXIT_DONE;
    }
    printf("%s, %s: %lld jobs of %lld/%lld%s: %.0f output tokens a second, %.2f s\n", b->serving.bundle->name, path, (long long)a->jobs,
           (long long)a->prompt_tokens, (long long)a->output_tokens, a->arrivals > 0 ? ", arriving at random" : "", rate, seconds);
    printf("first token p50 %.1f ms, p99 %.1f; between tokens p50 %.2f ms, p99 %.2f; host of a step p50 %.0f us, p99 %.0f; preempted %lld\n", ttft[0],
           ttft[1], tpot[0], tpot[1], host[0], host[1], (long long)stats.sched.preemptions);
    if (a->arrivals > 0)
        return MR_EXIT_DONE;
    load_print_beside(b, rate);
    load_print_time(b, seconds);
    return MR_EXIT_DONE;
}

/* ---- consecutive steps beside replays ---- */

static int64_t load_time_steps(struct load *b, int n)
{
    int64_t start_ns = load_now(b);
    for (int i = 0; i < n; i++)
        if (load_step(b) <= 0)
            return -1;
    return load_now(b) - start_ns;
}

static int load_steps(struct load *b, bool json)
{
    const struct mr_ops *ops = b->serving.bundle->ops;
    int64_t jobs = b->asked->jobs;
    if (!ops->replay)
        return mr_cli_fail("this device records no steps");
    b->start_ns = load_now(b);
    if (!load_submit(b))
        return MR_EXIT_FAILED;
    for (int decoding = 0; decoding < LOAD_WARM_STEPS;) {
        if (load_step(b) <= 0)
            return mr_cli_fail("the jobs never ran side by side");
        const struct load_step *s = b->n_steps ? &b->steps[b->n_steps - 1] : &(struct load_step){0};
        decoding = s->tokens == jobs && s->seqs == jobs ? decoding + 1 : 0;
    }
    int32_t from = b->n_steps;
    int64_t first_ns = load_time_steps(b, LOAD_TIMED_STEPS / 2), replay_ns = ops->replay(b->serving.bundle->device, LOAD_TIMED_STEPS);
    load_step(b); /* what was under way during the replays */
    int64_t second_ns = load_time_steps(b, LOAD_TIMED_STEPS / 2);
    if (first_ns < 0 || second_ns < 0 || replay_ns <= 0)
        return mr_cli_fail("the jobs ended before their steps were timed, or their step is not recorded");
    double host[2], steps_ms = (double)(first_ns + second_ns) / 1e6, replay_ms = (double)replay_ns / 1e6;
    mr_bench_percentiles(b->host_us + from, b->n_steps - from < LOAD_TIMED_STEPS ? b->n_steps - from : LOAD_TIMED_STEPS, host);
    printf(json ? "{\"jobs\":%lld,\"steps\":%d,\"steps_ms\":%.3f,\"replays_ms\":%.3f,\"ratio\":%.4f,"
                  "\"step_host_us_p50\":%.1f,\"step_host_us_p99\":%.1f}\n"
                : "%lld jobs: %d steps %.2f ms, as many replays of the recorded step %.2f ms: %.4f; host of a step p50 %.0f us, p99 %.0f\n",
           (long long)jobs, LOAD_TIMED_STEPS, steps_ms, replay_ms, steps_ms / replay_ms, host[0], host[1]);
    return MR_EXIT_DONE;
}

/* ---- the verb ---- */

static bool load_options(struct mr_cli *cli, const struct mr_bench_load *a)
{
    char jobs[32], context[32];
    snprintf(jobs, sizeof jobs, "%lld", (long long)a->jobs);
    snprintf(context, sizeof context, "%lld", (long long)(a->prompt_tokens + a->output_tokens + 15) / 16 * 16);
    return mr_cli_set(cli, "limits.jobs", jobs) && mr_cli_set(cli, "engine.max_context", context) &&
           (a->arrivals > 0 || mr_cli_set(cli, "scheduler.calibrate", "0"));
}

int mr_bench_load(struct mr_cli *cli, const struct mr_bench_load *asked)
{
    struct mr_err err;
    struct load b = {.clock = mr_clock_system(), .asked = asked};
    const struct mr_options *options = load_options(cli, asked) ? mr_cli_options(cli) : NULL;
    if (!options)
        return MR_EXIT_USAGE;
    int64_t open_ns = mr_clock_ns(&b.clock);
    int code = MR_EXIT_FAILED;
    if (mr_serving_open(options, &b.serving, &err) != MR_OK)
        mr_cli_fail("%s", err.text);
    else if (!load_make(&b))
        mr_cli_fail("no memory for %lld jobs", (long long)asked->jobs);
    else {
        if (!cli->json)
            printf("opened in %.2f s, weights of %.2f GB\n", (double)(mr_clock_ns(&b.clock) - open_ns) / 1e9,
                   (double)mr_model_weight_bytes(b.serving.bundle->model) / 1e9);
        code = asked->steps ? load_steps(&b, cli->json) : load_run(&b) ? load_print(&b, cli->json) : MR_EXIT_FAILED;
    }
    mr_serving_close(&b.serving);
    void *owned[] = {b.jobs, b.prompts, b.arrival_ns, b.ttft_ms, b.tpot_ms, b.steps, b.host_us, b.rows, b.sampled};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    return code;
}
