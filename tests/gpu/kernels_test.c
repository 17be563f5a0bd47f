/* Every CUDA kernel against float64 on odd and ragged shapes, outputs and unwritten KV slots poisoned with NaN.
 * Needs a card; kernels_test NAME runs one. See compare.h for the rule. */
#include "tests/gpu/compare.h"
#include "tests/test.h"

#include "kernels/ops.h"

#include <cuda_runtime_api.h>

static const struct mr_ops *ops;
static struct mr_device *device, *device8, *exact; /* device8: with FP8 weights; exact: the deterministic mode */

enum { MAX_TOKENS = 2048, MAX_SEQS = 64, MAX_BLOCKS = 600 };

static bool ready(void)
{
    struct mr_err err = {0};
    struct mr_device_options options = {.precision = MR_FAST, .weight_dtype = MR_BF16, .max_tokens = MAX_TOKENS, .max_seqs = MAX_SEQS,
                                        .max_blocks = MAX_BLOCKS, .max_row_elements = 16384};
    if (device)
        return true;
    ops = mr_ops_cuda(&err);
    if (!ops || ops->open(&options, &device, &err) != MR_OK)
        printf("%s\n", err.text);
    options.weight_dtype = MR_E4M3;
    if (device && ops->open(&options, &device8, &err) != MR_OK)
        printf("%s\n", err.text);
    options.weight_dtype = MR_BF16, options.precision = MR_EXACT;
    if (device8 && ops->open(&options, &exact, &err) != MR_OK)
        printf("%s\n", err.text);
    EXPECT(device && device8 && exact);
    return device && device8 && exact;
}

/* A tensor on the card with its values on the host. */
struct tensor {
    size_t n;
    float *host; /* [n] */
    void *card;
    enum mr_dtype dtype; /* bf16 (0 too), f16 or e4m3 */
};

static size_t tensor_bytes(const struct tensor *t) { return t->dtype == MR_E4M3 ? t->n : 2 * t->n; }

static struct tensor tensor_random_as(size_t n, float scale, enum mr_dtype dtype)
{
    struct tensor t = {n, malloc(n * sizeof(float)), ops->alloc(device, n * 2 + 64), dtype};
    unsigned char *bits = malloc(n * 2);
    for (size_t i = 0; i < n; i++)
        t.host[i] = element_put(dtype, bits, i, random_normal() * scale);
    cudaMemcpy(t.card, bits, tensor_bytes(&t), cudaMemcpyHostToDevice);
    free(bits);
    return t;
}

static struct tensor tensor_random(size_t n, float scale) { return tensor_random_as(n, scale, MR_BF16); }

static struct tensor tensor_poison(size_t n)
{
    struct tensor t = {n, malloc(n * sizeof(float)), ops->alloc(device, n * 4 + 64), MR_BF16};
    cudaMemset(t.card, 0xff, n * 4); /* NaN in bf16 and in f32 */
    return t;
}

static void tensor_fetch(struct tensor *t)
{
    unsigned char *bits = malloc(t->n * 2);
    EXPECT_EQ(ops->finish(device), MR_OK);
    cudaMemcpy(bits, t->card, tensor_bytes(t), cudaMemcpyDeviceToHost);
    for (size_t i = 0; i < t->n; i++)
        t->host[i] = element_get(t->dtype, bits, i);
    free(bits);
}

static void tensor_free(struct tensor *t)
{
    free(t->host);
    ops->release(device, t->card);
}

static struct mr_weight *weight_random(int64_t rows, int64_t k, float **host)
{
    struct mr_weight *weight = NULL;
    struct mr_err err = {0};
    *host = malloc((size_t)(rows * k) * sizeof(float));
    for (int64_t i = 0; i < rows * k; i++)
        (*host)[i] = bf16_round(random_normal() / sqrtf((float)k));
    struct mr_weight_part part = {.dtype = MR_F32, .data = *host, .rows = rows};
    EXPECT_EQ(ops->weight_open(device, &part, 1, k, &weight, &err), MR_OK);
    return weight;
}

/* A batch of sequences with `past` cached tokens and `rows` new ones each; blocks are handed out backwards. */
struct scene {
    struct mr_batch batch;
    int32_t ids[MAX_TOKENS], positions[MAX_TOKENS], slots[MAX_TOKENS], seq_start[MAX_SEQS + 1], seq_length[MAX_SEQS], rows[MAX_TOKENS];
    int32_t table[MAX_SEQS * MAX_BLOCKS];
    int32_t n_blocks, block_tokens;
};

static struct scene *scene_make(const int32_t (*seqs)[2], int n_seqs, int32_t block_tokens, int32_t stride)
{
    struct scene *s = calloc(1, sizeof *s);
    int32_t next = 0, row = 0;
    s->block_tokens = block_tokens;
    for (int i = 0; i < n_seqs; i++)
        s->n_blocks += (seqs[i][0] + seqs[i][1] + block_tokens - 1) / block_tokens;
    s->n_blocks += 3; /* some that nobody writes */
    for (int i = 0; i < n_seqs; i++) {
        int32_t length = seqs[i][0] + seqs[i][1];
        for (int32_t b = 0; b * block_tokens < length; b++)
            s->table[i * stride + b] = s->n_blocks - 1 - next++;
        s->seq_start[i] = row;
        s->seq_length[i] = length;
        for (int32_t p = seqs[i][0]; p < length; p++, row++) {
            s->ids[row] = (int32_t)(random_bits() % 97);
            s->positions[row] = p;
            s->slots[row] = s->table[i * stride + p / block_tokens] * block_tokens + p % block_tokens;
            s->rows[row] = row;
        }
    }
    s->seq_start[n_seqs] = row;
    s->batch = (struct mr_batch){.n_tokens = row, .n_seqs = n_seqs, .n_logits = row, .block_table_stride = stride, .ids = s->ids,
                             .positions = s->positions, .slots = s->slots, .seq_start = s->seq_start, .seq_length = s->seq_length,
                             .block_table = s->table, .logit_rows = s->rows};
    return s;
}

TEST(embed_and_gather)
{
    REQUIRE(ready());
    static const int32_t seqs[][2] = {{0, 5}, {7, 1}, {3, 64}};
    struct scene *s = scene_make(seqs, 3, 16, 9);
    int32_t picked[3] = {0, 5, 69};
    s->batch.logit_rows = picked, s->batch.n_logits = 3;
    float *host;
    struct mr_weight *table = weight_random(97, 576, &host);
    struct tensor out = tensor_poison((size_t)s->batch.n_tokens * 576), some = tensor_poison(3 * 576);
    EXPECT_EQ(ops->begin(device, &s->batch), MR_OK);
    EXPECT_EQ(ops->embed(device, &(struct mr_embed_params){table, out.card, 1}), MR_OK);
    EXPECT_EQ(ops->gather(device, &(struct mr_gather_params){out.card, some.card, 576}), MR_OK);
    tensor_fetch(&out);
    tensor_fetch(&some);
    for (int32_t r = 0; r < s->batch.n_tokens; r++)
        for (int i = 0; i < 576; i++)
            if (out.host[r * 576 + i] != host[s->ids[r] * 576 + i]) {
                EXPECT(!"embedding row equals the table's");
                r = s->batch.n_tokens;
                break;
            }
    for (int r = 0; r < 3; r++)
        EXPECT(memcmp(some.host + r * 576, out.host + picked[r] * 576, 576 * sizeof(float)) == 0);
    tensor_free(&out);
    tensor_free(&some);
    ops->weight_close(device, table);
    free(host);
    free(s);
}

static void norm_once(int32_t rows, int32_t n, bool delta)
{
    struct tensor x = tensor_random((size_t)rows * n, 1), d = tensor_random((size_t)rows * n, 0.5f), out = tensor_poison((size_t)rows * n);
    float *gain = malloc((size_t)n * sizeof *gain);
    for (int i = 0; i < n; i++)
        gain[i] = 1 + 0.2f * random_normal();
    float *card_gain = ops->upload_f32(device, gain, (size_t)n);
    struct mr_norm_params p = {x.card, delta ? d.card : NULL, out.card, card_gain, 0, 1e-5f, rows, n};
    EXPECT_EQ(ops->norm(device, &p), MR_OK);
    tensor_fetch(&out);
    struct judge judge = {0};
    for (int32_t r = 0; r < rows; r++) {
        double sum = 0;
        float sum32 = 0;
        for (int i = 0; i < n; i++) {
            float v = delta ? bf16_round(x.host[r * n + i] + d.host[r * n + i]) : x.host[r * n + i];
            sum += (double)v * v;
            sum32 += v * v;
        }
        for (int i = 0; i < n; i++) {
            float v = delta ? bf16_round(x.host[r * n + i] + d.host[r * n + i]) : x.host[r * n + i];
            judge_add(&judge, v / sqrt(sum / n + 1e-5) * gain[i], bf16_round(v * (1 / sqrtf(sum32 / n + 1e-5f)) * gain[i]), out.host[r * n + i]);
        }
    }
    EXPECT(judge_ok(&judge));
    tensor_free(&x);
    tensor_free(&d);
    tensor_free(&out);
    ops->release(device, card_gain);
    free(gain);
}

TEST(norm)
{
    REQUIRE(ready());
    static const int32_t widths[] = {64, 576, 2048, 4096, 5120, 8192, 16384};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        norm_once(1, widths[i], true);
        norm_once(7, widths[i], false);
    }
    norm_once(333, 4096, true);
}

TEST(glu)
{
    REQUIRE(ready());
    static const int32_t shapes[][2] = {{1, 1536}, {3, 8}, {65, 14336}, {2, 1000}};
    for (size_t s = 0; s < 4; s++) {
        int32_t rows = shapes[s][0], n = shapes[s][1];
        struct tensor in = tensor_random((size_t)rows * 2 * n, 2), out = tensor_poison((size_t)rows * n);
        EXPECT_EQ(ops->glu(device, &(struct mr_glu_params){in.card, out.card, rows, n, MR_SILU}), MR_OK);
        tensor_fetch(&out);
        struct judge judge = {0};
        for (int32_t r = 0; r < rows; r++)
            for (int i = 0; i < n; i++) {
                float g = in.host[r * 2 * n + i], u = in.host[r * 2 * n + n + i];
                judge_add(&judge, g / (1 + exp(-(double)g)) * u, bf16_round(g / (1 + expf(-g)) * u), out.host[r * n + i]);
            }
        EXPECT(judge_ok(&judge));
        tensor_free(&in);
        tensor_free(&out);
    }
}

static void matmul_once(int32_t rows, int64_t n, int64_t k, bool out_f32)
{
    float *host;
    struct mr_weight *weight = weight_random(n, k, &host);
    struct tensor in = tensor_random((size_t)(rows * k), 1), out = tensor_poison((size_t)(rows * n));
    float *logits = malloc((size_t)(rows * n) * sizeof(float));
    EXPECT_EQ(ops->matmul(device, &(struct mr_matmul_params){weight, in.card, out.card, NULL, rows, out_f32}), MR_OK);
    if (out_f32) {
        EXPECT_EQ(ops->finish(device), MR_OK);
        cudaMemcpy(logits, out.card, (size_t)(rows * n) * sizeof(float), cudaMemcpyDeviceToHost);
    } else {
        tensor_fetch(&out);
    }
    struct judge judge = {0};
    int32_t step = rows > 16 ? rows / 13 : 1;
    for (int32_t r = 0; r < rows; r = r == rows - 1 ? rows : r + step < rows - 1 ? r + step : rows - 1)
        for (int64_t c = 0; c < n; c++) {
            double exact = 0;
            float ref = 0;
            for (int64_t i = 0; i < k; i++) {
                exact += (double)in.host[r * k + i] * host[c * k + i];
                ref += in.host[r * k + i] * host[c * k + i];
            }
            judge_add(&judge, exact, bf16_round(ref), out_f32 ? logits[r * n + c] : out.host[r * n + c]); /* logits too: their inputs are bf16 */
        }
    EXPECT(judge_ok(&judge));
    if (!judge_ok(&judge))
        printf("matmul rows %d n %lld k %lld: %g against %g\n", rows, (long long)n, (long long)k, judge.worst, judge.worst_ref);
    free(logits);
    free(host);
    ops->weight_close(device, weight);
    tensor_free(&in);
    tensor_free(&out);
}

TEST(matmul)
{
    REQUIRE(ready());
    static const int32_t rows[] = {1, 2, 3, 5, 8, 9, 17, 64, 130, 515};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        matmul_once(rows[i], 960, 576, false);
        matmul_once(rows[i], 576, 1536, false);
    }
    matmul_once(1, 1537, 4096, true);
    matmul_once(9, 1000, 2048, true);
}

/* FP8 weights against the same product in float64 of the values as quantised: only the path's own rounding is left.
 * Up to 8 rows keep their input in bf16; more rows quantise it with a scale a row. */
static void row_quantise(float *row, int64_t k)
{
    float largest = 0;
    for (int64_t i = 0; i < k; i++)
        largest = fmaxf(largest, fabsf(row[i]));
    float unit = largest > 0 ? largest / 448 : 1, inverse = 1 / unit;
    for (int64_t i = 0; i < k; i++)
        row[i] = e4m3_round(row[i] * inverse) * unit;
}

static void fp8_once(int32_t rows, int64_t n, int64_t k)
{
    struct mr_err err = {0};
    struct mr_weight *weight = NULL;
    float *host = malloc((size_t)(n * k) * sizeof(float));
    for (int64_t i = 0; i < n * k; i++)
        host[i] = bf16_round(random_normal() / sqrtf((float)k));
    EXPECT_EQ(ops->weight_open(device8, &(struct mr_weight_part){.dtype = MR_F32, .data = host, .rows = n}, 1, k, &weight, &err), MR_OK);
    struct tensor in = tensor_random((size_t)(rows * k), 1), out = tensor_poison((size_t)((rows + 15) / 16 * 16 * n));
    EXPECT_EQ(ops->matmul(device8, &(struct mr_matmul_params){.weight = weight, .in = in.card, .out = out.card, .rows = rows}), MR_OK);
    EXPECT_EQ(ops->finish(device8), MR_OK);
    tensor_fetch(&out);
    struct judge judge = {0};
    for (int64_t c = 0; c < n; c++)
        row_quantise(host + c * k, k);
    for (int32_t r = 0; r < rows; r++) {
        if (rows > 8)
            row_quantise(in.host + r * k, k);
        for (int64_t c = 0; c < n; c++) {
            double exact = 0;
            for (int64_t i = 0; i < k; i++)
                exact += (double)in.host[r * k + i] * host[c * k + i];
            judge_add(&judge, exact, bf16_round((float)exact), out.host[r * n + c]);
        }
    }
    bool ok = !judge.broken && sqrt(judge.squares) <= 4 * sqrt(judge.squares_ref); /* fast accumulation keeps some 14 bits */
    EXPECT(ok);
    if (!ok)
        printf("fp8 rows %d n %lld k %lld: %g against %g\n", rows, (long long)n, (long long)k, sqrt(judge.squares), sqrt(judge.squares_ref));
    ops->weight_close(device8, weight);
    tensor_free(&in);
    tensor_free(&out);
    free(host);
}

TEST(fp8)
{
    REQUIRE(ready());
    static const int32_t rows[] = {1, 2, 8, 9, 15, 16, 33, 200};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fp8_once(rows[i], 512, 576);
        fp8_once(rows[i], 576, 1536);
    }
}

/* Everything of one attention check: heads, the batch, the cache as qkv and attention see it. */
struct attention_scene {
    struct scene *s;
    int32_t group, n_kv, n_heads, window, width; /* width: of a qkv row */
    struct mr_device *on;
    struct mr_kv_view view;
    struct tensor qkv, rotated, k, v, out;
    float *frequency; /* [head_dim / 2] */
    float scale;
};

static int64_t key_at(const struct attention_scene *a, int seq, int kv_head, int32_t key)
{
    int32_t tokens = a->view.block_tokens;
    return a->s->table[seq * MAX_BLOCKS + key / tokens] * a->view.block_stride + kv_head * a->view.head_stride + key % tokens * a->view.token_stride;
}

/* NaN in every slot that no sequence has cached. */
static void cache_poison(const struct attention_scene *a, const int32_t (*seqs)[2], int n_seqs)
{
    int32_t tokens = a->view.block_tokens, n_slots = a->s->n_blocks * tokens;
    uint8_t *cached = calloc(1, (size_t)n_slots);
    for (int i = 0; i < n_seqs; i++)
        for (int32_t p = 0; p < seqs[i][0]; p++)
            cached[a->s->table[i * MAX_BLOCKS + p / tokens] * tokens + p % tokens] = 1;
    for (int32_t slot = 0; slot < n_slots; slot++)
        for (int h = 0; h < a->n_kv && !cached[slot]; h++) {
            int64_t at = slot / tokens * a->view.block_stride + h * a->view.head_stride + slot % tokens * a->view.token_stride;
            size_t bytes = tensor_bytes(&a->k) / a->k.n, n = (size_t)a->view.head_dim * bytes;
            cudaMemset((char *)a->k.card + (size_t)at * bytes, 0xff, n);
            cudaMemset((char *)a->v.card + (size_t)at * bytes, 0xff, n);
        }
    free(cached);
}

static bool rope_right(const struct attention_scene *a)
{
    struct judge judge = {0};
    for (int32_t row = 0; row < a->s->batch.n_tokens; row++)
        for (int h = 0; h < a->n_heads; h++)
            for (int i = 0; i < a->view.head_dim / 2; i++) {
                int32_t at = row * a->width + h * a->view.head_dim + 2 * i;
                float x = a->qkv.host[at], y = a->qkv.host[at + 1], angle = (float)a->s->positions[row] * a->frequency[i];
                judge_add(&judge, x * cos(angle) - y * sin(angle), bf16_round(x * cosf(angle) - y * sinf(angle)), a->rotated.host[at]);
            }
    return judge_ok(&judge);
}

/* One query head of one row against its keys; weights are bf16 in the second product. */
static void head_judge(const struct attention_scene *a, struct judge *judge, int seq, int32_t row, int h, double *weights)
{
    int32_t last = a->s->positions[row], first = a->window && last - a->window + 1 > 0 ? last - a->window + 1 : 0, d = a->view.head_dim;
    const float *query = a->rotated.host + row * a->width + h * d;
    double top = -INFINITY, sum = 0;
    for (int32_t key = first; key <= last; key++) {
        double dot = 0;
        for (int c = 0; c < d; c++)
            dot += (double)query[c] * a->k.host[key_at(a, seq, h / a->group, key) + c];
        weights[key] = dot * a->scale;
        top = fmax(top, weights[key]);
    }
    for (int32_t key = first; key <= last; key++)
        sum += weights[key] = exp(weights[key] - top);
    for (int c = 0; c < d; c++) {
        double exact = 0;
        float ref = 0;
        for (int32_t key = first; key <= last; key++) {
            float value = a->v.host[key_at(a, seq, h / a->group, key) + c];
            exact += weights[key] * value;
            ref += bf16_round((float)weights[key]) * value;
        }
        judge_add(judge, exact / sum, bf16_round(ref / (float)sum), a->out.host[((int64_t)row * a->n_heads + h) * d + c]);
    }
}

static struct judge rows_judge(const struct attention_scene *a, int n_seqs)
{
    struct judge judge = {0};
    double *weights = malloc(sizeof(double) * 20000);
    for (int i = 0; i < n_seqs; i++) {
        int32_t from = a->s->seq_start[i], to = a->s->seq_start[i + 1];
        for (int32_t row = from; row < to; row++)
            for (int h = 0; h < a->n_heads && (to - from <= 70 || row % 17 == 0 || row == to - 1); h++)
                head_judge(a, &judge, i, row, h, weights);
    }
    free(weights);
    return judge;
}

struct attention_shape {
    int32_t group, d, block_tokens, window;
    enum mr_dtype kv;
    bool exact;
};

/* Random heads, a cache with NaN where nothing is cached, and the step's own rows written by qkv. */
static struct attention_scene attention_open(const int32_t (*seqs)[2], int n_seqs, const struct attention_shape *shape)
{
    int32_t group = shape->group, d = shape->d, block_tokens = shape->block_tokens;
    struct attention_scene a = {.s = scene_make(seqs, n_seqs, block_tokens, MAX_BLOCKS), .group = group, .n_kv = 2, .n_heads = 2 * group,
                                .window = shape->window, .width = (2 * group + 4) * d, .scale = 1 / sqrtf((float)d),
                                .on = shape->exact ? exact : device};
    int64_t slab = (int64_t)a.s->n_blocks * a.n_kv * block_tokens * d;
    bool small = shape->kv == MR_E4M3;
    a.qkv = tensor_random((size_t)MAX_TOKENS * a.width, 1);
    a.out = tensor_poison((size_t)a.s->batch.n_tokens * a.n_heads * d);
    a.k = tensor_random_as((size_t)slab, 1, shape->kv);
    a.v = tensor_random_as((size_t)slab, 1, shape->kv);
    a.view = (struct mr_kv_view){a.k.card, a.v.card, shape->kv, shape->kv, a.s->n_blocks, block_tokens, a.n_kv, d,
                                 (int64_t)a.n_kv * block_tokens * d, (int64_t)block_tokens * d, d, small ? 0.5f : 1, small ? 0.25f : 1};
    for (int64_t i = 0; i < slab; i++) { /* what the cache holds counts times its scale */
        a.k.host[i] *= a.view.k_scale;
        a.v.host[i] *= a.view.v_scale;
    }
    a.frequency = malloc((size_t)d / 2 * sizeof(float));
    for (int i = 0; i < d / 2; i++)
        a.frequency[i] = powf(10000, -2.0f * (float)i / (float)d);
    cache_poison(&a, seqs, n_seqs);
    float *frequency = ops->upload_f32(device, a.frequency, (size_t)d / 2);
    EXPECT_EQ(ops->begin(a.on, &a.s->batch), MR_OK);
    EXPECT_EQ(ops->qkv(a.on, &(struct mr_qkv_params){.qkv = a.qkv.card, .kv = &a.view, .rope_frequency = frequency, .rope_magnitude = 1,
                                                     .rope = MR_ROPE_PAIRS, .n_heads = a.n_heads, .rope_dim = d}), MR_OK);
    EXPECT_EQ(ops->finish(a.on), MR_OK);
    ops->release(device, frequency);
    return a;
}

static void attention_close(struct attention_scene *a)
{
    free(a->frequency);
    tensor_free(&a->qkv);
    tensor_free(&a->out);
    tensor_free(&a->k);
    tensor_free(&a->v);
    free(a->s);
}

static void attention_attend(const struct attention_scene *a, const struct mr_batch *batch, int32_t first_row, void *out)
{
    const char *qkv = (const char *)a->qkv.card + (size_t)first_row * (size_t)a->width * 2;
    EXPECT_EQ(ops->begin(a->on, batch), MR_OK);
    EXPECT_EQ(ops->attention(a->on, &(struct mr_attention_params){qkv, &a->view, out, a->scale, 0, a->window, a->n_heads}), MR_OK);
    EXPECT_EQ(ops->finish(a->on), MR_OK);
}

/* qkv then attention, checked together with the cache that qkv wrote. */
static void attention_check(const int32_t (*seqs)[2], int n_seqs, const struct attention_shape *shape)
{
    struct attention_scene a = attention_open(seqs, n_seqs, shape);
    attention_attend(&a, &a.s->batch, 0, a.out.card);
    a.rotated = (struct tensor){a.qkv.n, malloc(a.qkv.n * sizeof(float)), a.qkv.card, MR_BF16};
    tensor_fetch(&a.out);
    tensor_fetch(&a.rotated);
    tensor_fetch(&a.k);
    tensor_fetch(&a.v);
    for (size_t i = 0; i < a.k.n; i++) {
        a.k.host[i] *= a.view.k_scale;
        a.v.host[i] *= a.view.v_scale;
    }
    EXPECT(rope_right(&a));
    struct judge judge = rows_judge(&a, n_seqs);
    EXPECT(judge_ok(&judge));
    if (!judge_ok(&judge))
        printf("attention group %d dim %d block %d window %d %s %s: %g against %g%s\n", shape->group, shape->d, shape->block_tokens, shape->window,
               mr_dtype_name(shape->kv), shape->exact ? "exact" : "fast", judge.worst, judge.worst_ref, judge.broken ? ", not a number" : "");
    free(a.rotated.host);
    attention_close(&a);
}

static void attention_once(const int32_t (*seqs)[2], int n_seqs, int32_t group, int32_t d, int32_t block_tokens, int32_t window)
{
    attention_check(seqs, n_seqs, &(struct attention_shape){group, d, block_tokens, window, MR_BF16, false});
}

TEST(attention)
{
    REQUIRE(ready());
    static const int32_t decode[][2] = {{0, 1}, {15, 1}, {16, 1}, {255, 1}, {256, 1}, {300, 1}, {1023, 1}, {2500, 1}};
    static const int32_t prefill[][2] = {{0, 2}, {0, 63}, {5, 65}, {100, 17}, {700, 130}, {33, 1}};
    static const int32_t groups[] = {1, 3, 4, 5, 7, 8, 16}, dims[] = {64, 96, 128, 192, 256};
    for (int g = 0; g < 7; g++) {
        attention_once(decode, 8, groups[g], 128, 16, 0);
        attention_once(prefill, 6, groups[g], 64, 16, 0);
    }
    for (int d = 0; d < 5; d++) {
        attention_once(decode, 8, 3, dims[d], 32, 0);
        attention_once(prefill, 6, 3, dims[d], 16, 0);
    }
    static const int32_t whole_tiles[][2] = {{0, 128}, {0, 512}, {128, 256}, {1024, 1024}};
    attention_once(whole_tiles, 4, 4, 64, 16, 0);
    attention_once(whole_tiles, 4, 4, 128, 16, 0);
    attention_once(whole_tiles, 4, 16, 128, 32, 0);
    attention_once(decode, 8, 4, 128, 16, 200);
    attention_once(prefill, 6, 4, 128, 16, 50);
}

/* The cache of bytes that wgmma takes widened: every group and length of block, chunks on a cached past that end inside a tile, whole tiles,
 * windows. The other types and head sizes by the same calls. */
TEST(attention_types)
{
    REQUIRE(ready());
    static const int32_t chunks[][2] = {{0, 2}, {0, 63}, {5, 65}, {100, 17}, {700, 130}, {33, 1}, {127, 129}, {0, 300}};
    static const int32_t whole_tiles[][2] = {{0, 128}, {0, 512}, {128, 256}, {1024, 1024}};
    static const int32_t groups[] = {1, 3, 4, 5, 7, 8, 16}, dims[] = {64, 96, 128, 192, 256}, blocks[] = {16, 32, 64, 128, 48};
    for (int i = 0; i < 7; i++)
        for (int d = 64; d <= 128; d += 64)
            attention_check(chunks, 8, &(struct attention_shape){groups[i], d, blocks[i % 5], i == 3 ? 50 : i == 5 ? 300 : 0, MR_E4M3, false});
    for (int d = 64; d <= 128; d += 64)
        for (int window = 0; window <= 200; window += 200)
            attention_check(whole_tiles, 4, &(struct attention_shape){4, d, 64, window, MR_E4M3, false});
    for (int i = 0; i < 5; i++) {
        attention_check(chunks, 8, &(struct attention_shape){2, dims[i], 16, 0, MR_E4M3, false});
        attention_check(chunks, 8, &(struct attention_shape){2, dims[i], 16, 0, MR_F16, false});
    }
}

/* Decode cut evenly over the card's warps: every cache type, head size and group; more sequences than lanes; cuts inside sequences. */
TEST(attention_heads)
{
    REQUIRE(ready());
    static const int32_t decode[][2] = {{0, 1}, {15, 1}, {16, 1}, {255, 1}, {256, 1}, {300, 1}, {1023, 1}, {2500, 1}};
    static const int32_t mixed[][2] = {{700, 1}, {0, 63}, {5, 65}, {100, 1}, {700, 30}, {33, 1}};
    static const int32_t groups[] = {1, 3, 4, 5, 7, 8, 16}, dims[] = {64, 96, 128, 192, 256};
    static const enum mr_dtype types[] = {MR_BF16, MR_F16, MR_E4M3};
    for (int t = 0; t < 3; t++) {
        for (int g = 0; g < 7; g++)
            attention_check(decode, 8, &(struct attention_shape){groups[g], 128, g % 2 ? 32 : 16, g == 3 ? 200 : 0, types[t], false});
        for (int d = 0; d < 5; d++) {
            attention_check(decode, 8, &(struct attention_shape){3, dims[d], 16, 0, types[t], false});
            attention_check(decode, 8, &(struct attention_shape){9, dims[d], 64, 0, types[t], false});
        }
        attention_check(mixed, 6, &(struct attention_shape){4, 128, 16, 0, types[t], false});
        int32_t many[MAX_SEQS][2];
        for (int i = 0; i < MAX_SEQS; i++)
            many[i][0] = (int32_t)(random_bits() % 900), many[i][1] = 1;
        attention_check(many, MAX_SEQS, &(struct attention_shape){4, 128, 16, 0, types[t], false});
        attention_check(many, MAX_SEQS, &(struct attention_shape){2, 64, 16, 100, types[t], false});
    }
}

/* The row-wise kernel: the deterministic mode, and the caches that wgmma does not take. */
TEST(attention_rows)
{
    REQUIRE(ready());
    static const int32_t decode[][2] = {{0, 1}, {15, 1}, {127, 1}, {128, 1}, {300, 1}, {2500, 1}};
    static const int32_t prefill[][2] = {{0, 2}, {0, 63}, {5, 65}, {100, 17}, {700, 130}, {33, 1}};
    static const int32_t groups[] = {1, 3, 4, 5, 7, 8, 16}, dims[] = {64, 96, 128, 192, 256};
    static const enum mr_dtype types[] = {MR_BF16, MR_F16, MR_E4M3};
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < 7; i++) {
            struct attention_shape shape = {groups[i], dims[i % 5], i % 2 ? 32 : 16, i == 3 ? 100 : 0, types[t], true};
            attention_check(decode, 6, &shape);
            attention_check(prefill, 6, &shape);
        }
}

/* Every row of one sequence as one chunk, in two, and decoded alone: rows whose bits are not those of the one chunk. */
static int32_t rows_other(const struct attention_shape *shape)
{
    enum { ROWS = 330 };
    static const int32_t whole[][2] = {{0, ROWS}};
    struct attention_scene a = attention_open(whole, 1, shape);
    size_t row_bytes = (size_t)a.n_heads * (size_t)shape->d * 2;
    char *one = malloc(ROWS * row_bytes), *other = malloc(ROWS * row_bytes);
    int32_t wrong = 0;
    attention_attend(&a, &a.s->batch, 0, a.out.card);
    cudaMemcpy(one, a.out.card, ROWS * row_bytes, cudaMemcpyDeviceToHost);
    static const int32_t cuts[] = {0, 101, 128, ROWS};
    for (int c = 0; c < 3; c++) {
        int32_t first = cuts[c], n = cuts[c + 1] - first, start[2] = {0, n}, length = first + n;
        struct mr_batch batch = {.n_tokens = n, .n_seqs = 1, .block_table_stride = MAX_BLOCKS, .ids = a.s->ids,
                             .positions = a.s->positions + first, .slots = a.s->slots + first, .seq_start = start,
                             .seq_length = &length, .block_table = a.s->table, .logit_rows = a.s->rows};
        attention_attend(&a, &batch, first, a.out.card);
        cudaMemcpy(other, a.out.card, (size_t)n * row_bytes, cudaMemcpyDeviceToHost);
        for (int32_t r = 0; r < n; r++)
            wrong += memcmp(one + (size_t)(first + r) * row_bytes, other + (size_t)r * row_bytes, row_bytes) != 0;
    }
    for (int32_t r = 0; r < ROWS; r++) {
        int32_t start[2] = {0, 1}, length = r + 1;
        struct mr_batch batch = {.n_tokens = 1, .n_seqs = 1, .block_table_stride = MAX_BLOCKS, .ids = a.s->ids,
                             .positions = a.s->positions + r, .slots = a.s->slots + r, .seq_start = start, .seq_length = &length,
                             .block_table = a.s->table, .logit_rows = a.s->rows};
        attention_attend(&a, &batch, r, a.out.card);
        cudaMemcpy(other, a.out.card, row_bytes, cudaMemcpyDeviceToHost);
        wrong += memcmp(one + (size_t)r * row_bytes, other, row_bytes) != 0;
    }
    free(one);
    free(other);
    attention_close(&a);
    return wrong;
}

TEST(attention_same_bits)
{
    REQUIRE(ready());
    static const enum mr_dtype types[] = {MR_BF16, MR_F16, MR_E4M3};
    static const int32_t dims[] = {64, 96, 128, 192, 256};
    for (int t = 0; t < 3; t++)
        for (int d = 0; d < 5; d++) {
            struct attention_shape shape = {t + 3, dims[d], 16, d == 2 ? 150 : 0, types[t], true};
            int32_t wrong = rows_other(&shape);
            EXPECT_EQ(wrong, 0);
            if (wrong)
                printf("dim %d %s: %d rows differ\n", dims[d], mr_dtype_name(types[t]), wrong);
        }
    EXPECT(rows_other(&(struct attention_shape){4, 128, 16, 0, MR_BF16, false}) > 0); /* else this could not tell */
}

/* The deterministic mode's products: a row's bits at any number of rows. */
static int32_t products_other(int64_t n, int64_t k, bool out_f32)
{
    enum { ROWS = MAX_TOKENS };
    float *host;
    struct mr_weight *weight = weight_random(n, k, &host);
    struct tensor in = tensor_random((size_t)(ROWS * k), 1);
    size_t row_bytes = (size_t)n * (out_f32 ? 4 : 2);
    void *out = ops->alloc(device, ROWS * row_bytes);
    char *all = malloc(ROWS * row_bytes), *some = malloc(ROWS * row_bytes);
    int32_t wrong = 0;
    for (int32_t rows = ROWS, turn = 0; rows >= 1; rows = rows > 64 ? rows * 5 / 6 : rows - 1, turn++) {
        EXPECT_EQ(ops->matmul(exact, &(struct mr_matmul_params){weight, in.card, out, NULL, rows, out_f32}), MR_OK);
        EXPECT_EQ(ops->finish(exact), MR_OK);
        cudaMemcpy(turn ? some : all, out, (size_t)rows * row_bytes, cudaMemcpyDeviceToHost);
        wrong += turn && memcmp(all, some, (size_t)rows * row_bytes) != 0;
    }
    free(all);
    free(some);
    free(host);
    ops->release(device, out);
    ops->weight_close(device, weight);
    tensor_free(&in);
    return wrong;
}

TEST(matmul_same_bits)
{
    REQUIRE(ready());
    static const int32_t shapes[][2] = {{960, 576}, {576, 576}, {3072, 576}, {576, 1536}, {6144, 4096}, {4096, 4096}, {4096, 14336}, {28672, 4096}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        EXPECT_EQ(products_other(shapes[i][0], shapes[i][1], false), 0);
    EXPECT_EQ(products_other(49152, 576, true), 0);
}

TEST_MAIN(TEST_CASE(embed_and_gather), TEST_CASE(norm), TEST_CASE(glu), TEST_CASE(matmul), TEST_CASE(fp8), TEST_CASE(attention),
          TEST_CASE(attention_heads), TEST_CASE(attention_types), TEST_CASE(attention_rows), TEST_CASE(attention_same_bits), TEST_CASE(matmul_same_bits))
