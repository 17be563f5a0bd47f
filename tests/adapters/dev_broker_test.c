/* The embedded broker as a process, with a client of ours. */
#include "adapters/dev_broker.h"
#include "adapters/kafka.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, n) || getsockname(fd, (struct sockaddr *)&address, &n))
        return -1;
    close(fd);
    return ntohs(address.sin_port);
}

/* Runs it in a child, its stdout into *out. */
static pid_t start(const char *address, const struct mr_topic *topics, size_t n, int *out)
{
    int pipes[2];
    if (pipe(pipes))
        return -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        if (!freopen("/dev/null", "w", stderr))
            _exit(99);
        close(pipes[0]);
        _exit(mr_dev_broker_run(address, topics, n));
    }
    close(pipes[1]);
    *out = pipes[0];
    return child;
}

static int code_of(pid_t child)
{
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(it_listens_where_it_is_told_and_has_its_topics)
{
    struct mr_topic topics[2] = {{.name = "a", .partitions = 3}, {.name = "b", .partitions = 1}};
    struct mr_wake wake;
    struct mr_log_port port;
    struct mr_err err = {0};
    char address[32], line[64] = "", wanted[64];
    int out, second_out;
    snprintf(address, sizeof address, "127.0.0.1:%d", free_port());
    snprintf(wanted, sizeof wanted, "listening on %s\n", address);
    pid_t child = start(address, topics, 2, &out);
    EXPECT(read(out, line, sizeof line - 1) > 0);
    EXPECT_STR(line, wanted);

    EXPECT_EQ(code_of(start(address, topics, 2, &second_out)), 1); /* the port is taken */
    close(second_out);

    struct mr_kafka_options options = {.brokers = address};
    REQUIRE(mr_wake_open(&wake));
    EXPECT_EQ(mr_kafka_open(&options, MR_LOG_CLIENT, &wake, &port, &err), MR_OK);
    if (port.self) {
        EXPECT_EQ(port.partitions(port.self, MR_STR("a")), 3);
        EXPECT_EQ(port.partitions(port.self, MR_STR("b")), 1);
        EXPECT_EQ(port.partitions(port.self, MR_STR(MR_KAFKA_DEV_BROKER_TOPIC)), 1);
        mr_kafka_close(&port);
    }
    EXPECT_EQ(mr_kafka_topic_create(&options, &topics[0], &err), MR_ERR_UNSUPPORTED);
    kill(child, SIGTERM);
    EXPECT_EQ(code_of(child), 0);
    close(out);
    mr_wake_close(&wake);
}

TEST(it_listens_nowhere_else)
{
    static const char *const bad[] = {"0.0.0.0:9092", "192.168.0.1:9092", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "example.org:9092", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int out;
        EXPECT_EQ(code_of(start(bad[i], NULL, 0, &out)), 2);
        close(out);
    }
}

TEST_MAIN(TEST_CASE(it_listens_where_it_is_told_and_has_its_topics), TEST_CASE(it_listens_nowhere_else))
