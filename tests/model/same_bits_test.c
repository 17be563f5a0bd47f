/* Same bits on the CPU's two paths: on synthetic:tiny always; on the model of MILLRACE_TEST_MODEL too when it is set. */
#include "tests/model/same_bits_run.h"

static void run_all(const char *source, enum mr_precision precision, int32_t sequences, int32_t longest)
{
    struct driver_kind kind = {mr_ops_cpu(), precision, MR_F32, precision == MR_EXACT ? MR_F32 : MR_F16};
    EXPECT_EQ(same_bits_run(&kind, source, sequences, longest), 0);
}

TEST(tiny_exact) { run_all("synthetic:tiny", MR_EXACT, SEQUENCES, LONGEST); }
TEST(tiny_fast) { run_all("synthetic:tiny", MR_FAST, SEQUENCES, LONGEST); }

TEST(real_exact)
{
    const char *path = getenv("MILLRACE_TEST_MODEL");
    if (path && *path)
        run_all(path, MR_EXACT, SEQUENCES, 8);
    else
        printf("skipped: MILLRACE_TEST_MODEL is not set\n");
}

TEST(real_fast)
{
    const char *path = getenv("MILLRACE_TEST_MODEL");
    if (path && *path)
        run_all(path, MR_FAST, SEQUENCES, 8);
    else
        printf("skipped: MILLRACE_TEST_MODEL is not set\n");
}

TEST_MAIN(TEST_CASE(tiny_exact), TEST_CASE(tiny_fast), TEST_CASE(real_exact), TEST_CASE(real_fast))
