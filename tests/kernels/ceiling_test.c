#include "kernels/ceiling.h"
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

TEST_MAIN(TEST_CASE(ceilings_are_of_this_world))
