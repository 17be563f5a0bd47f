#include "tests/test.h"

#include "worker/origin.h"

static bool read_text(const char *text, struct mr_origin *out)
{
    struct mr_header header = {MR_STR(MR_ORIGIN_HEADER), mr_str_from(text)};
    struct mr_record record = {.headers = &header, .n_headers = 1};
    return mr_origin_read(&record, out);
}

TEST(there_and_back)
{
    struct mr_origin origin = {.topic = "millrace.jobs.bulk", .partition = 7, .offset = 123456789012, .timestamp_ms = 1700000000000,
                               .tier = MR_TIER_BULK, .job = "acme/a.b:c~-7"}, again;
    char text[MR_ORIGIN_TEXT_BYTES];
    EXPECT(mr_origin_write(&origin, text) == strlen(text));
    EXPECT_STR(text, "millrace.jobs.bulk/7/123456789012/1700000000000/bulk/acme/a.b:c~-7");
    REQUIRE(read_text(text, &again));
    EXPECT(strcmp(again.topic, origin.topic) == 0 && again.partition == 7 && again.offset == origin.offset && again.tier == MR_TIER_BULK);
    EXPECT(again.timestamp_ms == origin.timestamp_ms && strcmp(again.job, origin.job) == 0);
}

TEST(longest)
{
    struct mr_origin origin = {.partition = INT32_MAX, .offset = INT64_MAX - 1, .timestamp_ms = INT64_MAX - 1}, again;
    char text[MR_ORIGIN_TEXT_BYTES], longer[MR_ORIGIN_TEXT_BYTES + 1];
    memset(origin.topic, 't', MR_TOPIC_BYTES_MAX);
    memset(origin.job, 'j', MR_ORIGIN_JOB_BYTES_MAX);
    origin.job[63] = '/';
    size_t n = mr_origin_write(&origin, text);
    REQUIRE(n > 0 && read_text(text, &again));
    EXPECT(strcmp(again.job, origin.job) == 0 && strcmp(again.topic, origin.topic) == 0);
    snprintf(longer, sizeof longer, "%sj", text);
    EXPECT(!read_text(longer, &again)); /* one character more */
}

TEST(nothing_else_is_believed)
{
    static const char *const bad[] = {"", "t", "t/1/2/3/bulk", "t/1/2/3/bulk/", "t/1/2/3/bulk/noslash", "t/1/2/3/other/a/b", "t/-1/2/3/bulk/a/b",
                                      "t/1/x/3/bulk/a/b", "t/1/2//bulk/a/b", "t t/1/2/3/bulk/a/b", "t/2147483648/2/3/bulk/a/b",
                                      "t/1/99999999999999999999/3/bulk/a/b"};
    struct mr_origin out;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT(!read_text(bad[i], &out));
    EXPECT(read_text("t/1/2/3/bulk/a/b", &out) && !mr_origin_read(&(struct mr_record){0}, &out));
}

TEST_MAIN(TEST_CASE(there_and_back), TEST_CASE(longest), TEST_CASE(nothing_else_is_believed))
