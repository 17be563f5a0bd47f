/* Owns the device's copies of a model's tensors.
 * Invariants:
 * 1. Every tensor of the table is used exactly once: what the graph does not know would change the model silently.
 * 2. A tensor's dims are checked before its data is touched.
 * 3. After a failure everything opened so far is closed by mr_weights_close: fields are NULL until set.
 * Thread: the one that owns the device. Rejected: naming tensors by a format's spelling in several places (this file alone
 * knows the names); copying matrices here (whether a matrix is repacked is the device's business). */
#include "worker/model/weights.h"

#include "kernels/quant.h"
#include "worker/model/shape.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_BYTES = 64, PARTS_MAX = 3 };

struct loader {
    const struct mr_tensor_table *table;
    const struct mr_shape *shape;
    struct mr_weights *w;
    bool *used;              /* [table->n] */
    struct mr_err *err;
    enum mr_status status;   /* of the first failure; later calls do nothing */
};

/* The tensor of that name and size, marked as used; NULL and status set when there is none. */
static const struct mr_tensor *claim(struct loader *load, const char *name, int64_t columns, int64_t rows)
{
    const struct mr_tensor *tensor = load->status ? NULL : mr_tensor_find(load->table, name);
    if (load->status)
        return NULL;
    if (!tensor) {
        load->status = mr_err_set(load->err, MR_ERR_INVALID, "tensor %s is missing", name);
        return NULL;
    }
    if (tensor->dims[0] != columns || tensor->dims[1] != rows || tensor->dims[2] != 1 || tensor->dims[3] != 1) {
        load->status = mr_err_set(load->err, MR_ERR_INVALID, "tensor %s is %lld x %lld, not %lld x %lld", name, (long long)tensor->dims[0],
                                  (long long)tensor->dims[1], (long long)columns, (long long)rows);
        return NULL;
    }
    load->used[tensor - load->table->tensors] = true;
    return tensor;
}

/* One matrix of the tensors <prefix><part>.weight, stacked. */
static struct mr_weight *matrix(struct loader *load, const char *prefix, int64_t columns, const char *const *names, const int64_t *rows)
{
    struct mr_weight_part parts[PARTS_MAX];
    struct mr_weight *weight = NULL;
    int n = 0;
    for (; n < PARTS_MAX && names[n]; n++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%s%s.weight", prefix, names[n]);
        const struct mr_tensor *tensor = claim(load, name, columns, rows[n]);
        if (!tensor)
            return NULL;
        parts[n] = (struct mr_weight_part){tensor->dtype, tensor->data, tensor->dims[1], .plain = !*prefix, .random = tensor->random};
    }
    struct mr_err err = {0};
    load->status = load->w->ops->weight_open(load->w->device, parts, n, columns, &weight, &err);
    if (load->status) {
        mr_err_set(load->err, load->status, "tensor %s%s.weight: %s", prefix, names[0], err.text);
        return NULL;
    }
    load->w->device_bytes += load->w->ops->weight_bytes(weight);
    return weight;
}

/* Vectors of the named parts, one behind the other, as float32 on the device. */
static float *vector(struct loader *load, const char *const *names, const int64_t *sizes)
{
    int64_t total = 0, at = 0;
    float *uploaded = NULL;
    for (int i = 0; i < PARTS_MAX && names[i]; i++)
        total += sizes[i];
    float *host = load->status ? NULL : malloc((size_t)total * sizeof *host);
    for (int i = 0; host && i < PARTS_MAX && names[i]; i++) {
        const struct mr_tensor *tensor = claim(load, names[i], sizes[i], 1);
        if (!tensor)
            break;
        if (tensor->dtype != MR_F32 && tensor->dtype != MR_F16 && tensor->dtype != MR_BF16) {
            load->status = mr_err_set(load->err, MR_ERR_INVALID, "tensor %s is %s: a vector is f32, f16 or bf16", names[i],
                                      mr_dtype_name(tensor->dtype));
            break;
        }
        mr_quant_row(tensor->dtype, tensor->data, host + at, sizes[i]);
        at += sizes[i];
    }
    if (host && !load->status)
        uploaded = load->w->ops->upload_f32(load->w->device, host, (size_t)total);
    if (!uploaded && !load->status)
        load->status = mr_err_set(load->err, MR_ERR_NOMEM, "no memory for %s", names[0]);
    free(host);
    load->w->device_bytes += uploaded ? (size_t)total * sizeof *host : 0;
    return uploaded;
}

static float *layer_vector(struct loader *load, int32_t layer, const char *part, int64_t size)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "blk.%d.%s", layer, part);
    return vector(load, (const char *const[]){name, NULL}, &size);
}

static void layer_load(struct loader *load, int32_t l)
{
    const struct mr_shape *s = load->shape;
    struct mr_layer *layer = &load->w->layers[l];
    int64_t q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
    char prefix[NAME_BYTES / 2];
    snprintf(prefix, sizeof prefix, "blk.%d.", l);
    layer->attn_norm = layer_vector(load, l, "attn_norm.weight", s->hidden);
    layer->qkv = matrix(load, prefix, s->hidden, (const char *const[]){"attn_q", "attn_k", "attn_v"}, (int64_t[]){q, kv, kv});
    layer->attn_out = matrix(load, prefix, q, (const char *const[]){"attn_output", NULL}, (int64_t[]){s->hidden});
    layer->ffn_norm = layer_vector(load, l, "ffn_norm.weight", s->hidden);
    layer->gate_up = matrix(load, prefix, s->hidden, (const char *const[]){"ffn_gate", "ffn_up", NULL}, (int64_t[]){s->ffn, s->ffn});
    layer->down = matrix(load, prefix, s->ffn, (const char *const[]){"ffn_down", NULL}, (int64_t[]){s->hidden});
    if (s->qkv_bias) {
        char names[3][NAME_BYTES];
        for (int i = 0; i < 3; i++)
            snprintf(names[i], NAME_BYTES, "blk.%d.attn_%c.bias", l, "qkv"[i]);
        layer->qkv_bias = vector(load, (const char *const[]){names[0], names[1], names[2]}, (int64_t[]){q, kv, kv});
    }
    if (s->qk_norm) {
        layer->q_gain = layer_vector(load, l, "attn_q_norm.weight", s->head_dim);
        layer->k_gain = layer_vector(load, l, "attn_k_norm.weight", s->head_dim);
    }
}

/* base^(-2i / dim), in float32 as the reference computes it; divided by the file's own factors (Llama 3's scaling) and by linear scaling. */
static float *rope_load(struct loader *load)
{
    const struct mr_shape *s = load->shape;
    float host[MR_SHAPE_HEAD_DIM_MAX / 2];
    int32_t pairs = s->rope_dim / 2;
    const struct mr_tensor *factors = mr_tensor_find(load->table, "rope_freqs.weight");
    if (factors && (!(factors = claim(load, "rope_freqs.weight", pairs, 1)) || factors->dtype != MR_F32)) {
        if (!load->status)
            load->status = mr_err_set(load->err, MR_ERR_INVALID, "tensor rope_freqs.weight is not f32");
        return NULL;
    }
    for (int32_t i = 0; i < pairs; i++) {
        host[i] = 1.0f / powf(s->rope_base, (float)(2 * i) / (float)s->rope_dim) / s->rope_linear;
        if (factors)
            host[i] /= ((const float *)factors->data)[i];
    }
    float *uploaded = load->status ? NULL : load->w->ops->upload_f32(load->w->device, host, (size_t)pairs);
    if (!uploaded && !load->status)
        load->status = mr_err_set(load->err, MR_ERR_NOMEM, "no memory for the rotary frequencies");
    return uploaded;
}

static void all_load(struct loader *load)
{
    const struct mr_shape *s = load->shape;
    struct mr_weights *w = load->w;
    int64_t vocabulary = s->vocabulary, hidden = s->hidden;
    w->embed = matrix(load, "", hidden, (const char *const[]){"token_embd", NULL}, &vocabulary);
    for (int32_t l = 0; l < s->n_layers && !load->status; l++)
        layer_load(load, l);
    w->final_norm = vector(load, (const char *const[]){"output_norm.weight", NULL}, &hidden);
    w->head = s->tied_head ? w->embed : matrix(load, "", hidden, (const char *const[]){"output", NULL}, &vocabulary);
    w->rope_frequency = rope_load(load);
    for (size_t i = 0; i < load->table->n; i++) {
        struct mr_str name = load->table->tensors[i].name;
        w->stored_bytes += load->table->tensors[i].bytes;
        if (!load->used[i] && !load->status)
            load->status = mr_err_set(load->err, MR_ERR_UNSUPPORTED, "tensor %.*s has no place in a %s model as built",
                                      name.n < NAME_BYTES ? (int)name.n : NAME_BYTES, name.p, s->family);
    }
}

enum mr_status mr_weights_open(const struct mr_tensor_table *table, const struct mr_shape *shape, const struct mr_ops *ops, struct mr_device *device,
                               struct mr_weights **out, struct mr_err *err)
{
    struct mr_weights *w = calloc(1, sizeof *w);
    *out = NULL;
    if (w)
        *w = (struct mr_weights){.ops = ops, .device = device, .n_layers = shape->n_layers,
                                 .layers = calloc((size_t)shape->n_layers, sizeof *w->layers)};
    struct loader load = {.table = table, .shape = shape, .w = w, .used = calloc(table->n + 1, sizeof *load.used), .err = err};
    if (!w || !w->layers || !load.used)
        load.status = mr_err_set(err, MR_ERR_NOMEM, "no memory for %d layers", shape->n_layers);
    else
        all_load(&load);
    free(load.used);
    if (load.status) {
        mr_weights_close(w);
        return load.status;
    }
    *out = w;
    return MR_OK;
}

static void weight_drop(struct mr_weights *w, struct mr_weight *weight)
{
    if (weight)
        w->ops->weight_close(w->device, weight);
}

void mr_weights_close(struct mr_weights *w)
{
    if (!w)
        return;
    for (int32_t l = 0; w->layers && l < w->n_layers; l++) {
        struct mr_layer *layer = &w->layers[l];
        struct mr_weight *matrices[] = {layer->qkv, layer->attn_out, layer->gate_up, layer->down};
        float *vectors[] = {layer->attn_norm, layer->ffn_norm, layer->qkv_bias, layer->q_gain, layer->k_gain};
        for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
            weight_drop(w, matrices[i]);
        for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
            w->ops->release(w->device, vectors[i]);
    }
    if (w->head != w->embed)
        weight_drop(w, w->head);
    weight_drop(w, w->embed);
    w->ops->release(w->device, w->final_norm);
    w->ops->release(w->device, w->rope_frequency);
    free(w->layers);
    free(w);
}
