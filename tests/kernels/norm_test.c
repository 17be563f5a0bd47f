#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

static void check_norm(enum mr_cpu_isa isa, int32_t rows, int32_t n, bool with_delta, bool with_out, float offset)
{
    struct mr_device *device = case_device(isa, 2, MR_EXACT, 256);
    size_t size = (size_t)(rows * n);
    float *before = case_floats(size, -3, 3), *residual = case_poison(size), *delta = case_floats(size, -1, 1), *gain = case_floats((size_t)n, 0, 2);
    float *out = case_poison(size);
    memcpy(residual, before, size * sizeof *before);
    struct mr_norm_params params = {.residual = residual, .delta = with_delta ? delta : NULL, .out = with_out ? out : NULL, .gain = gain,
                                    .gain_offset = offset, .epsilon = 1e-5f, .rows = rows, .n = n};
    EXPECT_EQ(mr_ops_cpu()->norm(device, &params), MR_OK);
    for (int32_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int32_t i = 0; i < n; i++) {
            float x = with_delta ? before[r * n + i] + delta[r * n + i] : before[r * n + i];
            if (residual[r * n + i] != x)
                EXPECT(residual[r * n + i] == x);
            sum += (double)x * x;
        }
        double scale = 1 / sqrt(sum / n + 1e-5), worst = 0;
        for (int32_t i = 0; with_out && i < n; i++) {
            double wanted = residual[r * n + i] * scale * (gain[i] + (double)offset);
            double error = fabs(out[r * n + i] - wanted) / (fabs(wanted) + 1e-6);
            worst = error <= worst ? worst : error;
        }
        EXPECT_NEAR(worst, 0, 1e-6);
    }
    if (!with_out)
        EXPECT(isnan(out[0]));
    mr_ops_cpu()->close(device);
    free(before), free(residual), free(delta), free(gain), free(out);
}

TEST(norm_is_right)
{
    static const int32_t sizes[] = {1, 7, 8, 31, 33, 64, 576, 577, 2048, 5000};
    EACH_PATH(isa) {
        for (int i = 0; i < 10; i++) {
            check_norm(isa, 1, sizes[i], true, true, 0);
            check_norm(isa, 33, sizes[i], false, true, 1);
            check_norm(isa, 5, sizes[i], true, false, 0);
        }
    }
}

TEST(norm_has_the_same_bits)
{
    enum { ROWS = 65, N = 579 };
    float *before = case_floats(ROWS * N, -3, 3), *gain = case_floats(N, 0, 2), *together = case_poison(ROWS * N), *alone = case_poison(ROWS * N);
    for (int threads = 1; threads <= 3; threads++) {
        struct mr_device *device = case_device(MR_CPU_ISAS - 1, threads, MR_EXACT, 256);
        struct mr_norm_params params = {.residual = before, .out = together, .gain = gain, .epsilon = 1e-5f, .rows = ROWS, .n = N};
        EXPECT_EQ(mr_ops_cpu()->norm(device, &params), MR_OK);
        for (int r = 0; r < ROWS; r++) {
            struct mr_norm_params one = {.residual = before + r * N, .out = alone + r * N, .gain = gain, .epsilon = 1e-5f, .rows = 1, .n = N};
            EXPECT_EQ(mr_ops_cpu()->norm(device, &one), MR_OK);
        }
        EXPECT(memcmp(together, alone, ROWS * N * sizeof(float)) == 0);
        mr_ops_cpu()->close(device);
    }
    free(before), free(gain), free(together), free(alone);
}

TEST_MAIN(TEST_CASE(norm_is_right), TEST_CASE(norm_has_the_same_bits))
