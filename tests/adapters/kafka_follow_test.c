/* A partition that is followed: behind a long tail the next record is there at once. */
#include "tests/adapters/kafka_mock.h"

#include <time.h>

enum { TAIL = 3000, SOON_MS = 500 }; /* a fetch waits 50 ms; a client that is not woken looks once a second */

static void produce(struct mock_peer *peer, uint64_t tag)
{
    struct mr_log_action record = {.kind = MR_LOG_PRODUCE, .record = {.topic = MR_STR("t"), .value = MR_STR("x")}, .tag = tag};
    EXPECT(peer->port.act(peer->port.self, &record) == MR_OK);
}

TEST(the_record_behind_a_long_tail_comes_soon)
{
    struct mock_peer peer = {0};
    struct mr_log_event event;
    struct mr_log_action follow = {.kind = MR_LOG_FOLLOW, .record = {.topic = MR_STR("t")}, .offset = 0};
    REQUIRE(mock_open(&peer, MR_LOG_CLIENT));
    for (uint64_t i = 1; i <= TAIL; i++)
        produce(&peer, i);
    for (int i = 0; i < TAIL; i++)
        REQUIRE(mock_next(&peer, MR_LOG_DELIVERED, &event) && event.status == MR_OK);
    EXPECT(peer.port.act(peer.port.self, &follow) == MR_OK);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL); /* all of it waits to be taken */
    EXPECT(mock_next(&peer, MR_LOG_CAUGHT_UP, &event) && event.offset == TAIL);
    for (int i = 0; i < 3; i++) {
        produce(&peer, 1);
        int64_t begin_ns = kafka_now_ns();
        EXPECT(mock_next(&peer, MR_LOG_FOLLOWED, &event) && event.record.offset == TAIL + i);
        int64_t took_ms = (kafka_now_ns() - begin_ns) / MR_NS_PER_MS;
        if (took_ms >= SOON_MS)
            printf("after %lld ms\n", (long long)took_ms);
        EXPECT(took_ms < SOON_MS);
    }
    mock_close(&peer);
}

TEST_MAIN(TEST_CASE(the_record_behind_a_long_tail_comes_soon))
