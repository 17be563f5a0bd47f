#include "tests/test.h"
#include "worker/logprob.h"

TEST(ids_with_their_bytes)
{
    struct mr_tokenizer *tokenizer;
    struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = 300, .bos = -1, .eos = 256, .eot = -1};
    REQUIRE(mr_tokenizer_open(&vocabulary, &tokenizer, NULL) == MR_OK);
    struct mr_sampled sampled[3] = {
        {.id = -1}, {.id = 'a', .logprob = -0.5f, .n_top = 2, .top_ids = {'b', 299}, .top_logprobs = {-0.25f, -INFINITY}}, {.id = 'c', .logprob = -INFINITY}};
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    const struct mr_logprob *out = mr_logprob_from(tokenizer, sampled, 3, &arena);
    REQUIRE(out);
    EXPECT(out[0].chosen.id == -1 && out[0].chosen.bytes.n == 0 && out[0].n_top == 0);
    EXPECT(mr_str_is(out[1].chosen.bytes, "a") && out[1].chosen.logprob == -0.5f);
    EXPECT_EQ(out[1].n_top, 2);
    EXPECT(out[1].top[0].id == 'b' && out[1].top[0].logprob == -0.25f);
    EXPECT(mr_str_is(out[1].top[1].bytes, "<299>") && out[1].top[1].logprob == -9999);
    EXPECT(out[2].chosen.logprob == -9999); /* impossible */
    mr_arena_fini(&arena);
    mr_arena_init(&arena, 64);
    EXPECT(mr_logprob_from(tokenizer, sampled, 3, &arena) == NULL);
    mr_arena_fini(&arena);
    mr_tokenizer_close(tokenizer);
}

TEST_MAIN(TEST_CASE(ids_with_their_bytes))
