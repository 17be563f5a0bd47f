#include "tests/test.h"

#include "worker/cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

int mr_verb_tokenize(struct mr_cli *cli, int argc, char **argv);

static char out[4096];

/* Runs the verb on lines; words end with NULL. What it prints goes to out. */
static int run(const char *lines, char **words)
{
    static const struct mr_outside outside;
    struct mr_cli cli = {.outside = &outside};
    char path[64], *argv[16] = {"tokenize"};
    int argc = 1, kept = dup(1);
    FILE *captured = tmpfile(), *file;
    snprintf(path, sizeof path, "/tmp/millrace-tokenize-%d", (int)getpid());
    file = fopen(path, "w");
    fputs(lines, file);
    fclose(file);
    while (words[argc - 1])
        argv[argc] = words[argc - 1], argc++;
    argv[argc++] = path;
    fflush(stdout);
    dup2(fileno(captured), 1);
    int code = mr_verb_tokenize(&cli, argc, argv);
    fflush(stdout);
    dup2(kept, 1);
    close(kept);
    rewind(captured);
    out[fread(out, 1, sizeof out - 1, captured)] = '\0';
    fclose(captured);
    unlink(path);
    mr_cli_close(&cli);
    return code;
}
#define RUN(lines, ...) run(lines, (char *[]){__VA_ARGS__, NULL})

TEST(text_to_ids)
{
    EXPECT_EQ(RUN("\"hi\"\n\"\"\n\"<|im_end|>\"\n", "--model", "synthetic:tiny"), MR_EXIT_DONE);
    EXPECT_STR(out, "{\"ids\":[104,105]}\n{\"ids\":[]}\n{\"ids\":[60,124,105,109,95,101,110,100,124,62]}\n");
    EXPECT_EQ(RUN("\"a<|im_end|>\"\n", "--model", "synthetic:tiny", "--special"), MR_EXIT_DONE);
    EXPECT_STR(out, "{\"ids\":[97,258]}\n");
}

TEST(ids_to_text)
{
    EXPECT_EQ(RUN("{\"ids\":[104,105]}\n[195,169,195]\n", "--model", "synthetic:tiny", "--decode"), MR_EXIT_DONE);
    EXPECT_STR(out, "\"hi\"\n\"\xc3\xa9\xef\xbf\xbd\"\n");
}

/* A bad line has its line of output too. */
TEST(bad_lines)
{
    EXPECT_EQ(RUN("7\nnonsense\n\"a\"\n", "--model", "synthetic:tiny"), MR_EXIT_FAILED);
    EXPECT(strstr(out, "{\"error\":\"a JSON string is wanted, not integer\"}\n{\"error\":") == out);
    EXPECT(strstr(out, "\n{\"ids\":[97]}\n") != NULL);
    EXPECT_EQ(RUN("[99999999]\n[-1]\n{}\n", "--model", "synthetic:tiny", "--decode"), MR_EXIT_FAILED);
    EXPECT(strstr(out, "ids[0] is no token") != NULL);
    EXPECT_EQ(RUN("\"a\"\n", "--model", "/nowhere.gguf"), MR_EXIT_FAILED);
    EXPECT_EQ(RUN("\"a\"\n", "--special"), MR_EXIT_USAGE);
}

TEST_MAIN(TEST_CASE(text_to_ids), TEST_CASE(ids_to_text), TEST_CASE(bad_lines))
