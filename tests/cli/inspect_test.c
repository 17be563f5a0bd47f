#include "worker/cli/cli.h"

#include "adapters/codec/codec.h"
#include "tests/model/gguf_build.h"
#include "tests/test.h"

#include <stdlib.h>
#include <unistd.h>

int mr_verb_inspect(struct mr_cli *cli, int argc, char **argv);

static char text[1 << 16]; /* of standard output */

static int inspect(bool json, char *a, char *b)
{
    char path[] = "/tmp/mr_inspect_XXXXXX";
    char *argv[] = {"inspect", a, b, NULL};
    struct mr_cli cli = {.json = json};
    int to = mkstemp(path), saved = dup(STDOUT_FILENO);
    fflush(stdout);
    dup2(to, STDOUT_FILENO);
    int code = mr_verb_inspect(&cli, b ? 3 : 2, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    ssize_t n = pread(to, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    close(to);
    unlink(path);
    mr_cli_close(&cli);
    return code;
}

TEST(a_synthetic_shape_as_text)
{
    EXPECT_EQ(inspect(false, "synthetic:tiny", "--tensors"), MR_EXIT_DONE);
    EXPECT(strstr(text, "as llama: 2 layers, hidden 64"));
    EXPECT(strstr(text, "512 bytes a token exact"));
    EXPECT(strstr(text, "blk.1.ffn_down.weight"));
}

TEST(as_json)
{
    struct mr_arena arena;
    struct mr_value root;
    struct mr_err err = {0};
    mr_arena_init(&arena, 0);
    EXPECT_EQ(inspect(true, "synthetic:tiny", "--digest"), MR_EXIT_DONE);
    REQUIRE(mr_codec_json.decode((struct mr_str){text, strlen(text) - 1}, NULL, &arena, &root, &err) == MR_CODEC_OK);
    const struct mr_value *runs = mr_value_get(&root, "runs"), *shape = mr_value_get(&root, "shape"), *digest = mr_value_get(&root, "digest");
    REQUIRE(runs && shape && digest);
    EXPECT(runs->as.boolean);
    EXPECT_EQ(mr_value_get(shape, "vocabulary")->as.integer, 512);
    EXPECT_EQ(mr_value_get(shape, "kv_bytes_per_token_f32")->as.integer, 512);
    EXPECT_EQ(mr_value_get(&root, "parameters")->as.integer, 139584);
    EXPECT_EQ(digest->as.string.n, 64);
    mr_arena_fini(&arena);
}

/* A file that does not run still is explained, with the reason and exit code 1; hostile bytes do not reach the terminal. */
TEST(a_file_that_does_not_run)
{
    char path[] = "/tmp/mr_inspect_model_XXXXXX";
    struct mr_buf b = {0};
    build_header(&b, 1, 2);
    build_key_str(&b, "general.architecture", "mamba");
    build_key_str(&b, "general.\x1b[2J", "\x1b[31m");
    build_tensor(&b, "t", 32, 2, 2, 0);
    build_pad(&b, 32);
    build_zeros(&b, 36);
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n);
    close(fd);
    EXPECT_EQ(inspect(false, path, NULL), MR_EXIT_FAILED);
    EXPECT(strstr(text, "no: the model family \"mamba\""));
    EXPECT(strstr(text, "q4_0"));
    EXPECT(!strchr(text, 0x1b));
    EXPECT_EQ(inspect(true, path, NULL), MR_EXIT_FAILED);
    EXPECT(strstr(text, "\"runs\":false"));
    unlink(path);
    EXPECT_EQ(inspect(false, path, NULL), MR_EXIT_FAILED);
    mr_buf_fini(&b);
}

TEST_MAIN(TEST_CASE(a_synthetic_shape_as_text), TEST_CASE(as_json), TEST_CASE(a_file_that_does_not_run))
