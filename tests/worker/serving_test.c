#include "base/hash.h"
#include "tests/test.h"
#include "worker/serving.h"

#include <stdlib.h>

/* The engine over a real model (synthetic:tiny, and the file in MILLRACE_TEST_MODEL): the logits that choose each token are the
 * same bits, and the text the same, alone, together, in any chunks, preempted, and resumed. */

enum { JOBS_MAX = 64, OUTPUT_MAX = 14, PROMPT_MAX = 70 };

struct job {
    struct mr_job job;
    int32_t prompt[PROMPT_MAX], accepted[OUTPUT_MAX], n_accepted;
};

struct outcome {
    int32_t ids[OUTPUT_MAX], n;
    uint64_t logits[OUTPUT_MAX]; /* hash of the row that chose each */
    char text[2048];
    size_t n_text;
    struct mr_sampled scores[PROMPT_MAX];
    int ends;
    enum mr_finish finish;
};

/* A port that looks at every row of logits before it is sampled; a row's job is known by its seed. */
struct spy {
    struct mr_forward_port inner;
    const struct mr_model *model;
    struct outcome *outcomes;
    const struct job *jobs;   /* job i has seed i + 1 */
};

static enum mr_status spy_step(void *self, const struct mr_batch *batch)
{
    struct spy *spy = self;
    return spy->inner.step(spy->inner.self, batch);
}

static enum mr_status spy_sample(void *self, int32_t rows, const struct mr_sample_row *row, struct mr_sampled *out)
{
    struct spy *spy = self;
    size_t vocabulary = (size_t)mr_model_shape(spy->model)->vocabulary;
    const float *logits = mr_model_logits(spy->model);
    for (int32_t i = 0; i < rows; i++) {
        if (row[i].seed == 0)
            continue;
        const struct job *job = &spy->jobs[row[i].seed - 1];
        int32_t at = (int32_t)row[i].position - job->job.n_prompt;
        spy->outcomes[row[i].seed - 1].logits[at] = mr_fnv1a64(MR_FNV1A64_START, logits + (size_t)i * vocabulary, vocabulary * sizeof *logits);
    }
    return spy->inner.sample(spy->inner.self, rows, row, out);
}

static enum mr_status spy_score(void *self, int32_t rows, int32_t n_top, const int32_t *ids, struct mr_sampled *out)
{
    struct spy *spy = self;
    return spy->inner.score(spy->inner.self, rows, n_top, ids, out);
}

static enum mr_status spy_finish(void *self)
{
    struct spy *spy = self;
    return spy->inner.finish(spy->inner.self);
}

static struct mr_options options_of(const char *model, const char *precision, int threads)
{
    struct mr_options options;
    struct mr_err err;
    char a[600], b[64], c[64];
    snprintf(a, sizeof a, "model=%s", model);
    snprintf(b, sizeof b, "engine.precision=%s", precision);
    snprintf(c, sizeof c, "engine.threads=%d", threads);
    const char *sets[] = {a, b, c, "kv.memory=256MiB", "engine.max_context=512", "engine.device=cpu"};
    if (mr_options_open(&options, NULL, sets, 6, &err) != MR_OK) {
        printf("%s\n", err.text);
        exit(1);
    }
    return options;
}

static void make_job(struct job *j, int index, int32_t vocabulary)
{
    *j = (struct job){0};
    int32_t n = 1 + (int32_t)(mr_mix64((uint64_t)index + 77) % (PROMPT_MAX - 1));
    for (int32_t i = 0; i < n; i++)
        j->prompt[i] = (int32_t)(mr_mix64((uint64_t)(index * 1000 + i)) % (uint64_t)vocabulary);
    j->job = (struct mr_job){.tier = (enum mr_tier)(index % 3), .prompt_ids = j->prompt, .n_prompt = n};
    j->job.sampling = (struct mr_sampling){.top_p = 1, .repetition_penalty = 1, .n_logprobs = -1, .n_prompt_logprobs = index % 5 == 0 ? 3 : -1,
                                           .seed = (uint64_t)index + 1, .max_tokens = 4 + index % (OUTPUT_MAX - 4), .ignore_eos = true,
                                           .temperature = index % 2 ? 0.8 : 0};
}

static void take(const struct mr_engine_event *event, struct outcome *o)
{
    if (event->kind == MR_ENGINE_PROMPT) {
        memcpy(o->scores, event->logprobs, (size_t)event->n_tokens * sizeof *o->scores);
        return;
    }
    memcpy(o->text + o->n_text, event->text.p, event->text.n);
    o->n_text += event->text.n;
    if (event->kind == MR_ENGINE_END)
        o->ends++, o->finish = event->finish;
    else
        o->ids[o->n++] = event->ids[0];
}

struct setup {
    int32_t max_step_tokens, max_seqs, n_blocks;
    unsigned preempt_seed;
};

static struct job jobs[JOBS_MAX];
static struct outcome alone[JOBS_MAX], got[JOBS_MAX];

/* Runs jobs[first .. first + n) together. */
static void run_jobs(struct mr_serving *serving, struct setup setup, int first, int n, struct outcome *outcomes)
{
    struct spy spy = {mr_bundle_forward(serving->bundle), serving->bundle->model, outcomes, jobs};
    struct mr_engine_options options = serving->engine_options;
    options.forward = (struct mr_forward_port){.step = spy_step, .sample = spy_sample, .score = spy_score, .finish = spy_finish, .self = &spy};
    options.sched.max_step_tokens = setup.max_step_tokens;
    options.sched.max_seqs = setup.max_seqs;
    options.sched.n_blocks = setup.n_blocks ? setup.n_blocks : options.sched.n_blocks;
    options.sched.chunk_quantum = 1;
    struct mr_engine *engine;
    struct mr_clock clock = mr_clock_system();
    const struct mr_engine_event *events;
    int32_t n_events;
    enum mr_status status;
    uint64_t draw = setup.preempt_seed;
    memset(outcomes + first, 0, (size_t)n * sizeof *outcomes);
    REQUIRE(mr_engine_open(&options, &engine, NULL) == MR_OK);
    for (int i = first; i < first + n; i++) {
        struct mr_engine_run run = {.run = (uint64_t)i, .job = &jobs[i].job, .arrival_ns = i, .accepted = jobs[i].accepted,
                                    .n_accepted = jobs[i].n_accepted};
        EXPECT_EQ(mr_engine_submit(engine, &run, 0, NULL), MR_OK);
    }
    while (mr_engine_step(engine, &clock, &events, &n_events, &status)) {
        EXPECT_EQ(status, MR_OK);
        for (int32_t i = 0; i < n_events; i++)
            take(&events[i], &outcomes[events[i].run]);
        if (setup.preempt_seed && (draw = mr_mix64(draw + 1)) % 3 == 0)
            mr_engine_preempt(engine, (uint64_t)first + draw / 7 % (uint64_t)n);
    }
    mr_engine_close(engine);
}

static bool same_scores(const struct mr_sampled *a, const struct mr_sampled *b, int32_t n)
{
    for (int32_t i = 1; i < n; i++) {
        if (a[i].id != b[i].id || memcmp(&a[i].logprob, &b[i].logprob, sizeof a[i].logprob) != 0 || a[i].n_top != b[i].n_top)
            return false;
        if (memcmp(a[i].top_ids, b[i].top_ids, (size_t)a[i].n_top * sizeof *a[i].top_ids) != 0 ||
            memcmp(a[i].top_logprobs, b[i].top_logprobs, (size_t)a[i].n_top * sizeof *a[i].top_logprobs) != 0)
            return false;
    }
    return true;
}

static void expect_same(const struct outcome *alone, const struct outcome *got, const struct job *job, int index, const char *where)
{
    size_t n = (size_t)alone->n;
    EXPECT(alone->n == job->job.sampling.max_tokens && alone->ends == 1);
    bool same = alone->n == got->n && got->ends == 1 && memcmp(alone->ids, got->ids, n * sizeof *got->ids) == 0 &&
                memcmp(alone->logits, got->logits, n * sizeof *got->logits) == 0 && alone->n_text == got->n_text &&
                memcmp(alone->text, got->text, got->n_text) == 0 && same_scores(alone->scores, got->scores, job->job.n_prompt);
    EXPECT(same);
    if (!same)
        printf("  job %d, %s\n", index, where);
}

static void compare_all(struct mr_serving *serving, const struct setup *setup, int n, const char *where)
{
    run_jobs(serving, *setup, 0, n, got);
    for (int i = 0; i < n; i++)
        expect_same(&alone[i], &got[i], &jobs[i], i, where);
}

/* From every prefix of job i, the rest is the same bits and the same text. */
static void resume(struct mr_serving *serving, int i)
{
    const struct outcome *whole = &alone[i];
    for (int k = 1; k < whole->n; k++) {
        memcpy(jobs[i].accepted, whole->ids, (size_t)k * sizeof *whole->ids);
        jobs[i].n_accepted = k;
        run_jobs(serving, (struct setup){64, 4, 0, 0}, i, 1, got);
        size_t n = (size_t)(whole->n - k);
        EXPECT_EQ(got[i].n, whole->n - k);
        EXPECT(memcmp(got[i].ids, whole->ids + k, n * sizeof *whole->ids) == 0);
        EXPECT(memcmp(got[i].logits + k, whole->logits + k, n * sizeof *whole->logits) == 0);
        EXPECT(got[i].n_text <= whole->n_text && memcmp(got[i].text, whole->text + whole->n_text - got[i].n_text, got[i].n_text) == 0);
    }
    jobs[i].n_accepted = 0;
}

static bool open_serving(struct mr_serving *serving, struct mr_options *options, const char *model, const char *precision, int threads)
{
    struct mr_err err = {0};
    *options = options_of(model, precision, threads);
    if (mr_serving_open(options, serving, &err) == MR_OK)
        return true;
    EXPECT(!"the model opens");
    printf("%s\n", err.text);
    mr_options_fini(options);
    return false;
}

static void same_bits(const char *model, const char *precision, int n_jobs)
{
    static const struct {
        const char *name;
        struct setup setup;
    } setups[] = {
        {"together", {512, 64, 0, 0}}, {"chunks of 1", {1, 64, 0, 0}}, {"chunks of 7", {7, 64, 0, 0}}, {"chunks of 64", {64, 64, 0, 0}},
        {"preempted", {64, 16, 0, 1}}, {"short of blocks", {100, 64, 30, 0}},
    };
    struct mr_options options;
    struct mr_serving serving;
    if (!open_serving(&serving, &options, model, precision, 1))
        return;
    for (int i = 0; i < n_jobs; i++) {
        make_job(&jobs[i], i, mr_model_shape(serving.bundle->model)->vocabulary);
        run_jobs(&serving, (struct setup){512, 64, 0, 0}, i, 1, alone);
    }
    for (size_t k = 0; k < sizeof setups / sizeof *setups; k++)
        compare_all(&serving, &setups[k].setup, n_jobs, setups[k].name);
    for (int i = 0; i < n_jobs; i += 9)
        resume(&serving, i);
    mr_serving_close(&serving);
    mr_options_fini(&options);
    if (!open_serving(&serving, &options, model, precision, 3))
        return;
    compare_all(&serving, &setups[3].setup, n_jobs, "on three threads");
    mr_serving_close(&serving);
    mr_options_fini(&options);
}

TEST(same_bits_exact) { same_bits("synthetic:tiny", "exact", 64); }
TEST(same_bits_fast) { same_bits("synthetic:tiny", "fast", 64); }

TEST(same_bits_real_model)
{
    const char *model = getenv("MILLRACE_TEST_MODEL");
    if (!model || !model[0]) {
        printf("skipped: MILLRACE_TEST_MODEL is not set\n");
        return;
    }
    same_bits(model, "exact", 6);
    same_bits(model, "fast", 6);
}

TEST(what_cannot_be_served)
{
    struct mr_options options = options_of("synthetic:no-such-shape", "exact", 1);
    struct mr_serving serving;
    struct mr_err err;
    EXPECT(mr_serving_open(&options, &serving, &err) != MR_OK);
    EXPECT(serving.bundle == NULL && serving.engine == NULL);
    options.model = "";
    EXPECT_EQ(mr_serving_open(&options, &serving, &err), MR_ERR_INVALID);
    mr_options_fini(&options);
}

TEST_MAIN(TEST_CASE(same_bits_exact), TEST_CASE(same_bits_fast), TEST_CASE(same_bits_real_model), TEST_CASE(what_cannot_be_served))
