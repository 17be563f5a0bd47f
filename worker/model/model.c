/* Owns what a model is made of: its source (a mapped file or made-up tensors), the weights on the device, the forward pass's memory.
 * Invariants:
 * 1. The source outlives the weights, which may use its tensors in place; both outlive the forward pass.
 * 2. Whatever was opened before a failure is closed by mr_model_close, which takes a model at any stage.
 * Thread: opened by one; forward and warm belong to the engine's. */
#include "worker/model/model.h"

#include "worker/model/format_gguf.h"
#include "worker/model/forward.h"
#include "worker/model/model_digest.h"
#include "worker/model/shape.h"
#include "worker/model/synthetic.h"
#include "worker/model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mr_model {
    struct mr_gguf *gguf;           /* one of these two is the source */
    struct mr_synthetic *synthetic;
    struct mr_shape shape;
    struct mr_weights *weights;
    struct mr_forward forward;
    char name[128];
    char digest[65];
};

static const char scheme[] = "synthetic:";

/* What follows "synthetic:"; NULL: source is a path. */
static const char *synthetic_name(const char *source)
{
    return strncmp(source, scheme, sizeof scheme - 1) == 0 ? source + sizeof scheme - 1 : NULL;
}

enum mr_status mr_model_shape_read(const char *source, struct mr_shape *out, struct mr_err *err)
{
    struct mr_gguf *gguf;
    if (synthetic_name(source))
        return mr_synthetic_shape(synthetic_name(source), out, err);
    enum mr_status status = mr_gguf_open(source, &gguf, err);
    if (status)
        return status;
    status = mr_shape_from_gguf(gguf, out, err);
    mr_gguf_close(gguf);
    return status;
}

/* general.name, else the file's name without folder and .gguf. */
static void file_name(struct mr_model *model, const char *path)
{
    struct mr_str name = {0};
    if (mr_gguf_string(model->gguf, "general.name", &name, NULL) || name.n == 0) {
        const char *slash = strrchr(path, '/');
        name = mr_str_from(slash ? slash + 1 : path);
        if (name.n > 5 && memcmp(name.p + name.n - 5, ".gguf", 5) == 0)
            name.n -= 5;
    }
    snprintf(model->name, sizeof model->name, "%.*s", name.n < 127 ? (int)name.n : 127, name.p);
}

/* The source's shape and tensors. */
static enum mr_status source_open(struct mr_model *model, const char *source, const struct mr_model_options *options,
                                  struct mr_tensor_table *table, struct mr_err *err)
{
    const char *synthetic = synthetic_name(source);
    uint64_t seed = options->seed;
    if (synthetic) {
        enum mr_status status = options->ops->makes_random ? mr_synthetic_open_bare(synthetic, seed, &model->synthetic, err)
                                                           : mr_synthetic_open(synthetic, seed, &model->synthetic, err);
        if (status)
            return status;
        model->shape = model->synthetic->shape;
        *table = model->synthetic->table;
        snprintf(model->name, sizeof model->name, "%s", source);
        mr_model_digest_synthetic(synthetic, seed, model->digest);
        return MR_OK;
    }
    enum mr_status status = mr_gguf_open(source, &model->gguf, err);
    if (!status)
        status = mr_shape_from_gguf(model->gguf, &model->shape, err);
    if (status)
        return status;
    *table = (struct mr_tensor_table){model->gguf->tensors, model->gguf->n_tensors};
    file_name(model, source);
    mr_model_digest_gguf(model->gguf, MR_DIGEST_WHOLE_BYTES_MAX, model->digest);
    return MR_OK;
}

enum mr_status mr_model_open(const char *source, const struct mr_model_options *options, struct mr_model **out, struct mr_err *err)
{
    struct mr_tensor_table table;
    *out = NULL;
    if (options->max_tokens < 1 || options->max_logits < 1)
        return mr_err_set(err, MR_ERR_INVALID, "a model for steps of %d tokens and %d rows of logits", options->max_tokens, options->max_logits);
    struct mr_model *model = calloc(1, sizeof *model);
    if (!model)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a model");
    enum mr_status status = source_open(model, source, options, &table, err);
    if (!status)
        status = mr_weights_open(&table, &model->shape, options->ops, options->device, &model->weights, err);
    if (!status)
        status = mr_forward_open(&model->forward, &model->shape, model->weights, options->max_tokens, options->max_logits, err);
    if (status) {
        mr_model_close(model);
        return status;
    }
    *out = model;
    return MR_OK;
}

void mr_model_close(struct mr_model *model)
{
    if (!model)
        return;
    mr_forward_close(&model->forward);
    mr_weights_close(model->weights);
    mr_synthetic_close(model->synthetic);
    mr_gguf_close(model->gguf);
    free(model);
}

const struct mr_shape *mr_model_shape(const struct mr_model *model) { return &model->shape; }
const char *mr_model_name(const struct mr_model *model) { return model->name; }
const char *mr_model_digest(const struct mr_model *model) { return model->digest; }
size_t mr_model_weight_bytes(const struct mr_model *model) { return model->weights->stored_bytes; }
size_t mr_model_step_bytes(const struct mr_model *model)
{
    const struct mr_weights *w = model->weights;
    bool copied = w->ops->act_dtype != MR_F32; /* the device holds the matrices in its own form */
    return copied ? w->device_bytes - (w->head == w->embed ? 0 : w->ops->weight_bytes(w->embed)) : w->stored_bytes;
}
size_t mr_model_device_bytes(const struct mr_model *model) { return model->weights->device_bytes + model->forward.bytes; }
const struct mr_gguf *mr_model_file(const struct mr_model *model) { return model->gguf; }

struct idle {
    struct mr_model *model;
    struct mr_kv_store *store;
    int32_t *zeros, *slots, *starts; /* [max_tokens], [max_tokens] of -1, [max_tokens + 1] counting up */
};

/* A forward pass over idle rows: each its own sequence of length 0 that writes no slot. */
static enum mr_status idle_run(void *self, int32_t rows)
{
    const struct idle *idle = self;
    int32_t n_logits = rows < idle->model->forward.max_logits ? rows : idle->model->forward.max_logits;
    struct mr_batch batch = {
        .n_tokens = rows, .n_seqs = rows, .n_logits = n_logits, .block_table_stride = 1, .ids = idle->zeros, .positions = idle->zeros,
        .slots = idle->slots, .seq_start = idle->starts, .seq_length = idle->zeros, .block_table = idle->zeros, .logit_rows = idle->starts};
    return rows > idle->model->forward.max_tokens ? MR_OK : mr_forward_step(&idle->model->forward, idle->store, &batch);
}

enum mr_status mr_model_warm(struct mr_model *model, struct mr_kv_store *store, struct mr_err *err)
{
    const struct mr_ops *ops = model->weights->ops;
    if (!ops->warm)
        return MR_OK;
    size_t n = (size_t)model->forward.max_tokens;
    struct idle idle = {model, store, calloc(n, sizeof(int32_t)), calloc(n, sizeof(int32_t)), calloc(n + 1, sizeof(int32_t))};
    enum mr_status status = MR_OK;
    if (!idle.zeros || !idle.slots || !idle.starts)
        status = mr_err_set(err, MR_ERR_NOMEM, "no memory for idle steps of %zu rows", n);
    for (size_t i = 0; !status && i <= n; i++) {
        idle.starts[i] = (int32_t)i;
        if (i < n)
            idle.slots[i] = -1;
    }
    if (!status)
        status = ops->warm(model->weights->device, idle_run, &idle, err);
    free(idle.zeros);
    free(idle.slots);
    free(idle.starts);
    return status;
}

enum mr_status mr_model_forward(struct mr_model *model, struct mr_kv_store *store, const struct mr_batch *batch)
{
    return mr_forward_step(&model->forward, store, batch);
}

enum mr_status mr_model_again(struct mr_model *model, struct mr_kv_store *store, int32_t n_tokens, int32_t n_logits, unsigned parts)
{
    return mr_forward_again(&model->forward, store, n_tokens, n_logits, parts);
}

const float *mr_model_logits(const struct mr_model *model) { return model->forward.logits; }
float *mr_model_scratch(const struct mr_model *model) { return model->forward.scratch; }
