/* The constructors of everything outside, as main.c hands them to the verbs: so that no verb knows an adapter, and a build
 * without adapters (all NULL) says so instead of failing to link. A verb that finds its entry NULL ends with a sentence. */
#ifndef MR_WORKER_OUTSIDE_H
#define MR_WORKER_OUTSIDE_H

#include "base/arena.h"
#include "base/buf.h"
#include "worker/port.h"

struct mr_options; /* options.h */

enum mr_log_role {
    MR_LOG_WORKER, /* member of kafka.group, reads the routes' inputs, follows, produces */
    MR_LOG_CLIENT, /* no group: follows and produces (submit, tail, collect, check, cancel, dead) */
};

/* A topic as it should be, or as it is. */
struct mr_topic {
    char name[250];
    int32_t partitions, replication;  /* -1: unknown, or the broker's default */
    int32_t n_settings;
    struct {
        char key[64], value[64];
    } setting[12];
};

/* Answers one HTTP GET: fills body, returns the HTTP status; *type is a content type. Runs on the HTTP thread. */
typedef int (*mr_http_handler)(void *self, const char *path, struct mr_buf *body, const char **type);

struct mr_outside {
    /* wake: owned by the caller, outlives the port. */
    enum mr_status (*log_open)(const struct mr_options *options, enum mr_log_role role, struct mr_wake *wake, struct mr_log_port *out,
                               struct mr_err *err);
    void (*log_close)(struct mr_log_port *port); /* flushes what was produced, at most 10 s */
    enum mr_status (*state_open)(const struct mr_options *options, struct mr_state_port *out, struct mr_err *err);
    void (*state_close)(struct mr_state_port *port);
    /* Reads one hash (`mr:` is prefixed); fields as alternating name, value views in arena. For `status`, `top`. */
    enum mr_status (*state_read)(const struct mr_options *options, struct mr_str key, struct mr_arena *arena, struct mr_str **fields,
                                 size_t *n_fields, struct mr_err *err);
    /* Keys that start with prefix (`mr:` is prefixed and cut off again), at most 10,000, for `top`. */
    enum mr_status (*state_keys)(const struct mr_options *options, struct mr_str prefix, struct mr_arena *arena, struct mr_str **keys,
                                 size_t *n_keys, struct mr_err *err);
    enum mr_status (*topic_create)(const struct mr_options *options, const struct mr_topic *topic, struct mr_err *err);
    /* topic->name given; the rest is filled. MR_ERR_NOT_FOUND: no such topic. */
    enum mr_status (*topic_describe)(const struct mr_options *options, struct mr_topic *topic, struct mr_err *err);
    enum mr_status (*http_open)(const char *listen, mr_http_handler handler, void *self, void **out, struct mr_err *err);
    void (*http_close)(void *http);
    /* Runs until SIGINT or SIGTERM; returns the exit code. topics: what to make. */
    int (*dev_broker)(const struct mr_options *options, const char *listen, const struct mr_topic *topics, size_t n_topics);
    /* A full-screen view: draw fills lines of text every interval until the user quits ('q') or draw returns false. */
    int (*screen)(bool (*draw)(void *self, struct mr_buf *text), void *self, int interval_ms);
};

#endif
