/* The embedded broker: librdkafka's mock cluster as a process of its own, on a fixed loopback port. For a first look, never
 * for a promise: it keeps everything in memory, 5 MB a partition, and says so at start. */
#ifndef MR_ADAPTERS_DEV_BROKER_H
#define MR_ADAPTERS_DEV_BROKER_H

#include "worker/outside.h"

/* address: 127.0.0.1:port or localhost:port; anything off loopback is refused. Makes topics and the marker topic, prints what it
 * lacks on stderr and "listening on HOST:PORT" on stdout, and runs until SIGINT or SIGTERM. Returns an exit code. */
int mr_dev_broker_run(const char *address, const struct mr_topic *topics, size_t n_topics);

#endif
