/* What the world's files share: sim_world.c (jobs, workers, faults), sim_store.c (the store that only suggests), sim_judge.c. */
#ifndef MR_TESTS_SIM_STATE_H
#define MR_TESTS_SIM_STATE_H

#include "tests/sim/sim_world.h"

#include "adapters/memory.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "worker/encoding.h"
#include "worker/origin.h"
#include "worker/owner.h"

#include <stdlib.h>

enum { WORKERS_MAX = 16, RUNS_MAX = 64, TIERS = 3, LENGTH_MAX = 40, STORE_MAX = 4096 };

enum fate { FATE_PLAIN, FATE_BAD, FATE_DUPLICATE, FATE_CONFLICT, FATE_CANCEL, FATE_DEADLINE, FATE_POISON, FATE_HELD, FATES };

struct sim_job {
    enum fate fate;
    char id[32];
    uint64_t body; /* what decides tokens and length */
    int tier, partition;
    int64_t offset, timestamp_ms;
};

struct engine_run {
    bool live, cancelled;
    uint64_t handle, seed;
    int64_t seq;
    int length;
    uint64_t ctx;
    bool poison, held, told_held;
};

struct admission {
    uint64_t handle;
    struct mr_job *job;
    struct mr_refusal refusal;
};

struct sim_worker {
    struct mr_owner *owner;
    struct mr_memory_client *client;
    struct mr_log_port port;
    uint64_t process, random, salt;
    int64_t stalled_until_ns, appends;
    int64_t skew_ns; /* its own monotonic clock against the world's */
    bool dying, rest;
    struct engine_run runs[RUNS_MAX * 2];
    uint64_t dropped[RUNS_MAX * 4];
    int n_dropped;
    struct admission admissions[RUNS_MAX * 2];
    int n_admissions;
    struct mr_state_answer answers[RUNS_MAX * 4];
    int n_answers;
    char name[16];
};

/* One text a key; a later key may push an earlier one out. */
struct sim_store_entry {
    char key[64];
    char *text;
    int64_t epoch;
};

struct world {
    const struct sim_plan *plan;
    struct sim_totals *totals;
    struct mr_manual_clock clock;
    struct mr_memory *memory;
    struct mr_route routes[TIERS];
    const char *inputs[2 * TIERS]; /* jobs, then parked */
    struct sim_worker workers[WORKERS_MAX];
    struct sim_store_entry *store; /* [STORE_MAX]; NULL: none */
    struct sim_job *jobs;
    uint64_t random, draws, processes;
    int produced, violations;
};

static inline uint64_t draw(struct world *w, uint64_t below)
{
    return mr_mix64(w->random + ++w->draws * UINT64_C(0x9e3779b97f4a7c15)) % below;
}

/* Tokens are a function of seed and prefix. High bits: a hash of what came before; low four bits: who made it, or a hash too. */
static inline int sim_length(const struct world *w, uint64_t seed) { return 1 + (int)(mr_mix64(seed ^ 77) % (uint64_t)w->plan->length_max); }

static inline int32_t sim_token(uint64_t seed, uint64_t ctx, uint64_t salt, bool salted)
{
    uint64_t h = mr_mix64(seed ^ mr_mix64(ctx));
    return (int32_t)((h >> 16 & 0x3ffff) << 4 | (salted ? salt & 15 : h & 15));
}

static inline struct mr_str sim_token_text(int32_t id, char text[16])
{
    int n = snprintf(text, 16, "%x ", (unsigned)id);
    return (struct mr_str){text, (size_t)n};
}

static inline int64_t sim_deadline_ms(const struct sim_job *job) { return job->fate == FATE_DEADLINE ? 200 + (int64_t)(job->body % 4000) : 0; }

/* sim_store.c */
void sim_store_put(struct world *w, const struct mr_state_update *update);
void sim_store_ask(struct world *w, struct sim_worker *worker, const struct mr_state_ask *ask);
void sim_store_flush(struct world *w);
void sim_store_close(struct world *w);

/* sim_judge.c */
void sim_judge(struct world *w);
bool sim_all_committed(const struct world *w);
void sim_wrong(struct world *w, const struct sim_job *job, const char *what, long long a, long long b);

#endif
