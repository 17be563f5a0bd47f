#include "base/check.h"
#include "base/status.h"
#include "tests/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(an_error_carries_its_code_and_sentence)
{
    struct mr_err err = {0};
    EXPECT_EQ(mr_err_set(&err, MR_ERR_LIMIT, "%d jobs", 3), MR_ERR_LIMIT);
    EXPECT_EQ(err.code, MR_ERR_LIMIT);
    EXPECT_STR(err.text, "3 jobs");
    EXPECT_EQ(mr_err_set(NULL, MR_ERR_IO, "unheard"), MR_ERR_IO);
    EXPECT_STR(mr_status_name(MR_ERR_TIMEOUT), "timeout");
}

TEST(a_long_sentence_is_cut_and_terminated)
{
    struct mr_err err;
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    mr_err_set(&err, MR_ERR_INVALID, "%s", text);
    EXPECT_EQ(strlen(err.text), MR_ERR_TEXT_BYTES - 1);
}

TEST(a_bug_aborts)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        CHECK(1 == 2);
        _exit(0);
    }
    int state = 0;
    waitpid(child, &state, 0);
    EXPECT(WIFSIGNALED(state) && WTERMSIG(state) == SIGABRT);
}

TEST_MAIN(TEST_CASE(an_error_carries_its_code_and_sentence), TEST_CASE(a_long_sentence_is_cut_and_terminated), TEST_CASE(a_bug_aborts))
