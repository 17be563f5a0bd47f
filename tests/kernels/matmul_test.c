#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

enum { ROWS_MAX = 200 };
#define HEAD_TOLERANCE 4e-5 /* activations of 16 bits */

static const enum mr_dtype dtypes[] = {MR_F32, MR_F16, MR_BF16, MR_Q4_0, MR_Q4_1, MR_Q5_0, MR_Q5_1, MR_Q8_0, MR_Q4_K, MR_Q5_K, MR_Q6_K};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

/* head: as the head is multiplied, which on the fast path has rules of its own. */
static void multiply(struct mr_device *device, const struct mr_weight *weight, const float *in, int32_t rows, bool head, const float *bias,
                     float *out, int64_t n)
{
    for (int64_t i = 0; i < rows * n; i++)
        out[i] = NAN;
    struct mr_matmul_params params = {.weight = weight, .in = in, .out = out, .bias = bias, .rows = rows, .out_f32 = head};
    EXPECT_EQ(mr_ops_cpu()->matmul(device, &params), MR_OK);
}

/* |out - float64 product| within tolerance of the sum of magnitudes. */
static void check_product(const struct mr_weight_part *parts, int n_parts, int64_t k, const float *in, int32_t rows, const float *bias,
                          const float *out, int64_t n, double tolerance)
{
    float *w = malloc((size_t)k * sizeof *w);
    int64_t j = 0;
    double worst = 0;
    for (int part = 0; part < n_parts; part++) {
        int64_t row_bytes = mr_dtype_row_bytes(parts[part].dtype, k);
        for (int64_t i = 0; i < parts[part].rows; i++, j++) {
            mr_quant_row(parts[part].dtype, (const char *)parts[part].data + i * row_bytes, w, k);
            for (int32_t r = 0; r < rows; r++) {
                double sum = bias ? bias[j] : 0, size = fabs(sum);
                for (int64_t x = 0; x < k; x++) {
                    sum += (double)w[x] * in[r * k + x];
                    size += fabs((double)w[x] * in[r * k + x]);
                }
                double error = fabs(out[r * n + j] - sum) / (size + 1e-30);
                if (!(error <= worst)) /* NaN too */
                    worst = error;
            }
        }
    }
    EXPECT_NEAR(worst, 0, tolerance);
    free(w);
}

struct shape {
    int64_t n, k;
    int32_t rows;
};

static void check_shape(enum mr_dtype dtype, struct shape s, enum mr_cpu_isa isa, enum mr_precision precision, double tolerance)
{
    struct mr_device *device = case_device(isa, 2, precision, ROWS_MAX);
    uint8_t *data = case_weights(dtype, s.n, s.k);
    struct mr_weight_part part = {.dtype = dtype, .data = data, .rows = s.n};
    struct mr_weight *weight = NULL;
    EXPECT_EQ(mr_ops_cpu()->weight_open(device, &part, 1, s.k, &weight, NULL), MR_OK);
    float *in = case_floats((size_t)(s.rows * s.k), -1, 1), *bias = case_floats((size_t)s.n, -1, 1), *out = case_poison((size_t)(s.rows * s.n));
    multiply(device, weight, in, s.rows, false, bias, out, s.n);
    check_product(&part, 1, s.k, in, s.rows, bias, out, s.n, tolerance);
    multiply(device, weight, in, s.rows, false, NULL, out, s.n);
    check_product(&part, 1, s.k, in, s.rows, NULL, out, s.n, tolerance);
    multiply(device, weight, in, s.rows, true, bias, out, s.n);
    check_product(&part, 1, s.k, in, s.rows, bias, out, s.n, precision == MR_FAST ? HEAD_TOLERANCE : tolerance);
    mr_ops_cpu()->weight_close(device, weight);
    mr_ops_cpu()->close(device);
    free(data), free(in), free(bias), free(out);
}

static const struct shape shapes[] = {{1, 32, 1}, {5, 96, 2}, {16, 160, 3}, {31, 64, 4}, {32, 128, 5}, {33, 576, 6}, {70, 288, 7}, {100, 1536, 13}, {64, 192, 197}};

static void check_all_shapes(enum mr_cpu_isa isa, enum mr_precision precision, double tolerance)
{
    for (int t = 0; t < N_DTYPES; t++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct shape s = shapes[i];
            int block = mr_dtype_block_elements(dtypes[t]);
            s.k = (s.k + block - 1) / block * block;
            check_shape(dtypes[t], s, isa, precision, tolerance);
        }
        for (int64_t k = 1; mr_dtype_block_elements(dtypes[t]) == 1 && k < 300; k += 37)
            check_shape(dtypes[t], (struct shape){37, k, 7}, isa, precision, tolerance);
    }
}

TEST(plain_product_is_right) { check_all_shapes(MR_CPU_PLAIN, MR_EXACT, 2e-6); }
TEST(exact_product_is_right)
{
    EACH_FAST_PATH(isa)
        check_all_shapes(isa, MR_EXACT, 2e-6);
}

/* Rows alone, in chunks and together, on 1, 2 and 3 threads: the same bits. parts: of three formats, as q, k, v may be. */
static void check_same_bits_of(enum mr_cpu_isa isa, enum mr_precision precision, const enum mr_dtype part_dtypes[3], int64_t k, bool head)
{
    enum { ROWS = 200, N0 = 70, N1 = 33, N2 = 64, N = N0 + N1 + N2 };
    struct mr_weight_part parts[3] = {{.dtype = part_dtypes[0], .data = case_weights(part_dtypes[0], N0, k), .rows = N0},
                                      {.dtype = part_dtypes[1], .data = case_weights(part_dtypes[1], N1, k), .rows = N1},
                                      {.dtype = part_dtypes[2], .data = case_weights(part_dtypes[2], N2, k), .rows = N2}};
    float *in = case_floats((size_t)(ROWS * k), -2, 2), *bias = case_floats(N, -1, 1), *first = case_poison(ROWS * N), *out = case_poison(ROWS * N);
    for (int threads = 1; threads <= 3; threads++) {
        struct mr_device *device = case_device(isa, threads, precision, ROWS_MAX);
        struct mr_weight *weight = NULL;
        EXPECT_EQ(mr_ops_cpu()->weight_open(device, parts, 3, k, &weight, NULL), MR_OK);
        if (threads == 1) {
            multiply(device, weight, in, ROWS, head, bias, first, N);
            check_product(parts, 3, k, in, ROWS, bias, first, N, precision == MR_EXACT ? 2e-6 : 2e-2);
        }
        static const int32_t chunks[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 64, 193, 200};
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            for (int32_t r = 0; r < ROWS; r += chunks[c]) {
                int32_t rows = ROWS - r < chunks[c] ? ROWS - r : chunks[c];
                multiply(device, weight, in + r * k, rows, head, bias, out + r * N, N);
            }
            EXPECT(memcmp(out, first, ROWS * N * sizeof *out) == 0);
        }
        mr_ops_cpu()->finish(device);
        mr_ops_cpu()->weight_close(device, weight);
        mr_ops_cpu()->close(device);
    }
    for (int i = 0; i < 3; i++)
        free((void *)parts[i].data);
    free(in), free(bias), free(first), free(out);
}

static void check_same_bits(enum mr_precision precision, const enum mr_dtype part_dtypes[3], int64_t k)
{
    EACH_FAST_PATH(isa) {
        check_same_bits_of(isa, precision, part_dtypes, k, false);
        if (precision == MR_FAST)
            check_same_bits_of(isa, precision, part_dtypes, k, true);
    }
}

TEST(exact_product_has_the_same_bits)
{
    check_same_bits(MR_EXACT, (const enum mr_dtype[]){MR_Q4_1, MR_Q4_0, MR_Q8_0}, 576);
    check_same_bits(MR_EXACT, (const enum mr_dtype[]){MR_Q4_K, MR_Q5_K, MR_Q6_K}, 512);
    check_same_bits(MR_EXACT, (const enum mr_dtype[]){MR_Q5_0, MR_F16, MR_Q5_1}, 160);
    check_same_bits(MR_EXACT, (const enum mr_dtype[]){MR_F32, MR_BF16, MR_F16}, 147);
}

TEST(plain_fast_product_is_near) { check_all_shapes(MR_CPU_PLAIN, MR_FAST, 8e-3); }
TEST(fast_product_is_near)
{
    EACH_FAST_PATH(isa)
        check_all_shapes(isa, MR_FAST, 8e-3);
}

TEST(fast_product_has_the_same_bits)
{
    check_same_bits(MR_FAST, (const enum mr_dtype[]){MR_Q4_1, MR_Q4_0, MR_Q8_0}, 576);
    check_same_bits(MR_FAST, (const enum mr_dtype[]){MR_Q4_K, MR_Q5_K, MR_Q6_K}, 512);
    check_same_bits(MR_FAST, (const enum mr_dtype[]){MR_Q5_0, MR_F16, MR_Q5_1}, 160);
    check_same_bits(MR_FAST, (const enum mr_dtype[]){MR_Q8_0, MR_Q6_K, MR_Q5_K}, 512); /* a head of 8-bit codes */
    check_same_bits(MR_FAST, (const enum mr_dtype[]){MR_F32, MR_BF16, MR_F16}, 147);
}

/* size: of the activations. */
static void check_paths_agree(enum mr_precision precision, bool head, float size)
{
    for (int t = 0; t < N_DTYPES; t++) {
        enum { ROWS = 9, N = 45, K = 768 };
        uint8_t *data = case_weights(dtypes[t], N, K);
        struct mr_weight_part part = {.dtype = dtypes[t], .data = data, .rows = N};
        float *in = case_floats(ROWS * K, -size, size), *bias = case_floats(N, -size, size), *out[MR_CPU_ISAS] = {NULL};
        EACH_PATH(isa) {
            struct mr_device *device = case_device(isa, 1, precision, ROWS_MAX);
            struct mr_weight *weight = NULL;
            out[isa] = case_poison(ROWS * N);
            EXPECT_EQ(mr_ops_cpu()->weight_open(device, &part, 1, K, &weight, NULL), MR_OK);
            multiply(device, weight, in, ROWS, head, bias, out[isa], N);
            mr_ops_cpu()->weight_close(device, weight);
            mr_ops_cpu()->close(device);
        }
        EACH_PATH(isa) {
            EXPECT(memcmp(out[0], out[isa], ROWS * N * sizeof(float)) == 0);
            free(isa ? out[isa] : NULL);
        }
        free(data), free(in), free(bias), free(out[0]);
    }
}

TEST(exact_paths_agree_bit_for_bit)
{
    check_paths_agree(MR_EXACT, false, 1);
    check_paths_agree(MR_EXACT, false, 0x1p-40f); /* AVX2 multiplies codes as subnormal numbers, or x many times enlarged */
    check_paths_agree(MR_EXACT, false, 0x1p28f);
}
TEST(fast_paths_agree_bit_for_bit)
{
    check_paths_agree(MR_FAST, false, 1);
    check_paths_agree(MR_FAST, true, 1);
}

TEST(weights_out_of_limits_are_refused)
{
    struct mr_device *device = case_device(MR_CPU_ISAS - 1, 1, MR_EXACT, 1);
    uint8_t byte = 0;
    struct mr_weight_part part = {.dtype = MR_Q4_1, .data = &byte, .rows = 1}, float8 = {.dtype = MR_E4M3, .data = &byte, .rows = 1}, many[9] = {part};
    struct mr_weight *weight = NULL;
    EXPECT_EQ(mr_ops_cpu()->weight_open(device, &part, 1, 33, &weight, NULL), MR_ERR_UNSUPPORTED);
    EXPECT_EQ(mr_ops_cpu()->weight_open(device, &float8, 1, 32, &weight, NULL), MR_ERR_UNSUPPORTED);
    EXPECT_EQ(mr_ops_cpu()->weight_open(device, many, 9, 32, &weight, NULL), MR_ERR_LIMIT);
    EXPECT(weight == NULL);
    mr_ops_cpu()->close(device);
}

TEST_MAIN(TEST_CASE(plain_product_is_right), TEST_CASE(exact_product_is_right), TEST_CASE(exact_product_has_the_same_bits),
          TEST_CASE(exact_paths_agree_bit_for_bit), TEST_CASE(plain_fast_product_is_near), TEST_CASE(fast_product_is_near),
          TEST_CASE(fast_product_has_the_same_bits), TEST_CASE(fast_paths_agree_bit_for_bit), TEST_CASE(weights_out_of_limits_are_refused))
