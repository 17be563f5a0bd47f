#include "tests/test.h"
#include "worker/planted.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(nothing_without_the_variable)
{
    struct mr_planted planted;
    EXPECT(mr_planted_parse(NULL, &planted));
    EXPECT(!mr_planted_for(&planted, "abort", MR_STR("acme/a")));
    mr_planted_meet(&planted, MR_STR("acme/a"));
    mr_planted_step(&planted);
}

TEST(names_by_their_beginning_and_nothing_else)
{
    struct mr_planted planted;
    REQUIRE(mr_planted_parse("abort:acme/poison,step:3,hang:globex/tar", &planted));
    EXPECT_EQ(planted.step_ms, 3);
    EXPECT(mr_planted_for(&planted, "abort", MR_STR("acme/poison-1")));
    EXPECT(!mr_planted_for(&planted, "abort", MR_STR("acme/poiso")));
    EXPECT(!mr_planted_for(&planted, "hang", MR_STR("acme/poison-1")));
    EXPECT(mr_planted_for(&planted, "hang", MR_STR("globex/tar")));
    mr_planted_meet(&planted, MR_STR("acme/good"));
}

TEST(an_unknown_word_is_refused)
{
    struct mr_planted planted;
    EXPECT(!mr_planted_parse("abort:acme/a,explode:acme/b", &planted));
    EXPECT(!mr_planted_parse("step:-1", &planted));
    EXPECT(mr_planted_parse("abort:", &planted) && !mr_planted_for(&planted, "abort", MR_STR("acme/a")));
}

TEST(an_abort_aborts)
{
    struct mr_planted planted;
    int code;
    REQUIRE(mr_planted_parse("abort:acme/a", &planted));
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        mr_planted_meet(&planted, MR_STR("acme/a"));
        _exit(0);
    }
    REQUIRE(child > 0 && waitpid(child, &code, 0) == child);
    EXPECT(WIFSIGNALED(code) && WTERMSIG(code) == SIGABRT);
}

TEST_MAIN(TEST_CASE(nothing_without_the_variable), TEST_CASE(names_by_their_beginning_and_nothing_else), TEST_CASE(an_unknown_word_is_refused),
          TEST_CASE(an_abort_aborts))
