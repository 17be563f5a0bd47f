#include "tests/test.h"

#include "adapters/codec/codec.h"

#include <stdlib.h>

static enum mr_codec_fault decode(struct mr_str bytes, struct mr_arena *arena, struct mr_value *out)
{
    mr_arena_init(arena, 0);
    return mr_codec_msgpack.decode(bytes, NULL, arena, out, NULL);
}

struct accepted {
    struct mr_str bytes;
    const char *json;
};
static const struct accepted accepted[] = {
    {{"\xc0", 1}, "null"},
    {{"\xc2", 1}, "false"},
    {{"\xc3", 1}, "true"},
    {{"\x7f", 1}, "127"},
    {{"\xe0", 1}, "-32"},
    {{"\xcc\xff", 2}, "255"},
    {{"\xcd\xff\xff", 3}, "65535"},
    {{"\xce\xff\xff\xff\xff", 5}, "4294967295"},
    {{"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", 9}, "9223372036854775807"},
    {{"\xd0\x80", 2}, "-128"},
    {{"\xd1\x80\x00", 3}, "-32768"},
    {{"\xd2\x80\x00\x00\x00", 5}, "-2147483648"},
    {{"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9}, "-9223372036854775808"},
    {{"\xca\x3f\x00\x00\x00", 5}, "0.5"},
    {{"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", 9}, "0.1"},
    {{"\xa3" "abc", 4}, "\"abc\""},
    {{"\xd9\x01z", 3}, "\"z\""},
    {{"\xda\x00\x01z", 4}, "\"z\""},
    {{"\xdb\x00\x00\x00\x01z", 6}, "\"z\""},
    {{"\x90", 1}, "[]"},
    {{"\x92\x01\x91\xc0", 4}, "[1,[null]]"},
    {{"\xdc\x00\x01\x05", 4}, "[5]"},
    {{"\xdd\x00\x00\x00\x01\x05", 6}, "[5]"},
    {{"\x80", 1}, "{}"},
    {{"\x82\xa1" "b\x01\xa1" "a\x90", 7}, "{\"b\":1,\"a\":[]}"},
    {{"\xde\x00\x01\xa1k\x01", 6}, "{\"k\":1}"},
    {{"\xdf\x00\x00\x00\x01\xa1k\x01", 8}, "{\"k\":1}"},
};

TEST(accepts_every_form)
{
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        struct mr_arena arena;
        struct mr_value value;
        struct mr_buf out = {0};
        enum mr_codec_fault fault = decode(accepted[i].bytes, &arena, &value);
        EXPECT_STR(mr_codec_fault_name(fault), "ok");
        if (!fault)
            mr_codec_json.encode(&value, &out);
        mr_buf_add_char(&out, 0);
        EXPECT_STR(out.p, accepted[i].json);
        mr_buf_fini(&out);
        mr_arena_fini(&arena);
    }
}

struct refused {
    struct mr_str bytes;
    enum mr_codec_fault fault;
};
static const struct refused refused[] = {
    {{"", 0}, MR_CODEC_ENCODING},
    {{"\xc1", 1}, MR_CODEC_ENCODING},                                     /* never used */
    {{"\xc4\x01z", 3}, MR_CODEC_ENCODING},                                /* bin */
    {{"\xc5\x00\x01z", 4}, MR_CODEC_ENCODING},
    {{"\xc6\x00\x00\x00\x01z", 6}, MR_CODEC_ENCODING},
    {{"\xd4\x01z", 3}, MR_CODEC_ENCODING},                                /* ext */
    {{"\xc7\x01\x01z", 4}, MR_CODEC_ENCODING},
    {{"\xcf\x80\x00\x00\x00\x00\x00\x00\x00", 9}, MR_CODEC_ENCODING},     /* 2^63 */
    {{"\xca\x7f\xc0\x00\x00", 5}, MR_CODEC_ENCODING},                     /* NaN */
    {{"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", 9}, MR_CODEC_ENCODING},
    {{"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", 9}, MR_CODEC_ENCODING},     /* infinity */
    {{"\xcd\xff", 2}, MR_CODEC_ENCODING},                                 /* cut off */
    {{"\x92\x01", 2}, MR_CODEC_ENCODING},
    {{"\xa3" "ab", 3}, MR_CODEC_ENCODING},
    {{"\xdb\xff\xff\xff\xff" "ab", 7}, MR_CODEC_ENCODING},                /* 4 GB declared */
    {{"\xdd\xff\xff\xff\xff", 5}, MR_CODEC_ENCODING},
    {{"\xdf\xff\xff\xff\xff", 5}, MR_CODEC_ENCODING},
    {{"\xdf\x80\x00\x00\x00", 5}, MR_CODEC_ENCODING},                     /* twice the count would wrap 32 bits */
    {{"\x81\x01\x02", 3}, MR_CODEC_ENCODING},                             /* key is no string */
    {{"\x81\x81\xa1k\x01\x02", 6}, MR_CODEC_ENCODING},
    {{"\x82\xa1k\x01\xa1k\x02", 7}, MR_CODEC_ENCODING},                   /* twice */
    {{"\x01\x02", 2}, MR_CODEC_ENCODING},                                 /* goes on */
    {{"\xa1\xff", 2}, MR_CODEC_UTF8},
    {{"\xa3\xed\xa0\x80", 4}, MR_CODEC_UTF8},
    {{"\x81\xa1\xff\x01", 4}, MR_CODEC_UTF8},
};

TEST(refuses_by_kind)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct mr_arena arena;
        struct mr_value value;
        enum mr_codec_fault fault = decode(refused[i].bytes, &arena, &value);
        if (fault != refused[i].fault)
            printf("case %zu:\n", i);
        EXPECT_STR(mr_codec_fault_name(fault), mr_codec_fault_name(refused[i].fault));
        EXPECT(arena.used_bytes < 1024); /* nothing was taken for what was only declared */
        mr_arena_fini(&arena);
    }
}

static enum mr_codec_fault nested(int depth, char lead)
{
    struct mr_buf bytes = {0};
    for (int i = 0; i < depth; i++) {
        mr_buf_add_char(&bytes, lead);
        if (lead == '\x81')
            mr_buf_add(&bytes, "\xa1k", 2);
    }
    mr_buf_add_char(&bytes, 1);
    struct mr_arena arena;
    struct mr_value value;
    enum mr_codec_fault fault = decode(mr_buf_view(&bytes), &arena, &value);
    mr_arena_fini(&arena);
    mr_buf_fini(&bytes);
    return fault;
}

TEST(depth_ends_at_its_number)
{
    EXPECT_EQ(nested(MR_CODEC_DEPTH_MAX, '\x91'), MR_CODEC_OK);
    EXPECT_EQ(nested(MR_CODEC_DEPTH_MAX + 1, '\x91'), MR_CODEC_DEPTH);
    EXPECT_EQ(nested(MR_CODEC_DEPTH_MAX, '\x81'), MR_CODEC_OK);
    EXPECT_EQ(nested(MR_CODEC_DEPTH_MAX + 1, '\x81'), MR_CODEC_DEPTH);
    EXPECT_EQ(nested(100000, '\x91'), MR_CODEC_DEPTH);
}

TEST(values_and_bytes_end_at_their_numbers)
{
    struct mr_arena arena;
    struct mr_value value;
    struct mr_buf bytes = {0};
    mr_buf_add(&bytes, "\xdc\x00\x64", 3);
    for (int i = 0; i < 100; i++)
        mr_buf_add_char(&bytes, 7);
    struct mr_codec_limits limits = {.bytes = 103, .nodes = 101, .depth = 1};
    mr_arena_init(&arena, 0);
    EXPECT_EQ(mr_codec_msgpack.decode(mr_buf_view(&bytes), &limits, &arena, &value, NULL), MR_CODEC_OK);
    limits.nodes = 100;
    EXPECT_EQ(mr_codec_msgpack.decode(mr_buf_view(&bytes), &limits, &arena, &value, NULL), MR_CODEC_SIZE);
    limits.nodes = 101, limits.bytes = 102;
    EXPECT_EQ(mr_codec_msgpack.decode(mr_buf_view(&bytes), &limits, &arena, &value, NULL), MR_CODEC_SIZE);
    mr_arena_fini(&arena);
    mr_arena_init(&arena, 1024);
    EXPECT_EQ(mr_codec_msgpack.decode(mr_buf_view(&bytes), NULL, &arena, &value, NULL), MR_CODEC_SIZE);
    mr_arena_fini(&arena);
    mr_buf_fini(&bytes);
}

/* A map of many keys must not take quadratic time, and a duplicate among them must be found. */
TEST(many_keys)
{
    enum { N = 60000 };
    struct mr_buf bytes = {0};
    struct mr_arena arena;
    struct mr_value value;
    mr_buf_add(&bytes, (unsigned char[]){0xde, N >> 8, N & 255}, 3);
    for (int i = 0; i < N; i++)
        mr_buf_addf(&bytes, "\xa5%05d\x01", i);
    EXPECT_EQ(decode(mr_buf_view(&bytes), &arena, &value), MR_CODEC_OK);
    EXPECT_EQ(value.as.map.n, N);
    mr_arena_fini(&arena);
    memcpy(bytes.p + bytes.n - 6, "00000", 5);
    EXPECT_EQ(decode(mr_buf_view(&bytes), &arena, &value), MR_CODEC_ENCODING);
    mr_arena_fini(&arena);
    mr_buf_fini(&bytes);
}

/* Every whole number comes back, in the shortest form, and so does every double bit for bit. */
TEST(numbers_round_trip)
{
    static const int64_t edges[] = {0, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, INT64_MAX, -1, -32, -33, -128, -129,
                                    -32768, -32769, INT32_MIN, (int64_t)INT32_MIN - 1, INT64_MIN};
    static const size_t sizes[] = {1, 1, 2, 2, 3, 3, 5, 5, 9, 9, 1, 1, 2, 2, 3, 3, 5, 5, 9, 9};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        struct mr_buf out = {0};
        struct mr_arena arena;
        struct mr_value value, number = mr_value_int(edges[i]);
        mr_codec_msgpack.encode(&number, &out);
        EXPECT_EQ(out.n, sizes[i]);
        EXPECT_EQ(decode(mr_buf_view(&out), &arena, &value), MR_CODEC_OK);
        EXPECT(value.kind == MR_INT && value.as.integer == edges[i]);
        mr_arena_fini(&arena);
        mr_buf_clear(&out);
        number = mr_value_float((double)edges[i] / 3);
        mr_codec_msgpack.encode(&number, &out);
        EXPECT_EQ(decode(mr_buf_view(&out), &arena, &value), MR_CODEC_OK);
        EXPECT(value.kind == MR_FLOAT && value.as.real == (double)edges[i] / 3);
        mr_arena_fini(&arena);
        mr_buf_fini(&out);
    }
}

TEST(writes_what_json_writes)
{
    struct mr_str text = MR_STR("{\"a\":[1,-5,2.5,\"x\\u0000y\",null,true,{}],\"b\":{\"c\":false}}");
    struct mr_arena arena, second;
    struct mr_value value, again;
    struct mr_buf packed = {0}, out = {0};
    mr_arena_init(&arena, 0);
    REQUIRE(mr_codec_json.decode(text, NULL, &arena, &value, NULL) == MR_CODEC_OK);
    mr_codec_msgpack.encode(&value, &packed);
    REQUIRE(decode(mr_buf_view(&packed), &second, &again) == MR_CODEC_OK);
    mr_codec_json.encode(&again, &out);
    EXPECT(mr_str_equal(mr_buf_view(&out), text));
    mr_buf_fini(&packed);
    mr_buf_fini(&out);
    mr_arena_fini(&arena);
    mr_arena_fini(&second);
}

TEST_MAIN(TEST_CASE(accepts_every_form), TEST_CASE(refuses_by_kind), TEST_CASE(depth_ends_at_its_number),
          TEST_CASE(values_and_bytes_end_at_their_numbers), TEST_CASE(many_keys), TEST_CASE(numbers_round_trip),
          TEST_CASE(writes_what_json_writes))
