/* Random scenarios through the simulator with every oracle on. A failing seed is shrunk and printed as a scenario file.
 * MILLRACE_FUZZ_SEEDS: how many (10,000 when not given); MILLRACE_FUZZ_FIRST: the first. Each runs in a child, so that a broken
 * invariant inside the scheduler, which aborts, is a failure with a seed like any other. */
#include "base/buf.h"
#include "scheduler/sim/fuzz.h"
#include "tests/test.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static bool run_fails(const struct sim_scenario *scenario, char violation[256])
{
    struct sim_options options = {.check = true};
    struct sim_result *result = calloc(1, sizeof *result);
    struct mr_err err = {0};
    enum mr_status status = sim_run(scenario, &options, result, &err);
    snprintf(violation, 256, "%.255s", result->violation[0] ? result->violation : status != MR_OK ? err.text : "");
    free(result);
    return violation[0];
}

/* In a child: an abort is a failure too. */
static bool fails_in_child(const struct sim_scenario *scenario, void *self)
{
    (void)self;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char violation[256];
        alarm(20);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        _exit(run_fails(scenario, violation));
    }
    int status = 0;
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void report(struct sim_scenario *scenario)
{
    struct mr_buf text = {0};
    char violation[256] = "aborted";
    sim_fuzz_shrink(scenario, fails_in_child, NULL);
    sim_scenario_print(scenario, &text);
    printf("a failing scenario, shrunk:\n%.*s", (int)text.n, text.p);
    mr_buf_fini(&text);
    fflush(stdout);
    if (run_fails(scenario, violation))
        printf("-> %s\n", violation);
}

/* A child for a batch; only a failing batch is run again seed by seed. */
static bool batch_fails(uint64_t first, uint64_t n)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct sim_scenario *scenario = calloc(1, sizeof *scenario);
        char violation[256];
        int failed = 0;
        alarm(120);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        for (uint64_t seed = first; seed < first + n && !failed; seed++) {
            sim_fuzz_scenario(seed, scenario);
            failed = run_fails(scenario, violation);
        }
        _exit(failed);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(random_scenarios_keep_every_invariant)
{
    const char *seeds = getenv("MILLRACE_FUZZ_SEEDS"), *from = getenv("MILLRACE_FUZZ_FIRST");
    uint64_t n = seeds ? strtoull(seeds, NULL, 10) : 10000, first = from ? strtoull(from, NULL, 10) : 0, batch = 100;
    struct sim_scenario *scenario = calloc(1, sizeof *scenario);
    REQUIRE(scenario);
    for (uint64_t seed = first; seed < first + n; seed += batch) {
        uint64_t size = first + n - seed < batch ? first + n - seed : batch;
        if (!batch_fails(seed, size))
            continue;
        for (uint64_t one = seed; one < seed + size; one++) {
            sim_fuzz_scenario(one, scenario);
            if (!fails_in_child(scenario, NULL))
                continue;
            printf("seed %llu fails\n", (unsigned long long)one);
            report(scenario);
            EXPECT(!"a random scenario breaks an invariant");
            free(scenario);
            return;
        }
    }
    free(scenario);
}

TEST(a_printed_scenario_is_the_same_scenario)
{
    struct sim_scenario *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
    struct sim_result *x = calloc(1, sizeof *x), *y = calloc(1, sizeof *y);
    struct sim_options options = {0};
    struct mr_err err = {0};
    int64_t steps = 0;
    REQUIRE(a && b && x && y);
    for (uint64_t seed = 500; seed < 520; seed++) {
        struct mr_buf text = {0};
        sim_fuzz_scenario(seed, a);
        sim_scenario_print(a, &text);
        mr_buf_add_char(&text, 0);
        a->config.max_tenants = SIM_TENANTS_MAX; /* not a statement of the text */
        EXPECT_EQ(sim_scenario_parse(b, text.p, &err), MR_OK);
        EXPECT_EQ(sim_run(a, &options, x, &err), MR_OK);
        EXPECT_EQ(sim_run(b, &options, y, &err), MR_OK);
        EXPECT(x->digest == y->digest && x->steps == y->steps);
        steps += x->steps;
        mr_buf_fini(&text);
    }
    EXPECT(steps > 1000);
    free(a), free(b), free(x), free(y);
}

TEST_MAIN(TEST_CASE(random_scenarios_keep_every_invariant), TEST_CASE(a_printed_scenario_is_the_same_scenario))
