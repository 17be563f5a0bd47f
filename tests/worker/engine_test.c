#include "tests/test.h"
#include "tests/worker/fake_forward.h"
#include "worker/bundle.h"
#include "worker/engine_state.h"

#include <malloc.h>

/* The engine over a fake model whose logits depend on the cache's content: every job must give the same tokens, text and end
 * whatever runs beside it, however its prompt is cut, and however often it is preempted or resumed. */

enum { JOBS = 24, TENANTS = JOBS + 2, PROMPT_MAX = 60, OUTPUT_MAX = 80, EOS = 256, RUNS_MAX = 80, TEXT_MAX = 1024 };

struct job {
    struct mr_job job;
    int32_t prompt[PROMPT_MAX], accepted[OUTPUT_MAX], stop_ids[2], bias_ids[2];
    float bias_values[2];
    struct mr_str stop[2];
    int32_t n_accepted;
    int64_t deadline_ns;
    uint32_t tenant; /* index */
};

struct outcome {
    int32_t ids[OUTPUT_MAX], n;
    size_t text_after[OUTPUT_MAX]; /* bytes of text once token i was told */
    char text[TEXT_MAX];
    size_t n_text;
    float logprob[OUTPUT_MAX];
    int prompts, ends, n_top;
    double prompt_sum;
    enum mr_finish finish;
    enum mr_reason reason;
    int32_t n_output, n_cached;
};

struct setup {
    int32_t max_step_tokens, max_seqs, n_blocks, block_tokens, max_logits, max_jobs;
    unsigned preempt_seed; /* 0: never */
    bool prefix_cache;
};
static const struct setup roomy = {256, 64, 2048, 16, 64, RUNS_MAX, 0, false};

static bool ahead; /* the port gives results late, so steps are issued one ahead */
static bool loose; /* jobs want nothing that binds the engine to one step at a time */

static uint64_t random_state;
static uint32_t random_below(uint32_t n) { return (uint32_t)((mr_mix64(++random_state) >> 33) % n); }

static void make_job(struct job *j, unsigned seed)
{
    *j = (struct job){0};
    random_state = seed * 1000003u;
    int32_t n_prompt = 1 + (int32_t)random_below(PROMPT_MAX);
    for (int32_t i = 0; i < n_prompt; i++)
        j->prompt[i] = (int32_t)random_below(EOS);
    j->job = (struct mr_job){.tier = (enum mr_tier)random_below(3), .prompt_ids = j->prompt, .n_prompt = n_prompt};
    struct mr_sampling *s = &j->job.sampling;
    *s = (struct mr_sampling){.top_p = 1, .repetition_penalty = 1, .n_logprobs = -1, .n_prompt_logprobs = -1, .seed = seed};
    s->max_tokens = 1 + (int32_t)random_below(OUTPUT_MAX);
    if (seed % 2)
        s->temperature = 0.5 + 0.25 * random_below(4);
    if (seed % 3 == 0)
        s->repetition_penalty = 1.1, s->presence_penalty = 0.3, s->frequency_penalty = 0.2;
    if (seed % 4 == 0)
        s->min_tokens = (int32_t)random_below((uint32_t)s->max_tokens + 1);
    if (seed % 5 < 2) {
        j->stop[0] = MR_STR("abc");
        j->stop[1] = MR_STR("\xc3\xa9" "f");
        s->stop = j->stop;
        s->n_stop = 2;
    }
    if (seed % 7 == 0)
        s->n_logprobs = (int32_t)random_below(21);
    if (seed % 7 < 3)
        s->n_prompt_logprobs = (int32_t)random_below(21);
    if (loose)
        s->repetition_penalty = 1, s->presence_penalty = s->frequency_penalty = 0, s->n_prompt_logprobs = -1;
    if (seed % 11 == 0)
        s->ignore_eos = true;
    if (seed % 13 == 0) {
        j->stop_ids[0] = 'd';
        s->stop_ids = j->stop_ids;
        s->n_stop_ids = 1;
    }
    if (seed % 6 == 0) {
        j->bias_ids[0] = 'a', j->bias_values[0] = -100;
        j->bias_ids[1] = 'z', j->bias_values[1] = 12.5f;
        s->bias_ids = j->bias_ids;
        s->bias_values = j->bias_values;
        s->n_bias = 2;
    }
}

static struct mr_engine *open_engine(const struct setup *setup, struct fake_forward *f)
{
    static struct mr_bundle bundle;
    if (!bundle.tokenizer) {
        struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = FAKE_VOCABULARY, .bos = -1, .eos = EOS, .eot = -1};
        struct mr_err err;
        if (mr_tokenizer_open(&vocabulary, &bundle.tokenizer, &err) != MR_OK) {
            printf("%s\n", err.text);
            exit(1);
        }
    }
    struct mr_engine_options options = {
        .sched = {.n_blocks = setup->n_blocks, .block_tokens = setup->block_tokens, .max_seqs = setup->max_seqs,
                  .max_step_tokens = setup->max_step_tokens, .max_jobs = setup->max_jobs, .max_tenants = TENANTS, .max_context = 512,
                  .chunk_quantum = 1},
        .forward = fake_forward_port(f, ahead),
        .bundle = &bundle,
        .max_logits = setup->max_logits,
        .prefix_cache = setup->prefix_cache,
    };
    struct mr_engine *e = NULL;
    struct mr_err err;
    if (mr_engine_open(&options, &e, &err) != MR_OK)
        printf("%s\n", err.text);
    return e;
}

static void take_event(const struct mr_engine_event *event, struct outcome *o)
{
    if (event->kind == MR_ENGINE_PROMPT) {
        EXPECT_EQ(o->n, 0);
        o->prompts++;
        for (int32_t i = 1; i < event->n_tokens; i++) {
            o->prompt_sum += event->logprobs[i].logprob * (i + 1);
            o->n_top += event->logprobs[i].n_top;
        }
        return;
    }
    EXPECT_EQ(o->ends, 0);
    memcpy(o->text + o->n_text, event->text.p, event->text.n);
    o->n_text += event->text.n;
    if (event->kind == MR_ENGINE_END) {
        o->ends++;
        o->finish = event->finish;
        o->reason = event->reason;
        o->n_output = event->n_output;
        o->n_cached = event->n_cached;
        return;
    }
    for (int32_t i = 0; i < event->n_tokens; i++) {
        o->logprob[o->n] = event->logprobs ? event->logprobs[i].logprob : 0;
        o->text_after[o->n] = o->n_text;
        o->ids[o->n++] = event->ids[i];
    }
}

/* Runs jobs[0 .. n) together, run i named 100 + i. */
static void run_jobs(const struct setup *setup, struct job *jobs, int n, struct outcome *outcomes)
{
    struct fake_forward *f = fake_forward_open(setup->block_tokens, EOS);
    struct mr_engine *e = open_engine(setup, f);
    struct mr_manual_clock time = {.monotonic_ns = 1};
    struct mr_clock clock = mr_clock_manual(&time);
    memset(outcomes, 0, (size_t)n * sizeof *outcomes);
    for (int i = 0; i < n; i++) {
        struct mr_engine_run run = {.run = 100 + (uint64_t)i, .job = &jobs[i].job, .tenant = jobs[i].tenant, .accepted = jobs[i].accepted,
                                    .n_accepted = jobs[i].n_accepted, .arrival_ns = i + 1, .deadline_ns = jobs[i].deadline_ns};
        struct mr_err err = {0};
        EXPECT_EQ(mr_engine_submit(e, &run, 1, &err), MR_OK);
    }
    const struct mr_engine_event *events;
    int32_t n_events;
    enum mr_status status;
    random_state = setup->preempt_seed;
    for (; mr_engine_step(e, &clock, &events, &n_events, &status); time.monotonic_ns += 1000) {
        EXPECT_EQ(status, MR_OK);
        for (int32_t i = 0; i < n_events; i++)
            take_event(&events[i], &outcomes[events[i].run - 100]);
        if (setup->preempt_seed && random_below(4) == 0)
            mr_engine_preempt(e, 100 + random_below((uint32_t)n));
    }
    EXPECT(f->most_tokens <= setup->max_step_tokens && f->most_logits <= setup->max_logits);
    struct mr_engine_stats stats;
    mr_engine_stats(e, &stats);
    EXPECT_EQ(stats.sched.blocks_used, 0);
    mr_engine_close(e);
    free(f);
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    return a->n == b->n && memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids) == 0 && a->n_text == b->n_text &&
           memcmp(a->text, b->text, a->n_text) == 0 && memcmp(a->text_after, b->text_after, (size_t)a->n * sizeof *a->text_after) == 0 &&
           memcmp(a->logprob, b->logprob, (size_t)a->n * sizeof *a->logprob) == 0 && a->prompts == b->prompts && a->ends == 1 &&
           b->ends == 1 && a->prompt_sum == b->prompt_sum && a->n_top == b->n_top && a->finish == b->finish && a->n_output == b->n_output;
}

static struct job jobs[RUNS_MAX];
static struct outcome alone[RUNS_MAX], got[RUNS_MAX];

static void run_alone(int n)
{
    for (int i = 0; i < n; i++) {
        make_job(&jobs[i], (unsigned)i + 1);
        run_jobs(&roomy, &jobs[i], 1, &alone[i]);
    }
}

TEST(company_chunks_and_preemption_change_nothing)
{
    static const struct setup setups[] = {
        {256, 64, 2048, 16, 64, RUNS_MAX, 0, false}, {1, 1, 2048, 16, 1, RUNS_MAX, 0, false},  {7, 5, 2048, 3, 2, RUNS_MAX, 0, false},
        {64, 64, 60, 4, 64, RUNS_MAX, 0, false},     {33, 9, 40, 4, 3, RUNS_MAX, 0, false},    {64, 16, 2048, 16, 5, RUNS_MAX, 1, false},
        {16, 8, 50, 5, 8, RUNS_MAX, 2, false},       {100, 64, 80, 2, 64, RUNS_MAX, 3, false},
    };
    run_alone(JOBS);
    int stops = 0, lengths = 0;
    for (int i = 0; i < JOBS; i++) {
        EXPECT_EQ(alone[i].ends, 1);
        EXPECT_EQ(alone[i].n, alone[i].n_output);
        EXPECT_EQ(alone[i].prompts, jobs[i].job.sampling.n_prompt_logprobs >= 0);
        stops += alone[i].finish == MR_FINISH_STOP;
        lengths += alone[i].finish == MR_FINISH_LENGTH;
    }
    EXPECT(stops >= 5 && lengths >= 5);
    for (size_t k = 0; k < sizeof setups / sizeof *setups; k++) {
        run_jobs(&setups[k], jobs, JOBS, got);
        for (int i = 0; i < JOBS; i++)
            if (!same(&alone[i], &got[i]))
                EXPECT(!"same as alone"), printf("  setup %zu job %d: %d tokens, alone %d\n", k, i, got[i].n, alone[i].n);
    }
}

/* The tail of a run behind its first k tokens is what the resumed run gives. */
TEST(resumed_from_every_prefix)
{
    run_alone(JOBS);
    for (int i = 0; i < JOBS; i++) {
        const struct outcome *whole = &alone[i];
        struct job resumed[RUNS_MAX];
        int n = whole->n + 1;
        REQUIRE(n <= RUNS_MAX);
        for (int k = 0; k < n; k++) {
            make_job(&resumed[k], (unsigned)i + 1);
            memcpy(resumed[k].accepted, whole->ids, (size_t)k * sizeof *whole->ids);
            resumed[k].n_accepted = k;
        }
        struct setup setup = {64, 16, 400, 4, 8, RUNS_MAX, (unsigned)i + 1, false};
        run_jobs(&setup, resumed, n, got);
        for (int k = 0; k < n; k++) {
            size_t before = k ? whole->text_after[k - 1] : 0;
            EXPECT_EQ(got[k].n, whole->n - k);
            EXPECT(memcmp(got[k].ids, whole->ids + k, (size_t)(whole->n - k) * sizeof *whole->ids) == 0);
            EXPECT_EQ(got[k].n_text, whole->n_text - before);
            EXPECT(memcmp(got[k].text, whole->text + before, got[k].n_text) == 0);
            EXPECT_EQ(got[k].finish, whole->finish);
            EXPECT_EQ(got[k].n_output, whole->n_output);
            EXPECT_EQ(got[k].prompts, whole->prompts);
        }
    }
}

/* Jobs with equal beginnings find each other's blocks, and nothing of what they say changes. */
TEST(shared_beginnings)
{
    static const struct setup setups[] = {
        {256, 64, 2048, 4, 64, RUNS_MAX, 0, true}, {7, 3, 2048, 5, 64, RUNS_MAX, 0, true},
        {33, 9, 60, 4, 3, RUNS_MAX, 0, true},      {64, 16, 2048, 16, 5, RUNS_MAX, 1, true},
        {16, 8, 80, 4, 8, RUNS_MAX, 2, true},
    };
    run_alone(JOBS);
    for (int i = 0; i < JOBS; i++) { /* six beginnings, four jobs each, with ends of their own */
        int32_t shared = 10 + 5 * (i % 6);
        for (int32_t k = 0; k < shared; k++)
            jobs[i].prompt[k] = (int32_t)(mr_mix64((uint64_t)(i % 6 * 100 + k)) % EOS);
        jobs[i].job.n_prompt = jobs[i].job.n_prompt > shared ? jobs[i].job.n_prompt : shared;
        jobs[i].job.prompt_ids = jobs[i].prompt;
        jobs[i].job.tenant = MR_STR("one");
        run_jobs(&roomy, &jobs[i], 1, &alone[i]);
        EXPECT_EQ(alone[i].n_cached, 0);
    }
    for (size_t k = 0; k < sizeof setups / sizeof *setups; k++) {
        int32_t cached = 0;
        run_jobs(&setups[k], jobs, JOBS, got);
        for (int i = 0; i < JOBS; i++) {
            cached += got[i].n_cached;
            EXPECT(got[i].n_cached < jobs[i].job.n_prompt && got[i].n_cached % setups[k].block_tokens == 0);
            EXPECT(jobs[i].job.sampling.n_prompt_logprobs < 0 || got[i].n_cached == 0);
            if (!same(&alone[i], &got[i]))
                EXPECT(!"same as alone"), printf("  setup %zu job %d\n", k, i);
        }
        EXPECT(cached > 0 || setups[k].max_seqs == 64); /* all at once: nobody's blocks are full yet */
    }
    for (int i = 0; i < JOBS; i++) { /* nothing is shared between tenants, or between scopes of one */
        jobs[i].tenant = i % 2 ? 1 + (uint32_t)i : 0;
        *(i % 2 ? &jobs[i].job.tenant : &jobs[i].job.cache_scope) = (struct mr_str){&"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i], 1};
    }
    run_jobs(&setups[1], jobs, JOBS, got);
    for (int i = 0; i < JOBS; i++)
        EXPECT_EQ(got[i].n_cached, 0);
}

static struct job plain(int32_t n_prompt, int32_t max_tokens)
{
    struct job j;
    make_job(&j, 2);
    j.job.sampling = (struct mr_sampling){.top_p = 1, .repetition_penalty = 1, .n_logprobs = -1, .n_prompt_logprobs = -1,
                                          .max_tokens = max_tokens};
    j.job.n_prompt = n_prompt;
    return j;
}

TEST(ends)
{
    struct job j;
    struct outcome free_run, o;
    int eos = 0;
    for (int32_t n_prompt = 5; n_prompt < PROMPT_MAX && (eos < 3 || eos > 50); n_prompt++) { /* a prompt that meets the end on its way */
        j = plain(n_prompt, 60);
        j.job.prompt_ids = j.prompt;
        j.job.sampling.ignore_eos = true;
        run_jobs(&roomy, &j, 1, &free_run);
        EXPECT_EQ(free_run.n, 60);
        EXPECT_EQ(free_run.finish, MR_FINISH_LENGTH);
        for (eos = 0; eos < free_run.n && free_run.ids[eos] != EOS; eos++)
            ;
    }
    REQUIRE(eos >= 3 && eos <= 50);

    j.job.sampling.ignore_eos = false; /* ends there; the end token counts and has no text */
    run_jobs(&roomy, &j, 1, &o);
    EXPECT_EQ(o.n, eos + 1);
    EXPECT_EQ(o.finish, MR_FINISH_STOP);
    EXPECT(memcmp(o.ids, free_run.ids, (size_t)o.n * sizeof *o.ids) == 0);

    j.job.sampling.min_tokens = eos + 1; /* not before */
    run_jobs(&roomy, &j, 1, &o);
    EXPECT(o.n > eos + 1);
    EXPECT(o.ids[eos] != EOS);

    j.job.sampling.min_tokens = 0;
    j.stop_ids[0] = free_run.ids[2];
    j.job.sampling.stop_ids = j.stop_ids;
    j.job.sampling.n_stop_ids = 1;
    run_jobs(&roomy, &j, 1, &o);
    int first = 0;
    while (free_run.ids[first] != j.stop_ids[0])
        first++;
    EXPECT_EQ(o.n, first + 1);
    EXPECT_EQ(o.finish, MR_FINISH_STOP);

    j.job.sampling.n_stop_ids = 0;
    j.job.sampling.max_tokens = 0; /* a prompt to score, nothing to say */
    j.job.sampling.n_prompt_logprobs = 1;
    run_jobs(&roomy, &j, 1, &o);
    EXPECT_EQ(o.n, 0);
    EXPECT_EQ(o.prompts, 1);
    EXPECT_EQ(o.finish, MR_FINISH_LENGTH);
}

/* The text of a run with a stop string is that of the free run up to the string; tokens up to the one that completed it count. */
TEST(stop_string_over_token_edges)
{
    struct job j = plain(5, 60);
    struct outcome free_run, o;
    j.job.prompt_ids = j.prompt;
    j.job.sampling.ignore_eos = true;
    run_jobs(&roomy, &j, 1, &free_run);
    char text[TEXT_MAX + 1] = {0};
    memcpy(text, free_run.text, free_run.n_text);
    for (size_t at = 3; at + 4 < 30; at++) {
        j.stop[0] = (struct mr_str){text + at, 4};
        j.job.sampling.stop = j.stop;
        j.job.sampling.n_stop = 1;
        run_jobs(&roomy, &j, 1, &o);
        char needle[5] = {0};
        memcpy(needle, text + at, 4);
        size_t found = (size_t)(strstr(text, needle) - text);
        EXPECT_EQ(o.finish, MR_FINISH_STOP);
        EXPECT_EQ(o.n_text, found);
        EXPECT(memcmp(o.text, text, found) == 0);
        EXPECT(o.n < free_run.n && free_run.text_after[o.n - 1] >= found + 4 && free_run.text_after[o.n - 2] < found + 4);
    }
}

TEST(prompt_scores_in_bounded_rows)
{
    struct job j = plain(50, 3);
    struct outcome wide, narrow;
    j.job.prompt_ids = j.prompt;
    j.job.sampling.n_prompt_logprobs = 5;
    run_jobs(&roomy, &j, 1, &wide);
    EXPECT_EQ(wide.prompts, 1);
    EXPECT_EQ(wide.n_top, 49 * 5);
    for (int32_t rows = 1; rows < 9; rows++) {
        struct setup setup = {64, 4, 2048, 16, rows, 8, rows > 4 ? (unsigned)rows : 0, false};
        run_jobs(&setup, &j, 1, &narrow);
        EXPECT(same(&wide, &narrow));
    }
}

struct rig {
    struct fake_forward *f;
    struct mr_engine *e;
    struct mr_manual_clock time;
    struct mr_clock clock;
    struct outcome o[RUNS_MAX];
    enum mr_status status;
};

static struct rig *rig_open(const struct setup *setup)
{
    static struct rig rig;
    memset(&rig, 0, sizeof rig);
    rig.f = fake_forward_open(setup->block_tokens, -1);
    rig.e = open_engine(setup, rig.f);
    rig.time.monotonic_ns = 1;
    rig.clock = mr_clock_manual(&rig.time);
    return &rig;
}

static void rig_close(struct rig *rig)
{
    mr_engine_close(rig->e);
    free(rig->f);
}

static bool rig_step(struct rig *rig)
{
    const struct mr_engine_event *events;
    int32_t n_events;
    bool busy = mr_engine_step(rig->e, &rig->clock, &events, &n_events, &rig->status);
    for (int32_t i = 0; i < n_events; i++)
        take_event(&events[i], &rig->o[events[i].run]);
    rig->time.monotonic_ns += 1000;
    return busy;
}

static enum mr_status rig_submit(struct rig *rig, uint64_t name, struct job *j, int64_t deadline_ns)
{
    j->job.prompt_ids = j->prompt;
    struct mr_engine_run run = {.run = name, .job = &j->job, .arrival_ns = 1, .deadline_ns = deadline_ns};
    return mr_engine_submit(rig->e, &run, 1, NULL);
}

TEST(cancel_and_drop)
{
    struct rig *rig = rig_open(&(struct setup){64, 2, 2048, 16, 64, 8, 0, false});
    struct job j[3];
    for (int i = 0; i < 3; i++) {
        j[i] = plain(4, 50);
        EXPECT_EQ(rig_submit(rig, (uint64_t)i, &j[i], 0), MR_OK);
    }
    for (int i = 0; i < 3; i++)
        EXPECT(rig_step(rig));
    EXPECT_EQ(rig->o[0].n, 3); /* 0 and 1 are resident, 2 waits */
    EXPECT_EQ(rig->o[2].n, 0);
    EXPECT(mr_engine_cancel(rig->e, 0));
    EXPECT(mr_engine_cancel(rig->e, 0)); /* owed once */
    EXPECT(mr_engine_drop(rig->e, 1));
    EXPECT(!mr_engine_drop(rig->e, 1));
    EXPECT(!mr_engine_cancel(rig->e, 77));
    EXPECT(rig_step(rig));
    EXPECT_EQ(rig->o[0].ends, 1);
    EXPECT_EQ(rig->o[0].finish, MR_FINISH_CANCELLED);
    EXPECT_EQ(rig->o[0].n_output, 3);
    EXPECT_EQ(rig->o[2].n, 1); /* took its place in the same step */
    while (rig_step(rig))
        ;
    EXPECT_EQ(rig->o[2].finish, MR_FINISH_LENGTH);
    EXPECT_EQ(rig->o[1].n, 3);
    EXPECT_EQ(rig->o[1].ends, 0);
    rig_close(rig);
}

TEST(deadlines)
{
    struct rig *rig = rig_open(&(struct setup){64, 1, 2048, 16, 64, 8, 0, false});
    struct job j[3] = {plain(4, 50), plain(4, 50), plain(4, 3)};
    EXPECT_EQ(rig_submit(rig, 0, &j[0], 4500), MR_OK); /* runs, and is cut */
    EXPECT(rig_step(rig));
    EXPECT_EQ(rig_submit(rig, 1, &j[1], 4400), MR_OK); /* one seat: waits until its time is over */
    EXPECT_EQ(rig_submit(rig, 2, &j[2], 0), MR_OK);
    while (rig_step(rig))
        ;
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(rig->o[i].finish, MR_FINISH_EXPIRED);
        EXPECT_EQ(rig->o[i].reason, MR_REASON_DEADLINE_PASSED);
        EXPECT(rig->o[i].n_output < 6);
    }
    EXPECT(rig->o[0].n_output > 0);
    EXPECT_EQ(rig->o[2].finish, MR_FINISH_LENGTH);
    rig_close(rig);
}

TEST(device_failure_ends_the_step_runs_only)
{
    struct rig *rig = rig_open(&(struct setup){64, 1, 2048, 16, 64, 8, 0, false});
    struct job j[2] = {plain(4, 5), plain(4, 5)};
    EXPECT_EQ(rig_submit(rig, 0, &j[0], 0), MR_OK);
    EXPECT_EQ(rig_submit(rig, 1, &j[1], 0), MR_OK);
    rig->f->fail_in = 3;
    EXPECT(rig_step(rig) && rig_step(rig) && rig->status == MR_OK);
    EXPECT(rig_step(rig));
    EXPECT_EQ(rig->status, MR_ERR_IO);
    EXPECT_EQ(rig->o[0].finish, MR_FINISH_FAILED);
    EXPECT_EQ(rig->o[0].reason, MR_REASON_DEVICE_FAILED);
    EXPECT_EQ(rig->o[0].n_output, 2);
    while (rig_step(rig))
        ;
    EXPECT_EQ(rig->o[1].finish, MR_FINISH_LENGTH);
    rig_close(rig);
}

TEST(limits)
{
    struct rig *rig = rig_open(&(struct setup){64, 2, 8, 16, 64, 3, 0, false});
    struct job j[4] = {plain(4, 5), plain(4, 5), plain(4, 5), plain(4, 5)}, fits = plain(50, 78), long_one = plain(50, 79);
    EXPECT_EQ(rig_submit(rig, 9, &long_one, 0), MR_ERR_INVALID); /* 129 tokens in 8 blocks of 16 */
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(rig_submit(rig, (uint64_t)i, &j[i], 0), MR_OK);
    EXPECT_EQ(rig_submit(rig, 3, &j[3], 0), MR_ERR_LIMIT);
    while (rig_step(rig))
        ;
    EXPECT_EQ(rig_submit(rig, 8, &fits, 0), MR_OK);
    while (rig_step(rig))
        ;
    EXPECT_EQ(rig->o[8].n, 78);
    struct mr_engine_run behind = {.run = 5, .job = &j[0].job, .accepted = (int32_t[]){1, 2, 3, 4, 5, 6}, .n_accepted = 6};
    EXPECT_EQ(mr_engine_submit(rig->e, &behind, 1, NULL), MR_ERR_INVALID); /* more than max_tokens */
    rig_close(rig);
}

TEST(steps_allocate_nothing)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("skipped: the sanitizer owns malloc\n");
#else
    struct rig *rig = rig_open(&(struct setup){64, 16, 2048, 16, 64, 16, 0, false});
    struct job j[8];
    for (int i = 0; i < 8; i++) {
        make_job(&j[i], (unsigned)i + 30);
        j[i].job.sampling.max_tokens = 60;
        EXPECT_EQ(rig_submit(rig, (uint64_t)i, &j[i], 0), MR_OK);
    }
    rig_step(rig);
    size_t before = mallinfo2().uordblks;
    int steps = 0;
    for (; steps < 40; steps++)
        rig_step(rig);
    EXPECT(mallinfo2().uordblks <= before); /* runs that end give back theirs */
    rig_close(rig);
#endif
}

/* Two runs of a tenant that may run one: the second is held, says that it waits for its contract, and is let go when the first is over. */
TEST(who_is_held_and_what_it_waits_for)
{
    struct rig *rig = rig_open(&(struct setup){64, 4, 2048, 16, 64, 8, 0, false});
    struct job j[2] = {plain(4, 3), plain(4, 3)};
    const struct mr_engine_event *events;
    int32_t n_events;
    int held = 0, freed = 0, begun = 0, concurrency = 0;
    EXPECT_EQ(mr_sched_tenant_set(mr_engine_sched(rig->e), 0, &(struct mr_sched_tenant){.concurrency = 1}, NULL), MR_OK);
    mr_engine_tell_waits(rig->e);
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(rig_submit(rig, (uint64_t)i, &j[i], 0), MR_OK);
    EXPECT(mr_engine_tenant(rig->e, 0).p != NULL && mr_engine_tenant(rig->e, 1).p == NULL && mr_engine_tenant(rig->e, 99).p == NULL);
    for (int step = 0; step < 12; step++, rig->time.monotonic_ns += 300 * MR_NS_PER_MS) {
        mr_engine_step(rig->e, &rig->clock, &events, &n_events, &rig->status);
        for (int32_t i = 0; i < n_events; i++) {
            const struct mr_engine_event *e = &events[i];
            held += e->kind == MR_ENGINE_HELD && e->run == 1 && e->on;
            freed += e->kind == MR_ENGINE_HELD && e->run == 1 && !e->on;
            begun += e->kind == MR_ENGINE_WAIT && e->on;
            concurrency += e->kind == MR_ENGINE_WAIT && e->run == 1 && e->on && e->waited_ns[MR_WAIT_CONCURRENCY] > 0;
            EXPECT(e->kind != MR_ENGINE_HELD || e->run == 1);
        }
    }
    EXPECT_EQ(held, 1);
    EXPECT_EQ(freed, 1);
    EXPECT_EQ(begun, 2);
    EXPECT_EQ(concurrency, 1);
    rig_close(rig);
}

/* A bulk job whose deadline cannot be kept is told so once, at the step behind its submission, and runs all the same. */
TEST(a_deadline_that_cannot_be_kept_is_told_at_once)
{
    struct rig *rig = rig_open(&(struct setup){64, 4, 2048, 16, 64, 8, 0, false});
    struct job j[3] = {plain(4, 10), plain(4, 3), plain(4, 40)};
    const struct mr_engine_event *events;
    int32_t n_events;
    int late = 0, ended = 0;
    mr_engine_tell_waits(rig->e);
    for (int i = 0; i < 3; i++)
        j[i].job.tier = MR_TIER_BULK;
    EXPECT_EQ(rig_submit(rig, 1, &j[0], 0), MR_OK); /* a rate is measured first */
    for (int step = 0; step < 12; step++, rig->time.monotonic_ns += 300 * MR_NS_PER_MS)
        mr_engine_step(rig->e, &rig->clock, &events, &n_events, &rig->status);
    for (int i = 1; i < 3; i++) {
        j[i].job.prompt_ids = j[i].prompt;
        struct mr_engine_run run = {.run = (uint64_t)i + 1, .job = &j[i].job, .arrival_ns = rig->time.monotonic_ns,
                                    .deadline_ns = rig->time.monotonic_ns + (i == 1 ? 3600 * MR_NS_PER_S : 5 * MR_NS_PER_S)};
        EXPECT_EQ(mr_engine_submit(rig->e, &run, rig->time.monotonic_ns, NULL), MR_OK);
    }
    for (int step = 0; step < 60; step++, rig->time.monotonic_ns += 10 * MR_NS_PER_MS) {
        mr_engine_step(rig->e, &rig->clock, &events, &n_events, &rig->status);
        for (int32_t i = 0; i < n_events; i++) {
            late += events[i].kind == MR_ENGINE_LATE;
            ended += events[i].kind == MR_ENGINE_END && events[i].finish == MR_FINISH_LENGTH;
            EXPECT(events[i].kind != MR_ENGINE_LATE || (step == 0 && events[i].run == 3));
        }
    }
    EXPECT_EQ(late, 1);
    EXPECT_EQ(ended, 2);
    rig_close(rig);
}

static int32_t asked;
static struct mr_sched_tenant contract_of(void *self, struct mr_str tenant)
{
    (void)self;
    asked++;
    return (struct mr_sched_tenant){.weight = mr_str_is(tenant, "two") ? 2 : 1};
}

/* An index goes to another tenant when no run of it is live, with that one's name and contract; the last index is shared. */
TEST(an_index_changes_hands)
{
    struct rig *rig = rig_open(&(struct setup){64, 4, 2048, 16, 64, 8, 0, false});
    struct job j[3] = {plain(4, 3), plain(4, 3), plain(4, 3)};
    static const char *const names[] = {"one", "two", "three"};
    struct mr_sched_tenant_stats stats;
    rig->e->options.contract = contract_of;
    for (int i = 0; i < 3; i++) {
        j[i].job.tenant = mr_str_from(names[i]);
        j[i].job.prompt_ids = j[i].prompt;
    }
    struct mr_engine_run run = {.run = 1, .job = &j[0].job, .tenant = 1};
    EXPECT_EQ(mr_engine_submit(rig->e, &run, 0, NULL), MR_OK);
    struct mr_engine_run next = {.run = 2, .job = &j[1].job, .tenant = 1};
    EXPECT_EQ(mr_engine_submit(rig->e, &next, 0, NULL), MR_ERR_LIMIT);
    for (int step = 0; step < 12; step++)
        rig_step(rig);
    mr_sched_tenant_stats(mr_engine_sched(rig->e), j[0].job.tier, 1, &stats);
    EXPECT(stats.charged > 0 && stats.finished == 1);
    EXPECT_EQ(mr_sched_tenant_life(mr_engine_sched(rig->e), 1), 0);
    EXPECT_EQ(mr_engine_submit(rig->e, &next, 0, NULL), MR_OK);
    EXPECT(mr_str_is(mr_engine_tenant(rig->e, 1), "two"));
    EXPECT_EQ(mr_sched_tenant_life(mr_engine_sched(rig->e), 1), 1);
    mr_sched_tenant_stats(mr_engine_sched(rig->e), j[0].job.tier, 1, &stats);
    EXPECT(stats.charged == 0 && stats.finished == 0);
    for (int i = 0; i < 2; i++) {
        struct mr_engine_run shared = {.run = 10 + (uint64_t)i, .job = &j[2 * i].job, .tenant = TENANTS - 1};
        EXPECT_EQ(mr_engine_submit(rig->e, &shared, 0, NULL), MR_OK);
    }
    EXPECT(mr_str_is(mr_engine_tenant(rig->e, TENANTS - 1), MR_ENGINE_OTHERS));
    EXPECT_EQ(asked, 3);
    for (int step = 0; step < 12; step++)
        rig_step(rig);
    rig_close(rig);
}

/* Whatever the host learns late, each job gives what it gives alone on a device that is done when it returns. */
TEST(one_step_ahead)
{
    static const struct setup setups[] = {
        {256, 64, 2048, 16, 64, RUNS_MAX, 0, false}, {1, 1, 2048, 16, 1, RUNS_MAX, 0, false}, {7, 5, 2048, 3, 5, RUNS_MAX, 0, false},
        {64, 64, 60, 4, 64, RUNS_MAX, 0, false},     {33, 9, 40, 4, 9, RUNS_MAX, 0, false},   {64, 16, 2048, 16, 16, RUNS_MAX, 1, false},
        {16, 8, 50, 5, 8, RUNS_MAX, 2, false},       {100, 64, 80, 2, 64, RUNS_MAX, 3, true},
    };
    for (int kind = 0; kind < 2; kind++) {
        loose = kind == 0;
        run_alone(JOBS);
        ahead = true;
        for (size_t k = 0; k < sizeof setups / sizeof *setups; k++) {
            run_jobs(&setups[k], jobs, JOBS, got);
            for (int i = 0; i < JOBS; i++)
                if (!same(&alone[i], &got[i]))
                    EXPECT(!"same as alone"), printf("  kind %d setup %zu job %d: %d tokens, alone %d\n", kind, k, i, got[i].n, alone[i].n);
        }
        ahead = false;
    }
    loose = true, ahead = true;
    test_resumed_from_every_prefix();
    test_shared_beginnings();
    test_ends();
    test_stop_string_over_token_edges();
    loose = false;
    test_prompt_scores_in_bounded_rows();
    test_deadlines();
    test_who_is_held_and_what_it_waits_for();
    ahead = false;
}

/* A token that is under way when its run is cancelled or dropped, or has ended at the one before, is told to nobody. */
TEST(cancelled_one_step_ahead)
{
    ahead = true;
    struct rig *rig = rig_open(&(struct setup){64, 2, 2048, 16, 64, 8, 0, false});
    struct job j[4];
    for (int i = 0; i < 4; i++) {
        j[i] = plain(4, i == 3 ? 1 : 50);
        EXPECT_EQ(rig_submit(rig, (uint64_t)i, &j[i], 0), MR_OK);
    }
    for (int i = 0; i < 3; i++)
        EXPECT(rig_step(rig));
    EXPECT_EQ(rig->o[0].n, 2); /* the third is under way */
    EXPECT(mr_engine_cancel(rig->e, 0) && mr_engine_cancel(rig->e, 0));
    EXPECT(mr_engine_drop(rig->e, 1) && !mr_engine_drop(rig->e, 1));
    EXPECT(rig_step(rig)); /* 2 and 3 take their places; 3's only token is under way */
    EXPECT_EQ(rig->o[0].ends, 1);
    EXPECT_EQ(rig->o[0].n_output, 2);
    EXPECT_EQ(rig->o[3].n, 0);
    EXPECT(mr_engine_cancel(rig->e, 3)); /* the scheduler has let it go already */
    while (rig_step(rig))
        ;
    EXPECT_EQ(rig->o[3].finish, MR_FINISH_CANCELLED);
    EXPECT_EQ(rig->o[3].n, 0);
    EXPECT_EQ(rig->o[2].finish, MR_FINISH_LENGTH);
    EXPECT_EQ(rig->o[2].n, 50);
    EXPECT_EQ(rig->o[1].n, 2);
    EXPECT_EQ(rig->o[1].ends, 0);
    EXPECT_EQ(rig->f->n_left, 0);
    EXPECT_EQ(rig_submit(rig, 4, &j[0], 0), MR_OK);
    EXPECT(rig_step(rig));
    rig_close(rig); /* with a step under way */
    ahead = false;
}

TEST(failure_one_step_ahead)
{
    ahead = true;
    for (int late = 0; late < 2; late++) { /* a step that is not taken; results that do not come */
        struct rig *rig = rig_open(&(struct setup){64, 1, 2048, 16, 64, 8, 0, false});
        struct job j[2] = {plain(4, 5), plain(4, 5)};
        for (int i = 0; i < 2; i++)
            EXPECT_EQ(rig_submit(rig, (uint64_t)i, &j[i], 0), MR_OK);
        *(late ? &rig->f->collect_fail_in : &rig->f->fail_in) = 3;
        bool failed = false;
        while (rig_step(rig))
            failed |= rig->status == MR_ERR_IO;
        EXPECT(failed);
        EXPECT_EQ(rig->o[0].finish, MR_FINISH_FAILED);
        EXPECT_EQ(rig->o[0].reason, MR_REASON_DEVICE_FAILED);
        EXPECT_EQ(rig->o[0].ends, 1);
        EXPECT_EQ(rig->o[0].n_output, 2);
        EXPECT_EQ(rig->o[1].finish, MR_FINISH_LENGTH);
        EXPECT_EQ(rig->o[1].n, 5);
        EXPECT_EQ(rig->f->n_left, 0);
        rig_close(rig);
    }
    ahead = false;
}

/* A device that keeps failing is left alone: what is cancelled meanwhile ends, the rest waits. */
TEST(a_rest_ends_what_is_cancelled)
{
    struct rig *rig = rig_open(&(struct setup){64, 4, 2048, 16, 64, 8, 0, false});
    struct job j[2] = {plain(4, 3), plain(4, 3)};
    const struct mr_engine_event *events;
    int32_t n_events;
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(rig_submit(rig, (uint64_t)i, &j[i], 0), MR_OK);
    EXPECT(mr_engine_cancel(rig->e, 1));
    mr_engine_rest(rig->e, &rig->clock, &events, &n_events);
    REQUIRE(n_events == 1);
    EXPECT(events[0].kind == MR_ENGINE_END && events[0].run == 1 && events[0].finish == MR_FINISH_CANCELLED);
    EXPECT_EQ(rig->f->steps, 0);
    mr_engine_rest(rig->e, &rig->clock, &events, &n_events);
    EXPECT_EQ(n_events, 0);
    while (rig_step(rig))
        ;
    EXPECT_EQ(rig->o[0].finish, MR_FINISH_LENGTH);
    rig_close(rig);
}

TEST_MAIN(TEST_CASE(one_step_ahead), TEST_CASE(cancelled_one_step_ahead), TEST_CASE(failure_one_step_ahead),
          TEST_CASE(who_is_held_and_what_it_waits_for), TEST_CASE(a_deadline_that_cannot_be_kept_is_told_at_once),
          TEST_CASE(an_index_changes_hands), TEST_CASE(a_rest_ends_what_is_cancelled), TEST_CASE(company_chunks_and_preemption_change_nothing), TEST_CASE(resumed_from_every_prefix), TEST_CASE(shared_beginnings), TEST_CASE(ends),
          TEST_CASE(stop_string_over_token_edges), TEST_CASE(prompt_scores_in_bounded_rows), TEST_CASE(cancel_and_drop), TEST_CASE(deadlines),
          TEST_CASE(device_failure_ends_the_step_runs_only), TEST_CASE(limits), TEST_CASE(steps_allocate_nothing))
