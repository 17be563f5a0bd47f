/* Every code with which a broker refuses a commit, as the answer to the question who owns: only what says that another does is a no. */
#include "tests/adapters/kafka_mock.h"

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

TEST_MAIN(TEST_CASE(every_code_of_a_refused_commit))
