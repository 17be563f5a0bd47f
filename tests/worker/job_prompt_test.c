#include "tests/worker/job_sample.h"

#include "worker/job_prompt.h"

TEST(forms_of_a_prompt)
{
    struct sample s = {0};
    sample_expect(&s, "{\"prompt\":\"text\"}", "none", "");
    EXPECT(mr_str_is(s.job->prompt, "text") && !s.job->prompt_ids);
    sample_expect(&s, "{\"prompt\":[\"text\"]}", "none", "");
    EXPECT(mr_str_is(s.job->prompt, "text"));
    sample_expect(&s, "{\"prompt\":[5,0,2147483647]}", "none", "");
    EXPECT(!s.job->prompt.p && s.job->n_prompt == 3 && s.job->prompt_ids[2] == INT32_MAX);
    sample_expect(&s, "{\"prompt\":[[5]]}", "none", "");
    EXPECT(s.job->n_prompt == 1 && s.job->prompt_ids[0] == 5);
    sample_expect(&s, "{\"prompt\":[\"a\",\"b\"]}", "unsupported_field", "prompt");
    sample_expect(&s, "{\"prompt\":[[1],[2]]}", "unsupported_field", "prompt");
    sample_expect(&s, "{\"prompt\":\"\"}", "empty_prompt", "prompt");
    sample_expect(&s, "{\"prompt\":[]}", "empty_prompt", "prompt");
    sample_expect(&s, "{\"prompt\":[\"\"]}", "empty_prompt", "prompt");
    sample_expect(&s, "{\"prompt\":[[]]}", "empty_prompt", "prompt");
    sample_expect(&s, "{\"prompt\":[1,\"a\"]}", "wrong_type", "prompt");
    sample_expect(&s, "{\"prompt\":[1,2.5]}", "wrong_type", "prompt");
    sample_expect(&s, "{\"prompt\":[[[1]]]}", "wrong_type", "prompt");
    sample_expect(&s, "{\"prompt\":{}}", "wrong_type", "prompt");
    sample_expect(&s, "{\"prompt\":[1,-1]}", "invalid_token", "prompt");
    sample_expect(&s, "{\"prompt\":[2147483648]}", "invalid_token", "prompt");
    mr_job_free(s.job);
}

TEST(messages_are_made_plain)
{
    struct sample s = {0};
    sample_expect(&s, "{\"messages\":[{\"content\":\"a\",\"role\":\"system\",\"refusal\":null},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"b\\u0000\"},"
                      "{\"type\":\"text\",\"text\":\"c\"}]},{\"role\":\"assistant\",\"content\":[]}]}", "none", "");
    const struct mr_value *m = s.job->messages;
    REQUIRE(m && m->kind == MR_ARRAY && m->as.array.n == 3);
    EXPECT(mr_str_is(m->as.array.items[0].as.map.items[0].key, "role"));
    EXPECT_EQ(m->as.array.items[0].as.map.n, 2);
    EXPECT(mr_str_equal(mr_value_get(&m->as.array.items[1], "content")->as.string, (struct mr_str){"b\0c", 3}));
    EXPECT_EQ(mr_value_get(&m->as.array.items[2], "content")->as.string.n, 0);
    mr_job_free(s.job);
}

TEST(messages_that_cannot_be)
{
    static const char *const wrong[][2] = {
        {"[]", "empty_prompt"}, {"\"x\"", "wrong_type"}, {"[\"x\"]", "wrong_type"}, {"[{}]", "missing_field"}, {"[{\"role\":\"user\"}]", "missing_field"},
        {"[{\"content\":\"x\"}]", "missing_field"}, {"[{\"role\":1,\"content\":\"x\"}]", "wrong_type"}, {"[{\"role\":\"boss\",\"content\":\"x\"}]", "out_of_range"},
        {"[{\"role\":\"user\",\"content\":null}]", "wrong_type"}, {"[{\"role\":\"user\",\"content\":1}]", "wrong_type"},
        {"[{\"role\":\"user\",\"content\":[\"x\"]}]", "wrong_type"}, {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "wrong_type"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]", "unsupported_field"},
        {"[{\"role\":\"user\",\"content\":\"x\",\"name\":\"n\"}]", "unsupported_field"},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{}]}]", "unsupported_field"},
    };
    struct sample s = {0};
    char text[256];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(text, sizeof text, "{\"messages\":%s}", wrong[i][0]);
        sample_expect(&s, text, wrong[i][1], "messages");
    }
    mr_job_free(s.job);
}

static void repeated(const char *before, const char *item, int count, const char *after, const char *reason)
{
    struct sample s = {0};
    struct mr_buf text = {0};
    mr_buf_addf(&text, "%s", before);
    for (int i = 0; i < count; i++)
        mr_buf_addf(&text, "%s%s", i ? "," : "", item);
    mr_buf_addf(&text, "%s", after);
    EXPECT_STR(mr_reason_name(sample_decode(&s, mr_buf_view(&text))), reason);
    mr_buf_fini(&text);
    mr_job_free(s.job);
}

TEST(counts_end_at_their_numbers)
{
    const char *message = "{\"role\":\"user\",\"content\":\"x\"}", *part = "{\"type\":\"text\",\"text\":\"x\"}";
    repeated("{\"messages\":[", message, MR_MESSAGES_MAX, "]}", "none");
    repeated("{\"messages\":[", message, MR_MESSAGES_MAX + 1, "]}", "out_of_range");
    repeated("{\"messages\":[{\"role\":\"user\",\"content\":[", part, MR_MESSAGE_PARTS_MAX, "]}]}", "none");
    repeated("{\"messages\":[{\"role\":\"user\",\"content\":[", part, MR_MESSAGE_PARTS_MAX + 1, "]}]}", "out_of_range");
}

TEST_MAIN(TEST_CASE(forms_of_a_prompt), TEST_CASE(messages_are_made_plain), TEST_CASE(messages_that_cannot_be), TEST_CASE(counts_end_at_their_numbers))
