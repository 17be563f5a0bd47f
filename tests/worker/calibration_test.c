#include "worker/calibration.h"

#include "tests/test.h"
#include "worker/serving.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static bool open_tiny(struct mr_options *options, struct mr_serving *serving)
{
    const char *sets[] = {"model=synthetic:tiny", "kv.memory=8MiB", "engine.device=cpu", "engine.threads=1", "scheduler.calibrate=0",
                          "engine.max_step_tokens=64", "engine.max_seqs=8"};
    return mr_options_open(options, NULL, sets, 7, NULL) == MR_OK && mr_serving_open(options, serving, NULL) == MR_OK;
}

TEST(a_grid_within_the_engines_sizes)
{
    struct mr_options options;
    struct mr_serving serving;
    struct mr_step_sample samples[MR_CALIBRATION_SAMPLES_MAX];
    struct mr_sched_cost cost;
    int32_t n = 0;
    REQUIRE(open_tiny(&options, &serving));
    const struct mr_calibration_options limits = {8, 64, 8, MR_NS_PER_S};
    REQUIRE(mr_calibration_grid(serving.bundle, &limits, samples, &n, NULL) == MR_OK);
    EXPECT(n >= MR_STEP_COST_LEAST && n <= MR_CALIBRATION_SAMPLES_MAX);
    for (int32_t i = 0; i < n; i++)
        EXPECT(samples[i].load.tokens <= 64 && samples[i].load.rows <= 8 && samples[i].ns > 0);
    EXPECT(mr_step_cost_fit(samples, n, &cost));
    mr_serving_close(&serving);
    mr_options_fini(&options);
}

TEST(the_same_seed_gives_the_same_steps)
{
    struct mr_options options;
    struct mr_serving serving;
    struct mr_step_sample one[40], two[40];
    int32_t n_one = 40, n_two = 40;
    REQUIRE(open_tiny(&options, &serving));
    const struct mr_calibration_options limits = {8, 64, 8, 10 * MR_NS_PER_S}, none = {8, 64, 8, 0};
    REQUIRE(mr_calibration_random(serving.bundle, &limits, 5, one, &n_one, NULL) == MR_OK && n_one == 40);
    REQUIRE(mr_calibration_random(serving.bundle, &limits, 5, two, &n_two, NULL) == MR_OK && n_two == 40);
    for (int i = 0; i < 40; i++)
        EXPECT(one[i].load.tokens == two[i].load.tokens && one[i].load.context == two[i].load.context && one[i].load.pairs == two[i].load.pairs);
    REQUIRE(mr_calibration_random(serving.bundle, &none, 5, two, &n_two, NULL) == MR_OK);
    EXPECT_EQ(n_two, 0); /* no time, no step */
    mr_serving_close(&serving);
    mr_options_fini(&options);
}

/* Measured or given, the cost reaches the scheduler, and an SLO that one job cannot have is refused. */
TEST(serving_plans_with_it)
{
    const char *sets[] = {"model=synthetic:tiny", "kv.memory=8MiB", "engine.device=cpu", "scheduler.cost=2000000000 0 300000000 1 1 0 7"};
    const char *strict[] = {"model=synthetic:tiny", "kv.memory=8MiB", "engine.device=cpu", "scheduler.cost=2000000000 0 300000000 1 1 0 7",
                            "tier.realtime.tpot=1ms"};
    struct mr_options options;
    struct mr_serving serving;
    struct mr_err err;
    REQUIRE(mr_options_open(&options, NULL, sets, 4, NULL) == MR_OK);
    REQUIRE(mr_serving_open(&options, &serving, NULL) == MR_OK);
    EXPECT_EQ(serving.engine_options.sched.cost.row_ps, 7);
    EXPECT_EQ(serving.engine_options.sched.chunk_quantum, 16); /* a device of 0.3 ms a token */
    EXPECT_EQ(serving.engine_options.sched.forced_chunk, 32);
    mr_serving_close(&serving);
    mr_options_fini(&options);
    REQUIRE(mr_options_open(&options, NULL, strict, 5, NULL) == MR_OK);
    EXPECT_EQ(mr_serving_open(&options, &serving, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "needs") != NULL);
    mr_options_fini(&options);
}

/* The second start measures nothing: it takes what the first found, to the last digit. */
TEST(the_next_start_takes_what_was_kept)
{
    char folder[] = "/tmp/millrace-calibration-XXXXXX", option[96];
    REQUIRE(mkdtemp(folder));
    snprintf(option, sizeof option, "scheduler.calibration=%s", folder);
    const char *sets[] = {"model=synthetic:tiny", "kv.memory=8MiB", "engine.device=cpu", "engine.threads=1", "engine.max_step_tokens=64",
                          "engine.max_seqs=8", option};
    struct mr_sched_cost cost[2];
    for (int start = 0; start < 2; start++) {
        struct mr_options options;
        struct mr_serving serving;
        REQUIRE(mr_options_open(&options, NULL, sets, 7, NULL) == MR_OK);
        REQUIRE(mr_serving_open(&options, &serving, NULL) == MR_OK);
        cost[start] = serving.engine_options.sched.cost;
        mr_serving_close(&serving);
        mr_options_fini(&options);
    }
    EXPECT(cost[0].token_ps > 0 && memcmp(&cost[0], &cost[1], sizeof cost[0]) == 0);
    DIR *dir = opendir(folder);
    REQUIRE(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    EXPECT_EQ(rmdir(folder), 0);
}

TEST_MAIN(TEST_CASE(a_grid_within_the_engines_sizes), TEST_CASE(the_same_seed_gives_the_same_steps), TEST_CASE(serving_plans_with_it),
          TEST_CASE(the_next_start_takes_what_was_kept))
