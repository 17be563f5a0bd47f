/* Transactions of the log port against the real broker that KAFKA_BOOTSTRAP names: outcomes and position are there together or
 * not at all, and a reader sees no outcome before its commit. */
#include "adapters/kafka_private.h"
#include "base/clock.h"
#include "tests/test.h"

#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_S = 40 };

static char topic[64];
static const char *input = topic;
static const char *brokers; /* NULL: KAFKA_BOOTSTRAP's */

struct peer {
    struct mr_wake wake;
    struct mr_log_port port;
};

static struct mr_kafka_options options_of(const char *group)
{
    return (struct mr_kafka_options){.brokers = brokers ? brokers : getenv("KAFKA_BOOTSTRAP"), .group = group, .inputs = &input, .n_inputs = 1, .transactions = true};
}

static bool fresh(const char *what)
{
    struct mr_topic t = {.partitions = 2, .replication = 1};
    struct mr_err err;
    if (!getenv("KAFKA_BOOTSTRAP")) {
        printf("skipped: KAFKA_BOOTSTRAP is not set\n");
        return false;
    }
    snprintf(topic, sizeof topic, "test-transaction-%s-%lld", what, (long long)kafka_now_ns());
    snprintf(t.name, sizeof t.name, "%s", topic);
    struct mr_kafka_options options = options_of(topic);
    bool ok = mr_kafka_topic_create(&options, &t, &err) == MR_OK;
    if (!ok)
        EXPECT_STR(err.text, "");
    return ok;
}

static bool open_peer(struct peer *peer, enum mr_log_role role)
{
    struct mr_kafka_options options = options_of(topic);
    struct mr_err err = {0};
    if (!mr_wake_open(&peer->wake) || mr_kafka_open(&options, role, &peer->wake, &peer->port, &err))
        EXPECT_STR(err.text, "");
    return peer->port.self != NULL;
}

static void close_peer(struct peer *peer)
{
    mr_kafka_close(&peer->port);
    mr_wake_close(&peer->wake);
}

static bool next_within(struct peer *peer, enum mr_log_event_kind kind, int64_t ns, struct mr_log_event *event)
{
    int64_t deadline = kafka_now_ns() + ns;
    while (kafka_now_ns() < deadline)
        if (peer->port.poll(peer->port.self, deadline - kafka_now_ns(), event) && event->kind == kind)
            return true;
    return false;
}

static bool wait_for(struct peer *peer, enum mr_log_event_kind kind, struct mr_log_event *event)
{
    return next_within(peer, kind, PATIENCE_S * MR_NS_PER_S, event);
}

/* Both partitions; the committed offset and metadata of the first. */
static bool wait_assigned(struct peer *peer, int64_t *offset, char text[64])
{
    struct mr_log_event event;
    for (int i = 0; i < 2; i++) {
        if (!wait_for(peer, MR_LOG_ASSIGNED, &event))
            return false;
        if (event.record.partition != 0)
            continue;
        *offset = event.offset;
        snprintf(text, 64, "%.*s", (int)event.text.n, event.text.n ? event.text.p : "");
    }
    return true;
}

static enum mr_status hold(struct peer *peer, const char *value)
{
    static const struct mr_header header = {MR_STR("mr-src"), MR_STR("1.2")};
    struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .tag = 7, .transaction = true};
    action.record = (struct mr_record){.topic = mr_str_from(topic), .partition = 1, .key = MR_STR("k"), .value = mr_str_from(value),
                                       .headers = &header, .n_headers = 1};
    return peer->port.act(peer->port.self, &action);
}

static enum mr_status commit(struct peer *peer, int64_t offset, uint64_t tag)
{
    struct mr_log_action action = {.kind = MR_LOG_COMMIT, .record = {.topic = mr_str_from(topic)}, .offset = offset, .tag = tag,
                                   .text = MR_STR("AQID"), .transaction = true};
    return peer->port.act(peer->port.self, &action);
}

static enum mr_status follow(struct peer *peer)
{
    struct mr_log_action action = {.kind = MR_LOG_FOLLOW, .record = {.topic = mr_str_from(topic), .partition = 1}};
    enum mr_status status;
    for (int i = 0; (status = peer->port.act(peer->port.self, &action)) == MR_ERR_NOT_FOUND && i < 100; i++)
        usleep(100000); /* a topic made a moment ago */
    return status;
}

TEST(outcomes_and_position_together)
{
    struct peer worker = {0}, reader = {0};
    struct mr_log_event event;
    int64_t offset = 0;
    char text[64];
    if (!fresh("together"))
        return;
    REQUIRE(open_peer(&worker, MR_LOG_WORKER) && open_peer(&reader, MR_LOG_CLIENT));
    REQUIRE(wait_assigned(&worker, &offset, text));
    EXPECT_EQ(offset, -1);
    REQUIRE(follow(&reader) == MR_OK);
    EXPECT(hold(&worker, "one") == MR_OK && hold(&worker, "two") == MR_OK);
    EXPECT(!next_within(&reader, MR_LOG_FOLLOWED, MR_NS_PER_S, &event)); /* nothing of it is there */
    EXPECT_EQ(commit(&worker, 5, 42), MR_OK);
    REQUIRE(wait_for(&worker, MR_LOG_COMMITTED, &event));
    EXPECT(event.tag == 42 && event.commit == MR_COMMIT_OK);
    static const char *const values[] = {"one", "two"};
    for (int i = 0; i < 2; i++) {
        REQUIRE(wait_for(&reader, MR_LOG_FOLLOWED, &event));
        EXPECT(mr_str_is(event.record.value, values[i]) && mr_str_is(event.record.key, "k"));
        EXPECT(event.record.n_headers == 1 && mr_str_is(event.record.headers[0].value, "1.2"));
    }
    close_peer(&worker);
    REQUIRE(open_peer(&worker, MR_LOG_WORKER) && wait_assigned(&worker, &offset, text));
    EXPECT_EQ(offset, 5);
    EXPECT_STR(text, "AQID");
    close_peer(&worker);
    close_peer(&reader);
}

/* Held and never committed: a worker that goes away leaves no trace, and holds nobody back. */
TEST(what_has_no_commit_never_was)
{
    struct peer worker = {0}, reader = {0};
    struct mr_log_event event;
    int64_t offset = 0;
    char text[64];
    if (!fresh("never"))
        return;
    REQUIRE(open_peer(&worker, MR_LOG_WORKER) && wait_assigned(&worker, &offset, text));
    EXPECT_EQ(hold(&worker, "lost"), MR_OK);
    struct mr_log_action reopen = {.kind = MR_LOG_REOPEN_PRODUCER};
    EXPECT_EQ(worker.port.act(worker.port.self, &reopen), MR_OK);
    EXPECT(hold(&worker, "kept") == MR_OK && commit(&worker, 1, 43) == MR_OK);
    REQUIRE(wait_for(&worker, MR_LOG_COMMITTED, &event));
    EXPECT_EQ(event.commit, MR_COMMIT_OK);
    EXPECT_EQ(hold(&worker, "lost too"), MR_OK);
    close_peer(&worker);
    REQUIRE(open_peer(&reader, MR_LOG_CLIENT) && follow(&reader) == MR_OK);
    REQUIRE(wait_for(&reader, MR_LOG_FOLLOWED, &event));
    EXPECT(mr_str_is(event.record.value, "kept"));
    EXPECT(!next_within(&reader, MR_LOG_FOLLOWED, MR_NS_PER_S, &event));
    close_peer(&reader);
}

/* The question who owns goes through it: who has left the group does not. */
TEST(who_does_not_own_commits_nothing)
{
    struct peer worker = {0};
    struct mr_log_event event;
    int64_t offset = 0;
    char text[64];
    if (!fresh("owner"))
        return;
    REQUIRE(open_peer(&worker, MR_LOG_WORKER) && wait_assigned(&worker, &offset, text));
    struct mr_log_action leave = {.kind = MR_LOG_LEAVE};
    worker.port.act(worker.port.self, &leave);
    REQUIRE(wait_for(&worker, MR_LOG_REVOKED, &event));
    next_within(&worker, MR_LOG_ASSIGNED, MR_NS_PER_S / 2, &event);
    EXPECT(hold(&worker, "not ours") == MR_OK && commit(&worker, 9, 44) == MR_OK);
    REQUIRE(wait_for(&worker, MR_LOG_COMMITTED, &event));
    EXPECT_EQ(event.commit, MR_COMMIT_NOT_OWNER);
    close_peer(&worker);
    REQUIRE(open_peer(&worker, MR_LOG_WORKER) && wait_assigned(&worker, &offset, text));
    EXPECT_EQ(offset, -1);
    close_peer(&worker);
}

/* On librdkafka's own broker, whose answer to EndTxn comes too late: the answer is RETRY, the producer made anew, and the next
 * transaction is whole. */
TEST(a_lost_answer_makes_the_producer_anew)
{
    enum { END_TXN = 26, LATE_MS = 30000 };
    struct peer worker = {0};
    struct mr_log_event event;
    int64_t offset = 0;
    char text[64];
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), NULL, 0);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(host, 1);
    snprintf(topic, sizeof topic, "late");
    REQUIRE(cluster && !rd_kafka_mock_topic_create(cluster, topic, 2, 1));
    brokers = rd_kafka_mock_cluster_bootstraps(cluster);
    REQUIRE(open_peer(&worker, MR_LOG_WORKER) && wait_assigned(&worker, &offset, text));
    EXPECT(hold(&worker, "first") == MR_OK && commit(&worker, 1, 50) == MR_OK);
    REQUIRE(wait_for(&worker, MR_LOG_COMMITTED, &event));
    EXPECT_EQ(event.commit, MR_COMMIT_OK);
    rd_kafka_mock_broker_push_request_error_rtts(cluster, 1, END_TXN, 1, RD_KAFKA_RESP_ERR_NO_ERROR, LATE_MS);
    EXPECT(hold(&worker, "second") == MR_OK && commit(&worker, 2, 51) == MR_OK);
    REQUIRE(wait_for(&worker, MR_LOG_COMMITTED, &event));
    EXPECT(event.tag == 51 && event.commit == MR_COMMIT_RETRY);
    EXPECT(hold(&worker, "second") == MR_OK && commit(&worker, 2, 52) == MR_OK); /* as the owner does, after a back-off */
    REQUIRE(wait_for(&worker, MR_LOG_COMMITTED, &event));
    EXPECT(event.tag == 52 && event.commit == MR_COMMIT_OK);
    close_peer(&worker);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    brokers = NULL;
}

TEST_MAIN(TEST_CASE(outcomes_and_position_together), TEST_CASE(what_has_no_commit_never_was), TEST_CASE(who_does_not_own_commits_nothing),
          TEST_CASE(a_lost_answer_makes_the_producer_anew))
