#include "tests/test.h"
#include "worker/cli/input_file.h"

#include <stdlib.h>
#include <unistd.h>

static const struct mr_route route = {.name = "r", .jobs = "jobs", .tier = MR_TIER_STANDARD, .tenant_from_field = true, .tenant = "default"};
static const struct mr_options options = {.limits = {.record_bytes = 4096}};
static char path[] = "/tmp/input_file_test_XXXXXX";

static enum mr_status open_with(struct mr_input_file *file, struct mr_str content, const char *batch, struct mr_err *err)
{
    FILE *out = fopen(path, "w");
    EXPECT(out && fwrite(content.p, 1, content.n, out) == content.n && fclose(out) == 0);
    return mr_input_file_open(file, path, batch, &options, &route, err);
}

TEST(lines_get_the_names_that_the_worker_will_give)
{
    struct mr_input_file file;
    struct mr_err err;
    REQUIRE(open_with(&file, MR_STR("{\"id\":\"mine\",\"prompt\":\"a\"}\r\n\n{\"prompt\":\"b\"}\n"
                                    "{\"custom_id\":\"c\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"d\"}}\n{\"id\":\"not an id\"}"),
                      "night", &err) == MR_OK);
    REQUIRE(file.n == 4);
    EXPECT(mr_str_is(file.jobs[0].name, "default/mine"));
    EXPECT(mr_str_is(file.jobs[1].name, "default/night.3")); /* the line's number, blank ones counted */
    EXPECT(mr_str_is(file.jobs[2].name, "default/night.c") && mr_str_is(file.jobs[2].custom_id, "c") && file.jobs[2].batch_line);
    EXPECT_EQ(file.jobs[3].name.n, 0);
    mr_input_file_close(&file);
    EXPECT_EQ(mr_input_file_open(&file, "/no/such/file", NULL, &options, &route, &err), MR_ERR_IO);
}

TEST(the_same_bytes_are_the_same_batch)
{
    struct mr_input_file one, two;
    REQUIRE(open_with(&one, MR_STR("{\"prompt\":\"a\"}\n"), NULL, NULL) == MR_OK && open_with(&two, MR_STR("{\"prompt\":\"a\"}\n"), NULL, NULL) == MR_OK);
    EXPECT_STR(one.batch, two.batch);
    EXPECT_EQ(strlen(one.batch), 16);
    mr_input_file_close(&two);
    REQUIRE(open_with(&two, MR_STR("{\"prompt\":\"b\"}\n"), NULL, NULL) == MR_OK);
    EXPECT(strcmp(one.batch, two.batch) != 0);
    mr_input_file_close(&one);
    mr_input_file_close(&two);
}

TEST(a_batch_id_ends_at_its_number)
{
    char batch[MR_BATCH_ID_BYTES_MAX + 2] = {0};
    struct mr_input_file file;
    struct mr_err err;
    memset(batch, 'b', MR_BATCH_ID_BYTES_MAX);
    EXPECT_EQ(open_with(&file, MR_STR("{\"prompt\":\"a\"}\n"), batch, &err), MR_OK);
    mr_input_file_close(&file);
    batch[MR_BATCH_ID_BYTES_MAX] = 'b';
    EXPECT_EQ(open_with(&file, MR_STR("{\"prompt\":\"a\"}\n"), batch, &err), MR_ERR_INVALID);
    EXPECT_EQ(open_with(&file, MR_STR("{\"prompt\":\"a\"}\n"), "", &err), MR_ERR_INVALID);
    EXPECT_EQ(open_with(&file, MR_STR("{\"prompt\":\"a\"}\n"), "a b", &err), MR_ERR_INVALID);
}

/* One past: a file at the number itself takes gigabytes of names. */
TEST(a_file_has_at_most_so_many_jobs)
{
    struct mr_input_file file;
    struct mr_err err;
    char *lines = malloc(2 * ((size_t)MR_INPUT_JOBS_MAX + 1));
    for (size_t i = 0; i <= MR_INPUT_JOBS_MAX; i++)
        memcpy(lines + 2 * i, "x\n", 2);
    EXPECT_EQ(open_with(&file, (struct mr_str){lines, 2 * ((size_t)MR_INPUT_JOBS_MAX + 1)}, NULL, &err), MR_ERR_LIMIT);
    EXPECT(strstr(err.text, "1048576 jobs") != NULL);
    free(lines);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {TEST_CASE(lines_get_the_names_that_the_worker_will_give), TEST_CASE(the_same_bytes_are_the_same_batch),
                                             TEST_CASE(a_batch_id_ends_at_its_number), TEST_CASE(a_file_has_at_most_so_many_jobs)};
    int fd = mkstemp(path);
    close(fd);
    int code = test_run(cases, (int)(sizeof cases / sizeof *cases), argc, argv);
    unlink(path);
    return code;
}
