#include "tests/kernels/kernel_case.h"
#include "tests/test.h"

TEST(a_step_has_limits)
{
    const struct mr_ops *ops = mr_ops_cpu();
    struct mr_device_options options = {.threads = 1, .max_tokens = 4, .max_seqs = 2, .max_blocks = 1, .max_row_elements = 64};
    struct mr_device *device = NULL;
    REQUIRE(ops->open(&options, &device, NULL) == MR_OK);
    struct mr_batch batch = {.n_tokens = 4, .n_seqs = 2, .n_logits = 4};
    EXPECT_EQ(ops->begin(device, &batch), MR_OK);
    batch.n_tokens = 5;
    EXPECT_EQ(ops->begin(device, &batch), MR_ERR_LIMIT);
    batch.n_tokens = 4, batch.n_seqs = 3;
    EXPECT_EQ(ops->begin(device, &batch), MR_ERR_LIMIT);
    batch.n_seqs = 2, batch.n_logits = 5;
    EXPECT_EQ(ops->begin(device, &batch), MR_ERR_LIMIT);
    batch.n_logits = 0, batch.n_tokens = 0;
    EXPECT_EQ(ops->begin(device, &batch), MR_ERR_LIMIT);
    ops->close(device);
    options.max_tokens = 0;
    EXPECT_EQ(ops->open(&options, &device, NULL), MR_ERR_INVALID);
    ops->close(NULL);
}

TEST(the_path_names_the_order_of_sums)
{
    for (int precision = MR_EXACT; precision <= MR_FAST; precision++) {
        EACH_PATH(isa) {
            char name[32];
            snprintf(name, sizeof name, precision == MR_EXACT ? "cpu-exact-%s-2" : "cpu-fast-%s-3", mr_cpu_path(isa)->isa);
            struct mr_device *device = case_device(isa, 1, (enum mr_precision)precision, 1);
            EXPECT_STR(mr_ops_cpu()->path(device), name);
            mr_ops_cpu()->close(device);
        }
    }
}

TEST(memory_is_aligned_and_copied)
{
    struct mr_device *device = case_device(MR_CPU_ISAS - 1, 1, MR_EXACT, 1);
    float values[3] = {1, 2, 3}, *copy = mr_ops_cpu()->upload_f32(device, values, 3);
    REQUIRE(copy);
    EXPECT((uintptr_t)copy % 64 == 0 && memcmp(copy, values, sizeof values) == 0);
    mr_ops_cpu()->release(device, copy);
    EXPECT(mr_ops_cpu()->alloc(device, SIZE_MAX) == NULL);
    EXPECT(mr_ops_cpu()->upload_f32(device, values, SIZE_MAX) == NULL);
    mr_ops_cpu()->close(device);
}

TEST_MAIN(TEST_CASE(a_step_has_limits), TEST_CASE(the_path_names_the_order_of_sums), TEST_CASE(memory_is_aligned_and_copied))
