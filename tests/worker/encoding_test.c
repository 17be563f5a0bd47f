#include "tests/test.h"

#include "worker/encoding.h"

static int encoding(const char *type, const char *value)
{
    struct mr_header header = {MR_STR("Content-Type"), type ? mr_str_from(type) : (struct mr_str){0}};
    struct mr_record record = {.value = mr_str_from(value), .headers = &header, .n_headers = type != NULL};
    enum mr_encoding out;
    bool known = mr_encoding_of(&record, &out);
    return known ? (int)out : -1 - (int)out;
}

TEST(header_decides_then_the_first_byte)
{
    EXPECT_EQ(encoding(NULL, "{}"), MR_ENCODING_JSON);
    EXPECT_EQ(encoding(NULL, "\x80"), MR_ENCODING_MSGPACK);
    EXPECT_EQ(encoding(NULL, ""), MR_ENCODING_MSGPACK);
    EXPECT_EQ(encoding(NULL, "[]"), MR_ENCODING_MSGPACK);
    EXPECT_EQ(encoding("application/json", "\x80"), MR_ENCODING_JSON);
    EXPECT_EQ(encoding("application/msgpack", "{}"), MR_ENCODING_MSGPACK);
    EXPECT_EQ(encoding(" Application/JSON ; charset=utf-8", "{}"), MR_ENCODING_JSON);
    EXPECT_EQ(encoding("text/plain", "{}"), -1 - MR_ENCODING_JSON);
    EXPECT_EQ(encoding("", "{}"), -1 - MR_ENCODING_JSON);
    EXPECT_EQ(encoding("application/msgpackx", "\x80"), -1 - MR_ENCODING_JSON);
}

TEST(first_header_of_a_name)
{
    struct mr_header headers[] = {{MR_STR("a"), MR_STR("1")}, {MR_STR("TraceParent"), MR_STR("2")}, {MR_STR("traceparent"), MR_STR("3")}};
    struct mr_record record = {.headers = headers, .n_headers = 3};
    EXPECT(mr_str_is(mr_record_header(&record, "traceparent"), "2"));
    EXPECT(mr_record_header(&record, "trace").p == NULL);
}

TEST(codec_of_each)
{
    EXPECT_STR(mr_encoding_codec(MR_ENCODING_JSON)->name, "json");
    EXPECT_STR(mr_encoding_codec(MR_ENCODING_MSGPACK)->name, "msgpack");
}

TEST_MAIN(TEST_CASE(header_decides_then_the_first_byte), TEST_CASE(first_header_of_a_name), TEST_CASE(codec_of_each))
