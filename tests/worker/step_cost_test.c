#include "worker/step_cost.h"

#include "base/hash.h"
#include "tests/test.h"

#include <math.h>

static const struct mr_sched_cost gpu = {3900000000, 1500000000, 18400000, 36400, 1310, 600000000, 0};
static const struct mr_sched_cost cpu = {0, 6000000000, 1500000000, 3000000, 700000, 0, 1000000000};

static uint64_t state;

static double uniform(void)
{
    state = mr_mix64(state + 0x9e3779b97f4a7c15u);
    return (double)(state >> 11) * 0x1p-53;
}

/* A step of random size under the cost, its time off by up to `noise`. */
static struct mr_step_sample sample(const struct mr_sched_cost *cost, double noise)
{
    int64_t decodes = (int64_t)exp(uniform() * 5) - 1, context = (int64_t)exp(uniform() * 7), chunk = (int64_t)exp(uniform() * 6);
    struct mr_step_sample s = {.load = {decodes, decodes * context, 0, decodes}};
    s.load = cost_load_sum(s.load, cost_load_chunk(context, chunk));
    s.ns = (int64_t)((double)cost_step_ps(cost, s.load) / 1000 * (1 + noise * (2 * uniform() - 1)));
    return s;
}

static void expect_fit(const struct mr_sched_cost *truth, double noise, int every_stall, double most)
{
    struct mr_step_sample samples[200], others[200];
    struct mr_sched_cost fitted;
    state = 7;
    for (int i = 0; i < 200; i++) {
        samples[i] = sample(truth, noise);
        others[i] = sample(truth, 0);
        if (every_stall && i % every_stall == 3)
            samples[i].ns *= 10;
    }
    REQUIRE(mr_step_cost_fit(samples, 200, &fitted));
    EXPECT(mr_step_cost_error(&fitted, others, 200, 0.5) < most);
}

TEST(the_fit_predicts_other_steps)
{
    expect_fit(&gpu, 0, 0, 0.005);
    expect_fit(&cpu, 0, 0, 0.005);
    expect_fit(&gpu, 0.1, 0, 0.02);
    expect_fit(&cpu, 0.1, 0, 0.02);
}

TEST(stalls_do_not_spoil_the_fit) { expect_fit(&cpu, 0.05, 25, 0.05); }

TEST(no_coefficient_is_negative)
{
    struct mr_step_sample samples[40];
    struct mr_sched_cost fitted;
    state = 3;
    for (int i = 0; i < 40; i++) {
        samples[i] = sample(&cpu, 0);
        samples[i].ns = 5000000 - 1000 * samples[i].load.tokens; /* more work, less time */
    }
    REQUIRE(mr_step_cost_fit(samples, 40, &fitted));
    EXPECT(fitted.token_ps >= 0 && fitted.row_ps >= 0 && fitted.context_ps >= 0 && fitted.pair_ps >= 0 && fitted.base_ps >= 0);
}

TEST(too_few_steps_say_nothing)
{
    struct mr_step_sample samples[MR_STEP_COST_LEAST];
    struct mr_sched_cost fitted;
    for (int i = 0; i < MR_STEP_COST_LEAST; i++)
        samples[i] = sample(&cpu, 0);
    EXPECT(!mr_step_cost_fit(samples, MR_STEP_COST_LEAST - 1, &fitted));
    EXPECT(mr_step_cost_fit(samples, MR_STEP_COST_LEAST, &fitted));
    samples[0].ns = 0;
    EXPECT(!mr_step_cost_fit(samples, MR_STEP_COST_LEAST, &fitted));
}

/* The device slows down: after a few hundred steps the tracked cost says so, and what no step exercises has not run away. */
TEST(tracking_follows_the_device)
{
    struct mr_step_track track;
    struct mr_sched_cost slow = {0, 9000000000, 2250000000, 4500000, 1050000, 0, 1500000000};
    struct mr_step_sample probes[100];
    mr_step_track_open(&track, &cpu);
    for (int i = 0; i < 600; i++) {
        struct mr_step_sample s = sample(&slow, 0.05);
        s.ns *= i % 50 == 9 ? 10 : 1;
        mr_step_track_add(&track, &s);
    }
    EXPECT_EQ(track.stalls, 12);
    for (int i = 0; i < 100; i++)
        probes[i] = sample(&slow, 0);
    struct mr_sched_cost now = mr_step_track_cost(&track);
    EXPECT(mr_step_cost_error(&now, probes, 100, 0.5) < 0.08);
    EXPECT(mr_step_cost_error(&cpu, probes, 100, 0.5) > 0.3);
    for (int i = 0; i < 5000; i++) { /* decodes alone, at the fitted speed again */
        struct mr_step_sample s = {.load = {4, 800, 0, 4}};
        s.ns = cost_step_ps(&cpu, s.load) / 1000;
        mr_step_track_add(&track, &s);
    }
    now = mr_step_track_cost(&track);
    EXPECT(now.pair_ps > cpu.pair_ps / 2 && now.pair_ps < cpu.pair_ps * 2);
}

TEST(text_and_back)
{
    char text[MR_STEP_COST_TEXT_BYTES];
    struct mr_sched_cost back;
    mr_step_cost_print(&gpu, text);
    EXPECT_STR(text, "3900000000 1500000000 18400000 36400 1310 600000000 0");
    REQUIRE(mr_step_cost_parse(text, &back));
    EXPECT_EQ(memcmp(&back, &gpu, sizeof gpu), 0);
    EXPECT(!mr_step_cost_parse("1 2 3 4 5 6", &back));
    EXPECT(!mr_step_cost_parse("1 2 3 4 5 6 -7", &back));
    EXPECT(!mr_step_cost_parse("1 2 3 4 5 6 7 8", &back));
    EXPECT(!mr_step_cost_parse("", &back));
}

TEST_MAIN(TEST_CASE(the_fit_predicts_other_steps), TEST_CASE(stalls_do_not_spoil_the_fit), TEST_CASE(no_coefficient_is_negative),
          TEST_CASE(too_few_steps_say_nothing), TEST_CASE(tracking_follows_the_device), TEST_CASE(text_and_back))
