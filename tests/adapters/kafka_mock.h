/* A port on a cluster of librdkafka's own that answers as it is told: for what a real broker does not do on request. */
#ifndef MR_TESTS_KAFKA_MOCK_H
#define MR_TESTS_KAFKA_MOCK_H

#include "adapters/kafka_private.h"
#include "base/clock.h"
#include "tests/test.h"

#include <librdkafka/rdkafka_mock.h>

enum { MOCK_PRODUCE = 0, MOCK_OFFSET_COMMIT = 8 }; /* the protocol's numbers of requests */
enum { MOCK_PATIENCE_S = 30 };

struct mock_peer {
    rd_kafka_t *host;
    rd_kafka_mock_cluster_t *cluster;
    struct mr_wake wake;
    struct mr_log_port port;
};

/* The next event of a kind. false: none in time. */
static inline bool mock_next(struct mock_peer *peer, enum mr_log_event_kind kind, struct mr_log_event *event)
{
    int64_t deadline = kafka_now_ns() + MOCK_PATIENCE_S * MR_NS_PER_S;
    while (kafka_now_ns() < deadline)
        if (peer->port.poll(peer->port.self, deadline - kafka_now_ns(), event) && event->kind == kind)
            return true;
    return false;
}

/* A cluster of one broker with topic "t" of one partition. */
static inline bool mock_open_unassigned(struct mock_peer *peer, enum mr_log_role role)
{
    static const char *const inputs[] = {"t"};
    char text[256];
    peer->host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    peer->cluster = peer->host ? rd_kafka_mock_cluster_new(peer->host, 1) : NULL;
    if (!peer->cluster || rd_kafka_mock_topic_create(peer->cluster, inputs[0], 1, 1) || !mr_wake_open(&peer->wake))
        return false;
    struct mr_kafka_options options = {.brokers = rd_kafka_mock_cluster_bootstraps(peer->cluster), .group = "g", .inputs = inputs, .n_inputs = 1};
    return mr_kafka_open(&options, role, &peer->wake, &peer->port, NULL) == MR_OK;
}

/* The same; a worker is assigned the partition. */
static inline bool mock_open(struct mock_peer *peer, enum mr_log_role role)
{
    struct mr_log_event event;
    if (!mock_open_unassigned(peer, role))
        return false;
    return role == MR_LOG_CLIENT || mock_next(peer, MR_LOG_ASSIGNED, &event);
}

static inline void mock_close(struct mock_peer *peer)
{
    mr_kafka_close(&peer->port);
    mr_wake_close(&peer->wake);
    if (peer->cluster)
        rd_kafka_mock_cluster_destroy(peer->cluster);
    if (peer->host)
        rd_kafka_destroy(peer->host);
    *peer = (struct mock_peer){0};
}

#endif
