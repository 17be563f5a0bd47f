/* HTTP GET on libmicrohttpd, for /metrics and health. One thread of the library's own; plain HTTP, no bodies read. */
#ifndef MR_ADAPTERS_HTTP_H
#define MR_ADAPTERS_HTTP_H

#include "worker/outside.h"

enum { MR_HTTP_CONNECTIONS_MAX = 32, MR_HTTP_TIMEOUT_S = 10 };

/* listen: host:port, the host an IPv4 or [IPv6] address or localhost; ":port" is 127.0.0.1; port 0: a free one. */
enum mr_status mr_http_open(const char *listen, mr_http_handler handler, void *self, void **out, struct mr_err *err);
void mr_http_close(void *http);
int mr_http_port(void *http);

#endif
