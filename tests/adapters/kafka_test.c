/* The log port against the broker that KAFKA_BOOTSTRAP names: a real Apache Kafka, or `millrace dev-broker` (then
 * KAFKA_TEST_TOPIC names a topic of two partitions, still empty, that it has made, as it makes none on request: one test a run). */
#include "adapters/kafka_private.h"
#include "base/clock.h"
#include "tests/test.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 40 };

static const char *bootstrap;
static char topic_name[64];
static char group_name[64];

static int64_t now_ns(void)
{
    struct mr_clock clock = mr_clock_system();
    return mr_clock_ns(&clock);
}

static bool no_broker(void)
{
    bootstrap = getenv("KAFKA_BOOTSTRAP");
    if (!bootstrap)
        printf("skipped: KAFKA_BOOTSTRAP is not set\n");
    return !bootstrap;
}

static struct mr_kafka_options options_of(const char **input)
{
    return (struct mr_kafka_options){.brokers = bootstrap, .group = group_name, .inputs = input, .n_inputs = 1};
}

/* A topic of two partitions and a group that nobody used before. */
static bool fresh(const char *what)
{
    const char *given = getenv("KAFKA_TEST_TOPIC");
    struct mr_topic topic = {.partitions = 2, .replication = 1, .n_settings = 1, .setting = {{"message.timestamp.type", "LogAppendTime"}}};
    struct mr_err err;
    snprintf(group_name, sizeof group_name, "test-%s-%lld", what, (long long)now_ns());
    snprintf(topic_name, sizeof topic_name, "%s", given ? given : group_name);
    snprintf(topic.name, sizeof topic.name, "%s", topic_name);
    struct mr_kafka_options options = {.brokers = bootstrap};
    if (given)
        return true;
    if (!mr_kafka_topic_create(&options, &topic, &err))
        return true;
    printf("%s\n", err.text);
    return false;
}

struct peer {
    struct mr_wake wake;
    struct mr_log_port port;
};

static bool peer_open(struct peer *peer, enum mr_log_role role)
{
    const char *input = topic_name;
    struct mr_kafka_options options = options_of(&input);
    struct mr_err err = {0};
    *peer = (struct peer){0};
    if (!mr_wake_open(&peer->wake) || mr_kafka_open(&options, role, &peer->wake, &peer->port, &err)) {
        printf("open: %s\n", err.text);
        return false;
    }
    return true;
}

static void peer_close(struct peer *peer)
{
    mr_kafka_close(&peer->port);
    mr_wake_close(&peer->wake);
}

/* Polls until an event of this kind; others are dropped. */
static bool wait_for(struct peer *peer, enum mr_log_event_kind kind, struct mr_log_event *event)
{
    int64_t deadline = now_ns() + PATIENCE_S * MR_NS_PER_S;
    while (now_ns() < deadline)
        if (peer->port.poll(peer->port.self, MR_NS_PER_S, event)) {
            if (event->kind == kind)
                return true;
            if (event->kind == MR_LOG_TROUBLE)
                printf("trouble: %.*s\n", (int)event->text.n, event->text.p);
        }
    printf("event %d did not come\n", (int)kind);
    return false;
}

static enum mr_status act(struct peer *peer, enum mr_log_action_kind kind, int32_t partition, int64_t offset)
{
    struct mr_log_action action = {.kind = kind, .record = {.topic = mr_str_from(topic_name), .partition = partition}, .offset = offset};
    return peer->port.act(peer->port.self, &action);
}

static enum mr_status commit(struct peer *peer, int32_t partition, int64_t offset, const char *metadata, uint64_t tag)
{
    struct mr_log_action action = {.kind = MR_LOG_COMMIT, .record = {.topic = mr_str_from(topic_name), .partition = partition},
                                   .offset = offset, .tag = tag, .text = mr_str_from(metadata)};
    return peer->port.act(peer->port.self, &action);
}

/* Produces n records "first", "first + 1", ... to a partition and waits for their reports; returns the first one's offset. */
static int64_t produce(struct peer *peer, int32_t partition, int first, int n)
{
    struct mr_log_event event;
    int64_t base = -1;
    for (int i = 0; i < n; i++) {
        char value[32];
        struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .tag = (uint64_t)i};
        snprintf(value, sizeof value, "%d", first + i);
        action.record = (struct mr_record){.topic = mr_str_from(topic_name), .partition = partition, .value = mr_str_from(value)};
        if (peer->port.act(peer->port.self, &action))
            return -1;
    }
    for (int i = 0; i < n; i++) {
        if (!wait_for(peer, MR_LOG_DELIVERED, &event) || event.status)
            return -1;
        EXPECT_EQ(event.tag, i); /* one partition: in order */
        if (i == 0)
            base = event.offset;
        EXPECT_EQ(event.offset, base + i);
    }
    return base;
}

TEST(records_come_back_whole)
{
    struct peer peer;
    struct mr_log_event event;
    if (no_broker())
        return;
    REQUIRE(fresh("whole") && peer_open(&peer, MR_LOG_CLIENT));
    EXPECT_EQ(peer.port.partitions(peer.port.self, mr_str_from(topic_name)), 2);
    EXPECT_EQ(peer.port.partitions(peer.port.self, MR_STR("no-such-topic")), -1);
    static const struct mr_header headers[] = {{{"mr-job", 6}, {"acme/1", 6}}, {{"empty", 5}, {"", 0}}, {{"bytes", 5}, {"\0\xff", 2}}};
    struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .tag = UINT64_C(0xfedcba9876543210)};
    action.record = (struct mr_record){.topic = mr_str_from(topic_name), .partition = 1, .key = {"k\0y", 3}, .value = {"{\"a\":1}", 7},
                                       .headers = headers, .n_headers = 3};
    REQUIRE(!peer.port.act(peer.port.self, &action));
    REQUIRE(wait_for(&peer, MR_LOG_DELIVERED, &event));
    EXPECT_EQ(event.status, MR_OK);
    EXPECT(event.tag == UINT64_C(0xfedcba9876543210));
    EXPECT(mr_str_is(event.record.topic, topic_name) && event.record.partition == 1);
    EXPECT(event.timestamp_ms > INT64_C(1500000000000));
    int64_t offset = event.offset;
    action.record.value = action.record.key = (struct mr_str){0};
    action.record.n_headers = 0;
    REQUIRE(!peer.port.act(peer.port.self, &action));
    REQUIRE(wait_for(&peer, MR_LOG_DELIVERED, &event));

    REQUIRE(!act(&peer, MR_LOG_FOLLOW, 1, offset));
    REQUIRE(wait_for(&peer, MR_LOG_FOLLOWED, &event));
    EXPECT_EQ(event.record.offset, offset);
    EXPECT(mr_str_equal(event.record.key, (struct mr_str){"k\0y", 3}));
    EXPECT(mr_str_is(event.record.value, "{\"a\":1}"));
    EXPECT(event.record.timestamp_ms > INT64_C(1500000000000));
    EXPECT_EQ(event.record.n_headers, 3);
    for (int i = 0; i < 3; i++)
        EXPECT(mr_str_equal(event.record.headers[i].key, headers[i].key) && mr_str_equal(event.record.headers[i].value, headers[i].value));
    REQUIRE(wait_for(&peer, MR_LOG_FOLLOWED, &event));
    EXPECT(event.record.value.p == NULL && event.record.key.p == NULL);
    REQUIRE(wait_for(&peer, MR_LOG_CAUGHT_UP, &event));
    EXPECT_EQ(event.offset, offset + 2);
    peer_close(&peer);
}

/* A topic made a moment ago may not be in this client's picture of the cluster yet. */
static bool follow_soon(struct peer *peer, int32_t partition, int64_t offset)
{
    for (int i = 0; i < PATIENCE_S * 10; i++) {
        if (act(peer, MR_LOG_FOLLOW, partition, offset) == MR_OK)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return false;
}

TEST(following_tells_the_end_and_stops)
{
    struct peer peer, writer; /* a record may be read back before its own delivery report: the writer is another */
    struct mr_log_event event;
    if (no_broker())
        return;
    REQUIRE(fresh("follow") && peer_open(&peer, MR_LOG_CLIENT) && peer_open(&writer, MR_LOG_CLIENT));
    int64_t base = produce(&writer, 0, 0, 500);
    REQUIRE(base >= 0);
    REQUIRE(follow_soon(&peer, 0, base));
    for (int i = 0; i < 500; i++) {
        REQUIRE(peer.port.poll(peer.port.self, PATIENCE_S * MR_NS_PER_S, &event));
        REQUIRE(event.kind == MR_LOG_FOLLOWED); /* CAUGHT_UP not before the last of them */
        EXPECT_EQ(event.record.offset, base + i);
    }
    REQUIRE(peer.port.poll(peer.port.self, PATIENCE_S * MR_NS_PER_S, &event));
    EXPECT_EQ(event.kind, MR_LOG_CAUGHT_UP);
    EXPECT_EQ(event.offset, base + 500);
    EXPECT_EQ(produce(&writer, 0, 500, 1), base + 500);
    REQUIRE(wait_for(&peer, MR_LOG_FOLLOWED, &event));
    EXPECT_EQ(event.record.offset, base + 500);

    REQUIRE(!act(&peer, MR_LOG_FOLLOW, 0, base + 499)); /* again, from elsewhere */
    REQUIRE(wait_for(&peer, MR_LOG_FOLLOWED, &event));
    EXPECT_EQ(event.record.offset, base + 499);
    REQUIRE(!act(&peer, MR_LOG_UNFOLLOW, 0, 0));
    EXPECT_EQ(produce(&writer, 0, 501, 1), base + 501);
    EXPECT(!peer.port.poll(peer.port.self, MR_NS_PER_S / 2, &event));

    REQUIRE(!act(&peer, MR_LOG_FOLLOW, 0, 1000000)); /* not in the log */
    REQUIRE(wait_for(&peer, MR_LOG_OUT_OF_RANGE, &event));
    EXPECT(event.offset <= base);
    REQUIRE(wait_for(&peer, MR_LOG_FOLLOWED, &event));
    EXPECT(event.record.offset <= base);
    EXPECT_EQ(act(&peer, MR_LOG_FOLLOW, 2, 0), MR_ERR_NOT_FOUND); /* partitions 0 and 1 */

    REQUIRE(!act(&peer, MR_LOG_FOLLOW, 0, MR_LOG_FROM_END));
    REQUIRE(wait_for(&peer, MR_LOG_CAUGHT_UP, &event));
    EXPECT_EQ(event.offset, base + 502);
    EXPECT_EQ(produce(&writer, 0, 502, 1), base + 502);
    REQUIRE(wait_for(&peer, MR_LOG_FOLLOWED, &event));
    EXPECT_EQ(event.record.offset, base + 502);
    peer_close(&writer);
    peer_close(&peer);
}

/* Polls until both partitions are assigned. */
static bool assigned(struct peer *peer, int64_t offset[2], char text[2][64], int32_t *generation)
{
    struct mr_log_event event;
    for (int i = 0; i < 2; i++) {
        if (!wait_for(peer, MR_LOG_ASSIGNED, &event) || event.record.partition > 1)
            return false;
        offset[event.record.partition] = event.offset;
        snprintf(text[event.record.partition], 64, "%.*s", (int)event.text.n, event.text.p);
        *generation = event.generation;
    }
    return true;
}

/* Every offset once and in order, whatever is paused and resumed in between. */
TEST(pausing_loses_and_repeats_nothing)
{
    enum { N = 2000 };
    struct peer peer;
    struct mr_log_event event;
    int64_t offset[2], next[2];
    char text[2][64];
    int32_t generation = 0;
    if (no_broker())
        return;
    REQUIRE(fresh("pause") && peer_open(&peer, MR_LOG_WORKER));
    REQUIRE(assigned(&peer, offset, text, &generation));
    EXPECT(generation >= 1);
    EXPECT_EQ(offset[0], -1);
    EXPECT_STR(text[0], "");
    for (int p = 0; p < 2; p++)
        REQUIRE(!act(&peer, MR_LOG_PAUSE, p, 0));
    for (int p = 0; p < 2; p++)
        REQUIRE((next[p] = produce(&peer, p, 0, N / 2)) >= 0);
    bool paused[2] = {true, true};
    unsigned random = 12345;
    int got = 0;
    int64_t deadline = now_ns() + PATIENCE_S * MR_NS_PER_S;
    while (got < N && now_ns() < deadline) {
        random = random * 1103515245 + 12345;
        int p = (random >> 16) & 1;
        if ((random >> 17) % 40 == 0 || (paused[0] && paused[1])) {
            paused[p] = !paused[p];
            REQUIRE(!act(&peer, paused[p] ? MR_LOG_PAUSE : MR_LOG_RESUME, p, 0));
        }
        if (!peer.port.poll(peer.port.self, 20 * MR_NS_PER_MS, &event) || event.kind != MR_LOG_RECORD)
            continue;
        p = event.record.partition;
        if (event.record.offset < next[p] && !getenv("KAFKA_TEST_TOPIC"))
            EXPECT(!"a record came twice");
        if (event.record.offset < next[p])
            continue; /* an earlier test's, on the shared topic of the embedded broker */
        EXPECT(!paused[p]);
        REQUIRE(event.record.offset == next[p]);
        next[p]++;
        got++;
    }
    EXPECT_EQ(got, N);
    peer_close(&peer);
}

TEST(commits_come_back_with_their_text)
{
    struct peer peer;
    struct mr_log_event event;
    int64_t offset[2];
    char text[2][64];
    int32_t generation = 0, later = 0;
    if (no_broker())
        return;
    REQUIRE(fresh("commit") && peer_open(&peer, MR_LOG_WORKER));
    REQUIRE(assigned(&peer, offset, text, &generation));
    REQUIRE(produce(&peer, 0, 0, 10) >= 0);
    REQUIRE(!commit(&peer, 0, 7, "AQIDBA==", 42));
    REQUIRE(!commit(&peer, 1, 0, "", 43));
    for (int i = 0; i < 2; i++) {
        REQUIRE(wait_for(&peer, MR_LOG_COMMITTED, &event));
        EXPECT(event.tag == 42 || event.tag == 43);
        EXPECT_EQ(event.commit, MR_COMMIT_OK);
        EXPECT_EQ(event.record.partition, event.tag - 42);
    }
    REQUIRE(!act(&peer, MR_LOG_LEAVE, 0, 0));
    for (int i = 0; i < 2; i++)
        REQUIRE(wait_for(&peer, MR_LOG_REVOKED, &event));
    usleep(2 * MR_KAFKA_REVOKE_GRACE_MS * 1000);
    peer.port.poll(peer.port.self, 0, &event);
    REQUIRE(!commit(&peer, 0, 8, "", 44)); /* no longer ours */
    REQUIRE(wait_for(&peer, MR_LOG_COMMITTED, &event));
    EXPECT_EQ(event.commit, MR_COMMIT_NOT_OWNER);
    peer_close(&peer);

    REQUIRE(peer_open(&peer, MR_LOG_WORKER));
    REQUIRE(assigned(&peer, offset, text, &later));
    EXPECT_EQ(offset[0], 7);
    EXPECT_STR(text[0], "AQIDBA==");
    EXPECT_EQ(offset[1], 0);
    EXPECT_STR(text[1], "");
    EXPECT(later > generation || getenv("KAFKA_TEST_TOPIC"));
    REQUIRE(wait_for(&peer, MR_LOG_RECORD, &event));
    if (event.record.partition == 0)
        EXPECT_EQ(event.record.offset, 7);
    REQUIRE(!commit(&peer, 0, 1000000, "", 45)); /* nothing lies there */
    REQUIRE(wait_for(&peer, MR_LOG_COMMITTED, &event));
    peer_close(&peer);

    REQUIRE(peer_open(&peer, MR_LOG_WORKER));
    REQUIRE(assigned(&peer, offset, text, &later));
    EXPECT_EQ(offset[0], 1000000);
    REQUIRE(wait_for(&peer, MR_LOG_OUT_OF_RANGE, &event));
    EXPECT_EQ(event.record.partition, 0);
    EXPECT_EQ(event.offset, 0);
    do
        REQUIRE(wait_for(&peer, MR_LOG_RECORD, &event));
    while (event.record.partition != 0);
    EXPECT_EQ(event.record.offset, 0);
    peer_close(&peer);
}

/* A second member takes a share; a commit asked for at REVOKED still reaches the broker, and is answered NOT_OWNER. */
TEST(a_second_member_takes_its_share)
{
    struct peer a, b;
    struct mr_log_event event;
    int64_t offset[2];
    char text[2][64];
    int32_t generation = 0, given = -1, answers = 0, owned_a = 0, owned_b = 0;
    if (no_broker() || getenv("KAFKA_TEST_TOPIC")) /* the embedded broker refuses every commit while members join */
        return;
    REQUIRE(fresh("share") && peer_open(&a, MR_LOG_WORKER));
    REQUIRE(assigned(&a, offset, text, &generation));
    REQUIRE(produce(&a, 0, 0, 5) >= 0 && produce(&a, 1, 0, 5) >= 0);
    REQUIRE(peer_open(&b, MR_LOG_WORKER));
    int64_t deadline = now_ns() + PATIENCE_S * MR_NS_PER_S;
    while ((!owned_a || !owned_b || answers < 2) && now_ns() < deadline) {
        if (a.port.poll(a.port.self, 20 * MR_NS_PER_MS, &event)) {
            if (event.kind == MR_LOG_REVOKED && !event.lost)
                REQUIRE(!commit(&a, event.record.partition, 3, "last words", 70 + (uint64_t)event.record.partition));
            if (event.kind == MR_LOG_COMMITTED) {
                answers++;
                EXPECT_EQ(event.commit, MR_COMMIT_NOT_OWNER);
            }
            if (event.kind == MR_LOG_ASSIGNED)
                owned_a++;
        }
        if (b.port.poll(b.port.self, 20 * MR_NS_PER_MS, &event) && event.kind == MR_LOG_ASSIGNED) {
            owned_b++;
            given = event.record.partition;
            EXPECT_EQ(event.offset, 3);
            EXPECT(mr_str_is(event.text, "last words"));
            EXPECT(event.generation > generation);
        }
    }
    EXPECT_EQ(owned_a, 1);
    EXPECT_EQ(owned_b, 1);
    EXPECT_EQ(answers, 2);
    REQUIRE(!commit(&a, given, 5, "", 80)); /* b's now */
    REQUIRE(wait_for(&a, MR_LOG_COMMITTED, &event));
    EXPECT_EQ(event.commit, MR_COMMIT_NOT_OWNER);
    peer_close(&b);
    peer_close(&a);
}

TEST(a_new_producer_goes_on)
{
    struct peer peer;
    struct mr_log_event event;
    if (no_broker())
        return;
    REQUIRE(fresh("reopen") && peer_open(&peer, MR_LOG_CLIENT));
    REQUIRE(produce(&peer, 0, 0, 3) >= 0);
    REQUIRE(!act(&peer, MR_LOG_REOPEN_PRODUCER, 0, 0));
    REQUIRE(produce(&peer, 0, 3, 3) >= 0);
    struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .record = {.topic = MR_STR("no-such-topic"), .value = MR_STR("x")}};
    EXPECT_EQ(peer.port.act(peer.port.self, &action), MR_ERR_NOT_FOUND);
    char *large = calloc(1, 2 << 20); /* more than a topic takes by default */
    action.record = (struct mr_record){.topic = mr_str_from(topic_name), .value = {large, 2 << 20}};
    REQUIRE(!peer.port.act(peer.port.self, &action));
    REQUIRE(wait_for(&peer, MR_LOG_DELIVERED, &event));
    EXPECT(event.status == MR_ERR_LIMIT || getenv("KAFKA_TEST_TOPIC")); /* the embedded broker takes it */
    free(large);
    REQUIRE(!act(&peer, MR_LOG_REOPEN_PRODUCER, 0, 0));
    REQUIRE(produce(&peer, 0, 6, 3) >= 0);
    peer_close(&peer);
}

/* REVOKED, lost, for both partitions, then both ASSIGNED again; the offset that partition 0 starts at. */
static int64_t assigned_again(struct peer *peer)
{
    struct mr_log_event event;
    int64_t offset = -1;
    for (int i = 0; i < 2; i++) {
        if (!wait_for(peer, MR_LOG_REVOKED, &event))
            return -1;
        EXPECT(event.lost);
    }
    for (int i = 0; i < 2; i++) {
        if (!wait_for(peer, MR_LOG_ASSIGNED, &event))
            return -1;
        if (event.record.partition == 0)
            offset = event.offset;
    }
    return offset;
}

TEST(a_reader_that_failed_for_good_is_made_anew)
{
    struct peer peer;
    struct mr_log_event event;
    if (no_broker())
        return;
    REQUIRE(fresh("fatal") && peer_open(&peer, MR_LOG_WORKER));
    struct kafka *k = peer.port.self;
    REQUIRE(wait_for(&peer, MR_LOG_ASSIGNED, &event) && wait_for(&peer, MR_LOG_ASSIGNED, &event));
    REQUIRE(produce(&peer, 0, 0, 3) == 0);
    for (int i = 0; i < MR_KAFKA_COMMITS_MAX; i++) /* none is answered before a poll */
        REQUIRE(!commit(&peer, 0, 2, "", 1));
    EXPECT_EQ(commit(&peer, 0, 2, "", 1), MR_ERR_BUSY);
    for (int i = 0; i < MR_KAFKA_COMMITS_MAX; i++)
        REQUIRE(wait_for(&peer, MR_LOG_COMMITTED, &event));
    REQUIRE(!commit(&peer, 0, 2, "", 1) && wait_for(&peer, MR_LOG_COMMITTED, &event));
    rd_kafka_test_fatal_error(k->group, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, "the group's member is fenced");
    EXPECT_EQ(assigned_again(&peer), 2);
    REQUIRE(wait_for(&peer, MR_LOG_RECORD, &event));
    EXPECT_EQ(event.record.offset, 2);
    REQUIRE(follow_soon(&peer, 0, 1));
    REQUIRE(wait_for(&peer, MR_LOG_CAUGHT_UP, &event));
    rd_kafka_test_fatal_error(k->follower, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, "the follower is fenced");
    while (!k->follow_repair.wanted)
        peer.port.poll(peer.port.self, 0, &event);
    struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .record = {.topic = mr_str_from(topic_name), .value = MR_STR("x")}};
    REQUIRE(!peer.port.act(peer.port.self, &action));
    REQUIRE(wait_for(&peer, MR_LOG_FOLLOWED, &event));
    EXPECT_EQ(event.record.offset, 3); /* neither a gap nor a repeat */
    REQUIRE(!act(&peer, MR_LOG_LEAVE, 0, 0));
    peer_close(&peer);
}

TEST(a_producer_that_failed_for_good_says_so)
{
    struct peer peer;
    struct mr_log_event event;
    if (no_broker())
        return;
    REQUIRE(fresh("fatal-out") && peer_open(&peer, MR_LOG_CLIENT));
    struct kafka *k = peer.port.self;
    REQUIRE(produce(&peer, 0, 0, 1) >= 0);
    rd_kafka_test_fatal_error(k->producer, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "the producer is out of order");
    struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .tag = 9, .record = {.topic = mr_str_from(topic_name), .value = MR_STR("x")}};
    REQUIRE(!peer.port.act(peer.port.self, &action));
    REQUIRE(wait_for(&peer, MR_LOG_DELIVERED, &event));
    EXPECT(event.status != MR_OK && event.tag == 9);
    REQUIRE(!act(&peer, MR_LOG_REOPEN_PRODUCER, 0, 0));
    REQUIRE(produce(&peer, 0, 1, 1) >= 0);
    kafka_producer_close(k, 0); /* as if the next one could not be made */
    REQUIRE(!peer.port.act(peer.port.self, &action));
    REQUIRE(wait_for(&peer, MR_LOG_DELIVERED, &event));
    EXPECT(event.status == MR_ERR_CLOSED && event.tag == 9);
    peer_close(&peer);
}

TEST(repairs_wait_longer_each_time)
{
    struct kafka k = {.pending_tail = &k.pending};
    int64_t wait_ms = MR_KAFKA_REPAIR_MIN_MS;
    EXPECT_EQ(kafka_repair_due_ns(&k), INT64_MAX);
    for (int i = 0; i < 12; i++) {
        int64_t before_ns = now_ns();
        kafka_repair_ask(&k, &k.group_repair, "gone");
        int64_t due_ns = kafka_repair_due_ns(&k);
        EXPECT(due_ns >= before_ns + wait_ms * MR_NS_PER_MS && due_ns <= now_ns() + wait_ms * MR_NS_PER_MS);
        kafka_repair_ask(&k, &k.group_repair, "asked twice");
        EXPECT_EQ(kafka_repair_due_ns(&k), due_ns);
        k.group_repair.wanted = false;
        wait_ms = 2 * wait_ms < MR_KAFKA_REPAIR_MAX_MS ? 2 * wait_ms : MR_KAFKA_REPAIR_MAX_MS;
    }
    EXPECT_EQ(wait_ms, MR_KAFKA_REPAIR_MAX_MS);
    while (k.pending) {
        struct kafka_pending *next = k.pending->next;
        free(k.pending);
        k.pending = next;
    }
}

TEST(poll_sleeps_and_wakes)
{
    struct peer peer;
    struct mr_log_event event;
    struct timespec before, after;
    if (no_broker())
        return;
    REQUIRE(fresh("sleep") && peer_open(&peer, MR_LOG_CLIENT));
    REQUIRE(!act(&peer, MR_LOG_FOLLOW, 0, -1));
    while (peer.port.poll(peer.port.self, MR_NS_PER_S, &event)) {
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    int64_t start = now_ns();
    bool got = peer.port.poll(peer.port.self, MR_NS_PER_S, &event);
    if (got)
        printf("event %d: %.*s\n", (int)event.kind, (int)event.text.n, event.text.p);
    EXPECT(!got);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    EXPECT(now_ns() - start >= MR_NS_PER_S);
    EXPECT((after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6 < 50); /* ms of processor time in a second */
    mr_wake_signal(&peer.wake);
    start = now_ns();
    EXPECT(!peer.port.poll(peer.port.self, 10 * MR_NS_PER_S, &event));
    EXPECT(now_ns() - start < MR_NS_PER_S);
    start = now_ns();
    EXPECT(!peer.port.poll(peer.port.self, MR_NS_PER_S / 5, &event)); /* the signal is used up */
    EXPECT(now_ns() - start >= MR_NS_PER_S / 5);
    peer_close(&peer);
}

TEST(topics_are_made_and_described)
{
    struct mr_topic topic = {0};
    struct mr_err err;
    if (no_broker() || getenv("KAFKA_TEST_TOPIC"))
        return;
    REQUIRE(fresh("topics"));
    struct mr_kafka_options options = {.brokers = bootstrap};
    snprintf(topic.name, sizeof topic.name, "%s", topic_name);
    REQUIRE(!mr_kafka_topic_describe(&options, &topic, &err));
    EXPECT_EQ(topic.partitions, 2);
    EXPECT_EQ(topic.replication, 1);
    int seen = 0;
    for (int32_t i = 0; i < topic.n_settings; i++)
        seen += (strcmp(topic.setting[i].key, "message.timestamp.type") == 0 && strcmp(topic.setting[i].value, "LogAppendTime") == 0) ||
                (strcmp(topic.setting[i].key, "cleanup.policy") == 0 && strcmp(topic.setting[i].value, "delete") == 0);
    EXPECT_EQ(seen, 2);
    topic.partitions = 3;
    topic.replication = 1;
    EXPECT_EQ(mr_kafka_topic_create(&options, &topic, &err), MR_ERR_INVALID); /* it is there */
    snprintf(topic.name, sizeof topic.name, "no-such-topic");
    EXPECT_EQ(mr_kafka_topic_describe(&options, &topic, &err), MR_ERR_NOT_FOUND);
}

/* What can be told wrong without a broker. */
TEST(options_are_judged)
{
    static const struct {
        const char *brokers, *extra, *also, *word;
    } bad[] = {
        {"127.0.0.1:1", "acks=1", "linger.ms=5", "acks"},
        {"127.0.0.1:1", "enable.auto.commit=true", "linger.ms=5", "enable.auto.commit"},
        {"127.0.0.1:1", "group.instance.id=x", "linger.ms=5", "group.instance.id"},
        {"127.0.0.1:1", "no.such.option=1", "linger.ms=5", "no.such.option"},
        {"127.0.0.1:1", "linger.ms", "linger.ms=5", "key=value"},
        {"127.0.0.1:1", "=x", "linger.ms=5", "key=value"},
        {"127.0.0.1:1,kafka.example.org:9092", "linger.ms=2", "linger.ms=5", "kafka.example.org"},
        {"10.0.0.1:9092", "security.protocol=SASL_PLAINTEXT", "linger.ms=5", "encrypted"},
        {"10.0.0.1:9092", "security.protocol=SSL", "enable.ssl.certificate.verification=false", "certificate.verification=false"},
        {"10.0.0.1:9092", "security.protocol=ssl", "ssl.endpoint.identification.algorithm=none", "identification.algorithm=none"},
    };
    struct mr_wake wake;
    struct mr_log_port port;
    REQUIRE(mr_wake_open(&wake));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mr_err err = {0};
        const char *extra[] = {bad[i].extra, bad[i].also};
        struct mr_kafka_options options = {.brokers = bad[i].brokers, .group = "g", .extra = extra, .n_extra = 2};
        EXPECT_EQ(mr_kafka_open(&options, MR_LOG_CLIENT, &wake, &port, &err), MR_ERR_INVALID);
        EXPECT(strstr(err.text, bad[i].word) != NULL);
        if (!strstr(err.text, bad[i].word))
            printf("%s\n", err.text);
    }
    mr_wake_close(&wake);
}

TEST(a_missing_input_is_named)
{
    struct peer peer = {0};
    const char *input = "no-such-input";
    struct mr_err err = {0};
    if (no_broker())
        return;
    struct mr_kafka_options options = options_of(&input);
    REQUIRE(mr_wake_open(&peer.wake));
    EXPECT_EQ(mr_kafka_open(&options, MR_LOG_WORKER, &peer.wake, &peer.port, &err), MR_ERR_NOT_FOUND);
    EXPECT(strstr(err.text, "no-such-input") != NULL);
    mr_wake_close(&peer.wake);
}

TEST_MAIN(TEST_CASE(options_are_judged), TEST_CASE(records_come_back_whole), TEST_CASE(following_tells_the_end_and_stops),
          TEST_CASE(pausing_loses_and_repeats_nothing), TEST_CASE(commits_come_back_with_their_text),
          TEST_CASE(a_second_member_takes_its_share), TEST_CASE(a_new_producer_goes_on),
          TEST_CASE(a_reader_that_failed_for_good_is_made_anew), TEST_CASE(a_producer_that_failed_for_good_says_so),
          TEST_CASE(repairs_wait_longer_each_time), TEST_CASE(poll_sleeps_and_wakes),
          TEST_CASE(topics_are_made_and_described), TEST_CASE(a_missing_input_is_named))
