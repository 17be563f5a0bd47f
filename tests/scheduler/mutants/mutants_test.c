/* Deliberate mistakes (scheduler/mutant.h), each in a build of the scheduler that can make it: every one must be caught by a
 * broken invariant, by an abort, or by the one scenario that shows it. A mistake that nothing catches is a hole in the tests. */
#include "scheduler/mutant.h"
#include "scheduler/sim/fuzz.h"
#include "tests/test.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int mr_mutant;

enum { SEEDS = 600 };

static bool seed_fails(struct sim_scenario *scenario, struct sim_result *result, bool unsalted)
{
    struct sim_options options = {.check = true, .unsalted = unsalted};
    struct mr_err err = {0};
    return sim_run(scenario, &options, result, &err) != MR_OK || result->violation[0];
}

/* A child, so that an abort counts; SEEDS random scenarios until one fails. */
static bool caught_by_random(enum mr_mutant mutant, char how[256])
{
    int pipes[2];
    how[0] = 0;
    if (pipe(pipes) != 0)
        return false;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct sim_scenario *scenario = calloc(1, sizeof *scenario);
        struct sim_result *result = calloc(1, sizeof *result);
        alarm(60);
        if (dup2(pipes[1], 2) < 0)
            _exit(2);
        mr_mutant = (int)mutant;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            sim_fuzz_scenario(seed, scenario);
            if (seed_fails(scenario, result, mutant == MUTANT_UNSALTED)) {
                dprintf(2, "seed %d: %.200s", (int)seed, result->violation);
                _exit(1);
            }
        }
        _exit(0);
    }
    close(pipes[1]);
    ssize_t n = read(pipes[0], how, 255);
    how[n > 0 ? n : 0] = 0;
    how[strcspn(how, "\n")] = 0;
    close(pipes[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static const struct sim_result *run_text(const char *text, bool check)
{
    static struct sim_scenario scenario;
    static struct sim_result result;
    struct sim_options options = {.check = check};
    struct mr_err err = {0};
    result = (struct sim_result){0};
    EXPECT_EQ(sim_scenario_parse(&scenario, text, &err), MR_OK);
    scenario.config.max_tenants = 16;
    EXPECT_EQ(sim_run(&scenario, &options, &result, &err), MR_OK);
    return &result;
}

/* I5. Tenant 1 was away while tenant 0 worked: from then on each gets a half. */
static const char *const returning = "card h200-8b\nblocks 2000 block_tokens 16 max_seqs 16 max_context 2048\nslo standard 0 0\nslo realtime 0 0\n"
                                     "seconds 26 warmup 21\nload tenants=0 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5\n"
                                     "load tenants=1 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5 to=1\n"
                                     "load tenants=1 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5 from=20\n";
/* All idle for a while, then a newcomer and the tenant that had worked: a half each, at once. */
static const char *const after_idle = "card h200-8b\nblocks 2000 block_tokens 16 max_seqs 16 max_context 2048\nslo standard 0 0\nslo realtime 0 0\n"
                                      "seconds 36 warmup 30\nload tenants=0 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5 to=20\n"
                                      "load tenants=0-1 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5 from=29\n";

static bool halves(const char *text)
{
    const struct sim_result *result = run_text(text, false);
    double share = result->tenant[0].service / (result->tenant[0].service + result->tenant[1].service);
    return share > 0.45 && share < 0.55;
}

/* I11: bulk that loses its blocks to every realtime job that comes. */
static const char *const waves = "cost 0 20000000000 10000000 0 0 0\nblocks 100 block_tokens 4 max_seqs 4 max_step 512 max_context 400 quantum 4\n"
                                 "slo realtime 2000 100\nseconds 60 drain 1\nload tenants=0 tier=bulk source=backlog:1 prompt=20 output=370 max=370\n"
                                 "load tenants=1 tier=realtime source=poisson:1 prompt=300 output=2 max=4\n";
/* B5: more realtime than the card can do, and bulk that is owed its twentieth. */
static const char *const starving = "cost 0 100000000 2000000 0 0 0\nblocks 4000 block_tokens 16 max_seqs 512 max_context 2048 max_step 4096\n"
                                    "slo realtime 100 20\nseconds 12\nload tenants=0 tier=realtime source=poisson:1200 prompt=500 output=20\n"
                                    "load tenants=1 tier=bulk source=backlog:16 prompt=500 output=20\n";

static bool holds(const char *text)
{
    const struct sim_result *result = run_text(text, true);
    if (result->violation[0])
        printf("    %s\n", result->violation);
    return !result->violation[0];
}

struct row {
    enum mr_mutant mutant;
    const char *name;
    bool (*kept)(const char *text); /* what its scenario keeps; NULL: random scenarios show it */
    const char *text;
};

static const struct row rows[] = {
    {MUTANT_NO_LIFT, "no lift", halves, returning},
    {MUTANT_LIFT_TO_LEAST, "lift to C_min", halves, after_idle},
    {MUTANT_REFUND, "refunds", NULL, NULL},
    {MUTANT_CHARGE_RECOMPUTED, "recomputation charged", NULL, NULL},
    {MUTANT_SLACK_AT_NOW, "late jobs shorten the step", NULL, NULL},
    {MUTANT_FLOOR_ABOVE_CLAMP, "floor above clamp", NULL, NULL},
    {MUTANT_NO_SAME_TIER, "no same-tier preemption with a full pool", NULL, NULL},
    {MUTANT_EQUAL_TIER_SLOT, "equal-tier slot preemption", NULL, NULL},
    {MUTANT_UNSALTED, "unsalted prefixes", NULL, NULL},
    {MUTANT_FOURTH_PREEMPTION, "a fourth preemption", holds, waves},
    {MUTANT_GREEDY_VICTIMS, "victims not let go", NULL, NULL},
    {MUTANT_BULK_KEEPS_BLOCKS, "realtime does not preempt bulk", NULL, NULL},
    {MUTANT_LEAK_BLOCK, "a leaked block", NULL, NULL},
    {MUTANT_LOST_JOB, "a lost job", NULL, NULL},
    {MUTANT_NO_FORCED, "no forced progress", NULL, NULL},
    {MUTANT_NO_FLOORS, "no floors", holds, starving},
    {MUTANT_HITS_FREE, "hits are free", NULL, NULL},
    {MUTANT_OVER_BUDGET, "a chunk over the budget", NULL, NULL},
    {MUTANT_NO_GUARD, "no age guard", NULL, NULL},
    {MUTANT_RELEGATED_SLACK, "relegated jobs shorten the step", NULL, NULL},
};

TEST(without_a_mistake_nothing_is_caught)
{
    char how[256];
    mr_mutant = MUTANT_NONE;
    EXPECT(halves(returning));
    EXPECT(halves(after_idle));
    EXPECT(holds(waves));
    EXPECT(holds(starving));
    bool caught = caught_by_random(MUTANT_NONE, how);
    EXPECT(!caught);
    if (caught)
        printf("%s\n", how);
}

TEST(every_mistake_is_caught)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char how[256] = "its scenario";
        mr_mutant = rows[i].mutant;
        bool caught = rows[i].kept ? !rows[i].kept(rows[i].text) : caught_by_random(rows[i].mutant, how);
        mr_mutant = MUTANT_NONE;
        printf("%-45s %s\n", rows[i].name, caught ? how : "NOT CAUGHT");
        EXPECT(caught);
    }
    EXPECT_EQ(sizeof rows / sizeof *rows, MUTANT_COUNT - 1);
}

TEST_MAIN(TEST_CASE(without_a_mistake_nothing_is_caught), TEST_CASE(every_mistake_is_caught))
