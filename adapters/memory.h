/* A log in memory, for tests: topics with partitions, one consumer group with generations, delivery reports, followers, and
 * faults from a seed. Everything happens on a virtual clock; the same seed and calls give the same events.
 *
 * What it does on request: delays appends and reports, reorders reports of different partitions, loses a record and reports an
 * error (while later ones arrive, as librdkafka 2.0.2 can), keeps a record and reports an error all the same, does a transaction
 * and loses its answer, appends a record twice, refuses commits, kicks members that do not poll (they learn it late), forgets
 * generations and commits, cuts a log's start.
 *
 * One thread drives all clients. poll never waits. */
#ifndef MR_ADAPTERS_MEMORY_H
#define MR_ADAPTERS_MEMORY_H

#include "base/clock.h"
#include "worker/port.h"

enum { MR_MEMORY_TOPICS_MAX = 64, MR_MEMORY_CLIENTS_MAX = 64, MR_MEMORY_PARTITIONS_MAX = 64 };

struct mr_memory; /* the cluster */
struct mr_memory_client;

/* Chances in 1/1024 an event. */
struct mr_memory_faults {
    int lose;             /* a produced record is lost; an error is reported later */
    int lie;              /* it is appended, but an error is reported */
    int twice;            /* it is appended twice */
    int refuse_commit;    /* RETRY */
    int64_t delay_max_ns; /* of an append, a report, a fetch: uniform */
    int64_t error_after_ns; /* when an error is reported */
};

struct mr_memory *mr_memory_open(uint64_t seed, const struct mr_manual_clock *clock); /* NULL: no memory */
void mr_memory_close(struct mr_memory *memory);
void mr_memory_set_faults(struct mr_memory *memory, const struct mr_memory_faults *faults);
void mr_memory_topic(struct mr_memory *memory, const char *topic, int32_t partitions);

/* A client; topics [n_topics]: what it consumes as a member of the group (0: no member). Strings are borrowed. */
struct mr_memory_client *mr_memory_client_open(struct mr_memory *memory, const char *const *topics, int32_t n_topics, struct mr_log_port *port);
/* kill -9: a random part of what it had on the way still arrives. The client is gone; the group notices by its silence. */
void mr_memory_client_crash(struct mr_memory_client *client);
/* A group as if it had been deleted: generations begin again at 1; commits too are forgotten if forget is true. */
void mr_memory_group_reset(struct mr_memory *memory, bool forget);
/* Moves what is due, kicks the silent, lets rebalances happen. After the clock moved, before polls. */
void mr_memory_step(struct mr_memory *memory);
/* How long a member may be silent; 6 s at first. */
void mr_memory_set_session_ns(struct mr_memory *memory, int64_t session_ns);

/* Appends at once, as an outside producer; returns the offset. */
int64_t mr_memory_append(struct mr_memory *memory, const struct mr_record *record);
/* What lies in the log. The record is valid until close. */
int64_t mr_memory_end(const struct mr_memory *memory, const char *topic, int32_t partition);
bool mr_memory_read(const struct mr_memory *memory, const char *topic, int32_t partition, int64_t offset, struct mr_record *out);
int64_t mr_memory_committed(const struct mr_memory *memory, const char *topic, int32_t partition); /* -1: none */
/* Retention: the log now starts at offset. */
void mr_memory_cut(struct mr_memory *memory, const char *topic, int32_t partition, int64_t start);
/* Records appended so far by clients, in the whole cluster: for "crash at every append". */
int64_t mr_memory_appends(const struct mr_memory *memory);

#endif
