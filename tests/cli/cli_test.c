#include "tests/test.h"
#include "worker/cli/cli.h"
#include "worker/options.h"

/* The frame with no verb linked in: exit codes, options by flags. */

static int run(const char *a, const char *b)
{
    static const struct mr_outside outside;
    char *argv[] = {"millrace", (char *)a, (char *)b, NULL};
    return mr_cli_main(&outside, b ? 3 : a ? 2 : 1, argv);
}

TEST(exit_codes)
{
    EXPECT_EQ(run(NULL, NULL), MR_EXIT_USAGE);
    EXPECT_EQ(run("no-such-verb", NULL), MR_EXIT_USAGE);
    EXPECT_EQ(run("--help", NULL), MR_EXIT_DONE);
    EXPECT_EQ(run("--version", NULL), MR_EXIT_DONE);
    EXPECT_EQ(run("--manual", NULL), MR_EXIT_DONE);
    EXPECT_EQ(run("--manual", "no-such-page"), MR_EXIT_USAGE);
}

TEST(options_from_flags)
{
    struct mr_cli cli = {0};
    EXPECT(mr_cli_set(&cli, "engine.threads", "3"));
    EXPECT(mr_cli_set(&cli, "kv.memory", "2GiB"));
    const struct mr_options *options = mr_cli_options(&cli);
    REQUIRE(options);
    EXPECT_EQ(options->engine.threads, 3);
    EXPECT_EQ(options->kv.memory_bytes, 2ll << 30);
    EXPECT(mr_cli_options(&cli) == options); /* read once */
    mr_cli_close(&cli);
    struct mr_cli wrong = {0};
    EXPECT(mr_cli_set(&wrong, "engine.thread", "3"));
    EXPECT(mr_cli_options(&wrong) == NULL);
    mr_cli_close(&wrong);
    struct mr_cli no_file = {.config_file = "/no/such/file"};
    EXPECT(mr_cli_options(&no_file) == NULL);
    mr_cli_close(&no_file);
}

TEST(what_a_build_lacks)
{
    EXPECT(!mr_cli_has(NULL, "Kafka"));
    EXPECT(mr_cli_has("x", "Kafka"));
}

TEST_MAIN(TEST_CASE(exit_codes), TEST_CASE(options_from_flags), TEST_CASE(what_a_build_lacks))
