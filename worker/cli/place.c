#include "worker/cli/place.h"

#include <stdio.h>
#include <stdlib.h>

bool mr_place_state(const struct mr_outside *outside, const struct mr_options *options, struct mr_str job, struct mr_arena *arena,
                    struct mr_str **fields, size_t *n_fields)
{
    char key[400];
    int n = snprintf(key, sizeof key, "{%.*s}", (int)job.n, job.p);
    if (!outside->state_read || options->redis.address[0] == '\0' || n < 0 || (size_t)n >= sizeof key)
        return false;
    return outside->state_read(options, (struct mr_str){key, (size_t)n}, arena, fields, n_fields, NULL) == MR_OK && *n_fields > 0;
}

/* The store is a hint: it may name a topic that is gone, or a run that has moved. */
static const struct mr_route *hinted(const struct mr_client *client, struct mr_str job, struct mr_arena *arena, bool *parked, int32_t *partition)
{
    struct mr_str *fields;
    size_t n;
    const struct mr_route *route = NULL;
    *partition = -1;
    if (!mr_place_state(client->outside, client->options, job, arena, &fields, &n))
        return NULL;
    for (size_t i = 0; i + 1 < n; i += 2) {
        if (mr_str_is(fields[i], "topic"))
            route = mr_route_of_topic(client->options->routes, client->options->n_routes, fields[i + 1], parked);
        if (mr_str_is(fields[i], "partition") && fields[i + 1].n < 12) {
            char text[12] = "";
            memcpy(text, fields[i + 1].p, fields[i + 1].n);
            *partition = (int32_t)strtol(text, NULL, 10);
        }
    }
    return *partition >= 0 ? route : NULL;
}

int32_t mr_place_follow(struct mr_client *client, struct mr_str job, struct mr_arena *arena)
{
    bool parked = false;
    int32_t partition, n = 0;
    const struct mr_route *route = hinted(client, job, arena, &parked, &partition);
    if (route)
        n = mr_client_follow(client, route->stream, partition, -1) +
            (route->stream_parked[0] ? mr_client_follow(client, route->stream_parked, partition, -1) : 0);
    bool everywhere = n == 0;
    for (int32_t i = 0; everywhere && i < client->options->n_routes; i++) {
        n += mr_client_follow(client, client->options->routes[i].stream, -1, -1);
        if (client->options->routes[i].stream_parked[0])
            n += mr_client_follow(client, client->options->routes[i].stream_parked, -1, -1);
    }
    if (n == 0)
        mr_cli_fail("no stream topic of the configuration exists");
    return n;
}
