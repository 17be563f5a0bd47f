#include "worker/counter_sync.h"

#include "tests/test.h"
#include "tests/worker/fake_forward.h"
#include "worker/bundle.h"

/* Two workers with one store: tenant `both` has work on either, tenant `one` on the first alone. Fairness over the two means that the
 * first serves `one` until it has had as much as `both` had on the second. */

enum { FIELDS = 64, JOBS = 400, PROMPT = 8, OUTPUT = 8, BLOCK = 16, SYNC_STEPS = 10 };

struct store {
    char name[FIELDS][64];
    int64_t value[FIELDS];
    int n;
    bool away, cut;              /* cut: it takes the question and gives no answer */
    struct mr_state_tally *asked;
    int32_t n_asked;
};

static int64_t *store_field(struct store *s, const struct mr_state_tally *t)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s/%.*s", (int)t->hash.n, t->hash.p, (int)t->field.n, t->field.p);
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->name[i], name) == 0)
            return &s->value[i];
    memcpy(s->name[s->n], name, sizeof name);
    s->value[s->n] = 0;
    return &s->value[s->n++];
}

static int64_t store_least(struct store *s, const struct mr_state_tally *t)
{
    int64_t *mine = store_field(s, t), least = INT64_MAX;
    *mine = t->least;
    for (int i = 0; i < s->n; i++)
        if (&s->value[i] != mine && strncmp(s->name[i], t->hash.p, t->hash.n) == 0 && s->name[i][t->hash.n] == '/' && s->value[i] < least)
            least = s->value[i];
    return least;
}

static bool store_tally(void *self, struct mr_state_tally *tallies, int32_t n)
{
    struct store *s = self;
    if (s->away || s->asked)
        return false;
    s->asked = tallies;
    s->n_asked = n;
    return true;
}

static bool store_tallied(void *self)
{
    struct store *s = self;
    if (!s->asked)
        return false;
    for (int32_t i = 0; i < s->n_asked; i++) {
        struct mr_state_tally *t = &s->asked[i];
        t->ok = !s->cut;
        if (s->cut)
            continue;
        int64_t *field = store_field(s, t);
        if (t->kind == MR_STATE_SUM) {
            *field = (*field > t->least ? *field : t->least) + t->add;
            t->out = *field;
        } else {
            t->out = store_least(s, t);
        }
    }
    s->asked = NULL;
    return true;
}

static bool store_healthy(void *self) { return !((struct store *)self)->away; }

struct side {
    struct fake_forward *forward;
    struct mr_engine *engine;
    struct mr_counter_sync *sync;
    struct mr_state_port port;
    uint64_t next;
};

static struct mr_job job_of[2];
static int32_t prompt[PROMPT];

static void submit(struct side *side, int tenant)
{
    struct mr_engine_run run = {.run = side->next, .job = &job_of[tenant], .tenant = (uint32_t)tenant, .arrival_ns = (int64_t)++side->next};
    EXPECT(mr_engine_submit(side->engine, &run, 1, NULL) == MR_OK);
}

static void open_side(struct side *side, struct store *store, const char *name)
{
    static struct mr_bundle bundle;
    if (!bundle.tokenizer) {
        struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = FAKE_VOCABULARY, .bos = -1, .eos = 256, .eot = -1};
        mr_tokenizer_open(&vocabulary, &bundle.tokenizer, NULL);
    }
    *side = (struct side){.forward = fake_forward_open(BLOCK, -1), .next = 1};
    struct mr_engine_options options = {
        .sched = {.n_blocks = 64, .block_tokens = BLOCK, .max_seqs = 4, .max_step_tokens = 16, .max_jobs = 2 * JOBS, .max_tenants = 4,
                  .max_context = 64, .chunk_quantum = 8, .window_tokens = 16},
        .forward = fake_forward_port(side->forward, false), .bundle = &bundle, .max_logits = 8};
    REQUIRE(mr_engine_open(&options, &side->engine, NULL) == MR_OK);
    side->port = (struct mr_state_port){.tally = store_tally, .tallied = store_tallied, .healthy = store_healthy, .self = store};
    side->sync = mr_counter_sync_open(&(struct mr_counter_sync_options){side->engine, &side->port, name, 4, 1});
}

static void close_side(struct side *side)
{
    mr_counter_sync_close(side->sync);
    mr_engine_close(side->engine);
    free(side->forward);
}

static void steps(struct side *side, int n, int64_t *now_ns, bool shared)
{
    struct mr_clock clock = mr_clock_system();
    const struct mr_engine_event *events;
    int32_t n_events;
    enum mr_status status;
    for (int i = 0; i < n; i++) {
        mr_engine_step(side->engine, &clock, &events, &n_events, &status);
        if (shared && i % SYNC_STEPS == 0) {
            mr_counter_sync_step(side->sync, ++*now_ns);
            mr_counter_sync_step(side->sync, ++*now_ns);
        }
    }
}

static int64_t charged(struct side *side, uint32_t tenant)
{
    struct mr_sched_tenant_stats stats;
    mr_sched_tenant_stats(mr_engine_sched(side->engine), MR_TIER_BULK, tenant, &stats);
    return stats.charged / MR_SCHED_SERVICE_UNIT;
}

struct outcome {
    int64_t both, one;
    struct mr_counter_sync_stats stats;
};

/* 300 steps of each in turns; when: at step 100 of them. */
static struct outcome play(bool shared, struct store *store, void (*when)(struct store *store))
{
    struct side sides[2];
    int64_t now_ns = 0;
    for (int t = 0; t < 2; t++) {
        job_of[t] = (struct mr_job){.tier = MR_TIER_BULK, .tenant = t ? MR_STR("one") : MR_STR("both"), .prompt_ids = prompt, .n_prompt = PROMPT};
        job_of[t].sampling = (struct mr_sampling){.top_p = 1, .repetition_penalty = 1, .max_tokens = OUTPUT, .ignore_eos = true, .n_logprobs = -1,
                                                  .n_prompt_logprobs = -1};
    }
    *store = (struct store){0};
    open_side(&sides[0], store, "a");
    open_side(&sides[1], store, "b");
    for (int i = 0; i < JOBS; i++) {
        submit(&sides[0], 0);
        submit(&sides[0], 1);
        submit(&sides[1], 0);
    }
    for (int turn = 0; turn < 30; turn++) {
        if (turn == 10 && when)
            when(store);
        if (turn == 20)
            store->away = store->cut = false;
        steps(&sides[0], 10, &now_ns, shared);
        steps(&sides[1], 10, &now_ns, shared);
    }
    struct outcome out = {.both = charged(&sides[0], 0) + charged(&sides[1], 0), .one = charged(&sides[0], 1)};
    mr_counter_sync_stats(sides[0].sync, &out.stats);
    close_side(&sides[0]);
    close_side(&sides[1]);
    return out;
}

static void expect_fair(struct outcome o)
{
    EXPECT(o.both > 500 && o.one > 500);
    EXPECT_NEAR((double)o.one / (double)(o.one + o.both), 0.5, 0.04);
}

TEST(apart_each_is_fair_by_itself)
{
    struct store store;
    struct outcome o = play(false, &store, NULL);
    EXPECT_NEAR((double)o.one / (double)(o.one + o.both), 0.25, 0.04);
}

TEST(together_they_are_fair_over_both)
{
    struct store store;
    struct outcome o = play(true, &store, NULL);
    expect_fair(o);
    EXPECT(o.stats.exchanges > 10);
    EXPECT_EQ(o.stats.failures, 0);
}

static void go_away(struct store *store) { store->away = true; }
static void cut_off(struct store *store) { store->cut = true; }
static void flush(struct store *store) { store->n = 0; }

/* What the store holds is what was charged, but for what the last exchanges have not told. */
static void expect_told(const struct store *store, struct outcome o)
{
    int64_t sum = 0;
    for (int i = 0; i < store->n; i++)
        sum += strncmp(store->name[i], "vt:2/", 5) == 0 ? store->value[i] / MR_SCHED_SERVICE_UNIT : 0;
    EXPECT_NEAR((double)sum, (double)(o.both + o.one), (double)(o.both + o.one) / 10);
}

/* Fair, apart, fair again: halves, a quarter, halves. */
TEST(a_store_that_was_away_gets_what_it_missed)
{
    struct store store;
    struct outcome o = play(true, &store, go_away);
    EXPECT_NEAR((double)o.one / (double)(o.one + o.both), 1.25 / 3, 0.03);
    expect_told(&store, o);
    o = play(true, &store, cut_off);
    EXPECT_NEAR((double)o.one / (double)(o.one + o.both), 1.25 / 3, 0.03);
    EXPECT(o.stats.failures > 0);
    expect_told(&store, o);
}

TEST(a_flushed_store_is_raised_again)
{
    struct store store;
    struct outcome o = play(true, &store, flush);
    expect_fair(o);
    expect_told(&store, o);
}

/* The answer of an exchange comes when the index is another tenant's: it is not that one's. */
TEST(an_answer_for_who_had_the_index_before_is_dropped)
{
    struct store store = {0};
    struct side side;
    struct mr_sched_tenant_stats stats;
    int64_t now_ns = 0;
    open_side(&side, &store, "a");
    for (int t = 0; t < 2; t++)
        job_of[t] = (struct mr_job){.tier = MR_TIER_BULK, .tenant = t ? MR_STR("after") : MR_STR("before"), .prompt_ids = prompt, .n_prompt = PROMPT,
                                    .sampling = {.top_p = 1, .repetition_penalty = 1, .max_tokens = OUTPUT, .ignore_eos = true, .n_logprobs = -1,
                                                 .n_prompt_logprobs = -1}};
    submit(&side, 0);
    steps(&side, 2 * OUTPUT, &now_ns, false);
    mr_counter_sync_step(side.sync, ++now_ns); /* asked */
    REQUIRE(store.asked);
    struct mr_engine_run run = {.run = 99, .job = &job_of[1], .tenant = 0, .arrival_ns = 1};
    EXPECT(mr_engine_submit(side.engine, &run, 1, NULL) == MR_OK);
    mr_counter_sync_step(side.sync, ++now_ns); /* answered */
    mr_sched_tenant_stats(mr_engine_sched(side.engine), MR_TIER_BULK, 0, &stats);
    EXPECT_EQ(stats.counter, 0);
    EXPECT_EQ(stats.charged, 0);
    int64_t *told = store_field(&store, &(struct mr_state_tally){.hash = MR_STR("vt:2"), .field = MR_STR("before")});
    EXPECT_EQ(*told, (PROMPT + 2 * OUTPUT) * MR_SCHED_SERVICE_UNIT);
    steps(&side, 2 * OUTPUT, &now_ns, false);
    mr_counter_sync_step(side.sync, ++now_ns);
    mr_counter_sync_step(side.sync, ++now_ns);
    EXPECT_EQ(*told, (PROMPT + 2 * OUTPUT) * MR_SCHED_SERVICE_UNIT);
    told = store_field(&store, &(struct mr_state_tally){.hash = MR_STR("vt:2"), .field = MR_STR("after")});
    EXPECT_EQ(*told, (PROMPT + 2 * OUTPUT) * MR_SCHED_SERVICE_UNIT);
    close_side(&side);
}

TEST_MAIN(TEST_CASE(an_answer_for_who_had_the_index_before_is_dropped), TEST_CASE(apart_each_is_fair_by_itself), TEST_CASE(together_they_are_fair_over_both), TEST_CASE(a_store_that_was_away_gets_what_it_missed),
          TEST_CASE(a_flushed_store_is_raised_again))
