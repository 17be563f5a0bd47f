/* `millrace replay`: what `run` has just made is the same again, whatever was asked for; a result in which one thing was changed
 * differs there, and nowhere else; another model, path or job is refused by name. */
#include "tests/cli/verb_world.h"

#include "adapters/codec/codec.h"
#include "worker/cli/replay_result.h"

#include <stdlib.h>

int mr_verb_run(struct mr_cli *cli, int argc, char **argv);
int mr_verb_replay(struct mr_cli *cli, int argc, char **argv);

#define MODEL "--model", "synthetic:tiny", "--threads", "1", "--kv-memory", "64MiB", "--context", "256", "--device", "cpu"

static const char jobs[] =
    "{\"id\":\"greedy\",\"prompt\":\"abc\",\"max_tokens\":6,\"temperature\":0,\"return_token_ids\":true}\n"
    "{\"id\":\"seeded\",\"prompt\":\"abd\",\"max_tokens\":6,\"seed\":11,\"return_token_ids\":true,\"logprobs\":2}\n"
    "{\"id\":\"plain\",\"prompt\":\"abd\",\"max_tokens\":8}\n"
    "{\"id\":\"penal\",\"prompt\":\"hello\",\"max_tokens\":9,\"frequency_penalty\":1,\"presence_penalty\":0.5,\"logit_bias\":{\"70\":2},\"stop\":[\"<3\"],"
    "\"deadline_ms\":1000000}\n"
    "{\"custom_id\":\"line\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"four\",\"max_tokens\":3}}\n"
    "{\"id\":\"bad\",\"prompt\":7}\n";
enum { JOBS = 6 };

static char job_path[96], result_path[96];
static char results[OUT_BYTES];

static int lines_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* The result line of a job. */
static const char *line_of(const char *id)
{
    static char line[8192];
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%s\"", id);
    for (const char *p = results; *p; p = strchr(p, '\n') + 1) {
        const char *end = strchr(p, '\n');
        snprintf(line, sizeof line, "%.*s\n", (int)(end - p), p);
        if (strstr(line, wanted) && strstr(line, wanted) < line + 160)
            return line;
    }
    CHECK(!"there is such a line");
    return NULL;
}

static void make_results(void)
{
    world_file(job_path, "replay-jobs", jobs);
    EXPECT_EQ(RUN(run, MODEL, job_path), MR_EXIT_FAILED); /* one is bad */
    strcpy(results, out);
    EXPECT_EQ(lines_of(results), JOBS);
}

static void remove_files(void)
{
    unlink(job_path);
    unlink(result_path);
}

/* A result with one piece of its text replaced. */
static void write_changed(const char *id, const char *from, const char *to)
{
    char changed[8192];
    const char *line = line_of(id), *at = strstr(line, from);
    REQUIRE(at != NULL);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - line), line, to, at + strlen(from));
    world_file(result_path, "replay-results", changed);
}

TEST(what_was_made_is_the_same_again)
{
    make_results();
    world_file(result_path, "replay-results", results);
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_FAILED); /* the bad one */
    EXPECT(strstr(out, "greedy: same, 6 tokens\n") && strstr(out, "seeded: same, 6 tokens\n") && strstr(out, "plain: same, 8 tokens\n"));
    EXPECT(strstr(out, "penal: same,") != NULL);
    EXPECT_EQ(lines_of(out), 5);
    EXPECT(strstr(errors, "the job failed (wrong_type)") != NULL);
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, "--json", result_path), MR_EXIT_FAILED);
    EXPECT(strstr(out, "{\"job\":\"plain\",\"verdict\":\"same\",\"tokens\":8,\"build\":\"") != NULL);
    EXPECT(strstr(out, "\"verdict\":\"refused\",\"reason\":\"the job failed") != NULL);
    EXPECT_EQ(lines_of(out), JOBS);
    world_file(result_path, "replay-results", line_of("line"));
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_DONE);
    remove_files();
}

/* The n-th number of the array behind key, one higher; as it stands in the line. */
static void change_number(const char *id, const char *key, int n)
{
    char changed[8192];
    const char *line = line_of(id), *at = strstr(line, key);
    REQUIRE(at != NULL);
    at = strchr(at, '[') + 1;
    for (int i = 0; i < n; i++)
        at = strchr(at, ',') + 1;
    char *end;
    double number = strtod(at, &end);
    snprintf(changed, sizeof changed, "%.*s%.9g%s", (int)(at - line), line, number + 1, end);
    world_file(result_path, "replay-results", changed);
}

TEST(a_changed_result_differs_there)
{
    make_results();
    for (int i = 0; i < 6; i++) {
        char wanted[64];
        change_number("greedy", "\"token_ids\"", i);
        EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_FAILED);
        snprintf(wanted, sizeof wanted, "greedy: differs at token %d: id ", i);
        EXPECT(strstr(out, wanted) != NULL);
        change_number("seeded", "\"token_logprobs\"", i);
        EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_FAILED);
        snprintf(wanted, sizeof wanted, "seeded: differs at token %d: logprob ", i);
        EXPECT(strstr(out, wanted) != NULL);
    }
    change_number("greedy", "\"prompt_token_ids\"", 1);
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, "--json", result_path), MR_EXIT_FAILED);
    EXPECT(strstr(out, "\"verdict\":\"differs\"") && strstr(out, "\"what\":\"prompt\""));
    write_changed("greedy", "\"finish_reason\":\"length\"", "\"finish_reason\":\"stop\"");
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, "--json", result_path), MR_EXIT_FAILED);
    EXPECT(strstr(out, "\"what\":\"finish_reason\",\"token\":6,\"was\":{\"finish_reason\":\"stop\"},\"is\":{\"finish_reason\":\"length\"}") != NULL);
    write_changed("plain", "\"text\":\"", "\"text\":\"@");
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, "--json", result_path), MR_EXIT_FAILED);
    EXPECT(strstr(out, "\"what\":\"text\",\"token\":0,\"was\":{\"text\":\"@") != NULL);
    write_changed("plain", "\"completion_tokens\":8", "\"completion_tokens\":9");
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_FAILED);
    EXPECT(strstr(out, "plain: differs at token 8") != NULL);
    remove_files();
}

TEST(another_maker_is_refused_by_name)
{
    static const char *const changes[][3] = {
        {"\"model_digest\":\"", "\"model_digest\":\"0", "made by model 0"}, {"\"tokenizer_digest\":\"", "\"tokenizer_digest\":\"0", "made by tokenizer 0"},
        {"cpu-exact", "cpu-inexact", "made by kernel path cpu-inexact"}, {"\"body_hash\":\"", "\"body_hash\":\"0", "another one: body_hash 0"},
        {"\"id\":\"greedy\"", "\"id\":\"nobody\"", "holds no job of that id"}, {"\"seed\":", "\"sown\":", "lacks what a replay needs"},
        {"\"build\":", "\"built\":", "lacks what a replay needs"}, {"\"millrace\":", "\"own\":", "it is no result"}, {"{", "[", ""},
    };
    make_results();
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        write_changed("greedy", changes[i][0], changes[i][1]);
        EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_FAILED);
        EXPECT_STR(out, "");
        if (!strstr(errors, changes[i][2]))
            printf("%s", errors);
        EXPECT(strstr(errors, changes[i][2]) != NULL);
    }
    world_file(result_path, "replay-results", line_of("greedy"));
    EXPECT_EQ(RUN(replay, MODEL, "--precision", "fast", "--job", job_path, result_path), MR_EXIT_FAILED);
    EXPECT(strstr(errors, "here is cpu-fast") != NULL);
    EXPECT_EQ(RUN(replay, MODEL, result_path), MR_EXIT_FAILED); /* `run` has no topic */
    EXPECT(strstr(errors, "give its job with --job") != NULL);
    EXPECT_EQ(RUN(replay, MODEL, "/nowhere"), MR_EXIT_FAILED);
    EXPECT_EQ(RUN(replay, "--threads", "1"), MR_EXIT_USAGE);
    write_changed("greedy", "\"build\":\"", "\"build\":\"9");
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_DONE); /* another version, same path: told, and run */
    EXPECT(strstr(errors, "made by version 9") != NULL);
    remove_files();
}

/* A run that was cancelled after two of its six tokens: as far as it came. */
TEST(a_run_cut_short_is_run_as_far_as_it_came)
{
    static const char *const changes[][2] = {{"\"status\":\"done\"", "\"status\":\"cancelled\""}, {"\"finish_reason\":\"length\"", "\"finish_reason\":\"cancelled\""},
                                             {"\"body_hash\"", "\"short_hash\""}};
    world_file(job_path, "replay-jobs", "{\"id\":\"greedy\",\"prompt\":\"abc\",\"max_tokens\":2,\"temperature\":0,\"return_token_ids\":true}\n");
    EXPECT_EQ(RUN(run, MODEL, job_path), MR_EXIT_DONE);
    strcpy(results, out);
    world_file(job_path, "replay-jobs", jobs);
    for (size_t i = 0; i < 3; i++) {
        write_changed("greedy", changes[i][0], changes[i][1]);
        FILE *file = fopen(result_path, "r");
        REQUIRE(file != NULL);
        slurp(file, results);
    }
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_DONE);
    EXPECT_STR(out, "greedy: same, 2 tokens\n");
    write_changed("greedy", "\"status\":\"cancelled\"", "\"status\":\"done\"");
    EXPECT_EQ(RUN(replay, MODEL, "--job", job_path, result_path), MR_EXIT_FAILED); /* done, it would have had six */
    EXPECT(strstr(out, "differs at token 2: id ") != NULL);
    remove_files();
}

/* A worker's result: the job is its input record, found at src. */
TEST(the_job_is_read_at_its_src)
{
    struct mr_record record;
    char changed[8192];
    make_results();
    world_open_with(NULL, 0);
    worker_lives = false;
    struct mr_record job = {.topic = MR_STR("millrace.jobs.standard"), .partition = 1, .value = MR_STR("{\"id\":\"plain\",\"prompt\":\"abd\",\"max_tokens\":8}")};
    mr_memory_append(memory, &job);
    REQUIRE(mr_memory_read(memory, "millrace.jobs.standard", 1, 0, &record));
    for (int wrong = 0; wrong < 3; wrong++) {
        char place[128];
        const char *line = line_of("plain"), *at = strstr(line, "\"tier\":\"standard\",");
        REQUIRE(at != NULL);
        snprintf(place, sizeof place, "\"route\":\"%s\",\"partition\":1,\"src\":\"0.%lld\",", wrong == 2 ? "none" : "standard",
                 (long long)record.timestamp_ms + (wrong == 1));
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - line), line, place, at);
        world_file(result_path, "replay-results", changed);
        EXPECT_EQ(RUN(replay, MODEL, result_path), wrong ? MR_EXIT_FAILED : MR_EXIT_DONE);
        EXPECT_STR(out, wrong ? "" : "plain: same, 8 tokens\n");
        EXPECT(!wrong || strstr(errors, wrong == 1 ? "millrace.jobs.standard/1/0 is gone" : "no route \"none\""));
        if (wrong)
            continue;
        struct mr_record result = {.topic = mr_str_from(options.routes[0].results), .key = MR_STR("default/plain"), .value = mr_str_from(changed)};
        result.value.n--; /* its newline */
        mr_memory_append(memory, &result);
        EXPECT_EQ(RUN(replay, MODEL, "--stored", "default/plain"), MR_EXIT_DONE);
        EXPECT_STR(out, "plain: same, 8 tokens\n");
        EXPECT_EQ(RUN(replay, MODEL, "--stored", "default/nobody"), MR_EXIT_FAILED);
    }
    world_close();
    remove_files();
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {TEST_CASE(what_was_made_is_the_same_again), TEST_CASE(a_changed_result_differs_there),
                                             TEST_CASE(another_maker_is_refused_by_name), TEST_CASE(a_run_cut_short_is_run_as_far_as_it_came),
                                             TEST_CASE(the_job_is_read_at_its_src)};
    return world_main(cases, sizeof cases / sizeof *cases, argc, argv);
}
