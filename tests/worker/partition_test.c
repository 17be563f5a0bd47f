#include "tests/test.h"

#include "worker/partition.h"

static const struct mr_route route = {.name = "r", .jobs = "jobs", .parked = "parked", .stream = "stream", .stream_parked = "stream.parked"};

TEST(runs_by_offset_in_order)
{
    struct mr_partition *p = mr_partition_open(&route, false, 3);
    for (int64_t i = 0; i < 500; i++)
        mr_partition_add(p, (struct mr_src){i * 7, i});
    EXPECT_EQ(p->n_runs, 500);
    for (int64_t i = 0; i < 500; i++) {
        struct mr_run *run = mr_partition_find(p, i * 7);
        EXPECT(run && run->src.timestamp_ms == i);
        EXPECT(!mr_partition_find(p, i * 7 + 1));
    }
    for (int64_t i = 0; i < 500; i += 2)
        mr_partition_remove(p, mr_partition_find(p, i * 7));
    int64_t next = 1;
    for (struct mr_run *run = p->first; run; run = run->next, next += 2)
        EXPECT_EQ(run->src.offset, next * 7);
    EXPECT_EQ(p->n_runs, 250);
    mr_partition_close(p);
}

TEST(waiting_is_a_queue)
{
    struct mr_partition *p = mr_partition_open(&route, true, 0);
    struct mr_run *a = mr_partition_add(p, (struct mr_src){1, 0}), *b = mr_partition_add(p, (struct mr_src){2, 0}), *c = mr_partition_add(p,
        (struct mr_src){3, 0});
    EXPECT_STR(p->stream, "stream.parked");
    mr_partition_wait(p, b);
    mr_partition_wait(p, a);
    mr_partition_wait(p, c);
    EXPECT(p->wait_first == b && p->n_waiting == 3);
    mr_partition_remove(p, a);
    EXPECT(p->wait_first == b && b->wait_next == c && p->n_waiting == 2);
    mr_partition_unwait(p, c);
    c->state = MR_RUN_ADMITTING;
    EXPECT(p->wait_last == b && p->n_waiting == 1);
    mr_partition_close(p);
}

TEST(since_is_the_oldest_unfinished_start)
{
    struct mr_partition *p = mr_partition_open(&route, false, 0);
    EXPECT_EQ(mr_partition_since(p), -1); /* nothing read: the next owner begins at the start */
    p->tail_next = 90;
    EXPECT_EQ(mr_partition_since(p), 90);
    struct mr_run *a = mr_partition_add(p, (struct mr_src){1, 0}), *b = mr_partition_add(p, (struct mr_src){2, 0});
    EXPECT_EQ(mr_partition_since(p), 90); /* their STARTs are still to come */
    a->first_start = 40;
    b->first_start = 70;
    EXPECT_EQ(mr_partition_since(p), 40);
    mr_partition_remove(p, a);
    EXPECT_EQ(mr_partition_since(p), 70);
    mr_partition_close(p);
}

TEST(sweep_drops_what_nobody_waits_for)
{
    int64_t since;
    struct mr_partition *p = mr_partition_open(&route, false, 0);
    EXPECT(mr_ledger_open(&p->ledger, 10, (struct mr_str){0}, &since));
    mr_partition_add(p, (struct mr_src){9, 0});
    mr_partition_add(p, (struct mr_src){10, 0});
    struct mr_run *held = mr_partition_add(p, (struct mr_src){8, 0});
    mr_partition_wait(p, held);
    mr_partition_sweep(p);
    EXPECT(!mr_partition_find(p, 9) && mr_partition_find(p, 10) && mr_partition_find(p, 8));
    mr_partition_close(p);
}

TEST_MAIN(TEST_CASE(runs_by_offset_in_order), TEST_CASE(waiting_is_a_queue), TEST_CASE(since_is_the_oldest_unfinished_start),
    TEST_CASE(sweep_drops_what_nobody_waits_for))
