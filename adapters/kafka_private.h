/* What the kafka*.c family shares: one open port. All of it belongs to the log thread, but for kafka_topics, which locks. */
#ifndef MR_ADAPTERS_KAFKA_PRIVATE_H
#define MR_ADAPTERS_KAFKA_PRIVATE_H

#include "adapters/kafka.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>

enum { KAFKA_TOPIC_BYTES = 250 }; /* a name and its NUL */

/* One partition that is read, by the group or by following. */
struct kafka_slot {
    char topic[KAFKA_TOPIC_BYTES];
    int32_t partition;
    int64_t next;          /* offset that the caller has next; -1: wherever the log starts; followed: MR_LOG_FROM_END */
    int64_t hole;          /* group: the offset that came in place of `next` before it was read again; -1: none */
    uint64_t assignment;   /* group: which assignment this is; never repeats in a port */
    bool paused;           /* group: by the caller */
    int64_t end;           /* followed: the log's end as the first fetch since `follow` saw it; -1: not yet */
    bool caught_up;        /* followed: CAUGHT_UP has been told */
    rd_kafka_topic_t *handle; /* followed */
};

/* Sorted by topic, then partition. */
struct kafka_slots {
    struct kafka_slot *items;
    size_t n, capacity;
};

/* An event of our own making, waiting to be told. */
struct kafka_pending {
    struct kafka_pending *next;
    struct mr_log_event event; /* topic and text point into this struct's allocation */
    char topic[KAFKA_TOPIC_BYTES];
    char text[];
};

/* How many partitions each topic has, read again now and then by a thread of its own. */
struct kafka_topics {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool running, stop, wanted; /* wanted: a name was missing */
    rd_kafka_t *handle;         /* outlives the thread */
    struct kafka_topic_count {
        char name[KAFKA_TOPIC_BYTES];
        int32_t partitions;
    } *items;                   /* [n], sorted by name */
    size_t n;
};

/* A part that librdkafka gave up for good, to be made anew. */
struct kafka_repair {
    bool wanted;
    int64_t at_ns;      /* not before */
    int64_t backoff_ns; /* what the next failure waits; 0: the least */
};

struct kafka {
    enum mr_log_role role;
    const struct mr_kafka_options *options; /* while opening only */
    struct mr_wake *wake;
    int io_fd;                      /* librdkafka's queues signal it */
    bool dev_broker;
    struct kafka_topics topics;

    rd_kafka_conf_t *producer_conf; /* kept for REOPEN_PRODUCER */
    rd_kafka_t *producer;
    rd_kafka_queue_t *reports;      /* the producer's delivery reports and errors */
    rd_kafka_event_t *report;       /* the one being told, message by message */

    struct kafka_transaction *transaction; /* NULL: outcomes and positions go alone */

    rd_kafka_conf_t *group_conf;    /* NULL for a client */
    rd_kafka_topic_partition_list_t *group_topics;
    rd_kafka_t *group;              /* NULL for a client, and while it waits for its repair */
    bool group_closing;
    rd_kafka_message_t *group_held; /* polled in the call that told of a rebalance: it comes after that */
    struct kafka_repair group_repair;
    rd_kafka_queue_t *group_queue, *answers;
    struct kafka_slots inputs;
    uint64_t assignments;
    int32_t commits;                /* under way */
    int64_t unassign_ns;            /* when a revoked assignment is given back; 0: none pending */

    rd_kafka_conf_t *follow_conf;
    rd_kafka_t *follower;           /* NULL while it waits for its repair */
    rd_kafka_queue_t *follow_queue;
    struct kafka_repair follow_repair;
    struct kafka_slots followed;
    bool turn;                      /* whose record is asked for first, so that neither starves */

    struct kafka_pending *pending, **pending_tail, *told;
    rd_kafka_message_t *message;    /* whose views the caller holds */
    struct mr_header headers[MR_HEADERS_MAX];
    char topic[KAFKA_TOPIC_BYTES];  /* of the event that was told last */
};

/* kafka_conf.c */
enum kafka_client { KAFKA_PRODUCER, KAFKA_GROUP, KAFKA_FOLLOWER };
/* A new configuration with every promise's options and the caller's extra ones; NULL: err says what is wrong. */
rd_kafka_conf_t *kafka_conf_new(const struct mr_kafka_options *options, enum kafka_client client, bool dev_broker, struct mr_err *err);

/* kafka_topics.c */
/* With err the handle must tell its errors as events (RD_KAFKA_EVENT_ERROR): they say why no broker answered. */
enum mr_status kafka_topics_read(struct kafka_topics *topics, rd_kafka_t *handle, int timeout_ms, struct mr_err *err);
bool kafka_topics_start(struct kafka_topics *topics, rd_kafka_t *handle); /* false: no thread left */
void kafka_topics_stop(struct kafka_topics *topics); /* what was read stays */
void kafka_topics_free(struct kafka_topics *topics);
int32_t kafka_topics_partitions(struct kafka_topics *topics, struct mr_str name); /* -1: not known */

/* kafka.c */
int64_t kafka_now_ns(void);
/* Queues event, with copies of topic and text. */
void kafka_tell(struct kafka *k, const struct mr_log_event *event, const char *topic, int32_t partition, struct mr_str text);
void kafka_tell_trouble(struct kafka *k, enum mr_status status, bool fatal, const char *topic, int32_t partition, const char *text);
/* The error callback of both readers; opaque: struct kafka. */
void kafka_trouble(rd_kafka_t *handle, int err, const char *reason, void *opaque);
/* Fills event from a record that was read; the message is kept until the next poll. */
void kafka_tell_record(struct kafka *k, enum mr_log_event_kind kind, rd_kafka_message_t *message, struct mr_log_event *event);
struct kafka_slot *kafka_slot_find(struct kafka_slots *slots, const char *topic, int32_t partition);
struct kafka_slot *kafka_slot_add(struct kafka_slots *slots, const char *topic, int32_t partition); /* no such slot yet; aborts without memory */
void kafka_slot_remove(struct kafka_slots *slots, struct kafka_slot *slot);
/* A terminated copy of a topic's name; false: longer than a name can be. */
bool kafka_topic_copy(char out[KAFKA_TOPIC_BYTES], struct mr_str topic);
/* Where a partition's log starts, asked of the broker (at most 5 s); -1: no answer. */
int64_t kafka_log_start(rd_kafka_t *handle, const char *topic, int32_t partition);

/* kafka_producer.c */
enum mr_status kafka_producer_open(struct kafka *k, struct mr_err *err);
void kafka_producer_close(struct kafka *k, int64_t flush_ms);
enum mr_status kafka_producer_send(struct kafka *k, const struct mr_log_action *action);
bool kafka_producer_next(struct kafka *k, struct mr_log_event *event);

rd_kafka_headers_t *kafka_headers_of(const struct mr_record *record);

/* kafka_transaction.c */
enum mr_status kafka_transaction_open(struct kafka *k, const char *group, struct mr_err *err);
void kafka_transaction_close(struct kafka *k);
enum mr_status kafka_transaction_hold(struct kafka *k, const struct mr_log_action *action); /* until the next commit */
void kafka_transaction_commit(struct kafka *k, const struct mr_log_action *action, uint64_t assignment, int32_t generation);
void kafka_transaction_forget(struct kafka *k); /* what is held and has no commit yet */
void kafka_transaction_answers(struct kafka *k);

/* kafka_group.c */
enum mr_status kafka_group_prepare(struct kafka *k, struct mr_err *err); /* while opening: configuration and topics */
enum mr_status kafka_group_open(struct kafka *k, struct mr_err *err);
void kafka_group_close(struct kafka *k);
bool kafka_group_next(struct kafka *k, struct mr_log_event *event);   /* a record; other things become pending events */
void kafka_group_answers(struct kafka *k);                            /* commits' answers become pending events */
void kafka_group_give_back(struct kafka *k);                          /* unassigns what was revoked, once its grace is over */
enum mr_status kafka_group_commit(struct kafka *k, const struct mr_log_action *action);
enum mr_status kafka_group_pause(struct kafka *k, const struct mr_log_action *action, bool pause);
void kafka_group_leave(struct kafka *k);
void kafka_group_forget(struct kafka *k, bool lost);                  /* tells every partition REVOKED */

/* kafka_follow.c */
enum mr_status kafka_follow_open(struct kafka *k, struct mr_err *err);
void kafka_follow_close(struct kafka *k);
bool kafka_follow_next(struct kafka *k, struct mr_log_event *event);
void kafka_follow_resume(struct kafka *k);                            /* on a new handle: every partition where it was */
enum mr_status kafka_follow_start(struct kafka *k, const struct mr_log_action *action);
enum mr_status kafka_follow_stop(struct kafka *k, const struct mr_log_action *action);

/* kafka_repair.c */
/* repair: &k->group_repair or &k->follow_repair. Also from callbacks: the work is done by kafka_repair_step. */
void kafka_repair_ask(struct kafka *k, struct kafka_repair *repair, const char *text);
void kafka_repair_step(struct kafka *k);
int64_t kafka_repair_due_ns(const struct kafka *k);                   /* INT64_MAX: nothing to repair */

#endif
