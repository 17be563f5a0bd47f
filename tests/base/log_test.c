#include "base/log.h"
#include "tests/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* What one call writes to stderr. */
static void capture(bool json, enum mr_log_level level, const char *event, const char *value, char out[4096])
{
    int ends[2], saved = dup(STDERR_FILENO);
    ssize_t n;
    char quoted[2000];
    if (pipe(ends) != 0)
        abort();
    dup2(ends[1], STDERR_FILENO);
    mr_log_setup(MR_LOG_INFO, json);
    mr_log(level, event, "job=%s note=%s", "acme/1", mr_log_quote(value, quoted, sizeof quoted));
    dup2(saved, STDERR_FILENO);
    close(ends[1]);
    n = read(ends[0], out, 4095);
    out[n > 0 ? n : 0] = 0;
    close(ends[0]);
    close(saved);
}

TEST(a_line_carries_level_event_and_pairs)
{
    char line[4096];
    capture(false, MR_LOG_WARN, "job.done", "two words", line);
    EXPECT(strstr(line, " level=warn event=job.done job=acme/1 note=\"two words\"\n"));
    capture(true, MR_LOG_ERROR, "job.done", "a \"quote\"", line);
    EXPECT(strstr(line, "\"level\":\"error\",\"event\":\"job.done\",\"job\":\"acme/1\",\"note\":\"a \\\"quote\\\"\"}\n"));
}

TEST(a_line_below_the_least_level_is_not_written)
{
    char line[4096];
    capture(false, MR_LOG_DEBUG, "quiet", "x", line);
    EXPECT_STR(line, "");
}

TEST(nothing_a_value_holds_can_start_a_new_line)
{
    char line[4096], value[1500];
    capture(false, MR_LOG_INFO, "e", "a\nlevel=error", line);
    EXPECT(strchr(line, '\n') == line + strlen(line) - 1);
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = 0;
    capture(true, MR_LOG_INFO, "e", value, line);
    EXPECT(strlen(line) < 2048 && line[strlen(line) - 2] == '}');
}

/* A full disk, and a reader that has gone: lines are lost, nothing else, and the next one that can be written is whole. */
TEST(a_log_that_cannot_be_written)
{
    char line[4096];
    int ends[2], saved = dup(STDERR_FILENO), full = open("/dev/full", O_WRONLY);
    REQUIRE(full >= 0 && pipe(ends) == 0);
    signal(SIGPIPE, SIG_IGN); /* as the worker does */
    close(ends[0]);
    int nowhere[] = {full, ends[1]};
    for (int i = 0; i < 2; i++) {
        dup2(nowhere[i], STDERR_FILENO);
        for (int k = 0; k < 1000; k++)
            mr_log(MR_LOG_ERROR, "lost", "k=%d", k);
        dup2(saved, STDERR_FILENO);
        close(nowhere[i]);
    }
    close(saved);
    signal(SIGPIPE, SIG_DFL);
    capture(false, MR_LOG_WARN, "job.done", "found", line);
    EXPECT(strstr(line, "time=") == line && strstr(line, "event=job.done job=acme/1 note=\"found\"\n"));
}

TEST_MAIN(TEST_CASE(a_log_that_cannot_be_written), TEST_CASE(a_line_carries_level_event_and_pairs), TEST_CASE(a_line_below_the_least_level_is_not_written),
          TEST_CASE(nothing_a_value_holds_can_start_a_new_line))
