/* The judge of `millrace check` over the streams of simulated worlds: crashes, zombies, lost and repeated records, group resets, retention are
 * no violation, whatever the race; one record less is. (The worlds' jobs are not in the wire's form: inputs and results are left out.) */
#include "tests/sim/sim_world.h"
#include "tests/test.h"

#include "adapters/memory.h"
#include "base/check.h"
#include "worker/cli/judge.h"

enum { SEEDS = 24, JOBS = 320, STEP = 37 };

static int64_t records, takeovers, ignored, violations, dropped, told;

/* Every stream record of the world, without the one of that number (-1: all). */
static struct mr_judge_report judge_streams(const struct sim_plan *plan, const struct mr_memory *memory, const struct mr_options *options, int64_t without)
{
    struct mr_judge *judge = mr_judge_open(options);
    int64_t n = 0;
    CHECK(judge != NULL);
    for (int t = 0; t < 2 * plan->tiers; t++) {
        const struct mr_route *route = &options->routes[t / 2];
        const char *topic = t % 2 ? route->stream_parked : route->stream;
        for (int p = 0; p < plan->partitions; p++)
            for (int64_t o = 0; o < mr_memory_end(memory, topic, p); o++) {
                struct mr_record record;
                if (mr_memory_read(memory, topic, p, o, &record) && n++ != without)
                    CHECK(mr_judge_add(judge, &record));
            }
    }
    const struct mr_judge_report *report = mr_judge_finish(judge);
    CHECK(report != NULL);
    struct mr_judge_report copy = *report;
    for (int64_t i = 0; i < report->n_complaints && i < 5 && without < 0 && report->violations; i++)
        printf("seed %llu: %s\n", (unsigned long long)plan->seed, report->complaints[i]);
    mr_judge_close(judge);
    return copy;
}

static void look(const struct sim_plan *plan, const struct mr_memory *memory, const struct mr_route *routes)
{
    struct mr_options options = {.routes = routes, .n_routes = plan->tiers};
    struct mr_judge_report report = judge_streams(plan, memory, &options, -1);
    records += report.records;
    takeovers += report.takeovers;
    violations += report.violations;
    for (int kind = 0; kind < MR_FOLD_KINDS; kind++)
        ignored += report.ignored[kind];
    for (int64_t without = STEP; plan->seed <= 2 && without < report.records; without += STEP) {
        struct mr_judge_report less = judge_streams(plan, memory, &options, without);
        dropped++;
        told += less.violations > report.violations;
    }
}

TEST(faults_are_no_violations_and_a_missing_record_is_one)
{
    sim_look = look;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim_plan plan = sim_plan_of(seed, JOBS);
        struct sim_totals totals = {0};
        EXPECT_EQ(sim_run(&plan, &totals), 0);
    }
    printf("%lld records, %lld takeovers, %lld ignored, %lld violations; %lld dropped, %lld told\n", (long long)records, (long long)takeovers,
           (long long)ignored, (long long)violations, (long long)dropped, (long long)told);
    EXPECT_EQ(violations, 0);
    EXPECT(takeovers > 500 && ignored > 500);
    EXPECT(dropped > 50);
    EXPECT(told >= dropped - 8); /* the first or last of a partition leaves no gap */
}

TEST_MAIN(TEST_CASE(faults_are_no_violations_and_a_missing_record_is_one))
