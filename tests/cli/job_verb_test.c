#include "tests/test.h"
#include "worker/cli/job_verb.h"

static struct mr_str name;
static int code;

static bool begin(int argc, char **argv, bool *wait)
{
    static struct mr_cli cli;
    const char *tenant = NULL;
    const struct mr_flag flags[] = {MR_JOB_VERB_TENANT(tenant), {"wait", NULL, "wait", MR_FLAG_BOOL, wait, NULL}};
    const struct mr_flags_usage usage = {.synopsis = "x JOB", .about = "", .flags = flags, .n_flags = 2};
    mr_cli_close(&cli);
    return mr_job_verb_begin(&cli, &usage, argc, argv, &name, &code);
}

TEST(a_job_is_named)
{
    bool wait = false;
    EXPECT(begin(2, (char *[]){"x", "acme/7"}, &wait) && mr_str_is(name, "acme/7") && !wait);
    EXPECT(mr_job_verb_wants(&name, MR_STR("acme/7")) && !mr_job_verb_wants(&name, MR_STR("acme/70")));
    EXPECT(begin(2, (char *[]){"x", "7"}, &wait) && mr_str_is(name, "default/7"));
    EXPECT(begin(5, (char *[]){"x", "--wait", "7", "--tenant", "acme"}, &wait) && mr_str_is(name, "acme/7") && wait);
}

TEST(wrong_usage_is_told)
{
    bool wait = false;
    EXPECT(!begin(1, (char *[]){"x"}, &wait) && code == MR_EXIT_USAGE);
    EXPECT(!begin(3, (char *[]){"x", "1", "2"}, &wait) && code == MR_EXIT_USAGE);
    EXPECT(!begin(2, (char *[]){"x", "NO TENANT/7"}, &wait) && code == MR_EXIT_USAGE);
    EXPECT(!begin(2, (char *[]){"x", "acme/"}, &wait) && code == MR_EXIT_USAGE);
    EXPECT(!begin(2, (char *[]){"x", "--help"}, &wait) && code == MR_EXIT_DONE);
}

TEST_MAIN(TEST_CASE(a_job_is_named), TEST_CASE(wrong_usage_is_told))
