#include "tests/worker/job_sample.h"

#include "worker/job_field.h"

/* The request that a field is tried in: its value is put behind "F": . */
static void try(struct sample *s, const struct mr_job_field *field, const char *value, enum mr_reason wanted)
{
    static char text[65536];
    bool own = strcmp(field->name, "prompt") == 0 || strcmp(field->name, "messages") == 0;
    const char *rest = own ? "" : field->kinds & MR_FIELD_COMPLETION ? "\"prompt\":\"p\"," : "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logprobs\":true,";
    snprintf(text, sizeof text, "{%s\"%s\":%s}", rest, field->name, value);
    enum mr_reason got = sample_decode(s, mr_str_from(text));
    if (got != wanted)
        printf("for %.200s (%s):\n", text, s->refusal.message);
    EXPECT_STR(mr_reason_name(got), mr_reason_name(wanted));
    if (wanted)
        EXPECT_STR(s->refusal.field, field->name);
}

static void try_number(struct sample *s, const struct mr_job_field *field, double number, enum mr_reason wanted)
{
    char value[40];
    snprintf(value, sizeof value, "%.15g", number);
    try(s, field, value, wanted);
}

/* Every value of the wrong type, for every implemented field. */
TEST(wrong_types)
{
    static const char *const values[] = {"true", "3", "0.5", "\"s\"", "[]", "{}"};
    struct sample s = {.route = &sample_open};
    size_t n;
    const struct mr_job_field *table = mr_job_field_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (table[i].fate != MR_FIELD_IMPLEMENTED)
            continue;
        int taken = 0;
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            static char text[256];
            bool own = strcmp(table[i].name, "prompt") == 0 || strcmp(table[i].name, "messages") == 0;
            snprintf(text, sizeof text, "{%s\"%s\":%s}",
                     own ? "" : table[i].kinds & MR_FIELD_COMPLETION ? "\"prompt\":\"p\"," : "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logprobs\":true,",
                     table[i].name, values[k]);
            enum mr_reason reason = sample_decode(&s, mr_str_from(text));
            taken += reason != MR_REASON_WRONG_TYPE;
            if (reason == MR_REASON_WRONG_TYPE)
                EXPECT_STR(s.refusal.field, table[i].name);
        }
        if (taken < 1 || taken > 3) /* a type has one or two spellings here; prompt and stop have three */
            printf("field %s takes %d of 6 types:\n", table[i].name, taken);
        EXPECT(taken >= 1 && taken <= 3);
    }
    mr_job_free(s.job);
}

/* min - 1, min, max, max + 1 of every number that the table bounds, null, a fraction of an integer, what overflows. */
TEST(bounds)
{
    struct sample s = {0};
    size_t n;
    int tried = 0;
    const struct mr_job_field *table = mr_job_field_table(&n);
    for (size_t i = 0; i < n; i++) {
        const struct mr_job_field *field = &table[i];
        bool tokens = strcmp(field->name, "max_tokens") == 0 || strcmp(field->name, "max_completion_tokens") == 0 || strcmp(field->name, "top_k") == 0;
        if (field->type != MR_FIELD_INT32 && field->type != MR_FIELD_NUMBER && !tokens)
            continue;
        double step = field->type == MR_FIELD_NUMBER ? 0.0001 : 1;
        try_number(&s, field, field->least, MR_REASON_NONE);
        try_number(&s, field, field->most, MR_REASON_NONE);
        try_number(&s, field, field->least - step, MR_REASON_OUT_OF_RANGE);
        try_number(&s, field, field->most + step, MR_REASON_OUT_OF_RANGE);
        try(&s, field, "null", MR_REASON_NONE);
        try(&s, field, "9223372036854775807", MR_REASON_OUT_OF_RANGE);
        try(&s, field, "-9223372036854775808", MR_REASON_OUT_OF_RANGE);
        if (field->type != MR_FIELD_NUMBER)
            try(&s, field, "1.0", MR_REASON_WRONG_TYPE);
        tried++;
    }
    EXPECT(tried >= 12);
    mr_job_free(s.job);
}

static const struct mr_job_field *field(const char *name) { return mr_job_field_find(mr_str_from(name)); }

/* count times one JSON value, in an array or (with keys 0, 1, ...) an object. */
static const char *many(int count, const char *value, bool keyed)
{
    static char text[60000];
    int n = sprintf(text, keyed ? "{" : "[");
    for (int i = 0; i < count; i++)
        n += keyed ? sprintf(text + n, "%s\"%d\":%s", i ? "," : "", i, value) : sprintf(text + n, "%s%s", i ? "," : "", value);
    sprintf(text + n, keyed ? "}" : "]");
    return text;
}

static const char *long_string(int count)
{
    static char text[20000];
    memset(text, 'x', sizeof text);
    text[0] = '"';
    strcpy(text + 1 + count, "\"");
    return text;
}

TEST(counts_and_lengths_end_at_their_numbers)
{
    struct sample s = {0};
    try(&s, field("stop"), many(16, "\"x\"", false), MR_REASON_NONE);
    try(&s, field("stop"), many(17, "\"x\"", false), MR_REASON_OUT_OF_RANGE);
    try(&s, field("stop"), "[]", MR_REASON_NONE);
    try(&s, field("stop"), "\"\"", MR_REASON_OUT_OF_RANGE);
    try(&s, field("stop"), long_string(256), MR_REASON_NONE);
    try(&s, field("stop"), long_string(257), MR_REASON_OUT_OF_RANGE);
    try(&s, field("stop_token_ids"), many(64, "5", false), MR_REASON_NONE);
    try(&s, field("stop_token_ids"), many(65, "5", false), MR_REASON_OUT_OF_RANGE);
    try(&s, field("stop_token_ids"), "[-1]", MR_REASON_INVALID_TOKEN);
    try(&s, field("stop_token_ids"), "[2147483648]", MR_REASON_INVALID_TOKEN);
    try(&s, field("logit_bias"), many(1024, "1", true), MR_REASON_NONE);
    try(&s, field("logit_bias"), many(1025, "1", true), MR_REASON_OUT_OF_RANGE);
    try(&s, field("logit_bias"), "{\"5\":100}", MR_REASON_NONE);
    try(&s, field("logit_bias"), "{\"5\":100.5}", MR_REASON_OUT_OF_RANGE);
    try(&s, field("logit_bias"), "{\"5\":-100.5}", MR_REASON_OUT_OF_RANGE);
    try(&s, field("logit_bias"), "{\"5\":\"x\"}", MR_REASON_WRONG_TYPE);
    try(&s, field("logit_bias"), "{\"2147483647\":1}", MR_REASON_NONE);
    try(&s, field("logit_bias"), "{\"2147483648\":1}", MR_REASON_INVALID_TOKEN);
    try(&s, field("logit_bias"), "{\"-1\":1}", MR_REASON_INVALID_TOKEN);
    try(&s, field("logit_bias"), "{\"01\":1}", MR_REASON_INVALID_TOKEN);
    try(&s, field("logit_bias"), "{\"\":1}", MR_REASON_INVALID_TOKEN);
    try(&s, field("cache_scope"), long_string(128), MR_REASON_NONE);
    try(&s, field("cache_scope"), long_string(129), MR_REASON_OUT_OF_RANGE);
    try(&s, field("cache_scope"), "\"\"", MR_REASON_OUT_OF_RANGE);
    try(&s, field("model"), long_string(256), MR_REASON_NONE);
    try(&s, field("model"), long_string(257), MR_REASON_OUT_OF_RANGE);
    try(&s, field("deadline_ms"), "1", MR_REASON_NONE);
    try(&s, field("deadline_ms"), "1000", MR_REASON_NONE);
    try(&s, field("deadline_ms"), "0", MR_REASON_OUT_OF_RANGE);
    try(&s, field("deadline_ms"), "1001", MR_REASON_OUT_OF_RANGE);
    try(&s, field("seed"), "9223372036854775807", MR_REASON_NONE);
    try(&s, field("seed"), "-9223372036854775808", MR_REASON_NONE);
    try(&s, field("v"), "1", MR_REASON_NONE);
    try(&s, field("v"), "2", MR_REASON_UNSUPPORTED_FIELD);
    try(&s, field("logprobs"), "20", MR_REASON_NONE);
    try(&s, field("logprobs"), "21", MR_REASON_OUT_OF_RANGE);
    try(&s, field("logprobs"), "-1", MR_REASON_OUT_OF_RANGE);
    char metadata[16500];
    snprintf(metadata, sizeof metadata, "{\"k\":%s}", long_string(16384 - 8));
    try(&s, field("metadata"), metadata, MR_REASON_NONE);
    snprintf(metadata, sizeof metadata, "{\"k\":%s}", long_string(16384 - 7));
    try(&s, field("metadata"), metadata, MR_REASON_OUT_OF_RANGE);
    mr_job_free(s.job);
}

/* A field that is known and not implemented takes null and its neutral values, and nothing else; an ignored one takes all. */
TEST(neutral_and_ignored)
{
    struct sample s = {0};
    size_t n;
    const struct mr_job_field *table = mr_job_field_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (table[i].fate == MR_FIELD_IMPLEMENTED)
            continue;
        bool ignored = table[i].fate == MR_FIELD_IGNORED;
        try(&s, &table[i], "null", MR_REASON_NONE);
        try(&s, &table[i], "[\"surely not neutral\"]", ignored ? MR_REASON_NONE : MR_REASON_UNSUPPORTED_FIELD);
        for (const char *at = ignored ? "" : table[i].neutral; *at; at += strspn(at, " ")) {
            char value[64];
            size_t length = strcspn(at, " ");
            snprintf(value, sizeof value, "%.*s", (int)length, at);
            try(&s, &table[i], value, MR_REASON_NONE);
            at += length;
        }
    }
    try(&s, field("n"), "2", MR_REASON_UNSUPPORTED_FIELD);
    try(&s, field("tools"), "[{\"type\":\"function\"}]", MR_REASON_UNSUPPORTED_FIELD);
    try(&s, field("response_format"), "{\"type\":\"json_object\"}", MR_REASON_UNSUPPORTED_FIELD);
    mr_job_free(s.job);
}

TEST(names_are_distinct_and_told)
{
    size_t n;
    const struct mr_job_field *table = mr_job_field_table(&n);
    for (size_t i = 0; i < n; i++) {
        EXPECT(mr_job_field_find(mr_str_from(table[i].name)) == &table[i]);
        EXPECT(table[i].fate != MR_FIELD_IMPLEMENTED || table[i].text[0]);
        EXPECT((table[i].fate == MR_FIELD_NEUTRAL) == (table[i].neutral != NULL));
    }
    char shown[64];
    EXPECT_STR(mr_job_field_shown(MR_STR("ab\x01 \xff"), shown), "ab???");
    EXPECT_EQ(strlen(mr_job_field_shown(MR_STR("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), shown)), 60);
}

TEST(refusals_repeat_no_value)
{
    static const char *const jobs[] = {
        "{\"prompt\":\"p\",\"temperature\":\"canary\"}", "{\"prompt\":\"p\",\"model\":5,\"stop\":[\"canary\",1]}", "{\"prompt\":\"p\",\"reply_topic\":\"canary\"}",
        "{\"prompt\":\"p\",\"id\":\"canary canary\"}", "{\"prompt\":\"p\",\"tenant\":\"CANARY\"}", "{\"messages\":[{\"role\":\"canary\",\"content\":\"x\"}]}",
        "{\"prompt\":\"canary\"", "{\"prompt\":\"p\",\"tools\":[\"canary\"]}", "{\"prompt\":\"p\",\"logit_bias\":{\"canary\":1}}",
    };
    struct sample s = {0};
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        EXPECT(sample_decode(&s, mr_str_from(jobs[i])) != MR_REASON_NONE);
        EXPECT(!strstr(s.refusal.message, "canary") && !strstr(s.refusal.message, "CANARY") && !strstr(s.refusal.message, "0x"));
    }
    mr_job_free(s.job);
}

TEST_MAIN(TEST_CASE(wrong_types), TEST_CASE(bounds), TEST_CASE(counts_and_lengths_end_at_their_numbers), TEST_CASE(neutral_and_ignored),
          TEST_CASE(names_are_distinct_and_told), TEST_CASE(refusals_repeat_no_value))
