/* The scheduler's state, known to the files of this folder only. Each file owns the fields that its section names; the
 * others read them. Jobs and flows are indices into arrays: -1 is none. */
#ifndef MR_SCHEDULER_CORE_H
#define MR_SCHEDULER_CORE_H

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "scheduler/bulk.h"
#include "scheduler/cost.h"
#include "scheduler/decisions.h"
#include "scheduler/groups.h"
#include "scheduler/heap.h"
#include "scheduler/lengths.h"
#include "scheduler/limits.h"
#include "scheduler/mutant.h"
#include "scheduler/pressure.h"
#include "scheduler/scheduler.h"
#include "scheduler/tiers.h"

#include <stddef.h>

enum {
    CLASSES = MR_SCHED_CLASSES,
    LEVELS = 11,               /* a flow's lists: priority 0 .. 9, and 10 for those that were preempted */
    LEVEL_PREEMPTED = 10,
    GUARD_PICKS = 16,          /* bypasses of a job for each place of the queue it joined; a blocked head is overtaken as often at most */
    FLOWS_LOOKED_AT = 64,      /* tenants compared for one pick */
    LOOKS_PER_STEP = 256,      /* of a class: then a pick of that step compares only so many: */
    FLOWS_LOOKED_AT_LATE = 8,
    REFRESHES_PER_PICK = 2,    /* tenants whose best job is looked for anew, because the cache has moved on */
    REFRESH_STEPS = 4,         /* not sooner than so many steps after the last look */
    TRIES_PER_STEP = 4,        /* heads of a class that may fail to fit before the class gives up the step */
    FEASIBILITY_JOBS = 256,    /* jobs of a class, in deadline order, that one step's test looks at */
    LATE_VICTIM_TOKENS = 32,   /* a sequence this near its end, or so fresh after a resume, is no victim */
    RECLAIM_WAIT_MS = 1000,    /* a tenant over its cap gives back after another has waited so long */
};

#define NEVER INT64_MAX
/* Counters are service units x FAIR_SCALE / weight: exact for the weights that divide it. */
#define FAIR_SCALE INT64_C(5040)

enum job_state { JOB_FREE, JOB_WAITING, JOB_RESIDENT };

struct job {
    /* the first cache line: what a pick reads of every visible job */
    _Alignas(64) int32_t known;
    int32_t computed;
    int8_t state, class, level;
    bool cancelled;
    int32_t match;             /* blocks of prefix found in the cache when last looked */
    int64_t due_ns;            /* when the next token is due; NEVER: no promise */
    int64_t end_ns;            /* waiting: due_ns, else the deadline, else NEVER */
    const uint64_t *prefix;    /* as in `in`; NULL once cancelled, or of none */
    int64_t allowance;         /* waiting: the pick of its flow by which it goes (fair.c) */
    int32_t n_prefix;
    int32_t group;             /* waiting: its prefix group; -1 none */
    uint32_t match_changes;    /* the pool's changes in match_cells then */
    uint16_t match_cells[2];   /* of the last block found and of the first not found */
    /* the second: what a commit or a need for room reads of a resident too */
    _Alignas(64) struct mr_block_table table;
    int32_t output;            /* tokens generated, all owners */
    int32_t predicted;         /* output length foreseen */
    int32_t place;             /* resident decode: index in its class's decodes */
    int32_t shared;            /* resident: blocks found at admission */
    int32_t since_resume;      /* tokens generated since the last admission */
    int16_t preemptions;
    int16_t bucket;            /* resident: among the remainders; -1 */
    int32_t bucket_held;
    int32_t charged_position;  /* prompt positions before it have been charged */
    int32_t hit_position;      /* before it, and not charged yet: charged as cached */
    int32_t high;              /* positions ever computed: below it is recomputation */
    int32_t named;             /* prefix blocks named so far */
    int32_t prev;              /* of the scheduler's next */
    /* the rest */
    int32_t take;              /* prefill: tokens in the step that is planned or in flight; a decode's is its class's decode_take */
    int32_t slot;              /* resident: index of its block table storage */
    bool reserved;             /* resident: holds the blocks of its whole max_tokens */
    bool preempt_asked, infeasible, promoted, in_due;
    bool scavenged;            /* runs though its tenant is over its rate: not paid for from the bucket */
    int32_t cached;            /* prompt tokens found in the cache, first admission */
    int32_t overtaken;         /* as a head that did not fit */
    int32_t group_next, group_prev;
    int32_t due_next, due_prev;/* no first token yet: its class's due list */
    uint64_t preempted_step;   /* not admitted again in the step that preempted it */
    struct mr_sched_job in;
    uint64_t order;            /* submission; breaks ties of arrival */
    uint64_t admitted;         /* resident: number of the admission */
    int64_t admitted_ns;       /* first admission; NEVER before */
    int64_t first_ns;          /* first token of this owner; NEVER before */
    int64_t pending;           /* service admitted and not yet computed, of this job */
    int64_t queued_cost;       /* what limits and pressure were told at submit */
};

/* One tenant in one class. */
struct flow {
    /* the first cache line: what a pick reads of every flow it compares */
    _Alignas(64) int32_t best; /* the job a pick would take; -1: look for it */
    int32_t best_match;        /* of it: its match and end_ns */
    int64_t best_end;
    uint64_t best_step;
    uint64_t skip_step;        /* its head did not fit in this step */
    int32_t held_blocks;       /* of its residents, those found in the cache left out: common blocks count once */
    int32_t n_waiting, n_resident;
    bool aged;                 /* best goes for its age, whatever comes */
    int32_t weight;            /* of the tenant's contract */
    bool backlogged, has_prefixes;
    bool best_memory;          /* best was chosen for a step that memory binds */
    bool skip_capped;          /* it was its cap that skip_step tells of */
    /* the rest */
    int32_t head[LEVELS], tail[LEVELS];
    int32_t bypasses;          /* admissions since its oldest job was taken */
    int64_t picks;             /* admissions */
    int64_t allowance;         /* the least of its waiting, or of one that has gone */
    int32_t group;             /* the prefix group in flight, while its name is group_name; -1 */
    uint64_t group_name;
    int32_t sized[GROUP_SIZES];/* the first group of each size (groups.c); -1 */
    int64_t counter;           /* weighted service, FAIR_SCALE units */
    int64_t pending;           /* service units admitted and not yet computed */
    int64_t charged;           /* service units, this worker's */
    int64_t flushed;           /* of charged, what delta_take has given out */
    int64_t external;          /* the others' total */
    int64_t stored;            /* what a common store holds at least */
    int64_t finished, on_time, preemptions, relegations;
};

/* What decides whether a resident decode may yield, as long as it decodes: a need for room reads these from end to end. */
struct tenure {
    int32_t flow, shared;      /* index in flows; blocks found at admission */
    int32_t before;            /* computed less output */
    int32_t predicted;         /* output length foreseen */
    int32_t resumed;           /* output at the last admission */
    int32_t preemptions;
};

/* One class. */
struct class {
    struct heap flows;         /* backlogged, within their limits; key: counter + pending */
    int64_t virtual_time;      /* the highest least counter ever seen among the backlogged */
    int64_t others_least;      /* the same of other workers, as they told; NEVER */
    int64_t weight_sum;        /* of the flows that wait or are resident */
    int32_t n_backlogged;
    int32_t blocked_head;      /* job that did not fit; -1 */
    int32_t n_waiting, n_resident;
    /* residents with one token to compute, as the items they will be: a step reads these arrays from end to end, not the jobs */
    struct mr_sched_item *decodes; /* [max_seqs] */
    int32_t *decode_jobs;      /* [max_seqs] whose they are */
    int64_t *decode_due;       /* [max_seqs] their due_ns */
    uint8_t *decode_take;      /* [max_seqs] 1: in the step that is planned or in flight */
    struct tenure *decode_tenure; /* [max_seqs] what a need for room asks of them */
    int32_t n_decodes, n_taken;
    int64_t decode_context;    /* sum of start + 1 */
    int32_t cursor;            /* where decodes start when not all fit */
    int32_t prefill_head, prefill_tail; /* residents with more, in order of deadline */
    int32_t due_head, due_tail;/* no first token yet, waiting or resident, in order of deadline */
    enum mr_sched_wait stop;   /* why this step's admissions ended */
    uint64_t looked_step;      /* tenants compared in this step */
    int32_t looked;
};

/* A resident that may yield. */
struct candidate {
    int64_t counter, cost;     /* of its flow; of recomputing it, per freed block */
    int32_t j;                 /* -1: let go again */
    int32_t class, freed;
};

/* The step that is being planned. */
struct step {
    int64_t start_ns, budget_ps;
    struct cost_load load;
    int32_t n_items;
    bool forced;
    struct cost_load latency;  /* of the realtime and standard decodes */
    bool violating;            /* a realtime job was found late or infeasible */
};

_Static_assert(offsetof(struct job, table) == 64 && offsetof(struct job, take) == 128, "the two hot lines of a job");
_Static_assert(offsetof(struct flow, head) <= 64, "the hot line of a flow");

struct mr_sched {
    struct mr_sched_config config;
    struct mr_block_pool pool;
    /* jobs.c */
    struct job *jobs;          /* [max_jobs] */
    int32_t *next;             /* [max_jobs] of a job. Waiting: its flow's level; resident prefill: its class's prefills; free: next. By
                                  itself, so that who walks a list can fetch the jobs ahead of him */
    int32_t *index;            /* [index_mask + 1] id -> job + 1, open addressing; 0: empty */
    int32_t index_mask;
    int32_t free_jobs, n_live;
    int32_t *table_storage;    /* [max_seqs][table_blocks] */
    int32_t table_blocks;
    int32_t *slots;            /* [max_seqs] free table storage */
    int32_t n_slots;
    struct heap timers;        /* jobs by their next moment: promotion, then deadline */
    struct class classes[CLASSES];
    struct flow *flows;        /* [CLASSES][max_tenants] */
    uint32_t *lives;           /* [max_tenants] tenants that the index had before */
    /* the parts with state of their own */
    struct groups groups;
    struct lengths lengths;
    struct limits limits;
    struct tiers tiers;
    struct bulk bulk;
    struct pressure pressure;
    struct decisions decisions;
    /* admission.c: residents by foreseen remainder */
    struct {
        int64_t n[LENGTH_BUCKETS], held[LENGTH_BUCKETS];
    } remainders[CLASSES];
    int32_t remainder_jobs[LENGTH_BUCKETS]; /* of all classes */
    int64_t remainder_held;    /* the same, tokens */
    int64_t kept_free;         /* tokens / 1000 that bulk and relegated jobs leave free, for what the others took from them of late */
    /* plan.c */
    struct step now;
    uint64_t step, order, admissions;
    struct mr_sched_item *items; /* [max_seqs] */
    int32_t *item_jobs;        /* [max_seqs] */
    int32_t n_items;
    bool planned;              /* a plan with items awaits its commit */
    uint64_t *preempted, *expired; /* [max_jobs] */
    struct mr_sched_victim *victims; /* [max_seqs] of this plan */
    int32_t n_preempted, n_expired, n_needs;
    struct candidate *candidates, *chosen; /* [max_seqs] preemption.c's */
    bool *pinned;              /* [blocks of the longest context] admission.c's */
    int64_t clock_ns;          /* the latest moment a call told */
    int64_t commit_ns;         /* the last commit */
    struct mr_sched_stats stats;
};

static inline bool part_on(const struct mr_sched *s, enum mr_sched_part part) { return !(s->config.off & part); }
static inline uint32_t flow_tenant(const struct mr_sched *s, uint32_t tenant) { return part_on(s, MR_PART_FAIR) ? tenant : 0; }
static inline struct flow *flow_of(const struct mr_sched *s, int class, uint32_t tenant)
{
    return &s->flows[(size_t)class * (size_t)s->config.max_tenants + flow_tenant(s, tenant)];
}
static inline struct flow *job_flow(const struct mr_sched *s, const struct job *job) { return flow_of(s, job->class, job->in.tenant); }
/* Whose output lengths a job's are like: its tenant's, not those of an earlier one of the same index. */
static inline uint32_t job_history(const struct mr_sched *s, const struct job *job)
{
    return job->in.tenant + s->lives[job->in.tenant] * (uint32_t)s->config.max_tenants;
}
static inline bool job_before(const struct job *a, const struct job *b)
{
    return a->in.arrival_ns != b->in.arrival_ns ? a->in.arrival_ns < b->in.arrival_ns : a->order < b->order;
}
static inline struct tenure job_tenure(const struct mr_sched *s, const struct job *job)
{
    return (struct tenure){.flow = (int32_t)(job_flow(s, job) - s->flows), .shared = job->shared, .before = job->computed - job->output,
                           .predicted = job->predicted, .resumed = job->output - job->since_resume, .preemptions = job->preemptions};
}
static inline int32_t job_left(const struct job *job) { return job->known - job->computed; }
/* Time between two tokens of a class: its SLO, realtime's by its pace; 0: no promise. */
static inline int64_t class_tpot_ns(const struct mr_sched *s, int class)
{
    int64_t tpot = class <= MR_TIER_STANDARD ? s->config.tier[class].tpot_ns : 0;
    return class == MR_TIER_REALTIME && !MUTANT(MUTANT_PACE_IGNORED) ? tpot / 1000 * s->config.pace_permille : tpot;
}
static inline bool job_decodes(const struct job *job) { return job->place >= 0; }
static inline int32_t job_take(const struct mr_sched *s, const struct job *job)
{
    return job_decodes(job) ? s->classes[job->class].decode_take[job->place] : job->take;
}
static inline bool job_in_flight(const struct mr_sched *s, const struct job *job)
{
    return s->planned && job->state == JOB_RESIDENT && job_take(s, job) > 0;
}
/* Prompt tokens that are still to be charged, counted as uncached. */
static inline int32_t job_prompt(const struct job *job) { return job->in.known_tokens; }

/* jobs.c: slots, ids, lists; the one place where a job changes state. */
bool jobs_open(struct mr_sched *s);
void jobs_close(struct mr_sched *s);
int32_t jobs_find(const struct mr_sched *s, uint64_t id);
int32_t jobs_add(struct mr_sched *s, const struct mr_sched_job *in); /* -1: full; waiting after it */
void jobs_forget(struct mr_sched *s, int32_t j);                     /* whatever its state */
void jobs_admit(struct mr_sched *s, int32_t j);                      /* waiting -> resident; blocks must be there */
void jobs_preempt(struct mr_sched *s, int32_t j);                    /* resident -> waiting, at the head of its flow */
void jobs_reclass(struct mr_sched *s, int32_t j, int class);
void jobs_progress(struct mr_sched *s, int32_t j);                   /* resident: prefill or decode list, after a commit */
void jobs_predict(struct mr_sched *s, int32_t j);                    /* its length foreseen anew */
void jobs_untake(struct mr_sched *s, struct job *job);                /* its part of the step is done */
void jobs_due_remove(struct mr_sched *s, int32_t j);
bool jobs_grow(struct mr_sched *s, int32_t j, int32_t tokens);       /* blocks for so many tokens; false: not enough */
void jobs_check(const struct mr_sched *s);

/* fair.c */
void fair_backlog(struct mr_sched *s, int class, uint32_t tenant);   /* re-reads whether the flow waits and may run */
void fair_weight(struct mr_sched *s, int class, uint32_t tenant, int32_t weight); /* a new contract */
void fair_limits(struct mr_sched *s, uint32_t tenant);                /* after its contract's state changed: all its classes */
void fair_pending(struct mr_sched *s, struct job *job, int64_t pending); /* sets the job's share of admitted service */
void fair_charge(struct mr_sched *s, struct job *job, int64_t service);
void fair_external(struct mr_sched *s, int class, uint32_t tenant, int64_t total);
bool fair_over_cap(const struct mr_sched *s, int class, uint32_t tenant, int32_t more_blocks);
int32_t fair_pick(struct mr_sched *s, int class);                    /* job to admit next; -1 and class->stop otherwise */
void fair_admitted(struct mr_sched *s, int32_t j);                    /* before the job leaves the queue */
int64_t fair_least(const struct mr_sched *s, int class);              /* least counter of its waiting flows; NEVER: none */
void fair_virtual_time(struct mr_sched *s, int class);                /* follows the least of all workers */
int32_t fair_scavenger(const struct mr_sched *s);                     /* job of a tenant over its rate that may run behind all; -1 */
bool fair_in_window(const struct mr_sched *s, int class, uint32_t tenant);
void fair_inserted(struct mr_sched *s, int32_t j);                   /* the cached best of its flow, kept */
void fair_check(const struct mr_sched *s);

/* budget.c */
void budget_set(struct mr_sched *s);

/* feasibility.c */
void feasibility_relegate(struct mr_sched *s);
int64_t feasibility_due(const struct mr_sched *s, const struct job *job);

/* admission.c */
bool admission_try(struct mr_sched *s, int32_t j);                   /* false: class->stop says why */
void admission_count(struct mr_sched *s, struct job *job);            /* a resident: its place among the remainders, read anew */
void admission_forget(struct mr_sched *s, struct job *job);           /* leaves them */
void admission_yielded(struct mr_sched *s, const struct job *job);    /* a resident that is about to lose its blocks */
void admission_computed(struct mr_sched *s, int32_t tokens);          /* by a step, for anybody */
int32_t admission_predict(const struct mr_sched *s, const struct job *job);
void match_refresh(const struct mr_sched *s, struct job *job);
void match_forget(struct job *job);                                  /* the next refresh looks anew */

/* preemption.c */
struct need {
    int class;                 /* of who needs */
    int32_t blocks;            /* lacking */
    bool slot;
    int32_t self;              /* the resident that needs the block; -1: an admission */
    bool cap;                  /* reclaim from flows of the same class that hold more than their cap */
};
bool preemption_make_room(struct mr_sched *s, const struct need *need); /* all or nothing */
void preemption_give_up(struct mr_sched *s, int32_t j);              /* the needing one itself */

/* plan.c */
void step_take(struct mr_sched *s, struct job *job, int32_t n);      /* 0: nothing after all */

#endif
