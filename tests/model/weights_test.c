#define _GNU_SOURCE /* memmem */
#include "worker/model/weights.h"

#include "base/check.h"
#include "tests/test.h"
#include "worker/model/synthetic.h"

enum { TENSORS_MAX = 32 };

/* tiny's table, to spoil; device and weights opened and closed round each try. */
struct bench {
    struct mr_synthetic *synthetic;
    struct mr_device *device;
    struct mr_tensor tensors[TENSORS_MAX];
    struct mr_tensor_table table;
    struct mr_shape shape;
};

static void bench_open(struct bench *b)
{
    struct mr_device_options options = {.threads = 1, .max_tokens = 1, .max_seqs = 1, .max_blocks = 1, .max_row_elements = 256};
    struct mr_err err;
    CHECK(mr_synthetic_open("tiny", 1, &b->synthetic, &err) == MR_OK && b->synthetic->table.n < TENSORS_MAX);
    CHECK(mr_ops_cpu()->open(&options, &b->device, &err) == MR_OK);
    memcpy(b->tensors, b->synthetic->tensors, b->synthetic->table.n * sizeof *b->tensors);
    b->table = (struct mr_tensor_table){b->tensors, b->synthetic->table.n};
    b->shape = b->synthetic->shape;
}

static void bench_close(struct bench *b)
{
    mr_ops_cpu()->close(b->device);
    mr_synthetic_close(b->synthetic);
}

static enum mr_status try_open(struct bench *b, struct mr_err *err)
{
    struct mr_weights *weights;
    enum mr_status status = mr_weights_open(&b->table, &b->shape, mr_ops_cpu(), b->device, &weights, err);
    EXPECT((status == MR_OK) == (weights != NULL));
    if (weights) {
        EXPECT(weights->layers[1].qkv && weights->layers[1].gate_up && weights->head != weights->embed);
        EXPECT_EQ(weights->stored_bytes, 558336);
    }
    mr_weights_close(weights);
    return status;
}

static struct mr_tensor *find(struct bench *b, const char *name)
{
    const struct mr_tensor *t = mr_tensor_find(&b->table, name);
    CHECK(t);
    return &b->tensors[t - b->tensors];
}

TEST(whole)
{
    struct bench b;
    struct mr_err err = {0};
    bench_open(&b);
    EXPECT_EQ(try_open(&b, &err), MR_OK);
    bench_close(&b);
}

/* Every tensor, one after another: missing, then of another size. Each error names it. */
TEST(missing_and_misshapen_tensors_are_named)
{
    struct bench b;
    struct mr_err err = {0};
    bench_open(&b);
    for (size_t i = 0; i < b.table.n; i++) {
        struct mr_tensor saved = b.tensors[i];
        b.tensors[i].name = MR_STR("elsewhere");
        EXPECT(try_open(&b, &err) == MR_ERR_INVALID && memmem(err.text, strlen(err.text), saved.name.p, saved.name.n));
        b.tensors[i] = saved;
        b.tensors[i].dims[0] *= 2;
        EXPECT(try_open(&b, &err) == MR_ERR_INVALID && memmem(err.text, strlen(err.text), saved.name.p, saved.name.n));
        b.tensors[i] = saved;
        b.tensors[i].dims[2] = 2;
        EXPECT_EQ(try_open(&b, &err), MR_ERR_INVALID);
        b.tensors[i] = saved;
    }
    bench_close(&b);
}

TEST(a_tensor_without_a_place_is_refused)
{
    struct bench b;
    struct mr_err err = {0};
    bench_open(&b);
    b.tensors[b.table.n] = *find(&b, "output_norm.weight");
    b.tensors[b.table.n++].name = MR_STR("blk.0.attn_output.bias");
    EXPECT_EQ(try_open(&b, &err), MR_ERR_UNSUPPORTED);
    EXPECT(strstr(err.text, "blk.0.attn_output.bias"));
    bench_close(&b);
}

TEST(a_quantised_vector_is_refused)
{
    struct bench b;
    struct mr_err err = {0};
    bench_open(&b);
    find(&b, "blk.1.ffn_norm.weight")->dtype = MR_Q8_0;
    EXPECT_EQ(try_open(&b, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "blk.1.ffn_norm.weight"));
    bench_close(&b);
}

TEST_MAIN(TEST_CASE(whole), TEST_CASE(missing_and_misshapen_tensors_are_named), TEST_CASE(a_tensor_without_a_place_is_refused),
          TEST_CASE(a_quantised_vector_is_refused))
