/* Every code with which a broker refuses a commit, as the answer to the question who owns: only what says that another does is a no.
 * And a call that tells of a rebalance and returns a record at once. */
#include "tests/adapters/kafka_mock.h"

#include <dlfcn.h>
#include <time.h>

enum { MANY = 3000, SOON_MS = 500 }; /* a fetch waits 50 ms; a client that is not woken looks once a second */

static const struct {
    rd_kafka_resp_err_t code;
    enum mr_commit_outcome told;
} codes[] = {
    {RD_KAFKA_RESP_ERR_NO_ERROR, MR_COMMIT_OK},
    {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, MR_COMMIT_RETRY},
    {RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, MR_COMMIT_RETRY},
    {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, MR_COMMIT_RETRY},
    {RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE, MR_COMMIT_RETRY},
    {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, MR_COMMIT_OK}, /* asked again by librdkafka */
    {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, MR_COMMIT_OK},
    {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, MR_COMMIT_NOT_OWNER}, /* and the membership is over */
    {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, MR_COMMIT_NOT_OWNER},
};

/* The library's call as it is now and then: where it has run the rebalance's callback, it comes back with a first record, too. Here always. */
static struct kafka *waited_for; /* NULL: as it is */
static int both;                 /* calls that did both */

rd_kafka_message_t *rd_kafka_consumer_poll(rd_kafka_t *handle, int timeout_ms)
{
    typedef rd_kafka_message_t *poll_function(rd_kafka_t *, int);
    poll_function *real = (poll_function *)dlsym(RTLD_NEXT, "rd_kafka_consumer_poll");
    rd_kafka_message_t *message = real(handle, timeout_ms);
    int64_t deadline = kafka_now_ns() + MOCK_PATIENCE_S * MR_NS_PER_S;
    bool told = waited_for && waited_for->inputs.n > 0 && waited_for->pending;
    while (told && !message && kafka_now_ns() < deadline)
        message = real(handle, 10);
    both += told && message && !message->err;
    return message;
}

TEST(every_code_of_a_refused_commit)
{
    struct mock_peer peer = {0};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct mr_log_event event;
        struct mr_log_action commit = {.kind = MR_LOG_COMMIT, .record = {.topic = MR_STR("t")}, .offset = 1, .tag = 7, .text = MR_STR("AQID")};
        REQUIRE(peer.port.self || mock_open(&peer, MR_LOG_WORKER));
        if (codes[i].code)
            rd_kafka_mock_push_request_errors(peer.cluster, MOCK_OFFSET_COMMIT, 1, codes[i].code);
        EXPECT(peer.port.act(peer.port.self, &commit) == MR_OK && mock_next(&peer, MR_LOG_COMMITTED, &event));
        if (event.commit != codes[i].told)
            printf("%s: told %d\n", rd_kafka_err2name(codes[i].code), (int)event.commit);
        EXPECT(event.tag == 7 && event.commit == codes[i].told);
        if (event.commit == MR_COMMIT_NOT_OWNER)
            mock_close(&peer);
    }
}

/* Of static members only, which we never are. librdkafka ends the handle, and the answer with it: a new one joins. */
TEST(a_fenced_member_loses_everything_and_joins_anew)
{
    struct mock_peer peer = {0};
    struct mr_log_event event;
    struct mr_log_action commit = {.kind = MR_LOG_COMMIT, .record = {.topic = MR_STR("t")}, .offset = 1, .tag = 7, .text = MR_STR("AQID")};
    REQUIRE(mock_open(&peer, MR_LOG_WORKER));
    rd_kafka_mock_push_request_errors(peer.cluster, MOCK_OFFSET_COMMIT, 1, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
    EXPECT(peer.port.act(peer.port.self, &commit) == MR_OK && mock_next(&peer, MR_LOG_REVOKED, &event) && event.lost);
    EXPECT(mock_next(&peer, MR_LOG_ASSIGNED, &event));
    mock_close(&peer);
}

/* Told before ASSIGNED, nobody would take it, and it never comes again. */
TEST(the_first_record_behind_a_rebalance_waits_for_its_turn)
{
    struct mock_peer peer = {0};
    struct mr_log_event event = {.kind = MR_LOG_TROUBLE};
    REQUIRE(mock_open_unassigned(&peer, MR_LOG_WORKER));
    struct mr_log_action record = {.kind = MR_LOG_PRODUCE, .record = {.topic = MR_STR("t"), .value = MR_STR("first")}, .tag = 1};
    waited_for = peer.port.self;
    EXPECT(peer.port.act(peer.port.self, &record) == MR_OK);
    int64_t deadline = kafka_now_ns() + MOCK_PATIENCE_S * MR_NS_PER_S;
    while (kafka_now_ns() < deadline && event.kind != MR_LOG_ASSIGNED && event.kind != MR_LOG_RECORD)
        if (!peer.port.poll(peer.port.self, deadline - kafka_now_ns(), &event))
            break;
    EXPECT(event.kind == MR_LOG_ASSIGNED && both == 1);
    EXPECT(mock_next(&peer, MR_LOG_RECORD, &event) && event.record.offset == 0 && mr_str_is(event.record.value, "first"));
    waited_for = NULL;
    mock_close(&peer);
}

/* Whoever has much to take must not wait with what comes next: it may be somebody else's, and urgent. */
TEST(the_job_behind_many_comes_soon)
{
    struct mock_peer peer = {0};
    struct mr_log_event event;
    struct mr_log_action record = {.kind = MR_LOG_PRODUCE, .record = {.topic = MR_STR("t"), .value = MR_STR("x")}, .tag = 1};
    REQUIRE(mock_open_unassigned(&peer, MR_LOG_WORKER));
    for (int i = 0; i < MANY; i++)
        EXPECT(peer.port.act(peer.port.self, &record) == MR_OK);
    EXPECT(mock_next(&peer, MR_LOG_ASSIGNED, &event));
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL); /* all of it waits to be taken */
    for (int i = 0; i < MANY; i++)
        REQUIRE(mock_next(&peer, MR_LOG_RECORD, &event) && event.record.offset == i);
    EXPECT(peer.port.act(peer.port.self, &record) == MR_OK);
    int64_t begin_ns = kafka_now_ns();
    EXPECT(mock_next(&peer, MR_LOG_RECORD, &event) && event.record.offset == MANY);
    int64_t took_ms = (kafka_now_ns() - begin_ns) / MR_NS_PER_MS;
    if (took_ms >= SOON_MS)
        printf("after %lld ms\n", (long long)took_ms);
    EXPECT(took_ms < SOON_MS);
    mock_close(&peer);
}

TEST_MAIN(TEST_CASE(every_code_of_a_refused_commit), TEST_CASE(a_fenced_member_loses_everything_and_joins_anew),
          TEST_CASE(the_first_record_behind_a_rebalance_waits_for_its_turn),
          TEST_CASE(the_job_behind_many_comes_soon))
