/* The full-screen view on a pseudo-terminal. */
#define _GNU_SOURCE
#include "adapters/screen.h"
#include "tests/test.h"

#include <pty.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static bool draw(void *self, struct mr_buf *text)
{
    int *times = self;
    mr_buf_addf(text, "tiers and tenants\nframe %d of the view\n", ++*times);
    return *times < 50;
}

TEST(it_draws_until_q)
{
    static char seen[65536];
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    size_t n = 0;
    int terminal, status;
    pid_t child = forkpty(&terminal, NULL, NULL, &size);
    if (child == 0) {
        int times = 0;
        setenv("TERM", "xterm", 1);
        int code = mr_screen_run(draw, &times, 20);
        _exit(code == 0 && times >= 2 && times < 50 ? 0 : 1);
    }
    REQUIRE(child > 0);
    bool asked = false;
    for (ssize_t got; n < sizeof seen - 1 && (got = read(terminal, seen + n, sizeof seen - 1 - n)) > 0;) {
        n += (size_t)got;
        seen[n] = 0;
        if (!asked && strstr(seen, "tiers and tenants") && strstr(seen, "3")) { /* it goes on by itself, then is left */
            asked = true;
            EXPECT_EQ(write(terminal, "q", 1), 1);
        }
    }
    waitpid(child, &status, 0);
    EXPECT(asked);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(terminal);
}

TEST(no_terminal_is_said)
{
    int times = 0;
    pid_t child = fork();
    int status;
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(99);
        _exit(mr_screen_run(draw, &times, 20));
    }
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

TEST_MAIN(TEST_CASE(it_draws_until_q), TEST_CASE(no_terminal_is_said))
