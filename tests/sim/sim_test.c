/* The whole worker on a virtual clock: real owners over the log in memory, with an engine whose tokens are a function of the
 * prefix, and faults from a seed. Afterwards the topics are read back and judged by the fold.
 *
 *     sim_test                the CI form: seeds 1 to SEEDS, then a crash at every append of a small world
 *     sim_test --seed N       one seed, as it ran before, bit for bit
 *     sim_test --seeds A B    seeds A to B
 *
 * A violation prints the seed and what is wrong, and fails. */
#include "tests/sim/sim_world.h"

#include <stdlib.h>

enum { SEEDS = 160, SEEDS_SHORT = 16, JOBS_PER_SEED = 640 }; /* short: with MILLRACE_TEST_SHORT set, under a sanitizer */

static struct sim_totals totals;

static int run_seed(uint64_t seed, bool loud)
{
    struct sim_plan plan = sim_plan_of(seed, JOBS_PER_SEED);
    struct sim_totals one = {0};
    int violations = sim_run(&plan, &one);
    if (loud || violations)
        printf("seed %llu: jobs %lld, violations %d, digest %016llx\n", (unsigned long long)seed, (long long)one.jobs, violations,
            (unsigned long long)one.digest);
    sim_totals_add(&totals, &one);
    return violations;
}

/* One worker at a time; it dies just before its k-th append, or just after it, for every k until it gets through. */
static int crash_at_every_append(void)
{
    int violations = 0;
    for (int after = 0; after < 2; after++) {
        bool through = false;
        for (int64_t k = 1; !through; k++) {
            struct sim_plan plan = sim_plan_small((uint64_t)k, k, after);
            struct sim_totals one = {0};
            int wrong = sim_run(&plan, &one);
            if (wrong)
                printf("crash %s append %lld: violations %d\n", after ? "after" : "before", (long long)k, wrong);
            violations += wrong;
            through = one.crashes == 0;
            sim_totals_add(&totals, &one);
        }
    }
    return violations;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, last = getenv("MILLRACE_TEST_SHORT") ? SEEDS_SHORT : SEEDS;
    bool every = argc < 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
        first = last = strtoull(argv[2], NULL, 10);
    } else if (argc == 4 && strcmp(argv[1], "--seeds") == 0) {
        first = strtoull(argv[2], NULL, 10);
        last = strtoull(argv[3], NULL, 10);
    } else if (!every) {
        printf("usage: sim_test [--seed N | --seeds A B]\n");
        return 2;
    }
    int bad = 0;
    for (uint64_t seed = first; seed <= last; seed++) {
        if (run_seed(seed, first == last)) {
            bad++;
            printf("replay with: sim_test --seed %llu\n", (unsigned long long)seed);
        }
    }
    bad += every ? crash_at_every_append() > 0 : 0;
    sim_totals_print(&totals);
    printf("%d passed, %d failed\n", bad ? 0 : 1, bad);
    return bad > 0;
}
