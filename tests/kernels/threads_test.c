#include "kernels/threads.h"
#include "tests/test.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { ITEMS = 1000 };

struct counts {
    atomic_int item[ITEMS];
    atomic_int thread_seen[MR_THREADS_MAX];
};

static void count(void *context, int32_t item, int thread)
{
    struct counts *counts = context;
    atomic_fetch_add(&counts->item[item], 1);
    atomic_fetch_add(&counts->thread_seen[thread], 1);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

TEST(every_item_runs_once)
{
    for (int n = 1; n <= 5; n++) {
        struct mr_threads *threads = NULL;
        REQUIRE(mr_threads_open(n, n % 2, &threads, NULL) == MR_OK);
        EXPECT_EQ(mr_threads_count(threads), n);
        for (int run = 0; run < 200; run++) {
            struct counts counts = {0};
            int32_t items = run % 7 == 0 ? run % 3 : run * 5;
            mr_threads_run(threads, items, count, &counts);
            int total = 0;
            for (int32_t i = 0; i < ITEMS; i++) {
                if (counts.item[i] != (i < items))
                    EXPECT_EQ(counts.item[i], i < items);
            }
            for (int t = 0; t < MR_THREADS_MAX; t++) {
                total += counts.thread_seen[t];
                if (t >= n)
                    EXPECT_EQ(counts.thread_seen[t], 0);
            }
            EXPECT_EQ(total, items);
            if (run % 3 == 0)
                mr_threads_rest(threads);
            if (run % 50 == 0)
                nap(); /* helpers are asleep, or have yielded */
        }
        mr_threads_close(threads);
    }
}

/* Around the number that a share's word can hold: more are claimed several at once. */
static void mark(void *context, int32_t item, int thread)
{
    (void)thread;
    atomic_fetch_add((atomic_uchar *)context + item, 1);
}

TEST(very_many_items_run_once)
{
    static const int32_t items[] = {65534, 65535, 65536, 65537, 131070, 131071, 200000};
    struct mr_threads *threads = NULL;
    REQUIRE(mr_threads_open(3, false, &threads, NULL) == MR_OK);
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        atomic_uchar *marks = calloc((size_t)items[i] + 1, sizeof *marks);
        mr_threads_run(threads, items[i], mark, marks);
        int32_t once = 0;
        for (int32_t item = 0; item < items[i]; item++)
            once += marks[item] == 1;
        EXPECT_EQ(once, items[i]);
        EXPECT_EQ(marks[items[i]], 0);
        free(marks);
    }
    mr_threads_close(threads);
}

/* Items of the caller's own part that last: the helper, whose part is short, takes some of them. */
static void hold(void *context, int32_t item, int thread)
{
    struct counts *counts = context;
    atomic_fetch_add(&counts->item[item], 1);
    atomic_fetch_add(&counts->thread_seen[thread], item < 8);
    if (item < 8)
        nap();
}

TEST(who_is_done_takes_of_anothers_part)
{
    struct mr_threads *threads = NULL;
    REQUIRE(mr_threads_open(2, false, &threads, NULL) == MR_OK);
    struct counts counts = {0};
    mr_threads_run(threads, 16, hold, &counts);
    for (int i = 0; i < 16; i++)
        EXPECT_EQ(counts.item[i], 1);
    EXPECT_EQ(counts.thread_seen[0] + counts.thread_seen[1], 8);
    EXPECT(counts.thread_seen[1] > 0);
    mr_threads_close(threads);
}

TEST(helpers_sleep_when_told)
{
    struct mr_threads *threads = NULL;
    REQUIRE(mr_threads_open(4, false, &threads, NULL) == MR_OK);
    struct counts counts = {0};
    mr_threads_run(threads, 100, count, &counts);
    mr_threads_rest(threads);
    for (int i = 0; i < 20; i++)
        nap();
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    for (int i = 0; i < 50; i++)
        nap();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double used = (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
    EXPECT(used < 0.05); /* of at least 0.1 s: three spinning helpers would use twice that even on two cores */
    mr_threads_close(threads);
}

TEST(counts_out_of_limits_are_refused)
{
    struct mr_threads *threads = NULL;
    struct mr_err err;
    EXPECT_EQ(mr_threads_open(-1, false, &threads, &err), MR_ERR_LIMIT);
    EXPECT_EQ(mr_threads_open(MR_THREADS_MAX + 1, false, &threads, &err), MR_ERR_LIMIT);
    REQUIRE(mr_threads_open(MR_THREADS_MAX, false, &threads, &err) == MR_OK);
    struct counts counts = {0};
    mr_threads_run(threads, ITEMS, count, &counts);
    EXPECT_EQ(counts.item[0], 1);
    EXPECT_EQ(counts.item[ITEMS - 1], 1);
    mr_threads_close(threads);
    REQUIRE(mr_threads_open(0, false, &threads, &err) == MR_OK);
    EXPECT(mr_threads_count(threads) >= 1);
    mr_threads_close(threads);
    mr_threads_close(NULL);
}

TEST_MAIN(TEST_CASE(every_item_runs_once), TEST_CASE(very_many_items_run_once), TEST_CASE(who_is_done_takes_of_anothers_part),
          TEST_CASE(helpers_sleep_when_told), TEST_CASE(counts_out_of_limits_are_refused))
