#include "kernels/ceiling.h"
#include "kernels/cpu/ceiling_avx2.h"
#include "kernels/cpu/device.h"
#include "tests/test.h"

TEST(ceilings_are_of_this_world)
{
    double read = mr_ceiling_read_gbs(1);
    EXPECT(read > 0.05 && read < 5000);
    double fma = mr_ceiling_fma_gflops(1), int8 = mr_ceiling_int8_gops(1);
    if (mr_cpu_isa_best() == MR_CPU_PLAIN) {
        EXPECT(fma == 0 && int8 == 0);
        return;
    }
    EXPECT(fma > 1 && fma < 400); /* one core, two pipes of eight lanes, below 12 GHz */
    EXPECT(int8 > 1 && int8 < 1600);
    EXPECT(mr_ceiling_fma_gflops(-1) == 0 && mr_ceiling_read_gbs(-1) == 0);
}

TEST(the_loops_do_their_work) /* what they return depends on every byte and round */
{
    static _Alignas(64) uint8_t bytes[1024];
    if (mr_cpu_isa_best() == MR_CPU_PLAIN)
        return;
    EXPECT_EQ(mr_ceiling_read_avx2(bytes, sizeof bytes), 0);
    bytes[1023] = 0x80;
    EXPECT_EQ((uint32_t)mr_ceiling_read_avx2(bytes, sizeof bytes), 0x80000000u); /* the sign bits of the 32 byte lanes */
    bytes[1023 - 32 * 4] = 0x80;
    EXPECT_EQ(mr_ceiling_read_avx2(bytes, sizeof bytes), 0);
    EXPECT(mr_ceiling_fma_avx2(0) == 45); /* ten chains from 0 .. 9 */
    EXPECT_NEAR(mr_ceiling_fma_avx2(1), 45 * 0.999 + 10 * 0.001, 1e-4);
    EXPECT_EQ(mr_ceiling_int8_avx2(0), 0);
}

TEST_MAIN(TEST_CASE(the_loops_do_their_work), TEST_CASE(ceilings_are_of_this_world))
