/* Drives a model as the engine does: sequences in slots, each with its own scattered blocks, pieces of them in one step. */
#ifndef MR_TESTS_MODEL_DRIVER_H
#define MR_TESTS_MODEL_DRIVER_H

#include "base/check.h"
#include "kv/kv_store.h"
#include "worker/model/model.h"

#include <stdio.h>
#include <stdlib.h>

enum { DRIVER_BLOCK_TOKENS = 16, DRIVER_STEP_TOKENS = 256 };

/* What a driver runs on. */
struct driver_kind {
    const struct mr_ops *ops;
    enum mr_precision precision;
    enum mr_dtype weights, kv; /* weights: see mr_device_options */
};

struct driver {
    const struct mr_ops *ops;
    struct mr_device *device;
    struct mr_model *model;
    struct mr_kv_store *store;
    int32_t slots, blocks_a_slot, max_tokens, max_logits;
    int32_t *ids, *positions, *kv_slots, *seq_start, *seq_length, *tables, *logit_rows;
    float *logits; /* [max_logits][vocabulary], the last step's */
};

/* Tokens [start, start + n) of the sequence in a slot; logits of rows at positions logits_from and later. */
struct driver_piece {
    const int32_t *ids; /* the whole sequence */
    int32_t slot, start, n, logits_from;
};

static inline bool driver_open_on(struct driver *d, const struct driver_kind *kind, const char *source, int32_t slots, int32_t context,
                                  int32_t max_tokens, int32_t max_logits)
{
    struct mr_shape shape;
    struct mr_err err = {0};
    *d = (struct driver){.ops = kind->ops, .slots = slots, .max_tokens = max_tokens, .max_logits = max_logits,
                         .blocks_a_slot = (context + DRIVER_BLOCK_TOKENS - 1) / DRIVER_BLOCK_TOKENS};
    if (mr_model_shape_read(source, &shape, &err)) {
        printf("%s\n", err.text);
        return false;
    }
    const char *threads = getenv("MILLRACE_TEST_THREADS"); /* 1 on a machine that is busy with other work */
    struct mr_device_options device = {
        .threads = threads ? atoi(threads) : 0, .precision = kind->precision, .weight_dtype = kind->weights, .max_tokens = max_tokens,
        .max_seqs = slots, .max_blocks = d->blocks_a_slot,
        .max_row_elements = (size_t)(shape.ffn > shape.hidden ? shape.ffn : shape.hidden) +
                            (size_t)(shape.n_heads + 2 * shape.n_kv_heads) * (size_t)shape.head_dim};
    struct mr_kv_store_options store = {.n_layers = shape.n_layers, .n_kv_heads = shape.n_kv_heads, .head_dim = shape.head_dim,
                                        .block_tokens = DRIVER_BLOCK_TOKENS, .n_blocks = slots * d->blocks_a_slot, .k_dtype = kind->kv,
                                        .v_dtype = kind->kv};
    if (d->ops->open(&device, &d->device, &err) ||
        mr_model_open(source, &(struct mr_model_options){.ops = d->ops, .device = d->device, .max_tokens = max_tokens, .max_logits = max_logits,
                                                         .seed = 1}, &d->model, &err) ||
        mr_kv_store_open(&store, d->ops, d->device, &d->store, &err)) {
        printf("%s\n", err.text);
        return false;
    }
    d->logits = malloc((size_t)max_logits * (size_t)shape.vocabulary * sizeof(float));
    CHECK(d->logits);
    d->ids = calloc((size_t)max_tokens, sizeof(int32_t));
    d->positions = calloc((size_t)max_tokens, sizeof(int32_t));
    d->kv_slots = calloc((size_t)max_tokens, sizeof(int32_t));
    d->logit_rows = calloc((size_t)max_tokens, sizeof(int32_t));
    d->seq_start = calloc((size_t)slots + 1, sizeof(int32_t));
    d->seq_length = calloc((size_t)slots, sizeof(int32_t));
    d->tables = calloc((size_t)slots * (size_t)d->blocks_a_slot, sizeof(int32_t));
    CHECK(d->ids && d->positions && d->kv_slots && d->logit_rows && d->seq_start && d->seq_length && d->tables);
    return true;
}

static inline bool driver_open(struct driver *d, const char *source, enum mr_precision precision, int32_t slots, int32_t context, int32_t max_tokens,
                               int32_t max_logits)
{
    struct driver_kind cpu = {mr_ops_cpu(), precision, MR_F32, precision == MR_EXACT ? MR_F32 : MR_F16};
    return driver_open_on(d, &cpu, source, slots, context, max_tokens, max_logits);
}

static inline void driver_close(struct driver *d)
{
    free(d->logits);
    int32_t *arrays[] = {d->ids, d->positions, d->kv_slots, d->logit_rows, d->seq_start, d->seq_length, d->tables};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    mr_kv_store_close(d->store);
    mr_model_close(d->model);
    if (d->device)
        d->ops->close(d->device);
    *d = (struct driver){0};
}

/* The block of a slot's logical block: neighbours in a sequence are far apart in the cache. */
static inline int32_t driver_block(const struct driver *d, int32_t slot, int32_t block) { return block * d->slots + (slot * 7 + 3) % d->slots; }

/* One step; NULL: it failed. Rows of logits come in the pieces' order. Every piece is another slot. */
static inline const float *driver_step(struct driver *d, const struct driver_piece *pieces, int32_t n_pieces, int32_t *n_logits)
{
    struct mr_batch batch = {
        .n_seqs = n_pieces, .block_table_stride = d->blocks_a_slot, .ids = d->ids, .positions = d->positions, .slots = d->kv_slots,
        .seq_start = d->seq_start, .seq_length = d->seq_length, .block_table = d->tables, .logit_rows = d->logit_rows};
    for (int32_t p = 0; p < n_pieces; p++) {
        const struct driver_piece *piece = &pieces[p];
        CHECK(piece->slot < d->slots && piece->start + piece->n <= d->blocks_a_slot * DRIVER_BLOCK_TOKENS);
        CHECK(batch.n_tokens + piece->n <= d->max_tokens);
        d->seq_start[p] = batch.n_tokens;
        d->seq_length[p] = piece->start + piece->n;
        for (int32_t b = 0; b < d->blocks_a_slot; b++)
            d->tables[p * d->blocks_a_slot + b] = driver_block(d, piece->slot, b);
        for (int32_t i = piece->start; i < piece->start + piece->n; i++) {
            int32_t row = batch.n_tokens++;
            d->ids[row] = piece->ids[i];
            d->positions[row] = i;
            d->kv_slots[row] = driver_block(d, piece->slot, i / DRIVER_BLOCK_TOKENS) * DRIVER_BLOCK_TOKENS + i % DRIVER_BLOCK_TOKENS;
            if (i >= piece->logits_from)
                d->logit_rows[batch.n_logits++] = row;
        }
    }
    d->seq_start[n_pieces] = batch.n_tokens;
    enum mr_status status = mr_model_forward(d->model, d->store, &batch);
    if (status)
        printf("a step of %d tokens, %d sequences, %d rows: %s\n", batch.n_tokens, batch.n_seqs, batch.n_logits, mr_status_name(status));
    if (d->ops->finish(d->device) || status)
        return NULL;
    size_t bytes = (size_t)batch.n_logits * (size_t)mr_model_shape(d->model)->vocabulary * sizeof(float);
    if (d->ops->download(d->device, d->logits, mr_model_logits(d->model), bytes))
        return NULL;
    *n_logits = batch.n_logits;
    return d->logits;
}

#endif
