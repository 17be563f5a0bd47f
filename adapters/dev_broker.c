/* The embedded broker: a host for librdkafka's mock cluster.
 *
 * The library binds a port of its own choice, and its clients learn the address from the broker's own metadata. So the port is
 * fixed where it is chosen: this program's bind() stands before libc's for the whole process, and while the cluster is being
 * made, on the thread that makes it, the one bind of a loopback socket to port 0 becomes a bind to the wanted port. Rejected: a
 * relay in front (a thread and a copy of every byte, and the metadata would still name the library's port). */
#define _GNU_SOURCE
#include "adapters/dev_broker.h"
#include "adapters/kafka.h"

#include <arpa/inet.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Thread_local int wanted_port; /* 0: bind as asked */

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_in fixed;
    if (wanted_port && address && length == sizeof fixed && address->sa_family == AF_INET) {
        memcpy(&fixed, address, sizeof fixed);
        if (fixed.sin_port == 0 && fixed.sin_addr.s_addr == htonl(INADDR_LOOPBACK)) {
            fixed.sin_port = htons((uint16_t)wanted_port);
            return (int)syscall(SYS_bind, fd, &fixed, length);
        }
    }
    return (int)syscall(SYS_bind, fd, address, length);
}

/* 0: not HOST:PORT on loopback. */
static int port_of(const char *address)
{
    static const char *const hosts[] = {"127.0.0.1:", "localhost:", ":"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        size_t n = strlen(hosts[i]);
        if (strncmp(address, hosts[i], n) == 0) {
            char *end;
            long port = strtol(address + n, &end, 10);
            return *end == 0 && port > 0 && port < 65536 ? (int)port : 0;
        }
    }
    return 0;
}

/* The library aborts the process when its bind fails (2.0.2), so the port is tried before. */
static bool port_is_free(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    bool ok = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) && !bind(fd, (struct sockaddr *)&address, sizeof address) &&
              !listen(fd, 1);
    if (!ok)
        fprintf(stderr, "dev-broker: cannot listen on 127.0.0.1:%d: %s\n", port, strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

static void quiet(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    (void)handle;
    if (level <= 3) /* errors; the rest is about the clients' comings and goings */
        fprintf(stderr, "dev-broker: %s: %s\n", facility, text);
}

static rd_kafka_t *host_new(void)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, quiet);
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!host) {
        fprintf(stderr, "dev-broker: %s\n", text);
        rd_kafka_conf_destroy(conf);
    }
    return host;
}

static bool topics_make(rd_kafka_mock_cluster_t *cluster, const struct mr_topic *topics, size_t n_topics)
{
    bool ok = rd_kafka_mock_topic_create(cluster, MR_KAFKA_DEV_BROKER_TOPIC, 1, 1) == RD_KAFKA_RESP_ERR_NO_ERROR;
    for (size_t i = 0; ok && i < n_topics; i++) {
        rd_kafka_resp_err_t err = rd_kafka_mock_topic_create(cluster, topics[i].name, topics[i].partitions, 1);
        ok = !err;
        if (err)
            fprintf(stderr, "dev-broker: topic %s: %s\n", topics[i].name, rd_kafka_err2str(err));
    }
    return ok;
}

static void say_what_it_lacks(void)
{
    fprintf(stderr, "dev-broker: for a first look only. It keeps everything in memory and forgets it when it ends; it keeps 5 MB or 100,000\n"
                    "dev-broker: batches a partition and drops the oldest without a word; no transactions, no compaction, no retention by\n"
                    "dev-broker: time, no topics made on request, no encryption, no access control; loopback only.\n");
}

int mr_dev_broker_run(const char *address, const struct mr_topic *topics, size_t n_topics)
{
    sigset_t ends;
    int signal_number, port = port_of(address), code = 1;
    if (!port) {
        fprintf(stderr, "dev-broker: \"%s\" is not a port on loopback (127.0.0.1:PORT): it has no access control, so it listens nowhere else\n",
                address);
        return 2;
    }
    if (!port_is_free(port))
        return 1;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* before any thread is made, so that they all inherit it */
    rd_kafka_t *host = host_new();
    if (!host)
        return 1;
    wanted_port = port;
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(host, 1);
    wanted_port = 0;
    if (cluster && topics_make(cluster, topics, n_topics)) {
        say_what_it_lacks();
        printf("listening on %s\n", rd_kafka_mock_cluster_bootstraps(cluster));
        fflush(stdout);
        sigwait(&ends, &signal_number);
        code = 0;
    }
    if (cluster)
        rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    return code;
}
