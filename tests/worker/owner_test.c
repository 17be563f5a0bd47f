/* The owner by hand: one partition, events one at a time, and what it does about each. The simulator (tests/sim) has the storms. */
#include "tests/worker/owner_hand.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(nothing_leaves_before_the_barrier)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_log, 1);
    EXPECT_EQ(t.starts[0].epoch, 3 << 20);
    EXPECT(t.submit == 0); /* whoever may die of it must leave a trace first */
    acks(MR_OK);
    EXPECT(t.submit != 0); /* the engine may begin: its START is acknowledged */
    tokens(0, 5);
    tokens(1, 6);
    EXPECT_EQ(t.n_log, 1); /* but its tokens wait */
    flow();
    EXPECT(t.n_log == 2 && t.kinds[1] == MR_FOLD_TOK); /* both in one record */
    end(MR_FINISH_STOP);
    EXPECT_EQ(last_kind(), MR_FOLD_DONE);
    EXPECT_EQ(t.results, 0); /* not before the tail has shown the terminal */
    t.hold_acks = true;
    flow();
    EXPECT_EQ(t.results, 1);
    pass(1000);
    EXPECT_EQ(t.commit_offset, 0); /* not before the result is acknowledged */
    acks(MR_OK);
    answer_commit(MR_COMMIT_OK);
    pass(1000);
    EXPECT_EQ(t.commit_offset, 1);
    close_owner();
}

TEST(takeover_continues_and_counts_epochs)
{
    open_owner();
    foreign_start((5 << 20) + 9, 11, false); /* a higher generation once was: the group has been deleted since */
    take_over(1);
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_log, 2);
    EXPECT_EQ(t.starts[1].epoch, (5 << 20) + 10);
    EXPECT_EQ(t.starts[1].cause, MR_CAUSE_TAKEOVER);
    close_owner();
}

TEST(another_start_raises_the_question)
{
    begin_job();
    tokens(0, 5);
    flow();
    foreign_start(4 << 20, 11, false);
    int before = t.commits;
    flow();
    EXPECT_EQ(t.commits, before + 1); /* who owns? */
    tokens(1, 6);
    EXPECT_EQ(t.n_log, 3); /* START, TOK, the other's START: silence until the answer */
    answer_commit(MR_COMMIT_RETRY);
    pass(50);
    EXPECT_EQ(t.commits, before + 1);
    pass(100);
    EXPECT_EQ(t.commits, before + 2); /* after a back-off */
    answer_commit(MR_COMMIT_OK);
    EXPECT_EQ(t.starts[3].epoch, (4 << 20) + 1);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_TOK); /* the token made meanwhile goes on where the log stands */
    EXPECT(t.drop == 0);
    close_owner();
}

TEST(who_does_not_own_stands_down)
{
    begin_job();
    foreign_start(4 << 20, 11, false);
    flow();
    answer_commit(MR_COMMIT_NOT_OWNER);
    int64_t n = t.n_log;
    tokens(0, 5);
    end(MR_FINISH_STOP);
    pass(5000);
    EXPECT_EQ(t.n_log, n);
    pass(20000); /* and does not come back: forgotten */
    struct mr_owner_stats stats = stats_now();
    EXPECT(stats.live == 0 && stats.partitions == 0);
    close_owner();
}

TEST(parked_and_back)
{
    begin_job();
    tokens(0, 5);
    flow();
    tell(MR_LOG_REVOKED, "jobs", (struct mr_log_event){0});
    int64_t n = t.n_log;
    EXPECT_EQ(t.kinds[n - 1], MR_FOLD_YIELD); /* whoever has it next knows that nobody died */
    EXPECT(t.drop == 0);
    tokens(1, 6);
    EXPECT_EQ(t.n_log, n);
    assign(4, 0);
    EXPECT_EQ(t.starts[n].cause, MR_CAUSE_REBALANCE);
    EXPECT_EQ(t.starts[n].epoch, 4 << 20);
    input(0); /* delivered again: nobody cares */
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_TOK);
    close_owner();
}

/* What a run makes while nobody may publish it is made twice if another goes on with it: a record's quarter, and it leaves the engine. What it
 * made is kept, and leaves first when the partition comes back. */
TEST(parked_makes_little_more)
{
    prepare();
    t.config.tier[MR_TIER_REALTIME] = (struct mr_owner_tier){8, MR_NS_PER_S};
    start_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    tokens(0, 5);
    tokens(1, 6);
    flow();
    int64_t n = t.n_log;
    EXPECT_EQ(last_kind(), MR_FOLD_START); /* two of eight: not due yet */
    tell(MR_LOG_REVOKED, "jobs", (struct mr_log_event){0});
    EXPECT(t.kinds[n] == MR_FOLD_TOK && t.kinds[n + 1] == MR_FOLD_YIELD);
    for (int64_t seq = 2; seq < 4; seq++)
        tokens(seq, 7);
    EXPECT(t.drop == 0);
    tokens(4, 7);
    EXPECT(t.drop == t.submit);
    tokens(5, 8); /* on its way already: not kept, for nothing of a dropped run is */
    step(&(struct mr_owner_event){.kind = MR_OWNER_DROPPED, .handle = t.drop});
    t.submit = 0;
    assign(4, 0);
    flow();
    EXPECT(t.submit != 0 && t.submit_accepted == 5);
    tokens(5, 8);
    tokens(6, 8);
    tokens(7, 8);
    flow();
    pass(1000);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_TOK);
    end(MR_FINISH_STOP);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_DONE);
    EXPECT_EQ(t.starts[t.n_log - 1].n, 8);
    close_owner();
}

TEST(parked_and_another_has_it)
{
    begin_job();
    tokens(0, 5);
    flow();
    tell(MR_LOG_REVOKED, "jobs", (struct mr_log_event){0});
    pass(3000);
    EXPECT(t.drop == 0); /* it may come back */
    assign_topic("jobs.b", "stream.b", 4, 0);
    pass(49);
    EXPECT(t.drop == 0); /* with the same rebalance even now */
    pass(1);
    EXPECT(t.drop == t.submit);
    step(&(struct mr_owner_event){.kind = MR_OWNER_DROPPED, .handle = t.drop});
    t.submit = 0;
    assign(5, 0); /* it comes back after all: the tail knows it still */
    flow();
    EXPECT(t.submit != 0 && t.submit_accepted == 1);
    close_owner();
}

TEST(a_delivery_error_begins_anew)
{
    begin_job();
    tokens(0, 5);
    tokens(1, 6);
    int64_t n = t.n_log;
    tell(MR_LOG_DELIVERED, "", (struct mr_log_event){.tag = t.tags[0], .status = MR_ERR_TIMEOUT});
    EXPECT_EQ(t.reopens, 1);
    tell(MR_LOG_DELIVERED, "", (struct mr_log_event){.tag = t.tags[1], .status = MR_ERR_TIMEOUT});
    EXPECT_EQ(t.reopens, 1); /* of the producer that is gone already */
    t.n_tags = 0;
    t.n_log = n - 2; /* both are lost */
    pass(200);
    EXPECT_EQ(t.starts[n - 2].cause, MR_CAUSE_PRODUCER);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_TOK);
    EXPECT_EQ(t.n_log, n); /* START, and both tokens in a record each or one */
    close_owner();
}

TEST(refused_duplicate_and_conflict)
{
    struct mr_refusal refusal = {.reason = MR_REASON_OUT_OF_RANGE, .field = "top_p", .message = "top_p is out of range"};
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/bad", "h", &refusal);
    flow();
    EXPECT(t.kinds[0] == MR_FOLD_START && t.kinds[1] == MR_FOLD_FAILED && t.submit == 0);
    EXPECT(t.results == 1 && t.dead == 1);
    EXPECT_STR(t.dead_reason, "out_of_range");
    input(1);
    verdict("acme/a", "h", NULL);
    flow();
    input(2);
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_DUPLICATE);
    EXPECT(t.results == 1 && t.dead == 1); /* it leaves no trace but in the stream */
    input(3);
    verdict("acme/a", "other", NULL);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_FAILED);
    EXPECT_STR(t.dead_reason, "id_conflict");
    EXPECT(t.results == 1 && t.dead == 2);
    close_owner();
}

TEST(cancel_before_and_after)
{
    static const struct mr_str value = MR_STR("{\"v\":1,\"kind\":\"cancel\",\"job\":\"acme/a\"}");
    begin_job();
    tokens(0, 5);
    tell(MR_LOG_FOLLOWED, "control", (struct mr_log_event){.record = {.value = value}});
    EXPECT(t.cancel == t.submit);
    end(MR_FINISH_CANCELLED);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_CANCELLED);
    EXPECT_EQ(t.starts[t.n_log - 1].n, 1);
    EXPECT_EQ(t.results, 1);
    input(1); /* the same name again: cancelled before it runs (the duplicate's rule comes after its own outcome) */
    t.submit = 0;
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT(t.submit == 0 && mr_fold_is_terminal(last_kind()));
    close_owner();
}

TEST(deadlines_in_broker_time)
{
    open_owner();
    assign(3, 0);
    input(0); /* stamped 4000 by the broker */
    struct mr_job *job = job_make("acme/a", "h");
    job->deadline_ms = 1500;
    step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = job});
    t.hold_acks = true;
    flow();
    pass(100000);
    EXPECT(t.cancel == 0); /* no report yet: nothing expires */
    t.hold_acks = false;
    t.wall_ms = 5400; /* what the broker says now */
    flow();
    pass(50);
    EXPECT(t.cancel == 0);
    pass(100);
    EXPECT(t.cancel == t.submit);
    end(MR_FINISH_CANCELLED);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_EXPIRED);
    close_owner();
}

TEST(suspects_run_alone_and_three_deaths_are_poison)
{
    open_owner();
    foreign_start(1, 11, false);
    foreign_start(2, 12, false);
    take_over(3);
    input(0);
    uint64_t suspect = t.admit;
    input(1);
    verdict("acme/neighbour", "h", NULL);
    flow();
    uint64_t neighbour = t.submit;
    t.admit = suspect;
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_log, 3); /* it waits for the engine to be empty */
    pass(60);
    EXPECT(t.drop == neighbour);
    step(&(struct mr_owner_event){.kind = MR_OWNER_DROPPED, .handle = neighbour});
    pass(60);
    EXPECT(t.n_log == 4 && t.starts[3].alone);
    flow();
    tokens(0, 5); /* of the suspect: it lives */
    flow();
    pass(60);
    pass(60);
    EXPECT(t.submit == neighbour);
    close_owner();

    open_owner();
    for (int i = 0; i < 5; i++)
        foreign_start(i + 1, 11 + (uint64_t)i, i > 1);
    take_over(3);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT(t.submit == 0 && last_kind() == MR_FOLD_FAILED && t.starts[t.n_log - 1].reason == MR_REASON_POISON);
    EXPECT_STR(t.dead_reason, "poison");
    close_owner();
}

TEST(drain_yields_what_is_left)
{
    begin_job();
    input(1);
    verdict("acme/b", "h", NULL);
    flow();
    uint64_t second = t.submit;
    step(&(struct mr_owner_event){.kind = MR_OWNER_DRAIN});
    EXPECT(t.pauses > 0);
    end(MR_FINISH_STOP);
    flow();
    EXPECT(second && t.exits == 0);
    pass(1100); /* the grace is over; the first still runs */
    EXPECT_EQ(last_kind(), MR_FOLD_YIELD);
    EXPECT_EQ(t.exits, 0); /* its acknowledgement and the last commit are waited for */
    flow();
    answer_commit(MR_COMMIT_OK);
    pass(10);
    answer_commit(MR_COMMIT_OK);
    pass(10);
    EXPECT_EQ(t.exits, 1);
    close_owner();

    open_owner();
    step(&(struct mr_owner_event){.kind = MR_OWNER_DRAIN});
    step(&(struct mr_owner_event){.kind = MR_OWNER_LEAVE});
    EXPECT_EQ(t.exits, 1);
    close_owner();
}

TEST(limits_pause_and_resume)
{
    open_owner();
    assign(3, 0);
    int resumes = t.resumes;
    for (int64_t i = 0; i < 7; i++)
        input(i); /* 4 are admitted, 3 wait */
    EXPECT_EQ(t.pauses, 1); /* of the assignment */
    input(7);
    EXPECT_EQ(t.pauses, 2); /* the fourth waits: enough */
    struct mr_owner_stats stats = stats_now();
    EXPECT(stats.live == 4 && stats.waiting == 4);
    EXPECT_EQ(t.resumes, resumes);
    close_owner();
}

TEST(a_topic_made_anew_stops_its_partition)
{
    open_owner();
    foreign_start(1, 11, false);
    take_over(3);
    input(0);
    verdict("acme/somebody-else", "h", NULL);
    struct mr_owner_stats stats = stats_now();
    EXPECT(stats.stopped == 1 && t.n_log == 1 && t.submit == 0);
    close_owner();
}

/* Rule 9: the log was cut, and a record older than what is kept has no START in it. */
static void follow_cut(int64_t first, int64_t timestamp_ms)
{
    struct mr_buf value = {0};
    struct mr_stream_record r = {.kind = MR_FOLD_YIELD, .job = MR_STR("acme/other"), .src = {99, 1}, .epoch = 1, .writer = 1};
    EXPECT(mr_stream_record_encode(&r, MR_ENCODING_JSON, &value));
    tell(MR_LOG_FOLLOWED, "stream", (struct mr_log_event){.record = {.offset = first, .timestamp_ms = timestamp_ms, .value = mr_buf_view(&value)}});
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = first + 1});
    mr_buf_fini(&value);
}

/* A START with the last epoch there is: nobody can begin above it, and nobody dies of it. */
TEST(a_forged_last_epoch_stops_its_partition)
{
    open_owner();
    foreign_start(MR_STREAM_EPOCH_MAX, 11, false);
    take_over(1);
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_log, 1);
    pass(1000);
    EXPECT_EQ(t.n_log, 1);
    EXPECT(t.pauses > 0);
    close_owner();
    open_owner();
    foreign_start(MR_STREAM_EPOCH_MAX - 1, 11, false); /* one before: there is room for one */
    take_over(1);
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_log, 2);
    EXPECT_EQ(t.starts[1].epoch, MR_STREAM_EPOCH_MAX);
    close_owner();
}

TEST(older_than_the_log)
{
    static const struct {
        bool out_of_range;
        int64_t log_start, first_ms;
        bool expired;
    } cases[] = {
        {false, 10, 4001, true},  /* no `since`, and the log begins above 0 behind the record */
        {false, 10, 4000, false}, /* the record is not older than what is kept */
        {false, 0, 9000, false},  /* nothing was cut */
        {true, 10, 9000, true},   /* `since` lies below the log's start */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_owner();
        tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = 3});
        if (cases[i].out_of_range)
            tell(MR_LOG_OUT_OF_RANGE, "stream", (struct mr_log_event){.offset = cases[i].log_start});
        follow_cut(cases[i].log_start, cases[i].first_ms);
        t.told = 20;
        t.n_log = 20;
        input(0); /* stamped 4000 */
        verdict("acme/a", "h", NULL);
        flow();
        EXPECT((t.submit == 0) == cases[i].expired);
        EXPECT_EQ(last_kind(), cases[i].expired ? MR_FOLD_FAILED : MR_FOLD_START);
        if (cases[i].expired)
            EXPECT(t.starts[t.n_log - 1].reason == MR_REASON_LOG_EXPIRED && t.dead == 1 && t.results == 0);
        close_owner();
    }
}

/* Rule 12: a process's own clock may stand anywhere. */
TEST(deadlines_whatever_our_clock_says)
{
    static const int64_t start_ns[] = {MR_NS_PER_S, 3600 * MR_NS_PER_S, 100000 * 3600 * MR_NS_PER_S};
    for (size_t i = 0; i < sizeof start_ns / sizeof *start_ns; i++) {
        prepare();
        t.now_ns = start_ns[i];
        start_owner();
        assign(3, 0);
        input(0); /* stamped 4000 by the broker, whose clock says 5001 now */
        struct mr_job *job = job_make("acme/a", "h");
        job->deadline_ms = 2001;
        step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = job});
        flow();
        pass(950);
        EXPECT(t.cancel == 0);
        pass(51);
        EXPECT(t.cancel == t.submit);
        t.wall_ms += 3600000; /* the broker's clock is set an hour on: the next report says so */
        input(1);
        struct mr_job *later = job_make("acme/b", "h");
        later->deadline_ms = 5000;
        step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = later});
        t.cancel = 0;
        flow();
        pass(50);
        EXPECT(t.cancel != 0 || last_kind() == MR_FOLD_EXPIRED);
        close_owner();
    }
}

/* What was measured before would be in the future. No clock of an hour's difference is one of these: see above. */
TEST(a_clock_that_goes_back_ends_the_process)
{
    begin_job();
    pid_t child = fork();
    if (child == 0) {
        t.now_ns -= 3600 * MR_NS_PER_S;
        step(&(struct mr_owner_event){.kind = MR_OWNER_TICK});
        _exit(0);
    }
    int code = 0;
    REQUIRE(child > 0 && waitpid(child, &code, 0) == child);
    EXPECT(WIFSIGNALED(code) && WTERMSIG(code) == SIGABRT);
    close_owner();
}

TEST_MAIN(TEST_CASE(nothing_leaves_before_the_barrier), TEST_CASE(a_forged_last_epoch_stops_its_partition),
          TEST_CASE(takeover_continues_and_counts_epochs), TEST_CASE(another_start_raises_the_question),
          TEST_CASE(who_does_not_own_stands_down), TEST_CASE(parked_and_back), TEST_CASE(parked_makes_little_more), TEST_CASE(parked_and_another_has_it),
              TEST_CASE(a_delivery_error_begins_anew),
              TEST_CASE(refused_duplicate_and_conflict),
          TEST_CASE(cancel_before_and_after), TEST_CASE(deadlines_in_broker_time), TEST_CASE(suspects_run_alone_and_three_deaths_are_poison),
          TEST_CASE(drain_yields_what_is_left), TEST_CASE(limits_pause_and_resume), TEST_CASE(a_topic_made_anew_stops_its_partition),
          TEST_CASE(older_than_the_log), TEST_CASE(deadlines_whatever_our_clock_says),
          TEST_CASE(a_clock_that_goes_back_ends_the_process))
