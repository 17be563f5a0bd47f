/* How long the next step may take (scheduling.md 3.4, step 1): T = 0.95 x the least slack of the resident realtime and
 * standard sequences that can still be on time, clamped to [T_floor, max(T_floor, 1.5 x least TPOT)]. With no latency tier
 * about, T is a tenth of the realtime TTFT, so that an arrival waits no longer than that. Late sequences are left out: their
 * negative slack would collapse the budget and the throughput with it. But while a decode is behind, T is at most 3/4 of the least
 * TPOT, so that who was thrown back by a step that stalled comes to be on time again. */
#include "scheduler/core.h"

struct slack {
    int64_t floor_ns, least;
    bool late; /* one that has its first token is behind */
};

static void slack_note(struct slack *slack, int64_t due_ns, int64_t start_ns)
{
    if (due_ns == NEVER)
        return;
    int64_t mine = due_ns - start_ns;
    if ((mine >= slack->floor_ns || MUTANT(MUTANT_SLACK_AT_NOW)) && mine < slack->least)
        slack->least = mine;
}

static void slack_of_class(const struct mr_sched *s, int c, struct slack *slack)
{
    const struct class *class = &s->classes[c];
    int64_t behind_ns = s->now.start_ns + slack->floor_ns;
    for (int32_t i = 0; i < class->n_decodes; i++) {
        slack_note(slack, class->decode_due[i], s->now.start_ns);
        slack->late |= class->decode_due[i] < behind_ns && !s->jobs[class->decode_jobs[i]].in_due;
    }
    for (int32_t j = class->prefill_head; j >= 0; j = s->next[j]) {
        slack_note(slack, s->jobs[j].due_ns, s->now.start_ns);
        slack->late |= !s->jobs[j].in_due && s->jobs[j].due_ns < behind_ns;
    }
}

void budget_set(struct mr_sched *s)
{
    const struct mr_sched_config *config = &s->config;
    int64_t tpot = NEVER, idle_ns = config->tier[MR_TIER_REALTIME].ttft_ns / 10;
    bool present = false;
    s->now.budget_ps = NEVER;
    for (int c = MR_TIER_REALTIME; c <= MR_TIER_STANDARD; c++) {
        const struct class *class = &s->classes[c];
        if (class->n_waiting + class->n_resident == 0)
            continue;
        present = true;
        int64_t mine = class_tpot_ns(s, c);
        tpot = mine && mine < tpot ? mine : tpot;
    }
    if (!part_on(s, MR_PART_SLACK) || (tpot == NEVER && idle_ns == 0))
        return;
    struct cost_load load = cost_load_sum(s->now.latency, cost_load_chunk(0, config->floor_tokens));
    struct slack slack = {.floor_ns = cost_step_ps(&config->cost, load) / 1000 + 1, .least = NEVER};
    int64_t high = tpot != NEVER ? tpot / 2 * 3 : idle_ns;
    if (high < slack.floor_ns && !MUTANT(MUTANT_FLOOR_ABOVE_CLAMP))
        high = slack.floor_ns;
    int64_t budget = present ? high : idle_ns;
    if (present) {
        slack_of_class(s, MR_TIER_REALTIME, &slack);
        slack_of_class(s, MR_TIER_STANDARD, &slack);
        if (MUTANT(MUTANT_RELEGATED_SLACK))
            slack_of_class(s, MR_SCHED_RELEGATED, &slack);
        if (slack.least != NEVER)
            budget = slack.least / 100 * 95;
        if (slack.late && budget > tpot / 4 * 3)
            budget = tpot / 4 * 3;
    }
    budget = budget < slack.floor_ns && !MUTANT(MUTANT_FLOOR_ABOVE_CLAMP) ? slack.floor_ns : budget;
    s->now.budget_ps = (budget > high && present ? high : budget) * 1000;
}
