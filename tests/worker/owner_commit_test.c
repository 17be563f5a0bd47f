/* Commits: in one transaction with the outcomes that they finish, where the option asks for it; and without a tail, for measuring. */
#include "tests/worker/owner_hand.h"

static void begin_with_transactions(void)
{
    prepare();
    t.config.transactions = true;
    start_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    answer_commit(MR_COMMIT_OK);
    end(MR_FINISH_STOP);
    flow();
}

TEST(outcome_and_position_leave_together)
{
    begin_with_transactions();
    EXPECT_EQ(t.results, 0); /* seen in the tail, and waiting for the commit */
    pass(300);
    EXPECT(t.results == 1 && t.commit_offset == 1);
    EXPECT_EQ(stats_now().live, 1);
    int commits = t.commits;
    answer_commit(MR_COMMIT_OK);
    EXPECT_EQ(stats_now().live, 0);
    pass(300);
    pass(300);
    EXPECT_EQ(t.commits, commits); /* it said everything */
    close_owner();
}

TEST(a_lost_answer_repeats_the_whole)
{
    begin_with_transactions();
    pass(300);
    answer_commit(MR_COMMIT_RETRY);
    EXPECT_EQ(stats_now().live, 1);
    pass(300);
    EXPECT(t.results == 2 && t.commit_offset == 1);
    answer_commit(MR_COMMIT_OK);
    EXPECT_EQ(stats_now().live, 0);
    close_owner();
}

TEST(who_does_not_own_publishes_nothing_more)
{
    begin_with_transactions();
    pass(300);
    answer_commit(MR_COMMIT_NOT_OWNER);
    pass(1000);
    EXPECT(t.results == 1 && stats_now().partitions == 0);
    assign(4, 0); /* it comes back, and the commit never was */
    input(0);
    pass(300);
    EXPECT(t.results == 2 && t.commit_offset == 1);
    answer_commit(MR_COMMIT_OK);
    EXPECT_EQ(stats_now().live, 0);
    close_owner();
}

TEST(the_question_goes_through_one_too)
{
    prepare();
    t.config.transactions = true;
    start_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    foreign_start(4 << 20, 11, false);
    flow();
    EXPECT_EQ(t.commits, 1);
    answer_commit(MR_COMMIT_OK);
    EXPECT_EQ(t.starts[t.n_log - 1].epoch, (4 << 20) + 1);
    close_owner();
}

TEST(bare_needs_no_tail)
{
    prepare();
    t.config.bare = true;
    start_owner();
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = 3});
    input(0);
    verdict("acme/a", "h", NULL);
    tokens(0, 5);
    EXPECT(t.n_log == 2 && last_kind() == MR_FOLD_TOK && t.follows == 2); /* the control topics */
    end(MR_FINISH_STOP);
    EXPECT(last_kind() == MR_FOLD_DONE && t.results == 1);
    acks(MR_OK);
    pass(300);
    EXPECT_EQ(t.commit_offset, 1);
    close_owner();
}

TEST_MAIN(TEST_CASE(outcome_and_position_leave_together), TEST_CASE(a_lost_answer_repeats_the_whole),
          TEST_CASE(who_does_not_own_publishes_nothing_more), TEST_CASE(the_question_goes_through_one_too), TEST_CASE(bare_needs_no_tail))
