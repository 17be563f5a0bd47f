/* `millrace top`: every worker's heartbeat, as a live view or (--json) as one snapshot. Rates are differences of two looks. One thread.
 *
 * Owns two looks, each in an arena of its own: the last one is kept for the rates. A worker that started anew between them has no rate.
 * What the store holds is not trusted: fields are shown without control bytes, numbers are read from 23 digits at most. */
#include "base/clock.h"
#include "worker/cli/cli.h"
#include "worker/cli/outcome.h"
#include "worker/options.h"
#include "worker/tenant_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TOP_WORKERS_MAX = 256, TOP_TENANTS_MAX = 64 };

/* The tenants over all workers, of one look. */
struct top_tenants {
    struct mr_tenant_view view[TOP_TENANTS_MAX];
    int64_t served[TOP_TENANTS_MAX]; /* service since the last look */
    double share[TOP_TENANTS_MAX];   /* of what all were served since */
    size_t n;
};

struct top_worker {
    char id[128];
    struct mr_str *fields; /* [n] alternating names and values */
    size_t n;
    struct mr_str *tenants; /* [n_tenants] alternating names and views */
    size_t n_tenants;
    int64_t prompt, output; /* tokens since its start */
    double prompt_rate, output_rate; /* tokens a second; -1: not known yet */
};

struct top {
    struct mr_cli *cli;
    const struct mr_options *options;
    struct mr_arena arenas[2];         /* of this look and of the last one */
    struct top_worker *workers, *last; /* [n], [n_last] in them */
    size_t n, n_last;
    int64_t looked_ns, last_ns;
    struct top_tenants tenants, last_tenants;
    struct mr_err err;
    bool failed;
};

static struct mr_str top_field(const struct top_worker *worker, const char *name)
{
    for (size_t i = 0; i + 1 < worker->n; i += 2)
        if (mr_str_is(worker->fields[i], name))
            return worker->fields[i + 1];
    return (struct mr_str){0};
}

static int64_t top_number(struct mr_str text)
{
    char digits[24] = "";
    memcpy(digits, text.p ? text.p : "", text.n < sizeof digits ? text.n : sizeof digits - 1);
    return strtoll(digits, NULL, 10);
}

/* Text for a terminal: no control bytes. Heartbeats come from a store that others may write. */
static const char *top_text(const struct top_worker *worker, const char *name, char out[128])
{
    struct mr_str text = top_field(worker, name);
    size_t n = text.n < 127 ? text.n : 127;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f ? '?' : text.p[i];
    out[n] = '\0';
    return out;
}

/* Into a name of the size of a tenant's, without control bytes. */
static void top_copy(char *out, struct mr_str name)
{
    for (size_t i = 0; i < name.n; i++)
        out[i] = (unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f ? '?' : name.p[i];
    out[name.n] = '\0';
}

/* What the worker tells of its tenants, under a key of its own. */
static void top_read_tenants(struct top *t, struct top_worker *worker)
{
    char key[160];
    int n = snprintf(key, sizeof key, "tenants:%s", worker->id);
    worker->n_tenants = 0;
    if (t->cli->outside->state_read(t->options, (struct mr_str){key, (size_t)n}, &t->arenas[0], &worker->tenants, &worker->n_tenants, NULL) != MR_OK)
        worker->n_tenants = 0;
}

static void top_rates(struct top *t, struct top_worker *worker)
{
    double seconds = (double)(t->looked_ns - t->last_ns) / 1e9;
    worker->prompt_rate = worker->output_rate = -1;
    for (size_t i = 0; i < t->n_last && seconds > 0; i++) {
        const struct top_worker *last = &t->last[i];
        if (strcmp(last->id, worker->id) != 0 || last->output > worker->output || last->prompt > worker->prompt)
            continue;
        worker->prompt_rate = (double)(worker->prompt - last->prompt) / seconds;
        worker->output_rate = (double)(worker->output - last->output) / seconds;
    }
}

/* Sums what the workers tell of each tenant; the rates of service are differences of two looks. */
static void top_tenants(struct top *t)
{
    struct top_tenants *now = &t->tenants;
    *now = (struct top_tenants){0};
    for (size_t i = 0; i < t->n; i++) {
        struct top_worker *worker = &t->workers[i];
        for (size_t k = 0; k + 1 < worker->n_tenants; k += 2) {
            size_t at = 0;
            while (at < now->n && !mr_str_is(worker->tenants[k], now->view[at].name))
                at++;
            bool fits = at < TOP_TENANTS_MAX && worker->tenants[k].n < sizeof now->view[at].name;
            if (!fits || !mr_tenant_view_add(&now->view[at], worker->tenants[k + 1]))
                continue;
            if (at == now->n)
                top_copy(now->view[now->n++].name, worker->tenants[k]);
        }
    }
    int64_t sum = 0;
    for (size_t i = 0; i < now->n; i++) {
        now->served[i] = now->view[i].service;
        for (size_t k = 0; k < t->last_tenants.n; k++)
            if (strcmp(t->last_tenants.view[k].name, now->view[i].name) == 0 && t->last_tenants.view[k].service <= now->view[i].service)
                now->served[i] -= t->last_tenants.view[k].service;
        sum += now->served[i];
    }
    for (size_t i = 0; i < now->n; i++)
        now->share[i] = sum > 0 ? (double)now->served[i] / (double)sum : 0;
}

static int top_compare(const void *a, const void *b)
{
    return strcmp(((const struct top_worker *)a)->id, ((const struct top_worker *)b)->id);
}

/* Reads every heartbeat. false: the store does not answer, t->err says why. */
static bool top_look(struct top *t)
{
    struct mr_arena swap = t->arenas[0];
    struct mr_clock clock = mr_clock_system();
    struct mr_str *keys;
    size_t n_keys;
    t->arenas[0] = t->arenas[1];
    t->arenas[1] = swap;
    mr_arena_fini(&t->arenas[0]);
    t->last = t->workers, t->n_last = t->n, t->last_ns = t->looked_ns;
    t->workers = mr_arena_array(&t->arenas[0], TOP_WORKERS_MAX, sizeof *t->workers);
    t->n = 0;
    t->looked_ns = mr_clock_ns(&clock);
    if (!t->workers || t->cli->outside->state_keys(t->options, MR_STR("worker:"), &t->arenas[0], &keys, &n_keys, &t->err) != MR_OK)
        return false;
    for (size_t i = 0; i < n_keys && t->n < TOP_WORKERS_MAX; i++) {
        struct top_worker *worker = &t->workers[t->n];
        if (t->cli->outside->state_read(t->options, keys[i], &t->arenas[0], &worker->fields, &worker->n, &t->err) != MR_OK || worker->n == 0)
            continue; /* it has just expired */
        size_t prefix = sizeof "worker:" - 1, n = keys[i].n - prefix;
        snprintf(worker->id, sizeof worker->id, "%.*s", (int)n, keys[i].p + prefix);
        top_read_tenants(t, worker);
        worker->prompt = top_number(top_field(worker, "prompt_tokens"));
        worker->output = top_number(top_field(worker, "output_tokens"));
        t->n++;
    }
    qsort(t->workers, t->n, sizeof *t->workers, top_compare);
    for (size_t i = 0; i < t->n; i++)
        top_rates(t, &t->workers[i]);
    t->last_tenants = t->tenants;
    top_tenants(t);
    return true;
}

static void top_draw_workers(const struct top *t, struct mr_buf *out)
{
    char a[128], b[128], c[128];
    mr_buf_addf(out, "%-24s %-9s %-24s %5s %6s %6s %5s %9s %13s %9s %9s\n", "worker", "state", "model", "parts", "live", "waits", "seqs", "step ms",
                "KV blocks", "tok/s out", "tok/s in");
    for (size_t i = 0; i < t->n; i++) {
        const struct top_worker *w = &t->workers[i];
        mr_buf_addf(out, "%-24.24s %-9.9s %-24.24s", w->id, top_text(w, "state", a), top_text(w, "model", b));
        mr_buf_addf(out, " %5lld %6lld %6lld %5lld", (long long)top_number(top_field(w, "partitions")), (long long)top_number(top_field(w, "live")),
                    (long long)top_number(top_field(w, "waiting")), (long long)top_number(top_field(w, "batch_seqs")));
        mr_buf_addf(out, " %9.2f %13.13s", (double)top_number(top_field(w, "step_us")) / 1000, top_text(w, "kv", c));
        if (w->output_rate >= 0)
            mr_buf_addf(out, " %9.1f %9.1f\n", w->output_rate, w->prompt_rate);
        else
            mr_buf_addf(out, " %9s %9s\n", "-", "-");
    }
}

static void top_draw_tiers(const struct top *t, struct mr_buf *out)
{
    mr_buf_addf(out, "\n%-24s %8s %8s\n", "tier", "running", "waiting");
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        int64_t running = 0, waiting = 0;
        for (size_t i = 0; i < t->n; i++) {
            struct mr_str pair = top_field(&t->workers[i], mr_tier_name((enum mr_tier)tier));
            const char *slash = pair.n ? memchr(pair.p, '/', pair.n) : NULL;
            running += top_number(pair);
            waiting += slash ? top_number((struct mr_str){slash + 1, pair.n - (size_t)(slash + 1 - pair.p)}) : 0;
        }
        mr_buf_addf(out, "%-24s %8lld %8lld\n", mr_tier_name((enum mr_tier)tier), (long long)running, (long long)waiting);
    }
}

static double top_on_time(const struct mr_tenant_view *v) { return v->finished ? (double)v->on_time / (double)v->finished : 1; }

static void top_draw_tenants(const struct top *t, struct mr_buf *out)
{
    mr_buf_addf(out, "\n%-24s %7s %12s %7s %8s %8s %9s %8s %9s %9s\n", "tenant", "share", "counter", "drift", "running", "waiting", "finished",
                "on time", "preempted", "relegated");
    for (size_t i = 0; i < t->tenants.n; i++) {
        const struct mr_tenant_view *v = &t->tenants.view[i];
        mr_buf_addf(out, "%-24.24s %6.1f%% %12lld %7.2f %8d %8d %9lld %7.1f%% %9lld %9lld%s\n", v->name, 100 * t->tenants.share[i],
                    (long long)v->counter, (double)v->drift_permille / 1000, v->running, v->waiting, (long long)v->finished, 100 * top_on_time(v),
                    (long long)v->preemptions, (long long)v->relegations, v->limited ? "  limited" : "");
    }
}

static bool top_draw(void *self, struct mr_buf *out)
{
    struct top *t = self;
    double in = 0, output = 0;
    if (!top_look(t)) {
        mr_buf_addf(out, "the state store does not answer: %s\n", t->err.text);
        return true; /* it heals */
    }
    for (size_t i = 0; i < t->n; i++) {
        in += t->workers[i].prompt_rate > 0 ? t->workers[i].prompt_rate : 0;
        output += t->workers[i].output_rate > 0 ? t->workers[i].output_rate : 0;
    }
    mr_buf_addf(out, "millrace: %zu workers, %.1f tok/s out, %.1f tok/s in (q leaves)\n\n", t->n, output, in);
    top_draw_workers(t, out);
    top_draw_tiers(t, out);
    top_draw_tenants(t, out);
    return true;
}

static void top_print_tenant(struct mr_arena *arena, const struct top_tenants *tenants, size_t i)
{
    const struct mr_tenant_view *v = &tenants->view[i];
    struct mr_value map = mr_value_map(arena, 12);
    mr_value_set(&map, "tenant", mr_value_string(mr_str_from(v->name)));
    mr_value_set(&map, "share", mr_value_float(tenants->share[i]));
    mr_value_set(&map, "service", mr_value_int(v->service));
    mr_value_set(&map, "counter", mr_value_int(v->counter));
    mr_value_set(&map, "drift", mr_value_float((double)v->drift_permille / 1000));
    mr_value_set(&map, "running", mr_value_int(v->running));
    mr_value_set(&map, "waiting", mr_value_int(v->waiting));
    mr_value_set(&map, "finished", mr_value_int(v->finished));
    mr_value_set(&map, "on_time", mr_value_float(top_on_time(v)));
    mr_value_set(&map, "preemptions", mr_value_int(v->preemptions));
    mr_value_set(&map, "relegations", mr_value_int(v->relegations));
    mr_value_set(&map, "limited", mr_value_bool(v->limited));
    mr_outcome_print_json(&map);
}

/* Two looks a heartbeat apart, so that rates are known. */
static int top_print_json(struct top *t)
{
    struct timespec pause = {t->options->worker.heartbeat_ms / 1000, t->options->worker.heartbeat_ms % 1000 * 1000000};
    struct mr_arena *arena = &t->cli->arena;
    bool looked = top_look(t);
    if (looked && t->n) {
        nanosleep(&pause, NULL);
        looked = top_look(t);
    }
    if (!looked)
        return mr_cli_fail("%s", t->err.text);
    for (size_t i = 0; i < t->n; i++) {
        const struct top_worker *w = &t->workers[i];
        struct mr_value map = mr_value_map(arena, w->n / 2 + 3);
        mr_value_set(&map, "worker", mr_value_string(mr_str_from(w->id)));
        for (size_t k = 0; k + 1 < w->n; k += 2)
            mr_value_set(&map, mr_arena_str(arena, w->fields[k]).p, mr_value_string(w->fields[k + 1]));
        mr_value_set(&map, "output_tok_s", w->output_rate < 0 ? mr_value_null() : mr_value_float(w->output_rate));
        mr_value_set(&map, "prompt_tok_s", w->prompt_rate < 0 ? mr_value_null() : mr_value_float(w->prompt_rate));
        mr_outcome_print_json(&map);
    }
    for (size_t i = 0; i < t->tenants.n; i++)
        top_print_tenant(arena, &t->tenants, i);
    return MR_EXIT_DONE;
}

int mr_verb_top(struct mr_cli *cli, int argc, char **argv)
{
    const struct mr_flags_usage usage = {
        .synopsis = "top -c FILE",
        .about = "A live view of every worker that writes its heartbeat to the state store: tiers, tenants, steps, KV cache, tokens a second.\n"
                 "Of a tenant: its share of what was served since the last look, the weighted service that fairness compares, how far it leads as a\n"
                 "part of what the bound allows, its jobs, and how many were on time.\n"
                 "--json: one line a worker and one a tenant, once.",
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    struct top t = {.cli = cli, .options = mr_cli_options(cli)};
    if (!t.options)
        return MR_EXIT_USAGE;
    if (!mr_cli_has(cli->outside->state_keys, "Redis") || (!cli->json && !mr_cli_has(cli->outside->screen, "curses")))
        return MR_EXIT_FAILED;
    if (t.options->redis.address[0] == '\0')
        return mr_cli_fail("top reads heartbeats from the state store, and redis.address is empty");
    int code = cli->json ? top_print_json(&t) : cli->outside->screen(top_draw, &t, (int)t.options->worker.heartbeat_ms);
    mr_arena_fini(&t.arenas[0]);
    mr_arena_fini(&t.arenas[1]);
    return code ? MR_EXIT_FAILED : MR_EXIT_DONE;
}
