#include "tests/test.h"
#include "worker/cli/cli.h"

static bool quiet;
static int64_t jobs;
static double rate;
static const char *model;
static const struct mr_flag table[] = {
    {"quiet", NULL, "say nothing", MR_FLAG_BOOL, &quiet, NULL},
    {"jobs", "N", "how many", MR_FLAG_INT, &jobs, NULL},
    {"rate", "R", "how fast", MR_FLAG_NUMBER, &rate, NULL},
    {"model", "M", "which", MR_FLAG_TEXT, &model, NULL},
    {"threads", "N", "threads", MR_FLAG_SETTING, NULL, "engine.threads"},
};
static const struct mr_flags_usage usage = {"verb [A] [B]", "About.", table, 5, 0, 2};

struct parsed {
    struct mr_cli cli;
    bool go_on;
    struct mr_args args;
};

static struct parsed parse(int argc, char **argv)
{
    struct parsed p = {0};
    quiet = false, jobs = 0, rate = 0, model = NULL;
    p.go_on = mr_flags_parse(&p.cli, &usage, argc, argv, &p.args);
    return p;
}
#define PARSE(...) parse((int)(sizeof((char *[]){"verb", __VA_ARGS__}) / sizeof(char *)), (char *[]){"verb", __VA_ARGS__})

TEST(values)
{
    struct parsed p = PARSE("--quiet", "one", "--jobs", "12", "--rate=2.5", "--model=a=b", "-", "--json", "-c", "file");
    EXPECT(p.go_on && quiet && p.cli.json);
    EXPECT_EQ(jobs, 12);
    EXPECT_NEAR(rate, 2.5, 0);
    EXPECT_STR(model, "a=b");
    EXPECT_STR(p.cli.config_file, "file");
    EXPECT_EQ(p.args.n, 2);
    EXPECT_STR(p.args.items[0], "one");
    EXPECT_STR(p.args.items[1], "-");
    mr_arena_fini(&p.cli.arena);
}

TEST(settings)
{
    struct parsed p = PARSE("--threads", "3", "--set", "a.b=c=d");
    EXPECT(p.go_on);
    REQUIRE(p.cli.n_sets == 2);
    EXPECT_STR(p.cli.sets[0], "engine.threads=3");
    EXPECT_STR(p.cli.sets[1], "a.b=c=d");
    for (int i = 2; i < MR_CLI_SETS_MAX; i++)
        EXPECT(mr_cli_set(&p.cli, "a", "b"));
    EXPECT(!mr_cli_set(&p.cli, "a", "b"));
    mr_arena_fini(&p.cli.arena);
}

TEST(misuse)
{
    struct parsed bad[] = {
        PARSE("--jobs"), PARSE("--jobs", "x"), PARSE("--jobs", "1x"), PARSE("--jobs", "99999999999999999999"), PARSE("--unknown"),
        PARSE("-x"), PARSE("--quiet=1"), PARSE("--set", "a"), PARSE("--set", "=b"), PARSE("a", "b", "c"), PARSE("-c"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT(!bad[i].go_on);
        EXPECT_EQ(bad[i].args.exit_code, MR_EXIT_USAGE);
        mr_arena_fini(&bad[i].cli.arena);
    }
}

TEST(help_and_end_of_flags)
{
    struct parsed p = PARSE("--help");
    EXPECT(!p.go_on);
    EXPECT_EQ(p.args.exit_code, MR_EXIT_DONE);
    p = PARSE("--", "--jobs");
    EXPECT(p.go_on && p.args.n == 1);
    EXPECT_STR(p.args.items[0], "--jobs");
}

TEST_MAIN(TEST_CASE(values), TEST_CASE(settings), TEST_CASE(misuse), TEST_CASE(help_and_end_of_flags))
