#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

static double activated(enum mr_activation activation, double x)
{
    switch (activation) {
    case MR_SILU:
        return x / (1 + exp(-x));
    case MR_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case MR_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    default:
        return x > 0 ? x : 0;
    }
}

static void check_glu(enum mr_cpu_isa isa, enum mr_activation activation, int32_t rows, int32_t n, float range)
{
    struct mr_device *device = case_device(isa, 2, MR_EXACT, 256);
    float *in = case_floats((size_t)(2 * rows * n), -range, range), *out = case_poison((size_t)(rows * n + 1)), *alone = case_poison((size_t)n);
    struct mr_glu_params params = {.in = in, .out = out, .rows = rows, .n = n, .activation = activation};
    EXPECT_EQ(mr_ops_cpu()->glu(device, &params), MR_OK);
    double worst = 0;
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < n; i++) {
            double gate = in[2 * r * n + i], up = in[2 * r * n + n + i], wanted = activated(activation, gate) * up;
            double error = fabs(out[r * n + i] - wanted) / (fabs(gate * up) + 1e-6);
            worst = error <= worst ? worst : error;
        }
        params = (struct mr_glu_params){.in = in + 2 * r * n, .out = alone, .rows = 1, .n = n, .activation = activation};
        EXPECT_EQ(mr_ops_cpu()->glu(device, &params), MR_OK);
        EXPECT(memcmp(alone, out + r * n, (size_t)n * sizeof *out) == 0);
    }
    EXPECT_NEAR(worst, 0, 1e-6);
    EXPECT(isnan(out[rows * n]));
    mr_ops_cpu()->close(device);
    free(in), free(out), free(alone);
}

TEST(glu_is_right)
{
    static const int32_t sizes[] = {1, 5, 8, 33, 1536, 4099};
    EACH_PATH(isa) {
        for (int a = MR_SILU; a <= MR_RELU; a++) {
            for (int i = 0; i < 6; i++) {
                check_glu(isa, (enum mr_activation)a, 1, sizes[i], 5);
                check_glu(isa, (enum mr_activation)a, 17, sizes[i], 200); /* past every overflow of exp */
            }
        }
    }
    struct mr_device *device = case_device(MR_CPU_ISAS - 1, 1, MR_EXACT, 1);
    struct mr_glu_params params = {.rows = 1, .n = 1, .activation = (enum mr_activation)9};
    EXPECT_EQ(mr_ops_cpu()->glu(device, &params), MR_ERR_UNSUPPORTED);
    mr_ops_cpu()->close(device);
}

TEST_MAIN(TEST_CASE(glu_is_right))
