#include "tests/worker/owner_hand.h"

enum { LIMIT_MS = MR_OWNER_SILENCE_NS / MR_NS_PER_MS };

/* The tail shows the next record that was appended to this stream, and it alone. */
static void show_next(const char *stream, int64_t *at)
{
    while (strcmp(t.streams[*at], stream) != 0)
        ++*at;
    tell(MR_LOG_FOLLOWED, stream, (struct mr_log_event){.record = {.offset = *at, .timestamp_ms = t.wall_ms, .value = mr_buf_view(&t.values[*at])}});
    ++*at;
}

static void rests_at_the_limit(void)
{
    pass(LIMIT_MS - 1);
    EXPECT_EQ(t.rest, 0);
    pass(1);
    EXPECT_EQ(t.rest, 1);
}

static void works_when_heard(void)
{
    flow();
    pass(1);
    EXPECT_EQ(t.rest, 0);
}

TEST(silence_begins_at_its_limit)
{
    begin_job();
    tokens(0, 5);
    flow();
    pass(10 * LIMIT_MS);
    EXPECT_EQ(t.rest, 0); /* nothing is on its way */
    tokens(1, 6);
    rests_at_the_limit();
    EXPECT_EQ(stats_now().silences, 1);
    works_when_heard();
    close_owner();
}

TEST(a_start_that_is_not_seen_is_silence_too)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    acks(MR_OK);
    EXPECT(t.submit != 0); /* the engine works for it before the barrier */
    rests_at_the_limit();
    works_when_heard();
    close_owner();
}

/* A worker that is heard loses no partition: what waits for another leader waits. */
TEST(one_partition_that_answers_is_enough)
{
    begin_job();
    uint64_t first = t.submit;
    assign_topic("jobs.b", "stream.b", 3, 0);
    input_to("jobs.b", 0, NULL);
    verdict("beta/b", "h", NULL);
    flow();
    uint64_t second = t.submit;
    int64_t at = t.told;
    EXPECT(second != first);
    t.submit = first;
    tokens(0, 5);
    for (int i = 0; i < 10; i++) {
        t.submit = second;
        tokens(i, 6);
        pass(LIMIT_MS / 4);
        EXPECT_EQ(t.rest, 0);
        show_next("stream.b", &at);
    }
    pass(LIMIT_MS * 3 / 4 - 1);
    EXPECT_EQ(t.rest, 0);
    pass(1);
    EXPECT_EQ(t.rest, 1);
    close_owner();
}

TEST(no_broker_is_silence_at_once)
{
    begin_job();
    flow();
    tell(MR_LOG_TROUBLE, "", (struct mr_log_event){.status = MR_ERR_BUSY});
    pass(1);
    EXPECT_EQ(t.rest, 0); /* nothing is on its way */
    tokens(0, 5);
    tell(MR_LOG_TROUBLE, "", (struct mr_log_event){.status = MR_ERR_IO});
    pass(1);
    EXPECT_EQ(t.rest, 0); /* one of them */
    tell(MR_LOG_TROUBLE, "", (struct mr_log_event){.status = MR_ERR_BUSY});
    pass(1);
    EXPECT_EQ(t.rest, 1);
    works_when_heard();
    close_owner();
}

TEST(what_is_no_longer_ours_is_not_waited_for)
{
    begin_job();
    tokens(0, 5);
    pass(LIMIT_MS);
    EXPECT_EQ(t.rest, 1);
    tell(MR_LOG_REVOKED, "jobs", (struct mr_log_event){.lost = true});
    pass(1);
    EXPECT_EQ(t.rest, 0);
    close_owner();
}

/* Given back, but the tail does not come. */
TEST(a_tail_that_shows_nothing_is_silence_too)
{
    begin_job();
    tokens(0, 5);
    flow();
    tell(MR_LOG_REVOKED, "jobs", (struct mr_log_event){0});
    pass(3 * LIMIT_MS);
    EXPECT(t.rest == 0 && t.drop == 0); /* what a parked run may make is bounded by itself */
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = 4});
    rests_at_the_limit();
    int64_t at = t.told;
    show_next("stream", &at); /* its own YIELD of before */
    pass(1);
    EXPECT_EQ(t.rest, 0);
    pass(LIMIT_MS);
    EXPECT_EQ(t.rest, 1);
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = at});
    pass(1);
    EXPECT(last_kind() == MR_FOLD_START && t.rest == 0);
    close_owner();
}

TEST(a_new_producer_has_its_own_time)
{
    begin_job();
    tokens(0, 5);
    pass(LIMIT_MS);
    EXPECT_EQ(t.rest, 1);
    acks(MR_ERR_TIMEOUT);
    EXPECT_EQ(t.reopens, 1);
    pass(1);
    EXPECT_EQ(t.rest, 1); /* it waits for its back-off, */
    pass(200);            /* and its START */
    EXPECT(last_kind() == MR_FOLD_START && t.rest == 0);
    pass(LIMIT_MS);
    EXPECT_EQ(t.rest, 1);
    works_when_heard();
    close_owner();
}

TEST_MAIN(TEST_CASE(silence_begins_at_its_limit), TEST_CASE(a_start_that_is_not_seen_is_silence_too), TEST_CASE(one_partition_that_answers_is_enough),
          TEST_CASE(no_broker_is_silence_at_once), TEST_CASE(what_is_no_longer_ours_is_not_waited_for), TEST_CASE(a_tail_that_shows_nothing_is_silence_too),
          TEST_CASE(a_new_producer_has_its_own_time))
