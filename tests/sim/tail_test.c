/* What the tail costs: whole owners over 16 partitions, nothing fails; what their tails read of the streams, at 1, 4 and 16 workers.
 * The owner of an input partition is the only reader of its stream partition, so the sum must stay what was written, once. */
#include "tests/sim/sim_world.h"
#include "tests/test.h"

static struct sim_totals calm(int workers)
{
    struct sim_plan plan = {.seed = 11, .workers = workers, .partitions = 16, .jobs = 2000, .delay_max_ns = 5000000, .length_max = 40, .tiers = 1};
    struct sim_totals totals = {0};
    EXPECT_EQ(sim_run(&plan, &totals), 0);
    return totals;
}

TEST(the_tail_reads_the_stream_once_however_many_workers)
{
    static const int workers[] = {1, 4, 16};
    for (size_t i = 0; i < sizeof workers / sizeof *workers; i++) {
        struct sim_totals t = calm(workers[i]);
        double ratio = (double)t.tail_bytes / (double)t.stream_bytes;
        printf("%2d workers: %lld tokens in %lld records; written %.0f, read back %.0f bytes a token (%.3f times)\n", workers[i], (long long)t.tokens,
               (long long)t.records, (double)t.stream_bytes / (double)t.tokens, (double)t.tail_bytes / (double)t.tokens, ratio);
        EXPECT(t.stream_bytes > 0 && ratio > 0.95); /* a tail may end before the last terminal is seen again */
        EXPECT(ratio < 1.05);                        /* rebalances at the start read little twice */
    }
}

TEST_MAIN(TEST_CASE(the_tail_reads_the_stream_once_however_many_workers))
