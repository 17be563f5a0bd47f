/* Owns the memory of a made-up model's tensors.
 * Invariants:
 * 1. A tensor's bits depend on the seed, its name and the place in it alone: not on other tensors, threads or the platform.
 * 2. All tensors lie in one anonymous mapping, 64-byte aligned.
 * Thread: opened by one; read-only afterwards. Rejected: a random number a weight for the large shapes (eight int8 from one
 * 64-bit number make an 8-billion-weight model in seconds); normal instead of uniform weights (needs libm, whose bits differ). */
#include "worker/model/synthetic.h"

#include "base/check.h"
#include "base/hash.h"
#include "kernels/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { TENSOR_ALIGN = 64 };

#define LLAMA_3(layers, width, heads, dim, feed, tied) \
    {.family = "llama", .n_layers = layers, .hidden = width, .n_heads = heads, .n_kv_heads = 8, .head_dim = dim, .ffn = feed, .vocabulary = 128256, \
     .context = 131072, .norm_epsilon = 1e-5f, .embed_scale = 1, .rope_base = 500000, .rope_linear = 1, .rope_dim = dim, .rope = MR_ROPE_PAIRS, \
     .activation = MR_SILU, .tied_head = tied}

static const struct {
    const char *name;
    enum mr_dtype dtype;
    struct mr_shape shape;
} models[] = {
    {"tiny", MR_F32,
     {.family = "llama", .n_layers = 2, .hidden = 64, .n_heads = 2, .n_kv_heads = 1, .head_dim = 32, .ffn = 128, .vocabulary = 512, .context = 4096,
      .norm_epsilon = 1e-5f, .embed_scale = 1, .rope_base = 10000, .rope_linear = 1, .rope_dim = 32, .rope = MR_ROPE_PAIRS, .activation = MR_SILU}},
    {"smollm2-135m", MR_Q8_0,
     {.family = "llama", .n_layers = 30, .hidden = 576, .n_heads = 9, .n_kv_heads = 3, .head_dim = 64, .ffn = 1536, .vocabulary = 49152,
      .context = 8192, .norm_epsilon = 1e-5f, .embed_scale = 1, .rope_base = 100000, .rope_linear = 1, .rope_dim = 64, .rope = MR_ROPE_PAIRS,
      .activation = MR_SILU, .tied_head = true}},
    {"llama-3.2-1b", MR_Q8_0, LLAMA_3(16, 2048, 32, 64, 8192, true)},
    {"llama-3.1-8b", MR_Q8_0, LLAMA_3(32, 4096, 32, 128, 14336, false)},
    {"llama-3.1-70b", MR_Q8_0, LLAMA_3(80, 8192, 64, 128, 28672, false)},
    {"qwen3-8b", MR_Q8_0,
     {.family = "qwen3", .n_layers = 36, .hidden = 4096, .n_heads = 32, .n_kv_heads = 8, .head_dim = 128, .ffn = 12288, .vocabulary = 151936,
      .context = 40960, .norm_epsilon = 1e-6f, .embed_scale = 1, .rope_base = 1000000, .rope_linear = 1, .rope_dim = 128, .rope = MR_ROPE_HALF,
      .activation = MR_SILU, .qk_norm = true}},
};
enum { N_MODELS = sizeof models / sizeof *models };

static int model_find(const char *name, struct mr_err *err)
{
    char list[160] = "";
    for (int i = 0; i < N_MODELS; i++) {
        if (strcmp(models[i].name, name) == 0)
            return i;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", models[i].name);
    }
    mr_err_set(err, MR_ERR_NOT_FOUND, "no synthetic model \"%.40s\"; there are %s", name, list);
    return -1;
}

enum mr_status mr_synthetic_shape(const char *name, struct mr_shape *out, struct mr_err *err)
{
    int i = model_find(name, err);
    if (i < 0)
        return MR_ERR_NOT_FOUND;
    *out = models[i].shape;
    return MR_OK;
}

static void tensor_add(struct mr_synthetic *s, const char *name, enum mr_dtype dtype, int64_t columns, int64_t rows)
{
    size_t i = s->table.n++;
    snprintf(s->names[i], sizeof s->names[i], "%s", name);
    s->tensors[i] = (struct mr_tensor){.name = mr_str_from(s->names[i]), .dtype = dtype, .n_dims = rows > 1 ? 2 : 1, .dims = {columns, rows, 1, 1},
                                       .bytes = (size_t)(mr_dtype_row_bytes(dtype, columns) * rows)};
    s->bytes += (s->tensors[i].bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

static void layer_add(struct mr_synthetic *s, int32_t layer, enum mr_dtype dtype)
{
    const struct mr_shape *shape = &s->shape;
    int64_t q = shape->n_heads * shape->head_dim, kv = shape->n_kv_heads * shape->head_dim;
    const struct {
        const char *name;
        enum mr_dtype dtype;
        int64_t columns, rows;
    } parts[] = {
        {"attn_norm", MR_F32, shape->hidden, 1}, {"attn_q", dtype, shape->hidden, q},           {"attn_k", dtype, shape->hidden, kv},
        {"attn_v", dtype, shape->hidden, kv},    {"attn_output", dtype, q, shape->hidden},      {"ffn_norm", MR_F32, shape->hidden, 1},
        {"ffn_gate", dtype, shape->hidden, shape->ffn}, {"ffn_up", dtype, shape->hidden, shape->ffn}, {"ffn_down", dtype, shape->ffn, shape->hidden},
        {"attn_q_norm", MR_F32, shape->head_dim, 1}, {"attn_k_norm", MR_F32, shape->head_dim, 1},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts - (shape->qk_norm ? 0 : 2); i++) {
        char name[48];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, parts[i].name);
        tensor_add(s, name, parts[i].dtype, parts[i].columns, parts[i].rows);
    }
}

/* Uniform in [-1, 1): 24 random bits. */
static float unit(uint64_t random) { return (float)(int32_t)(random >> 40) / 8388608.0f - 1.0f; }

static void fill_f32(float *out, const struct mr_tensor *tensor, uint64_t seed, float spread)
{
    bool gain = tensor->dims[1] == 1;
    for (size_t i = 0; i < tensor->bytes / sizeof *out; i++)
        out[i] = gain ? 1 + 0.1f * unit(mr_mix64(seed + i)) : spread * unit(mr_mix64(seed + i));
}

/* Blocks of an f16 scale and 32 int8, uniform over -128 .. 127. */
static void fill_q8_0(unsigned char *out, const struct mr_tensor *tensor, uint64_t seed, float spread)
{
    uint16_t scale = mr_f32_to_f16(spread / 128);
    for (size_t block = 0; block < tensor->bytes / 34; block++, out += 34) {
        memcpy(out, &scale, sizeof scale);
        for (int i = 0; i < 4; i++) {
            uint64_t random = mr_mix64(seed + block * 4 + (uint64_t)i);
            memcpy(out + 2 + 8 * i, &random, sizeof random);
        }
    }
}

/* bare: the Q8_0 tensors stay without data. */
static void tensors_fill(struct mr_synthetic *s, uint64_t seed, bool bare)
{
    unsigned char *at = s->memory;
    for (size_t i = 0; i < s->table.n; i++) {
        struct mr_tensor *tensor = &s->tensors[i];
        uint64_t own = mr_mix64(mr_mix64(seed) ^ mr_fnv1a64(MR_FNV1A64_START, tensor->name.p, tensor->name.n));
        bool embed = mr_str_is(tensor->name, "token_embd.weight"), head = mr_str_is(tensor->name, "output.weight") || (embed && s->shape.tied_head);
        float spread = sqrtf(3.0f * (head ? 6 : 1) / (float)tensor->dims[0]); /* of a uniform one with the wanted variance */
        tensor->data = at;
        if (embed && !head)
            spread = sqrtf(3.0f);
        if (tensor->dtype == MR_F32)
            fill_f32((float *)at, tensor, own, spread);
        else if (!bare)
            fill_q8_0(at, tensor, own, spread);
        if (tensor->dtype == MR_Q8_0) {
            tensor->random = (struct mr_random){own, mr_f32_to_f16(spread / 128)};
            tensor->data = bare ? NULL : at;
        }
        at += (tensor->bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    }
}

static enum mr_status synthetic_open(const char *name, uint64_t seed, bool bare, struct mr_synthetic **out, struct mr_err *err)
{
    int i = model_find(name, err);
    *out = NULL;
    if (i < 0)
        return MR_ERR_NOT_FOUND;
    struct mr_synthetic *s = calloc(1, sizeof *s);
    size_t most = 3 + 11 * (size_t)models[i].shape.n_layers;
    if (s) {
        s->shape = models[i].shape;
        s->tensors = calloc(most, sizeof *s->tensors);
        s->names = calloc(most, sizeof *s->names);
    }
    if (!s || !s->tensors || !s->names) {
        mr_synthetic_close(s);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the tensors of %s", name);
    }
    tensor_add(s, "token_embd.weight", models[i].dtype, s->shape.hidden, s->shape.vocabulary);
    for (int32_t l = 0; l < s->shape.n_layers; l++)
        layer_add(s, l, models[i].dtype);
    tensor_add(s, "output_norm.weight", MR_F32, s->shape.hidden, 1);
    if (!s->shape.tied_head)
        tensor_add(s, "output.weight", models[i].dtype, s->shape.hidden, s->shape.vocabulary);
    CHECK(s->table.n <= most);
    void *memory = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        mr_err_set(err, MR_ERR_NOMEM, "no memory for the %zu bytes of %s", s->bytes, name);
        mr_synthetic_close(s);
        return MR_ERR_NOMEM;
    }
    s->memory = memory;
    s->table.tensors = s->tensors;
    tensors_fill(s, seed, bare);
    *out = s;
    return MR_OK;
}

enum mr_status mr_synthetic_open(const char *name, uint64_t seed, struct mr_synthetic **out, struct mr_err *err)
{
    return synthetic_open(name, seed, false, out, err);
}

enum mr_status mr_synthetic_open_bare(const char *name, uint64_t seed, struct mr_synthetic **out, struct mr_err *err)
{
    return synthetic_open(name, seed, true, out, err);
}

void mr_synthetic_close(struct mr_synthetic *synthetic)
{
    if (!synthetic)
        return;
    if (synthetic->memory)
        munmap(synthetic->memory, synthetic->bytes);
    free(synthetic->tensors);
    free(synthetic->names);
    free(synthetic);
}
