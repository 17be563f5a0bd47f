#include "scheduler/sim/trace.h"
#include "tests/test.h"

TEST(reads_the_three_formats)
{
    struct sim_trace trace;
    struct mr_err err;
    REQUIRE(sim_trace_parse("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n", &trace,
                            &err) == MR_OK);
    EXPECT_EQ(trace.n, 2);
    EXPECT_EQ(trace.jobs[0].at_ns, 0);
    EXPECT_NEAR((double)trace.jobs[1].at_ns, 4.314579e9, 1e3);
    EXPECT_EQ(trace.jobs[1].output, 109);
    sim_trace_free(&trace);
    REQUIRE(sim_trace_parse("{\"timestamp\": 5, \"input_length\": 1500, \"output_length\": 7, \"hash_ids\": [0, 14, 3]}\n"
                            "{\"timestamp\": 9, \"input_length\": 10, \"output_length\": 0, \"hash_ids\": [8]}\n", &trace, &err) == MR_OK);
    EXPECT_EQ(trace.jobs[0].n_blocks, 3);
    EXPECT_EQ(trace.blocks[2], 3);
    EXPECT_EQ(trace.jobs[1].at_ns, 4000000);
    EXPECT_EQ(trace.jobs[1].output, 1); /* nothing asked for still costs a token */
    sim_trace_free(&trace);
    REQUIRE(sim_trace_parse("{\"responses\": [{\"adapter_dir\": \"dummy-13\", \"prompt_len\": 13, \"output_len\": 199, \"req_time\": 0.5}, "
                            "{\"adapter_dir\": \"dummy-2\", \"prompt_len\": 3, \"output_len\": 4, \"req_time\": 0.25}]}", &trace, &err) == MR_OK);
    EXPECT_EQ(trace.n_clients, 14);
    EXPECT_EQ(trace.jobs[0].client, 2); /* in order of time */
    sim_trace_free(&trace);
}

TEST(refuses_a_line_with_its_number)
{
    struct sim_trace trace;
    struct mr_err err;
    EXPECT_EQ(sim_trace_parse("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", &trace, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "line 2"));
    EXPECT_EQ(sim_trace_parse("{\"timestamp\": 5}\n", &trace, &err), MR_ERR_INVALID);
    EXPECT_EQ(sim_trace_parse("", &trace, &err), MR_ERR_INVALID);
    EXPECT_EQ(sim_trace_read("/nonexistent/trace", &trace, &err), MR_ERR_IO);
}

TEST_MAIN(TEST_CASE(reads_the_three_formats), TEST_CASE(refuses_a_line_with_its_number))
