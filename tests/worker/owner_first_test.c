/* Two records with one name in different partitions: what the store suggests, and what the verdict needs. */
#include "tests/worker/owner_hand.h"

/* acme/a at jobs/0/0, stamped 4000; the store is up, and asked. */
static void ask(void)
{
    prepare();
    t.config.ask_first = true;
    start_owner();
    step(&(struct mr_owner_event){.kind = MR_OWNER_STORE, .on = true});
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
}

static void answer(const char *text)
{
    char copy[128];
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    struct mr_state_answer a = {.kind = MR_STATE_CLAIM, .tag = t.ask_tag, .text = text ? copy : NULL, .n = text ? strlen(text) : 0};
    step(&(struct mr_owner_event){.kind = MR_OWNER_ANSWER, .answer = &a});
}

static void read_comes(int64_t offset, int64_t timestamp_ms)
{
    tell(MR_LOG_FOLLOWED, t.follow_topic, (struct mr_log_event){.record = {.partition = 1, .offset = offset, .timestamp_ms = timestamp_ms,
        .value = MR_STR("{\"x\":1}")}});
}

/* It has begun, and the engine has it as soon as its START is acknowledged. */
static bool runs(void)
{
    bool begun = t.n_log == 1 && t.kinds[0] == MR_FOLD_START && t.submit == 0;
    acks(MR_OK);
    return begun && t.submit != 0;
}

TEST(nobody_was_first)
{
    ask();
    EXPECT(t.asks == 1 && t.ask_kind == MR_STATE_CLAIM && t.n_log == 0);
    EXPECT_STR(t.ask_key, "{acme/a}:first");
    EXPECT_STR(t.ask_value, "4000 jobs 0 0");
    answer("4000 jobs 0 0"); /* what it claimed itself */
    EXPECT(runs());
    close_owner();
}

TEST(an_earlier_one_with_the_same_body)
{
    ask();
    answer("3000 jobs 1 9");
    EXPECT(t.n_log == 0);
    EXPECT_STR(t.follow_topic, "jobs");
    EXPECT_EQ(t.follow_offset, 9);
    t.admit = 0;
    read_comes(9, 3000);
    EXPECT(t.admit == t.ask_tag && t.unfollows == 1);
    EXPECT_STR(t.admit_topic, "jobs");
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT(t.n_log == 2 && last_kind() == MR_FOLD_DUPLICATE && t.submit == 0 && t.results == 0);
    EXPECT(t.starts[1].first.partition == 1 && t.starts[1].first.offset == 9);
    close_owner();
}

TEST(an_earlier_one_with_another_body)
{
    ask();
    answer("3000 jobs.b 1 9"); /* of another route, too */
    read_comes(9, 3000);
    verdict("acme/a", "other", NULL);
    flow();
    EXPECT(last_kind() == MR_FOLD_FAILED && t.starts[1].reason == MR_REASON_ID_CONFLICT && t.results == 0 && t.dead == 1);
    close_owner();
}

/* Whatever the store makes up, the record decides, or the job runs. */
TEST(lies_cost_nothing_but_time)
{
    static const char *const lies[] = {NULL, "", "nonsense", "3000 jobs 1", "3000 jobs 1 9 more", "3000 nowhere 1 9", "3000 parked 1 9", "3000 jobs -1 9",
                                       "5000 jobs 1 9", "4000 jobs 1 0", "4000 jobs 0 1"};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        ask();
        answer(lies[i]);
        EXPECT(runs() && t.follows == 3); /* two control topics and the stream */
        close_owner();
    }
    ask();
    answer("3000 jobs 1 9");
    read_comes(9, 3001); /* another record lies there */
    EXPECT(runs());
    close_owner();
    ask();
    answer("3000 jobs 1 9");
    read_comes(10, 3000); /* it is gone */
    EXPECT(runs());
    close_owner();
    ask();
    answer("3000 jobs 1 9");
    tell(MR_LOG_OUT_OF_RANGE, "jobs", (struct mr_log_event){.record = {.partition = 1}, .offset = 50});
    EXPECT(runs());
    close_owner();
    ask();
    answer("3000 jobs 1 9");
    read_comes(9, 3000);
    verdict("acme/other", "h", NULL); /* another job */
    EXPECT(runs());
    close_owner();
}

TEST(silence_ends)
{
    ask();
    pass(49);
    EXPECT_EQ(t.n_log, 0);
    pass(1);
    EXPECT(runs()); /* 50 ms */
    answer("3000 jobs 1 9"); /* too late */
    EXPECT_EQ(t.follows, 3);
    close_owner();
    ask();
    answer("3000 jobs 1 9");
    pass(999);
    EXPECT_EQ(t.n_log, 0);
    pass(1);
    pass(50);
    EXPECT(runs() && t.unfollows == 1); /* a second for the record */
    close_owner();
    ask();
    answer("3000 jobs 1 9");
    read_comes(9, 3000);
    pass(1001); /* and one for admission */
    EXPECT(runs());
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT(t.n_log == 1 && t.submit != 0);
    close_owner();
}

TEST(who_has_a_start_is_never_asked_about)
{
    prepare();
    t.config.ask_first = true;
    start_owner();
    step(&(struct mr_owner_event){.kind = MR_OWNER_STORE, .on = true});
    foreign_start(9, 11, false);
    take_over(3);
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT(t.asks == 0 && t.n_log == 2);
    input(1); /* and while the store is away nobody waits for it */
    step(&(struct mr_owner_event){.kind = MR_OWNER_STORE, .on = false});
    verdict("acme/b", "h", NULL);
    EXPECT(t.asks == 0 && t.n_log == 3);
    close_owner();
}

TEST(one_record_of_a_partition_at_a_time)
{
    ask();
    answer("3000 jobs 1 9");
    input(1);
    verdict("acme/b", "h", NULL);
    answer("3000 jobs 1 5");
    EXPECT_EQ(t.follows, 4); /* the other is being read */
    read_comes(9, 3000);
    uint64_t first = t.admit;
    pass(5);
    answer("3000 jobs 1 5");
    EXPECT(t.follows == 5 && t.follow_offset == 5 && first == t.admit);
    close_owner();
}

TEST(a_bounded_number_is_read)
{
    prepare();
    t.config.ask_first = true;
    t.config.max_jobs = t.config.max_jobs_per_partition = MR_OWNER_FIRST_READS_MAX + 1;
    start_owner();
    step(&(struct mr_owner_event){.kind = MR_OWNER_STORE, .on = true});
    assign(3, 0);
    for (int i = 0; i <= MR_OWNER_FIRST_READS_MAX; i++) {
        char name[16], first[32];
        snprintf(name, sizeof name, "acme/%d", i);
        snprintf(first, sizeof first, "3000 jobs %d 9", i + 1);
        input(i);
        verdict(name, "h", NULL);
        answer(first);
        EXPECT_EQ(t.follows, 3 + (i < MR_OWNER_FIRST_READS_MAX ? i + 1 : i)); /* one more finds no room, */
    }
    pass(5);
    EXPECT_EQ(t.asks, MR_OWNER_FIRST_READS_MAX + 2); /* asks again, */
    answer("3000 jobs 99 9");
    EXPECT_EQ(t.n_log, 0);
    pass(995);
    EXPECT(t.n_log == MR_OWNER_FIRST_READS_MAX + 1); /* and runs, as the others do whose record never came */
    close_owner();
}

TEST_MAIN(TEST_CASE(nobody_was_first), TEST_CASE(an_earlier_one_with_the_same_body), TEST_CASE(an_earlier_one_with_another_body),
          TEST_CASE(lies_cost_nothing_but_time), TEST_CASE(silence_ends), TEST_CASE(who_has_a_start_is_never_asked_about),
          TEST_CASE(one_record_of_a_partition_at_a_time), TEST_CASE(a_bounded_number_is_read))
