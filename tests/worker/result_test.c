#include "tests/test.h"

#include "worker/result.h"

#include <stdlib.h>

static const int32_t prompt_ids[] = {7, 8};
static const int32_t ids[] = {5, 9};
static const struct mr_token_logprob tops[] = {{5, -0.25f, {"a", 1}}, {6, -1.5f, {"\xe2\x82", 2}}, {11, -2, {"\xe2", 1}}};
static const struct mr_logprob logprobs[] = {{{5, -0.25f, {"a", 1}}, tops, 3}, {{9, -3, {"\xc3\xa9", 2}}, tops, 2}};
static const struct mr_logprob prompt_logprobs[] = {{{-1, 0, {NULL, 0}}, NULL, 0}, {{8, -4, {"p", 1}}, tops, 1}};

static struct mr_job job;
static struct mr_route route;
static struct mr_stream_record start, terminal;
static struct mr_result_choice choice;
static struct mr_result result;

static void setup(enum mr_fold_kind kind, enum mr_job_kind job_kind)
{
    job = (struct mr_job){.kind = job_kind, .id = MR_STR("j1"), .tenant = MR_STR("acme"), .name = MR_STR("acme/j1"), .model = MR_STR("m"), .tier = MR_TIER_BULK,
                          .prompt_ids = prompt_ids, .n_prompt = 2, .sampling = {.seed = 42, .max_tokens = 2, .n_logprobs = -1, .n_prompt_logprobs = -1}};
    route = (struct mr_route){.name = "bulk"};
    start = (struct mr_stream_record){.model_digest = MR_STR("md"), .tokenizer_digest = MR_STR("td"), .build = MR_STR("1.0 avx2"), .worker = MR_STR("w1"), .body_hash = MR_STR("bh"), .seed = 42};
    terminal = (struct mr_stream_record){.kind = kind, .epoch = 1048576, .n = 2, .has_usage = true, .usage = {2, 2, 1}, .timings = {1, 2.0004, -1}};
    choice = (struct mr_result_choice){.ids = ids, .n = 2, .text = MR_STR("a\xc3\xa9"), .finish = MR_STR("stop")};
    result = (struct mr_result){.job = &job, .route = &route, .partition = 3, .src = {12, 1700000000999}, .start = &start, .terminal = &terminal, .takeovers = 1,
                                .choices = &choice, .n_choices = 1};
}

#define OURS "\"tenant\":\"acme\",\"tier\":\"bulk\",\"route\":\"bulk\",\"partition\":3,\"src\":\"12.1700000000999\",\"takeovers\":1,\"epoch\":1048576,"
#define TIMES "\"queue_ms\":1.0,\"ttft_ms\":2.0,\"cached_tokens\":{\"device\":1},"
#define MADE "\"model_digest\":\"md\",\"tokenizer_digest\":\"td\",\"build\":\"1.0 avx2\",\"worker\":\"w1\",\"body_hash\":\"bh\",\"seed\":42}"
#define USAGE "\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":2,\"total_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":1}},"

static void expect_json(const char *wanted)
{
    struct mr_buf out = {0};
    EXPECT(mr_result_encode(&result, MR_ENCODING_JSON, &out));
    mr_buf_add_char(&out, 0);
    EXPECT_STR(out.p, wanted);
    mr_buf_fini(&out);
}

TEST(completion)
{
    setup(MR_FOLD_DONE, MR_JOB_COMPLETION);
    expect_json("{\"id\":\"j1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"a\xc3\xa9\",\"logprobs\":null,"
                "\"finish_reason\":\"stop\"}]," USAGE "\"millrace\":{\"status\":\"done\"," OURS TIMES MADE "}");
}

TEST(chat)
{
    setup(MR_FOLD_DONE, MR_JOB_CHAT);
    expect_json("{\"id\":\"j1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                "\"content\":\"a\xc3\xa9\"},\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE "\"millrace\":{\"status\":\"done\"," OURS TIMES MADE "}");
}

TEST(a_failure_is_an_error_object)
{
    setup(MR_FOLD_FAILED, MR_JOB_COMPLETION);
    terminal.reason = MR_REASON_UNKNOWN_MODEL;
    terminal.message = MR_STR("no model of that name");
    terminal.field = MR_STR("model");
    expect_json("{\"error\":{\"message\":\"no model of that name\",\"type\":\"not_found_error\",\"param\":\"model\",\"code\":\"unknown_model\"},\"id\":\"j1\","
                "\"created\":1700000000,\"millrace\":{\"status\":\"failed\",\"reason\":\"unknown_model\"," OURS TIMES USAGE
                "\"text\":\"a\xc3\xa9\"," MADE "}");
}

TEST(a_batch_line_comes_back_as_one)
{
    setup(MR_FOLD_EXPIRED, MR_JOB_COMPLETION);
    job.batch_line = true;
    job.custom_id = MR_STR("c\"1");
    terminal.reason = MR_REASON_DEADLINE_PASSED;
    terminal.message = MR_STR("late");
    choice.finish = MR_STR("expired");
    result.route = NULL;
    result.start = NULL;
    expect_json("{\"id\":\"batch_req_j1\",\"custom_id\":\"c\\\"1\",\"response\":{\"status_code\":408,\"request_id\":\"j1\",\"body\":{\"id\":\"j1\",\"object\":\"text_completion\","
                "\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"a\xc3\xa9\",\"logprobs\":null,\"finish_reason\":\"expired\"}]," USAGE
                "\"millrace\":{\"status\":\"expired\",\"reason\":\"deadline_passed\",\"tenant\":\"acme\",\"tier\":\"bulk\"," TIMES "\"message\":\"late\",\"seed\":42}}},\"error\":null}");
}

/* The part of the encoded result behind key, up to its end. */
static void expect_part(const char *part)
{
    struct mr_buf out = {0};
    EXPECT(mr_result_encode(&result, MR_ENCODING_JSON, &out));
    mr_buf_add_char(&out, 0);
    if (!strstr(out.p, part))
        EXPECT_STR(out.p, part);
    mr_buf_fini(&out);
}

TEST(logprobs_of_completions)
{
    setup(MR_FOLD_DONE, MR_JOB_COMPLETION);
    choice.logprobs = logprobs;
    /* two parts of characters are written alike: the likelier stays, keys are distinct */
    expect_part("\"logprobs\":{\"tokens\":[\"a\",\"\xc3\xa9\"],\"token_logprobs\":[-0.25,-3.0],\"top_logprobs\":[{\"a\":-0.25,\"\xef\xbf\xbd\":-1.5},"
                "{\"a\":-0.25,\"\xef\xbf\xbd\":-1.5,\"\xc3\xa9\":-3.0}],\"text_offset\":[0,1]}");
    job.return_tokens_as_token_ids = true;
    expect_part("\"tokens\":[\"token_id:5\",\"token_id:9\"],\"token_logprobs\":[-0.25,-3.0],\"top_logprobs\":[{\"token_id:5\":-0.25,\"token_id:6\":-1.5,\"token_id:11\":-2.0},");
}

TEST(logprobs_of_chat)
{
    setup(MR_FOLD_DONE, MR_JOB_CHAT);
    choice.logprobs = logprobs;
    choice.n = 1;
    expect_part("\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.25,\"bytes\":[97],\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-0.25,\"bytes\":[97]},"
                "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-1.5,\"bytes\":[226,130]},{\"token\":\"\xef\xbf\xbd\",\"logprob\":-2.0,\"bytes\":[226]}]}]}");
}

TEST(ids_prompt_logprobs_echo_and_metadata)
{
    struct mr_pair pair = {MR_STR("k"), mr_value_int(1)};
    struct mr_value metadata = {.kind = MR_MAP, .as.map = {&pair, 1}};
    setup(MR_FOLD_DONE, MR_JOB_COMPLETION);
    job.return_token_ids = true;
    job.echo = true;
    job.metadata = &metadata;
    result.prompt_text = MR_STR("pp\xc3");
    terminal.prompt_logprobs = prompt_logprobs;
    terminal.n_prompt_logprobs = 2;
    expect_part("\"text\":\"pp\xef\xbf\xbd" "a\xc3\xa9\"");
    expect_part("\"token_ids\":[5,9],\"prompt_logprobs\":[null,{\"5\":{\"logprob\":-0.25,\"rank\":1,\"decoded_token\":\"a\"},\"8\":{\"logprob\":-4.0,\"decoded_token\":\"p\"}}]}]");
    expect_part("\"prompt_token_ids\":[7,8],\"millrace\"");
    expect_part("\"seed\":42,\"metadata\":{\"k\":1}}}");
    job.kind = MR_JOB_CHAT;
    expect_part("\"prompt_token_ids\":[7,8],\"prompt_logprobs\":[null,{");
}

TEST(a_refusal_of_no_run)
{
    struct mr_buf out = {0};
    struct mr_refusal refusal;
    setup(MR_FOLD_DONE, MR_JOB_COMPLETION);
    mr_refuse(&refusal, MR_REASON_INVALID_ENCODING, "", "not JSON");
    EXPECT(mr_result_encode_refusal(&job, &refusal, 5000, &out));
    mr_buf_add_char(&out, 0);
    EXPECT_STR(out.p, "{\"error\":{\"message\":\"not JSON\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_encoding\"},\"id\":\"j1\",\"created\":5,"
                      "\"millrace\":{\"status\":\"failed\",\"reason\":\"invalid_encoding\",\"tenant\":\"acme\",\"tier\":\"bulk\",\"seed\":42}}");
    mr_buf_fini(&out);
}

/* A result made from what the log gives back is the result made when the run ended, to the byte. */
TEST(the_log_gives_the_same_bytes)
{
    static const struct mr_str finish = {"stop", 4};
    for (int encoding = 0; encoding < 2; encoding++) {
        struct mr_buf records[2] = {{0}, {0}}, before = {0}, after = {0};
        struct mr_stream_record start_back, terminal_back;
        struct mr_arena arena;
        mr_arena_init(&arena, 0);
        setup(MR_FOLD_DONE, MR_JOB_COMPLETION);
        start.kind = MR_FOLD_START, start.job = terminal.job = job.name, start.epoch = 1048576;
        terminal.finish = &finish, terminal.n_finish = 1, terminal.prompt_logprobs = prompt_logprobs, terminal.n_prompt_logprobs = 2;
        terminal.timings = (struct mr_timings){1.0 / 3, 123456.7891234, 0.0004999};
        EXPECT(mr_result_encode(&result, (enum mr_encoding)encoding, &before));
        EXPECT(mr_stream_record_encode(&start, (enum mr_encoding)encoding, &records[0]));
        EXPECT(mr_stream_record_encode(&terminal, (enum mr_encoding)encoding, &records[1]));
        struct mr_record in[2] = {{.value = mr_buf_view(&records[0])}, {.value = mr_buf_view(&records[1])}};
        EXPECT_EQ(mr_stream_record_decode(&in[0], &arena, &start_back, NULL), MR_OK);
        EXPECT_EQ(mr_stream_record_decode(&in[1], &arena, &terminal_back, NULL), MR_OK);
        result.start = &start_back, result.terminal = &terminal_back;
        choice.finish = terminal_back.finish[0];
        EXPECT(mr_result_encode(&result, (enum mr_encoding)encoding, &after));
        EXPECT(mr_str_equal(mr_buf_view(&before), mr_buf_view(&after)));
        mr_buf_fini(&records[0]), mr_buf_fini(&records[1]), mr_buf_fini(&before), mr_buf_fini(&after);
        mr_arena_fini(&arena);
    }
}

/* The bound holds for the worst that can be written, in both encodings, with everything asked for; and it is not absurd. */
TEST(the_bound_is_a_bound)
{
    enum { N = 200, PROMPT = 150, TOP = 20, TOKEN = 16, WRITTEN = 48 };
    static char bytes[TOKEN];
    static struct mr_token_logprob many[TOP];
    static struct mr_logprob out_probs[N], in_probs[PROMPT];
    static int32_t many_ids[N];
    static char text[N * WRITTEN], prompt[PROMPT * TOKEN], custom[256], id[120];
    memset(bytes, 0xff, sizeof bytes); /* each byte is written as three, and as four digits */
    memset(text, 'x', sizeof text);
    memset(prompt, 0xff, sizeof prompt);
    memset(custom, 1, sizeof custom);
    memset(id, 'i', sizeof id);
    for (int i = 0; i < TOP; i++)
        many[i] = (struct mr_token_logprob){1000000000 + i, -1.23456789e-7f * (float)(i + 1), {bytes, TOKEN}};
    for (int i = 0; i < N; i++)
        out_probs[i] = (struct mr_logprob){many[0], many, TOP}, many_ids[i] = INT32_MAX;
    for (int i = 0; i < PROMPT; i++)
        in_probs[i] = (struct mr_logprob){{5, -1.23456789e-7f, {bytes, TOKEN}}, many, TOP};
    for (int kind = 0; kind < 2; kind++)
        for (int with = 0; with < 2; with++)
            for (int encoding = 0; encoding < 2; encoding++) {
                struct mr_buf out = {0};
                setup(MR_FOLD_DONE, kind ? MR_JOB_CHAT : MR_JOB_COMPLETION);
                job.id = (struct mr_str){id, sizeof id};
                job.batch_line = true;
                job.custom_id = (struct mr_str){custom, sizeof custom};
                job.sampling.max_tokens = N;
                job.return_token_ids = with, job.echo = with && !kind, job.return_tokens_as_token_ids = with && encoding;
                job.prompt_ids = many_ids, job.n_prompt = PROMPT;
                result.prompt_text = (struct mr_str){prompt, sizeof prompt};
                choice = (struct mr_result_choice){many_ids, N, {text, sizeof text}, with ? out_probs : NULL, MR_STR("length")};
                job.sampling.n_logprobs = with ? TOP : -1, job.sampling.n_prompt_logprobs = with ? TOP : -1;
                terminal.prompt_logprobs = with ? in_probs : NULL, terminal.n_prompt_logprobs = with ? PROMPT : 0;
                EXPECT(mr_result_encode(&result, (enum mr_encoding)encoding, &out));
                int64_t bound = mr_result_bound_bytes(&job, PROMPT, WRITTEN);
                EXPECT((int64_t)out.n <= bound);
                EXPECT(bound < 5 * (int64_t)out.n + 20000);
                mr_buf_fini(&out);
            }
}

TEST_MAIN(TEST_CASE(completion), TEST_CASE(chat), TEST_CASE(a_failure_is_an_error_object), TEST_CASE(a_batch_line_comes_back_as_one),
          TEST_CASE(logprobs_of_completions), TEST_CASE(logprobs_of_chat), TEST_CASE(ids_prompt_logprobs_echo_and_metadata), TEST_CASE(a_refusal_of_no_run),
          TEST_CASE(the_log_gives_the_same_bytes), TEST_CASE(the_bound_is_a_bound))
