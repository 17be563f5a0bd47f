#include "scheduler/decisions.h"
#include "tests/test.h"

TEST(says_what_a_wait_was_for)
{
    struct decisions d;
    int64_t waited[MR_WAIT_COUNT];
    REQUIRE(decisions_open(&d, 4));
    decisions_class(&d, 1, MR_WAIT_BLOCKS, 100);
    decisions_tenant(&d, 2, MR_WAIT_RATE, 200);
    decisions_class(&d, 0, MR_WAIT_SLOTS, 220); /* another class: not ours */
    decisions_tenant(&d, 2, MR_WAIT_TURN, 300);
    decisions_class(&d, 1, MR_WAIT_BUDGET, 400);
    decisions_sum(&d, &(struct decisions_query){1, 2, 50, 500}, waited);
    EXPECT_EQ(waited[MR_WAIT_TURN], 50);
    EXPECT_EQ(waited[MR_WAIT_BLOCKS], 200);
    EXPECT_EQ(waited[MR_WAIT_RATE], 100);
    EXPECT_EQ(waited[MR_WAIT_BUDGET], 100);
    EXPECT_EQ(waited[MR_WAIT_SLOTS], 0);
    decisions_sum(&d, &(struct decisions_query){1, 3, 50, 500}, waited);
    EXPECT_EQ(waited[MR_WAIT_RATE], 0);
    decisions_close(&d);
}

TEST(says_it_in_order_of_time)
{
    struct decisions d;
    struct mr_sched_span spans[4];
    struct decisions_query query = {1, 2, 50, 500};
    REQUIRE(decisions_open(&d, 4));
    decisions_class(&d, 1, MR_WAIT_BLOCKS, 100);
    decisions_class(&d, 0, MR_WAIT_SLOTS, 150); /* another class cuts no span */
    decisions_tenant(&d, 2, MR_WAIT_RATE, 200);
    decisions_tenant(&d, 2, MR_WAIT_TURN, 300);
    EXPECT_EQ(decisions_spans(&d, &query, spans, 4), 4);
    EXPECT(spans[0].wait == MR_WAIT_TURN && spans[0].from_ns == 50 && spans[0].to_ns == 100);
    EXPECT(spans[1].wait == MR_WAIT_BLOCKS && spans[1].from_ns == 100 && spans[1].to_ns == 200);
    EXPECT(spans[2].wait == MR_WAIT_RATE && spans[2].to_ns == 300);
    EXPECT(spans[3].wait == MR_WAIT_BLOCKS && spans[3].to_ns == 500);
    EXPECT_EQ(decisions_spans(&d, &query, spans, 2), 2); /* the last two */
    EXPECT(spans[0].wait == MR_WAIT_RATE && spans[1].wait == MR_WAIT_BLOCKS);
    query.to_ns = 50;
    EXPECT_EQ(decisions_spans(&d, &query, spans, 4), 0);
    decisions_close(&d);
}

TEST(says_what_it_has_forgotten)
{
    struct decisions d;
    int64_t waited[MR_WAIT_COUNT], sum = 0;
    REQUIRE(decisions_open(&d, 1));
    for (int64_t i = 0; i < DECISIONS + 10; i++)
        decisions_class(&d, 0, i % 2 ? MR_WAIT_BUDGET : MR_WAIT_BLOCKS, 1000 + i);
    decisions_sum(&d, &(struct decisions_query){0, 0, 0, 10000}, waited);
    EXPECT_EQ(waited[MR_WAIT_FORGOTTEN], 1010);
    for (int i = 0; i < MR_WAIT_COUNT; i++)
        sum += waited[i];
    EXPECT_EQ(sum, 10000);
    EXPECT_STR(mr_sched_wait_name(MR_WAIT_FORGOTTEN), "forgotten");
    decisions_close(&d);
}

TEST_MAIN(TEST_CASE(says_what_a_wait_was_for), TEST_CASE(says_it_in_order_of_time), TEST_CASE(says_what_it_has_forgotten))
