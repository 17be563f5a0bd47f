#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

TEST(wanted_rows_are_copied_in_order)
{
    enum { M = 9, N = 37 };
    struct mr_device *device = case_device(MR_CPU_ISAS - 1, 2, MR_EXACT, M);
    float *in = case_floats(M * N, -1, 1), *out = case_poison(4 * N);
    static const int32_t rows[3] = {0, 4, 8};
    struct mr_batch batch = {.n_tokens = M, .n_seqs = 1, .n_logits = 3, .logit_rows = rows};
    struct mr_gather_params params = {.in = in, .out = out, .n = N};
    EXPECT_EQ(mr_ops_cpu()->begin(device, &batch), MR_OK);
    EXPECT_EQ(mr_ops_cpu()->gather(device, &params), MR_OK);
    for (int r = 0; r < 3; r++)
        EXPECT(memcmp(out + r * N, in + rows[r] * N, N * sizeof *in) == 0);
    EXPECT(isnan(out[3 * N]));
    mr_ops_cpu()->close(device);
    free(in), free(out);
}

TEST_MAIN(TEST_CASE(wanted_rows_are_copied_in_order))
