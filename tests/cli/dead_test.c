/* `millrace dead` over a dead topic in memory: what it lists and shows, what it sends again and under which names, what it refuses. */
#include "tests/cli/verb_world.h"

#include "adapters/codec/codec.h"
#include "worker/cli/dead_letter.h"
#include "worker/encoding.h"
#include "worker/job_decode.h"

int mr_verb_dead(struct mr_cli *cli, int argc, char **argv);

static const struct recorded_plan plans[] = {
    {.route = 0, .partition = 0, .offset = 0, .body = "{\"id\":\"a\",\"tenant\":\"acme\",\"prompt\":\"one\",\"temperature\":7}", .end = MR_FOLD_FAILED,
     .reason = MR_REASON_OUT_OF_RANGE},
    {.route = 1, .partition = 1, .offset = 0, .body = "{\"prompt\":7}", .end = MR_FOLD_FAILED, .reason = MR_REASON_WRONG_TYPE},
    {.route = 1, .partition = 1, .offset = 1, .body = "not json", .end = MR_FOLD_FAILED, .reason = MR_REASON_INVALID_ENCODING},
    {.route = 2, .partition = 1, .offset = 0, .body = "{\"custom_id\":\"x\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"four\",\"n\":99}}",
     .batch = "b1", .end = MR_FOLD_FAILED, .reason = MR_REASON_UNSUPPORTED_FIELD},
    {.route = 0, .partition = 0, .offset = 1, .body = "{\"id\":\"p\",\"tenant\":\"acme\",\"prompt\":\"two\"}", .n_tokens = 2, .end = MR_FOLD_FAILED,
     .reason = MR_REASON_POISON},
};

static void open_world(void)
{
    world_open_with(plans, sizeof plans / sizeof *plans);
    worker_lives = false;
}

static int lines_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* The newest record of a jobs topic, whatever its partition; decoded as a worker would. */
static struct mr_job *newest_job(int route, struct mr_record *record, int64_t *n)
{
    struct mr_job *job = NULL;
    struct mr_refusal refusal;
    *n = 0;
    for (int32_t p = 0; p < PARTITIONS; p++)
        for (int64_t i = 0; i < mr_memory_end(memory, options.routes[route].jobs, p); i++) {
            struct mr_record found;
            if (mr_memory_read(memory, options.routes[route].jobs, p, i, &found) && mr_record_header(&found, "redrive-of").p) {
                *record = found;
                ++*n;
            }
        }
    struct mr_job_source source = {.record = record, .route = &options.routes[route], .max_record_bytes = 1 << 20, .max_deadline_ms = INT64_C(1) << 40};
    if (*n)
        mr_job_decode(&source, &job, &refusal);
    return job;
}

TEST(letters_are_listed)
{
    open_world();
    EXPECT_EQ(RUN(dead, "list"), MR_EXIT_DONE);
    EXPECT_EQ(lines_of(out), 5);
    EXPECT(strstr(out, "out_of_range") && strstr(out, "acme/a") && strstr(out, "millrace.jobs.realtime/0/0: because"));
    EXPECT_EQ(RUN(dead, "list", "--reason", "poison"), MR_EXIT_DONE);
    EXPECT(lines_of(out) == 1 && strstr(out, "acme/p"));
    EXPECT_EQ(RUN(dead, "list", "--tenant", "acme", "--json"), MR_EXIT_DONE);
    EXPECT_EQ(lines_of(out), 2);
    EXPECT(strstr(out, "{\"job\":\"acme/a\",\"reason\":\"out_of_range\",\"field\":\"prompt\",\"message\":\"because\",") && strstr(out, "\"redriven\":false}"));
    EXPECT_EQ(RUN(dead, "list", "--reason", "poison", "--tenant", "default"), MR_EXIT_DONE);
    EXPECT_EQ(lines_of(out), 0);
    EXPECT_EQ(RUN(dead, "list", "acme/nobody"), MR_EXIT_FAILED);
    EXPECT_EQ(RUN(dead, "bury"), MR_EXIT_USAGE);
    EXPECT_EQ(RUN(dead, "--json"), MR_EXIT_USAGE);
    world_close();
}

TEST(a_letter_is_shown_whole)
{
    open_world();
    EXPECT_EQ(RUN(dead, "show", "acme/a", "--json"), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"value\":{\"id\":\"a\",\"tenant\":\"acme\",\"prompt\":\"one\",\"temperature\":7}") != NULL);
    EXPECT_EQ(RUN(dead, "show", "acme/a", "--raw"), MR_EXIT_DONE);
    EXPECT_STR(out, plans[0].body);
    EXPECT_EQ(RUN(dead, "show", "millrace.jobs.standard/1/1", "--json"), MR_EXIT_DONE); /* by its position; no JSON, no msgpack */
    EXPECT(strstr(out, "\"value_hex\":\"6e6f74206a736f6e\"") != NULL);
    EXPECT_EQ(RUN(dead, "show", "acme/p"), MR_EXIT_DONE);
    EXPECT(strstr(out, "reason     poison\n") && strstr(out, "message    because\n"));
    EXPECT_EQ(RUN(dead, "show"), MR_EXIT_USAGE);
    EXPECT_EQ(RUN(dead, "show", "acme/nobody"), MR_EXIT_FAILED);
    world_close();
}

TEST(a_redrive_is_a_new_job_of_the_same_body)
{
    struct mr_record record;
    int64_t n;
    open_world();
    EXPECT_EQ(RUN(dead, "redrive", "acme/p", "--dry-run"), MR_EXIT_DONE);
    EXPECT_STR(out, "acme/p~r1\n");
    EXPECT(newest_job(0, &record, &n) == NULL);
    EXPECT_EQ(RUN(dead, "redrive", "acme/p"), MR_EXIT_DONE);
    EXPECT_STR(out, "acme/p~r1\n");
    struct mr_job *job = newest_job(0, &record, &n);
    REQUIRE(job != NULL);
    EXPECT_EQ(n, 1);
    EXPECT(mr_str_is(job->name, "acme/p~r1") && mr_str_is(record.key, "acme/p~r1"));
    EXPECT(mr_str_is(record.value, "{\"id\":\"p~r1\",\"tenant\":\"acme\",\"prompt\":\"two\"}"));
    EXPECT(mr_str_is(mr_record_header(&record, "redrive-of"), "millrace.jobs.realtime/0/1"));
    EXPECT(mr_record_header(&record, "mr-dead-reason").p == NULL);
    /* the first one's body hash: sent twice, the second is a duplicate */
    struct mr_record first;
    struct mr_job *was;
    struct mr_refusal refusal;
    REQUIRE(mr_memory_read(memory, "millrace.jobs.realtime", 0, 1, &first));
    struct mr_job_source source = {.record = &first, .route = &options.routes[0], .max_record_bytes = 1 << 20, .max_deadline_ms = INT64_C(1) << 40};
    EXPECT_EQ(mr_job_decode(&source, &was, &refusal), MR_REASON_NONE);
    EXPECT_STR(job->body_hash, was->body_hash);
    mr_job_free(was);
    mr_job_free(job);
    EXPECT_EQ(RUN(dead, "redrive", "acme/p"), MR_EXIT_DONE);
    EXPECT_STR(out, "acme/p~r1\n"); /* the same name again */
    world_close();
}

TEST(a_batch_line_and_undecodable_bytes)
{
    struct mr_record record;
    int64_t n;
    open_world();
    EXPECT_EQ(RUN(dead, "redrive", "default/b1.x", "--json"), MR_EXIT_DONE);
    EXPECT(strstr(out, "\"redriven_as\":\"default/b1.x~r1\",\"topic\":\"millrace.jobs.bulk\"") != NULL);
    struct mr_job *job = newest_job(2, &record, &n);
    REQUIRE(job != NULL);
    EXPECT(mr_str_is(job->name, "default/b1.x~r1") && mr_str_is(job->custom_id, "x") && job->batch_line);
    mr_job_free(job);
    const char *bytes = "default/millrace.jobs.standard.1.1";
    EXPECT_EQ(RUN(dead, "redrive", bytes), MR_EXIT_FAILED);
    EXPECT(strstr(errors, "--raw") != NULL);
    EXPECT_EQ(RUN(dead, "redrive", bytes, "--json"), MR_EXIT_FAILED);
    EXPECT(strstr(out, "\"error\":\"it cannot be decoded") != NULL);
    EXPECT_EQ(RUN(dead, "redrive", bytes, "--raw"), MR_EXIT_DONE);
    job = newest_job(1, &record, &n);
    REQUIRE(job != NULL);
    EXPECT(mr_str_is(record.value, "not json") && mr_str_is(job->name, "default/millrace.jobs.standard.1.1~r1"));
    mr_job_free(job);
    world_close();
}

TEST(redrive_by_reason_and_tenant)
{
    struct mr_record record;
    int64_t n;
    open_world();
    EXPECT_EQ(RUN(dead, "redrive"), MR_EXIT_USAGE); /* nothing chosen */
    EXPECT_EQ(RUN(dead, "redrive", "--reason", "poison", "--tenant", "acme"), MR_EXIT_DONE);
    EXPECT_STR(out, "acme/p~r1\n");
    EXPECT_EQ(RUN(dead, "redrive", "--tenant", "default"), MR_EXIT_FAILED); /* two of three: one cannot be decoded */
    EXPECT_EQ(lines_of(out), 2);
    EXPECT_EQ(RUN(dead, "redrive", "--all", "--raw", "--dry-run"), MR_EXIT_DONE);
    EXPECT_EQ(lines_of(out), 5);
    struct mr_job *job = newest_job(0, &record, &n);
    EXPECT_EQ(n, 1);
    mr_job_free(job);
    world_close();
}

/* The value did not fit into the dead topic: the input record has it, while it is there. */
TEST(a_letter_without_a_value_is_read_at_its_position)
{
    struct mr_record record;
    int64_t n;
    open_world();
    for (int i = 0; i < 2; i++) {
        struct mr_header headers[] = {{MR_STR("mr-dead-reason"), MR_STR("too_large")}, {MR_STR("mr-dead-job"), i ? MR_STR("acme/gone") : MR_STR("acme/big")},
                                      {MR_STR("mr-dead-position"), i ? MR_STR("millrace.jobs.realtime/0/77") : MR_STR("millrace.jobs.realtime/0/1")}};
        mr_memory_append(memory, &(struct mr_record){.topic = mr_str_from(options.routes[0].dead), .headers = headers, .n_headers = 3});
    }
    EXPECT_EQ(RUN(dead, "redrive", "acme/big"), MR_EXIT_DONE);
    struct mr_job *job = newest_job(0, &record, &n);
    REQUIRE(job != NULL);
    EXPECT(mr_str_is(job->name, "acme/big~r1") && mr_str_is(job->prompt, "two"));
    mr_job_free(job);
    EXPECT_EQ(RUN(dead, "redrive", "acme/gone"), MR_EXIT_FAILED);
    EXPECT(strstr(errors, "is gone") != NULL);
    world_close();
}

/* ---- names ---- */

static void add_letter(struct mr_dead_letters *letters, const char *job, const char *position, const char *of, int64_t time_ms)
{
    struct mr_header headers[4] = {{MR_STR("mr-dead-reason"), MR_STR("poison")}, {MR_STR("mr-dead-job"), mr_str_from(job)},
                                   {MR_STR("mr-dead-position"), mr_str_from(position)}, {MR_STR("redrive-of"), mr_str_from(of)}};
    struct mr_record record = {.topic = MR_STR("d"), .timestamp_ms = time_ms, .value = MR_STR("{\"prompt\":\"x\"}"), .headers = headers, .n_headers = of[0] ? 4 : 3};
    EXPECT(mr_dead_letters_add(letters, &record));
}

static enum mr_status redrive_name(const struct mr_dead_letter *letter, char name[256])
{
    struct mr_arena arena = {0};
    struct mr_record record;
    struct mr_err err;
    enum mr_status status = mr_dead_letter_redrive(letter, NULL, false, &arena, &record, &err);
    snprintf(name, 256, "%.*s", status == MR_OK ? (int)record.key.n : 0, status == MR_OK ? record.key.p : "");
    mr_arena_fini(&arena);
    return status;
}

TEST(numbers_never_meet_and_never_change)
{
    static const char *const wanted[] = {"t/x~r1", "t/x~r2", "t/x~r3", "t/y~r1", "t/x~r4", "t/z~r10"};
    struct mr_dead_letters letters = {0};
    add_letter(&letters, "t/x~r1", "i/0/9", "i/0/1", 30); /* the first x, redriven, died again */
    add_letter(&letters, "t/x", "i/0/1", "", 10);
    add_letter(&letters, "t/x", "i/0/2", "", 20); /* another body under the same id */
    add_letter(&letters, "t/y", "i/0/3", "", 40);
    add_letter(&letters, "t/x~r2", "i/0/10", "i/0/2", 50);
    add_letter(&letters, "t/z~r9", "i/0/11", "i/0/4", 60);
    EXPECT(mr_dead_letters_sort(&letters));
    REQUIRE(letters.n == 6);
    for (size_t i = 0; i < 6; i++) {
        char name[256];
        EXPECT_EQ(redrive_name(&letters.list[i], name), MR_OK);
        EXPECT_STR(name, wanted[i]);
        EXPECT_EQ(letters.list[i].redriven, i < 2);
    }
    mr_dead_letters_fini(&letters);
}

/* 120 characters and "~r" with six digits are the most. */
TEST(names_have_their_limits)
{
    char at_limit[200] = "t/", past[200] = "t/", name[256];
    struct mr_dead_letters letters = {0};
    memset(at_limit + 2, 'a', 120);
    memset(past + 2, 'a', 127);
    add_letter(&letters, at_limit, "i/0/1", "", 1);
    add_letter(&letters, past, "i/0/2", "", 2);
    add_letter(&letters, "t/n~r999998", "i/0/3", "i/0/9", 3);
    add_letter(&letters, "t/m~r999999", "i/0/4", "i/0/9", 4);
    add_letter(&letters, "NO TENANT/m", "i/0/5", "", 5);
    EXPECT(mr_dead_letters_sort(&letters));
    EXPECT_EQ(redrive_name(&letters.list[0], name), MR_OK);
    EXPECT_EQ(redrive_name(&letters.list[1], name), MR_ERR_INVALID);
    EXPECT_EQ(redrive_name(&letters.list[2], name), MR_OK);
    EXPECT_STR(name, "t/n~r999999");
    EXPECT_EQ(redrive_name(&letters.list[3], name), MR_ERR_INVALID);
    EXPECT_EQ(redrive_name(&letters.list[4], name), MR_ERR_INVALID);
    mr_dead_letters_fini(&letters);
}

/* A letter cannot name where its redrive goes beyond the routes, nor write to a terminal. */
TEST(forged_letters)
{
    static const char *const positions[] = {"millrace.results/0/1", "elsewhere/0/1", "millrace.jobs.bulk", "millrace.jobs.bulk/0", "millrace.jobs.bulk/-1/0",
                                            "millrace.jobs.bulk/0/-1", "millrace.jobs.bulk/0/1/2", "millrace.jobs.bulk/99999999999999999999999999999999999999999999/0", "/0/1"};
    struct mr_dead_letters letters = {0};
    const char *topic;
    int32_t partition;
    int64_t offset;
    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        add_letter(&letters, "t/x", positions[i], "", 1);
        EXPECT(mr_dead_letter_place(&letters.list[i], &options, &topic, &partition, &offset) == NULL);
    }
    add_letter(&letters, "t/x", "millrace.parked.bulk/3/17", "", 1);
    EXPECT(mr_dead_letter_place(&letters.list[letters.n - 1], &options, &topic, &partition, &offset) == &options.routes[2]);
    EXPECT_STR(topic, "millrace.parked.bulk");
    EXPECT(partition == 3 && offset == 17);
    size_t n = letters.n;
    add_letter(&letters, "t/\x1b[2J", "millrace.jobs.bulk/0/1", "", 1);
    add_letter(&letters, "", "millrace.jobs.bulk/0/1", "", 1);
    EXPECT(letters.n == n && letters.strangers == 2);
    mr_dead_letters_fini(&letters);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        TEST_CASE(letters_are_listed), TEST_CASE(a_letter_is_shown_whole), TEST_CASE(a_redrive_is_a_new_job_of_the_same_body),
        TEST_CASE(a_batch_line_and_undecodable_bytes), TEST_CASE(redrive_by_reason_and_tenant), TEST_CASE(a_letter_without_a_value_is_read_at_its_position),
        TEST_CASE(numbers_never_meet_and_never_change), TEST_CASE(names_have_their_limits), TEST_CASE(forged_letters)};
    return world_main(cases, sizeof cases / sizeof *cases, argc, argv);
}
