#include "tests/test.h"

#include "base/check.h"
#include "worker/text/stop.h"

static uint32_t random_state = 7;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % n;
}

/* By the definition: the first byte at which a stop string is complete; the longest of those complete there is cut off. */
static bool oracle(struct mr_str text, const struct mr_str *strings, int n, size_t *released)
{
    for (size_t end = 1; end <= text.n; end++) {
        size_t longest = 0;
        for (int i = 0; i < n; i++)
            if (strings[i].n <= end && strings[i].n > longest && memcmp(text.p + end - strings[i].n, strings[i].p, strings[i].n) == 0)
                longest = strings[i].n;
        if (longest) {
            *released = end - longest;
            return true;
        }
    }
    *released = text.n;
    return false;
}

TEST(random_splits_equal_the_oracle)
{
    int stops = 0;
    for (int round = 0; round < 50000; round++) {
        char text[64], words[4][6];
        struct mr_str strings[4];
        struct mr_buf out = {0};
        struct mr_stop stop;
        size_t n_text = random_below(sizeof text), wanted;
        int n = 1 + (int)random_below(4);
        for (int i = 0; i < n; i++) {
            strings[i] = (struct mr_str){words[i], 1 + random_below(sizeof words[i])};
            for (size_t k = 0; k < strings[i].n; k++)
                words[i][k] = "ab"[random_below(2)];
        }
        for (size_t k = 0; k < n_text; k++)
            text[k] = "aabc"[random_below(4)];
        bool stopped = false, should = oracle((struct mr_str){text, n_text}, strings, n, &wanted);
        mr_stop_init(&stop, strings, n);
        for (size_t at = 0; at < n_text;) {
            size_t piece = 1 + random_below(9);
            if (piece > n_text - at)
                piece = n_text - at;
            stopped = mr_stop_add(&stop, (struct mr_str){text + at, piece}, &out);
            at += piece;
            EXPECT(out.n <= wanted);
        }
        mr_stop_finish(&stop, &out);
        EXPECT(stopped == should);
        EXPECT_EQ(out.n, wanted);
        EXPECT(out.n == 0 || memcmp(out.p, text, out.n) == 0);
        stops += stopped;
        mr_stop_fini(&stop);
        mr_buf_fini(&out);
    }
    EXPECT(stops > 10000 && stops < 49000);
}

TEST(text_is_released_as_soon_as_it_can_be)
{
    struct mr_str strings[] = {MR_STR("\n\nUser:")};
    struct mr_stop stop;
    struct mr_buf out = {0};
    mr_stop_init(&stop, strings, 1);
    EXPECT(!mr_stop_add(&stop, MR_STR("hello\n"), &out));
    EXPECT(mr_str_is(mr_buf_view(&out), "hello"));
    EXPECT(!mr_stop_add(&stop, MR_STR("\n\n"), &out)); /* of three newlines the first can no longer be the start */
    EXPECT(mr_str_is(mr_buf_view(&out), "hello\n"));
    EXPECT(!mr_stop_add(&stop, MR_STR("Us"), &out));
    EXPECT(mr_stop_add(&stop, MR_STR("er: more"), &out));
    EXPECT(mr_str_is(mr_buf_view(&out), "hello\n"));
    EXPECT(mr_stop_add(&stop, MR_STR("more"), &out));
    mr_stop_finish(&stop, &out);
    EXPECT(mr_str_is(mr_buf_view(&out), "hello\n"));
    mr_stop_fini(&stop);
    mr_buf_fini(&out);
}

TEST(limits)
{
    static char longest[MR_STOP_BYTES_MAX];
    struct mr_str strings[MR_STOP_MAX];
    struct mr_stop stop;
    struct mr_buf out = {0};
    memset(longest, 'a', sizeof longest);
    for (int i = 0; i < MR_STOP_MAX; i++)
        strings[i] = (struct mr_str){longest, sizeof longest};
    mr_stop_init(&stop, strings, MR_STOP_MAX);
    EXPECT(!mr_stop_add(&stop, (struct mr_str){longest, MR_STOP_BYTES_MAX - 1}, &out));
    EXPECT_EQ(out.n, 0);
    EXPECT(!mr_stop_add(&stop, MR_STR("b"), &out));
    EXPECT_EQ(out.n, MR_STOP_BYTES_MAX);
    EXPECT(mr_stop_add(&stop, (struct mr_str){longest, MR_STOP_BYTES_MAX}, &out));
    EXPECT_EQ(out.n, MR_STOP_BYTES_MAX);
    mr_stop_init(&stop, NULL, 0);
    mr_buf_clear(&out);
    EXPECT(!mr_stop_add(&stop, MR_STR("abc"), &out));
    EXPECT_EQ(out.n, 3);
    mr_buf_fini(&out);
}

TEST_MAIN(TEST_CASE(random_splits_equal_the_oracle), TEST_CASE(text_is_released_as_soon_as_it_can_be), TEST_CASE(limits))
