#include "tests/test.h"

#include "adapters/codec/codec.h"
#include "worker/result_logprobs.h"

TEST(floats_have_the_fewest_digits_that_read_back)
{
    static const struct {
        float f;
        double d;
    } cases[] = {{-0.1f, -0.1}, {-1.5f, -1.5}, {0, 0}, {-12.345678f, -12.345678}, {-INFINITY, -9999}, {INFINITY, 9999}, {NAN, -9999}, {-1e30f, -9999}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        EXPECT(mr_logprob_value(cases[i].f).as.real == cases[i].d);
    for (float f = -20; f < 0; f += 0.0137f)
        EXPECT((float)mr_logprob_value(f).as.real == f);
}

static void expect_json(struct mr_value value, const char *wanted)
{
    struct mr_buf out = {0};
    mr_codec_json.encode(&value, &out);
    mr_buf_add_char(&out, 0);
    EXPECT_STR(out.p, wanted);
    mr_buf_fini(&out);
}

/* Offsets count characters, also where one character's bytes came in two tokens. */
TEST(offsets)
{
    static const struct mr_logprob tokens[] = {{{1, -1, {"\xc3", 1}}, NULL, 0}, {{2, -1, {"\xa9", 1}}, NULL, 0}, {{3, -1, {"ab", 2}}, NULL, 0}, {{4, -1, {"", 0}}, NULL, 0}};
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    struct mr_value map = mr_result_logprobs_completion(&arena, tokens, 4, true);
    expect_json(*mr_value_get(&map, "text_offset"), "[0,1,1,3]");
    expect_json(*mr_value_get(&map, "tokens"), "[\"token_id:1\",\"token_id:2\",\"token_id:3\",\"token_id:4\"]");
    mr_arena_fini(&arena);
}

TEST(the_chosen_prompt_token_is_named_once)
{
    static const struct mr_token_logprob top[] = {{7, -0.5f, {"x", 1}}, {9, -1, {"y", 1}}};
    static const struct mr_logprob tokens[] = {{{9, -1, {"y", 1}}, top, 2}, {{5, -7, {"z", 1}}, top, 1}};
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    expect_json(mr_result_logprobs_prompt(&arena, tokens, 2),
                "[{\"7\":{\"logprob\":-0.5,\"rank\":1,\"decoded_token\":\"x\"},\"9\":{\"logprob\":-1.0,\"rank\":2,\"decoded_token\":\"y\"}},"
                "{\"7\":{\"logprob\":-0.5,\"rank\":1,\"decoded_token\":\"x\"},\"5\":{\"logprob\":-7.0,\"decoded_token\":\"z\"}}]");
    mr_arena_fini(&arena);
}

TEST_MAIN(TEST_CASE(floats_have_the_fewest_digits_that_read_back), TEST_CASE(offsets), TEST_CASE(the_chosen_prompt_token_is_named_once))
