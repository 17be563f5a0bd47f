#include "scheduler/sim/claims.h"
#include "tests/test.h"

#include <stdlib.h>

static struct sim_claims claims;

static enum mr_status parse(const char *text, struct mr_err *err) { return sim_claims_parse(&claims, text, err); }

TEST(a_run_stands_once_and_a_ratio_has_two)
{
    struct mr_err err;
    REQUIRE(parse("# nothing\n\nfaster | a ours tok_s / a fcfs tok_s | >= 2 | said so\nlate | a fcfs realtime.on_time | <= 0.5 open |\n"
                  "wait | b ours standard.ttft_ms_p99 |\n", &err) == MR_OK);
    EXPECT_EQ(claims.n, 3);
    EXPECT_EQ(claims.n_runs, 3);
    claims.runs[0].result.tok_s = 300;
    claims.runs[1].result.tok_s = 100;
    claims.runs[1].result.tier[MR_TIER_REALTIME].arrived = 10;
    claims.runs[1].result.tier[MR_TIER_REALTIME].on_time = 6;
    EXPECT_NEAR(sim_claim_value(&claims, &claims.claims[0]), 3, 1e-9);
    EXPECT(sim_claim_holds(&claims, &claims.claims[0]));
    claims.runs[0].result.tok_s = 199;
    EXPECT(sim_claim_fails(&claims, &claims.claims[0]));
    EXPECT(!sim_claim_holds(&claims, &claims.claims[1]) && !sim_claim_fails(&claims, &claims.claims[1])); /* open */
    EXPECT(sim_claim_holds(&claims, &claims.claims[2]));                                                  /* a figure only */
    claims.runs[1].result.tok_s = 0;
    EXPECT(sim_claim_holds(&claims, &claims.claims[0])); /* something over nothing */
    claims.runs[0].result.tok_s = 0;
    EXPECT(sim_claim_fails(&claims, &claims.claims[0])); /* nothing over nothing shows nothing */
}

TEST(the_table_names_what_is_missed)
{
    struct mr_err err;
    struct mr_buf out = {0};
    REQUIRE(parse("faster | a ours tok_s / a fcfs tok_s | >= 2 | said so\n", &err) == MR_OK);
    claims.runs[0].result.tok_s = 150;
    claims.runs[1].result.tok_s = 100;
    sim_claims_table(&claims, &out);
    mr_buf_add_char(&out, 0);
    EXPECT(strstr(out.p, "| faster | 1.50 | >= 2 (not met) | a ours / a fcfs | said so |"));
    mr_buf_fini(&out);
}

TEST(what_cannot_be_read_is_refused_with_its_line)
{
    static const char *const bad[] = {"x | a ours", "x | a ours speed |", "x | a ours tok_s / b ours |", "x | a ours tok_s | 5 |", "x | a ours tok_s | >= 1 maybe |"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mr_err err = {0};
        char text[128];
        snprintf(text, sizeof text, "\n%s\n", bad[i]);
        EXPECT_EQ(parse(text, &err), MR_ERR_INVALID);
        EXPECT(strstr(err.text, "line 2"));
    }
}

TEST(a_claim_too_many_is_refused)
{
    struct mr_err err = {0};
    struct mr_buf text = {0};
    for (int i = 0; i < SIM_CLAIMS_MAX; i++)
        mr_buf_addf(&text, "x | a ours tok_s |\n");
    mr_buf_add_char(&text, 0);
    EXPECT_EQ(parse(text.p, &err), MR_OK);
    text.n--;
    mr_buf_addf(&text, "x | a ours tok_s |\n");
    mr_buf_add_char(&text, 0);
    EXPECT_EQ(parse(text.p, &err), MR_ERR_INVALID);
    mr_buf_fini(&text);
}

TEST_MAIN(TEST_CASE(a_run_stands_once_and_a_ratio_has_two), TEST_CASE(the_table_names_what_is_missed),
          TEST_CASE(what_cannot_be_read_is_refused_with_its_line), TEST_CASE(a_claim_too_many_is_refused))
