/* Scenarios and policies as text. Owns nothing.
 *
 * 1. Every statement and key stands in one of the tables below; what is not there is refused with its line, so that a scenario
 * never silently means something else. 2. A policy is a set of parts that are off: the peers' orders are the same code. */
#include "scheduler/sim/scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct card {
    const char *name;
    struct mr_sched_cost cost;
};

/* h200-8b: scheduling.md 3.2. 70b on four: weights 4 x larger a card, layers 2.5 x. cpu-2: two cores with SmolLM2-135M Q4_1
 * (about 600 tok/s of prefill, 7 ms a single token). */
static const struct card cards[] = {
    {"h200-8b", {3900000000, 1500000000, 18400000, 36400, 1310, 600000000, 0}},
    {"h200-70b-tp4", {11000000000, 4000000000, 50000000, 22000, 800, 1200000000, 0}},
    {"cpu-2", {6000000000, 5000000000, 1600000000, 1500000, 750000, 300000000, 0}},
};

void sim_scenario_default(struct sim_scenario *scenario)
{
    *scenario = (struct sim_scenario){.name = "unnamed", .seed = 1, .seconds = 60, .workers = 1, .sync_ns = 200000000};
    scenario->config = (struct mr_sched_config){.n_blocks = 55000, .block_tokens = 16, .max_seqs = 1024, .max_step_tokens = 8192,
                                                .max_jobs = 32768, .max_tenants = SIM_TENANTS_MAX, .max_context = 32768, .chunk_quantum = 64,
                                                .floor_tokens = 512, .forced_chunk = 256, .cost = cards[0].cost,
                                                .tier = {{500000000, 50000000, 700}, {5000000000, 100000000, 250}, {0, 0, 50}}};
}

static const struct sim_population populations[] = {{"small", 43, 0.30, 0.93}, {"mid", 109, 0.52, 0.79}, {"large", 162, 0.16, 0.63}};

struct parse {
    struct sim_scenario *scenario;
    struct mr_err *err;
    int line;
};

static enum mr_status bad(const struct parse *parse, const char *what, const char *word)
{
    return mr_err_set(parse->err, MR_ERR_INVALID, "line %d: %s: %s", parse->line, what, word ? word : "(nothing)");
}

static int tier_named(const char *name)
{
    static const char *const names[] = {"realtime", "standard", "bulk"};
    for (int i = 0; i < 3; i++)
        if (name && strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

static struct sim_length length_parse(const char *text)
{
    const char *tilde = strchr(text, '~');
    return (struct sim_length){atof(text), tilde ? atof(tilde + 1) : 0};
}

static bool servegen_parse(struct sim_load *load, const char *value)
{
    size_t name = strcspn(value, ":");
    for (size_t i = 0; i < sizeof populations / sizeof *populations; i++)
        if (strlen(populations[i].name) == name && strncmp(value, populations[i].name, name) == 0)
            load->population = &populations[i];
    load->source = SIM_SERVEGEN;
    load->rate = value[name] ? atof(value + name + 1) : 0;
    return load->population && load->rate > 0;
}

static bool source_parse(struct sim_load *load, const char *value)
{
    const char *colon = strchr(value, ':');
    if (!colon)
        return false;
    load->cv = 1;
    if (strncmp(value, "backlog:", 8) == 0 || strncmp(value, "batch:", 6) == 0) {
        load->source = value[2] == 'c' ? SIM_BACKLOG : SIM_BATCH;
        load->backlog = atoi(colon + 1);
    } else if (strncmp(value, "servegen:", 9) == 0) {
        return servegen_parse(load, colon + 1);
    } else if (strncmp(value, "poisson:", 8) == 0) {
        load->source = SIM_POISSON;
        load->rate = atof(colon + 1);
    } else if (strncmp(value, "gamma:", 6) == 0) {
        load->source = SIM_GAMMA;
        return sscanf(colon + 1, "%lf:%lf", &load->rate, &load->cv) == 2 && load->rate > 0 && load->cv > 0;
    } else if (strncmp(value, "trace:", 6) == 0) {
        load->source = SIM_TRACE;
        return snprintf(load->trace, sizeof load->trace, "%s", colon + 1) < (int)sizeof load->trace;
    } else {
        return false;
    }
    return load->source == SIM_BACKLOG || load->source == SIM_BATCH ? load->backlog > 0 : load->rate > 0;
}

static bool load_key(struct sim_load *load, const char *key, const char *value)
{
    struct {
        const char *key;
        double *to;
    } numbers[] = {{"speed", &load->speed}, {"from", &load->from_s}, {"to", &load->to_s}, {"on", &load->on_s}, {"off", &load->off_s},
                   {"deadline", &load->deadline_s}, {"cancel", &load->cancel_share}, {"day", &load->day_s}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(key, numbers[i].key) == 0) {
            *numbers[i].to = atof(value);
            return true;
        }
    if (strcmp(key, "tenants") == 0) {
        int n = sscanf(value, "%d-%d", &load->first_tenant, &load->last_tenant);
        load->last_tenant = n == 1 ? load->first_tenant : load->last_tenant;
        return n >= 1 && load->first_tenant >= 0 && load->first_tenant <= load->last_tenant && load->last_tenant < SIM_TENANTS_MAX;
    }
    if (strcmp(key, "tier") == 0)
        return (load->tier = tier_named(value)) >= 0;
    if (strcmp(key, "priority") == 0)
        return (load->priority = atoi(value)) >= 0 && load->priority <= 9;
    if (strcmp(key, "source") == 0)
        return source_parse(load, value);
    if (strcmp(key, "prompt") == 0)
        return (load->prompt = length_parse(value)).mean >= 1;
    if (strcmp(key, "output") == 0)
        return (load->output = length_parse(value)).mean >= 1;
    if (strcmp(key, "max") == 0)
        return (load->max_output = atoi(value)) >= 1;
    if (strcmp(key, "order") == 0)
        return (load->grouped = strcmp(value, "grouped") == 0) || strcmp(value, "coming") == 0;
    if (strcmp(key, "tree") == 0) {
        int n = sscanf(value, "%dx%d,%dx%d", &load->tree[0].n, &load->tree[0].tokens, &load->tree[1].n, &load->tree[1].tokens);
        return load->tree[0].n > 0 && load->tree[0].tokens > 0 && (n == 2 || (n == 4 && load->tree[1].n > 0 && load->tree[1].tokens > 0));
    }
    if (strcmp(key, "prefixes") == 0)
        return sscanf(value, "%dx%d", &load->prefixes, &load->prefix_tokens) == 2 && load->prefixes > 0 && load->prefix_tokens > 0;
    return false;
}

static enum mr_status load_parse(const struct parse *parse, char *words)
{
    struct sim_scenario *scenario = parse->scenario;
    if (scenario->n_loads == SIM_LOADS_MAX)
        return bad(parse, "too many loads", words);
    struct sim_load *load = &scenario->loads[scenario->n_loads++];
    *load = (struct sim_load){.tier = MR_TIER_STANDARD, .speed = 1, .prompt = {512, 0}, .output = {128, 0}, .to_s = 1e18};
    char *save = NULL;
    for (char *word = strtok_r(words, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
        char *equals = strchr(word, '=');
        if (equals)
            *equals = 0;
        if (!equals || !load_key(load, word, equals + 1))
            return bad(parse, "no such key of a load, or a bad value", word);
    }
    return MR_OK;
}

static enum mr_status tenant_parse(const struct parse *parse, char *words)
{
    char *save = NULL, *word = strtok_r(words, " \t", &save);
    int tenant = word ? atoi(word) : -1;
    if (tenant < 0 || tenant >= SIM_TENANTS_MAX)
        return bad(parse, "no such tenant", word);
    struct mr_sched_tenant *contract = &parse->scenario->contract[tenant];
    parse->scenario->has_contract[tenant] = true;
    while ((word = strtok_r(NULL, " \t", &save))) {
        char *equals = strchr(word, '=');
        if (!equals)
            return bad(parse, "not key=value", word);
        *equals = 0;
        long long value = atoll(equals + 1);
        if (strcmp(word, "weight") == 0)
            contract->weight = (int32_t)value;
        else if (strcmp(word, "rate") == 0)
            contract->rate_tokens = value;
        else if (strcmp(word, "burst") == 0)
            contract->burst_tokens = value;
        else if (strcmp(word, "concurrency") == 0)
            contract->concurrency = (int32_t)value;
        else if (strcmp(word, "queued") == 0)
            contract->queued_tokens = value;
        else if (strcmp(word, "scavenge") == 0)
            contract->scavenge = value != 0;
        else
            return bad(parse, "no such key of a tenant", word);
    }
    return MR_OK;
}

/* `kill W S`, `join W S`, `redis S S`, `skew W MS`, `store MS PERMILLE`, `kafka MESSAGES MS MS`; 0: not one of these. */
static int world_parse(const struct parse *parse, const char *word, const char *rest)
{
    struct sim_scenario *scenario = parse->scenario;
    double a = 0, b = 0, c = 0;
    int n = sscanf(rest, "%lf %lf %lf", &a, &b, &c);
    bool worker = n == 2 && a >= 0 && a < SIM_WORKERS_MAX, kill = strcmp(word, "kill") == 0, join = strcmp(word, "join") == 0;
    if (strcmp(word, "kafka") == 0) {
        scenario->prefetch = (int32_t)a;
        scenario->fetch_ns = (int64_t)(b * 1e6);
        scenario->rebalance_ns = (int64_t)(c * 1e6);
        return n == 3 && a >= 1 && b >= 0 && c >= 0 ? 1 : -1;
    }
    if (strcmp(word, "store") == 0) {
        scenario->store_ns = (int64_t)(a * 1e6);
        scenario->store_loss_permille = (int32_t)b;
        return n == 2 && a >= 0 && b >= 0 ? 1 : -1;
    }
    if (strcmp(word, "skew") == 0) {
        if (worker)
            scenario->skew_ns[(int32_t)a] = (int64_t)(b * 1e6);
        return worker ? 1 : -1;
    }
    if (!kill && !join && strcmp(word, "redis") != 0)
        return 0;
    if (n != 2 || scenario->n_faults == SIM_FAULTS_MAX || ((kill || join) && !worker))
        return -1;
    scenario->faults[scenario->n_faults++] = (struct sim_fault){kill ? SIM_KILL : join ? SIM_JOIN : SIM_REDIS, (int32_t)a, kill || join ? b : a, b};
    return 1;
}

/* `slo TIER TTFT TPOT`, `floor TIER PERMILLE`, `cost ...`, `card NAME`; 0: not one of these. */
static int special_parse(const struct parse *parse, const char *word, char *rest)
{
    struct sim_scenario *scenario = parse->scenario;
    struct mr_sched_cost *cost = &scenario->config.cost;
    char name[32];
    double a = 0, b = 0;
    long long v[7];
    if (strcmp(word, "slo") == 0 || strcmp(word, "floor") == 0) {
        bool slo = *word == 's';
        if (sscanf(rest, "%31s %lf %lf", name, &a, &b) != (slo ? 3 : 2) || tier_named(name) < 0)
            return -1;
        struct mr_sched_tier_config *tier = &scenario->config.tier[tier_named(name)];
        if (slo)
            *tier = (struct mr_sched_tier_config){(int64_t)(a * 1e6), (int64_t)(b * 1e6), tier->floor_permille};
        else
            tier->floor_permille = (int32_t)a;
        return 1;
    }
    if (strcmp(word, "cost") == 0) {
        v[6] = 0; /* the last may be left out */
        if (sscanf(rest, "%lld %lld %lld %lld %lld %lld %lld", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6]) < 6)
            return -1;
        *cost = (struct mr_sched_cost){v[0], v[1], v[2], v[3], v[4], v[5], v[6]};
        return 1;
    }
    if (strcmp(word, "card") == 0) {
        for (size_t i = 0; i < sizeof cards / sizeof *cards; i++)
            if (strcmp(rest, cards[i].name) == 0) {
                *cost = cards[i].cost;
                return 1;
            }
        return -1;
    }
    return world_parse(parse, word, rest);
}

/* Pairs of name and number: several may share a line. */
static enum mr_status numbers_parse(const struct parse *parse, char *words)
{
    struct sim_scenario *scenario = parse->scenario;
    struct mr_sched_config *config = &scenario->config;
    struct {
        const char *name;
        int32_t *to;
    } integers[] = {{"blocks", &config->n_blocks}, {"block_tokens", &config->block_tokens}, {"max_seqs", &config->max_seqs},
                    {"max_step", &config->max_step_tokens}, {"max_jobs", &config->max_jobs}, {"max_context", &config->max_context},
                    {"quantum", &config->chunk_quantum}, {"floor_tokens", &config->floor_tokens}, {"forced_chunk", &config->forced_chunk},
                    {"pace", &config->pace_permille},
                    {"visible", &config->visible}, {"window", &config->window_tokens}, {"workers", &scenario->workers},
                    {"error", &scenario->error_permille}, {"stalls", &scenario->stall_permille}, {"bias", &scenario->bias_permille}};
    char *save = NULL;
    for (char *word = strtok_r(words, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
        char *value = strtok_r(NULL, " \t", &save);
        bool known = false;
        if (!value)
            return bad(parse, "a number is missing", word);
        for (size_t i = 0; i < sizeof integers / sizeof *integers && !known; i++)
            if ((known = strcmp(word, integers[i].name) == 0))
                *integers[i].to = atoi(value);
        if (known)
            continue;
        if (strcmp(word, "seconds") == 0)
            scenario->seconds = atof(value);
        else if (strcmp(word, "warmup") == 0)
            scenario->warmup_s = atof(value);
        else if (strcmp(word, "sync") == 0)
            scenario->sync_ns = (int64_t)(atof(value) * 1e6);
        else if (strcmp(word, "seed") == 0)
            scenario->seed = strtoull(value, NULL, 10);
        else if (strcmp(word, "drain") == 0)
            scenario->drain = atoi(value);
        else
            return bad(parse, "no such statement", word);
    }
    return MR_OK;
}

static enum mr_status line_parse(const struct parse *parse, char *line)
{
    char *comment = strchr(line, '#');
    if (comment)
        *comment = 0;
    line += strspn(line, " \t\r");
    for (size_t n = strlen(line); n && strchr(" \t\r", line[n - 1]); n--)
        line[n - 1] = 0;
    if (!*line)
        return MR_OK;
    size_t n = strcspn(line, " \t");
    char word[32];
    snprintf(word, sizeof word, "%.*s", (int)n, line);
    char *rest = line + n + strspn(line + n, " \t");
    if (strcmp(word, "name") == 0)
        return snprintf(parse->scenario->name, sizeof parse->scenario->name, "%s", rest) > 0 ? MR_OK : bad(parse, "no name", rest);
    if (strcmp(word, "load") == 0)
        return load_parse(parse, rest);
    if (strcmp(word, "tenant") == 0)
        return tenant_parse(parse, rest);
    int special = special_parse(parse, word, rest);
    return special > 0 ? MR_OK : special < 0 ? bad(parse, "cannot be read", line) : numbers_parse(parse, line);
}

enum mr_status sim_scenario_parse(struct sim_scenario *scenario, const char *text, struct mr_err *err)
{
    struct parse parse = {scenario, err, 0};
    char *copy = strdup(text), *save = NULL;
    enum mr_status status = copy ? MR_OK : mr_err_set(err, MR_ERR_NOMEM, "no memory for the scenario");
    sim_scenario_default(scenario);
    for (char *line = copy, *next; status == MR_OK && line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        parse.line++;
        status = line_parse(&parse, line);
    }
    (void)save;
    free(copy);
    if (status == MR_OK && (scenario->workers < 1 || scenario->workers > SIM_WORKERS_MAX))
        return mr_err_set(err, MR_ERR_INVALID, "1 to %d workers", SIM_WORKERS_MAX);
    return status;
}

struct policy {
    const char *name;
    uint32_t off;
    int32_t max_step;  /* 0: the scenario's */
    int32_t visible;   /* 0: the scenario's */
    bool clairvoyant;
};

enum {
    OFF_ORDER = MR_PART_SLACK | MR_PART_RELEGATION | MR_PART_FLOORS | MR_PART_QUANTILES | MR_PART_VICTIMS | MR_PART_CAP | MR_PART_GUARD |
                MR_PART_WINDOW,
    OFF_FCFS = OFF_ORDER | MR_PART_TIERS | MR_PART_FAIR | MR_PART_PREFIX,
};

static const struct policy policies[] = {
    {"fcfs", OFF_FCFS, 2048, 0, false},
    {"fcfs-512", OFF_FCFS, 512, 0, false},
    {"strict", OFF_ORDER | MR_PART_FAIR | MR_PART_PREFIX, 2048, 0, false},
    {"strict-512", OFF_ORDER | MR_PART_FAIR | MR_PART_PREFIX, 512, 0, false},
    {"vtc", OFF_ORDER | MR_PART_TIERS | MR_PART_PREFIX, 2048, 0, false},
    {"lpm", (OFF_ORDER | MR_PART_TIERS | MR_PART_FAIR), 2048, 1 << 20, false},
    {"ours", 0, 0, 0, false},
    {"ours-clairvoyant", 0, 0, 0, true},
    {"ours-no-tiers", MR_PART_TIERS, 0, 0, false},
    {"ours-no-fair", MR_PART_FAIR, 0, 0, false},
    {"ours-no-prefix", MR_PART_PREFIX, 0, 0, false},
    {"ours-no-slack", MR_PART_SLACK, 0, 0, false},
    {"ours-no-relegation", MR_PART_RELEGATION, 0, 0, false},
    {"ours-no-floors", MR_PART_FLOORS, 0, 0, false},
    {"ours-no-quantiles", MR_PART_QUANTILES, 0, 0, false},
    {"ours-no-victims", MR_PART_VICTIMS, 0, 0, false},
    {"ours-no-cap", MR_PART_CAP, 0, 0, false},
    {"ours-no-blend", MR_PART_BLEND, 0, 0, false},
    {"ours-no-lift", MR_PART_LIFT, 0, 0, false},
    {"ours-no-guard", MR_PART_GUARD, 0, 0, false},
    {"ours-no-window", MR_PART_WINDOW, 0, 0, false},
};

enum { N_POLICIES = sizeof policies / sizeof *policies };

const char *const *sim_policy_names(void)
{
    static const char *names[N_POLICIES + 1];
    for (int i = 0; i < N_POLICIES; i++)
        names[i] = policies[i].name;
    return names;
}

enum mr_status sim_policy_apply(struct sim_scenario *scenario, const char *policy, struct mr_err *err)
{
    for (int i = 0; i < N_POLICIES; i++) {
        if (strcmp(policies[i].name, policy) != 0)
            continue;
        scenario->config.off = policies[i].off;
        scenario->clairvoyant = policies[i].clairvoyant;
        if (policies[i].max_step)
            scenario->config.max_step_tokens = policies[i].max_step;
        if (policies[i].visible)
            scenario->config.visible = policies[i].visible;
        return MR_OK;
    }
    return mr_err_set(err, MR_ERR_NOT_FOUND, "no policy %s", policy);
}
