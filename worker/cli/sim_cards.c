/* How many cards does this load need? Workers are doubled until enough jobs are on time, then halved in between: fewer cards never
 * keep more on time, but for a hair's breadth. */
#include "worker/cli/sim.h"

#include <stdio.h>
#include <stdlib.h>

struct question {
    struct mr_cli *cli;
    const struct sim_flags *flags;
    const struct sim_options *options;
    const char *policy;
    struct sim_scenario *base;
    struct sim_result *result;
    double share;              /* of the last run */
};

/* The least share on time of the tiers that are promised anything. */
static double share_on_time(const struct sim_scenario *scenario, const struct sim_result *r)
{
    double least = 1;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        double share = r->tier[tier].arrived ? (double)r->tier[tier].on_time / (double)r->tier[tier].arrived : 1;
        if (scenario->config.tier[tier].ttft_ns && share < least)
            least = share;
    }
    return least;
}

/* 1: enough, 0: not, -1: it cannot be run. */
static int ask(struct question *q, int32_t cards, struct mr_err *err)
{
    q->base->workers = cards;
    if (!sim_run_policy(q->base, q->policy, q->options, q->result, err))
        return -1;
    int first = q->result->tier[MR_TIER_REALTIME].arrived ? MR_TIER_REALTIME : MR_TIER_STANDARD;
    const struct sim_tier_result *tier = &q->result->tier[first];
    q->share = share_on_time(q->base, q->result);
    bool enough = q->share >= q->flags->on_time;
    if (q->cli->json)
        printf("{\"scenario\":\"%s\",\"policy\":\"%s\",\"cards\":%d,\"on_time\":%.5f,\"wanted\":%.5f,\"enough\":%s,\"ttft_ms_p99\":%.3f,"
               "\"tpot_ms_p99\":%.3f,\"tok_s\":%.1f}\n", q->base->name, q->policy, cards, q->share, q->flags->on_time, enough ? "true" : "false",
               tier->ttft_ms[1], tier->tpot_ms[1], q->result->tok_s);
    else
        printf("%3d card%s  %7.3f %% on time, TTFT p99 %.0f ms, TPOT p99 %.1f ms%s\n", cards, cards == 1 ? " " : "s", 100 * q->share,
               tier->ttft_ms[1], tier->tpot_ms[1], enough ? ", enough" : "");
    return enough;
}

static int answer_print(const struct question *q, int32_t cards, double share, double below)
{
    if (q->cli->json)
        printf("{\"scenario\":\"%s\",\"policy\":\"%s\",\"answer\":%d,\"on_time\":%.5f,\"on_time_with_one_less\":%.5f,\"wanted\":%.5f}\n",
               q->base->name, q->policy, cards, share, below, q->flags->on_time);
    else if (cards > 1)
        printf("%d cards: %.3f %% on time (%d: %.3f %%), %.3f %% wanted\n", cards, 100 * share, cards - 1, 100 * below, 100 * q->flags->on_time);
    else
        printf("1 card: %.3f %% on time, %.3f %% wanted\n", 100 * share, 100 * q->flags->on_time);
    return MR_EXIT_DONE;
}

int sim_cards_answer(struct mr_cli *cli, struct sim_scenario *base, const struct sim_flags *flags, const struct sim_options *options)
{
    struct question q = {.cli = cli, .flags = flags, .options = options, .policy = flags->policy ? flags->policy : "ours", .base = base,
                         .result = calloc(1, sizeof *q.result)};
    struct mr_err err;
    int32_t few = 0, many = 0;
    double below = 0, share = 0;
    int code = -1, enough = 0;
    if (!q.result)
        return mr_cli_fail("no memory for the simulation");
    for (int32_t cards = 1; !many && cards <= flags->cards_max && (enough = ask(&q, cards, &err)) >= 0; cards = enough ? cards : 2 * cards) {
        few = enough ? few : cards;
        many = enough ? cards : 0;
        *(enough ? &share : &below) = q.share;
        if (!enough && 2 * cards > flags->cards_max && cards < flags->cards_max)
            cards = (int32_t)(flags->cards_max + 1) / 2; /* the last one that is allowed, when doubled */
    }
    while (enough >= 0 && many - few > 1) {
        int32_t middle = few + (many - few) / 2;
        if ((enough = ask(&q, middle, &err)) < 0)
            break;
        *(enough ? &many : &few) = middle;
        *(enough ? &share : &below) = q.share;
    }
    if (enough < 0)
        code = mr_cli_fail("%s", err.text);
    else if (!many)
        code = mr_cli_fail("%lld cards are not enough for %.2f %% on time", (long long)flags->cards_max, 100 * flags->on_time);
    else
        code = answer_print(&q, many, share, below);
    free(q.result);
    return code;
}
