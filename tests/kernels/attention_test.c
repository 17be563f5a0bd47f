#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

/* A paged cache with poisoned unwritten slots, sequences whose blocks are scattered, and all rows' queries. */
struct scene {
    int32_t n_heads, n_kv_heads, d, block_tokens, n_seqs;
    enum mr_dtype dtype;
    float softcap;
    int32_t window;
    int32_t length[4];        /* tokens of each sequence; every token is also a query row */
    int32_t stride, n_blocks; /* of the block tables */
    int32_t *table;
    float *k[4], *v[4], *q[4]; /* [length][heads][d] */
    struct mr_kv_view kv;
};

static void put_cell(const struct scene *s, void *cache, int64_t at, float value)
{
    if (s->dtype == MR_F32)
        ((float *)cache)[at] = value;
    else
        ((uint16_t *)cache)[at] = mr_f32_to_f16(value);
}

static float rounded(const struct scene *s, float x)
{
    return s->dtype == MR_F32 ? x : mr_f16_to_f32(mr_f32_to_f16(x));
}

static void open_scene(struct scene *s)
{
    s->stride = 40;
    s->n_blocks = 160;
    s->table = malloc(4 * 40 * sizeof *s->table);
    s->kv = (struct mr_kv_view){.k_dtype = s->dtype, .v_dtype = s->dtype, .n_blocks = s->n_blocks, .block_tokens = s->block_tokens,
                                .n_kv_heads = s->n_kv_heads, .head_dim = s->d, .token_stride = s->d, .head_stride = s->block_tokens * s->d,
                                .block_stride = (int64_t)s->block_tokens * s->d * s->n_kv_heads, .k_scale = 1, .v_scale = 1};
    size_t cells = (size_t)(s->n_blocks * s->kv.block_stride);
    s->kv.k = malloc(cells * 4);
    s->kv.v = malloc(cells * 4);
    for (size_t i = 0; i < cells; i++) {
        put_cell(s, s->kv.k, (int64_t)i, NAN);
        put_cell(s, s->kv.v, (int64_t)i, NAN);
    }
    for (int32_t i = 0; i < 160; i++)
        s->table[i] = i * 67 % 160; /* a permutation */
    for (int32_t seq = 0; seq < s->n_seqs; seq++) {
        size_t n = (size_t)(s->length[seq] * s->d);
        s->k[seq] = case_floats(n * (size_t)s->n_kv_heads, -1, 1);
        s->v[seq] = case_floats(n * (size_t)s->n_kv_heads, -1, 1);
        s->q[seq] = case_floats(n * (size_t)s->n_heads, -3, 3);
        for (int32_t t = 0; t < s->length[seq]; t++) {
            for (int32_t h = 0; h < s->n_kv_heads; h++) {
                int64_t at = s->table[seq * s->stride + t / s->block_tokens] * s->kv.block_stride + h * s->kv.head_stride +
                             t % s->block_tokens * s->kv.token_stride;
                for (int32_t i = 0; i < s->d; i++) {
                    put_cell(s, s->kv.k, at + i, s->k[seq][(t * s->n_kv_heads + h) * s->d + i]);
                    put_cell(s, s->kv.v, at + i, s->v[seq][(t * s->n_kv_heads + h) * s->d + i]);
                }
            }
        }
    }
}

static void close_scene(struct scene *s)
{
    for (int32_t seq = 0; seq < s->n_seqs; seq++)
        free(s->k[seq]), free(s->v[seq]), free(s->q[seq]);
    free(s->table), free(s->kv.k), free(s->kv.v);
}

/* Rows first[seq] .. first[seq] + rows[seq] - 1 of every sequence in one step; their outputs go to out[seq] at their places. */
static void attend(struct mr_device *device, const struct scene *s, const int32_t *first, const int32_t *rows, float *out[4])
{
    int32_t row_elements = (s->n_heads + 2 * s->n_kv_heads) * s->d, out_elements = s->n_heads * s->d, m = 0;
    int32_t start[5] = {0}, lengths[4], table[160], at_seq[4], n = 0;
    for (int32_t seq = 0; seq < s->n_seqs; seq++) {
        if (rows[seq] == 0)
            continue;
        at_seq[n] = seq;
        start[n + 1] = start[n] + rows[seq];
        lengths[n] = first[seq] + rows[seq];
        memcpy(table + n * s->stride, s->table + seq * s->stride, (size_t)s->stride * sizeof *table);
        m += rows[seq];
        n++;
    }
    int32_t *positions = malloc((size_t)m * sizeof *positions);
    float *qkv = case_poison((size_t)(m * row_elements)), *o = case_poison((size_t)(m * out_elements));
    for (int32_t i = 0, r = 0; i < n; i++) {
        for (int32_t t = 0; t < rows[at_seq[i]]; t++, r++) {
            positions[r] = first[at_seq[i]] + t;
            memcpy(qkv + r * row_elements, s->q[at_seq[i]] + positions[r] * out_elements, (size_t)out_elements * sizeof *qkv);
        }
    }
    struct mr_batch batch = {.n_tokens = m, .n_seqs = n, .block_table_stride = s->stride, .positions = positions, .seq_start = start,
                             .seq_length = lengths, .block_table = table};
    struct mr_attention_params params = {.qkv = qkv, .kv = &s->kv, .out = o, .scale = 1 / sqrtf((float)s->d), .softcap = s->softcap,
                                         .window = s->window, .n_heads = s->n_heads};
    EXPECT_EQ(mr_ops_cpu()->begin(device, &batch), MR_OK);
    EXPECT_EQ(mr_ops_cpu()->attention(device, &params), MR_OK);
    for (int32_t r = 0, i = 0; r < m; r++) {
        while (start[i + 1] <= r)
            i++;
        memcpy(out[at_seq[i]] + positions[r] * out_elements, o + r * out_elements, (size_t)out_elements * sizeof *o);
    }
    free(positions), free(qkv), free(o);
}

static void oracle(const struct scene *s, int32_t seq, int32_t row, int32_t head, double *out)
{
    int32_t kv_head = head / (s->n_heads / s->n_kv_heads), first = s->window > 0 && row >= s->window ? row - s->window + 1 : 0;
    double *score = malloc((size_t)(row + 1) * sizeof *score), largest = -INFINITY, sum = 0;
    for (int32_t t = first; t <= row; t++) {
        score[t] = 0;
        for (int32_t i = 0; i < s->d; i++)
            score[t] += (double)s->q[seq][(row * s->n_heads + head) * s->d + i] * rounded(s, s->k[seq][(t * s->n_kv_heads + kv_head) * s->d + i]);
        score[t] /= sqrt(s->d);
        if (s->softcap > 0)
            score[t] = s->softcap * tanh(score[t] / s->softcap);
        largest = fmax(largest, score[t]);
    }
    for (int32_t i = 0; i < s->d; i++)
        out[i] = 0;
    for (int32_t t = first; t <= row; t++) {
        double w = exp(score[t] - largest);
        sum += w;
        for (int32_t i = 0; i < s->d; i++)
            out[i] += w * rounded(s, s->v[seq][(t * s->n_kv_heads + kv_head) * s->d + i]);
    }
    for (int32_t i = 0; i < s->d; i++)
        out[i] /= sum;
    free(score);
}

static void check_scene(struct scene *s, enum mr_cpu_isa isa)
{
    float *out[4];
    int32_t first[4] = {0}, rows[4] = {0};
    open_scene(s);
    struct mr_device *device = case_device(isa, 2, MR_EXACT, 2048);
    for (int32_t seq = 0; seq < s->n_seqs; seq++) {
        rows[seq] = s->length[seq];
        out[seq] = case_poison((size_t)(s->length[seq] * s->n_heads * s->d));
    }
    attend(device, s, first, rows, out);
    double worst = 0, *wanted = malloc((size_t)s->d * sizeof *wanted);
    for (int32_t seq = 0; seq < s->n_seqs; seq++) {
        for (int32_t row = 0; row < s->length[seq]; row += row < 4 || row > s->length[seq] - 5 ? 1 : 13) {
            for (int32_t head = 0; head < s->n_heads; head++) {
                oracle(s, seq, row, head, wanted);
                for (int32_t i = 0; i < s->d; i++) {
                    double error = fabs(out[seq][(row * s->n_heads + head) * s->d + i] - wanted[i]);
                    worst = error <= worst ? worst : error;
                }
            }
        }
        free(out[seq]);
    }
    EXPECT_NEAR(worst, 0, 2e-6);
    free(wanted);
    mr_ops_cpu()->close(device);
    close_scene(s);
}

static void check_all(enum mr_cpu_isa isa)
{
    static const int32_t groups[] = {1, 3, 4, 5, 7, 8, 16}, dims[] = {64, 96, 128, 192, 256};
    for (int g = 0; g < 7; g++) {
        for (int d = 0; d < 5; d++) {
            if (isa == MR_CPU_PLAIN && (g + d) % 3 != 0)
                continue;
            struct scene s = {.n_heads = 2 * groups[g], .n_kv_heads = 2, .d = dims[d], .block_tokens = g % 2 ? 16 : 8, .n_seqs = 3,
                              .dtype = (g + d) % 2 ? MR_F16 : MR_F32, .length = {1, 37, 150}};
            check_scene(&s, isa);
        }
    }
    struct scene capped = {.n_heads = 9, .n_kv_heads = 3, .d = 64, .block_tokens = 16, .n_seqs = 2, .dtype = MR_F32, .softcap = 2, .length = {131, 260}};
    check_scene(&capped, isa);
    for (int32_t window = 1; window < 300; window = window * 3 + 2) {
        struct scene s = {.n_heads = 6, .n_kv_heads = 2, .d = 64, .block_tokens = 16, .n_seqs = 2, .dtype = MR_F32, .window = window, .length = {129, 300}};
        check_scene(&s, isa);
    }
    struct scene odd = {.n_heads = 2, .n_kv_heads = 1, .d = 20, .block_tokens = 16, .n_seqs = 1, .dtype = MR_F16, .length = {33}};
    check_scene(&odd, isa);
    struct scene narrow = {.n_heads = 2, .n_kv_heads = 1, .d = 40, .block_tokens = 16, .n_seqs = 1, .dtype = MR_F16, .length = {140}};
    check_scene(&narrow, isa);
}

TEST(plain_attention_is_right) { check_all(MR_CPU_PLAIN); }
TEST(fast_attention_is_right)
{
    EACH_FAST_PATH(isa)
        check_all(isa);
}

static void check_same_bits(struct scene *s, enum mr_cpu_isa isa)
{
    float *together[4], *out[4];
    static const int32_t chunks[] = {1, 7, 64, 1000};
    open_scene(s);
    for (int32_t seq = 0; seq < s->n_seqs; seq++) {
        together[seq] = case_poison((size_t)(s->length[seq] * s->n_heads * s->d));
        out[seq] = case_poison((size_t)(s->length[seq] * s->n_heads * s->d));
    }
    for (int threads = 1; threads <= 3; threads++) {
        struct mr_device *device = case_device(isa, threads, MR_EXACT, 2048);
        if (threads == 1)
            attend(device, s, (const int32_t[4]){0}, s->length, together);
        for (int c = 0; c < 4; c++) {
            for (int together_too = 0; together_too < 2; together_too++) {
                for (int32_t from = 0; from < 600; from += chunks[c]) { /* all sequences side by side, or one after the other */
                    int32_t rows[4] = {0}, first[4] = {0}, any = 0;
                    for (int32_t seq = 0; seq < s->n_seqs; seq++) {
                        int32_t left = s->length[seq] - from;
                        first[seq] = from;
                        rows[seq] = left < 0 ? 0 : left < chunks[c] ? left : chunks[c];
                        any |= rows[seq];
                        if (!together_too && rows[seq]) {
                            int32_t one[4] = {0};
                            one[seq] = rows[seq];
                            attend(device, s, first, one, out);
                        }
                    }
                    if (together_too && any)
                        attend(device, s, first, rows, out);
                }
                for (int32_t seq = 0; seq < s->n_seqs; seq++)
                    EXPECT(memcmp(out[seq], together[seq], (size_t)(s->length[seq] * s->n_heads * s->d) * sizeof(float)) == 0);
            }
        }
        mr_ops_cpu()->close(device);
    }
    for (int32_t seq = 0; seq < s->n_seqs; seq++)
        free(together[seq]), free(out[seq]);
    close_scene(s);
}

TEST(attention_has_the_same_bits)
{
    struct scene smol = {.n_heads = 9, .n_kv_heads = 3, .d = 64, .block_tokens = 16, .n_seqs = 3, .dtype = MR_F32, .length = {5, 130, 420}};
    EACH_FAST_PATH(isa)
        check_same_bits(&smol, isa);
    struct scene half = {.n_heads = 8, .n_kv_heads = 1, .d = 96, .block_tokens = 16, .n_seqs = 2, .dtype = MR_F16, .length = {259, 40}};
    EACH_FAST_PATH(isa)
        check_same_bits(&half, isa);
    struct scene windowed = {.n_heads = 2, .n_kv_heads = 2, .d = 64, .block_tokens = 16, .n_seqs = 2, .dtype = MR_F32, .window = 90, .softcap = 5,
                             .length = {300, 140}};
    EACH_FAST_PATH(isa)
        check_same_bits(&windowed, isa);
}

TEST_MAIN(TEST_CASE(plain_attention_is_right), TEST_CASE(fast_attention_is_right), TEST_CASE(attention_has_the_same_bits))
