/* Random scenarios, their shrinking and their text. Owns nothing.
 *
 * 1. A seed gives the same scenario everywhere. 2. Sizes are small on purpose: pools of a few blocks and steps of a few tokens
 * meet every limit within a second of simulated time. 3. Shrinking only takes away, so what is left is a scenario too. */
#include "scheduler/sim/fuzz.h"

#include "base/buf.h"

static int32_t between(struct sim_random *r, int32_t low, int32_t high) { return low + (int32_t)sim_random_below(r, high - low + 1); }
static bool one_in(struct sim_random *r, int32_t n) { return sim_random_below(r, n) == 0; }

static void fuzz_load(struct sim_random *r, struct sim_scenario *s, int32_t n_tenants)
{
    struct sim_load *load = &s->loads[s->n_loads++];
    int32_t most = s->config.max_context;
    *load = (struct sim_load){.first_tenant = between(r, 0, n_tenants - 1), .tier = between(r, 0, 2), .priority = one_in(r, 4) ? between(r, 0, 9) : 0,
                              .cv = 1, .speed = 1, .to_s = 1e18};
    load->last_tenant = one_in(r, 2) ? load->first_tenant : between(r, load->first_tenant, n_tenants - 1);
    load->source = one_in(r, 2) ? SIM_BACKLOG : SIM_POISSON;
    load->backlog = between(r, 1, 12);
    load->rate = between(r, 5, 200);
    load->prompt = (struct sim_length){between(r, 1, most / 4), one_in(r, 2) ? 0.8 : 0};
    load->output = (struct sim_length){between(r, 1, most / 4), one_in(r, 2) ? 0.8 : 0};
    if (one_in(r, 3)) {
        load->prefixes = between(r, 1, 4);
        load->prefix_tokens = between(r, s->config.block_tokens, most / 3 + s->config.block_tokens);
    }
    if (one_in(r, 3)) {
        load->on_s = 0.05 + 0.01 * between(r, 0, 20);
        load->off_s = 0.05 + 0.01 * between(r, 0, 20);
    }
    load->from_s = one_in(r, 3) ? 0.01 * between(r, 0, 30) : 0;
    load->cancel_share = one_in(r, 3) ? 0.3 : 0;
    load->deadline_s = one_in(r, 4) ? 0.02 * between(r, 1, 50) : 0;
}

static void fuzz_contract(struct sim_random *r, struct sim_scenario *s, int32_t t)
{
    struct mr_sched_tenant *contract = &s->contract[t];
    s->has_contract[t] = true;
    contract->weight = between(r, 1, 5);
    if (one_in(r, 4))
        contract->rate_tokens = between(r, 200, 5000);
    if (one_in(r, 8))
        contract->burst_tokens = between(r, 100, 5000);
    if (one_in(r, 4))
        contract->concurrency = between(r, 1, 4);
    if (one_in(r, 8))
        contract->queued_tokens = between(r, 200, 2000);
}

void sim_fuzz_scenario(uint64_t seed, struct sim_scenario *s)
{
    struct sim_random r = {mr_mix64(seed + 1)};
    sim_scenario_default(s);
    struct mr_sched_config *c = &s->config;
    s->seed = seed;
    s->seconds = 0.05 + 0.01 * between(&r, 0, 25);
    s->drain = true;
    c->block_tokens = 1 << between(&r, 1, 4);
    c->n_blocks = between(&r, 12, 120);
    c->max_context = c->n_blocks * c->block_tokens / between(&r, 1, 4);
    c->max_context = c->max_context < 24 ? 24 : c->max_context;
    c->max_seqs = between(&r, 1, 12);
    c->chunk_quantum = 1 << between(&r, 0, 4);
    c->max_step_tokens = c->max_seqs + c->chunk_quantum * between(&r, 1, 8);
    c->floor_tokens = c->forced_chunk = 0;
    c->window_tokens = one_in(&r, 3) ? between(&r, 1, 500) : 0;
    c->max_jobs = 128;
    c->max_tenants = 16;
    c->cost = (struct mr_sched_cost){1000000000LL * between(&r, 0, 2), 500000000, 20000000LL * between(&r, 1, 5), 100000LL * between(&r, 0, 10),
            1000, 100000000, 0};
    c->tier[0] = (struct mr_sched_tier_config){1000000LL * between(&r, 20, 200), 1000000LL * between(&r, 6, 40), 700};
    c->tier[1] = (struct mr_sched_tier_config){1000000LL * between(&r, 100, 2000), 1000000LL * between(&r, 10, 80), 250};
    c->tier[2].floor_permille = 50;
    int32_t n_tenants = between(&r, 1, 6), n_loads = between(&r, 1, 4);
    for (int32_t t = 0; t < n_tenants; t++)
        if (one_in(&r, 2))
            fuzz_contract(&r, s, t);
    for (int32_t l = 0; l < n_loads; l++)
        fuzz_load(&r, s, n_tenants);
    if (one_in(&r, 8)) {
        s->workers = 2;
        s->faults[s->n_faults++] = (struct sim_fault){SIM_REDIS, 0, 0.05, 0.2};
        if (one_in(&r, 2))
            s->faults[s->n_faults++] = (struct sim_fault){SIM_KILL, 1, 0.1, 0.1};
    }
    s->error_permille = one_in(&r, 3) ? 200 : 0;
    s->stall_permille = one_in(&r, 4) ? 10 : 0;
    c->pace_permille = one_in(&r, 4) ? between(&r, 600, 1000) : 0;
    c->visible = one_in(&r, 3) ? between(&r, 2, 8) : 0;
    for (int32_t t = 0; t < n_tenants; t++)
        s->contract[t].scavenge = s->contract[t].rate_tokens && one_in(&r, 2);
}

/* ---- shrinking: one way to be smaller at a time ---- */

enum { SHRINKS = 11 };

static bool shrink_once(struct sim_scenario *s, int how, int32_t at)
{
    if (how == 0 && at < s->n_loads && s->n_loads > 1) {
        s->loads[at] = s->loads[--s->n_loads];
        return true;
    }
    if (how == 1 && at < s->n_faults) {
        s->faults[at] = s->faults[--s->n_faults];
        return true;
    }
    if (how == 2 && at < SIM_TENANTS_MAX && s->has_contract[at]) {
        s->has_contract[at] = false;
        s->contract[at] = (struct mr_sched_tenant){0};
        return true;
    }
    if (at >= s->n_loads || how < 3)
        return false;
    struct sim_load *load = &s->loads[at];
    double *zeroes[] = {&load->cancel_share, &load->deadline_s, &load->off_s, &load->from_s, &load->prompt.cv, &load->output.cv};
    if (how - 3 < 6) {
        bool smaller = *zeroes[how - 3] > 0;
        *zeroes[how - 3] = 0;
        return smaller;
    }
    if (how == 9 && load->last_tenant > load->first_tenant) {
        load->last_tenant--;
        return true;
    }
    if (how == 10 && at == 0 && s->seconds > 0.02) {
        s->seconds /= 2;
        return true;
    }
    return false;
}

void sim_fuzz_shrink(struct sim_scenario *scenario, bool (*fails)(const struct sim_scenario *scenario, void *self), void *self)
{
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (int how = 0; how < SHRINKS; how++)
            for (int32_t at = 0; at < SIM_TENANTS_MAX; at++) {
                struct sim_scenario tried = *scenario;
                if (!shrink_once(&tried, how, at) || !fails(&tried, self))
                    continue;
                *scenario = tried;
                smaller = true;
            }
    }
}

/* ---- printing ---- */

static void length_print(struct mr_buf *out, const char *name, struct sim_length length)
{
    mr_buf_addf(out, " %s=%g", name, length.mean);
    if (length.cv > 0)
        mr_buf_addf(out, "~%g", length.cv);
}

static void load_print(const struct sim_load *load, struct mr_buf *out)
{
    static const char *const tiers[] = {"realtime", "standard", "bulk"};
    mr_buf_addf(out, "load tenants=%d-%d tier=%s priority=%d", load->first_tenant, load->last_tenant, tiers[load->tier], load->priority);
    if (load->source == SIM_BACKLOG)
        mr_buf_addf(out, " source=backlog:%d", load->backlog);
    else if (load->source == SIM_POISSON)
        mr_buf_addf(out, " source=poisson:%g", load->rate);
    else if (load->source == SIM_GAMMA)
        mr_buf_addf(out, " source=gamma:%g:%g", load->rate, load->cv);
    else
        mr_buf_addf(out, " source=trace:%s speed=%g", load->trace, load->speed);
    length_print(out, "prompt", load->prompt);
    length_print(out, "output", load->output);
    if (load->prefixes)
        mr_buf_addf(out, " prefixes=%dx%d", load->prefixes, load->prefix_tokens);
    struct {
        const char *name;
        double value;
    } numbers[] = {{"from", load->from_s}, {"on", load->off_s > 0 ? load->on_s : 0}, {"off", load->off_s}, {"deadline", load->deadline_s},
                   {"cancel", load->cancel_share}, {"to", load->to_s < 1e17 ? load->to_s : 0}, {"max", load->max_output}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value > 0)
            mr_buf_addf(out, " %s=%g", numbers[i].name, numbers[i].value);
    mr_buf_addf(out, "\n");
}

void sim_scenario_print(const struct sim_scenario *s, struct mr_buf *out)
{
    static const char *const tiers[] = {"realtime", "standard", "bulk"};
    const struct mr_sched_config *c = &s->config;
    mr_buf_addf(out, "name %s\nseed %llu\nseconds %g\nwarmup %g\ndrain %d\nworkers %d\nerror %d\nstalls %d\n", s->name, (unsigned long long)s->seed,
                s->seconds, s->warmup_s, s->drain, s->workers, s->error_permille, s->stall_permille);
    mr_buf_addf(out, "cost %lld %lld %lld %lld %lld %lld\n", (long long)c->cost.floor_ps, (long long)c->cost.base_ps, (long long)c->cost.token_ps,
                (long long)c->cost.context_ps, (long long)c->cost.pair_ps, (long long)c->cost.overhead_ps);
    mr_buf_addf(out,
            "blocks %d\nblock_tokens %d\nmax_seqs %d\nmax_step %d\nmax_jobs %d\nmax_context %d\nquantum %d\nfloor_tokens %d\nforced_chunk %d\n"
                "window %d\npace %d\nvisible %d\n", c->n_blocks, c->block_tokens, c->max_seqs, c->max_step_tokens, c->max_jobs, c->max_context,
                c->chunk_quantum, c->floor_tokens, c->forced_chunk, c->window_tokens, c->pace_permille, c->visible);
    for (int t = 0; t < MR_TIER_COUNT; t++)
        mr_buf_addf(out, "slo %s %g %g\nfloor %s %d\n", tiers[t], (double)c->tier[t].ttft_ns / 1e6, (double)c->tier[t].tpot_ns / 1e6, tiers[t],
                    c->tier[t].floor_permille);
    for (int t = 0; t < SIM_TENANTS_MAX; t++)
        if (s->has_contract[t])
            mr_buf_addf(out, "tenant %d weight=%d rate=%lld burst=%lld concurrency=%d queued=%lld scavenge=%d\n", t, s->contract[t].weight,
                        (long long)s->contract[t].rate_tokens, (long long)s->contract[t].burst_tokens, s->contract[t].concurrency,
                        (long long)s->contract[t].queued_tokens, s->contract[t].scavenge);
    for (int i = 0; i < s->n_loads; i++)
        load_print(&s->loads[i], out);
    for (int i = 0; i < s->n_faults; i++)
        if (s->faults[i].kind == SIM_KILL)
            mr_buf_addf(out, "kill %d %g\n", s->faults[i].worker, s->faults[i].from_s);
        else
            mr_buf_addf(out, "redis %g %g\n", s->faults[i].from_s, s->faults[i].to_s);
}
