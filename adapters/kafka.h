/* The log on Apache Kafka: struct mr_log_port (worker/port.h) over librdkafka 2.0.2 or newer, for a worker and for a client,
 * and the two admin calls of `topics`. What 2.0.2 gets wrong is kept away from the caller here.
 *
 * Beyond what port.h says:
 * - REVOKED comes up to MR_KAFKA_REVOKE_GRACE_MS before the partition is really given back: a commit asked for at once still
 *   reaches the broker (its answer says NOT_OWNER all the same, because the partition is no longer ours).
 * - OUT_OF_RANGE: reading goes on at the offset that it names.
 * - A produce that fails for another reason than a full queue or an unknown topic ends as DELIVERED, failed.
 * - After REOPEN_PRODUCER no DELIVERED comes for what the old producer still held.
 * - What librdkafka gives up for good (a fatal error) is made anew here: of the group's member every partition is REVOKED, lost, and
 *   ASSIGNED again as after any rebalance; followed partitions go on where they were. TROUBLE is fatal only where a new handle
 *   could not help.
 * - Options that a promise hangs on (acks, commits, assignor, ...) are refused by name in `extra`. */
#ifndef MR_ADAPTERS_KAFKA_H
#define MR_ADAPTERS_KAFKA_H

#include "worker/outside.h"

enum {
    MR_KAFKA_REVOKE_GRACE_MS = 50,
    MR_KAFKA_COMMITS_MAX = 1024, /* commits under way; one more is MR_ERR_BUSY */
    MR_KAFKA_FLUSH_MS = 10000,   /* close waits so long for what was produced */
    MR_KAFKA_OPEN_MS = 10000,    /* open waits so long for a broker to answer */
    MR_KAFKA_REPAIR_MIN_MS = 200,  /* a handle that failed for good is made anew after so long, */
    MR_KAFKA_REPAIR_MAX_MS = 10000, /* and after twice as long each time it fails again, up to this */
    MR_KAFKA_TOPICS_MS = 30000,  /* the topic list is read again so often, and at once (at most every second) when a name is missing */
};

/* The topic that the embedded broker makes of itself: where it is seen, records are fetched by short polls. */
#define MR_KAFKA_DEV_BROKER_TOPIC "millrace.dev-broker"

struct mr_kafka_options {
    const char *brokers;      /* host:port, comma-separated */
    const char *group;        /* WORKER */
    const char *const *inputs; /* WORKER: [n_inputs] topics to take jobs from; each must exist */
    int32_t n_inputs;
    const char *const *extra; /* [n_extra] "key=value" for librdkafka */
    int32_t n_extra;
    bool transactions;        /* WORKER: records and commits that are marked so go in transactions; refused on the embedded broker */
    bool allow_plaintext;     /* a broker off loopback without TLS is refused unless this is true */
};

/* Waits until a broker has answered, at most MR_KAFKA_OPEN_MS. */
enum mr_status mr_kafka_open(const struct mr_kafka_options *options, enum mr_log_role role, struct mr_wake *wake, struct mr_log_port *out,
                             struct mr_err *err);
void mr_kafka_close(struct mr_log_port *port);

/* Returns when a broker lists the topic. */
enum mr_status mr_kafka_topic_create(const struct mr_kafka_options *options, const struct mr_topic *topic, struct mr_err *err);
/* Fills partitions, replication and the settings that decide what a topic keeps; no settings where the broker has none (the
 * embedded one). */
enum mr_status mr_kafka_topic_describe(const struct mr_kafka_options *options, struct mr_topic *topic, struct mr_err *err);

#endif
