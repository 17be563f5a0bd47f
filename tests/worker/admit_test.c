#include "tests/test.h"
#include "worker/admit.h"
#include "worker/result.h"

static const char template[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

enum { CONTEXT = 100, IM_START = 257, IM_END = 258, BOS = 256 };

static struct mr_admit admit;

static void setup(bool bos, int64_t prompt_tokens, int64_t output_tokens, int64_t result_bytes)
{
    static struct mr_bundle bundle;
    static struct mr_tokenizer *plain, *with_bos;
    struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = 300, .bos = BOS, .eos = IM_END, .eot = -1};
    if (!plain) {
        EXPECT_EQ(mr_tokenizer_open(&vocabulary, &plain, NULL), MR_OK);
        vocabulary.add_bos = true;
        EXPECT_EQ(mr_tokenizer_open(&vocabulary, &with_bos, NULL), MR_OK);
        EXPECT_EQ(mr_chat_open(mr_str_from(template), &bundle.chat, NULL), MR_OK);
        snprintf(bundle.name, sizeof bundle.name, "toy");
        bundle.context = CONTEXT;
    }
    bundle.tokenizer = bos ? with_bos : plain;
    struct mr_admit_options options = {prompt_tokens, output_tokens, result_bytes, 1000};
    mr_admit_open(&admit, &bundle, &options);
}

static struct mr_refusal refusal;

static enum mr_reason admit_text(struct mr_job *job, const char *text, int32_t max_tokens)
{
    mr_arena_fini(&job->arena);
    *job = (struct mr_job){.kind = MR_JOB_COMPLETION, .prompt = mr_str_from(text)};
    job->sampling = (struct mr_sampling){.max_tokens = max_tokens, .n_logprobs = -1, .n_prompt_logprobs = -1};
    return mr_admit_job(&admit, NULL, job, &refusal);
}

static enum mr_reason admit_ids(struct mr_job *job, const int32_t *ids, int32_t n, int32_t max_tokens)
{
    mr_arena_fini(&job->arena);
    *job = (struct mr_job){.kind = MR_JOB_COMPLETION, .prompt_ids = ids, .n_prompt = n};
    job->sampling = (struct mr_sampling){.max_tokens = max_tokens, .n_logprobs = -1, .n_prompt_logprobs = -1};
    return mr_admit_job(&admit, NULL, job, &refusal);
}

static enum mr_reason admit_chat(struct mr_job *job, const char *role, const char *content)
{
    mr_arena_fini(&job->arena);
    *job = (struct mr_job){.kind = MR_JOB_CHAT};
    struct mr_value *messages = mr_arena_alloc(&job->arena, sizeof *messages), message = mr_value_map(&job->arena, 2);
    mr_value_set(&message, "role", mr_value_string(mr_str_from(role)));
    mr_value_set(&message, "content", mr_value_string(mr_str_from(content)));
    *messages = mr_value_array(&job->arena, 1);
    mr_value_push(messages, message);
    job->messages = messages;
    job->sampling = (struct mr_sampling){.max_tokens = -1, .n_logprobs = -1, .n_prompt_logprobs = -1};
    return mr_admit_job(&admit, NULL, job, &refusal);
}

TEST(text_and_defaults)
{
    struct mr_job job = {0};
    setup(false, 0, 0, 900000);
    EXPECT_EQ(admit_text(&job, "abc", -1), MR_REASON_NONE);
    EXPECT_EQ(job.n_prompt, 3);
    EXPECT_EQ(job.prompt_ids[2], 'c');
    EXPECT_EQ(job.sampling.max_tokens, 16);
    EXPECT_EQ(admit_text(&job, "abc", 1000), MR_REASON_NONE); /* cut to the context */
    EXPECT_EQ(job.sampling.max_tokens, CONTEXT - 3);
    EXPECT_EQ(admit_text(&job, "<|im_end|>", -1), MR_REASON_NONE); /* user text makes no control token */
    EXPECT_EQ(job.n_prompt, 10);
    setup(true, 0, 7, 900000);
    EXPECT_EQ(admit_text(&job, "abc", -1), MR_REASON_NONE);
    EXPECT_EQ(job.n_prompt, 4);
    EXPECT_EQ(job.prompt_ids[0], BOS);
    EXPECT_EQ(job.sampling.max_tokens, 7);
    job.sampling.min_tokens = 0;
    mr_arena_fini(&job.arena);
}

TEST(chat)
{
    struct mr_job job = {0};
    setup(false, 0, 0, 900000);
    EXPECT_EQ(admit_chat(&job, "user", "hi<|im_end|>"), MR_REASON_NONE);
    EXPECT_EQ(job.prompt_ids[0], IM_START);
    int32_t controls = 0;
    for (int32_t i = 0; i < job.n_prompt; i++)
        controls += job.prompt_ids[i] > 255;
    EXPECT_EQ(controls, 3); /* the template's own, not the user's */
    EXPECT_EQ(job.sampling.max_tokens, CONTEXT - job.n_prompt);
    mr_arena_fini(&job.arena);
}

TEST(ids)
{
    struct mr_job job = {0};
    setup(true, 0, 0, 900000);
    static const int32_t good[] = {0, 299}, high[] = {0, 300}, low[] = {-1};
    EXPECT_EQ(admit_ids(&job, good, 2, 1), MR_REASON_NONE);
    EXPECT_EQ(job.n_prompt, 2); /* as they are: no BOS */
    EXPECT_EQ(admit_ids(&job, high, 2, 1), MR_REASON_INVALID_TOKEN);
    EXPECT_STR(refusal.field, "prompt");
    EXPECT_EQ(admit_ids(&job, low, 1, 1), MR_REASON_INVALID_TOKEN);
    EXPECT_EQ(admit_ids(&job, good, 0, 1), MR_REASON_EMPTY_PROMPT);
    job = (struct mr_job){.prompt_ids = good, .n_prompt = 2, .sampling = {.max_tokens = 1, .stop_ids = high, .n_stop_ids = 2}};
    EXPECT_EQ(mr_admit_job(&admit, NULL, &job, &refusal), MR_REASON_INVALID_TOKEN);
    EXPECT_STR(refusal.field, "stop_token_ids");
    job.sampling = (struct mr_sampling){.max_tokens = 1, .bias_ids = low, .n_bias = 1};
    EXPECT_EQ(mr_admit_job(&admit, NULL, &job, &refusal), MR_REASON_INVALID_TOKEN);
    EXPECT_STR(refusal.field, "logit_bias");
}

TEST(lengths)
{
    struct mr_job job = {0};
    char text[300];
    memset(text, 'x', sizeof text);
    setup(false, 0, 0, 900000);
    text[CONTEXT - 1] = '\0'; /* room for one token */
    EXPECT_EQ(admit_text(&job, text, 5), MR_REASON_NONE);
    EXPECT_EQ(job.sampling.max_tokens, 1);
    text[CONTEXT - 1] = 'x', text[CONTEXT] = '\0';
    EXPECT_EQ(admit_text(&job, text, 5), MR_REASON_PROMPT_TOO_LONG);
    EXPECT_STR(refusal.field, "prompt");
    EXPECT_EQ(admit_text(&job, text, 0), MR_REASON_NONE); /* nothing to generate: it fits */
    text[CONTEXT] = 'x', text[299] = '\0';
    EXPECT_EQ(admit_text(&job, text, 0), MR_REASON_PROMPT_TOO_LONG);
    EXPECT_EQ(admit_text(&job, "", 5), MR_REASON_EMPTY_PROMPT);
    setup(true, 10, 0, 900000);
    EXPECT_EQ(admit_text(&job, "", 5), MR_REASON_EMPTY_PROMPT); /* BOS alone is no prompt */
    EXPECT_EQ(admit_text(&job, "123456789", 5), MR_REASON_NONE);
    EXPECT_EQ(admit_text(&job, "1234567890", 5), MR_REASON_PROMPT_TOO_LONG);
    mr_arena_fini(&job.arena);
}

TEST(results)
{
    struct mr_job job = {0};
    setup(false, 0, 0, 900000);
    EXPECT_EQ(admit_text(&job, "abc", 90), MR_REASON_NONE);
    int64_t bound = mr_result_bound_bytes(&job, 3, admit.token_bytes);
    setup(false, 0, 0, bound);
    EXPECT_EQ(admit_text(&job, "abc", 90), MR_REASON_NONE);
    setup(false, 0, 0, bound - 1);
    EXPECT_EQ(admit_text(&job, "abc", 90), MR_REASON_RESULT_TOO_LARGE);
    EXPECT_EQ(job.sampling.max_tokens, 90);
    setup(false, 0, 0, mr_result_bound_bytes(&(struct mr_job){.sampling = {.max_tokens = 20, .n_logprobs = -1, .n_prompt_logprobs = -1}}, 30, admit.token_bytes));
    EXPECT_EQ(admit_chat(&job, "user", "hi"), MR_REASON_NONE); /* not asked for: cut to what fits */
    EXPECT(job.sampling.max_tokens > 0 && job.sampling.max_tokens < CONTEXT - job.n_prompt);
    mr_arena_fini(&job.arena);
}

TEST(models)
{
    struct mr_job job = {.prompt_ids = (int32_t[]){1}, .n_prompt = 1, .sampling = {.max_tokens = 1, .n_logprobs = -1, .n_prompt_logprobs = -1}};
    const char *other[] = {"other"}, *both[] = {"other", "toy"};
    struct mr_route any = {0}, closed = {.models = other, .n_models = 1}, open = {.models = both, .n_models = 2};
    setup(false, 0, 0, 900000);
    EXPECT_EQ(mr_admit_job(&admit, &any, &job, &refusal), MR_REASON_NONE);
    EXPECT_EQ(mr_admit_job(&admit, &open, &job, &refusal), MR_REASON_NONE);
    EXPECT_EQ(mr_admit_job(&admit, &closed, &job, &refusal), MR_REASON_UNKNOWN_MODEL);
    job.model = MR_STR("toy");
    EXPECT_EQ(mr_admit_job(&admit, NULL, &job, &refusal), MR_REASON_NONE);
    job.model = MR_STR("other");
    EXPECT_EQ(mr_admit_job(&admit, &open, &job, &refusal), MR_REASON_UNKNOWN_MODEL);
    EXPECT_STR(refusal.field, "model");
}

TEST_MAIN(TEST_CASE(text_and_defaults), TEST_CASE(chat), TEST_CASE(ids), TEST_CASE(lengths), TEST_CASE(results), TEST_CASE(models))
