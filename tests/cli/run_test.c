#include "adapters/codec/codec.h"
#include "tests/test.h"
#include "worker/cli/cli.h"
#include "worker/fold.h"

#include <stdlib.h>
#include <unistd.h>

/* `millrace run` on synthetic:tiny: what is on standard output for what is in the file. */

int mr_verb_run(struct mr_cli *cli, int argc, char **argv);

enum { LINES_MAX = 4096 };

static struct {
    struct mr_arena arena;
    struct mr_value lines[LINES_MAX];
    int n, code;
} out;

/* Runs the verb over input with further flags (NULL-ended), and reads every line of its output as JSON. */
static void run(const char *input, const char *const *flags)
{
    char in_path[] = "/tmp/run_test_in_XXXXXX", out_path[] = "/tmp/run_test_out_XXXXXX";
    int in = mkstemp(in_path), to = mkstemp(out_path), saved = dup(STDOUT_FILENO);
    REQUIRE(in >= 0 && to >= 0 && write(in, input, strlen(input)) == (ssize_t)strlen(input));
    char *argv[24] = {"run", "--model", "synthetic:tiny", "--threads", "2", "--kv-memory", "64MiB", "--context", "256", "--device", "cpu", in_path};
    int argc = 12;
    for (; flags && *flags; flags++)
        argv[argc++] = (char *)*flags;
    struct mr_cli cli = {0};
    fflush(stdout);
    dup2(to, STDOUT_FILENO);
    out.code = mr_verb_run(&cli, argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    mr_cli_close(&cli);
    mr_arena_fini(&out.arena);
    out.n = 0;
    FILE *file = fopen(out_path, "r");
    char *line = NULL;
    size_t capacity = 0;
    for (ssize_t n; out.n < LINES_MAX && (n = getline(&line, &capacity, file)) > 0; out.n++) {
        struct mr_err err = {0};
        EXPECT(line[n - 1] == '\n');
        if (mr_codec_json.decode((struct mr_str){line, (size_t)n - 1}, NULL, &out.arena, &out.lines[out.n], &err) != MR_CODEC_OK)
            EXPECT(!"a line is JSON"), printf("%s: %s\n", err.text, line);
    }
    free(line);
    fclose(file);
    close(in);
    close(to);
    unlink(in_path);
    unlink(out_path);
}

static struct mr_str text_of(const struct mr_value *v) { return v && v->kind == MR_STRING ? v->as.string : MR_STR("(none)"); }

static const struct mr_value *line_of(const char *id)
{
    for (int i = 0; i < out.n; i++)
        if (mr_str_is(text_of(mr_value_get(&out.lines[i], "id")), id))
            return &out.lines[i];
    return NULL;
}

static const struct mr_value *choice_of(const struct mr_value *line)
{
    const struct mr_value *choices = line ? mr_value_get(line, "choices") : NULL;
    return choices && choices->kind == MR_ARRAY && choices->as.array.n == 1 ? &choices->as.array.items[0] : NULL;
}

static const char *code_of(const char *id)
{
    static char code[64];
    const struct mr_value *line = line_of(id), *error = line ? mr_value_get(line, "error") : NULL;
    struct mr_str s = text_of(error ? mr_value_get(error, "code") : NULL);
    snprintf(code, sizeof code, "%.*s", (int)s.n, s.p);
    return code;
}

static const char bad_and_good[] =
    "{\"id\":\"first\",\"prompt\":\"abc\",\"max_tokens\":5,\"temperature\":0,\"return_token_ids\":true}\n"
    "\n"
    "not json\n"
    "{\"id\":\"unknown\",\"prompt\":\"abc\",\"colour\":\"red\"}\n"
    "{\"id\":\"type\",\"prompt\":\"abc\",\"max_tokens\":\"five\"}\n"
    "{\"id\":\"empty\",\"prompt\":\"\"}\n"
    "{\"id\":\"range\",\"prompt\":\"abc\",\"temperature\":-1}\n"
    "{\"id\":\"token\",\"prompt\":[1,2,99999999]}\n"
    "{\"id\":\"model\",\"prompt\":\"abc\",\"model\":\"other\"}\n"
    "{\"id\":\"long\",\"prompt\":\"%s\"}\n"
    "{\"id\":\"utf8\",\"prompt\":\"\xff\"}\n"
    "{\"id\":\"last\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":5,\"temperature\":0,\"return_token_ids\":true}";

TEST(bad_lines_leave_their_neighbours_alone)
{
    static char input[8192];
    char prompt[301] = {0};
    memset(prompt, 'x', 300);
    snprintf(input, sizeof input, bad_and_good, prompt);
    run(input, NULL);
    EXPECT_EQ(out.code, MR_EXIT_FAILED);
    EXPECT_EQ(out.n, 11); /* blank lines give none */
    EXPECT_STR(code_of("run.0.2"), "invalid_encoding");
    EXPECT_STR(code_of("unknown"), "unknown_field");
    EXPECT_STR(code_of("type"), "wrong_type");
    EXPECT_STR(code_of("empty"), "empty_prompt");
    EXPECT_STR(code_of("range"), "out_of_range");
    EXPECT_STR(code_of("token"), "invalid_token");
    EXPECT_STR(code_of("model"), "unknown_model");
    EXPECT_STR(code_of("long"), "prompt_too_long");
    EXPECT_STR(code_of("run.0.10"), "invalid_utf8");
    const struct mr_value *first = choice_of(line_of("first")), *last = choice_of(line_of("last"));
    REQUIRE(first && last);
    EXPECT(mr_str_is(text_of(mr_value_get(first, "finish_reason")), "length"));
    EXPECT_EQ(mr_value_get(first, "token_ids")->as.array.n, 5);
    EXPECT(mr_value_get(last, "message") != NULL);
}

TEST(batch_lines_come_back_as_batch_lines)
{
    run("{\"custom_id\":\"c1\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"model\":\"synthetic:tiny\",\"prompt\":\"abc\",\"max_tokens\":3}}\n", NULL);
    EXPECT_EQ(out.code, MR_EXIT_DONE);
    REQUIRE(out.n == 1);
    EXPECT(mr_str_is(text_of(mr_value_get(&out.lines[0], "custom_id")), "c1"));
    const struct mr_value *response = mr_value_get(&out.lines[0], "response");
    REQUIRE(response);
    EXPECT_EQ(mr_value_get(response, "status_code")->as.integer, 200);
    EXPECT(choice_of(mr_value_get(response, "body")) != NULL);
}

/* Every job's text together is its text alone, whatever the sizes of a step. */
TEST(together_as_alone)
{
    enum { JOBS = 12 };
    static char input[JOBS * 256], one[JOBS][256];
    static char alone[JOBS][512];
    size_t at = 0;
    for (int i = 0; i < JOBS; i++) {
        snprintf(one[i], sizeof one[i], "{\"id\":\"j%d\",\"prompt\":\"job %d says %d\",\"max_tokens\":%d,\"temperature\":%s,\"seed\":%d,\"ignore_eos\":true}\n", i, i,
                 i * i, 3 + i, i % 2 ? "0.9" : "0", i + 1);
        at += (size_t)snprintf(input + at, sizeof input - at, "%s", one[i]);
        run(one[i], NULL);
        const struct mr_value *choice = choice_of(out.n == 1 ? &out.lines[0] : NULL);
        REQUIRE(choice);
        struct mr_str text = text_of(mr_value_get(choice, "text"));
        snprintf(alone[i], sizeof alone[i], "%.*s", (int)text.n, text.p);
    }
    static const char *const shapes[][5] = {{NULL}, {"--max-seqs", "3", "--max-step-tokens", "7", NULL}};
    for (int k = 0; k < 2; k++) {
        run(input, shapes[k]);
        EXPECT_EQ(out.n, JOBS);
        for (int i = 0; i < JOBS; i++) {
            char id[16];
            snprintf(id, sizeof id, "j%d", i);
            const struct mr_value *choice = choice_of(line_of(id));
            REQUIRE(choice);
            EXPECT(mr_str_is(text_of(mr_value_get(choice, "text")), alone[i]));
        }
    }
}

/* The records of --stream fold to what the result says. */
TEST(stream_folds_to_the_result)
{
    static const char *const flags[] = {"--stream", NULL};
    run("{\"id\":\"a\",\"prompt\":\"abc\",\"max_tokens\":9,\"temperature\":0,\"return_token_ids\":true,\"ignore_eos\":true}\n", flags);
    EXPECT_EQ(out.code, MR_EXIT_DONE);
    struct mr_fold fold;
    int32_t ids[16];
    int n = 0;
    struct mr_buf text = {0};
    mr_fold_init(&fold, "default/a", 9);
    for (int i = 0; i < out.n; i++) {
        const struct mr_value *v = &out.lines[i], *list = mr_value_get(v, "ids");
        struct mr_str kind = text_of(mr_value_get(v, "kind")), ctx = text_of(mr_value_get(v, "ctx"));
        struct mr_fold_record record = {.epoch = 1, .writer = 1};
        if (!mr_fold_kind_from(kind.p, kind.n, &record.kind))
            continue; /* the result line */
        record.ctx = strtoull(ctx.p, NULL, 16);
        if (record.kind == MR_FOLD_TOK) {
            record.seq = mr_value_get(v, "seq")->as.integer;
            record.ids = &ids[n];
            record.n_ids = (int32_t)list->as.array.n;
            for (size_t k = 0; k < list->as.array.n; k++)
                ids[n++] = (int32_t)list->as.array.items[k].as.integer;
        } else if (record.kind != MR_FOLD_START) {
            record.seq = mr_value_get(v, "n")->as.integer;
        }
        if (mr_value_get(v, "text"))
            mr_buf_add_str(&text, text_of(mr_value_get(v, "text")));
        EXPECT(mr_fold_add(&fold, &record));
    }
    EXPECT(fold.closed && fold.end == MR_FOLD_DONE);
    EXPECT_EQ(fold.seq, 9);
    const struct mr_value *choice = choice_of(line_of("a"));
    REQUIRE(choice && n == 9);
    EXPECT(mr_str_equal(text_of(mr_value_get(choice, "text")), mr_buf_view(&text)));
    for (int i = 0; i < n; i++)
        EXPECT_EQ(mr_value_get(choice, "token_ids")->as.array.items[i].as.integer, ids[i]);
    mr_buf_fini(&text);
}

/* More lines than may be unfinished at once: input waits, every line is answered. */
TEST(more_lines_than_slots)
{
    enum { JOBS = 50 };
    static char input[JOBS * 100];
    static const char *const flags[] = {"--set", "limits.jobs=3", NULL};
    size_t at = 0;
    for (int i = 0; i < JOBS; i++)
        at += (size_t)snprintf(input + at, sizeof input - at, "{\"id\":\"j%d\",\"prompt\":\"abc\",\"max_tokens\":%d}\n", i, 1 + i % 4);
    run(input, flags);
    EXPECT_EQ(out.code, MR_EXIT_DONE);
    EXPECT_EQ(out.n, JOBS);
}

TEST(usage)
{
    struct mr_cli cli = {0};
    char *no_model[] = {"run", "/dev/null"}, *two[] = {"run", "a", "b"}, *no_file[] = {"run", "--model", "synthetic:tiny", "/no/such/file"};
    EXPECT_EQ(mr_verb_run(&cli, 2, no_model), MR_EXIT_FAILED);
    mr_cli_close(&cli);
    EXPECT_EQ(mr_verb_run(&cli, 3, two), MR_EXIT_USAGE);
    mr_cli_close(&cli);
    EXPECT_EQ(mr_verb_run(&cli, 4, no_file), MR_EXIT_FAILED);
    mr_cli_close(&cli);
    mr_arena_fini(&out.arena); /* of the last run */
}

TEST_MAIN(TEST_CASE(bad_lines_leave_their_neighbours_alone), TEST_CASE(batch_lines_come_back_as_batch_lines), TEST_CASE(together_as_alone),
          TEST_CASE(stream_folds_to_the_result), TEST_CASE(more_lines_than_slots), TEST_CASE(usage))
