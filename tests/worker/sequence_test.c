#include "tests/test.h"
#include "worker/sequence.h"

static struct mr_sequence_context context_of(void)
{
    static struct mr_tokenizer *tokenizer;
    static const int32_t ends[] = {256};
    struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = 300, .bos = -1, .eos = 256, .eot = -1};
    if (!tokenizer)
        EXPECT_EQ(mr_tokenizer_open(&vocabulary, &tokenizer, NULL), MR_OK);
    return (struct mr_sequence_context){tokenizer, ends, 1, NULL};
}

static const int32_t prompt[] = {10, 11, 10};

static struct mr_job job_of(int32_t max_tokens)
{
    return (struct mr_job){.prompt_ids = prompt, .n_prompt = 3,
                           .sampling = {.top_p = 1, .repetition_penalty = 1, .n_logprobs = -1, .n_prompt_logprobs = -1, .max_tokens = max_tokens}};
}

TEST(history_counts_output_and_knows_the_prompt)
{
    struct mr_sequence_context context = context_of();
    struct mr_job job = job_of(200);
    job.sampling.presence_penalty = 0.5;
    struct mr_engine_run run = {.job = &job, .accepted = (int32_t[]){11, 40}, .n_accepted = 2};
    struct mr_sequence s;
    struct mr_buf text = {0};
    REQUIRE(mr_sequence_open(&s, &run, &context, NULL) == MR_OK);
    for (int32_t i = 0; i < 150; i++)
        mr_sequence_take(&s, &context, 100 + i % 120, &text);
    struct mr_sample_row row;
    mr_sequence_row(&s, &row);
    EXPECT_EQ(row.n_history, 3 + 120);
    EXPECT_EQ(row.position, 3 + 2 + 150);
    int32_t total = 0;
    for (int32_t i = 0; i < row.n_history; i++) {
        int32_t id = row.history_ids[i];
        total += row.history_counts[i];
        EXPECT_EQ(row.history_counts[i], id == 10 ? 0 : id == 11 || id == 40 ? 1 : id < 130 ? 2 : 1);
    }
    EXPECT_EQ(total, 152);
    mr_sequence_close(&s);
    mr_buf_fini(&text);
}

TEST(bans_stand_behind_biases_until_min_tokens)
{
    struct mr_sequence_context context = context_of();
    struct mr_job job = job_of(5);
    job.sampling.bias_ids = (int32_t[]){7};
    job.sampling.bias_values = (float[]){2};
    job.sampling.n_bias = 1;
    job.sampling.stop_ids = (int32_t[]){9};
    job.sampling.n_stop_ids = 1;
    job.sampling.min_tokens = 2;
    struct mr_engine_run run = {.job = &job};
    struct mr_sequence s;
    struct mr_sample_row row;
    struct mr_buf text = {0};
    REQUIRE(mr_sequence_open(&s, &run, &context, NULL) == MR_OK);
    for (int i = 0; i < 2; i++) {
        mr_sequence_row(&s, &row);
        EXPECT_EQ(row.n_bias, 3);
        EXPECT(row.bias_ids[1] == 256 && row.bias_ids[2] == 9 && row.bias_values[1] == -INFINITY && row.bias_values[0] == 2);
        mr_sequence_take(&s, &context, 'a', &text);
    }
    mr_sequence_row(&s, &row);
    EXPECT_EQ(row.n_bias, 1);
    mr_sequence_take(&s, &context, 9, &text);
    EXPECT_EQ(s.finish, MR_FINISH_STOP);
    EXPECT_EQ(text.n, 2);
    mr_sequence_close(&s);
    job.sampling.ignore_eos = true; /* what does not end the run need not be banned */
    REQUIRE(mr_sequence_open(&s, &run, &context, NULL) == MR_OK);
    mr_sequence_row(&s, &row);
    EXPECT_EQ(row.n_bias, 2);
    mr_sequence_close(&s);
    mr_buf_fini(&text);
}

TEST(accepted_tokens)
{
    struct mr_sequence_context context = context_of();
    struct mr_job job = job_of(3);
    struct mr_sequence s;
    struct mr_engine_run over = {.job = &job, .accepted = (int32_t[]){1, 256}, .n_accepted = 2};
    REQUIRE(mr_sequence_open(&s, &over, &context, NULL) == MR_OK);
    EXPECT_EQ(s.finish, MR_FINISH_STOP);
    mr_sequence_close(&s);
    struct mr_engine_run full = {.job = &job, .accepted = (int32_t[]){1, 2, 3}, .n_accepted = 3};
    REQUIRE(mr_sequence_open(&s, &full, &context, NULL) == MR_OK);
    EXPECT_EQ(s.finish, MR_FINISH_LENGTH);
    mr_sequence_close(&s);
    struct mr_engine_run behind = {.job = &job, .accepted = (int32_t[]){256, 1}, .n_accepted = 2};
    EXPECT_EQ(mr_sequence_open(&s, &behind, &context, NULL), MR_ERR_INVALID);
    struct mr_engine_run more = {.job = &job, .accepted = (int32_t[]){1, 2, 3, 4}, .n_accepted = 4};
    EXPECT_EQ(mr_sequence_open(&s, &more, &context, NULL), MR_ERR_INVALID);
}

/* Names follow from tokens, position and who may share; a block that is not full has none. */
TEST(names_of_blocks)
{
    struct mr_sequence_context context = context_of();
    struct mr_job job[4];
    struct mr_sequence s[4];
    static const int32_t tokens[2][7] = {{1, 2, 1, 2, 5, 6, 7}, {1, 2, 1, 2, 5, 9, 7}};
    struct mr_block_names names;
    REQUIRE(mr_block_names_open(&names, 100, 2, 0, NULL) == MR_OK);
    context.names = &names;
    for (int i = 0; i < 4; i++) {
        job[i] = job_of(1);
        job[i].prompt_ids = tokens[i == 1];
        job[i].n_prompt = 7;
        job[i].tenant = i == 2 ? MR_STR("b") : MR_STR("a");
        job[i].sampling.n_prompt_logprobs = i == 3 ? 0 : -1;
        struct mr_engine_run run = {.job = &job[i]};
        REQUIRE(mr_sequence_open(&s[i], &run, &context, NULL) == MR_OK);
        EXPECT_EQ(s[i].n_prefix, i == 3 ? 0 : 3); /* a prompt that is scored shares nothing */
    }
    EXPECT(s[0].prefix[0] == s[1].prefix[0] && s[0].prefix[1] == s[1].prefix[1] && s[0].prefix[2] != s[1].prefix[2]);
    EXPECT(s[0].prefix[0] != s[0].prefix[1]); /* the same tokens in another place */
    EXPECT(s[0].prefix[0] != s[2].prefix[0]);
    for (int i = 0; i < 4; i++)
        mr_sequence_close(&s[i]);
    mr_block_names_close(&names);
}

TEST_MAIN(TEST_CASE(history_counts_output_and_knows_the_prompt), TEST_CASE(bans_stand_behind_biases_until_min_tokens),
          TEST_CASE(accepted_tokens), TEST_CASE(names_of_blocks))
