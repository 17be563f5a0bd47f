#include "worker/contract.h"

#include "tests/test.h"

static const char *complaint(const char *entry) { return mr_contract_complaint(mr_str_from(entry)); }

TEST(entries)
{
    EXPECT(complaint("acme") == NULL);
    EXPECT(complaint("acme weight=4 rate=100 burst=200 concurrency=3 queued=5000 scavenge=1") == NULL);
    EXPECT(complaint("*  queued=1") == NULL);
    EXPECT(complaint("weight=4") != NULL);
    EXPECT(complaint("") != NULL);
    EXPECT(complaint("acme weight") != NULL);
    EXPECT(complaint("acme weight=") != NULL);
    EXPECT(complaint("acme weight=-1") != NULL);
    EXPECT(complaint("acme weight=0") != NULL);
    EXPECT(complaint("acme weight=1000") == NULL);
    EXPECT(complaint("acme weight=1001") != NULL);
    EXPECT(complaint("acme rate=2147483647") == NULL);
    EXPECT(complaint("acme rate=2147483648") != NULL);
    EXPECT(complaint("acme color=3") != NULL);
}

TEST(a_tenant_gets_its_own_or_the_common_one)
{
    const char *sets[] = {"tenants=acme weight=4 rate=100", "tenants=* weight=2 concurrency=9", "tenants=small queued=7", "limits.jobs_per_tenant=5"};
    struct mr_options options;
    REQUIRE(mr_options_open(&options, NULL, sets, 4, NULL) == MR_OK);
    struct mr_sched_tenant acme = mr_contract_of(&options, MR_STR("acme")), other = mr_contract_of(&options, MR_STR("other"));
    struct mr_sched_tenant small = mr_contract_of(&options, MR_STR("small"));
    EXPECT_EQ(acme.weight, 4);
    EXPECT_EQ(acme.rate_tokens, 100);
    EXPECT_EQ(acme.concurrency, 5); /* the limit of all */
    EXPECT_EQ(other.weight, 2);
    EXPECT_EQ(other.concurrency, 9);
    EXPECT_EQ(small.weight, 1);
    EXPECT_EQ(small.queued_tokens, 7);
    mr_options_fini(&options);
    REQUIRE(mr_options_open(&options, NULL, NULL, 0, NULL) == MR_OK);
    other = mr_contract_of(&options, MR_STR("other"));
    EXPECT(other.weight == 1 && !other.rate_tokens && !other.concurrency && !other.queued_tokens);
    mr_options_fini(&options);
}

TEST(options_refuse_a_bad_entry)
{
    struct mr_options options;
    struct mr_err err;
    const char *set = "tenants=acme weight=0";
    EXPECT_EQ(mr_options_open(&options, NULL, &set, 1, &err), MR_ERR_INVALID);
    set = "scheduler.cost=1 2 3";
    EXPECT_EQ(mr_options_open(&options, NULL, &set, 1, &err), MR_ERR_INVALID);
    set = "scheduler.policy=fair";
    EXPECT_EQ(mr_options_open(&options, NULL, &set, 1, &err), MR_ERR_INVALID);
}

TEST_MAIN(TEST_CASE(entries), TEST_CASE(a_tenant_gets_its_own_or_the_common_one), TEST_CASE(options_refuse_a_bad_entry))
