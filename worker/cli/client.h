/* The log from outside, for the verbs: opened by the options, follows whole topics, produces. It joins no group, and what it
 * does is never part of a promise: a lost client loses nothing. One thread. */
#ifndef MR_WORKER_CLI_CLIENT_H
#define MR_WORKER_CLI_CLIENT_H

#include "base/clock.h"
#include "worker/cli/cli.h"
#include "worker/job.h"
#include "worker/options.h"

struct mr_client {
    const struct mr_outside *outside;
    const struct mr_options *options;
    struct mr_wake wake;
    struct mr_log_port log;
    bool opened, broken; /* broken: the log reported something that it does not recover from; it was explained */
};

/* MR_EXIT_DONE, or the code to leave with, explained. */
int mr_client_open(struct mr_client *client, struct mr_cli *cli);
void mr_client_close(struct mr_client *client); /* flushes what was produced */

/* Follows a partition, or all (-1), from offset (-1: the start, MR_LOG_FROM_END). Returns the partitions now followed; 0: there
 * is no such topic (not explained). */
int32_t mr_client_follow(struct mr_client *client, const char *topic, int32_t partition, int64_t offset);
/* The next event that is not trouble; trouble is told on stderr. false after timeout_ns, or when the client is broken. */
bool mr_client_next(struct mr_client *client, int64_t timeout_ns, struct mr_log_event *event);
/* Appends record; the report comes as an event with tag (from 1 on). MR_ERR_BUSY: take events first. */
enum mr_status mr_client_produce(struct mr_client *client, const struct mr_record *record, uint64_t tag);
/* Waits for the report of tag, dropping other events; *event holds it (views until the next poll). false: none within 30 s. */
bool mr_client_delivered(struct mr_client *client, uint64_t tag, struct mr_log_event *event);

struct mr_client_topics {
    const char *const *names; /* [n]; each is read once; an empty name is none */
    size_t n;
    const char *what;         /* how they are called when none of them exists */
};
/* Gives every record of the topics, from their start to their present end, in each partition's order. take false: no memory. Returns an
 * exit code, explained. */
int mr_client_read(struct mr_client *client, const struct mr_client_topics *topics, bool (*take)(void *self, const struct mr_record *record),
                   void *self);

/* The record at that place, copied into arena. MR_ERR_NOT_FOUND: retention took it, or it never was; MR_ERR_IO: no answer within 30 s. */
enum mr_status mr_client_record(struct mr_client *client, const char *topic, int32_t partition, int64_t offset, struct mr_arena *arena,
                                struct mr_record *out);

/* The route of that name, or of that tier, or (NULL) the one of the standard tier, else the first; NULL: explained. */
const struct mr_route *mr_client_route(const struct mr_options *options, const char *name);
/* "tenant/id" as it is, or an id of the tenant; in arena; n 0: no name (explained). */
struct mr_str mr_client_job_name(struct mr_arena *arena, const char *job, const char *tenant);

#endif
