#include "worker/cli/bench.h"

#include "adapters/codec/codec.h"
#include "tests/test.h"

#include <stdlib.h>
#include <unistd.h>

/* Runs it over a text and gives one number of its JSON; NAN: it failed. */
static double quality(const char *content, char *window, const char *key, int *code)
{
    char in_path[] = "/tmp/mr_quality_in_XXXXXX", out_path[] = "/tmp/mr_quality_out_XXXXXX", line[4096];
    int in = mkstemp(in_path), to = mkstemp(out_path), saved = dup(STDOUT_FILENO);
    char *argv[] = {"bench quality", "--model", "synthetic:tiny", "--threads", "1", "--window", window, "--set", "engine.device=cpu", in_path, NULL};
    struct mr_cli cli = {.json = true};
    struct mr_arena arena;
    struct mr_value root;
    struct mr_err err = {0};
    double x = NAN;
    EXPECT(write(in, content, strlen(content)) == (ssize_t)strlen(content));
    fflush(stdout);
    dup2(to, STDOUT_FILENO);
    *code = mr_bench_quality(&cli, 10, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    ssize_t n = pread(to, line, sizeof line, 0);
    mr_arena_init(&arena, 0);
    if (n > 1 && mr_codec_json.decode((struct mr_str){line, (size_t)n - 1}, NULL, &arena, &root, &err) == MR_CODEC_OK)
        mr_value_number(mr_value_get(&root, key), &x);
    mr_arena_fini(&arena);
    mr_cli_close(&cli);
    close(in), close(to);
    unlink(in_path), unlink(out_path);
    return x;
}

static const char text[] = "A short text of forty-odd bytes, a token each.";

TEST(counts)
{
    int code;
    EXPECT_NEAR(quality(text, "0", "tokens", &code), sizeof text - 1, 0);
    EXPECT_EQ(code, MR_EXIT_DONE);
    EXPECT_NEAR(quality(text, "0", "scored", &code), sizeof text - 2, 0);
    EXPECT_NEAR(quality(text, "20", "windows", &code), 3, 0);
    EXPECT_NEAR(quality(text, "20", "scored", &code), sizeof text - 1 - 3, 0); /* the first of each window is not */
}

/* A window that ends beyond the text changes nothing; a shorter one does. The number is exp of the mean. */
TEST(perplexity)
{
    int code;
    double whole = quality(text, "0", "perplexity", &code), mean = quality(text, "0", "mean_nll", &code);
    EXPECT(isfinite(whole) && whole > 1);
    EXPECT_NEAR(exp(mean) / whole, 1, 1e-9);
    EXPECT_NEAR(quality(text, "46", "perplexity", &code), whole, 0);
    EXPECT(quality(text, "20", "perplexity", &code) != whole);
}

TEST(too_short)
{
    int code;
    EXPECT(isnan(quality("x", "0", "perplexity", &code)));
    EXPECT_EQ(code, MR_EXIT_FAILED);
}

TEST_MAIN(TEST_CASE(counts), TEST_CASE(perplexity), TEST_CASE(too_short))
