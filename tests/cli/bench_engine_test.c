#include "adapters/codec/codec.h"
#include "tests/test.h"
#include "worker/cli/bench.h"

#include <stdlib.h>
#include <unistd.h>

static int bench(int argc, char **argv, char *text, size_t size)
{
    char path[] = "/tmp/bench_test_XXXXXX";
    int to = mkstemp(path), saved = dup(STDOUT_FILENO);
    struct mr_cli cli = {0};
    fflush(stdout);
    dup2(to, STDOUT_FILENO);
    int code = mr_bench_engine(&cli, argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    ssize_t n = pread(to, text, size - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(saved);
    close(to);
    unlink(path);
    mr_cli_close(&cli);
    return code;
}

TEST(json_keys)
{
    char text[4096];
    char *argv[] = {"bench engine", "--model", "synthetic:tiny", "--device", "cpu", "--threads", "1", "--kv-memory", "16MiB",
                    "--jobs", "3", "--prompt-tokens", "20", "--output-tokens", "6", "--json"};
    EXPECT_EQ(bench(sizeof argv / sizeof *argv, argv, text, sizeof text), MR_EXIT_DONE);
    size_t n = strlen(text);
    REQUIRE(n > 0 && text[n - 1] == '\n' && strchr(text, '\n') == text + n - 1); /* one object, nothing else */
    struct mr_arena arena;
    struct mr_value row;
    mr_arena_init(&arena, 0);
    REQUIRE(mr_codec_json.decode((struct mr_str){text, n}, NULL, &arena, &row, NULL) == MR_CODEC_OK);
    static const char *const keys[] = {"prefill_tok_s", "decode_tok_s", "ttft_ms_p50", "ttft_ms_p99", "tpot_ms_p50", "tpot_ms_p99",
                                       "step_host_us_p50", "step_host_us_p99", "bandwidth_share", "flops_share", "prefill_flops_share",
                                       "limit_read_gb_s", "limit_multiply_gflop_s", "first_token_s"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double x = 0;
        if (!mr_value_number(mr_value_get(&row, keys[i]), &x) || x <= 0)
            EXPECT(!"a positive number"), printf("  %s\n", keys[i]);
    }
    EXPECT_EQ(mr_value_get(&row, "jobs")->as.integer, 3);
    EXPECT_EQ(mr_value_get(&row, "prompt_tokens")->as.integer, 20);
    EXPECT_EQ(mr_value_get(&row, "output_tokens")->as.integer, 6);
    EXPECT_EQ(mr_value_get(&row, "preemptions")->as.integer, 0);
    mr_arena_fini(&arena);
}

TEST(loads)
{
    char text[4096];
    char *offline[] = {"bench engine", "--model", "synthetic:tiny", "--device", "cpu", "--threads", "1", "--kv-memory", "16MiB", "--jobs", "40",
                       "--prompt-tokens", "20", "--output-tokens", "6", "--max-seqs", "8", "--offline", "--json"};
    EXPECT_EQ(bench(sizeof offline / sizeof *offline, offline, text, sizeof text), MR_EXIT_DONE);
    EXPECT(strstr(text, "{\"jobs\":40,\"prompt_tokens\":20,\"output_tokens\":6,\"arrivals_s\":0.000,") == text);
    char *at = strstr(text, "\"output_tok_s\":"), *seconds = strstr(text, "\"seconds\":");
    REQUIRE(at && seconds);
    EXPECT_NEAR(atof(at + 15) * atof(seconds + 10), 40 * 6, 40 * 6 * 0.1);
    char *arrivals[] = {"bench engine", "--model", "synthetic:tiny", "--device", "cpu", "--threads", "1", "--kv-memory", "16MiB", "--jobs", "20",
                        "--output-tokens", "2", "--arrivals", "100", "--set", "scheduler.calibrate=0", "--json"};
    EXPECT_EQ(bench(sizeof arrivals / sizeof *arrivals, arrivals, text, sizeof text), MR_EXIT_DONE);
    EXPECT((seconds = strstr(text, "\"seconds\":")) && atof(seconds + 10) > 0.05); /* the last arrives after some 0.2 s */
    char *steps[] = {"bench engine", "--model", "synthetic:tiny", "--device", "cpu", "--steps"};
    EXPECT_EQ(bench(sizeof steps / sizeof *steps, steps, text, sizeof text), MR_EXIT_FAILED); /* the CPU records none */
}

TEST(usage)
{
    char text[256];
    char *bad[] = {"bench engine", "--model", "synthetic:tiny", "--jobs", "5000"};
    EXPECT_EQ(bench(5, bad, text, sizeof text), MR_EXIT_USAGE);
    char *none[] = {"bench engine"};
    EXPECT_EQ(bench(1, none, text, sizeof text), MR_EXIT_FAILED);
    EXPECT_STR(text, "");
}

TEST_MAIN(TEST_CASE(json_keys), TEST_CASE(loads), TEST_CASE(usage))
