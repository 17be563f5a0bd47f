#include "tests/test.h"

#include "kernels/quant.h"
#include "worker/model/format_gguf.h"
#include "worker/model/gguf_write.h"
#include "worker/model/shape.h"

#include <math.h>
#include <unistd.h>

static char path[64];
static const char *fresh(void)
{
    snprintf(path, sizeof path, "/tmp/mr_gguf_write_%d", (int)getpid());
    unlink(path);
    return path;
}

/* As written: each tensor's bytes, and the shape. */
TEST(a_file_is_the_model)
{
    struct mr_synthetic *model = NULL;
    struct mr_gguf *gguf = NULL;
    struct mr_shape shape;
    struct mr_err err = {0};
    REQUIRE(mr_synthetic_open("tiny", 7, &model, &err) == MR_OK);
    REQUIRE(mr_gguf_write(fresh(), model, false, &err) == MR_OK);
    REQUIRE(mr_gguf_open(path, &gguf, &err) == MR_OK);
    EXPECT_EQ(gguf->n_tensors, model->table.n);
    for (size_t i = 0; i < gguf->n_tensors && i < model->table.n; i++) {
        const struct mr_tensor *read = &gguf->tensors[i], *own = &model->table.tensors[i];
        EXPECT(mr_str_equal(read->name, own->name) && read->dtype == own->dtype && read->bytes == own->bytes);
        EXPECT(memcmp(read->data, own->data, own->bytes) == 0);
    }
    EXPECT_EQ(mr_shape_from_gguf(gguf, &shape, &err), MR_OK);
    EXPECT(shape.n_layers == model->shape.n_layers && shape.head_dim == model->shape.head_dim && shape.context == model->shape.context &&
           shape.rope_base == model->shape.rope_base && shape.tied_head == model->shape.tied_head);
    mr_gguf_close(gguf);
    EXPECT_EQ(mr_gguf_write(path, model, false, &err), MR_ERR_INVALID); /* nothing is overwritten */
    unlink(path);
    mr_synthetic_close(model);
}

TEST(matrices_in_bf16)
{
    struct mr_synthetic *model = NULL;
    struct mr_gguf *gguf = NULL;
    struct mr_err err = {0};
    REQUIRE(mr_synthetic_open("tiny", 7, &model, &err) == MR_OK);
    REQUIRE(mr_gguf_write(fresh(), model, true, &err) == MR_OK);
    REQUIRE(mr_gguf_open(path, &gguf, &err) == MR_OK);
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const struct mr_tensor *read = &gguf->tensors[i], *own = &model->table.tensors[i];
        const float *values = own->data;
        const uint16_t *rounded = read->data;
        EXPECT_EQ(read->dtype, own->dims[1] > 1 ? MR_BF16 : MR_F32);
        for (int64_t k = 0; read->dtype == MR_BF16 && k < own->dims[0] * own->dims[1]; k++)
            EXPECT_NEAR(mr_bf16_to_f32(rounded[k]), values[k], fabs((double)values[k]) / 256);
    }
    mr_gguf_close(gguf);
    unlink(path);
    mr_synthetic_close(model);
}

TEST(a_disk_that_is_full)
{
    struct mr_synthetic *model = NULL;
    struct mr_err err = {0};
    REQUIRE(mr_synthetic_open("tiny", 7, &model, &err) == MR_OK);
    EXPECT_EQ(mr_gguf_write("/nowhere/model.gguf", model, true, &err), MR_ERR_IO);
    mr_synthetic_close(model);
}

TEST_MAIN(TEST_CASE(a_file_is_the_model), TEST_CASE(matrices_in_bf16), TEST_CASE(a_disk_that_is_full))
