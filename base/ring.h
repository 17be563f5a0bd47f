/* A bounded queue of fixed-size messages between threads.
 *
 * Any number of producers, one consumer. A push never waits: a full ring says so, and the producer's own rule (pause the
 * partition, drop a hint, keep the message) decides. The consumer sleeps on a file descriptor, so that one thread can wait
 * for several rings and a library's events at once: all rings of a thread share that thread's `mr_wake`. */
#ifndef MR_BASE_RING_H
#define MR_BASE_RING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Wakes one sleeping thread; an eventfd. wake() may come from any thread, wait() from its owner only. */
struct mr_wake {
    int fd;
};
bool mr_wake_open(struct mr_wake *wake); /* false: no descriptor left */
void mr_wake_close(struct mr_wake *wake);
void mr_wake_signal(struct mr_wake *wake);
/* Returns after a signal (signals since the last wait count) or timeout_ns; -1: no timeout. */
void mr_wake_wait(struct mr_wake *wake, int64_t timeout_ns);

struct mr_ring {
    pthread_mutex_t lock;
    unsigned char *slots;   /* [capacity][item_bytes] */
    size_t item_bytes;
    size_t capacity;        /* messages; a push beyond it fails */
    size_t head, count;     /* oldest message, messages waiting */
    struct mr_wake *wake;   /* the consumer's; NULL: it polls */
};

bool mr_ring_open(struct mr_ring *ring, size_t capacity, size_t item_bytes, struct mr_wake *wake); /* false: no memory */
void mr_ring_close(struct mr_ring *ring); /* messages still inside are forgotten: pop them first if they own anything */
bool mr_ring_push(struct mr_ring *ring, const void *item); /* copies item_bytes; false: full */
bool mr_ring_pop(struct mr_ring *ring, void *item);        /* false: empty */
size_t mr_ring_count(struct mr_ring *ring);

#endif
