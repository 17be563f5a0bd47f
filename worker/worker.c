/* Owns everything that the process has: ports, threads, rings; and the log thread's loop.
 *
 * Invariants:
 * 1. The owner is stepped by one thread; its actions are performed in order, all of one step before the next step.
 * 2. What the log does not take at once waits in the outbox, in order; while anything waits there no engine note is taken, so
 *    that its length is bounded by what polls alone can cause, and the engine slows down.
 * 3. Jobs are freed after the engine is gone.
 *
 * Rejected: a queue between owner and log (the outbox is almost always empty, and it is where backpressure shows). */
#include "worker/worker_state.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "worker/heartbeat.h"
#include "worker/model/format_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum { NOTES_A_ROUND = 512, POLLS_A_ROUND = 256 };

#define REPORT_NS (250 * MR_NS_PER_MS)

/* ---- performing the owner's actions ---- */

static char *put(char *at, struct mr_str *s)
{
    if (s->n)
        memcpy(at, s->p, s->n);
    if (s->p)
        s->p = at;
    return at + s->n;
}

static size_t record_bytes(const struct mr_record *record)
{
    size_t n = record->topic.n + record->key.n + record->value.n + sizeof(struct mr_header) * (size_t)record->n_headers + 16;
    for (int32_t i = 0; i < record->n_headers; i++)
        n += record->headers[i].key.n + record->headers[i].value.n;
    return n;
}

/* Makes record point into memory, which has record_bytes of room. Returns the first byte behind. */
static char *record_own(struct mr_record *record, char *memory)
{
    struct mr_header *headers = (struct mr_header *)(((uintptr_t)memory + 15) / 16 * 16);
    char *at = (char *)(headers + record->n_headers);
    for (int32_t i = 0; i < record->n_headers; i++) {
        headers[i] = record->headers[i];
        at = put(at, &headers[i].key);
        at = put(at, &headers[i].value);
    }
    record->headers = headers;
    at = put(at, &record->topic);
    at = put(at, &record->key);
    return put(at, &record->value);
}

static void outbox_add(struct mr_worker *worker, const struct mr_log_action *action)
{
    struct outbox_item *item = malloc(sizeof *item + record_bytes(&action->record) + 16 + action->text.n);
    CHECK(item && worker->n_outbox < MR_WORKER_OUTBOX_MAX);
    item->next = NULL;
    item->action = *action;
    put(record_own(&item->action.record, item->memory), &item->action.text);
    *worker->outbox_end = item;
    worker->outbox_end = &item->next;
    worker->n_outbox++;
}

static void step(struct mr_worker *worker, const struct mr_owner_event *event);

/* true: done with it (the owner has been told if the topic does not exist). */
static bool log_act(struct mr_worker *worker, const struct mr_log_action *action, bool *missing)
{
    enum mr_status status = worker->log.act(worker->log.self, action);
    *missing = status == MR_ERR_NOT_FOUND;
    if (status != MR_OK && status != MR_ERR_BUSY && status != MR_ERR_NOT_FOUND) {
        mr_log(MR_LOG_ERROR, "log.action_failed", "kind=%d status=%s", (int)action->kind, mr_status_name(status));
        mr_metrics_trouble(&worker->metrics);
    }
    return status != MR_ERR_BUSY;
}

static void outbox_flush(struct mr_worker *worker)
{
    while (worker->outbox) {
        struct outbox_item *item = worker->outbox;
        bool missing;
        if (!log_act(worker, &item->action, &missing))
            return;
        worker->outbox = item->next;
        if (!worker->outbox)
            worker->outbox_end = &worker->outbox;
        worker->n_outbox--;
        if (missing)
            step(worker, &(struct mr_owner_event){.kind = MR_OWNER_MISSING, .refused = &item->action});
        free(item);
    }
}

static void request_admission(struct mr_worker *worker, const struct mr_owner_action *action)
{
    struct admit_request *request = malloc(sizeof *request + record_bytes(&action->record) + 16);
    CHECK(request);
    request->handle = action->handle;
    request->route = action->route;
    request->record = action->record;
    record_own(&request->record, request->memory);
    CHECK(mr_ring_push(&worker->requests, &request)); /* one a slot at most */
}

static void command_engine(struct mr_worker *worker, enum command_kind kind, const struct mr_owner_action *action)
{
    struct command command = {.kind = kind, .handle = action->handle};
    if (kind == COMMAND_SUBMIT) {
        command.run = action->engine;
        size_t bytes = sizeof *action->engine.accepted * (size_t)action->engine.n_accepted;
        int32_t *accepted = bytes ? malloc(bytes) : NULL;
        CHECK(accepted || !bytes);
        if (bytes)
            memcpy(accepted, action->engine.accepted, bytes);
        command.run.accepted = accepted;
    }
    CHECK(mr_ring_push(&worker->commands, &command)); /* submit, cancel and drop of every slot at most */
}

static void put_state(struct mr_worker *worker, const struct mr_state_update *update)
{
    if (!worker->has_state)
        return;
    bool taken = worker->state.put(worker->state.self, update);
    mr_metrics_state_store(&worker->metrics, worker->state.healthy(worker->state.self), !taken);
}

static void perform(struct mr_worker *worker, const struct mr_owner_action *action)
{
    switch (action->kind) {
    case MR_OWNER_DO_ADMIT: request_admission(worker, action); break;
    case MR_OWNER_DO_SUBMIT: command_engine(worker, COMMAND_SUBMIT, action); break;
    case MR_OWNER_DO_CANCEL: command_engine(worker, COMMAND_CANCEL, action); break;
    case MR_OWNER_DO_DROP: command_engine(worker, COMMAND_DROP, action); break;
    case MR_OWNER_DO_STATE: put_state(worker, &action->state); break;
    case MR_OWNER_DO_ASK:
        if (worker->has_state)
            worker->state.ask(worker->state.self, &action->ask, &worker->log_wake);
        break; /* not taken: the owner waits for a while only */
    case MR_OWNER_DO_COUNT: mr_metrics_count(&worker->metrics, &action->outcome); break;
    case MR_OWNER_DO_REST:
        atomic_store(&worker->rest, action->on);
        mr_wake_signal(&worker->engine_wake);
        break;
    case MR_OWNER_DO_EXIT: worker->exit = true; break;
    case MR_OWNER_DO_LOG: break; /* step() does it */
    }
}

static void step(struct mr_worker *worker, const struct mr_owner_event *event)
{
    const struct mr_owner_action *actions;
    struct outbox_item *refused = NULL, **refused_end = &refused;
    size_t n;
    mr_owner_step(worker->owner, event, mr_clock_ns(&worker->clock), &actions, &n);
    for (size_t i = 0; i < n; i++) {
        bool missing = false;
        if (actions[i].kind != MR_OWNER_DO_LOG) {
            perform(worker, &actions[i]);
        } else if (worker->outbox || !log_act(worker, &actions[i].log, &missing)) {
            outbox_add(worker, &actions[i].log);
        }
        if (missing) { /* told after this step: the next one reuses what the actions point at */
            struct outbox_item *item = malloc(sizeof *item + record_bytes(&actions[i].log.record) + 16);
            CHECK(item);
            *item = (struct outbox_item){.action = actions[i].log};
            item->action.text = (struct mr_str){0};
            record_own(&item->action.record, item->memory);
            *refused_end = item;
            refused_end = &item->next;
        }
    }
    while (refused) {
        struct outbox_item *item = refused;
        refused = item->next;
        step(worker, &(struct mr_owner_event){.kind = MR_OWNER_MISSING, .refused = &item->action});
        free(item);
    }
}

/* ---- the log thread's loop ---- */

static void take_notes(struct mr_worker *worker)
{
    struct note *note;
    for (int i = 0; i < NOTES_A_ROUND && !worker->outbox && !worker->exit && mr_ring_pop(&worker->notes, &note); i++) {
        step(worker, &note->event);
        mr_arena_fini(&note->arena);
        free(note);
    }
}

static void take_answers(struct mr_worker *worker)
{
    struct mr_state_answer answer;
    if (!worker->has_state)
        return;
    bool up = worker->state.healthy(worker->state.self);
    if (up != worker->state_up) {
        worker->state_up = up;
        step(worker, &(struct mr_owner_event){.kind = MR_OWNER_STORE, .on = up});
    }
    while (worker->state.answer(worker->state.self, &answer)) {
        step(worker, &(struct mr_owner_event){.kind = MR_OWNER_ANSWER, .answer = &answer});
        free(answer.text);
    }
}

static void heartbeat(struct mr_worker *worker, int64_t now_ns, const struct mr_owner_stats *stats)
{
    char live[32], waiting[32], partitions[32], key[160];
    if (!worker->has_state || now_ns < worker->heartbeat_ns)
        return;
    worker->heartbeat_ns = now_ns + worker->options->worker.heartbeat_ms * MR_NS_PER_MS;
    snprintf(live, sizeof live, "%d", stats->live);
    snprintf(waiting, sizeof waiting, "%d", stats->waiting);
    snprintf(partitions, sizeof partitions, "%d", stats->partitions);
    snprintf(key, sizeof key, "worker:%s", worker->id);
    struct mr_state_update update = {.key = mr_str_from(key), .n_fields = 6, .epoch = -1, .expire_ms = worker->options->worker.heartbeat_ms * 5,
                                     .field = {MR_STR("live"), MR_STR("waiting"), MR_STR("partitions"), MR_STR("model"), MR_STR("build"),
                                         MR_STR("state")},
                                     .value = {mr_str_from(live), mr_str_from(waiting), mr_str_from(partitions),
                                         mr_str_from(worker->serving.bundle->name),
                                               mr_str_from(worker->build), mr_str_from(stats->draining ? "draining" : stats->ready
                                                   ? "ready" : "starting")}};
    struct mr_heartbeat beat;
    mr_heartbeat_add(&beat, &worker->metrics, &update);
    put_state(worker, &update);
    struct mr_heartbeat_tenants tenants;
    snprintf(key, sizeof key, "tenants:%s", worker->id);
    update.key = mr_str_from(key);
    mr_heartbeat_tenants(&tenants, &worker->metrics, &update);
    if (update.n_fields > 0)
        put_state(worker, &update);
}

static void report(struct mr_worker *worker, int64_t now_ns)
{
    struct mr_owner_stats stats;
    if (now_ns < worker->report_ns)
        return;
    worker->report_ns = now_ns + REPORT_NS;
    mr_owner_stats(worker->owner, &stats);
    mr_metrics_owner(&worker->metrics, &stats);
    atomic_store(&worker->ready, stats.ready);
    worker->model_changed = mr_gguf_changed(mr_model_file(worker->serving.bundle->model));
    heartbeat(worker, now_ns, &stats);
}

static void take_signals(struct mr_worker *worker)
{
    int signals = atomic_load(&worker->signals);
    while (worker->signals_seen < signals && worker->signals_seen < 2) {
        worker->signals_seen++;
        step(worker, &(struct mr_owner_event){.kind = worker->signals_seen == 1 ? MR_OWNER_DRAIN : MR_OWNER_LEAVE});
    }
}

static enum mr_status poll_log(struct mr_worker *worker, int64_t timeout_ns, struct mr_err *err)
{
    struct mr_log_event event;
    for (int i = 0; i < POLLS_A_ROUND && !worker->exit && worker->log.poll(worker->log.self, i ? 0 : timeout_ns, &event); i++) {
        if (event.kind == MR_LOG_TROUBLE)
            mr_metrics_trouble(&worker->metrics);
        step(worker, &(struct mr_owner_event){.kind = MR_OWNER_LOG, .log = &event});
        if (event.kind == MR_LOG_TROUBLE && event.fatal)
            return mr_err_set(err, MR_ERR_IO, "the log failed for good: %.*s", (int)event.text.n, event.text.p ? event.text.p : "");
    }
    return MR_OK;
}

/* A thread hangs: the group's other members get what is here. Nothing is appended: a YIELD would clear the job that it hangs in. */
static enum mr_status leave_hung(struct mr_worker *worker, struct mr_err *err)
{
    const struct mr_log_action leave = {.kind = MR_LOG_LEAVE};
    struct mr_log_event event;
    int64_t end_ns = mr_clock_ns(&worker->clock) + MR_WORKER_LEAVE_NS;
    worker->log.act(worker->log.self, &leave);
    while (mr_clock_ns(&worker->clock) < end_ns) {
        mr_watchdog_beat(&worker->watchdog, MR_WATCHED_LOG);
        worker->log.poll(worker->log.self, MR_OWNER_TICK_NS, &event);
    }
    return mr_err_set(err, MR_ERR_TIMEOUT, "%s has been stuck for %lld s", mr_watched_name(mr_watchdog_hung(&worker->watchdog)),
                      (long long)(worker->options->worker.hung_ms / 1000));
}

enum mr_status mr_worker_loop(struct mr_worker *worker, struct mr_err *err)
{
    enum mr_status status = MR_OK;
    while (!worker->exit && status == MR_OK) {
        int64_t now_ns = mr_clock_ns(&worker->clock);
        mr_watchdog_beat(&worker->watchdog, MR_WATCHED_LOG);
        if (mr_watchdog_hung(&worker->watchdog) != MR_WATCHED_NONE)
            return leave_hung(worker, err);
        take_signals(worker);
        outbox_flush(worker);
        take_answers(worker);
        take_notes(worker);
        if (now_ns >= worker->tick_ns) {
            worker->tick_ns = now_ns + MR_OWNER_TICK_NS;
            step(worker, &(struct mr_owner_event){.kind = MR_OWNER_TICK});
        }
        report(worker, now_ns);
        if (worker->model_changed)
            return mr_err_set(err, MR_ERR_IO, "the model file %s was written to while it is in use: put a new file in its place instead",
                              worker->options->model);
        bool more = mr_ring_count(&worker->notes) > 0 && !worker->outbox;
        struct mr_owner_stats stats;
        mr_owner_stats(worker->owner, &stats);
        int64_t wait_ns = more ? 0 : stats.live || stats.draining || worker->outbox ? MR_OWNER_TICK_NS : 10 * MR_OWNER_TICK_NS;
        status = poll_log(worker, wait_ns, err);
    }
    outbox_flush(worker);
    return status;
}

void mr_worker_signal(struct mr_worker *worker)
{
    atomic_fetch_add(&worker->signals, 1);
    mr_wake_signal(&worker->log_wake);
}

/* ---- http ---- */

static int http_answer(void *self, const char *path, struct mr_buf *body, const char **type)
{
    struct mr_worker *worker = self;
    *type = "text/plain; charset=utf-8";
    if (strcmp(path, "/metrics") == 0) {
        *type = "text/plain; version=0.0.4; charset=utf-8";
        mr_metrics_render(&worker->metrics, body);
        return body->failed ? 503 : 200;
    }
    if (strcmp(path, "/healthz") == 0) {
        enum mr_watched stuck = mr_watchdog_stalled(&worker->watchdog);
        mr_buf_addf(body, "%s%s\n", stuck == MR_WATCHED_NONE ? "ok" : mr_watched_name(stuck), stuck == MR_WATCHED_NONE ? "" : " is stuck");
        return stuck == MR_WATCHED_NONE ? 200 : 503;
    }
    if (strcmp(path, "/readyz") == 0) {
        bool ready = atomic_load(&worker->ready);
        mr_buf_addf(body, "%s\n", ready ? "ready" : "not ready");
        return ready ? 200 : 503;
    }
    mr_buf_addf(body, "not found: /metrics, /healthz, /readyz\n");
    return 404;
}

/* ---- open and close ---- */

static uint64_t worker_random(void *self)
{
    struct mr_worker *worker = self;
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = worker->random = mr_mix64(worker->random + (uint64_t)mr_clock_ns(&worker->clock));
    return random;
}

static void name_worker(struct mr_worker *worker, const char *version)
{
    const struct mr_bundle *bundle = worker->serving.bundle;
    char host[64] = "host";
    gethostname(host, sizeof host - 1);
    if (worker->options->worker.id[0])
        snprintf(worker->id, sizeof worker->id, "%s", worker->options->worker.id);
    else
        snprintf(worker->id, sizeof worker->id, "%s-%d", host, (int)getpid());
    snprintf(worker->build, sizeof worker->build, "%s %s", version, bundle->ops->path(bundle->device));
    worker->random = mr_mix64((uint64_t)getpid() ^ (uint64_t)mr_clock_wall_ms(&worker->clock));
    worker->process = worker_random(worker);
}

static enum mr_status open_owner(struct mr_worker *worker, struct mr_err *err)
{
    const struct mr_options *o = worker->options;
    if (o->kafka.audit[0])
        snprintf(worker->audit, sizeof worker->audit, "%s%s", o->kafka.prefix, o->kafka.audit);
    struct mr_owner_config config = {
        .routes = o->routes,
        .n_routes = o->n_routes,
        .process = worker->process,
        .worker = worker->id,
        .build = worker->build,
        .model_digest = mr_model_digest(worker->serving.bundle->model),
        .tokenizer_digest = mr_tokenizer_digest(worker->serving.bundle->tokenizer),
        .max_jobs = (int32_t)o->limits.jobs,
        .max_jobs_per_partition = (int32_t)o->limits.jobs_per_partition,
        .max_waiting = (int32_t)o->kafka.prefetch_jobs,
        .max_tenants = (int32_t)o->limits.tenants,
        .max_bytes = (int64_t)256 << 20,
        .max_dead_bytes = o->limits.record_bytes + (48 << 10),
        .grace_ns = o->worker.grace_ms * MR_NS_PER_MS,
        .state_expire_ms = o->redis.expire_ms,
        .audit = worker->audit,
        .ask_first = o->delivery.first && o->redis.address[0],
        .journal = o->delivery.journal && o->redis.address[0] && !o->delivery.bare,
        .vocabulary = (int32_t)mr_tokenizer_size(worker->serving.bundle->tokenizer),
        .transactions = o->delivery.transactions,
        .bare = o->delivery.bare,
        .random = worker_random,
        .self = worker,
    };
    for (int t = 0; t < MR_TIER_COUNT; t++)
        config.tier[t] = (struct mr_owner_tier){(int32_t)o->tier[t].batch_tokens, o->tier[t].batch_ms * MR_NS_PER_MS};
    return mr_owner_open(&config, &worker->owner, err);
}

static enum mr_status open_rings(struct mr_worker *worker, struct mr_err *err)
{
    size_t slots = (size_t)worker->options->limits.jobs * 2;
    if (!mr_wake_open(&worker->log_wake) || !mr_wake_open(&worker->admit_wake) || !mr_wake_open(&worker->engine_wake))
        return mr_err_set(err, MR_ERR_IO, "no descriptor left for waking threads");
    if (!mr_ring_open(&worker->notes, MR_WORKER_NOTES_MAX, sizeof(struct note *), &worker->log_wake)
        || !mr_ring_open(&worker->requests, slots, sizeof(struct admit_request *), &worker->admit_wake)
        || !mr_ring_open(&worker->commands, slots * 3, sizeof(struct command), &worker->engine_wake))
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the rings");
    return MR_OK;
}

static enum mr_status open_outside(struct mr_worker *worker, struct mr_err *err)
{
    const struct mr_outside *outside = worker->outside;
    enum mr_status status = outside->log_open(worker->options, MR_LOG_WORKER, &worker->log_wake, &worker->log, err);
    worker->has_log = status == MR_OK;
    if (status == MR_OK && worker->options->redis.address[0]) {
        status = outside->state_open(worker->options, &worker->state, err);
        worker->has_state = status == MR_OK;
    }
    if (status == MR_OK && worker->options->http.listen[0])
        status = outside->http_open(worker->options->http.listen, http_answer, worker, &worker->http, err);
    return status;
}

static enum mr_status start_threads(struct mr_worker *worker, struct mr_err *err)
{
    worker->views = calloc((size_t)worker->options->limits.tenants, sizeof *worker->views);
    if (!worker->views)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for %lld tenants", (long long)worker->options->limits.tenants);
    mr_engine_tell_waits(worker->serving.engine);
    if (worker->has_state && worker->state.tally && worker->options->scheduler.sync_ms) {
        const struct mr_counter_sync_options sync = {worker->serving.engine, &worker->state, worker->id, (int32_t)worker->options->limits.tenants,
                                                     worker->options->scheduler.sync_ms * MR_NS_PER_MS};
        worker->sync = mr_counter_sync_open(&sync);
        if (!worker->sync)
            return mr_err_set(err, MR_ERR_NOMEM, "no memory to share counters");
    }
    worker->admit_runs = pthread_create(&worker->admit_thread, NULL, worker_admit_main, worker) == 0;
    worker->engine_runs = pthread_create(&worker->engine_thread, NULL, worker_engine_main, worker) == 0;
    if (!worker->admit_runs || !worker->engine_runs)
        return mr_err_set(err, MR_ERR_LIMIT, "no thread can be started");
    return mr_watchdog_start(&worker->watchdog, err);
}

enum mr_status mr_worker_open(const struct mr_options *options, const struct mr_outside *outside, const char *version, struct mr_worker **out,
                              struct mr_err *err)
{
    struct mr_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the worker");
    worker->options = options;
    worker->outside = outside;
    worker->clock = mr_clock_system();
    worker->outbox_end = &worker->outbox;
    worker->log_wake.fd = worker->admit_wake.fd = worker->engine_wake.fd = -1;
    mr_watchdog_init(&worker->watchdog, options->worker.hung_ms * MR_NS_PER_MS, &worker->log_wake, mr_clock_ns(&worker->clock));
    mr_metrics_init(&worker->metrics);
    enum mr_status status = MR_OK;
    if (!mr_planted_parse(getenv(MR_PLANTED_VARIABLE), &worker->planted))
        status = mr_err_set(err, MR_ERR_INVALID, "%s is not a list of abort:NAME, hang:NAME and step:MS", MR_PLANTED_VARIABLE);
    status = status == MR_OK ? mr_serving_open(options, &worker->serving, err) : status;
    if (status == MR_OK) {
        name_worker(worker, version);
        status = open_owner(worker, err);
    }
    status = status == MR_OK ? open_rings(worker, err) : status;
    status = status == MR_OK ? open_outside(worker, err) : status;
    status = status == MR_OK ? start_threads(worker, err) : status;
    if (status != MR_OK) {
        mr_worker_close(worker);
        return status;
    }
    mr_log(MR_LOG_INFO, "worker.open", "id=%s process=%016llx model=%s build=\"%s\"", worker->id, (unsigned long long)worker->process,
           worker->serving.bundle->name, worker->build);
    *out = worker;
    return MR_OK;
}

static void join(pthread_t thread, bool runs, struct mr_wake *wake)
{
    if (!runs)
        return;
    mr_wake_signal(wake);
    pthread_join(thread, NULL);
}

static void empty_rings(struct mr_worker *worker)
{
    struct note *note;
    struct admit_request *request;
    struct command command;
    while (worker->notes.slots && mr_ring_pop(&worker->notes, &note)) {
        mr_job_free(note->event.job);
        mr_arena_fini(&note->arena);
        free(note);
    }
    while (worker->requests.slots && mr_ring_pop(&worker->requests, &request))
        free(request);
    while (worker->commands.slots && mr_ring_pop(&worker->commands, &command))
        free((void *)command.run.accepted);
}

void mr_worker_close(struct mr_worker *worker)
{
    mr_watchdog_stop(&worker->watchdog);
    atomic_store(&worker->stop, true);
    join(worker->admit_thread, worker->admit_runs, &worker->admit_wake);
    join(worker->engine_thread, worker->engine_runs, &worker->engine_wake);
    if (worker->http)
        worker->outside->http_close(worker->http);
    if (worker->has_log)
        worker->outside->log_close(&worker->log);
    if (worker->has_state)
        worker->outside->state_close(&worker->state);
    empty_rings(worker);
    struct mr_ring *rings[] = {&worker->notes, &worker->requests, &worker->commands};
    for (int i = 0; i < 3; i++)
        mr_ring_close(rings[i]);
    while (worker->outbox) {
        struct outbox_item *next = worker->outbox->next;
        free(worker->outbox);
        worker->outbox = next;
    }
    mr_serving_close(&worker->serving);
    if (worker->owner)
        mr_owner_close(worker->owner);
    struct mr_wake *wakes[] = {&worker->log_wake, &worker->admit_wake, &worker->engine_wake};
    for (int i = 0; i < 3; i++)
        mr_wake_close(wakes[i]);
    mr_metrics_fini(&worker->metrics);
    free(worker->views);
    mr_counter_sync_close(worker->sync);
    free(worker);
}
