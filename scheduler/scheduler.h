/* The scheduler: which sequences run in the next step, with how many tokens, and who must make room.
 *
 * Pure: no clock, no I/O, no allocation after open, integer time (ns) and integer service, and the same plan from the same
 * calls on every platform. It owns the KV accounting of resident jobs. The worker and the simulator link this same object.
 *
 * A job is a list of known tokens (prompt, then what was generated); `computed` of them have their KV. A plan item computes
 * positions [start, start + n); when it reaches the last known token the step yields the next token (`samples`), and commit
 * says whether the job goes on. A decode is an item of one token. A preempted job keeps its tokens and loses its KV.
 *
 * Order: tier -> tenant (the least weighted service first) -> prefix group (the longest match in the cache first) -> job.
 * A realtime or standard job that cannot meet its time to first token is relegated: it runs behind the others, never lost.
 *
 * One thread. Ids are the caller's, unique among live jobs. */
#ifndef MR_SCHEDULER_SCHEDULER_H
#define MR_SCHEDULER_SCHEDULER_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum mr_tier { MR_TIER_REALTIME, MR_TIER_STANDARD, MR_TIER_BULK, MR_TIER_COUNT };

/* The classes jobs run in: the tiers, and behind them those that missed their tier's promise. */
enum { MR_SCHED_RELEGATED = MR_TIER_COUNT, MR_SCHED_CLASSES };

enum {
    MR_SCHED_PREEMPTIONS_MAX = 3,  /* a job; then it comes back with its whole max_tokens reserved */
    MR_SCHED_SERVICE_UNIT = 1024,  /* service is counted in 1/1024 token */
    MR_SCHED_WEIGHT_MAX = 1000,
};

struct mr_sched; /* opaque */

/* Coefficients of a step's time, int64 picoseconds (scheduling.md 3.2): t = max(floor, base + token * n) + row * R + context * C +
 * pair * A + overhead. */
struct mr_sched_cost {
    int64_t floor_ps, base_ps, token_ps, context_ps, pair_ps, overhead_ps;
    int64_t row_ps; /* of a decode beside its token: the row of logits that it wants. 0 where the head is read faster than it is multiplied */
};

struct mr_sched_tier_config {
    int64_t ttft_ns, tpot_ns; /* SLO; 0: none */
    int32_t floor_permille;   /* share of service a backlogged tier is owed */
};

/* Parts that can be left out, to see what each is worth and to have the peers' orders: config.off. */
enum mr_sched_part {
    MR_PART_TIERS = 1 << 0,      /* off: one class, standard, for all */
    MR_PART_FAIR = 1 << 1,       /* off: one queue for all tenants, first come first served */
    MR_PART_PREFIX = 1 << 2,     /* off: no longest match first */
    MR_PART_SLACK = 1 << 3,      /* off: a step is max_step_tokens, whatever is due */
    MR_PART_RELEGATION = 1 << 4,
    MR_PART_FLOORS = 1 << 5,
    MR_PART_QUANTILES = 1 << 6,  /* off: a job is admitted when its prompt fits, with no look at the future */
    MR_PART_VICTIMS = 1 << 7,    /* off: the last admitted yields */
    MR_PART_CAP = 1 << 8,
    MR_PART_LIFT = 1 << 9,
    MR_PART_GUARD = 1 << 10,     /* every 16th pick by age */
    MR_PART_WINDOW = 1 << 11,    /* off: Q = 0 */
    MR_PART_BLEND = 1 << 12,     /* off: bulk takes the smaller remainder, whatever the step is bound by */
};

struct mr_sched_config {
    int32_t n_blocks, block_tokens; /* the pool */
    int32_t max_seqs;               /* resident sequences */
    int32_t max_step_tokens;        /* tokens of one step */
    int32_t max_jobs;               /* waiting + resident; submit past it is refused */
    int32_t max_tenants;
    int32_t max_context;            /* longest prompt + output */
    int32_t chunk_quantum;          /* prefill chunks are multiples of it, unless the prompt ends */
    struct mr_sched_tier_config tier[MR_TIER_COUNT];
    struct mr_sched_cost cost;
    /* From here on 0 means the default named. */
    int32_t floor_tokens;           /* prefill a step always has time for: 8 x chunk_quantum */
    int32_t forced_chunk;           /* of a step that no budget allows: 4 x chunk_quantum */
    int32_t visible;                /* jobs of a tenant looked at for one pick: 64 */
    int32_t window_tokens;          /* Q: 8192 */
    int32_t input_permille, cached_permille, output_permille; /* service of a token: 1000, 100, 2000 */
    uint32_t off;                   /* mr_sched_part bits: none */
    int32_t pace_permille;          /* realtime tokens are due after this part of their TPOT: 1000. Less makes steps shorter: a
                                       realtime job that arrives waits less, bulk gets less. 1 .. 1000 */
    int32_t backfill_keep_permille; /* of the time that a step with realtime prompts leaves, this part stays unspent: 0. 1000: nothing
                                       of a lower tier joins such a step, so that a first token comes as if it were alone. 0 .. 1000 */
};

/* A tenant's contract. Zeros: weight 1 and no limits. All limits shape, none drops, but queued_tokens refuses. */
struct mr_sched_tenant {
    int32_t weight;                 /* 1 .. MR_SCHED_WEIGHT_MAX; its share is weight / sum of weights */
    int64_t rate_tokens;            /* service tokens a second; 0: no limit */
    int64_t burst_tokens;           /* bucket; 0: one second of rate */
    int32_t concurrency;            /* resident jobs; 0: no limit */
    int64_t queued_tokens;          /* prompt + max output of its waiting jobs; 0: no limit */
    bool scavenge;                  /* over its rate its jobs run with the relegated ones instead of waiting */
};

/* What submit needs of a job. Copied, but prefix. */
struct mr_sched_job {
    uint64_t id;
    uint32_t tenant;          /* dense index, < max_tenants */
    int32_t tier;             /* enum mr_tier */
    int32_t priority;         /* 0 .. 9, higher first, inside one tenant */
    int32_t known_tokens;     /* prompt + tokens already accepted by the log: all to be computed */
    int32_t max_tokens;       /* known_tokens + the most that may still be generated; <= max_context */
    int32_t charged_prompt, charged_output; /* service already charged by an earlier owner (tokens) */
    int64_t arrival_ns;
    int64_t deadline_ns;      /* 0: none */
    uint32_t template_id;     /* jobs of one tenant and template have like output lengths; 0 is a template too */
    const uint64_t *prefix;   /* [n_prefix] names of the prompt's full blocks (block_pool.h), salted by tenant; borrowed until
                                 the job is gone; NULL: its KV is neither shared nor kept */
    int32_t n_prefix;
};

struct mr_sched_item {
    uint64_t id;
    int32_t start;            /* first position to compute */
    int32_t n;                /* positions */
    bool samples;             /* the last position's logits choose a token */
    const int32_t *blocks;    /* the job's block table, valid until the next call but commit */
    int32_t n_blocks;
};

/* One sequence that lost its blocks, and for what: for tests and the decision log. */
struct mr_sched_victim {
    uint64_t id;
    int32_t need;             /* number of the need in this plan: victims of one need share it */
    int32_t wanted, freed;    /* blocks the need lacked; blocks this victim gave */
    bool slot;                /* the need lacked a slot too */
};

/* Filled by plan; arrays are the scheduler's, valid until the next plan. A decoding item comes before prefill chunks. */
struct mr_sched_plan {
    const struct mr_sched_item *items;
    int32_t n_items, n_tokens;
    const uint64_t *preempted; /* lost their KV and wait again; no action is owed */
    int32_t n_preempted;
    const uint64_t *expired;   /* deadline passed: gone from the scheduler */
    int32_t n_expired;
    int64_t predicted_ns;      /* the cost model's time for this step */
    int64_t budget_ns;         /* T: what the step may take; INT64_MAX: no limit */
    bool forced;               /* no budget allowed this step: progress goes first */
    const struct mr_sched_victim *victims; /* [n_preempted] */
};

/* The outcome of one planned item, in the plan's order. */
struct mr_sched_result {
    int32_t new_tokens;        /* tokens the step added to the job: 0 for a chunk that did not sample */
    bool finished;             /* the job is over: its blocks return at once */
};

/* Fills what config leaves 0 and the device decides: SLOs that one job can meet, floor_tokens, forced_chunk, quantum. */
void mr_sched_config_profile(struct mr_sched_config *config);
/* Refuses (MR_ERR_INVALID) an SLO that the device cannot meet for a single job, with the figure that it can. */
enum mr_status mr_sched_open(const struct mr_sched_config *config, struct mr_sched **out, struct mr_err *err);
void mr_sched_close(struct mr_sched *sched);
/* Before or between steps. MR_ERR_INVALID: out of range. */
enum mr_status mr_sched_tenant_set(struct mr_sched *sched, uint32_t tenant, const struct mr_sched_tenant *contract, struct mr_err *err);
/* The index goes to another tenant: weight 1, no limits, nothing charged, as at open. false: jobs of it are live. */
bool mr_sched_tenant_renew(struct mr_sched *sched, uint32_t tenant);
uint32_t mr_sched_tenant_life(const struct mr_sched *sched, uint32_t tenant); /* how often: tells one owner of the index from the next */

/* MR_ERR_LIMIT: max_jobs reached, or the job can never fit the pool. MR_ERR_INVALID: a field out of range.
 * MR_ERR_BUSY: past the tenant's queued_tokens; err says when to come again. */
enum mr_status mr_sched_submit(struct mr_sched *sched, const struct mr_sched_job *job, int64_t now_ns, struct mr_err *err);
/* start_ns: when the step in flight is predicted to end (now, if none is). The step in flight must have been committed, or
 * be committed before the next plan. Never fails; a plan with no items means nothing can run. */
void mr_sched_plan(struct mr_sched *sched, int64_t start_ns, struct mr_sched_plan *plan);
/* results[i] belongs to the last plan's items[i]; a job cancelled since is skipped. */
void mr_sched_commit(struct mr_sched *sched, const struct mr_sched_result *results, int32_t n, int64_t now_ns);
/* Between steps: the job was over `unused` tokens before the last one that commit was told of; false: no such job. */
bool mr_sched_end(struct mr_sched *sched, uint64_t id, int32_t unused, int64_t now_ns);
/* Forgets a job, waiting or resident; false: no such job. */
bool mr_sched_cancel(struct mr_sched *sched, uint64_t id);
/* New coefficients of the tracked cost model; between steps. */
void mr_sched_tick(struct mr_sched *sched, const struct mr_sched_cost *cost);

/* Test hook and operator's valve: preempt a resident job now. false: not resident. */
bool mr_sched_preempt(struct mr_sched *sched, uint64_t id);

/* ---- many workers: service of one tenant in one class, in 1/1024 token ---- */

/* What this worker charged since the last call. Deltas add up in any order. */
int64_t mr_sched_delta_take(struct mr_sched *sched, int class, uint32_t tenant);
/* The sum of the other workers' charges. A lower total than the last is ignored: counters never fall. */
void mr_sched_external_set(struct mr_sched *sched, int class, uint32_t tenant, int64_t total);
/* The same with a store that holds one sum of all workers, this one's deltas among it. In one pipeline: raise the store to what
 * this returned last (max), add mr_sched_delta_take, read the total, hand it to mr_sched_total_set. It returns what the store
 * should hold: more than it was told, when the store was flushed or restored. The store refused or is away: give the delta
 * back, and it is taken again later; if it is not known whether it was added, it may count twice, never less. */
void mr_sched_delta_return(struct mr_sched *sched, int class, uint32_t tenant, int64_t delta);
int64_t mr_sched_total_set(struct mr_sched *sched, int class, uint32_t tenant, int64_t total);
/* Who returns is lifted to the least counter of those that wait, on any worker. Each tells its own least (INT64_MAX: nobody
 * waits here) and hears the least of the others': weighted service in 1/1024 token. */
int64_t mr_sched_least(const struct mr_sched *sched, int class);
void mr_sched_least_set(struct mr_sched *sched, int class, int64_t others);

/* ---- what an operator sees ---- */

/* What a job can wait for. */
enum mr_sched_wait {
    MR_WAIT_TURN,       /* others of its class came first */
    MR_WAIT_BUDGET,     /* the step's time went to what was due sooner */
    MR_WAIT_BLOCKS, MR_WAIT_SLOTS,
    MR_WAIT_RESERVED,   /* a larger job that was overtaken often enough holds the pool */
    MR_WAIT_CAP,        /* its tenant holds more of the pool than its share */
    MR_WAIT_RATE, MR_WAIT_CONCURRENCY, /* its tenant's contract */
    MR_WAIT_SHARE,      /* its tenant has had more than the others: they go first */
    MR_WAIT_GROUP,      /* another computes the beginning that it shares */
    MR_WAIT_FORGOTTEN,  /* before what the log still holds */
    MR_WAIT_COUNT
};

struct mr_sched_stats {
    int32_t waiting[MR_TIER_COUNT], resident[MR_TIER_COUNT];
    int32_t blocks_used, blocks_total;
    int64_t preemptions, expired;
    int32_t relegated_live;      /* of waiting and resident above */
    int64_t relegations;
    int64_t infeasible;          /* bulk jobs whose deadline could not be kept, as said at submit */
    int64_t recomputed_tokens, computed_tokens, cached_tokens;
    int64_t last_budget_ns;
    int64_t steps, forced_steps;
    int64_t queued_service[MR_TIER_COUNT];  /* predicted, of the waiting jobs, 1/1024 token */
    int64_t rate_service[MR_TIER_COUNT];    /* measured, a second */
    int64_t owed_service[MR_TIER_COUNT];    /* of its floor; below 0: it had more */
    int8_t stop[MR_SCHED_CLASSES]; /* enum mr_sched_wait: why the last plan admitted nobody more of the class */
};
void mr_sched_stats(const struct mr_sched *sched, struct mr_sched_stats *out);

struct mr_sched_tenant_stats {
    int64_t counter;             /* weighted service, 1/1024 token at weight 1; comparable inside a class */
    int64_t virtual_time;        /* of the class */
    int64_t charged;             /* service in 1/1024 token, not weighted, this worker's */
    int32_t waiting, resident, held_blocks;
    bool over_limit;             /* shaped by its contract now */
    bool over_cap;               /* holds more of the pool than its share allows while others wait */
    int64_t lead;                /* counter less the least of the class's waiting tenants: B1 bounds it by */
    int64_t bound;               /* Q + U, U of what is resident now: lead / bound is the drift over its bound */
    int64_t finished, on_time;   /* jobs of its tier; on time: first token and mean time per token within the SLO, or the deadline */
    int64_t preemptions, relegations;
};
void mr_sched_tenant_stats(const struct mr_sched *sched, int class, uint32_t tenant, struct mr_sched_tenant_stats *out);

struct mr_sched_job_info {
    bool resident, relegated;
    bool infeasible;             /* bulk: told at submit that the deadline cannot be kept at the measured rate */
    bool promoted;               /* bulk that runs as standard since its laxity ran out */
    int32_t computed, cached, preemptions, predicted_output;
};
bool mr_sched_job_info(const struct mr_sched *sched, uint64_t id, struct mr_sched_job_info *out); /* false: no such job */

const char *mr_sched_wait_name(enum mr_sched_wait wait);
/* Why a job waited: time by cause, from the decision log (the last 4096 changes); from arrival to now, for a waiting or resident job (until its
 * admission). false: no such job. */
bool mr_sched_why(const struct mr_sched *sched, uint64_t id, int64_t now_ns, int64_t waited_ns[MR_WAIT_COUNT]);
/* The same in order of time: the last `most` spans, oldest first; neighbours differ. Returns how many; -1: no such job. */
struct mr_sched_span {
    int64_t from_ns, to_ns;
    enum mr_sched_wait wait;
};
int32_t mr_sched_why_spans(const struct mr_sched *sched, uint64_t id, int64_t now_ns, struct mr_sched_span *spans, int32_t most);
/* What stands before a waiting job now. false: no such job, or it runs. */
struct mr_sched_standing {
    enum mr_sched_wait wait;     /* the job's own reason, else its class's */
    int32_t before;              /* waiting jobs of its tenant and class that go first by priority and arrival */
    int32_t tenants_before;      /* tenants of its class with less weighted service */
};
bool mr_sched_standing(const struct mr_sched *sched, uint64_t id, struct mr_sched_standing *out);

/* For a job refused with MR_ERR_BUSY: when about half of what the tenant has waiting in the tier will have begun, at its share of the
 * measured rate; within [1 s, 1 h]. */
int64_t mr_sched_retry_after_ns(const struct mr_sched *sched, int tier, uint32_t tenant);

/* Back-pressure: predicted service of the tier's waiting jobs passed 10 s of its measured rate; over at half of it, not
 * before 250 ms. Realtime is never paused by this. */
bool mr_sched_paused(const struct mr_sched *sched, int tier);

/* Re-asserts every invariant that must hold between calls (scheduling.md section 4). */
void mr_sched_check(const struct mr_sched *sched);

#endif
