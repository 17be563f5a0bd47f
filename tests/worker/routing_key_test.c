#include "worker/routing_key.h"

#include "adapters/codec/codec.h"
#include "tests/test.h"

static struct mr_arena arena;

static const char *key_of(const char *json)
{
    struct mr_value body;
    struct mr_str key = {0};
    if (mr_codec_json.decode(mr_str_from(json), NULL, &arena, &body, NULL) != MR_CODEC_OK)
        return "undecodable";
    return mr_routing_key(&body, MR_STR("acme"), &arena, &key) ? key.p : "";
}

static const char *job(const char *head, int bytes, const char *tail)
{
    static char text[4][2048];
    static int turn;
    char *out = text[turn++ % 4];
    char fill[1024];
    memset(fill, 'x', sizeof fill);
    snprintf(out, 2048, "%s%.*s%s", head, bytes, fill, tail);
    return out;
}

TEST(jobs_that_begin_alike_have_one_key)
{
    mr_arena_init(&arena, 1 << 20);
    const char *one = key_of(job("{\"prompt\":\"", MR_ROUTING_BYTES, " and then\"}")), *two = key_of(job("{\"prompt\":\"", MR_ROUTING_BYTES, "\"}"));
    EXPECT_STR(one, two);
    EXPECT_EQ(strlen(one), 5 + 16);
    EXPECT_STR(key_of(job("{\"prompt\":\"", MR_ROUTING_BYTES - 1, "\"}")), ""); /* one byte short: no group */
    EXPECT(strcmp(one, key_of(job("{\"prompt\":\"y", MR_ROUTING_BYTES, "\"}"))) != 0);
    mr_arena_fini(&arena);
}

TEST(chats_batch_lines_and_ids)
{
    mr_arena_init(&arena, 1 << 20);
    const char *chat = "{\"messages\":[{\"role\":\"system\",\"content\":\"";
    const char *prompt = key_of(job("{\"prompt\":\"", 300, "\"}"));
    EXPECT_STR(key_of(job(chat, 300, "\"},{\"role\":\"user\",\"content\":\"hello\"}]}")), prompt);
    EXPECT_STR(key_of(job("{\"custom_id\":\"7\",\"body\":{\"prompt\":\"", 300, "\"}}")), prompt);
    char ids[1024] = "{\"prompt\":[";
    for (int i = 0; i < 64; i++)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%d", i ? "," : "", i);
    strcat(ids, "]}");
    EXPECT_EQ(strlen(key_of(ids)), 5 + 16);
    EXPECT_STR(key_of("{\"prompt\":[1,2,3]}"), "");
    EXPECT_STR(key_of("{\"messages\":[]}"), "");
    EXPECT_STR(key_of("{}"), "");
    mr_arena_fini(&arena);
}

TEST_MAIN(TEST_CASE(jobs_that_begin_alike_have_one_key), TEST_CASE(chats_batch_lines_and_ids))
