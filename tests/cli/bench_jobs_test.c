#include "worker/cli/bench_jobs.h"

#include "tests/test.h"

TEST(percentiles_by_rank)
{
    double out[2], four[] = {4, 1, 3, 2}, many[201];
    mr_bench_percentiles(four, 0, out);
    EXPECT(out[0] == 0 && out[1] == 0);
    mr_bench_percentiles(four, 4, out);
    EXPECT(out[0] == 2 && out[1] == 4);
    for (int i = 0; i < 201; i++)
        many[i] = 200 - i;
    mr_bench_percentiles(many, 201, out);
    EXPECT(out[0] == 100 && out[1] == 198);
}

TEST(jobs_differ_and_repeat)
{
    enum { N = 64, VOCABULARY = 300 };
    int32_t one[N], two[N], again[N];
    struct mr_job job = mr_bench_job(1, one, N, 7, VOCABULARY);
    mr_bench_job(2, two, N, 7, VOCABULARY);
    mr_bench_job(1, again, N, 7, VOCABULARY);
    EXPECT(memcmp(one, again, sizeof one) == 0 && memcmp(one, two, sizeof one) != 0);
    for (int i = 0; i < N; i++)
        EXPECT(one[i] >= 0 && one[i] < VOCABULARY);
    EXPECT(job.prompt_ids == one && job.n_prompt == N && job.sampling.max_tokens == 7 && job.sampling.ignore_eos);
}

TEST_MAIN(TEST_CASE(percentiles_by_rank), TEST_CASE(jobs_differ_and_repeat))
