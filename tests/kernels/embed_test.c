#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

TEST(rows_are_looked_up_and_scaled)
{
    enum { K = 96, N0 = 7, N1 = 5 };
    EACH_PATH(isa) {
        struct mr_device *device = case_device(isa, 1, MR_EXACT, 8);
        uint8_t *first = case_weights(MR_Q4_1, N0, K), *second = case_weights(MR_F16, N1, K);
        struct mr_weight_part parts[2] = {{.dtype = MR_Q4_1, .data = first, .rows = N0}, {.dtype = MR_F16, .data = second, .rows = N1}};
        struct mr_weight *weight = NULL;
        REQUIRE(mr_ops_cpu()->weight_open(device, parts, 2, K, &weight, NULL) == MR_OK);
        int32_t ids[4] = {6, 7, 0, 11};
        struct mr_batch batch = {.n_tokens = 4, .n_seqs = 1, .ids = ids};
        float out[4 * K], wanted[K];
        for (float scale = 1; scale < 4; scale += 2) {
            struct mr_embed_params params = {.table = weight, .out = out, .scale = scale};
            EXPECT_EQ(mr_ops_cpu()->begin(device, &batch), MR_OK);
            EXPECT_EQ(mr_ops_cpu()->embed(device, &params), MR_OK);
            for (int r = 0; r < 4; r++) {
                mr_quant_row(ids[r] < N0 ? MR_Q4_1 : MR_F16, ids[r] < N0 ? first + ids[r] * 60 : second + (ids[r] - N0) * 2 * K, wanted, K);
                for (int i = 0; i < K; i++)
                    EXPECT(out[r * K + i] == wanted[i] * scale);
            }
        }
        struct mr_embed_params params = {.table = weight, .out = out, .scale = 1};
        ids[2] = 12;
        EXPECT_EQ(mr_ops_cpu()->embed(device, &params), MR_ERR_INVALID);
        ids[2] = -1;
        EXPECT_EQ(mr_ops_cpu()->embed(device, &params), MR_ERR_INVALID);
        mr_ops_cpu()->weight_close(device, weight);
        mr_ops_cpu()->close(device);
        free(first), free(second);
    }
}

TEST_MAIN(TEST_CASE(rows_are_looked_up_and_scaled))
