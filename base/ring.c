#include "base/ring.h"

#include "base/check.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool mr_wake_open(struct mr_wake *wake)
{
    wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return wake->fd >= 0;
}

void mr_wake_close(struct mr_wake *wake)
{
    if (wake->fd >= 0)
        close(wake->fd);
    wake->fd = -1;
}

void mr_wake_signal(struct mr_wake *wake)
{
    uint64_t one = 1;
    ssize_t n = write(wake->fd, &one, sizeof one); /* EAGAIN: the counter is full, so the sleeper is awake already */
    (void)n;
}

void mr_wake_wait(struct mr_wake *wake, int64_t timeout_ns)
{
    struct pollfd poller = {.fd = wake->fd, .events = POLLIN};
    int timeout_ms = timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000);
    uint64_t signals;
    if (poll(&poller, 1, timeout_ms) > 0) {
        ssize_t n = read(wake->fd, &signals, sizeof signals);
        (void)n;
    }
}

bool mr_ring_open(struct mr_ring *ring, size_t capacity, size_t item_bytes, struct mr_wake *wake)
{
    CHECK(capacity > 0 && item_bytes > 0);
    memset(ring, 0, sizeof *ring);
    ring->slots = calloc(capacity, item_bytes);
    if (!ring->slots)
        return false;
    ring->capacity = capacity;
    ring->item_bytes = item_bytes;
    ring->wake = wake;
    pthread_mutex_init(&ring->lock, NULL);
    return true;
}

void mr_ring_close(struct mr_ring *ring)
{
    if (!ring->slots)
        return;
    free(ring->slots);
    ring->slots = NULL;
    pthread_mutex_destroy(&ring->lock);
}

bool mr_ring_push(struct mr_ring *ring, const void *item)
{
    pthread_mutex_lock(&ring->lock);
    bool room = ring->count < ring->capacity;
    if (room) {
        memcpy(ring->slots + (ring->head + ring->count) % ring->capacity * ring->item_bytes, item, ring->item_bytes);
        ring->count++;
    }
    pthread_mutex_unlock(&ring->lock);
    if (room && ring->wake)
        mr_wake_signal(ring->wake);
    return room;
}

bool mr_ring_pop(struct mr_ring *ring, void *item)
{
    pthread_mutex_lock(&ring->lock);
    bool any = ring->count > 0;
    if (any) {
        memcpy(item, ring->slots + ring->head * ring->item_bytes, ring->item_bytes);
        ring->head = (ring->head + 1) % ring->capacity;
        ring->count--;
    }
    pthread_mutex_unlock(&ring->lock);
    return any;
}

size_t mr_ring_count(struct mr_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    size_t count = ring->count;
    pthread_mutex_unlock(&ring->lock);
    return count;
}
