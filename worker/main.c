/* The program: the one place that knows both the worker and the adapters. Each function hands an adapter its share of the
 * options; a build without adapters leaves the table empty, and the verbs say so. */
#include "worker/cli/cli.h"
#include "worker/options.h"

#ifdef MILLRACE_ADAPTERS
#include "adapters/dev_broker.h"
#include "adapters/http.h"
#include "adapters/kafka.h"
#include "adapters/redis.h"
#include "adapters/screen.h"

static struct mr_kafka_options kafka_options(const struct mr_options *options, const char *inputs[2 * MR_ROUTES_MAX])
{
    struct mr_kafka_options kafka = {
        .brokers = options->kafka.brokers,
        .group = options->kafka.group,
        .inputs = inputs,
        .extra = options->kafka.options.items,
        .n_extra = options->kafka.options.n,
        .allow_plaintext = options->kafka.allow_plaintext,
        .transactions = options->delivery.transactions,
    };
    for (int32_t i = 0; i < options->n_routes; i++) {
        const struct mr_route *route = &options->routes[i];
        inputs[kafka.n_inputs++] = route->jobs;
        if (route->parked[0])
            inputs[kafka.n_inputs++] = route->parked;
    }
    return kafka;
}

static enum mr_status log_open(const struct mr_options *options, enum mr_log_role role, struct mr_wake *wake, struct mr_log_port *out,
                               struct mr_err *err)
{
    const char *inputs[2 * MR_ROUTES_MAX];
    struct mr_kafka_options kafka = kafka_options(options, inputs);
    return mr_kafka_open(&kafka, role, wake, out, err);
}

static enum mr_status topic_create(const struct mr_options *options, const struct mr_topic *topic, struct mr_err *err)
{
    const char *inputs[2 * MR_ROUTES_MAX];
    struct mr_kafka_options kafka = kafka_options(options, inputs);
    return mr_kafka_topic_create(&kafka, topic, err);
}

static enum mr_status topic_describe(const struct mr_options *options, struct mr_topic *topic, struct mr_err *err)
{
    const char *inputs[2 * MR_ROUTES_MAX];
    struct mr_kafka_options kafka = kafka_options(options, inputs);
    return mr_kafka_topic_describe(&kafka, topic, err);
}

static struct mr_redis_options redis_options(const struct mr_options *options)
{
    return (struct mr_redis_options){
        .address = options->redis.address,
        .user = options->redis.user,
        .password_file = options->redis.password_file,
        .database = (int32_t)options->redis.database,
        .tls = options->redis.tls,
        .ca_file = options->redis.ca_file,
        .timeout_ms = options->redis.timeout_ms,
    };
}

static enum mr_status state_open(const struct mr_options *options, struct mr_state_port *out, struct mr_err *err)
{
    struct mr_redis_options redis = redis_options(options);
    return mr_redis_open(&redis, out, err);
}

static enum mr_status state_read(const struct mr_options *options, struct mr_str key, struct mr_arena *arena, struct mr_str **fields,
                                 size_t *n_fields, struct mr_err *err)
{
    struct mr_redis_options redis = redis_options(options);
    return mr_redis_read(&redis, key, arena, fields, n_fields, err);
}

static enum mr_status state_keys(const struct mr_options *options, struct mr_str prefix, struct mr_arena *arena, struct mr_str **keys,
                                 size_t *n_keys, struct mr_err *err)
{
    struct mr_redis_options redis = redis_options(options);
    return mr_redis_keys(&redis, prefix, arena, keys, n_keys, err);
}

static int dev_broker(const struct mr_options *options, const char *listen, const struct mr_topic *topics, size_t n_topics)
{
    (void)options;
    return mr_dev_broker_run(listen, topics, n_topics);
}

static const struct mr_outside outside = {
    .log_open = log_open,
    .log_close = mr_kafka_close,
    .state_open = state_open,
    .state_close = mr_redis_close,
    .state_read = state_read,
    .state_keys = state_keys,
    .topic_create = topic_create,
    .topic_describe = topic_describe,
    .http_open = mr_http_open,
    .http_close = mr_http_close,
    .dev_broker = dev_broker,
    .screen = mr_screen_run,
};
#else
static const struct mr_outside outside = {0};
#endif

int main(int argc, char **argv)
{
    return mr_cli_main(&outside, argc, argv);
}
