/* Every option of the program, as one struct. option_table.c describes each field once (name, type, default, range, text);
 * the config parser, --set, --print-config, validation and the manual page follow from that table.
 * Read-only after open; any thread. Strings are never NULL: "" is "not given". */
#ifndef MR_WORKER_OPTIONS_H
#define MR_WORKER_OPTIONS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/ops.h"
#include "worker/route.h"

#include <stdbool.h>
#include <stdint.h>

enum { MR_OPTION_LIST_MAX = 256 };

struct mr_option_list {
    const char *const *items; /* [n] */
    int32_t n;
};

/* Per tier: how often tokens leave, and what latency is aimed at. */
struct mr_tier_options {
    int64_t batch_tokens, batch_ms; /* a token record leaves at the first of the two; 1 and 0: every step */
    int64_t ttft_ms, tpot_ms;       /* service levels; 0: what the device's profile gives */
    int64_t floor_permille;         /* share of service that a backlogged tier is owed */
};

struct mr_options {
    struct mr_arena arena;
    const char *model;      /* path or synthetic:SHAPE */
    const char *model_name; /* what jobs call it; "": the file's name without folder and suffix */
    struct {
        const char *brokers, *prefix, *group;
        struct mr_option_list options; /* "key=value" for librdkafka */
        bool allow_plaintext;          /* a broker off loopback without TLS is refused unless this is true */
        int64_t partitions, replication; /* for `topics create`, dev-broker */
        int64_t prefetch_jobs;         /* records a partition that wait unadmitted before it is paused */
        const char *audit;             /* topic of audit records, behind prefix; "": none */
    } kafka;
    const struct mr_route *routes; /* [n_routes]; three by default */
    int32_t n_routes;
    struct {
        const char *address; /* host:port or a socket's path; "": none */
        const char *user, *password_file;
        int64_t database;
        bool tls;
        const char *ca_file;
        int64_t timeout_ms, expire_ms; /* of one command; of a job's state */
    } redis;
    struct {
        bool transactions, journal, first;
        bool bare; /* breaks the promise */
    } delivery;
    struct {
        const char *listen; /* host:port; "": none */
    } http;
    struct {
        const char *id;                     /* "": host name and process id */
        int64_t grace_ms, heartbeat_ms, hung_ms;
        bool lenient;                       /* unknown fields of a job are ignored instead of refused */
    } worker;
    struct {
        const char *device;  /* "cpu", "cuda", "auto" */
        const char *weights; /* "file", "fp8" */
        int64_t threads; /* 0: one a core */
        bool pin;
        int64_t precision; /* enum mr_precision */
        int64_t max_seqs, max_step_tokens, max_logits; /* sequences, tokens, rows of logits of one step */
        int64_t chunk_tokens;                          /* prefill chunks are multiples of it; 0: what the device's profile gives */
        int64_t max_context;                           /* 0: the model's own */
        int64_t seed;                                  /* of synthetic models */
    } engine;
    struct {
        int64_t block_tokens, memory_bytes;
        int64_t type; /* 0: auto, 1: fp8 */
        bool prefix_cache;
    } kv;
    struct {
        int64_t record_bytes;                          /* an input record's value */
        int64_t prompt_tokens, output_tokens;          /* of one job; 0: what the context allows */
        int64_t jobs, jobs_per_partition, jobs_per_tenant; /* admitted and unfinished; past it partitions pause */
        int64_t deadline_ms;                           /* the longest that a job may ask for */
        int64_t tenants;
    } limits;
    struct mr_tier_options tier[MR_TIER_COUNT];
    struct {
        int64_t policy;                                /* an index of mr_policy_names */
        const char *cost;                              /* step_cost.h; "": measured at start */
        int64_t calibrate_ms;                          /* 0: nothing is measured */
        const char *calibration;                       /* folder of calibration_cache.h; "": none */
        bool track;
        int64_t window_tokens, floor_tokens, forced_chunk; /* the last two: 0 follows from the device */
        int64_t pace_permille, backfill_keep_permille;
        int64_t input_permille, cached_permille, output_permille;
        int64_t sync_ms;                               /* counters shared with other workers; 0: not shared */
    } scheduler;
    struct mr_option_list tenants;                     /* contract.h */
    struct {
        int64_t level;  /* enum mr_log_level */
        int64_t format; /* 0: logfmt, 1: JSON */
    } log;
    struct {
        int64_t max_bytes;
    } result;
    struct {
        const char *listen;
    } dev_broker;
};

/* Defaults, then the file (NULL: none), then assignments "a.b=c" [n_sets], then validation. An assignment to a list appends.
 * MR_ERR_INVALID: err says file:line or the assignment, the option, what is wrong with it, and for an unknown name the nearest
 * known one. On failure *out is empty; else the caller frees it with fini. */
enum mr_status mr_options_open(struct mr_options *out, const char *file, const char *const *sets, int n_sets, struct mr_err *err);
void mr_options_fini(struct mr_options *options);

/* --print-config (option_print.c): a config file that gives the same options; secrets are written as "***". */
void mr_options_print(const struct mr_options *options, struct mr_buf *out);
/* --print-config --json. */
void mr_options_print_json(const struct mr_options *options, struct mr_buf *out);

#endif
