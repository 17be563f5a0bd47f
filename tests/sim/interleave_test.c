/* Random interleavings of small worlds: the real fold and the real owner steps, one event at a time in any order, under what the
 * protocol's model (tests/spin/owner.pml) knows: crash, zombie, producer loss, group reset, held takeovers; and what it does not:
 * the store, transactions, moves. One to three jobs of at most two tokens, three workers.
 *
 *     interleave_test               the CI form: worlds until EVENTS owner steps have been made
 *     interleave_test --seed N      one world, as it ran before
 *     interleave_test --worlds N    the first N worlds */
#include "tests/sim/sim_world.h"

#include <stdlib.h>

#define EVENTS INT64_C(2500000)
#define EVENTS_SHORT INT64_C(250000) /* with MILLRACE_TEST_SHORT set: under a sanitizer */

int main(int argc, char **argv)
{
    struct sim_totals totals = {0};
    uint64_t first = 1, worlds = UINT64_MAX;
    int bad = 0;
    const int64_t events = getenv("MILLRACE_TEST_SHORT") ? EVENTS_SHORT : EVENTS;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
        first = strtoull(argv[2], NULL, 10);
        worlds = 1;
    } else if (argc == 3 && strcmp(argv[1], "--worlds") == 0) {
        worlds = strtoull(argv[2], NULL, 10);
    } else if (argc != 1) {
        printf("usage: interleave_test [--seed N | --worlds N]\n");
        return 2;
    }
    uint64_t n = 0;
    for (; n < worlds && (argc == 3 || totals.steps < events) && bad < 10; n++) {
        struct sim_plan plan = sim_plan_interleaved(first + n);
        struct sim_totals one = {0};
        if (sim_run(&plan, &one)) {
            bad++;
            printf("replay with: interleave_test --seed %llu\n", (unsigned long long)(first + n));
        }
        sim_totals_add(&totals, &one);
    }
    printf("interleave: worlds %llu, owner steps %lld\n", (unsigned long long)n, (long long)totals.steps);
    sim_totals_print(&totals);
    printf("%d passed, %d failed\n", bad ? 0 : 1, bad);
    return bad > 0;
}
