#include "base/ring.h"
#include "tests/test.h"

#include <time.h>

TEST(keeps_order_and_refuses_past_its_capacity)
{
    struct mr_ring ring;
    int out = -1;
    REQUIRE(mr_ring_open(&ring, 3, sizeof(int), NULL));
    EXPECT(!mr_ring_pop(&ring, &out));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            EXPECT(mr_ring_push(&ring, &i));
        EXPECT(!mr_ring_push(&ring, &(int){9}));
        EXPECT_EQ(mr_ring_count(&ring), 3);
        for (int i = 0; i < 3; i++) {
            EXPECT(mr_ring_pop(&ring, &out));
            EXPECT_EQ(out, i);
        }
    }
    mr_ring_close(&ring);
}

enum { PRODUCERS = 3, EACH = 20000 };

struct producer {
    struct mr_ring *ring;
    int id;
};

static void *produce(void *argument)
{
    struct producer *p = argument;
    for (int i = 0; i < EACH; i++) {
        int item = p->id * EACH + i;
        while (!mr_ring_push(p->ring, &item))
            nanosleep(&(struct timespec){0, 1000}, NULL);
    }
    return NULL;
}

TEST(many_producers_lose_nothing_and_keep_their_own_order)
{
    struct mr_wake wake;
    struct mr_ring ring;
    pthread_t threads[PRODUCERS];
    struct producer producers[PRODUCERS];
    int next[PRODUCERS] = {0}, taken = 0, item;
    REQUIRE(mr_wake_open(&wake) && mr_ring_open(&ring, 64, sizeof(int), &wake));
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&ring, i};
        REQUIRE(pthread_create(&threads[i], NULL, produce, &producers[i]) == 0);
    }
    while (taken < PRODUCERS * EACH) {
        if (!mr_ring_pop(&ring, &item)) {
            mr_wake_wait(&wake, 100 * 1000 * 1000);
            continue;
        }
        EXPECT_EQ(item % EACH, next[item / EACH]);
        next[item / EACH]++;
        taken++;
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    EXPECT_EQ(mr_ring_count(&ring), 0);
    mr_ring_close(&ring);
    mr_wake_close(&wake);
}

TEST(a_signal_before_the_wait_is_not_lost_and_a_timeout_ends_it)
{
    struct mr_wake wake;
    REQUIRE(mr_wake_open(&wake));
    mr_wake_signal(&wake);
    mr_wake_signal(&wake);
    mr_wake_wait(&wake, -1); /* would hang if the signal were lost */
    mr_wake_wait(&wake, 2 * 1000 * 1000);
    mr_wake_close(&wake);
    EXPECT_EQ(wake.fd, -1);
}

TEST_MAIN(TEST_CASE(keeps_order_and_refuses_past_its_capacity), TEST_CASE(many_producers_lose_nothing_and_keep_their_own_order),
          TEST_CASE(a_signal_before_the_wait_is_not_lost_and_a_timeout_ends_it))
