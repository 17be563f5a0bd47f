/* Out of the way: MOVED, mr-origin, and the parked run. */
#include "tests/worker/owner_hand.h"

static void hold(bool on) { step(&(struct mr_owner_event){.kind = MR_OWNER_HELD, .handle = t.submit, .on = on}); }
static void dropped(void) { step(&(struct mr_owner_event){.kind = MR_OWNER_DROPPED, .handle = t.drop}); }

TEST(what_is_held_moves_after_a_while)
{
    begin_job();
    hold(true);
    pass(29000);
    EXPECT(t.drop == 0);
    pass(2000);
    EXPECT(t.drop == t.submit && last_kind() == MR_FOLD_MOVED && t.starts[t.n_log - 1].n == 0);
    EXPECT_EQ(t.parked, 0); /* not before the tail has shown MOVED */
    t.hold_acks = true;
    flow();
    EXPECT(t.parked == 1 && t.results == 0 && t.dead == 0);
    EXPECT_STR(t.origin, "jobs/0/0/4000/realtime/acme/a");
    pass(1000);
    EXPECT_EQ(t.commit_offset, 0); /* nor is it finished before the parked record is acknowledged */
    acks(MR_OK);
    answer_commit(MR_COMMIT_OK);
    dropped();
    pass(1000);
    EXPECT_EQ(t.commit_offset, 1);
    EXPECT_EQ(stats_now().moved, 1);
    close_owner();
}

TEST(what_is_not_held_or_has_a_token_stays)
{
    begin_job();
    pass(100000);
    EXPECT(t.drop == 0); /* the worker is merely full */
    hold(true);
    hold(false);
    pass(100000);
    EXPECT(t.drop == 0);
    hold(true);
    tokens(0, 5);
    pass(100000);
    EXPECT(t.drop == 0 && last_kind() == MR_FOLD_TOK);
    close_owner();
}

/* More than a quarter of the map's span behind: held or not, the partition must not wait for it. */
TEST(far_behind)
{
    for (int64_t more = 0; more < 2; more++) {
        begin_job();
        input(MR_OWNER_MOVE_SPAN - 1 + more); /* the offsets between do not exist */
        pass(100);
        EXPECT((t.drop != 0) == (more == 1));
        close_owner();
    }
}

TEST(a_successor_finishes_a_move)
{
    open_owner();
    foreign_start(9, 11, false);
    struct mr_fold fold;
    mr_fold_init(&fold, "acme/a", 6);
    foreign_record(&(struct mr_stream_record){.kind = MR_FOLD_MOVED, .job = MR_STR("acme/a"), .src = {0, 4000}, .epoch = 9, .writer = 33,
                                              .ctx = fold.ctx, .to_topic = MR_STR("parked")});
    take_over(3);
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT(t.parked == 1 && t.n_log == 2 && t.submit == 0);
    flow();
    pass(1000);
    EXPECT_EQ(t.commit_offset, 1);
    close_owner();
}

static void begin_parked(const char *origin)
{
    struct mr_header header = {MR_STR(MR_ORIGIN_HEADER), mr_str_from(origin)};
    open_owner();
    assign_topic("parked", "sp", 3, 0);
    input_to("parked", 0, &header);
}

TEST(the_parked_run_is_what_its_origin_was)
{
    begin_parked("jobs/3/70/2000/realtime/acme/a");
    EXPECT_STR(t.admit_topic, "jobs"); /* id and seed come out as they would have there */
    EXPECT(t.admitted.partition == 3 && t.admitted.offset == 70 && t.admitted.timestamp_ms == 2000);
    struct mr_job *job = job_make("acme/a", "h");
    job->deadline_ms = 4000; /* counted from 2000, the broker says 5000 now */
    step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = job});
    flow();
    EXPECT(t.submit != 0 && strcmp(t.streams[0], "sp") == 0);
    pass(900);
    EXPECT(t.cancel == 0);
    pass(200);
    EXPECT(t.cancel == t.submit);
    end(MR_FINISH_CANCELLED);
    flow();
    EXPECT(last_kind() == MR_FOLD_EXPIRED && t.results == 1 && t.created == 2);
    close_owner();
}

TEST(nothing_moves_twice)
{
    begin_parked("jobs/3/70/2000/realtime/acme/a");
    verdict("acme/a", "h", NULL);
    flow();
    hold(true);
    pass(100000);
    input_to("parked", MR_OWNER_MOVE_SPAN + 5, NULL);
    pass(100);
    EXPECT(t.drop == 0 && t.parked == 0);
    close_owner();
}

TEST(the_second_copy_of_an_origin_is_a_duplicate)
{
    struct mr_header header = {MR_STR(MR_ORIGIN_HEADER), MR_STR("jobs/3/70/2000/realtime/acme/a")};
    begin_parked("jobs/3/70/2000/realtime/acme/a");
    verdict("acme/a", "h", NULL);
    flow();
    input_to("parked", 1, &header);
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT(last_kind() == MR_FOLD_DUPLICATE && t.starts[t.n_log - 1].first.offset == 0);
    close_owner();
}

TEST(an_origin_is_believed_only_there_and_only_of_its_job)
{
    struct mr_header header = {MR_STR(MR_ORIGIN_HEADER), MR_STR("jobs/3/70/2000/realtime/acme/a")};
    open_owner();
    assign(3, 0);
    input_to("jobs", 0, &header); /* anybody may write this */
    EXPECT(t.admitted.partition == 0 && t.admitted.offset == 0 && t.admitted.timestamp_ms == 4000);
    close_owner();
    begin_parked("jobs/3/70/2000/realtime/acme/a");
    verdict("acme/somebody-else", "h", NULL);
    flow();
    EXPECT(last_kind() == MR_FOLD_FAILED && t.starts[t.n_log - 1].reason == MR_REASON_INVALID_ID);
    close_owner();
    begin_parked("nonsense"); /* then it is a job of its own */
    EXPECT_STR(t.admit_topic, "parked");
    close_owner();
}

TEST_MAIN(TEST_CASE(what_is_held_moves_after_a_while), TEST_CASE(what_is_not_held_or_has_a_token_stays), TEST_CASE(far_behind),
          TEST_CASE(a_successor_finishes_a_move), TEST_CASE(the_parked_run_is_what_its_origin_was), TEST_CASE(nothing_moves_twice),
          TEST_CASE(the_second_copy_of_an_origin_is_a_duplicate), TEST_CASE(an_origin_is_believed_only_there_and_only_of_its_job))
