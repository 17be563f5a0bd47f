#include "tests/test.h"

#include "worker/reason.h"

TEST(names_lead_back)
{
    for (int i = 1; i < MR_REASON_COUNT; i++)
        EXPECT_EQ(mr_reason_from_name(mr_reason_name((enum mr_reason)i)), i);
    EXPECT_EQ(mr_reason_from_name("none"), MR_REASON_NONE);
    EXPECT_EQ(mr_reason_from_name("nonsense"), MR_REASON_NONE);
}

/* The list of wire.md, whole and in its groups. */
TEST(statuses)
{
    static const struct {
        int status;
        const char *names[20];
    } groups[] = {
        {400, {"invalid_encoding", "invalid_utf8", "too_deep", "too_large", "missing_field", "wrong_type", "out_of_range", "unknown_field",
               "unsupported_field", "invalid_id", "empty_prompt", "prompt_too_long", "invalid_token", "result_too_large", "schema_invalid",
               "schema_unsupported", "template_failed"}},
        {403, {"tenant_not_allowed", "reply_not_allowed"}}, {404, {"unknown_model"}}, {408, {"deadline_passed"}}, {409, {"id_conflict"}},
        {422, {"poison"}}, {429, {"quota", "overloaded"}}, {499, {"cancelled"}}, {500, {"internal"}},
        {503, {"model_changed", "log_expired", "device_failed"}},
    };
    int seen = 0;
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (int i = 0; groups[g].names[i]; i++, seen++) {
            enum mr_reason reason = mr_reason_from_name(groups[g].names[i]);
            EXPECT_EQ(mr_reason_status(reason), groups[g].status);
            EXPECT(mr_reason_openai_type(reason)[0] && mr_reason_sentence(reason)[0]);
        }
    EXPECT_EQ(seen, MR_REASON_COUNT - 1);
}

TEST(refusal_is_cut_to_its_size)
{
    struct mr_refusal refusal;
    char longest[600];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    EXPECT_EQ(mr_refuse(&refusal, MR_REASON_QUOTA, longest, "%s", longest), MR_REASON_QUOTA);
    EXPECT_EQ(strlen(refusal.field), sizeof refusal.field - 1);
    EXPECT_EQ(strlen(refusal.message), sizeof refusal.message - 1);
}

TEST(a_cut_leaves_whole_characters)
{
    static const char *const characters[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (int c = 0; c < 4; c++)
        for (int shift = 0; shift < 4; shift++) {
            struct mr_refusal refusal;
            char text[400] = "";
            size_t bytes = strlen(characters[c]);
            memset(text, 'a', (size_t)shift);
            for (int i = 0; i < 90; i++)
                strcat(text, characters[c]);
            mr_refuse(&refusal, MR_REASON_QUOTA, text, "%s", text);
            EXPECT_EQ((strlen(refusal.field) - (size_t)shift) % bytes, 0);
            EXPECT(strlen(refusal.field) + bytes >= sizeof refusal.field);
            EXPECT_EQ((strlen(refusal.message) - (size_t)shift) % bytes, 0);
        }
}

TEST_MAIN(TEST_CASE(a_cut_leaves_whole_characters), TEST_CASE(names_lead_back), TEST_CASE(statuses), TEST_CASE(refusal_is_cut_to_its_size))
