/* Every code with which a broker refuses a record: it is sent again until it is there, or it is told as failed, and then the next
 * producer's records arrive. */
#include "tests/adapters/kafka_mock.h"

static enum mr_status produce(struct mock_peer *peer, uint64_t tag)
{
    struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .tag = tag, .record = {.topic = MR_STR("t"), .key = MR_STR("k"), .value = MR_STR("v")}};
    return peer->port.act(peer->port.self, &action);
}

static const struct {
    rd_kafka_resp_err_t code;
    enum mr_status told;
} codes[] = {
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, MR_OK},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, MR_OK},
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, MR_OK},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, MR_OK},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, MR_OK},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, MR_OK},
    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, MR_OK},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, MR_ERR_LIMIT},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, MR_ERR_LIMIT},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, MR_ERR_IO},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, MR_ERR_IO},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, MR_ERR_IO},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, MR_ERR_IO},
};

TEST(every_code_of_a_refused_record)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct mock_peer peer = {0};
        struct mr_log_event event;
        REQUIRE(mock_open(&peer, MR_LOG_CLIENT));
        EXPECT(produce(&peer, 1) == MR_OK && mock_next(&peer, MR_LOG_DELIVERED, &event) && event.status == MR_OK);
        rd_kafka_mock_push_request_errors(peer.cluster, MOCK_PRODUCE, 1, codes[i].code);
        EXPECT(produce(&peer, 2) == MR_OK && mock_next(&peer, MR_LOG_DELIVERED, &event));
        if (event.status != codes[i].told)
            printf("%s: told %s\n", rd_kafka_err2name(codes[i].code), mr_status_name(event.status));
        EXPECT(event.tag == 2 && event.status == codes[i].told);
        if (event.status != MR_OK) {
            const struct mr_log_action reopen = {.kind = MR_LOG_REOPEN_PRODUCER};
            EXPECT(peer.port.act(peer.port.self, &reopen) == MR_OK && produce(&peer, 3) == MR_OK);
            EXPECT(mock_next(&peer, MR_LOG_DELIVERED, &event) && event.tag == 3 && event.status == MR_OK);
        }
        mock_close(&peer);
    }
}

TEST_MAIN(TEST_CASE(every_code_of_a_refused_record))
