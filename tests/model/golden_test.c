/* The real model against its golden outputs (tests/golden/smollm2/README.md): transformers in float32 on the same weights.
 * Needs MILLRACE_TEST_MODEL, the path of SmolLM2-135M-Instruct.Q4_1.gguf. */
#include "tests/model/driver.h"
#include "tests/test.h"
#include "tests/text/golden.h"

#include <time.h>

enum { STEP_TOKENS = 256, CONTEXT = 2048, STEPS = 64, TOP_STEPS = 16 };

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

/* Runs a sequence in steps of STEP_TOKENS and hands every row of logits from position `from` on to take. */
typedef void take_fn(void *self, int32_t position, const float *logits, int32_t n);

static bool run_through(struct driver *d, const int32_t *ids, int32_t n, int32_t from, take_fn *take, void *self)
{
    int32_t vocabulary = mr_model_shape(d->model)->vocabulary;
    for (int32_t start = 0; start < n; start += STEP_TOKENS) {
        struct driver_piece piece = {.ids = ids, .start = start, .n = n - start < STEP_TOKENS ? n - start : STEP_TOKENS, .logits_from = from};
        int32_t n_logits, first = from > start ? from : start;
        const float *logits = driver_step(d, &piece, 1, &n_logits);
        if (!logits)
            return false;
        for (int32_t r = 0; r < n_logits; r++)
            take(self, first + r, logits + (int64_t)r * vocabulary, vocabulary);
    }
    return true;
}

struct prompt_check {
    const struct mr_value *row;
    struct mr_str id;
    int32_t n_input;
    const float *final_logits; /* of the last prompt position, or NULL */
    double worst, final_worst, error_sum;
    int n_errors, n_wrong, n_argmax;
};

static void prompt_take(void *self, int32_t position, const float *logits, int32_t n)
{
    struct prompt_check *check = self;
    int32_t step = position - (check->n_input - 1);
    double log_sum;
    int32_t best = row_top(logits, n, &log_sum);
    bool clear = number_of(mr_value_get(check->row, "gap"), (size_t)step) > 1e-3;
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
};

static void prompts_run(struct driver *d, struct totals *totals)
{
    struct mr_str file = golden_file("smollm2/prompts.jsonl"), finals = golden_file("smollm2/final_logits.npy"), rest = file, line;
    static int32_t ids[CONTEXT];
    while (golden_line(&rest, &line)) {
        struct mr_arena arena;
        mr_arena_init(&arena, 0);
        struct mr_value row = golden_json(line, &arena);
        struct prompt_check check = {.row = &row, .id = golden_text(&row, "id")};
        const struct mr_value *final_row = mr_value_get(&row, "final_logits_row");
        check.n_input = ids_of(&row, "input_ids", ids);
        int32_t n = check.n_input + ids_of(&row, "generated_ids", ids + check.n_input) - 1;
        if (final_row && final_row->kind == MR_INT)
            check.final_logits = (const float *)npy_data(finals) + final_row->as.integer * mr_model_shape(d->model)->vocabulary;
        EXPECT(run_through(d, ids, n, check.n_input - 1, prompt_take, &check));
        if (mr_str_is(check.id, "short-06"))
            totals->worst_ill = check.worst;
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

static bool run_all(enum mr_precision precision, struct totals *t)
{
    struct driver d;
    struct timespec a, b;
    const char *path = model_path();
    if (!path)
        return false;
    bool open = driver_open(&d, path, precision, 1, CONTEXT, STEP_TOKENS, STEP_TOKENS);
    EXPECT(open);
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (open) {
        prompts_run(&d, t);
        prompt_logprobs_run(&d, t);
        perplexity_run(&d, t);
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%s, %.1f s: %d prompts, argmax wrong at %d of %d positions with a gap, top 20 logprobs off by %.6f at most (short-06: %.6f), %.6f on "
               "average, final logits by %.6f, %d scored tokens by %.6f, perplexity %.4f\n",
               d.ops->path(d.device), (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9, t->n_prompts, t->n_wrong, t->n_argmax,
               t->worst,
               t->worst_ill, t->error_sum / t->n_errors, t->final_worst, t->n_scored, t->score_worst, exp(t->nll));
    }
    driver_close(&d);
    return open;
}

TEST(exact_path_equals_the_reference)
{
    struct totals t = {0};
    if (!run_all(MR_EXACT, &t))
        return;
    EXPECT_EQ(t.n_prompts, 48);
    EXPECT_EQ(t.n_errors, 48 * TOP_STEPS * 20);
    EXPECT_EQ(t.n_argmax, 48 * STEPS - 2);
    EXPECT_EQ(t.n_wrong, 0);
    EXPECT(t.worst <= 0.005);
    EXPECT(t.worst_ill <= 0.01); /* its float32 noise is several 1e-3 */
    EXPECT(t.final_worst <= 0.002);
    EXPECT(t.score_worst <= 0.005);
    EXPECT_NEAR(exp(t.nll), 29.9165, 0.01);
}

TEST(fast_path_is_no_worse_than_the_peer)
{
    struct totals t = {0};
    if (!run_all(MR_FAST, &t))
        return;
    EXPECT(t.error_sum / t.n_errors <= 0.109);
    EXPECT(exp(t.nll) <= 30.11);
}

TEST_MAIN(TEST_CASE(exact_path_equals_the_reference), TEST_CASE(fast_path_is_no_worse_than_the_peer))
