#include "worker/model/model.h"

#include "tests/model/driver.h"
#include "tests/test.h"

static struct mr_device *device_open(void)
{
    struct mr_device_options options = {.threads = 1, .max_tokens = 4, .max_seqs = 1, .max_blocks = 1, .max_row_elements = 256};
    struct mr_device *device = NULL;
    struct mr_err err;
    CHECK(mr_ops_cpu()->open(&options, &device, &err) == MR_OK);
    return device;
}

static enum mr_status try_open(const char *source, uint64_t seed, char digest[65], struct mr_err *err)
{
    struct mr_device *device = device_open();
    struct mr_model *model;
    struct mr_model_options options = {.ops = mr_ops_cpu(), .device = device, .max_tokens = 4, .max_logits = 2, .seed = seed};
    enum mr_status status = mr_model_open(source, &options, &model, err);
    EXPECT((status == MR_OK) == (model != NULL));
    if (model)
        memcpy(digest, mr_model_digest(model), 65);
    mr_model_close(model);
    mr_ops_cpu()->close(device);
    return status;
}

TEST(synthetic)
{
    char one[65], again[65], two[65];
    struct mr_err err = {0};
    EXPECT_EQ(try_open("synthetic:tiny", 1, one, &err), MR_OK);
    EXPECT_EQ(try_open("synthetic:tiny", 1, again, &err), MR_OK);
    EXPECT_EQ(try_open("synthetic:tiny", 2, two, &err), MR_OK);
    EXPECT_STR(again, one);
    EXPECT(strcmp(two, one) != 0);
    EXPECT_EQ(strlen(one), 64);
}

TEST(sources_that_are_none)
{
    char digest[65];
    struct mr_err err = {0};
    EXPECT_EQ(try_open("synthetic:nothing", 1, digest, &err), MR_ERR_NOT_FOUND);
    EXPECT(strstr(err.text, "llama-3.1-8b"));
    EXPECT_EQ(try_open("/nowhere/model.gguf", 1, digest, &err), MR_ERR_IO);
    EXPECT(strstr(err.text, "/nowhere/model.gguf"));
}

TEST(accessors)
{
    struct driver d;
    REQUIRE(driver_open(&d, "synthetic:tiny", MR_EXACT, 1, 16, 4, 2));
    EXPECT_STR(mr_model_name(d.model), "synthetic:tiny");
    EXPECT(!mr_model_file(d.model));
    EXPECT_EQ(mr_model_shape(d.model)->vocabulary, 512);
    EXPECT_EQ(mr_model_weight_bytes(d.model), 558336);
    EXPECT(mr_model_device_bytes(d.model) > 2 * 2 * 512 * sizeof(float));
    EXPECT(mr_model_scratch(d.model) && (const float *)mr_model_scratch(d.model) != mr_model_logits(d.model));
    driver_close(&d);
}

TEST_MAIN(TEST_CASE(synthetic), TEST_CASE(sources_that_are_none), TEST_CASE(accessors))
