/* Owns the arrays of one step while it measures.
 *
 * 1. A step is timed as the engine runs it: the same batch builder and forward port, sampling included.
 * 2. Shapes that the engine's sizes or the cache do not hold are left out; one that would outlast the limit, by a token of the largest
 *    step so far, too. What a fit needs at least may take CALIBRATION_PATIENCE times as long; a device too slow for that stays
 *    unmeasured. The first step of all runs twice and counts once: pages are touched, caches warm.
 * 3. No two sequences of a step share a block. What the blocks hold does not matter: no time depends on it.
 * Rejected: timing layers alone (what is between them is a fifth of a small step). */
#include "worker/calibration.h"

#include "base/hash.h"
#include "kv/block_table.h"
#include "worker/batch.h"

#include <math.h>
#include <stdlib.h>

enum { CALIBRATION_PATIENCE = 3 }; /* the least that a fit needs may take this many times the limit */

struct calibration {
    struct mr_bundle *bundle;
    struct mr_forward_port forward;
    struct mr_calibration_options options;
    struct mr_clock clock;
    struct mr_batch_builder batch;
    int32_t *tokens;                 /* [context] */
    int32_t *blocks;                 /* [n_blocks] 0, 1, 2, ...: each sequence gets a stretch */
    struct mr_batch_source *sources; /* [max_seqs] */
    struct mr_sample_row *rows;      /* [max_logits] */
    struct mr_sampled *sampled;
    int64_t start_ns;
    int32_t most_tokens;             /* of a step so far, */
    double token_ns;                 /* and what a token of it took */
    bool warm;
};

static void calibration_close(struct calibration *c)
{
    mr_batch_close(&c->batch);
    free(c->tokens);
    free(c->blocks);
    free(c->sources);
    free(c->rows);
    free(c->sampled);
}

static enum mr_status calibration_open(struct calibration *c, struct mr_bundle *bundle, const struct mr_calibration_options *options,
                                       struct mr_err *err)
{
    const struct mr_kv_store_options *store = &bundle->store->options;
    *c = (struct calibration){.bundle = bundle, .forward = mr_bundle_forward(bundle), .options = *options, .clock = mr_clock_system()};
    struct mr_batch_limits limits = {.max_tokens = options->max_step_tokens, .max_seqs = options->max_seqs, .max_logits = options->max_logits,
                                     .max_blocks = mr_blocks_for(bundle->context, store->block_tokens), .block_tokens = store->block_tokens};
    enum mr_status status = mr_batch_open(&c->batch, &limits, err);
    c->tokens = calloc((size_t)bundle->context, sizeof *c->tokens);
    c->blocks = calloc((size_t)store->n_blocks, sizeof *c->blocks);
    c->sources = calloc((size_t)options->max_seqs, sizeof *c->sources);
    c->rows = calloc((size_t)options->max_logits, sizeof *c->rows);
    c->sampled = calloc((size_t)options->max_logits, sizeof *c->sampled);
    if (status == MR_OK && (!c->tokens || !c->blocks || !c->sources || !c->rows || !c->sampled))
        status = mr_err_set(err, MR_ERR_NOMEM, "no memory to calibrate");
    if (status != MR_OK) {
        calibration_close(c);
        return status;
    }
    int32_t vocabulary = mr_model_shape(bundle->model)->vocabulary;
    for (int32_t i = 0; i < bundle->context; i++)
        c->tokens[i] = (int32_t)(mr_mix64((uint64_t)i) % (uint64_t)vocabulary);
    for (int32_t i = 0; i < store->n_blocks; i++)
        c->blocks[i] = i;
    for (int32_t i = 0; i < options->max_logits; i++)
        c->rows[i] = (struct mr_sample_row){.top_p = 1, .repetition_penalty = 1, .n_logprobs = -1};
    c->start_ns = mr_clock_ns(&c->clock);
    return MR_OK;
}

/* Fills sources; how many, 0: the shape does not fit. */
static int32_t calibration_sources(struct calibration *c, const struct mr_step_shape *shape)
{
    const struct mr_kv_store_options *store = &c->bundle->store->options;
    int32_t n = shape->decodes + (shape->chunk > 0), at = 0;
    if (n > c->options.max_seqs || n > c->options.max_logits || shape->decodes + shape->chunk > c->options.max_step_tokens)
        return 0;
    for (int32_t i = 0; i < n; i++) {
        bool chunk = i == shape->decodes;
        int32_t start = chunk ? shape->past : shape->context - 1, tokens = chunk ? shape->chunk : 1;
        int32_t blocks = mr_blocks_for(start + tokens, store->block_tokens);
        if (start + tokens > c->bundle->context || at + blocks > store->n_blocks)
            return 0;
        c->sources[i] = (struct mr_batch_source){.tokens = c->tokens, .blocks = c->blocks + at, .n_blocks = blocks, .start = start, .n = tokens,
                                                 .samples = true};
        at += blocks;
    }
    return n;
}

static struct cost_load load_of(const struct mr_step_shape *shape)
{
    struct cost_load load = {shape->decodes, (int64_t)shape->decodes * shape->context, 0, shape->decodes};
    return shape->chunk ? cost_load_sum(load, cost_load_chunk(shape->past, shape->chunk)) : load;
}

static enum mr_status calibration_time(struct calibration *c, int32_t n_sources, int64_t *ns)
{
    enum mr_status status = MR_OK;
    int64_t start_ns = mr_clock_ns(&c->clock);
    mr_batch_rewind(&c->batch);
    while (status == MR_OK && mr_batch_next(&c->batch, c->sources, n_sources)) {
        status = c->forward.step(c->forward.self, &c->batch.batch);
        if (status == MR_OK)
            status = c->forward.sample(c->forward.self, c->batch.batch.n_logits, c->rows, c->sampled);
        enum mr_status finished = c->forward.finish(c->forward.self);
        status = status == MR_OK ? finished : status;
    }
    *ns = mr_clock_ns(&c->clock) - start_ns;
    return status;
}

/* Runs one shape and appends its sample, if it fits and there is time. false: the device failed. */
static bool calibration_take(struct calibration *c, const struct mr_step_shape *shape, struct mr_step_sample *samples, int32_t *n,
                             enum mr_status *status)
{
    int32_t n_sources = calibration_sources(c, shape);
    int64_t limit_ns = *n < MR_STEP_COST_LEAST ? CALIBRATION_PATIENCE * c->options.limit_ns : c->options.limit_ns, ns;
    int64_t left_ns = c->start_ns + limit_ns - mr_clock_ns(&c->clock);
    if (n_sources == 0 || (double)(shape->decodes + shape->chunk) * c->token_ns > (double)left_ns)
        return true;
    for (int runs = c->warm ? 1 : 2; runs > 0; runs--)
        if ((*status = calibration_time(c, n_sources, &ns)) != MR_OK)
            return false;
    c->warm = true;
    samples[(*n)++] = (struct mr_step_sample){load_of(shape), ns};
    if (shape->decodes + shape->chunk >= c->most_tokens) {
        c->most_tokens = shape->decodes + shape->chunk;
        c->token_ns = (double)ns / c->most_tokens;
    }
    return true;
}

static enum mr_status calibration_end(struct calibration *c, enum mr_status status, struct mr_err *err)
{
    calibration_close(c);
    return status == MR_OK ? MR_OK : mr_err_set(err, status, "calibration: a step failed (%s)", mr_status_name(status));
}

enum mr_status mr_calibration_grid(struct mr_bundle *bundle, const struct mr_calibration_options *options, struct mr_step_sample *samples,
                                   int32_t *n, struct mr_err *err)
{
    static const struct mr_step_shape grid[] = {
        {1, 64, 0, 0},    {0, 0, 16, 0},    {4, 64, 0, 0},    {0, 0, 64, 0},    {1, 1024, 0, 0}, {16, 64, 0, 0},   {0, 0, 64, 512},
        {2, 64, 0, 0},    {4, 64, 32, 0},   {8, 512, 0, 0},   {0, 0, 128, 0},   {8, 64, 0, 0},   {0, 0, 32, 0},    {8, 256, 64, 256},
        {32, 64, 0, 0},   {0, 0, 128, 1024},{0, 0, 256, 0},   {64, 256, 0, 0},  {0, 0, 512, 0},  {128, 512, 0, 0}, {32, 512, 256, 0},
        {256, 256, 0, 0}, {0, 0, 1024, 0},  {0, 0, 512, 2048},{64, 512, 512, 0},{0, 0, 2048, 0}, {256, 512, 1024, 512},
    };
    _Static_assert(sizeof grid / sizeof *grid * MR_CALIBRATION_ROUNDS <= MR_CALIBRATION_SAMPLES_MAX, "room for every sample");
    struct calibration c;
    enum mr_status status = calibration_open(&c, bundle, options, err);
    *n = 0;
    if (status != MR_OK)
        return status;
    for (int round = 0; round < MR_CALIBRATION_ROUNDS; round++)
        for (size_t i = 0; i < sizeof grid / sizeof *grid; i++)
            if (!calibration_take(&c, &grid[i], samples, n, &status))
                return calibration_end(&c, status, err);
    return calibration_end(&c, MR_OK, err);
}

/* Uniform in its logarithm, 1 to most. */
static int32_t random_size(uint64_t *state, int32_t most)
{
    *state = mr_mix64(*state + 0x9e3779b97f4a7c15u);
    return (int32_t)exp((double)(*state >> 11) * 0x1p-53 * log((double)most + 0.999));
}

enum mr_status mr_calibration_random(struct mr_bundle *bundle, const struct mr_calibration_options *options, uint64_t seed,
                                     struct mr_step_sample *samples, int32_t *n, struct mr_err *err)
{
    struct calibration c;
    enum mr_status status = calibration_open(&c, bundle, options, err);
    int32_t wanted = *n, context = bundle->context < 4096 ? bundle->context : 4096;
    uint64_t state = mr_mix64(seed);
    *n = 0;
    if (status != MR_OK)
        return status;
    for (int tries = 0; *n < wanted && tries < 20 * wanted && mr_clock_ns(&c.clock) - c.start_ns < options->limit_ns; tries++) {
        int kind = (int)((state = mr_mix64(state + 1)) % 3); /* decodes, a chunk, both */
        struct mr_step_shape shape = {0};
        if (kind != 1) {
            shape.decodes = random_size(&state, options->max_seqs - 1);
            shape.context = random_size(&state, context);
        }
        if (kind != 0) {
            shape.chunk = random_size(&state, options->max_step_tokens);
            shape.past = random_size(&state, context) - 1;
        }
        if (!calibration_take(&c, &shape, samples, n, &status))
            return calibration_end(&c, status, err);
    }
    return calibration_end(&c, MR_OK, err);
}
