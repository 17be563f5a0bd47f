/* Deliberate mistakes (scheduler/mutant.h), each in a build of the scheduler that can make it: every one must be caught by a
 * broken invariant, by an abort, or by the one scenario that shows it. A mistake that nothing catches is a hole in the tests. */
#include "scheduler/mutant.h"
#include "scheduler/sim/fuzz.h"
#include "tests/scheduler/hand.h"

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

/* I17: a queue that paused its tier and then drains. */
static const char *const drained = "card h200-8b\nblocks 4000 block_tokens 16 max_seqs 32 max_context 4096\nseconds 6 drain 1\n"
                                   "load tenants=0 tier=bulk source=backlog:400 prompt=800 output=40 to=1\n"
                                   "load tenants=1 tier=bulk source=backlog:1 prompt=100 output=40\n";
/* ---- by hand ---- */

static bool pace_is_kept(const char *text)
{
    (void)text;
    struct mr_sched_config config = hand_config(64, 4);
    config.tier[MR_TIER_REALTIME] = (struct mr_sched_tier_config){100 * MS, 10 * MS, 700};
    config.pace_permille = 500;
    struct mr_sched *s = hand_open(&config);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 8, 40);
    int64_t budget = hand_step(s, 0, 0).budget_ns;
    mr_sched_close(s);
    return budget == 15 * MS / 2;
}

static bool scavenger_stays_behind(const char *text)
{
    (void)text;
    struct mr_sched_config config = hand_config(64, 4);
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_tenant contract = {.rate_tokens = 10, .burst_tokens = 10, .scavenge = true};
    struct mr_sched_job_info info = {0};
    mr_sched_tenant_set(s, 0, &contract, NULL);
    hand_submit(s, 1, 0, MR_TIER_REALTIME, 40, 8);
    hand_submit(s, 2, 0, MR_TIER_REALTIME, 40, 8);
    hand_step(s, 0, 0);
    hand_step(s, MS, 0);
    mr_sched_job_info(s, 2, &info);
    mr_sched_close(s);
    return info.relegated;
}

static bool totals_never_fall(const char *text)
{
    (void)text;
    struct mr_sched_config config = hand_config(64, 4);
    struct mr_sched *s = hand_open(&config);
    struct mr_sched_tenant_stats stats;
    mr_sched_total_set(s, MR_TIER_BULK, 0, 1000);
    int64_t raise = mr_sched_total_set(s, MR_TIER_BULK, 0, 10);
    mr_sched_tenant_stats(s, MR_TIER_BULK, 0, &stats);
    mr_sched_close(s);
    return raise == 1000 && stats.counter == 1000;
}

static bool victims_give_what_is_theirs(const char *text)
{
    (void)text;
    struct mr_sched_config config = hand_config(8, 8);
    config.off = MR_PART_QUANTILES;
    struct mr_sched *s = hand_open(&config);
    const uint64_t names[] = {7, 8, 9};
    struct mr_sched_job job = {.id = 1, .tier = MR_TIER_BULK, .known_tokens = 13, .max_tokens = 20, .prefix = names, .n_prefix = 3};
    mr_sched_submit(s, &job, 0, NULL);
    hand_step(s, 0, 0);
    hand_submit(s, 2, 1, MR_TIER_BULK, 15, 4);
    hand_step(s, 1, 0);
    job = (struct mr_sched_job){.id = 3, .tier = MR_TIER_REALTIME, .known_tokens = 20, .max_tokens = 24, .prefix = names, .n_prefix = 3};
    mr_sched_submit(s, &job, 0, NULL);
    hand_step(s, 2, 0); /* aborts where blocks were counted that nobody gets */
    mr_sched_close(s);
    return true;
}

static bool deadlines_are_told(const char *text)
{
    (void)text;
    struct bulk bulk;
    bool told = bulk_open(&bulk);
    for (int i = 0; i < 100; i++)
        bulk_measure(&bulk, 1000 * MR_SCHED_SERVICE_UNIT, 1000 * MS); /* 1000 tokens of service a second */
    told = told && bulk_add(&bulk, 50000 * MR_SCHED_SERVICE_UNIT, 120000 * MS, 60000 * MS) &&
           !bulk_add(&bulk, 50000 * MR_SCHED_SERVICE_UNIT, 120000 * MS, 60000 * MS); /* a hundred seconds of work in sixty */
    bulk_close(&bulk);
    return told;
}

static bool blend_fills_what_is_free(const char *text)
{
    (void)text;
    struct mr_sched_config config = hand_config(256, 1);
    struct mr_sched *s = hand_open(&config);
    hand_submit(s, 1, 0, MR_TIER_BULK, 16, 64);
    hand_submit(s, 2, 0, MR_TIER_BULK, 64, 16);
    struct mr_sched_plan plan = hand_step(s, 0, 0); /* computing binds it: the decode-heavy one */
    bool first = hand_plans(&plan, 1);
    mr_sched_close(s);
    return first;
}

static bool cap_holds(const char *text)
{
    (void)text;
    struct mr_sched_config config = hand_config(40, 8);
    struct mr_sched *s = hand_open(&config);
    hand_submit(s, 1, 0, MR_TIER_STANDARD, 4, 4);
    hand_step(s, 0, 0);
    hand_submit(s, 2, 1, MR_TIER_STANDARD, 4, 4);
    bool over = fair_over_cap(s, MR_TIER_STANDARD, 0, 30); /* 1.5 x 40 / 2, and it holds some already */
    mr_sched_close(s);
    return over;
}

static bool victims_are_let_go(const char *text)
{
    (void)text;
    struct mr_sched_config config = hand_config(12, 8);
    config.off = MR_PART_QUANTILES;
    struct mr_sched *s = hand_open(&config);
    hand_submit(s, 1, 0, MR_TIER_BULK, 3, 4); /* the cheapest block, and one that the need can do without */
    hand_submit(s, 2, 0, MR_TIER_BULK, 39, 4);
    hand_step(s, 0, 0);
    hand_submit(s, 3, 0, MR_TIER_REALTIME, 32, 4);
    struct mr_sched_plan plan = hand_step(s, 1, 0);
    mr_sched_close(s);
    return plan.n_preempted == 1;
}

/* In a child: an abort breaks what is kept. */
static bool kept_in_child(bool (*kept)(const char *text), const char *text)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        bool is = kept(text);
        fflush(stdout);
        _exit(is ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
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
    {MUTANT_GREEDY_VICTIMS, "victims not let go", victims_are_let_go, NULL},
    {MUTANT_BULK_KEEPS_BLOCKS, "realtime does not preempt bulk", NULL, NULL},
    {MUTANT_LEAK_BLOCK, "a leaked block", NULL, NULL},
    {MUTANT_LOST_JOB, "a lost job", NULL, NULL},
    {MUTANT_NO_FORCED, "no forced progress", NULL, NULL},
    {MUTANT_NO_FLOORS, "no floors", holds, starving},
    {MUTANT_HITS_FREE, "hits are free", NULL, NULL},
    {MUTANT_OVER_BUDGET, "a chunk over the budget", NULL, NULL},
    {MUTANT_NO_GUARD, "no age guard", NULL, NULL},
    {MUTANT_RELEGATED_SLACK, "relegated jobs shorten the step", NULL, NULL},
    {MUTANT_WINDOW_IGNORED, "any tenant may go", NULL, NULL},
    {MUTANT_PAUSE_STAYS, "a pause without an end", holds, drained},
    {MUTANT_VICTIM_SHARES, "a victim frees what the other shares", victims_give_what_is_theirs, NULL},
    {MUTANT_PACE_IGNORED, "no pace", pace_is_kept, NULL},
    {MUTANT_TOTAL_BELIEVED, "a lost total is taken over", totals_never_fall, NULL},
    {MUTANT_SCAVENGER_PROMOTED, "a scavenger in its own tier", scavenger_stays_behind, NULL},
    {MUTANT_DEADLINE_UNTOLD, "a bulk deadline that cannot be kept", deadlines_are_told, NULL},
    {MUTANT_BLEND_REVERSED, "blend the wrong way", blend_fills_what_is_free, NULL},
    {MUTANT_NO_CAP, "no residency cap", cap_holds, NULL},
};

TEST(without_a_mistake_nothing_is_caught)
{
    char how[256];
    mr_mutant = MUTANT_NONE;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].kept && !kept_in_child(rows[i].kept, rows[i].text)) {
            printf("not kept: %s\n", rows[i].name);
            EXPECT(!"kept");
        }
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
        bool caught = rows[i].kept ? !kept_in_child(rows[i].kept, rows[i].text) : caught_by_random(rows[i].mutant, how);
        mr_mutant = MUTANT_NONE;
        printf("%-45s %s\n", rows[i].name, caught ? how : "NOT CAUGHT");
        EXPECT(caught);
    }
    EXPECT_EQ(sizeof rows / sizeof *rows, MUTANT_COUNT - 1);
}

TEST_MAIN(TEST_CASE(without_a_mistake_nothing_is_caught), TEST_CASE(every_mistake_is_caught))
