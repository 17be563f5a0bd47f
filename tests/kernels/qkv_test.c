#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

struct form {
    int32_t n_heads, n_kv_heads, d, rope_dim;
    enum mr_rope_kind rope;
    bool bias, norms;
    float magnitude;
    enum mr_dtype k_dtype, v_dtype;
};

enum { ROWS = 23, BLOCK = 4, BLOCKS = 40 };

static float cell(const void *cache, enum mr_dtype dtype, int64_t at)
{
    return dtype == MR_F32 ? ((const float *)cache)[at] : mr_f16_to_f32(((const uint16_t *)cache)[at]);
}

/* What head h of a row should be. */
static void oracle(const struct form *f, const float *row, int32_t h, const float *bias, const float *gain, const float *frequency, int32_t position,
                   double *out)
{
    double sum = 0;
    bool rotated = h < f->n_heads + f->n_kv_heads;
    for (int32_t i = 0; i < f->d; i++) {
        out[i] = row[h * f->d + i] + (bias ? (double)bias[h * f->d + i] : 0);
        sum += out[i] * out[i];
    }
    for (int32_t i = 0; gain && rotated && i < f->d; i++)
        out[i] *= gain[i] / sqrt(sum / f->d + 1e-6);
    for (int32_t i = 0; rotated && f->rope != MR_ROPE_NONE && i < f->rope_dim / 2; i++) {
        int32_t a = f->rope == MR_ROPE_HALF ? i : 2 * i, b = f->rope == MR_ROPE_HALF ? i + f->rope_dim / 2 : 2 * i + 1;
        double angle = (double)((float)position * frequency[i]), x = out[a], y = out[b];
        out[a] = f->magnitude * (x * cos(angle) - y * sin(angle));
        out[b] = f->magnitude * (x * sin(angle) + y * cos(angle));
    }
}

static void check_form(enum mr_cpu_isa isa, const struct form *f)
{
    struct mr_device *device = case_device(isa, 2, MR_EXACT, 64);
    int32_t heads = f->n_heads + 2 * f->n_kv_heads, width = heads * f->d;
    float *before = case_floats((size_t)(ROWS * width), -2, 2), *qkv = case_poison((size_t)(ROWS * width)), *bias = case_floats((size_t)width, -1, 1);
    float *q_gain = case_floats((size_t)f->d, 0, 2), *k_gain = case_floats((size_t)f->d, 0, 2), *frequency = case_floats((size_t)f->rope_dim, 0, 1);
    memcpy(qkv, before, (size_t)(ROWS * width) * sizeof *qkv);
    struct mr_kv_view kv = {.k_dtype = f->k_dtype, .v_dtype = f->v_dtype, .n_blocks = BLOCKS, .block_tokens = BLOCK, .n_kv_heads = f->n_kv_heads,
                            .head_dim = f->d, .token_stride = f->d, .head_stride = BLOCK * f->d, .block_stride = (int64_t)BLOCK * f->d * f->n_kv_heads};
    size_t cells = (size_t)(BLOCKS * kv.block_stride);
    kv.k = calloc(cells, 4), kv.v = calloc(cells, 4);
    int32_t positions[ROWS], slots[ROWS];
    for (int32_t r = 0; r < ROWS; r++) {
        positions[r] = r * 97 % 1000;
        slots[r] = r * 7 % (BLOCK * BLOCKS);
    }
    struct mr_batch batch = {.n_tokens = ROWS, .n_seqs = 1, .positions = positions, .slots = slots};
    struct mr_qkv_params params = {.qkv = qkv, .kv = &kv, .bias = f->bias ? bias : NULL, .q_gain = f->norms ? q_gain : NULL,
                                   .k_gain = f->norms ? k_gain : NULL, .rope_frequency = frequency, .rope_magnitude = f->magnitude,
                                   .norm_epsilon = 1e-6f, .rope = f->rope, .n_heads = f->n_heads, .rope_dim = f->rope_dim};
    EXPECT_EQ(mr_ops_cpu()->begin(device, &batch), MR_OK);
    EXPECT_EQ(mr_ops_cpu()->qkv(device, &params), MR_OK);
    double worst = 0, wanted[256];
    for (int32_t r = 0; r < ROWS; r++) {
        for (int32_t h = 0; h < heads; h++) {
            int32_t kv_head = h < f->n_heads ? -1 : (h - f->n_heads) % f->n_kv_heads;
            const float *gain = !f->norms ? NULL : h < f->n_heads ? q_gain : k_gain;
            oracle(f, before + r * width, h, f->bias ? bias : NULL, gain, frequency, positions[r], wanted);
            int64_t at = slots[r] / BLOCK * kv.block_stride + kv_head * kv.head_stride + slots[r] % BLOCK * kv.token_stride;
            for (int32_t i = 0; i < f->d; i++) {
                bool v = h >= f->n_heads + f->n_kv_heads;
                enum mr_dtype dtype = h < f->n_heads ? MR_F32 : v ? f->v_dtype : f->k_dtype;
                float got = h < f->n_heads ? qkv[r * width + h * f->d + i] : cell(v ? kv.v : kv.k, dtype, at + i);
                double error = fabs(got - wanted[i]) / (dtype == MR_F16 ? 1000 : 1);
                worst = error <= worst ? worst : error;
            }
        }
    }
    EXPECT_NEAR(worst, 0, 4e-6);
    mr_ops_cpu()->close(device);
    free(before), free(qkv), free(bias), free(q_gain), free(k_gain), free(frequency), free(kv.k), free(kv.v);
}

TEST(qkv_is_right)
{
    static const struct form forms[] = {
        {9, 3, 64, 64, MR_ROPE_PAIRS, false, false, 1, MR_F32, MR_F32},  {9, 3, 64, 64, MR_ROPE_HALF, true, false, 1, MR_F16, MR_F16},
        {4, 4, 96, 96, MR_ROPE_HALF, false, true, 1, MR_F32, MR_F16},    {8, 1, 128, 64, MR_ROPE_HALF, true, true, 1.2f, MR_F32, MR_F32},
        {2, 1, 192, 48, MR_ROPE_PAIRS, true, true, 0.9f, MR_F16, MR_F32}, {2, 2, 20, 12, MR_ROPE_PAIRS, false, false, 1, MR_F16, MR_F16},
        {2, 2, 20, 20, MR_ROPE_HALF, false, false, 1, MR_F32, MR_F32},   {3, 1, 64, 64, MR_ROPE_NONE, true, true, 1, MR_F32, MR_F32},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        EACH_PATH(isa)
            check_form(isa, &forms[i]);
    }
}

TEST(qkv_paths_agree_bit_for_bit) /* no sum is involved without norms: rotation and bias round alike */
{
    enum { WIDTH = 5 * 64 };
    float *before = case_floats(ROWS * WIDTH, -2, 2), *frequency = case_floats(32, 0, 1), *qkv[MR_CPU_ISAS] = {NULL};
    EACH_PATH(isa) {
        struct mr_device *device = case_device(isa, 1 + (int)isa, MR_EXACT, 64);
        float *k = case_poison(64 * ROWS), *v = case_poison(64 * ROWS);
        struct mr_kv_view kv = {.k = k, .v = v, .k_dtype = MR_F32, .v_dtype = MR_F32, .n_blocks = ROWS, .block_tokens = 1, .n_kv_heads = 1, .head_dim = 64,
                                .token_stride = 64, .head_stride = 64, .block_stride = 64};
        int32_t numbers[ROWS];
        for (int32_t r = 0; r < ROWS; r++)
            numbers[r] = r;
        struct mr_batch batch = {.n_tokens = ROWS, .n_seqs = 1, .positions = numbers, .slots = numbers};
        qkv[isa] = case_poison(ROWS * WIDTH);
        memcpy(qkv[isa], before, ROWS * WIDTH * sizeof *before);
        struct mr_qkv_params params = {.qkv = qkv[isa], .kv = &kv, .rope_frequency = frequency, .rope_magnitude = 1, .rope = MR_ROPE_PAIRS, .n_heads = 3,
                                       .rope_dim = 64};
        EXPECT_EQ(mr_ops_cpu()->begin(device, &batch), MR_OK);
        EXPECT_EQ(mr_ops_cpu()->qkv(device, &params), MR_OK);
        mr_ops_cpu()->close(device);
        free(k), free(v);
    }
    EACH_PATH(isa) {
        EXPECT(memcmp(qkv[0], qkv[isa], ROWS * WIDTH * sizeof *before) == 0);
        free(isa ? qkv[isa] : NULL);
    }
    free(before), free(frequency), free(qkv[0]);
}

TEST_MAIN(TEST_CASE(qkv_is_right), TEST_CASE(qkv_paths_agree_bit_for_bit))
