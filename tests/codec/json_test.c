#include "tests/test.h"

#include "adapters/codec/codec.h"

#include <stdlib.h>

static enum mr_codec_fault decode(struct mr_str text, struct mr_arena *arena, struct mr_value *out)
{
    mr_arena_init(arena, 0);
    return mr_codec_json.decode(text, NULL, arena, out, NULL);
}

/* In the manner of JSONTestSuite: y_ must be read, and written back as `again`; n_ must be refused with the fault. */
struct accepted {
    const char *text, *again;
};
static const struct accepted accepted[] = {
    {"{}", "{}"},
    {" [ ] ", "[]"},
    {"null", "null"},
    {"[true,false,null]", "[true,false,null]"},
    {"[0,-0,1,-1]", "[0,0,1,-1]"},
    {"9223372036854775807", "9223372036854775807"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"9007199254740993", "9007199254740993"},
    {"1.0", "1.0"},
    {"1e2", "100.0"},
    {"0.1", "0.1"},
    {"-1.5e-7", "-1.5e-07"},
    {"0.30000000000000004", "0.30000000000000004"},
    {"1.7976931348623157e308", "1.7976931348623157e+308"},
    {"5e-324", "4.94065645841247e-324"},
    {"123456789012345678.0", "1.2345678901234568e+17"},
    {"\"\\u0041\\u00e9\\ud83d\\ude00\"", "\"A\xc3\xa9\xf0\x9f\x98\x80\""},
    {"\"\\u0000\"", "\"\\u0000\""},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
    {"\"\x7f\xe2\x80\xa8\"", "\"\x7f\xe2\x80\xa8\""},
    {"{\"b\":1,\"a\":{\"\":[]}}", "{\"b\":1,\"a\":{\"\":[]}}"},
    {"[\"]]]]{{{{\",\"\\\"[\"]", "[\"]]]]{{{{\",\"\\\"[\"]"},
};

TEST(accepts_and_writes_back)
{
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        struct mr_arena arena;
        struct mr_value value;
        struct mr_buf out = {0};
        EXPECT_EQ(decode(mr_str_from(accepted[i].text), &arena, &value), MR_CODEC_OK);
        mr_codec_json.encode(&value, &out);
        mr_buf_add_char(&out, 0);
        EXPECT_STR(out.p, accepted[i].again);
        mr_buf_fini(&out);
        mr_arena_fini(&arena);
    }
}

struct refused {
    const char *text;
    enum mr_codec_fault fault;
};
static const struct refused refused[] = {
    {"", MR_CODEC_ENCODING},
    {"   ", MR_CODEC_ENCODING},
    {"{", MR_CODEC_ENCODING},
    {"[1,]", MR_CODEC_ENCODING},
    {"[1 2]", MR_CODEC_ENCODING},
    {"{\"a\":1,}", MR_CODEC_ENCODING},
    {"{a:1}", MR_CODEC_ENCODING},
    {"{\"a\" 1}", MR_CODEC_ENCODING},
    {"{1:1}", MR_CODEC_ENCODING},
    {"{\"a\":1,\"a\":1}", MR_CODEC_ENCODING},
    {"{\"a\":1,\"\\u0061\":2}", MR_CODEC_ENCODING},
    {"{\"a\\u0000b\":1}", MR_CODEC_ENCODING},
    {"[NaN]", MR_CODEC_ENCODING},
    {"[Infinity]", MR_CODEC_ENCODING},
    {"[-Infinity]", MR_CODEC_ENCODING},
    {"[nan]", MR_CODEC_ENCODING},
    {"[1e999]", MR_CODEC_ENCODING},
    {"[9223372036854775808]", MR_CODEC_ENCODING},
    {"[-9223372036854775809]", MR_CODEC_ENCODING},
    {"[01]", MR_CODEC_ENCODING},
    {"[+1]", MR_CODEC_ENCODING},
    {"[.5]", MR_CODEC_ENCODING},
    {"[1.]", MR_CODEC_ENCODING},
    {"[0x10]", MR_CODEC_ENCODING},
    {"['a']", MR_CODEC_ENCODING},
    {"[\"a]", MR_CODEC_ENCODING},
    {"[\"a\nb\"]", MR_CODEC_ENCODING},
    {"[\"\\x\"]", MR_CODEC_ENCODING},
    {"[\"\\ud800\"]", MR_CODEC_ENCODING},
    {"[\"\\udc00\\ud800\"]", MR_CODEC_ENCODING},
    {"[tru]", MR_CODEC_ENCODING},
    {"[1]x", MR_CODEC_ENCODING},
    {"[1][2]", MR_CODEC_ENCODING},
    {"// c\n1", MR_CODEC_ENCODING},
    {"\xef\xbb\xbf{}", MR_CODEC_ENCODING},
    {"]]]]", MR_CODEC_ENCODING},
    {"[\"\xff\"]", MR_CODEC_UTF8},
    {"[\"\xc0\xaf\"]", MR_CODEC_UTF8},
    {"[\"\xed\xa0\x80\"]", MR_CODEC_UTF8},
    {"[\"\xf4\x90\x80\x80\"]", MR_CODEC_UTF8},
    {"[\"\xe2\x82\"]", MR_CODEC_UTF8},
    {"{\"\xff\":1}", MR_CODEC_UTF8},
};

TEST(refuses_by_kind)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct mr_arena arena;
        struct mr_value value;
        enum mr_codec_fault fault = decode(mr_str_from(refused[i].text), &arena, &value);
        if (fault != refused[i].fault)
            printf("for %s:\n", refused[i].text);
        EXPECT_STR(mr_codec_fault_name(fault), mr_codec_fault_name(refused[i].fault));
        mr_arena_fini(&arena);
    }
}

static enum mr_codec_fault nested(int depth, char open, char close)
{
    char text[4096];
    int n = 0;
    for (int i = 0; i < depth; i++) {
        if (open == '{')
            n += sprintf(text + n, i ? "\"k\":{" : "{");
        else
            text[n++] = open;
    }
    for (int i = 0; i < depth; i++)
        text[n++] = close;
    struct mr_arena arena;
    struct mr_value value;
    enum mr_codec_fault fault = decode((struct mr_str){text, (size_t)n}, &arena, &value);
    mr_arena_fini(&arena);
    return fault;
}

TEST(depth_ends_at_its_number)
{
    EXPECT_EQ(nested(MR_CODEC_DEPTH_MAX, '[', ']'), MR_CODEC_OK);
    EXPECT_EQ(nested(MR_CODEC_DEPTH_MAX + 1, '[', ']'), MR_CODEC_DEPTH);
    EXPECT_EQ(nested(MR_CODEC_DEPTH_MAX, '{', '}'), MR_CODEC_OK);
    EXPECT_EQ(nested(MR_CODEC_DEPTH_MAX + 1, '{', '}'), MR_CODEC_DEPTH);
}

static struct mr_str ones(size_t n, char **owned)
{
    char *text = malloc(2 * n + 2);
    text[0] = '[';
    for (size_t i = 0; i < n; i++)
        text[1 + 2 * i] = '1', text[2 + 2 * i] = i + 1 < n ? ',' : ']';
    *owned = text;
    return (struct mr_str){text, 2 * n + 1};
}

TEST(values_and_bytes_end_at_their_numbers)
{
    struct mr_arena arena;
    struct mr_value value;
    char *owned;
    struct mr_codec_limits limits = {.bytes = 201, .nodes = 101, .depth = 2};
    mr_arena_init(&arena, 0);
    struct mr_str text = ones(100, &owned); /* the array and 100 numbers: 201 bytes */
    EXPECT_EQ(mr_codec_json.decode(text, &limits, &arena, &value, NULL), MR_CODEC_OK);
    limits.nodes = 100;
    EXPECT_EQ(mr_codec_json.decode(text, &limits, &arena, &value, NULL), MR_CODEC_SIZE);
    limits.nodes = 101, limits.bytes = 200;
    EXPECT_EQ(mr_codec_json.decode(text, &limits, &arena, &value, NULL), MR_CODEC_SIZE);
    free(owned);
    text = ones(MR_CODEC_NODES_MAX, &owned);
    EXPECT_EQ(mr_codec_json.decode(text, NULL, &arena, &value, NULL), MR_CODEC_SIZE);
    free(owned);
    mr_arena_fini(&arena);
    mr_arena_init(&arena, 1024);
    text = ones(100, &owned);
    EXPECT_EQ(mr_codec_json.decode(text, NULL, &arena, &value, NULL), MR_CODEC_SIZE);
    free(owned);
    mr_arena_fini(&arena);
}

TEST(the_largest_text)
{
    struct mr_arena arena;
    struct mr_value value;
    char *text = malloc(MR_CODEC_BYTES_MAX + 1);
    memset(text, 'x', MR_CODEC_BYTES_MAX + 1);
    text[0] = text[MR_CODEC_BYTES_MAX - 1] = '"';
    mr_arena_init(&arena, 0);
    EXPECT_EQ(mr_codec_json.decode((struct mr_str){text, MR_CODEC_BYTES_MAX}, NULL, &arena, &value, NULL), MR_CODEC_OK);
    text[MR_CODEC_BYTES_MAX - 1] = 'x', text[MR_CODEC_BYTES_MAX] = '"';
    EXPECT_EQ(mr_codec_json.decode((struct mr_str){text, MR_CODEC_BYTES_MAX + 1}, NULL, &arena, &value, NULL), MR_CODEC_SIZE);
    mr_arena_fini(&arena);
    free(text);
}

TEST(errors_name_the_place_and_not_the_text)
{
    struct mr_arena arena;
    struct mr_value value;
    struct mr_err err;
    mr_arena_init(&arena, 0);
    EXPECT_EQ(mr_codec_json.decode(MR_STR("{\"prompt\":\n  \"secret canary\" \"x\"}"), NULL, &arena, &value, &err), MR_CODEC_ENCODING);
    EXPECT(strstr(err.text, "line 2") != NULL);
    EXPECT(strstr(err.text, "canary") == NULL);
    mr_arena_fini(&arena);
}

TEST(doubles_read_back_the_same)
{
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        struct mr_arena arena;
        struct mr_value value;
        struct mr_buf out = {0};
        double d;
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(&d, &x, sizeof d);
        if (!isfinite(d))
            continue;
        struct mr_value number = mr_value_float(d);
        mr_codec_json.encode(&number, &out);
        EXPECT_EQ(decode(mr_buf_view(&out), &arena, &value), MR_CODEC_OK);
        EXPECT(value.kind == MR_FLOAT && value.as.real == d);
        mr_buf_fini(&out);
        mr_arena_fini(&arena);
    }
}

TEST(what_is_not_finite_is_null)
{
    double odd[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        struct mr_buf out = {0};
        struct mr_value number = mr_value_float(odd[i]);
        mr_codec_json.encode(&number, &out);
        EXPECT(mr_str_is(mr_buf_view(&out), "null"));
        mr_buf_fini(&out);
    }
}

TEST_MAIN(TEST_CASE(accepts_and_writes_back), TEST_CASE(refuses_by_kind), TEST_CASE(depth_ends_at_its_number),
          TEST_CASE(values_and_bytes_end_at_their_numbers), TEST_CASE(the_largest_text), TEST_CASE(errors_name_the_place_and_not_the_text),
          TEST_CASE(doubles_read_back_the_same), TEST_CASE(what_is_not_finite_is_null))
