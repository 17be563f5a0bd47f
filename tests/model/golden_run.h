/* The real model against its golden outputs (tests/golden/smollm2/README.md): transformers in float32 on the same weights.
 * Needs MILLRACE_TEST_MODEL, the path of SmolLM2-135M-Instruct.Q4_1.gguf. For tests on any device. */
#ifndef MR_TESTS_MODEL_GOLDEN_RUN_H
#define MR_TESTS_MODEL_GOLDEN_RUN_H

#include "tests/model/driver.h"
#include "tests/test.h"
#include "tests/text/golden.h"

#include <time.h>

enum { CONTEXT = 2048, STEPS = 64, TOP_STEPS = 16 };

static const char *model_path(void)
{
    const char *path = getenv("MILLRACE_TEST_MODEL");
    if (!path || !*path)
        printf("skipped: MILLRACE_TEST_MODEL is not set\n");
    return path && *path ? path : NULL;
}

static int32_t ids_of(const struct mr_value *row, const char *key, int32_t *out)
{
    const struct mr_value *list = mr_value_get(row, key);
    CHECK(list && list->kind == MR_ARRAY && list->as.array.n <= CONTEXT);
    for (size_t i = 0; i < list->as.array.n; i++)
        out[i] = (int32_t)list->as.array.items[i].as.integer;
    return (int32_t)list->as.array.n;
}

static double number_of(const struct mr_value *list, size_t i)
{
    double x = NAN;
    CHECK(list && list->kind == MR_ARRAY && i < list->as.array.n);
    mr_value_number(&list->as.array.items[i], &x);
    return x;
}

/* The data of a .npy file (format 1.0, little-endian). */
static const void *npy_data(struct mr_str file)
{
    CHECK(file.n > 10 && memcmp(file.p, "\x93NUMPY", 6) == 0);
    return file.p + 10 + ((unsigned char)file.p[8] | (unsigned char)file.p[9] << 8);
}

/* log softmax pieces of a row: id of the largest, and what to take off a logit. */
static int32_t row_top(const float *logits, int32_t n, double *log_sum)
{
    int32_t best = 0;
    double sum = 0;
    for (int32_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - (double)logits[best]);
    *log_sum = (double)logits[best] + log(sum);
    return best;
}

/* Runs a sequence in steps of DRIVER_STEP_TOKENS and hands every row of logits from position `from` on to take. */
typedef void take_fn(void *self, int32_t position, const float *logits, int32_t n);

static bool run_through(struct driver *d, const int32_t *ids, int32_t n, int32_t from, take_fn *take, void *self)
{
    int32_t vocabulary = mr_model_shape(d->model)->vocabulary;
    for (int32_t start = 0; start < n; start += DRIVER_STEP_TOKENS) {
        struct driver_piece piece = {.ids = ids, .start = start, .n = n - start < DRIVER_STEP_TOKENS ? n - start : DRIVER_STEP_TOKENS, .logits_from = from};
        int32_t n_logits, first = from > start ? from : start;
        const float *logits = driver_step(d, &piece, 1, &n_logits);
        if (!logits)
            return false;
        for (int32_t r = 0; r < n_logits; r++)
            take(self, first + r, logits + (int64_t)r * vocabulary, vocabulary);
    }
    return true;
}

/* One prompt's rows against what the reference gave. */
struct prompt_check {
    const struct mr_value *row;
    struct mr_str id;
    int32_t n_input;
    const float *final_logits; /* of the last prompt position, or NULL */
    double worst, final_worst, error_sum;
    int n_errors, n_wrong, n_argmax;
    double clear_gap; /* an argmax counts where the reference's two best are further apart */
};

static void prompt_take(void *self, int32_t position, const float *logits, int32_t n)
{
    struct prompt_check *check = self;
    int32_t step = position - (check->n_input - 1);
    double log_sum;
    int32_t best = row_top(logits, n, &log_sum);
    bool clear = number_of(mr_value_get(check->row, "gap"), (size_t)step) > check->clear_gap;
    check->n_argmax += clear;
    check->n_wrong += clear && best != (int32_t)number_of(mr_value_get(check->row, "generated_ids"), (size_t)step);
    for (size_t i = 0; step < TOP_STEPS && i < 20; i++) {
        const struct mr_value *pair = &mr_value_get(check->row, "top20")->as.array.items[step].as.array.items[i];
        double error = fabs((double)logits[(int32_t)number_of(pair, 0)] - log_sum - number_of(pair, 1));
        check->worst = error > check->worst ? error : check->worst;
        check->error_sum += error;
        check->n_errors++;
    }
    for (int32_t i = 0; step == 0 && check->final_logits && i < n; i++)
        check->final_worst = fmax(check->final_worst, fabs((double)logits[i] - (double)check->final_logits[i]));
}

struct totals {
    double worst, worst_ill, final_worst, error_sum, score_worst, nll;
    int n_prompts, n_errors, n_wrong, n_argmax, n_scored;
    double ill_error_sum; /* of short-06, which error_sum has too */
    double clear_gap;
};

static void prompts_run(struct driver *d, struct totals *totals)
{
    struct mr_str file = golden_file("smollm2/prompts.jsonl"), finals = golden_file("smollm2/final_logits.npy"), rest = file, line;
    static int32_t ids[CONTEXT];
    while (golden_line(&rest, &line)) {
        struct mr_arena arena;
        mr_arena_init(&arena, 0);
        struct mr_value row = golden_json(line, &arena);
        struct prompt_check check = {.row = &row, .id = golden_text(&row, "id"), .clear_gap = totals->clear_gap};
        const struct mr_value *final_row = mr_value_get(&row, "final_logits_row");
        check.n_input = ids_of(&row, "input_ids", ids);
        int32_t n = check.n_input + ids_of(&row, "generated_ids", ids + check.n_input) - 1;
        if (final_row && final_row->kind == MR_INT)
            check.final_logits = (const float *)npy_data(finals) + final_row->as.integer * mr_model_shape(d->model)->vocabulary;
        EXPECT(run_through(d, ids, n, check.n_input - 1, prompt_take, &check));
        if (mr_str_is(check.id, "short-06"))
            totals->worst_ill = check.worst, totals->ill_error_sum = check.error_sum;
        else
            totals->worst = fmax(totals->worst, check.worst);
        if (getenv("MILLRACE_TEST_VERBOSE"))
            printf("%.*s: worst %.6f, argmax %d of %d wrong\n", (int)check.id.n, check.id.p, check.worst, check.n_wrong, check.n_argmax);
        totals->final_worst = fmax(totals->final_worst, check.final_worst);
        totals->error_sum += check.error_sum;
        totals->n_errors += check.n_errors;
        totals->n_wrong += check.n_wrong;
        totals->n_argmax += check.n_argmax;
        totals->n_prompts++;
        mr_arena_fini(&arena);
    }
    free((void *)file.p);
    free((void *)finals.p);
}

/* Scores of each next token. */
struct score_check {
    const int32_t *ids;
    int32_t n;
    double *logprobs; /* [n], entry i of token i */
};

static void score_take(void *self, int32_t position, const float *logits, int32_t n)
{
    struct score_check *check = self;
    double log_sum;
    row_top(logits, n, &log_sum);
    if (position + 1 < check->n)
        check->logprobs[position + 1] = (double)logits[check->ids[position + 1]] - log_sum;
}

static void prompt_logprobs_run(struct driver *d, struct totals *totals)
{
    struct mr_str file = golden_file("smollm2/prompt_logprobs.jsonl"), rest = file, line;
    static int32_t ids[CONTEXT];
    static double logprobs[CONTEXT];
    while (golden_line(&rest, &line)) {
        struct mr_arena arena;
        mr_arena_init(&arena, 0);
        struct mr_value row = golden_json(line, &arena);
        struct score_check check = {.ids = ids, .n = ids_of(&row, "input_ids", ids), .logprobs = logprobs};
        EXPECT(run_through(d, ids, check.n, 0, score_take, &check));
        for (int32_t i = 1; i < check.n; i++, totals->n_scored++)
            totals->score_worst = fmax(totals->score_worst, fabs(logprobs[i] - number_of(mr_value_get(&row, "token_logprobs"), (size_t)i)));
        mr_arena_fini(&arena);
    }
    free((void *)file.p);
}

static void perplexity_run(struct driver *d, struct totals *totals)
{
    struct mr_str ids_file = golden_file("smollm2/ppl_ids.npy"), wanted_file = golden_file("smollm2/ppl_token_logprobs.npy");
    static double logprobs[CONTEXT];
    const int32_t *ids = npy_data(ids_file);
    const float *wanted = npy_data(wanted_file);
    struct score_check check = {.ids = ids, .n = 1820, .logprobs = logprobs};
    EXPECT(run_through(d, ids, check.n, 0, score_take, &check));
    for (int32_t i = 1; i < check.n; i++, totals->n_scored++) {
        totals->nll -= logprobs[i] / (check.n - 1);
        totals->score_worst = fmax(totals->score_worst, fabs(logprobs[i] - (double)wanted[i - 1]));
    }
    free((void *)ids_file.p);
    free((void *)wanted_file.p);
}

/* All of it on one kind of device; false: no model is there, or it did not open. */
static bool golden_run(const struct driver_kind *kind, struct totals *t)
{
    struct driver d;
    struct timespec a, b;
    const char *path = model_path();
    if (!path)
        return false;
    bool open = driver_open_on(&d, kind, path, 1, CONTEXT, DRIVER_STEP_TOKENS, DRIVER_STEP_TOKENS);
    EXPECT(open);
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (open) {
        prompts_run(&d, t);
        prompt_logprobs_run(&d, t);
        perplexity_run(&d, t);
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%s, cache %s, %.1f s: %d prompts, argmax wrong at %d of %d positions with a gap, top 20 logprobs off by %.6f at most (short-06: "
               "%.6f), %.6f on average, final logits by %.6f, %d scored tokens by %.6f, perplexity %.4f\n",
               d.ops->path(d.device), mr_dtype_name(kind->kv), (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9, t->n_prompts,
               t->n_wrong, t->n_argmax, t->worst, t->worst_ill, t->error_sum / t->n_errors, t->final_worst, t->n_scored, t->score_worst, exp(t->nll));
    }
    driver_close(&d);
    return open;
}

#endif
