/* HTTP GET over libmicrohttpd's own thread. */
#include "adapters/http.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct http {
    struct MHD_Daemon *daemon;
    mr_http_handler handler;
    void *self;
};

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status, struct mr_buf *body, const char *type)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(body->n, body->n ? body->p : "", MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_NO;
    if (response) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        result = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
    }
    return result;
}

static enum MHD_Result answer(void *opaque, struct MHD_Connection *connection, const char *path, const char *method, const char *version,
                              const char *upload, size_t *upload_bytes, void **state)
{
    struct http *http = opaque;
    struct mr_buf body = {0};
    const char *type = "text/plain; charset=utf-8";
    (void)version, (void)upload, (void)state;
    if (*upload_bytes) {
        *upload_bytes = 0; /* a body is read past, not kept */
        return MHD_YES;
    }
    unsigned status = 405;
    if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0)
        status = (unsigned)http->handler(http->self, path, &body, &type);
    enum MHD_Result result = respond(connection, body.failed ? 500 : status, &body, type);
    mr_buf_fini(&body);
    return result;
}

/* "host:port" into an address; false: it is none. */
static bool address_of(const char *listen, struct sockaddr_storage *out)
{
    char host[64], *end;
    const char *colon = strrchr(listen, ':');
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    if (!colon || (size_t)(colon - listen) >= sizeof host || colon[1] == 0)
        return false;
    memcpy(host, listen, (size_t)(colon - listen));
    host[colon - listen] = 0;
    long port = strtol(colon + 1, &end, 10);
    if (*end || port < 0 || port > 65535)
        return false;
    size_t n = strlen(host);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = 0;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, n == 0 || strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &v4->sin_addr) == 1;
}

static void no_log(void *self, const char *format, va_list arguments)
{
    (void)self, (void)format, (void)arguments; /* it speaks of clients that hang up */
}

enum mr_status mr_http_open(const char *listen, mr_http_handler handler, void *self, void **out, struct mr_err *err)
{
    struct sockaddr_storage address;
    if (!address_of(listen, &address))
        return mr_err_set(err, MR_ERR_INVALID, "http.listen: \"%s\" is not an address and a port", listen);
    struct http *http = calloc(1, sizeof *http);
    if (!http)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for HTTP");
    http->handler = handler;
    http->self = self;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | (address.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    http->daemon = MHD_start_daemon(flags, 0, NULL, NULL, answer, http, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL, MHD_OPTION_SOCK_ADDR,
                                    (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)MR_HTTP_CONNECTIONS_MAX,
                                    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)MR_HTTP_TIMEOUT_S, MHD_OPTION_END);
    if (!http->daemon) {
        free(http);
        return mr_err_set(err, MR_ERR_IO, "http.listen: cannot listen on %s: is the port taken?", listen);
    }
    *out = http;
    return MR_OK;
}

int mr_http_port(void *opaque)
{
    struct http *http = opaque;
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    if (!info || getsockname(info->listen_fd, (struct sockaddr *)&address, &n))
        return -1;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port : ((struct sockaddr_in *)&address)->sin_port);
}

void mr_http_close(void *opaque)
{
    struct http *http = opaque;
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    free(http);
}
