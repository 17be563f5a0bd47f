#include "tests/test.h"

#include "worker/ledger.h"

#include <stdlib.h>

static struct mr_ledger opened(int64_t committed)
{
    struct mr_ledger ledger;
    int64_t since;
    EXPECT(mr_ledger_open(&ledger, committed, (struct mr_str){0}, &since));
    EXPECT_EQ(since, -1);
    return ledger;
}

TEST(lowest_unfinished)
{
    struct mr_ledger l = opened(-1);
    EXPECT_EQ(mr_ledger_see(&l, 100), MR_LEDGER_NEW);
    EXPECT_EQ(l.low, 100);
    for (int64_t o = 101; o < 110; o++)
        EXPECT_EQ(mr_ledger_see(&l, o), MR_LEDGER_NEW);
    mr_ledger_finish(&l, 101);
    mr_ledger_finish(&l, 103);
    EXPECT_EQ(l.low, 100);
    mr_ledger_finish(&l, 100);
    EXPECT_EQ(l.low, 102);
    EXPECT(mr_ledger_finished(&l, 103) && !mr_ledger_finished(&l, 102) && mr_ledger_finished(&l, 99));
    EXPECT_EQ(mr_ledger_see(&l, 99), MR_LEDGER_FINISHED);
    EXPECT_EQ(mr_ledger_see(&l, 103), MR_LEDGER_FINISHED);
    EXPECT_EQ(mr_ledger_see(&l, 104), MR_LEDGER_NEW); /* delivered twice, still open */
    mr_ledger_finish(&l, 102);
    EXPECT_EQ(l.low, 104);
    EXPECT_EQ(mr_ledger_see(&l, 113), MR_LEDGER_NEW); /* 110 to 112 do not exist */
    for (int64_t o = 104; o < 110; o++)
        mr_ledger_finish(&l, o);
    EXPECT_EQ(l.low, 113);
}

TEST(survives_a_commit)
{
    struct mr_ledger l = opened(1000), again;
    char text[MR_LEDGER_METADATA_BYTES + 1];
    int64_t since;
    for (int64_t o = 1000; o < 1100; o++)
        mr_ledger_see(&l, o);
    for (int64_t o = 1001; o < 1100; o += 3)
        mr_ledger_finish(&l, o);
    size_t n = mr_ledger_metadata(&l, 77, text);
    EXPECT(n < 60);
    REQUIRE(mr_ledger_open(&again, 1000, (struct mr_str){text, n}, &since));
    EXPECT_EQ(since, 77);
    for (int64_t o = 1000; o < 1100; o++)
        EXPECT_EQ(mr_ledger_see(&again, o), (o - 1001) % 3 == 0 ? MR_LEDGER_FINISHED : MR_LEDGER_NEW);
    /* of another commit: refused whole */
    EXPECT(!mr_ledger_open(&again, 1001, (struct mr_str){text, n}, &since));
    EXPECT_EQ(since, -1);
    EXPECT_EQ(mr_ledger_see(&again, 1001), MR_LEDGER_NEW);
}

TEST(damaged_metadata)
{
    struct mr_ledger l = opened(5), again;
    char text[MR_LEDGER_METADATA_BYTES + 1], bad[MR_LEDGER_METADATA_BYTES + 64];
    int64_t since;
    for (int64_t o = 5; o < 60; o++)
        mr_ledger_see(&l, o);
    mr_ledger_finish(&l, 40);
    size_t n = mr_ledger_metadata(&l, -1, text);
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, text, n);
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        bool read = mr_ledger_open(&again, 5, (struct mr_str){bad, n}, &since);
        EXPECT(!read || text[i] == '='); /* '=' replaced lengthens by a zero-ish byte: its crc fails unless the text is equal */
        EXPECT(!mr_ledger_open(&again, 5, (struct mr_str){text, i}, &since) == (i != 0));
    }
    EXPECT(!mr_ledger_open(&again, 5, MR_STR("from an older program"), &since));
    memset(bad, 'A', sizeof bad);
    EXPECT(!mr_ledger_open(&again, 5, (struct mr_str){bad, sizeof bad}, &since));
}

TEST(limits)
{
    struct mr_ledger l = opened(0), again;
    char text[MR_LEDGER_METADATA_BYTES + 1];
    int64_t since;
    for (int64_t o = 0; o < MR_LEDGER_SPAN; o++) {
        EXPECT_EQ(mr_ledger_see(&l, o), MR_LEDGER_NEW);
        EXPECT_EQ(mr_ledger_room(&l), o + 1 < MR_LEDGER_ADMIT_SPAN);
    }
    EXPECT_EQ(mr_ledger_see(&l, MR_LEDGER_SPAN), MR_LEDGER_FULL);
    for (int64_t o = 1; o < MR_LEDGER_SPAN; o++)
        mr_ledger_finish(&l, o);
    size_t n = mr_ledger_metadata(&l, INT64_MAX, text);
    EXPECT_EQ(n, 4092);
    EXPECT(mr_ledger_open(&again, 0, (struct mr_str){text, n}, &since));
    EXPECT(since == INT64_MAX);
    mr_ledger_finish(&l, 0);
    EXPECT_EQ(l.low, MR_LEDGER_SPAN);
    EXPECT_EQ(mr_ledger_see(&l, MR_LEDGER_SPAN), MR_LEDGER_NEW);
    mr_ledger_finish(&l, MR_LEDGER_SPAN);
    EXPECT_EQ(mr_ledger_see(&l, 10 * MR_LEDGER_SPAN), MR_LEDGER_NEW); /* the log lost what lay between */
    EXPECT_EQ(l.low, 10 * MR_LEDGER_SPAN);
}

TEST(merge_keeps_what_was_never_committed)
{
    struct mr_ledger older = opened(10), back = opened(12), none = opened(-1);
    for (int64_t o = 10; o < 20; o++)
        mr_ledger_see(&older, o);
    for (int64_t o = 10; o < 15; o++)
        mr_ledger_finish(&older, o);
    mr_ledger_finish(&older, 17);
    EXPECT(mr_ledger_merge(&back, &older));
    for (int64_t o = 12; o < 20; o++)
        EXPECT_EQ(mr_ledger_see(&back, o), o < 15 || o == 17 ? MR_LEDGER_FINISHED : MR_LEDGER_NEW);
    EXPECT_EQ(back.low, 15);
    EXPECT(!mr_ledger_merge(&none, &older) && mr_ledger_merge(&back, &none));
}

/* Against a plain array of flags, with owners that come and go. */
TEST(random_against_naive)
{
    enum { N = 3000 };
    static bool done[N];
    unsigned random = 3;
    struct mr_ledger l = opened(0);
    int64_t seen = 0;
    char text[MR_LEDGER_METADATA_BYTES + 1];
    for (int step = 0; step < 60000; step++) {
        random = random * 1103515245u + 12345u;
        unsigned r = random >> 8;
        if (r % 3 == 0 && seen < N) {
            EXPECT_EQ(mr_ledger_see(&l, seen), done[seen] ? MR_LEDGER_FINISHED : MR_LEDGER_NEW);
            seen++;
        } else if (r % 3 == 1 && seen > 0) {
            int64_t o = seen - 1 - (int64_t)(r / 3 % 200) % seen;
            mr_ledger_finish(&l, o);
            done[o] = true;
        } else if (r % 97 == 0) {
            int64_t since;
            size_t n = mr_ledger_metadata(&l, step, text);
            int64_t low = l.low;
            EXPECT(mr_ledger_open(&l, low, (struct mr_str){text, n}, &since));
            EXPECT_EQ(since, step);
            seen = low;
        }
        int64_t low = 0;
        while (low < seen && done[low])
            low++;
        EXPECT_EQ(l.low, low);
    }
}

TEST_MAIN(TEST_CASE(lowest_unfinished), TEST_CASE(survives_a_commit), TEST_CASE(damaged_metadata), TEST_CASE(limits),
    TEST_CASE(merge_keeps_what_was_never_committed), TEST_CASE(random_against_naive))
