#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

#include <ctype.h>

TEST(blocks_are_those_of_the_reference)
{
    FILE *file = fopen(TEST_SOURCE_DIR "/tests/golden/quant/blocks.bin", "rb");
    REQUIRE(file);
    char name[8];
    int formats = 0;
    while (fread(name, 1, sizeof name, file) == sizeof name) {
        uint32_t sizes[2];
        uint8_t blocks[3 * 256];
        float values[3 * 256], got[3 * 256];
        REQUIRE(fread(sizes, 4, 2, file) == 2 && sizes[0] <= sizeof blocks && sizes[1] <= 3 * 256);
        REQUIRE(fread(blocks, 1, sizes[0], file) == sizes[0] && fread(values, 4, sizes[1], file) == sizes[1]);
        enum mr_dtype dtype = MR_DTYPE_COUNT;
        for (int i = 0; i < 8; i++)
            name[i] = (char)tolower(name[i]);
        for (int i = MR_Q4_0; i <= MR_Q6_K; i++)
            dtype = strncmp(mr_dtype_name((enum mr_dtype)i), name, 8) == 0 ? (enum mr_dtype)i : dtype;
        REQUIRE(dtype != MR_DTYPE_COUNT);
        EXPECT_EQ(mr_dtype_row_bytes(dtype, sizes[1]), sizes[0]);
        mr_quant_row(dtype, blocks, got, sizes[1]);
        for (uint32_t i = 0; i < sizes[1]; i++)
            if (got[i] != values[i])
                EXPECT_NEAR(got[i], values[i], 0);
        formats++;
    }
    EXPECT_EQ(formats, 8);
    fclose(file);
}

/* Half floats by arithmetic. */
static double half_value(uint16_t half)
{
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

TEST(every_half_becomes_its_float_and_comes_back)
{
    for (uint32_t half = 0; half < 65536; half++) {
        float value = mr_f16_to_f32((uint16_t)half);
        if ((half >> 10 & 31) == 31) {
            EXPECT((half & 1023) ? isnan(value) : isinf(value) && (value < 0) == (half >> 15));
            EXPECT((half & 1023) ? isnan(mr_f16_to_f32(mr_f32_to_f16(value))) : mr_f32_to_f16(value) == half);
        } else {
            if (value != half_value((uint16_t)half) || mr_f32_to_f16(value) != half)
                EXPECT_EQ(mr_f32_to_f16(value), half);
        }
    }
}

TEST(floats_round_to_the_nearest_half)
{
    for (int i = 0; i < 200000; i++) {
        float x = ldexpf(case_uniform(-2, 2), (int)(case_random() % 42) - 26);
        uint16_t half = mr_f32_to_f16(x);
        if (fabsf(x) >= 65520) {
            EXPECT_EQ(half & 0x7fff, 0x7c00);
            continue;
        }
        double error = fabs(half_value(half) - x);
        uint16_t up = (uint16_t)(half + 1), down = (uint16_t)(half - 1);
        bool has_down = (half & 0x7fff) != 0, has_up = (up & 0x7fff) < 0x7c00;
        if ((has_up && fabs(half_value(up) - x) < error) || (has_down && fabs(half_value(down) - x) < error))
            EXPECT_NEAR(half_value(half), x, 0);
        if (has_up && fabs(half_value(up) - x) == error) /* a tie goes to the even one */
            EXPECT_EQ(half & 1, 0);
    }
    EXPECT_EQ(mr_f32_to_f16(65519.99f), 0x7bff);
    EXPECT_EQ(mr_f32_to_f16(65520.0f), 0x7c00);
    EXPECT_EQ(mr_f32_to_f16(-0.0f), 0x8000);
    EXPECT_EQ(mr_f32_to_f16(0x1p-25f), 0);
    EXPECT_EQ(mr_f32_to_f16(0x1.000002p-25f), 1);
}

TEST(plain_rows)
{
    const float values[4] = {1.5f, -0.0f, 3e38f, -2e-40f};
    const uint16_t brains[3] = {0x3fc0, 0xbf80, 0x7f80};
    float out[4];
    mr_quant_row(MR_F32, values, out, 4);
    EXPECT(memcmp(values, out, sizeof out) == 0);
    mr_quant_row(MR_BF16, brains, out, 3);
    EXPECT(out[0] == 1.5f && out[1] == -1.0f && isinf(out[2]));
}

TEST_MAIN(TEST_CASE(blocks_are_those_of_the_reference), TEST_CASE(every_half_becomes_its_float_and_comes_back),
          TEST_CASE(floats_round_to_the_nearest_half), TEST_CASE(plain_rows))
