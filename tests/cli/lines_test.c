#include "tests/test.h"
#include "worker/cli/lines.h"

#include <stdlib.h>
#include <unistd.h>

static char *text_of(const char *bytes, size_t n, size_t max_bytes)
{
    static char out[4096];
    char path[] = "/tmp/lines_test_XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
        return NULL;
    struct mr_lines lines;
    struct mr_str line;
    size_t at = 0;
    if (mr_lines_open(&lines, path, max_bytes, NULL) != MR_OK)
        return NULL;
    while (mr_lines_next(&lines, -1, &line) == MR_LINES_LINE)
        at += (size_t)snprintf(out + at, sizeof out - at, "%d[%.*s]", (int)lines.number, (int)line.n, line.p);
    out[at] = '\0';
    mr_lines_close(&lines);
    close(fd);
    unlink(path);
    return out;
}

TEST(ends_of_lines)
{
    EXPECT_STR(text_of("", 0, 9), "");
    EXPECT_STR(text_of("a", 1, 9), "1[a]");
    EXPECT_STR(text_of("a\n", 2, 9), "1[a]");
    EXPECT_STR(text_of("a\r\n\nbc\n", 7, 9), "1[a]2[]3[bc]");
}

TEST(too_long_is_cut_and_the_next_is_whole)
{
    EXPECT_STR(text_of("abcd\nef\n", 8, 4), "1[abcd]2[ef]");
    EXPECT_STR(text_of("abcd\r\nef\n", 9, 4), "1[abcd]2[ef]");
    EXPECT_STR(text_of("abcde\nef\n", 9, 4), "1[abcde]2[ef]");
    EXPECT_STR(text_of("abcdefghij\nef\n", 14, 4), "1[abcde]2[ef]");
    static char big[300000];
    memset(big, 'x', sizeof big);
    memcpy(big + 299990, "\nlast\n", 6);
    EXPECT_STR(text_of(big, 299996, 4), "1[xxxxx]2[last]"); /* longer than the buffer */
    EXPECT_STR(text_of(big, 299980, 4), "1[xxxxx]");        /* and never ended */
}

TEST(later)
{
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    struct mr_lines lines;
    struct mr_str line;
    REQUIRE(mr_lines_open(&lines, "/dev/null", 100, NULL) == MR_OK);
    close(lines.fd);
    lines.fd = ends[0];
    REQUIRE(write(ends[1], "on", 2) == 2);
    EXPECT_EQ(mr_lines_next(&lines, 0, &line), MR_LINES_LATER);
    REQUIRE(write(ends[1], "e\n", 2) == 2);
    EXPECT_EQ(mr_lines_next(&lines, 0, &line), MR_LINES_LINE);
    EXPECT_EQ(line.n, 3);
    EXPECT_EQ(mr_lines_next(&lines, 0, &line), MR_LINES_LATER);
    close(ends[1]);
    EXPECT_EQ(mr_lines_next(&lines, 0, &line), MR_LINES_END);
    mr_lines_close(&lines);
    EXPECT_EQ(mr_lines_open(&lines, "/no/such/file", 1, NULL), MR_ERR_IO);
}

TEST_MAIN(TEST_CASE(ends_of_lines), TEST_CASE(too_long_is_cut_and_the_next_is_whole), TEST_CASE(later))
