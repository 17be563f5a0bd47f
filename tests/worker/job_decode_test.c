#include "tests/worker/job_sample.h"

#include "adapters/codec/codec.h"

#define NAME(s, text) EXPECT(mr_str_is((s).job->name, text))

TEST(the_least_job)
{
    struct sample s = {0};
    sample_expect(&s, "{\"prompt\":\"hi\"}", "none", "");
    NAME(s, "default/jobs.2.34");
    const struct mr_job *j = s.job;
    EXPECT(mr_str_is(j->prompt, "hi") && j->kind == MR_JOB_COMPLETION && j->tier == MR_TIER_BULK && j->encoding == MR_ENCODING_JSON);
    EXPECT(j->sampling.temperature == 1 && j->sampling.top_p == 1 && j->sampling.min_p == 0 && j->sampling.repetition_penalty == 1);
    EXPECT(j->sampling.max_tokens == -1 && j->sampling.n_logprobs == -1 && j->sampling.n_prompt_logprobs == -1 && j->sampling.top_k == 0);
    EXPECT(!j->sampling.seed_given && j->sampling.seed < UINT64_C(1) << 53);
    EXPECT(j->stream && j->deadline_ms == 0 && j->priority == 0 && !j->batch_line && j->n_echoed == 0);
    mr_job_free(s.job);
}

TEST(a_full_job)
{
    struct sample s = {.route = &sample_closed};
    sample_expect(&s, "{\"v\":1,\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"model\":\"m2\",\"id\":\"x:1~y\",\"tenant\":\"acme\",\"deadline_ms\":1000,"
                      "\"reply_topic\":\"replies.a\",\"cache_scope\":\"c\",\"priority\":9,\"metadata\":{\"k\":[1]},\"stream\":false,\"max_tokens\":5,"
                      "\"max_completion_tokens\":5,\"min_tokens\":2,\"temperature\":0.5,\"top_p\":0.9,\"min_p\":0.1,\"top_k\":40,\"repetition_penalty\":1.1,"
                      "\"frequency_penalty\":-2,\"presence_penalty\":2,\"seed\":-1,\"stop\":[\"a\",\"b\"],\"stop_token_ids\":[1,2],\"ignore_eos\":true,"
                      "\"logit_bias\":{\"7\":-100,\"8\":1.5},\"logprobs\":true,\"top_logprobs\":3,\"prompt_logprobs\":0,\"return_token_ids\":true,"
                      "\"return_tokens_as_token_ids\":true,\"n\":1,\"tools\":[],\"user\":\"u\",\"stream_options\":{\"include_usage\":true},\"response_format\":{\"type\":\"text\"}}",
                  "none", "");
    NAME(s, "acme/x:1~y");
    const struct mr_job *j = s.job;
    const struct mr_sampling *p = &j->sampling;
    EXPECT(j->kind == MR_JOB_CHAT && j->messages && mr_str_is(j->model, "m2") && j->deadline_ms == 1000 && mr_str_is(j->reply_topic, "replies.a"));
    EXPECT(mr_str_is(j->cache_scope, "c") && j->priority == 9 && j->metadata && !j->stream && p->max_tokens == 5 && p->min_tokens == 2);
    EXPECT(p->temperature == 0.5 && p->top_p == 0.9 && p->min_p == 0.1 && p->top_k == 40 && p->repetition_penalty == 1.1);
    EXPECT(p->frequency_penalty == -2 && p->presence_penalty == 2 && p->seed_given && p->seed == UINT64_MAX);
    EXPECT(p->n_stop == 2 && mr_str_is(p->stop[1], "b") && p->n_stop_ids == 2 && p->stop_ids[1] == 2 && p->ignore_eos);
    EXPECT(p->n_bias == 2 && p->bias_ids[0] == 7 && p->bias_values[0] == -100 && p->bias_values[1] == 1.5f);
    EXPECT(p->n_logprobs == 3 && p->n_prompt_logprobs == 0 && j->return_token_ids && j->return_tokens_as_token_ids);
    mr_job_free(s.job);
}

TEST(bytes_that_are_no_job)
{
    struct sample s = {0};
    static const struct mr_header json = {MR_STR("content-type"), MR_STR("application/json")};
    static const struct mr_header other = {MR_STR("content-type"), MR_STR("text/csv")};
    sample_expect(&s, "{\"prompt\":", "invalid_encoding", "");
    NAME(s, "default/jobs.2.34");
    sample_expect(&s, "{\"prompt\":\"\xff\"}", "invalid_utf8", "");
    sample_expect(&s, "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", "too_deep", "");
    sample_expect(&s, "\x93\x01\x02\x03", "invalid_encoding", "");
    s.headers = &json, s.n_headers = 1;
    sample_expect(&s, "[]", "invalid_encoding", "");
    sample_expect(&s, "3", "invalid_encoding", "");
    s.headers = &other;
    sample_expect(&s, "{\"prompt\":\"hi\"}", "invalid_encoding", "content-type");
    s.n_headers = 0;
    EXPECT_EQ(sample_decode(&s, (struct mr_str){0}), MR_REASON_INVALID_ENCODING);
    mr_job_free(s.job);
}

TEST(a_record_ends_at_its_number)
{
    struct sample s = {0};
    size_t n = 1 << 20;
    char *text = malloc(n + 1);
    memset(text, 'x', n + 1);
    memcpy(text, "{\"prompt\":\"", 11);
    memcpy(text + n - 2, "\"}", 2);
    EXPECT_EQ(sample_decode(&s, (struct mr_str){text, n}), MR_REASON_NONE);
    EXPECT_EQ(s.job->prompt.n, n - 13);
    memcpy(text + n - 2, "x\"}", 3);
    EXPECT_EQ(sample_decode(&s, (struct mr_str){text, n + 1}), MR_REASON_TOO_LARGE);
    NAME(s, "default/jobs.2.34");
    free(text);
    mr_job_free(s.job);
}

TEST(msgpack_is_the_same_job)
{
    struct sample s = {0};
    char hash[65];
    sample_expect(&s, "{\"temperature\":0.5,\"prompt\":\"hi\",\"id\":\"a\"}", "none", "");
    memcpy(hash, s.job->body_hash, sizeof hash);
    uint64_t seed = s.job->sampling.seed;
    EXPECT_EQ(sample_decode(&s, (struct mr_str){"\x83\xa2id\xa1" "a\xa6prompt\xa2hi\xabtemperature\xcb\x3f\xe0\0\0\0\0\0\0", 37}), MR_REASON_NONE);
    EXPECT_EQ(s.job->encoding, MR_ENCODING_MSGPACK);
    EXPECT_STR(s.job->body_hash, hash);
    EXPECT(s.job->sampling.seed == seed);
    mr_job_free(s.job);
}

TEST(hash_and_seed)
{
    struct sample s = {0};
    char first[65];
    sample_expect(&s, "{\"prompt\":\"hi\",\"id\":\"a\"}", "none", "");
    memcpy(first, s.job->body_hash, sizeof first);
    EXPECT_STR(first, "14479f4e87d340fe0ca0d522d87a5b3a028ebb1af24fbb8d3ef4553044fc6db6"); /* sha256 of {"prompt":"hi"}: any tool can make it */
    uint64_t seed = s.job->sampling.seed;
    sample_expect(&s, "{\"id\":\"b\", \"prompt\":\"\\u0068i\"}", "none", "");
    EXPECT_STR(s.job->body_hash, first); /* the id is not the body */
    EXPECT(s.job->sampling.seed != seed); /* but names the run */
    sample_expect(&s, "{\"prompt\":\"hi\",\"id\":\"a\",\"tenant\":\"other\"}", "none", "");
    EXPECT(strcmp(s.job->body_hash, first) != 0);
    mr_job_free(s.job);
}

static void expect_id(struct sample *s, const char *json, const char *header, const char *id, const char *reason)
{
    struct mr_header headers[] = {{MR_STR("Idempotency-Key"), header ? mr_str_from(header) : (struct mr_str){0}}};
    s->headers = headers, s->n_headers = header != NULL;
    sample_expect(s, json, reason, strcmp(reason, "none") ? "id" : "");
    if (!mr_str_is(s->job->id, id))
        printf("for %s: id %.*s, not %s\n", json, (int)s->job->id.n, s->job->id.p, id);
    EXPECT(mr_str_is(s->job->id, id));
    s->n_headers = 0;
}

TEST(ids)
{
    struct sample s = {0};
    expect_id(&s, "{\"prompt\":\"p\",\"id\":\"a\"}", NULL, "a", "none");
    expect_id(&s, "{\"prompt\":\"p\"}", "k", "k", "none");
    expect_id(&s, "{\"prompt\":\"p\",\"id\":\"k\"}", "k", "k", "none");
    expect_id(&s, "{\"prompt\":\"p\",\"id\":null}", "k", "k", "none");
    expect_id(&s, "{\"prompt\":\"p\",\"id\":\"a\"}", "k", "jobs.2.34", "invalid_id");
    expect_id(&s, "{\"prompt\":\"p\",\"id\":\"\"}", NULL, "jobs.2.34", "invalid_id");
    expect_id(&s, "{\"prompt\":\"p\",\"id\":\"a b\"}", NULL, "jobs.2.34", "invalid_id");
    expect_id(&s, "{\"prompt\":\"p\",\"id\":\"a/b\"}", NULL, "jobs.2.34", "invalid_id");
    expect_id(&s, "{\"prompt\":\"p\",\"id\":\"a\\u0000\"}", NULL, "jobs.2.34", "invalid_id");
    expect_id(&s, "{\"prompt\":\"p\",\"id\":\"a~r1\"}", NULL, "jobs.2.34", "invalid_id");
    expect_id(&s, "{\"prompt\":\"p\"}", "a~r12", "jobs.2.34", "invalid_id");
    sample_expect(&s, "{\"prompt\":\"p\",\"id\":7}", "wrong_type", "id");
    struct mr_header redrive = {MR_STR("redrive-of"), MR_STR("x")};
    s.headers = &redrive, s.n_headers = 1;
    sample_expect(&s, "{\"prompt\":\"p\",\"id\":\"a~r1\"}", "none", "");
    NAME(s, "default/a~r1");
    mr_job_free(s.job);
}

TEST(ids_end_at_their_number)
{
    char text[200];
    memset(text, 'a', sizeof text);
    EXPECT(mr_job_id_valid((struct mr_str){text, 1}, false) && mr_job_id_valid((struct mr_str){text, 120}, false));
    EXPECT(!mr_job_id_valid((struct mr_str){text, 0}, false) && !mr_job_id_valid((struct mr_str){text, 121}, false));
    memcpy(text + 120, "~r123456", 8);
    EXPECT(mr_job_id_valid((struct mr_str){text, 128}, true) && !mr_job_id_valid((struct mr_str){text, 128}, false));
    memcpy(text + 120, "~r1234567", 9);
    EXPECT(!mr_job_id_valid((struct mr_str){text, 129}, true));
    EXPECT(!mr_job_id_valid(MR_STR("~r1"), true) && mr_job_id_valid(MR_STR("~r"), false) && mr_job_id_valid(MR_STR("r1"), false));
}

TEST(tenants_come_from_the_route)
{
    struct sample s = {0};
    sample_expect(&s, "{\"prompt\":\"p\",\"id\":\"a\",\"tenant\":\"t-1\"}", "none", "");
    NAME(s, "t-1/a");
    sample_expect(&s, "{\"prompt\":\"p\",\"id\":\"a\",\"tenant\":\"T\"}", "out_of_range", "tenant");
    NAME(s, "default/a");
    sample_expect(&s, "{\"prompt\":\"p\",\"id\":\"a\",\"tenant\":1}", "wrong_type", "tenant");
    s.route = &sample_closed;
    sample_expect(&s, "{\"prompt\":\"p\",\"id\":\"a\"}", "none", "");
    NAME(s, "acme/a");
    sample_expect(&s, "{\"prompt\":\"p\",\"id\":\"a\",\"tenant\":\"other\"}", "tenant_not_allowed", "tenant");
    NAME(s, "acme/a");
    /* a forged header changes nothing */
    struct mr_header forged[] = {{MR_STR("tenant"), MR_STR("evil")}, {MR_STR("mr-job"), MR_STR("evil/x")}, {MR_STR("tier"), MR_STR("realtime")},
                                 {MR_STR("reply_topic"), MR_STR("evil")}, {MR_STR("mr-origin"), MR_STR("evil")}};
    s.headers = forged, s.n_headers = 5, s.route = &sample_open;
    sample_expect(&s, "{\"prompt\":\"p\",\"id\":\"a\"}", "none", "");
    NAME(s, "default/a");
    EXPECT(s.job->tier == MR_TIER_BULK && s.job->reply_topic.n == 0);
    mr_job_free(s.job);
}

TEST(route_lists)
{
    struct sample s = {.route = &sample_closed};
    sample_expect(&s, "{\"prompt\":\"p\",\"model\":\"m3\"}", "unknown_model", "model");
    sample_expect(&s, "{\"prompt\":\"p\",\"reply_topic\":\"replies.b\"}", "reply_not_allowed", "reply_topic");
    s.route = NULL;
    sample_expect(&s, "{\"prompt\":\"p\",\"model\":\"m3\"}", "none", "");
    sample_expect(&s, "{\"prompt\":\"p\",\"reply_topic\":\"replies.a\"}", "reply_not_allowed", "reply_topic");
    mr_job_free(s.job);
}

TEST(fields_that_are_not_there)
{
    struct sample s = {0};
    sample_expect(&s, "{}", "missing_field", "prompt");
    sample_expect(&s, "{\"prompt\":null}", "missing_field", "prompt");
    sample_expect(&s, "{\"messages\":null}", "missing_field", "messages");
    sample_expect(&s, "{\"promt\":\"p\"}", "unknown_field", "promt");
    sample_expect(&s, "{\"prompt\":\"p\",\"a\\u0001\\u00e9\":1}", "unknown_field", "a???");
    sample_expect(&s, "{\"prompt\":\"p\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "unknown_field", "prompt");
    sample_expect(&s, "{\"prompt\":\"p\",\"tools\":[]}", "unknown_field", "tools");
    sample_expect(&s, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"echo\":true}", "unknown_field", "echo");
    s.lenient = true;
    sample_expect(&s, "{\"prompt\":\"p\",\"whatever\":1}", "none", "");
    mr_job_free(s.job);
}

TEST(fields_that_do_not_go_together)
{
    struct sample s = {0};
#define CHAT "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
    sample_expect(&s, "{\"prompt\":\"p\",\"max_tokens\":4,\"min_tokens\":4}", "none", "");
    sample_expect(&s, "{\"prompt\":\"p\",\"max_tokens\":4,\"min_tokens\":5}", "out_of_range", "min_tokens");
    sample_expect(&s, "{\"prompt\":\"p\",\"max_tokens\":4,\"max_completion_tokens\":5}", "out_of_range", "max_completion_tokens");
    sample_expect(&s, "{\"prompt\":\"p\",\"echo\":true,\"logprobs\":1}", "unsupported_field", "echo");
    sample_expect(&s, "{\"prompt\":\"p\",\"top_logprobs\":1}", "unknown_field", "top_logprobs");
    sample_expect(&s, "{" CHAT "\"top_logprobs\":1}", "out_of_range", "top_logprobs");
    sample_expect(&s, "{" CHAT "\"logprobs\":false,\"top_logprobs\":1}", "out_of_range", "top_logprobs");
    sample_expect(&s, "{" CHAT "\"top_logprobs\":1,\"logprobs\":true}", "none", "");
    EXPECT_EQ(s.job->sampling.n_logprobs, 1);
    sample_expect(&s, "{" CHAT "\"logprobs\":true}", "none", "");
    EXPECT_EQ(s.job->sampling.n_logprobs, 0);
    sample_expect(&s, "{" CHAT "\"logprobs\":false}", "none", "");
    EXPECT_EQ(s.job->sampling.n_logprobs, -1);
    mr_job_free(s.job);
}

TEST(headers_that_are_echoed)
{
    char longest[MR_ECHO_BYTES_MAX + 1];
    memset(longest, 'x', sizeof longest);
    struct mr_header headers[] = {{MR_STR("TraceParent"), MR_STR("00-ab")}, {MR_STR("other"), MR_STR("y")}, {MR_STR("tracestate"), {longest, MR_ECHO_BYTES_MAX}},
                                  {MR_STR("correlation-id"), MR_STR("a\nb")}};
    struct sample s = {.headers = headers, .n_headers = 4};
    sample_expect(&s, "{\"prompt\":\"p\"}", "none", "");
    REQUIRE(s.job->n_echoed == 2);
    EXPECT(mr_str_is(s.job->echoed[0].key, "traceparent") && mr_str_is(s.job->echoed[0].value, "00-ab"));
    EXPECT(mr_str_is(s.job->echoed[1].key, "tracestate") && s.job->echoed[1].value.n == MR_ECHO_BYTES_MAX);
    headers[2].value.n++;
    sample_expect(&s, "{not json", "invalid_encoding", "");
    EXPECT_EQ(s.job->n_echoed, 1); /* a refusal echoes too */
    mr_job_free(s.job);
}

TEST(batch_lines)
{
    struct mr_header batch = {MR_STR("batch-id"), MR_STR("b7")};
    struct sample s = {.headers = &batch, .n_headers = 1};
    sample_expect(&s, "{\"custom_id\":\"req-1\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{" CHAT "\"max_tokens\":3}}", "none", "");
    NAME(s, "default/b7.req-1");
    EXPECT(s.job->batch_line && s.job->kind == MR_JOB_CHAT && s.job->sampling.max_tokens == 3 && mr_str_is(s.job->custom_id, "req-1"));
    sample_expect(&s, "{\"custom_id\":\"req 1\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"p\"}}", "invalid_id", "id");
    s.n_headers = 0;
    sample_expect(&s, "{\"custom_id\":\"req 1\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"p\"}}", "none", "");
    NAME(s, "default/jobs.2.34");
    sample_expect(&s, "{\"custom_id\":\"q\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"p\",\"id\":\"own\"}}", "none", "");
    NAME(s, "default/own");
    sample_expect(&s, "{\"custom_id\":\"q\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"\"}}", "empty_prompt", "prompt");
    EXPECT(s.job->batch_line && mr_str_is(s.job->custom_id, "q"));
    mr_job_free(s.job);
}

TEST_MAIN(TEST_CASE(the_least_job), TEST_CASE(a_full_job), TEST_CASE(bytes_that_are_no_job), TEST_CASE(a_record_ends_at_its_number),
          TEST_CASE(msgpack_is_the_same_job), TEST_CASE(hash_and_seed), TEST_CASE(ids), TEST_CASE(ids_end_at_their_number),
          TEST_CASE(tenants_come_from_the_route), TEST_CASE(route_lists), TEST_CASE(fields_that_are_not_there), TEST_CASE(fields_that_do_not_go_together),
          TEST_CASE(headers_that_are_echoed), TEST_CASE(batch_lines))
