#include "tests/test.h"

#include "worker/text/template.h"

static struct mr_arena arena;

/* Chunks as D(..), O(..), S(..). */
static void expect_chunks(struct mr_str source, const char *wanted)
{
    struct mr_template_chunk *chunks;
    size_t n, used = 0;
    char text[512] = "";
    EXPECT_EQ(mr_template_cut(source, &arena, &chunks, &n, NULL), MR_OK);
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%c(%.*s)", "DOS"[chunks[i].kind], (int)chunks[i].text.n, chunks[i].text.p);
    EXPECT_STR(text, wanted);
    mr_arena_fini(&arena);
}

TEST(cutting)
{
    expect_chunks(MR_STR("a{{ x }}b{% if y %}c"), "D(a)O( x )D(b)S( if y )D(c)");
    expect_chunks(MR_STR("a\n  {% x %}\nb\n"), "D(a\n)S( x )D(b)");          /* a block takes its line's blanks and newline */
    expect_chunks(MR_STR("a  {% x %}  b"), "D(a  )S( x )D(  b)");             /* but not after other text */
    expect_chunks(MR_STR("  {%+ x +%}\nb"), "D(  )S( x )D(\nb)");
    expect_chunks(MR_STR("a \n {%- x -%} \n b"), "D(a)S( x )D(b)");
    expect_chunks(MR_STR("a \n {{- x -}} \n b"), "D(a)O( x )D(b)");
    expect_chunks(MR_STR("{{ x }}\nb\n\n"), "O( x )D(\nb\n)");                /* one newline at the end goes */
    expect_chunks(MR_STR("{{ '}}' }}{% '%}' %}"), "O( '}}' )S( '%}' )");      /* quotes hide delimiters */
    expect_chunks(MR_STR("{# it's #}\nx"), "D(x)");                           /* in a comment they do not count */
    expect_chunks(MR_STR("{"), "D({)");
    expect_chunks(MR_STR(""), "");
}

TEST(unclosed_tags_are_refused)
{
    static const char *const bad[] = {"{{", "{% x", "{# x", "{{ 'x }}", "{%}"};
    for (size_t i = 0; i < 5; i++) {
        struct mr_template_chunk *chunks;
        size_t n;
        struct mr_err err;
        EXPECT_EQ(mr_template_cut(mr_str_from(bad[i]), &arena, &chunks, &n, &err), MR_ERR_INVALID);
        EXPECT(strstr(err.text, "not closed") != NULL);
        mr_arena_fini(&arena);
    }
}

TEST(expressions)
{
    EXPECT(mr_template_same(MR_STR(" a [ 'x' ]!=\"y\" "), MR_STR("a['x'] != 'y'")));
    EXPECT(!mr_template_same(MR_STR("a.b"), MR_STR("a.b.c")));
    EXPECT(!mr_template_same(MR_STR("'x"), MR_STR("'x")));
    EXPECT(!mr_template_same(MR_STR("x"), MR_STR("'x'")));
    struct mr_str text;
    EXPECT_EQ(mr_template_text(MR_STR("a\\n\\'\\\\\\\""), &arena, &text, NULL), MR_OK);
    EXPECT(mr_str_is(text, "a\n'\\\""));
    EXPECT_EQ(mr_template_text(MR_STR("\\u0041"), &arena, &text, NULL), MR_ERR_UNSUPPORTED);
    mr_arena_fini(&arena);
}

TEST(limits)
{
    static char many[5 * MR_TEMPLATE_CHUNKS_MAX + 5], large[MR_TEMPLATE_BYTES_MAX + 1];
    struct mr_template_chunk *chunks;
    size_t n;
    for (size_t i = 0; i <= MR_TEMPLATE_CHUNKS_MAX; i++)
        memcpy(many + 5 * i, "{{x}}", 5);
    EXPECT_EQ(mr_template_cut((struct mr_str){many, 5 * MR_TEMPLATE_CHUNKS_MAX}, &arena, &chunks, &n, NULL), MR_OK);
    EXPECT_EQ(n, MR_TEMPLATE_CHUNKS_MAX);
    EXPECT_EQ(mr_template_cut((struct mr_str){many, sizeof many}, &arena, &chunks, &n, NULL), MR_ERR_LIMIT);
    memset(large, ' ', sizeof large);
    EXPECT_EQ(mr_template_cut((struct mr_str){large, MR_TEMPLATE_BYTES_MAX}, &arena, &chunks, &n, NULL), MR_OK);
    EXPECT_EQ(mr_template_cut((struct mr_str){large, sizeof large}, &arena, &chunks, &n, NULL), MR_ERR_LIMIT);
    mr_arena_fini(&arena);
}

TEST_MAIN(TEST_CASE(cutting), TEST_CASE(unclosed_tags_are_refused), TEST_CASE(expressions), TEST_CASE(limits))
