#include "adapters/codec/codec.h"
#include "base/buf.h"
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

/* Every kind of bad line, by name, and what its error line says. MARK stands for a long text. */
static const struct {
    const char *what, *line, *code, *field;
    size_t mark; /* bytes of the long text */
} bad_lines[] = {
    {"malformed JSON", "not json", "invalid_encoding", NULL, 0},
    {"JSON that goes on", "{\"prompt\":\"a\"} {}", "invalid_encoding", NULL, 0},
    {"JSON that ends early", "{\"prompt\":\"a\"", "invalid_encoding", NULL, 0},
    {"a key twice", "{\"prompt\":\"a\",\"prompt\":\"b\"}", "invalid_encoding", NULL, 0},
    {"a number of 400 digits", "{\"prompt\":\"a\",\"seed\":1e999}", "invalid_encoding", NULL, 0},
    {"no object", "[1,2]", "invalid_encoding", NULL, 0},
    {"deep nesting", "{\"prompt\":\"a\",\"metadata\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", "too_deep", NULL, 0},
    {"unknown field", "{\"prompt\":\"a\",\"colour\":\"red\"}", "unknown_field", "colour", 0},
    {"a chat's field in a completion", "{\"prompt\":\"a\",\"top_logprobs\":3}", "unknown_field", "top_logprobs", 0},
    {"unsupported", "{\"prompt\":\"a\",\"n\":2}", "unsupported_field", "n", 0},
    {"wrong type", "{\"prompt\":\"a\",\"max_tokens\":\"five\"}", "wrong_type", "max_tokens", 0},
    {"below the range", "{\"prompt\":\"a\",\"temperature\":-1}", "out_of_range", "temperature", 0},
    {"above the range", "{\"prompt\":\"a\",\"logprobs\":21}", "out_of_range", "logprobs", 0},
    {"no prompt", "{\"max_tokens\":3}", "missing_field", "prompt", 0},
    {"empty prompt", "{\"prompt\":\"\"}", "empty_prompt", "prompt", 0},
    {"no messages", "{\"messages\":[]}", "empty_prompt", "messages", 0},
    {"a message without content", "{\"messages\":[{\"role\":\"user\"}]}", "missing_field", "messages", 0},
    {"prompt longer than the context", "{\"prompt\":\"MARK\"}", "prompt_too_long", "prompt", 300},
    {"a token that is not there", "{\"prompt\":[1,99999999]}", "invalid_token", "prompt", 0},
    {"unknown model", "{\"prompt\":\"a\",\"model\":\"other\"}", "unknown_model", "model", 0},
    {"invalid UTF-8", "{\"prompt\":\"\xff\"}", "invalid_utf8", NULL, 0},
    {"half a surrogate pair", "{\"prompt\":\"\\ud800\"}", "invalid_encoding", NULL, 0},
    {"an id with a blank", "{\"id\":\"a b\",\"prompt\":\"a\"}", "invalid_id", "id", 0},
    {"an id of another body", "{\"id\":\"first\",\"prompt\":\"another\"}", "id_conflict", "id", 0},
    {"record too large", "{\"prompt\":\"MARK\"}", "too_large", NULL, 5000},
};

static const char first_line[] = "{\"id\":\"first\",\"prompt\":\"abc\",\"max_tokens\":5,\"temperature\":0,\"return_token_ids\":true}\n";
static const char last_line[] = "\n{\"id\":\"last\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":5,\"temperature\":0}";

TEST(bad_lines_leave_their_neighbours_alone)
{
    enum { N = sizeof bad_lines / sizeof *bad_lines };
    static const char *const flags[] = {"--set", "limits.record=4KiB", NULL};
    struct mr_buf input = {0};
    mr_buf_add_str(&input, MR_STR(first_line));
    mr_buf_add_str(&input, MR_STR(first_line)); /* the same job again: not bad, and the same text */
    for (int i = 0; i < N; i++) {
        const char *mark = strstr(bad_lines[i].line, "MARK");
        mr_buf_add(&input, bad_lines[i].line, mark ? (size_t)(mark - bad_lines[i].line) : strlen(bad_lines[i].line));
        for (size_t k = 0; k < bad_lines[i].mark; k++)
            mr_buf_add_char(&input, 'x');
        mr_buf_add_str(&input, mr_str_from(mark ? mark + 4 : ""));
        mr_buf_add_char(&input, '\n');
    }
    mr_buf_add_str(&input, MR_STR(last_line));
    mr_buf_add_char(&input, 0);
    run(input.p, flags);
    mr_buf_fini(&input);
    EXPECT_EQ(out.code, MR_EXIT_FAILED);
    EXPECT_EQ(out.n, N + 3); /* blank lines give none */
    int at = 0; /* bad lines are answered in their order */
    for (int i = 0; i < N; i++) {
        while (at < out.n && !mr_value_get(&out.lines[at], "error"))
            at++;
        const struct mr_value *error = at < out.n ? mr_value_get(&out.lines[at++], "error") : NULL;
        REQUIRE(error);
        struct mr_str code = text_of(mr_value_get(error, "code")), message = text_of(mr_value_get(error, "message"));
        const struct mr_value *field = mr_value_get(error, "param");
        bool right = mr_str_is(code, bad_lines[i].code) && message.n > 10 &&
                     (bad_lines[i].field ? mr_str_is(text_of(field), bad_lines[i].field) : field->kind == MR_NULL);
        EXPECT(right);
        if (!right)
            printf("%s: %.*s, %.*s\n", bad_lines[i].what, (int)code.n, code.p, (int)message.n, message.p);
    }
    int firsts = 0;
    for (int i = 0; i < out.n; i++) {
        const struct mr_value *choice = choice_of(&out.lines[i]);
        if (!choice || !mr_str_is(text_of(mr_value_get(&out.lines[i], "id")), "first"))
            continue;
        firsts++;
        EXPECT(mr_str_is(text_of(mr_value_get(choice, "finish_reason")), "length"));
        EXPECT_EQ(mr_value_get(choice, "token_ids")->as.array.n, 5);
    }
    EXPECT_EQ(firsts, 2);
    const struct mr_value *last = choice_of(line_of("last"));
    REQUIRE(last);
    EXPECT(mr_value_get(last, "message") != NULL);
}

/* A model file that is none, is cut short, or lies: one sentence and exit code 1. */
TEST(bad_models_are_refused)
{
    static const char *const files[] = {"", "GGUF", "hello, this is no model", "GGUF\3\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x7f"};
    static const size_t sizes[] = {0, 4, 23, 24};
    for (int i = 0; i < 4; i++) {
        char path[] = "/tmp/run_test_model_XXXXXX";
        int fd = mkstemp(path);
        REQUIRE(fd >= 0 && write(fd, files[i], sizes[i]) == (ssize_t)sizes[i]);
        close(fd);
        struct mr_cli cli = {0};
        char *argv[] = {"run", "--model", path, "--device", "cpu", "/dev/null"};
        EXPECT_EQ(mr_verb_run(&cli, 6, argv), MR_EXIT_FAILED);
        mr_cli_close(&cli);
        unlink(path);
    }
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

TEST_MAIN(TEST_CASE(bad_lines_leave_their_neighbours_alone), TEST_CASE(bad_models_are_refused),
          TEST_CASE(batch_lines_come_back_as_batch_lines), TEST_CASE(together_as_alone),
          TEST_CASE(stream_folds_to_the_result), TEST_CASE(more_lines_than_slots), TEST_CASE(usage))
