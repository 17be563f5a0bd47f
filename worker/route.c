/* Routes: read, derived, judged.
 *
 * Any thread; a route's strings lie in the arena that it was read with, or are the config's own.
 * 1 Every route has an input, a stream, results and control; parked comes with a stream of its own.
 * 2 An input or stream topic has one use in all routes together: the owner of an input partition is then the one writer of its
 *   stream partition, and no worker reads its own outcomes as jobs. Outputs may be shared.
 * 3 But not between tenants: who may read a results or dead topic, or write a control topic, is told by access lists a topic. A
 *   route with a tenant of its own has outputs of the tenant's name, and shares them with no other tenant and no "field" route.
 * Rejected: a default for a topic that was given wrong (a typo would send jobs elsewhere). */
#include "worker/route.h"

#include "base/check.h"

#include <ctype.h>
#include <stdio.h>

static const char *const tier_names[MR_TIER_COUNT] = {"realtime", "standard", "bulk"};

const char *mr_tier_name(enum mr_tier tier)
{
    CHECK(tier < MR_TIER_COUNT);
    return tier_names[tier];
}

bool mr_tier_from_name(struct mr_str name, enum mr_tier *out)
{
    for (int i = 0; i < MR_TIER_COUNT; i++)
        if (mr_str_is(name, tier_names[i])) {
            *out = (enum mr_tier)i;
            return true;
        }
    return false;
}

bool mr_tenant_valid(struct mr_str tenant)
{
    for (size_t i = 0; i < tenant.n; i++) {
        char c = tenant.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return tenant.n >= 1 && tenant.n <= 63;
}

bool mr_topic_valid(struct mr_str topic)
{
    for (size_t i = 0; i < topic.n; i++) {
        unsigned char c = (unsigned char)topic.p[i];
        if (c >= 0x80 || !(isalnum(c) || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return topic.n >= 1 && topic.n <= MR_TOPIC_BYTES_MAX && !mr_str_is(topic, ".") && !mr_str_is(topic, "..");
}

/* prefix + middle + name as a kept string; "" when memory is out or the name would be too long for a topic. */
static const char *topic_name(struct mr_arena *arena, const char *prefix, const char *middle, const char *name)
{
    char text[3 * (MR_TOPIC_BYTES_MAX + 1)];
    int n = snprintf(text, sizeof text, "%s%s%s", prefix, middle, name);
    if (n < 0 || n > MR_TOPIC_BYTES_MAX)
        return "";
    const char *kept = mr_arena_str(arena, (struct mr_str){text, (size_t)n}).p;
    return kept ? kept : "";
}

/* What a route of this name has when nothing else is said. */
static struct mr_route derive(const char *name, const char *prefix, struct mr_arena *arena)
{
    return (struct mr_route){
        .name = name,
        .jobs = topic_name(arena, prefix, "jobs.", name),
        .parked = topic_name(arena, prefix, "parked.", name),
        .stream = topic_name(arena, prefix, "stream.", name),
        .stream_parked = topic_name(arena, prefix, "stream.parked.", name),
        .results = topic_name(arena, prefix, "results", ""),
        .dead = topic_name(arena, prefix, "dead", ""),
        .control = topic_name(arena, prefix, "control", ""),
        .tenant_from_field = true,
        .tenant = "default",
    };
}

struct mr_route *mr_route_defaults(const char *prefix, struct mr_arena *arena)
{
    struct mr_route *routes = mr_arena_array(arena, MR_TIER_COUNT, sizeof *routes);
    for (int i = 0; routes && i < MR_TIER_COUNT; i++) {
        routes[i] = derive(tier_names[i], prefix, arena);
        routes[i].tier = (enum mr_tier)i;
    }
    return routes;
}

/* Reading one entry: where it has got to, and what to say when a setting is wrong. */
struct reading {
    struct mr_arena *arena;
    struct mr_route *route;
    const struct mr_value **bad;
    struct mr_err *err;
};

static enum mr_status wrong(struct reading *r, const struct mr_value *value, const char *key, const char *what)
{
    *r->bad = value;
    return mr_err_set(r->err, MR_ERR_INVALID, "route %s: %s %s", r->route->name, key, what);
}

static enum mr_status read_topic(struct reading *r, const char *key, const struct mr_value *value, const char **out)
{
    if (value->kind != MR_STRING)
        return wrong(r, value, key, "must be a string");
    bool optional = strcmp(key, "parked") == 0 || strcmp(key, "stream_parked") == 0 || strcmp(key, "dead") == 0;
    if (!mr_topic_valid(value->as.string) && !(optional && value->as.string.n == 0))
        return wrong(r, value, key, "is no topic name ([A-Za-z0-9._-], 1 to 249 characters)");
    *out = value->as.string.p; /* a config's strings are terminated, and live as long as its arena */
    return MR_OK;
}

static enum mr_status read_list(struct reading *r, const char *key, const struct mr_value *value, const char *const **out, int32_t *n)
{
    if (value->kind != MR_ARRAY || value->as.array.n > MR_ROUTE_LIST_MAX)
        return wrong(r, value, key, "must be a list of at most 256 strings");
    const char **items = mr_arena_array(r->arena, value->as.array.n, sizeof *items);
    if (!items)
        return mr_err_set(r->err, MR_ERR_NOMEM, "no memory for the routes");
    for (size_t i = 0; i < value->as.array.n; i++) {
        if (value->as.array.items[i].kind != MR_STRING)
            return wrong(r, &value->as.array.items[i], key, "must be a list of at most 256 strings");
        items[i] = value->as.array.items[i].as.string.p;
    }
    *out = items;
    *n = (int32_t)value->as.array.n;
    return MR_OK;
}

/* "field": from the job, "default" when absent; anything else is the tenant of every job. */
static enum mr_status read_tenant(struct reading *r, const struct mr_value *value)
{
    if (value->kind != MR_STRING || !mr_tenant_valid(value->as.string))
        return wrong(r, value, "tenant", "must be \"field\" or a name ([a-z0-9-], 1 to 63 characters)");
    r->route->tenant_from_field = mr_str_is(value->as.string, "field");
    r->route->tenant = r->route->tenant_from_field ? "default" : value->as.string.p;
    return MR_OK;
}

/* Outputs of the tenant's own, unless they are named. */
static void derive_tenant(struct mr_route *route, const char *prefix, struct mr_arena *arena)
{
    route->results = topic_name(arena, prefix, "results.", route->tenant);
    route->dead = topic_name(arena, prefix, "dead.", route->tenant);
    route->control = topic_name(arena, prefix, "control.", route->tenant);
}

static enum mr_status read_model_change(struct reading *r, const struct mr_value *value)
{
    bool restart = value->kind == MR_STRING && mr_str_is(value->as.string, "restart");
    if (!restart && !(value->kind == MR_STRING && mr_str_is(value->as.string, "fail")))
        return wrong(r, value, "on_model_change", "must be \"fail\" or \"restart\"");
    r->route->restart_on_model_change = restart;
    return MR_OK;
}

static enum mr_status read_setting(struct reading *r, const struct mr_pair *pair)
{
    const struct {
        const char *key;
        const char **topic;
    } topics[] = {
        {"jobs", &r->route->jobs}, {"parked", &r->route->parked}, {"stream", &r->route->stream}, {"stream_parked", &r->route->stream_parked},
        {"results", &r->route->results}, {"dead", &r->route->dead}, {"control", &r->route->control},
    };
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
        if (mr_str_is(pair->key, topics[i].key))
            return read_topic(r, topics[i].key, &pair->value, topics[i].topic);
    if (mr_str_is(pair->key, "name") || mr_str_is(pair->key, "tier") || mr_str_is(pair->key, "tenant"))
        return MR_OK; /* already read */
    if (mr_str_is(pair->key, "on_model_change"))
        return read_model_change(r, &pair->value);
    if (mr_str_is(pair->key, "models"))
        return read_list(r, "models", &pair->value, &r->route->models, &r->route->n_models);
    if (mr_str_is(pair->key, "reply_topics"))
        return read_list(r, "reply_topics", &pair->value, &r->route->reply_topics, &r->route->n_reply_topics);
    return wrong(r, &pair->value, pair->key.p, "is no setting of a route");
}

enum mr_status mr_route_read(const struct mr_value *entry, const char *prefix, struct mr_arena *arena, struct mr_route *out,
                             const struct mr_value **bad, struct mr_err *err)
{
    *bad = entry;
    const struct mr_value *name = mr_value_get(entry, "name"), *tier = mr_value_get(entry, "tier"), *tenant = mr_value_get(entry, "tenant");
    if (!name || name->kind != MR_STRING || !mr_topic_valid(name->as.string))
        return mr_err_set(err, MR_ERR_INVALID, "a route must be a group with a name");
    *out = derive(name->as.string.p, prefix, arena);
    struct reading r = {arena, out, bad, err};
    if (!tier && !mr_tier_from_name(name->as.string, &out->tier))
        return wrong(&r, entry, "tier", "is missing (realtime, standard or bulk)");
    if (tier && (tier->kind != MR_STRING || !mr_tier_from_name(tier->as.string, &out->tier)))
        return wrong(&r, tier, "tier", "must be realtime, standard or bulk");
    if (tenant && read_tenant(&r, tenant))
        return err ? err->code : MR_ERR_INVALID;
    if (!out->tenant_from_field)
        derive_tenant(out, prefix, arena);
    for (size_t i = 0; i < entry->as.map.n; i++) {
        enum mr_status status = read_setting(&r, &entry->as.map.items[i]);
        if (status)
            return status;
    }
    if (!out->jobs[0] || !out->stream[0] || !out->results[0] || !out->control[0])
        return wrong(&r, entry, "jobs, stream, results, control", "must name topics of at most 249 characters");
    for (int32_t i = 0; i < out->n_reply_topics; i++)
        if (!mr_topic_valid(mr_str_from(out->reply_topics[i])))
            return wrong(&r, mr_value_get(entry, "reply_topics"), "reply_topics", "holds what is no topic name");
    if (out->parked[0] && !out->stream_parked[0])
        return wrong(&r, entry, "stream_parked", "is needed beside parked");
    return MR_OK;
}

/* The topics of a route by what they are for: two inputs, then the stream of each, then the outputs that routes may share. */
enum { N_INPUT = 2, N_STREAM = 2, N_TOPICS = 7 };

static void topics_of(const struct mr_route *route, const char *out[N_TOPICS])
{
    const char *const topics[N_TOPICS] = {route->jobs, route->parked, route->stream, route->stream_parked,
                                          route->results, route->dead, route->control};
    memcpy(out, topics, sizeof topics);
}

/* a and b may be the same route: then a topic is not compared with itself. */
static enum mr_status check_pair(const struct mr_route *a, const struct mr_route *b, struct mr_err *err)
{
    const char *x[N_TOPICS], *y[N_TOPICS];
    topics_of(a, x);
    topics_of(b, y);
    for (int i = 0; i < N_INPUT + N_STREAM; i++)
        for (int k = 0; k < N_TOPICS; k++) {
            if (!x[i][0] || strcmp(x[i], y[k]) != 0 || (a == b && i == k))
                continue;
            return mr_err_set(err, MR_ERR_INVALID, "topic %s is used twice: an input and a stream topic belong to one route and one use", x[i]);
        }
    return MR_OK;
}

/* Outputs stay inside a tenant, where routes know tenants. */
static enum mr_status check_tenants(const struct mr_route *a, const struct mr_route *b, struct mr_err *err)
{
    const char *const x[] = {a->results, a->dead, a->control}, *const y[] = {b->results, b->dead, b->control};
    bool one = a->tenant_from_field && b->tenant_from_field;
    if (!a->tenant_from_field && !b->tenant_from_field)
        one = strcmp(a->tenant, b->tenant) == 0;
    for (int i = 0; i < 3 && !one; i++)
        if (x[i][0] && strcmp(x[i], y[i]) == 0)
            return mr_err_set(err, MR_ERR_INVALID, "topic %s is shared by routes %s and %s: one tenant would see or cancel another's jobs", x[i],
                              a->name, b->name);
    return MR_OK;
}

enum mr_status mr_routes_check(const struct mr_route *routes, int32_t n, struct mr_err *err)
{
    if (n < 1 || n > MR_ROUTES_MAX)
        return mr_err_set(err, MR_ERR_INVALID, "there must be 1 to %d routes, not %d", MR_ROUTES_MAX, n);
    for (int32_t i = 0; i < n; i++)
        for (int32_t k = 0; k < n; k++) {
            if (i != k && strcmp(routes[i].name, routes[k].name) == 0)
                return mr_err_set(err, MR_ERR_INVALID, "two routes are named %s", routes[i].name);
            enum mr_status status = check_pair(&routes[i], &routes[k], err);
            status = status ? status : check_tenants(&routes[i], &routes[k], err);
            if (status)
                return status;
        }
    return MR_OK;
}

const struct mr_route *mr_route_of_topic(const struct mr_route *routes, int32_t n, struct mr_str topic, bool *parked)
{
    for (int32_t i = 0; i < n; i++) {
        *parked = routes[i].parked[0] && mr_str_is(topic, routes[i].parked);
        if (*parked || mr_str_is(topic, routes[i].jobs))
            return &routes[i];
    }
    return NULL;
}
