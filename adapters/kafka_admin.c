/* Making and describing topics, for `millrace topics`.
 *
 * Owns one short-lived handle a call; on the caller's thread, which waits for every answer (at most 2 * ADMIN_MS) and until a new topic is
 * listed (as long again).
 * 1. The list of topics is read whole before anything is asked by name: some brokers make what they are asked about.
 * 2. The embedded broker answers no admin request at all, so it is known by its marker topic and asked nothing.
 * Rejected: one handle kept for all calls (a verb makes a dozen calls and ends). */
#include "adapters/kafka_private.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

enum { ADMIN_MS = 15000, LISTED_MS = 50 };

struct admin {
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    struct kafka_topics topics;
};

static void admin_close(struct admin *admin)
{
    kafka_topics_free(&admin->topics);
    pthread_mutex_destroy(&admin->topics.lock);
    pthread_cond_destroy(&admin->topics.changed);
    if (admin->queue)
        rd_kafka_queue_destroy(admin->queue);
    if (admin->handle)
        rd_kafka_destroy(admin->handle);
}

static enum mr_status admin_open(struct admin *admin, const struct mr_kafka_options *options, struct mr_err *err)
{
    char text[256];
    *admin = (struct admin){0};
    pthread_mutex_init(&admin->topics.lock, NULL);
    pthread_cond_init(&admin->topics.changed, NULL);
    rd_kafka_conf_t *conf = kafka_conf_new(options, KAFKA_PRODUCER, false, err);
    if (!conf)
        return err->code;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR);
    rd_kafka_conf_set(conf, "enable.idempotence", "false", NULL, 0); /* sends nothing, and need not be allowed to */
    admin->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!admin->handle) {
        rd_kafka_conf_destroy(conf);
        return mr_err_set(err, MR_ERR_INVALID, "Kafka: %s", text);
    }
    admin->queue = rd_kafka_queue_new(admin->handle);
    return kafka_topics_read(&admin->topics, admin->handle, MR_KAFKA_OPEN_MS, err);
}

static bool is_dev_broker(struct admin *admin)
{
    return kafka_topics_partitions(&admin->topics, MR_STR(MR_KAFKA_DEV_BROKER_TOPIC)) >= 0;
}

static rd_kafka_AdminOptions_t *admin_options(struct admin *admin, rd_kafka_admin_op_t operation)
{
    char text[256];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(admin->handle, operation);
    rd_kafka_AdminOptions_set_request_timeout(options, ADMIN_MS, text, sizeof text);
    return options;
}

/* The answer about one topic; NULL: none, or an error (err says which). */
static rd_kafka_event_t *answer_about(struct admin *admin, const struct mr_topic *topic, struct mr_err *err)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(admin->queue, 2 * ADMIN_MS);
    if (event && !rd_kafka_event_error(event))
        return event;
    mr_err_set(err, MR_ERR_IO, "topic %s: %s", topic->name, event ? rd_kafka_event_error_string(event) : "no answer");
    rd_kafka_event_destroy(event);
    return NULL;
}

static enum mr_status create(struct admin *admin, const struct mr_topic *topic, struct mr_err *err)
{
    char text[256];
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic->name, topic->partitions, topic->replication, text, sizeof text);
    if (!wanted)
        return mr_err_set(err, MR_ERR_INVALID, "topic %s: %s", topic->name, text);
    for (int32_t i = 0; i < topic->n_settings; i++)
        rd_kafka_NewTopic_set_config(wanted, topic->setting[i].key, topic->setting[i].value);
    rd_kafka_AdminOptions_t *options = admin_options(admin, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_CreateTopics(admin->handle, &wanted, 1, options, admin->queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(wanted);
    rd_kafka_event_t *event = answer_about(admin, topic, err);
    if (!event)
        return err->code;
    enum mr_status status = MR_OK;
    size_t n = 0;
    const rd_kafka_topic_result_t **made = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
    if (n != 1)
        status = mr_err_set(err, MR_ERR_IO, "topic %s: not told", topic->name);
    else if (rd_kafka_topic_result_error(made[0]))
        status = mr_err_set(err, MR_ERR_INVALID, "topic %s: %s", topic->name, rd_kafka_topic_result_error_string(made[0])
                            ? rd_kafka_topic_result_error_string(made[0]) : rd_kafka_err2str(rd_kafka_topic_result_error(made[0])));
    rd_kafka_event_destroy(event);
    return status;
}

/* A broker answers before it tells others of the topic: whoever opens it next must find it. */
static enum mr_status wait_until_listed(struct admin *admin, const struct mr_topic *topic, struct mr_err *err)
{
    for (int waited = 0; waited < ADMIN_MS; waited += LISTED_MS) {
        if (kafka_topics_partitions(&admin->topics, mr_str_from(topic->name)) >= (topic->partitions < 1 ? 1 : topic->partitions))
            return MR_OK;
        nanosleep(&(struct timespec){.tv_nsec = LISTED_MS * MR_NS_PER_MS}, NULL);
        if (kafka_topics_read(&admin->topics, admin->handle, ADMIN_MS, err))
            return err->code;
    }
    return mr_err_set(err, MR_ERR_IO, "topic %s: made, and not listed after %d s", topic->name, ADMIN_MS / 1000);
}

enum mr_status mr_kafka_topic_create(const struct mr_kafka_options *options, const struct mr_topic *topic, struct mr_err *err)
{
    struct admin admin;
    struct mr_err own;
    if (!err)
        err = &own;
    enum mr_status status = admin_open(&admin, options, err);
    if (!status && is_dev_broker(&admin))
        status = mr_err_set(err, MR_ERR_UNSUPPORTED, "the embedded broker makes its topics itself, when it starts");
    if (!status)
        status = create(&admin, topic, err);
    if (!status)
        status = wait_until_listed(&admin, topic, err);
    admin_close(&admin);
    return status;
}

/* The settings that decide what a topic keeps and takes. */
static bool decides(const char *key)
{
    static const char *const keys[] = {
        "cleanup.policy", "retention.ms", "retention.bytes", "segment.ms", "max.message.bytes", "min.insync.replicas",
        "message.timestamp.type", "unclean.leader.election.enable",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static void take_settings(const rd_kafka_ConfigResource_t *resource, struct mr_topic *topic)
{
    size_t n = 0;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &n);
    for (size_t i = 0; i < n && topic->n_settings < (int32_t)(sizeof topic->setting / sizeof *topic->setting); i++) {
        const char *key = rd_kafka_ConfigEntry_name(entries[i]), *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (!value || !decides(key))
            continue;
        snprintf(topic->setting[topic->n_settings].key, sizeof topic->setting->key, "%s", key);
        snprintf(topic->setting[topic->n_settings].value, sizeof topic->setting->value, "%s", value);
        topic->n_settings++;
    }
}

static enum mr_status describe_settings(struct admin *admin, struct mr_topic *topic, struct mr_err *err)
{
    rd_kafka_ConfigResource_t *wanted = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic->name);
    rd_kafka_AdminOptions_t *options = admin_options(admin, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(admin->handle, &wanted, 1, options, admin->queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(wanted);
    rd_kafka_event_t *event = answer_about(admin, topic, err);
    if (!event)
        return err->code;
    enum mr_status status = MR_OK;
    size_t n = 0;
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &n);
    if (n == 1 && rd_kafka_ConfigResource_error(resources[0]) == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        status = mr_err_set(err, MR_ERR_NOT_FOUND, "topic %s does not exist", topic->name);
    else if (n != 1 || rd_kafka_ConfigResource_error(resources[0]))
        status = mr_err_set(err, MR_ERR_IO, "topic %s: %s", topic->name, n == 1 ? rd_kafka_ConfigResource_error_string(resources[0]) : "not told");
    else
        take_settings(resources[0], topic);
    rd_kafka_event_destroy(event);
    return status;
}

/* Replicas of its first partition. The topic is known to be there, so asking by name makes nothing. */
static int32_t replication_of(rd_kafka_t *handle, const char *name)
{
    const struct rd_kafka_metadata *metadata;
    int32_t replicas = -1;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, name, NULL);
    if (topic && !rd_kafka_metadata(handle, 0, topic, &metadata, ADMIN_MS)) {
        if (metadata->topic_cnt == 1 && metadata->topics[0].partition_cnt > 0)
            replicas = metadata->topics[0].partitions[0].replica_cnt;
        rd_kafka_metadata_destroy(metadata);
    }
    if (topic)
        rd_kafka_topic_destroy(topic);
    return replicas;
}

enum mr_status mr_kafka_topic_describe(const struct mr_kafka_options *options, struct mr_topic *topic, struct mr_err *err)
{
    struct admin admin;
    struct mr_err own;
    if (!err)
        err = &own;
    enum mr_status status = admin_open(&admin, options, err);
    topic->n_settings = 0;
    if (!status) {
        topic->partitions = kafka_topics_partitions(&admin.topics, mr_str_from(topic->name));
        if (!is_dev_broker(&admin)) /* of one that is not listed too: it tells whether it is not there or may not be seen */
            status = describe_settings(&admin, topic, err);
        if (!status && topic->partitions < 0)
            status = mr_err_set(err, MR_ERR_NOT_FOUND, "topic %s does not exist", topic->name);
    }
    if (!status)
        topic->replication = replication_of(admin.handle, topic->name);
    admin_close(&admin);
    return status;
}
