/* The HTTP port, asked over a plain socket. */
#include "adapters/http.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int handle(void *self, const char *path, struct mr_buf *body, const char **type)
{
    (void)self;
    if (strcmp(path, "/metrics") == 0) {
        *type = "text/plain; version=0.0.4";
        mr_buf_addf(body, "jobs 3\n");
        return 200;
    }
    if (strcmp(path, "/large") == 0) {
        for (int i = 0; i < 100000; i++)
            mr_buf_addf(body, "0123456789");
        return 200;
    }
    mr_buf_addf(body, "no such page\n");
    return 404;
}

/* Sends request and reads the whole answer; its length, -1 when nobody answers. */
static long ask(int port, const char *request, char *out, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    long total = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) || write(fd, request, strlen(request)) < 0) {
        close(fd);
        return -1;
    }
    for (ssize_t n; (n = read(fd, out + total, size - 1 - (size_t)total)) > 0;)
        total += n;
    out[total] = 0;
    close(fd);
    return total;
}

TEST(pages_are_answered)
{
    static char out[1200000];
    void *http;
    struct mr_err err;
    REQUIRE(!mr_http_open("127.0.0.1:0", handle, NULL, &http, &err));
    int port = mr_http_port(http);
    EXPECT(ask(port, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", out, sizeof out) > 0);
    EXPECT(strncmp(out, "HTTP/1.1 200", 12) == 0);
    EXPECT(strstr(out, "version=0.0.4") != NULL && strstr(out, "\r\n\r\njobs 3\n") != NULL);
    EXPECT(ask(port, "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", out, sizeof out) > 0);
    EXPECT(strncmp(out, "HTTP/1.1 404", 12) == 0);
    EXPECT(ask(port, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", out, sizeof out) > 0);
    EXPECT(strncmp(out, "HTTP/1.1 405", 12) == 0);
    EXPECT(ask(port, "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", out, sizeof out) > 1000000);
    EXPECT(ask(port, "nonsense\r\n\r\n", out, sizeof out) >= 0);

    char taken[32];
    void *second;
    snprintf(taken, sizeof taken, "127.0.0.1:%d", port);
    EXPECT_EQ(mr_http_open(taken, handle, NULL, &second, &err), MR_ERR_IO);
    mr_http_close(http);
    EXPECT_EQ(ask(port, "GET / HTTP/1.1\r\n\r\n", out, sizeof out), -1);
}

static int connected(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&address, sizeof address) ? -1 : fd;
}

/* So many are served at a time; one more waits until one of them leaves. */
TEST(connections_end_at_their_number)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    const struct timeval soon = {.tv_usec = 300000};
    int fds[MR_HTTP_CONNECTIONS_MAX];
    char out[512];
    void *http;
    struct mr_err err;
    REQUIRE(!mr_http_open("127.0.0.1:0", handle, NULL, &http, &err));
    for (int i = 0; i < MR_HTTP_CONNECTIONS_MAX; i++) {
        fds[i] = connected(mr_http_port(http));
        REQUIRE(fds[i] >= 0 && write(fds[i], request, 10) == 10); /* and the rest does not come */
    }
    int more = connected(mr_http_port(http));
    REQUIRE(more >= 0 && !setsockopt(more, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon) && write(more, request, sizeof request - 1) > 0);
    EXPECT(read(more, out, sizeof out) < 0); /* not yet */
    EXPECT(write(fds[1], request + 10, sizeof request - 11) > 0 && read(fds[1], out, sizeof out) > 0);
    close(fds[0]);
    fds[0] = more;
    bool answered = false;
    for (int i = 0; i < 20 && !answered; i++)
        answered = read(more, out, sizeof out) > 0;
    EXPECT(answered);
    for (int i = 0; i < MR_HTTP_CONNECTIONS_MAX; i++)
        close(fds[i]);
    mr_http_close(http);
}

TEST(addresses_are_judged)
{
    static const char *const bad[] = {"", "9090", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:9x", "example.org:80", "[::1:80"};
    void *http;
    struct mr_err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT_EQ(mr_http_open(bad[i], handle, NULL, &http, &err), MR_ERR_INVALID);
        EXPECT(strstr(err.text, "http.listen") != NULL);
    }
    REQUIRE(!mr_http_open(":0", handle, NULL, &http, &err));
    mr_http_close(http);
}

TEST_MAIN(TEST_CASE(pages_are_answered), TEST_CASE(connections_end_at_their_number), TEST_CASE(addresses_are_judged))
