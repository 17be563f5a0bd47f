#include "kv/block_names.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 2, BLOCKS = 4, BEGINNINGS = 3000 };

/* What a name was given out for. */
struct beginning {
    uint64_t name;
    int tenant, scope, n; /* blocks */
    int32_t tokens[BLOCK * BLOCKS];
};

static const char *const words[] = {"", "a", "aa", "b", "aaaaaaaa", "aaaaaaaaa"};
enum { WORDS = sizeof words / sizeof *words };

static bool same(const struct beginning *a, const struct beginning *b)
{
    return a->tenant == b->tenant && a->scope == b->scope && a->n == b->n &&
           memcmp(a->tokens, b->tokens, sizeof *a->tokens * BLOCK * (size_t)a->n) == 0;
}

/* Names prompts of few letters from few tenants, and compares every name with all that were given out before: equal names must be equal
 * beginnings, and with room for all of them the other way round too. Returns how many beginnings were met again. */
static int name_many(struct mr_block_names *names, bool forgets, unsigned seed)
{
    static struct beginning met[BEGINNINGS * BLOCKS];
    int n_met = 0, again = 0;
    for (int i = 0; i < BEGINNINGS; i++) {
        struct beginning b = {.tenant = rand_r(&seed) % WORDS, .scope = rand_r(&seed) % WORDS};
        uint64_t out[BLOCKS];
        for (int k = 0; k < BLOCK * BLOCKS; k++)
            b.tokens[k] = rand_r(&seed) % 2 ? 0 : 0x61616161; /* also what tenants' names are made of */
        EXPECT_EQ(mr_block_names_of(names, mr_str_from(words[b.tenant]), mr_str_from(words[b.scope]), b.tokens, BLOCKS, out), BLOCKS);
        for (b.n = 1; b.n <= BLOCKS; b.n++) {
            b.name = out[b.n - 1];
            const struct beginning *by_name = NULL, *by_content = NULL;
            for (int k = 0; k < n_met; k++) {
                by_name = met[k].name == b.name ? &met[k] : by_name;
                by_content = same(&met[k], &b) ? &met[k] : by_content;
            }
            EXPECT(b.name != 0 && (!by_name || same(by_name, &b)));
            EXPECT(forgets || !by_content == !by_name);
            again += by_name != NULL;
            if (!by_name)
                met[n_met++] = b;
        }
    }
    return again;
}

TEST(equal_names_are_equal_beginnings)
{
    static const uint64_t masks[] = {UINT64_MAX, 0xff, 3, 0}; /* 64 bits of hash, 8, 2, none: everything collides */
    int again[4];
    for (int i = 0; i < 4; i++) {
        struct mr_block_names names;
        REQUIRE(mr_block_names_open(&names, BEGINNINGS * BLOCKS, BLOCK, 7, NULL) == MR_OK);
        names.hash_mask = masks[i];
        again[i] = name_many(&names, false, 1);
        mr_block_names_close(&names);
    }
    EXPECT(again[0] > 1000);
    for (int i = 1; i < 4; i++)
        EXPECT_EQ(again[i], again[0]); /* a short hash costs time, and no reuse */
}

TEST(forgetting_is_never_a_wrong_name)
{
    for (int32_t capacity = 12; capacity <= 768; capacity *= 4) {
        struct mr_block_names names;
        REQUIRE(mr_block_names_open(&names, capacity, BLOCK, 7, NULL) == MR_OK);
        names.hash_mask = 15;
        int again = name_many(&names, true, 2);
        EXPECT(capacity < 100 || again > 100);
        mr_block_names_close(&names);
    }
}

TEST(ends_are_forgotten_before_their_beginnings)
{
    struct mr_block_names names;
    int32_t first[] = {1, 2, 3, 4}, other[] = {1, 2, 5, 6}, third[] = {1, 2, 7, 8};
    uint64_t a[2], b[2], c[2];
    REQUIRE(mr_block_names_open(&names, 6, BLOCK, 0, NULL) == MR_OK); /* the sharer takes two, each prompt two, one of them in common */
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), first, 2, a), 2);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), other, 2, b), 2);
    EXPECT_EQ(names.n, 5);
    EXPECT(a[0] == b[0] && a[1] != b[1]);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), third, 2, c), 2);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), (int32_t[]){1, 2, 9, 9}, 2, c), 2); /* full: first's end goes */
    EXPECT_EQ(c[0], a[0]);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), other, 2, c), 2);
    EXPECT_EQ(c[1], b[1]);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), first, 2, c), 2);
    EXPECT(c[0] == a[0] && c[1] > b[1]); /* a new name, not the old one */
    mr_block_names_close(&names);
}

TEST(a_prompt_longer_than_the_table_is_named_in_part)
{
    struct mr_block_names names;
    int32_t tokens[20] = {0};
    uint64_t out[10];
    REQUIRE(mr_block_names_open(&names, 6, BLOCK, 0, NULL) == MR_OK);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), tokens, 4, out), 4);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), tokens, 5, out), 4);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("a tenant of a long name"), MR_STR("and scope"), tokens, 1, out), 1);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("a tenant of a long name"), MR_STR("and a scope"), tokens, 1, out), 0);
    EXPECT_EQ(mr_block_names_of(&names, MR_STR("t"), MR_STR(""), tokens, 0, out), 0);
    mr_block_names_close(&names);
    EXPECT_EQ(mr_block_names_open(&names, 0, BLOCK, 0, NULL), MR_ERR_INVALID);
}

TEST_MAIN(TEST_CASE(equal_names_are_equal_beginnings), TEST_CASE(forgetting_is_never_a_wrong_name),
          TEST_CASE(ends_are_forgotten_before_their_beginnings), TEST_CASE(a_prompt_longer_than_the_table_is_named_in_part))
