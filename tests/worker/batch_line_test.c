#include "tests/test.h"

#include "adapters/codec/codec.h"
#include "worker/batch_line.h"

static void line(const char *json, const char *reason, const char *field)
{
    struct mr_arena arena;
    struct mr_value value;
    struct mr_batch_line out;
    struct mr_refusal refusal = {0};
    mr_arena_init(&arena, 0);
    EXPECT_EQ(mr_codec_json.decode(mr_str_from(json), NULL, &arena, &value, NULL), MR_CODEC_OK);
    EXPECT(mr_batch_line_is(&value));
    EXPECT_STR(mr_reason_name(mr_batch_line_read(&value, &out, &refusal)), reason);
    EXPECT_STR(refusal.field, field);
    mr_arena_fini(&arena);
}

#define LINE(id, method, url, body) "{\"custom_id\":" id ",\"method\":" method ",\"url\":" url ",\"body\":" body "}"

TEST(lines)
{
    line(LINE("\"a b/\"", "\"POST\"", "\"/v1/completions\"", "{}"), "none", "");
    line(LINE("\"a\"", "\"POST\"", "\"/v1/chat/completions\"", "{}"), "none", "");
    line(LINE("\"a\"", "\"GET\"", "\"/v1/completions\"", "{}"), "out_of_range", "method");
    line(LINE("\"a\"", "\"POST\"", "\"/v1/embeddings\"", "{}"), "unsupported_field", "url");
    line(LINE("\"a\"", "\"POST\"", "\"/v1/completions\"", "[]"), "wrong_type", "body");
    line(LINE("1", "\"POST\"", "\"/v1/completions\"", "{}"), "wrong_type", "custom_id");
    line(LINE("\"\"", "\"POST\"", "\"/v1/completions\"", "{}"), "invalid_id", "custom_id");
    line("{\"custom_id\":\"a\"}", "missing_field", "method");
    line("{\"url\":\"u\",\"body\":{}}", "missing_field", "custom_id");
    line("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{},\"id\":\"x\"}", "unknown_field", "id");
}

TEST(custom_ids_end_at_their_number)
{
    char id[MR_CUSTOM_ID_BYTES_MAX + 1];
    struct mr_pair pairs[] = {{MR_STR("custom_id"), {.kind = MR_STRING}}, {MR_STR("method"), mr_value_string(MR_STR("POST"))},
                              {MR_STR("url"), mr_value_string(MR_STR("/v1/completions"))}, {MR_STR("body"), {.kind = MR_MAP}}};
    struct mr_value value = {.kind = MR_MAP, .as.map = {pairs, 4}};
    struct mr_batch_line out;
    struct mr_refusal refusal;
    memset(id, 'x', sizeof id);
    pairs[0].value.as.string = (struct mr_str){id, MR_CUSTOM_ID_BYTES_MAX};
    EXPECT_EQ(mr_batch_line_read(&value, &out, &refusal), MR_REASON_NONE);
    pairs[0].value.as.string.n++;
    EXPECT_EQ(mr_batch_line_read(&value, &out, &refusal), MR_REASON_INVALID_ID);
}

TEST(what_is_no_line)
{
    struct mr_pair pair = {MR_STR("prompt"), mr_value_string(MR_STR("p"))};
    struct mr_value value = {.kind = MR_MAP, .as.map = {&pair, 1}};
    EXPECT(!mr_batch_line_is(&value));
}

TEST_MAIN(TEST_CASE(lines), TEST_CASE(custom_ids_end_at_their_number), TEST_CASE(what_is_no_line))
