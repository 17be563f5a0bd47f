#include "tests/test.h"

#include "adapters/codec/codec.h"

TEST(utf8_by_table_3_7)
{
    static const struct {
        struct mr_str bytes;
        bool valid;
    } cases[] = {
        {{"", 0}, true}, {{"a\0b", 3}, true}, {{"\x7f", 1}, true}, {{"\xc2\x80", 2}, true}, {{"\xdf\xbf", 2}, true},
        {{"\xe0\xa0\x80", 3}, true}, {{"\xed\x9f\xbf", 3}, true}, {{"\xee\x80\x80", 3}, true}, {{"\xef\xbf\xbf", 3}, true},
        {{"\xf0\x90\x80\x80", 4}, true}, {{"\xf4\x8f\xbf\xbf", 4}, true},
        {{"\x80", 1}, false}, {{"\xc0\x80", 2}, false}, {{"\xc1\xbf", 2}, false}, {{"\xc2", 1}, false}, {{"\xc2\x7f", 2}, false},
        {{"\xe0\x9f\xbf", 3}, false}, {{"\xed\xa0\x80", 3}, false}, {{"\xe1\x80", 2}, false}, {{"\xe1\x80\xc0", 3}, false},
        {{"\xf0\x8f\xbf\xbf", 4}, false}, {{"\xf4\x90\x80\x80", 4}, false}, {{"\xf5\x80\x80\x80", 4}, false},
        {{"\xf0\x90\x80", 3}, false}, {{"\xff", 1}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        EXPECT_EQ(mr_codec_utf8_valid(cases[i].bytes), cases[i].valid);
}

static void canonical(const struct mr_codec *codec, struct mr_str bytes, struct mr_buf *out)
{
    struct mr_arena arena;
    struct mr_value value;
    mr_arena_init(&arena, 0);
    EXPECT_EQ(codec->decode(bytes, NULL, &arena, &value, NULL), MR_CODEC_OK);
    mr_codec_canonical(&value, out);
    mr_buf_add_char(out, 0);
    mr_arena_fini(&arena);
}

/* Order of keys and encoding do not matter; anything else does. */
TEST(canonical_form)
{
    struct mr_buf a = {0}, b = {0}, c = {0};
    canonical(&mr_codec_json, MR_STR("{\"b\":[2,{\"z\":1,\"y\":1.0}],\"a\":\"x\",\"ab\":null,\"\":true}"), &a);
    canonical(&mr_codec_json, MR_STR("{ \"\" : true, \"ab\":null, \"a\":\"\\u0078\", \"b\":[2,{\"y\":1e0,\"z\":1}] }"), &b);
    canonical(&mr_codec_msgpack,
              (struct mr_str){"\x84\xa1" "a\xa1x\xa0\xc3\xa2" "ab\xc0\xa1" "b\x92\x02\x82\xa1y\xcb\x3f\xf0\0\0\0\0\0\0\xa1z\x01", 30}, &c);
    EXPECT_STR(a.p, "{\"\":true,\"a\":\"x\",\"ab\":null,\"b\":[2,{\"y\":1.0,\"z\":1}]}");
    EXPECT_STR(b.p, a.p);
    EXPECT_STR(c.p, a.p);
    mr_buf_clear(&b);
    canonical(&mr_codec_json, MR_STR("{\"b\":[2,{\"z\":1,\"y\":1}],\"a\":\"x\",\"ab\":null,\"\":true}"), &b);
    EXPECT(strcmp(a.p, b.p) != 0); /* 1 is not 1.0 */
    mr_buf_fini(&a);
    mr_buf_fini(&b);
    mr_buf_fini(&c);
}

TEST_MAIN(TEST_CASE(utf8_by_table_3_7), TEST_CASE(canonical_form))
