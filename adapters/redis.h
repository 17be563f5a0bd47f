/* The state mirror on Redis: a thread of its own takes updates from a bounded queue and writes them in batches; nobody ever
 * waits for it. Redis may be slow, empty, wrong or gone: updates are then dropped and counted, and writing heals by itself.
 *
 * An update is one script (EVALSHA; loaded at every connection and again after NOSCRIPT): it leaves a hash alone that holds a
 * higher epoch, replaces what is no hash, and sets the expiry. Keys and values are sent by length: no user text is ever parsed.
 * The rights that an ACL user needs stand in deploy/redis/millrace.acl. */
#ifndef MR_ADAPTERS_REDIS_H
#define MR_ADAPTERS_REDIS_H

#include "worker/outside.h"

enum {
    MR_REDIS_QUEUE_MAX = 4096,        /* updates, questions, answers that wait; one more is dropped */
    MR_REDIS_UPDATE_BYTES_MAX = 65536, /* of one update's key, fields and values; one byte more is dropped */
    MR_REDIS_BATCH_MAX = 64,          /* updates sent before their answers are read */
    MR_REDIS_KEYS_MAX = 10000,
    MR_REDIS_BACKOFF_MIN_MS = 100,    /* between attempts to connect, doubled up to the maximum */
    MR_REDIS_BACKOFF_MAX_MS = 5000,
};

struct mr_redis_options {
    const char *address;       /* host:port, or the path of a unix socket */
    const char *user;          /* ACL user; "": none */
    const char *password_file; /* its first line is the password; "": none */
    int32_t database;
    bool tls;                  /* refused with a sentence where hiredis has no TLS (Debian 12) */
    const char *ca_file;       /* tls: whose certificates are believed. Needed: hiredis does not look at the host's name in them */
    int64_t timeout_ms;        /* of one command */
};

struct mr_redis_counts {
    uint64_t written, stale, dropped, failed; /* stale: a higher epoch was there; dropped: queue full or away; failed: refused by Redis */
};

/* Succeeds also when Redis does not answer now; fails on options that can never work. */
enum mr_status mr_redis_open(const struct mr_redis_options *options, struct mr_state_port *out, struct mr_err *err);
void mr_redis_close(struct mr_state_port *port); /* writes what waits, for at most timeout_ms */
struct mr_redis_counts mr_redis_counts(const struct mr_state_port *port);

enum mr_status mr_redis_read(const struct mr_redis_options *options, struct mr_str key, struct mr_arena *arena, struct mr_str **fields,
                             size_t *n_fields, struct mr_err *err);
enum mr_status mr_redis_keys(const struct mr_redis_options *options, struct mr_str prefix, struct mr_arena *arena, struct mr_str **keys,
                             size_t *n_keys, struct mr_err *err);

#endif
