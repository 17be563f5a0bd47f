#include "worker/owner_state.h"

#include "tests/test.h"

#include <stdio.h>

static struct mr_owner owner;

TEST(a_topic_that_keeps_failing_is_left_alone_for_a_while)
{
    owner = (struct mr_owner){.now_ns = 1000000};
    for (int i = 0; i < MR_BREAKER_FAILURES; i++) {
        EXPECT(owner_reply_allow(&owner, MR_STR("replies.a")));
        owner_reply_told(&owner, MR_STR("replies.a"), false);
    }
    EXPECT(!owner_reply_allow(&owner, MR_STR("replies.a")));
    EXPECT(owner_reply_allow(&owner, MR_STR("replies.b"))); /* another's is its own */
    EXPECT_EQ(owner.stats.replies_skipped, 1);
    owner.now_ns += MR_BREAKER_OPEN_NS;
    EXPECT(owner_reply_allow(&owner, MR_STR("replies.a")));  /* the probe, */
    EXPECT(!owner_reply_allow(&owner, MR_STR("replies.a"))); /* one at a time */
    for (int i = 0; i < MR_BREAKER_PROBES; i++) {
        owner_reply_told(&owner, MR_STR("replies.a"), true);
        EXPECT(owner_reply_allow(&owner, MR_STR("replies.a")));
    }
    EXPECT_EQ(owner.replies[0].breaker.state, MR_BREAKER_CLOSED);
}

/* Topics that never failed take no place; the table's last place, and one topic more. */
TEST(at_the_limit_and_past_it)
{
    char topic[32];
    owner = (struct mr_owner){.now_ns = 1};
    owner_reply_told(&owner, MR_STR("good"), true);
    EXPECT_EQ(owner.n_replies, 0);
    for (int i = 0; i < MR_OWNER_REPLIES_MAX + 1; i++) {
        snprintf(topic, sizeof topic, "replies.%d", i);
        for (int k = 0; k < MR_BREAKER_FAILURES; k++)
            owner_reply_told(&owner, mr_str_from(topic), false);
        EXPECT_EQ(owner_reply_allow(&owner, mr_str_from(topic)), i == MR_OWNER_REPLIES_MAX);
    }
    EXPECT_EQ(owner.n_replies, MR_OWNER_REPLIES_MAX);
}

TEST_MAIN(TEST_CASE(a_topic_that_keeps_failing_is_left_alone_for_a_while), TEST_CASE(at_the_limit_and_past_it))
