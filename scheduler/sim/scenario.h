/* A scenario: a card, a pool, tenants with contracts, loads, faults. Written as text, one statement a line, `#` comments:
 *
 *     name two-tenants
 *     card h200-8b                    a cost model: h200-8b, h200-70b-tp4, cpu-2, or `cost FLOOR BASE TOKEN CONTEXT PAIR OVERHEAD` (ps)
 *     blocks 20000  block_tokens 16  max_seqs 512  max_step 8192  seconds 400  warmup 20  seed 1  workers 1
 *     slo realtime 500 50             TTFT and TPOT in ms; floor realtime 700 in permille
 *     tenant 3 weight=2 rate=1000 burst=5000 concurrency=4 queued=100000
 *     load tenants=0-15 tier=standard source=backlog:64 prompt=512 output=200 prefixes=16x4096
 *     load tenants=16 tier=realtime source=poisson:5.5 prompt=1000~1.0 output=200~0.7 from=10 to=300
 *     load tenants=0 tier=realtime source=trace:azure-2023-conv.csv speed=4
 *     load tenants=0-42 tier=standard source=servegen:small:20 day=600 prompt=800~1.5 output=200~1
 *     load tenants=0 tier=bulk source=batch:8192 order=grouped prompt=100 output=100 prefixes=16x1024 tree=4x512,8x256
 *     error 50  stalls 10  bias 100   the truth against the model, permille: error of each step, steps that stall tenfold, all slower
 *     kafka 512 5 3000                jobs come by the log: messages fetched ahead, a fetch and a rebalance in ms
 *     kill 1 100   join 1 160         worker 1 dies at second 100; comes (back) at 160: until its first join it is not there
 *     redis 100 130   store 2 10      Redis is away; its answer takes 2 ms, 10 permille of the exchanges are lost
 *     skew 1 250                      the clock of worker 1 is 250 ms ahead
 *
 * Lengths are mean~cv, log-normal, cv 0 when left out; max=N is what a job asks for (default: 4 x the mean output).
 * backlog:N keeps N jobs of a tenant in the system, batch:N brings N at once, grouped or in order of coming. servegen has the
 * clients of ServeGen's language traces (small 43, mid 109, large 162): the shares of the largest and the ten largest, gaps
 * with a coefficient of variation from 1 to 18, and with day=S a rate that swings by 0.8 over S seconds. tree adds levels of
 * shared beginnings below prefixes. */
#ifndef MR_SCHEDULER_SIM_SCENARIO_H
#define MR_SCHEDULER_SIM_SCENARIO_H

#include "scheduler/scheduler.h"
#include "scheduler/sim/random.h"

enum { SIM_LOADS_MAX = 32, SIM_TENANTS_MAX = 256, SIM_WORKERS_MAX = 64, SIM_FAULTS_MAX = 16, SIM_TREE_MAX = 2 };

enum sim_source { SIM_BACKLOG, SIM_POISSON, SIM_GAMMA, SIM_TRACE, SIM_BATCH, SIM_SERVEGEN };

struct sim_length {
    double mean, cv;
};

/* The clients of one of ServeGen's traces. */
struct sim_population {
    const char *name;
    int32_t clients;
    double top, top_ten;               /* shares of the load */
};

struct sim_load {
    enum sim_source source;
    int32_t first_tenant, last_tenant; /* every one of them gets this load; of a trace: jobs go round */
    int32_t tier, priority;
    double rate, cv;                   /* jobs a second and tenant */
    int32_t backlog;                   /* jobs of a tenant: kept waiting or running; of a batch: all at once */
    bool grouped;                      /* a batch in order of its beginnings, not of chance */
    const struct sim_population *population;
    double day_s;                      /* of servegen; 0: an even rate */
    char trace[256];
    double speed;                      /* of a trace */
    struct sim_length prompt, output;
    int32_t max_output;                /* 0: 4 x mean */
    int32_t prefixes, prefix_tokens;   /* a tenant's shared prompt beginnings; 0: none */
    struct {
        int32_t n, tokens;
    } tree[SIM_TREE_MAX];              /* each beginning goes on in one of n ways; 0: no such level */
    double from_s, to_s, on_s, off_s;  /* active from .. to; on_s on, off_s off in turns, when given */
    double deadline_s, cancel_share;
};

enum sim_fault_kind { SIM_KILL, SIM_REDIS, SIM_JOIN };
struct sim_fault {
    enum sim_fault_kind kind;
    int32_t worker;
    double from_s, to_s;
};

struct sim_scenario {
    char name[64];
    uint64_t seed;
    double seconds, warmup_s;
    bool drain;                        /* go on after `seconds` until everything has ended */
    int32_t workers;
    int64_t sync_ns;                   /* of the counters between workers */
    int32_t error_permille, stall_permille, bias_permille;
    int32_t prefetch;                  /* messages; 0: jobs reach their worker at once */
    int64_t fetch_ns, rebalance_ns;
    int64_t store_ns;                  /* of one exchange of counters */
    int32_t store_loss_permille;
    int64_t skew_ns[SIM_WORKERS_MAX];
    bool clairvoyant;                  /* a policy that knows how long each output will be */
    struct mr_sched_config config;     /* cost: what the scheduler believes */
    struct mr_sched_tenant contract[SIM_TENANTS_MAX];
    bool has_contract[SIM_TENANTS_MAX];
    struct sim_load loads[SIM_LOADS_MAX];
    int32_t n_loads;
    struct sim_fault faults[SIM_FAULTS_MAX];
    int32_t n_faults;
};

/* The defaults: one H200 with Llama-3.1-8B. */
void sim_scenario_default(struct sim_scenario *scenario);
enum mr_status sim_scenario_parse(struct sim_scenario *scenario, const char *text, struct mr_err *err);
/* MR_ERR_NOT_FOUND: no such policy. fcfs, fcfs-512, strict, strict-512, vtc, lpm, ours, ours-clairvoyant, and ours-no-PART. */
enum mr_status sim_policy_apply(struct sim_scenario *scenario, const char *policy, struct mr_err *err);
const char *const *sim_policy_names(void); /* NULL-ended */

#endif
