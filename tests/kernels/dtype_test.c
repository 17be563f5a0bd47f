#include "kernels/dtype.h"
#include "tests/test.h"

TEST(sizes_are_those_of_gguf)
{
    static const struct {
        enum mr_dtype dtype;
        const char *name;
        int elements, bytes;
    } known[] = {{MR_F32, "f32", 1, 4},     {MR_F16, "f16", 1, 2},      {MR_BF16, "bf16", 1, 2},    {MR_Q4_0, "q4_0", 32, 18},
                 {MR_Q4_1, "q4_1", 32, 20}, {MR_Q5_0, "q5_0", 32, 22},  {MR_Q5_1, "q5_1", 32, 24},  {MR_Q8_0, "q8_0", 32, 34},
                 {MR_Q4_K, "q4_k", 256, 144}, {MR_Q5_K, "q5_k", 256, 176}, {MR_Q6_K, "q6_k", 256, 210}, {MR_E4M3, "e4m3", 1, 1}};
    EXPECT_EQ(sizeof known / sizeof *known, MR_DTYPE_COUNT);
    for (int i = 0; i < MR_DTYPE_COUNT; i++) {
        EXPECT_STR(mr_dtype_name(known[i].dtype), known[i].name);
        EXPECT_EQ(mr_dtype_block_elements(known[i].dtype), known[i].elements);
        EXPECT_EQ(mr_dtype_block_bytes(known[i].dtype), known[i].bytes);
    }
    EXPECT_STR(mr_dtype_name((enum mr_dtype)99), "unknown");
}

TEST(row_bytes_has_limits)
{
    EXPECT_EQ(mr_dtype_row_bytes(MR_Q4_1, 576), 360);
    EXPECT_EQ(mr_dtype_row_bytes(MR_Q4_1, 0), 0);
    EXPECT_EQ(mr_dtype_row_bytes(MR_Q4_1, 577), -1);
    EXPECT_EQ(mr_dtype_row_bytes(MR_Q4_K, 576), -1);
    EXPECT_EQ(mr_dtype_row_bytes(MR_F32, -4), -1);
    EXPECT_EQ(mr_dtype_row_bytes(MR_F32, INT64_MAX / 4), INT64_MAX / 4 * 4);
    EXPECT_EQ(mr_dtype_row_bytes(MR_F32, INT64_MAX / 4 + 1), -1);
}

TEST_MAIN(TEST_CASE(sizes_are_those_of_gguf), TEST_CASE(row_bytes_has_limits))
