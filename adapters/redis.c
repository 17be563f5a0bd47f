/* The state mirror on Redis.
 *
 * Owns a queue of copied updates, one of questions and one of answers, one thread, one connection. Borrows one set of tallies at a time.
 *
 *     away --connect, AUTH, SELECT, SCRIPT LOAD--> up --error, timeout--> away (backoff doubles up to MR_REDIS_BACKOFF_MAX_MS)
 *
 * Invariants
 * 1. put never waits: it copies into the queue, or drops and counts. While away everything is dropped: the mirror is written
 *    again with the next change of each job, and old news is worth nothing.
 * 2. Every update ends in exactly one count: written, stale, dropped or failed.
 * 3. At most MR_REDIS_BATCH_MAX commands are on the way; all their answers are read before more are sent. Every wait on the
 *    socket ends after timeout_ms, and then the connection is given up: its answers could no longer be told apart.
 * 4. Questions go before updates. One that meets a lost connection has no answer; who asked waits for a while only.
 * 5. Only the thread touches the connection; flags and counts are atomic.
 *
 * Rejected: hiredis' asynchronous interface (needs an event loop and gains nothing over a pipeline); plain HSET for updates
 * without an epoch (a second path for the same thing). */
#include "adapters/redis.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/ring.h"

#include <hiredis/hiredis.h>
#ifdef MILLRACE_REDIS_TLS
#include <hiredis/hiredis_ssl.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TALLY_IDLE, TALLY_ASKED, TALLY_DONE };
enum { PING_EVERY_MS = 1000, FIELDS_MAX = 16, HOST_BYTES = 256, PATH_BYTES = 1024, SECRET_BYTES = 512 };

/* KEYS[1]; ARGV: epoch (-1: unconditional), expiry in ms, then field, value, ... Epochs stay below 2^53. */
static const char script[] = "local kind = redis.call('TYPE', KEYS[1]).ok\n"
                             "if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end\n"
                             "local epoch = tonumber(ARGV[1])\n"
                             "if epoch >= 0 then\n"
                             "  local held = tonumber(redis.call('HGET', KEYS[1], 'epoch') or -1)\n"
                             "  if held and held > epoch then return 0 end\n"
                             "  redis.call('HSET', KEYS[1], 'epoch', ARGV[1])\n"
                             "end\n"
                             "if #ARGV > 2 then redis.call('HSET', KEYS[1], unpack(ARGV, 3)) end\n"
                             "if tonumber(ARGV[2]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end\n"
                             "return 1\n";

/* KEYS[1]; ARGV: field, what to add, what the sum is at least. */
static const char sum_script[] = "local sum = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) or 0\n"
                                 "if sum < tonumber(ARGV[3]) then sum = tonumber(ARGV[3]) end\n"
                                 "sum = string.format('%.0f', sum + tonumber(ARGV[2]))\n"
                                 "redis.call('HSET', KEYS[1], ARGV[1], sum)\n"
                                 "return sum\n";

/* KEYS[1]; ARGV: field, its value ('': none), how old in ms another's may be. Values are kept as "VALUE MILLISECONDS". */
static const char least_script[] = "local time = redis.call('TIME')\n"
                                   "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
                                   "local least = ''\n"
                                   "if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1])\n"
                                   "else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now)) end\n"
                                   "local all = redis.call('HGETALL', KEYS[1])\n"
                                   "for i = 1, #all, 2 do\n"
                                   "  local value, at = string.match(all[i + 1], '^(%d+) (%d+)$')\n"
                                   "  if not value or tonumber(at) + tonumber(ARGV[3]) < now then redis.call('HDEL', KEYS[1], all[i])\n"
                                   "  elseif all[i] ~= ARGV[1] and (least == '' or tonumber(value) < tonumber(least)) then least = value end\n"
                                   "end\n"
                                   "return least\n";

/* Where and who, owned. */
struct target {
    char host[HOST_BYTES]; /* or a socket's path, port 0 */
    int port;
    char user[128], password[SECRET_BYTES]; /* "": none */
    char ca_file[PATH_BYTES]; /* "": no TLS */
    int32_t database;
    int64_t timeout_ms;
};

struct update {
    int64_t epoch, expire_ms;
    int32_t n_fields;
    size_t key_bytes, bytes[2 * FIELDS_MAX]; /* of field, value, field, value ... */
    char text[];                             /* key ("mr:" before it), then those */
};

/* A question: key ("mr:" before it), then the value to claim. */
struct question {
    enum mr_state_ask_kind kind;
    uint64_t tag;
    int64_t expire_ms;
    struct mr_wake *wake;
    size_t key_bytes, value_bytes;
    char text[];
};

struct redis {
    struct target target;
    struct mr_wake wake;
    struct mr_ring queue; /* of struct update * */
    struct mr_ring questions, answers; /* of struct question *, of struct mr_state_answer */
    pthread_t thread;
    atomic_bool stop, up, away;
    atomic_ullong written, stale, dropped, failed;
    /* the thread's */
    redisContext *context;
    char sha[64], sum_sha[64], least_sha[64];
    /* of tally: IDLE -> ASKED (whoever asks) -> DONE (the thread) -> IDLE (who asked) */
    atomic_int tally_state;
    struct mr_state_tally *tallies;
    int32_t n_tallies;
    int64_t retry_ns, backoff_ms, used_ns;
};

static int64_t now_ns(void)
{
    struct mr_clock clock = mr_clock_system();
    return mr_clock_ns(&clock);
}

/* --- the target --- */

static enum mr_status read_password(struct target *target, const char *path, struct mr_err *err)
{
    struct stat stat;
    FILE *file = fopen(path, "re");
    if (!file || fstat(fileno(file), &stat)) {
        if (file)
            fclose(file);
        return mr_err_set(err, MR_ERR_INVALID, "redis.password_file: %s cannot be read", path);
    }
    enum mr_status status = MR_OK;
    if (stat.st_mode & 077)
        status = mr_err_set(err, MR_ERR_INVALID, "redis.password_file: others may read %s: chmod 600", path);
    else if (!fgets(target->password, sizeof target->password, file) || target->password[0] == '\n')
        status = mr_err_set(err, MR_ERR_INVALID, "redis.password_file: %s has no first line", path);
    target->password[strcspn(target->password, "\r\n")] = 0;
    fclose(file);
    return status;
}

static enum mr_status target_open(struct target *target, const struct mr_redis_options *options, struct mr_err *err)
{
    const char *colon = strrchr(options->address, ':');
    *target = (struct target){.database = options->database, .timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 1000};
#ifndef MILLRACE_REDIS_TLS
    if (options->tls)
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "redis.tls: this hiredis has no TLS (Debian 12's has none): use a unix socket or a local tunnel");
#endif
    if (options->tls && (!options->ca_file || !options->ca_file[0] || strlen(options->ca_file) >= sizeof target->ca_file))
        return mr_err_set(err, MR_ERR_INVALID, "redis.tls wants redis.ca_file: hiredis does not compare the host's name with the certificate, so "
                          "it may believe no authority but your own");
    if (options->tls)
        snprintf(target->ca_file, sizeof target->ca_file, "%s", options->ca_file);
    if (strlen(options->address) >= sizeof target->host || (options->user && strlen(options->user) >= sizeof target->user))
        return mr_err_set(err, MR_ERR_INVALID, "redis.address or redis.user is too long");
    snprintf(target->user, sizeof target->user, "%s", options->user ? options->user : "");
    if (options->address[0] == '/') {
        snprintf(target->host, sizeof target->host, "%s", options->address);
    } else {
        char *end;
        long port = colon ? strtol(colon + 1, &end, 10) : 0;
        if (!colon || colon == options->address || *end || port < 1 || port > 65535)
            return mr_err_set(err, MR_ERR_INVALID, "redis.address: \"%s\" is neither host:port nor a socket's path", options->address);
        snprintf(target->host, sizeof target->host, "%.*s", (int)(colon - options->address), options->address);
        target->port = (int)port;
    }
    return options->password_file && options->password_file[0] ? read_password(target, options->password_file, err) : MR_OK;
}

/* One command; NULL: connection lost or refused, *context freed and err set. */
static redisReply *command(redisContext **context, int argc, const char **argv, const size_t *bytes, struct mr_err *err)
{
    redisReply *reply = redisCommandArgv(*context, argc, argv, bytes);
    if (reply && reply->type != REDIS_REPLY_ERROR)
        return reply;
    mr_err_set(err, MR_ERR_IO, "Redis: %s", reply ? reply->str : (*context)->errstr);
    if (reply)
        freeReplyObject(reply);
    redisFree(*context);
    *context = NULL;
    return NULL;
}

/* Speaks TLS on a fresh connection; false: it is freed and err set. */
static bool secure(redisContext **context, const struct target *target, struct mr_err *err)
{
#ifdef MILLRACE_REDIS_TLS
    redisSSLContextError why = REDIS_SSL_CTX_NONE;
    redisInitOpenSSL();
    redisSSLContext *tls = redisCreateSSLContext(target->ca_file, NULL, NULL, NULL, target->host, &why);
    bool ok = tls && redisInitiateSSLWithContext(*context, tls) == REDIS_OK;
    if (!ok)
        mr_err_set(err, MR_ERR_IO, "Redis: %s", tls ? (*context)->errstr : redisSSLContextGetError(why));
    if (tls)
        redisFreeSSLContext(tls);
    if (ok)
        return true;
#else
    (void)target;
    mr_err_set(err, MR_ERR_UNSUPPORTED, "Redis: no TLS in this build");
#endif
    redisFree(*context);
    *context = NULL;
    return false;
}

static redisContext *target_connect(const struct target *target, struct mr_err *err)
{
    struct timeval timeout = {target->timeout_ms / 1000, target->timeout_ms % 1000 * 1000};
    redisContext *context = target->port ? redisConnectWithTimeout(target->host, target->port, timeout)
                                         : redisConnectUnixWithTimeout(target->host, timeout);
    if (!context || context->err || redisSetTimeout(context, timeout) != REDIS_OK) {
        mr_err_set(err, MR_ERR_IO, "Redis: %s", context ? context->errstr : "no memory");
        if (context)
            redisFree(context);
        return NULL;
    }
    if (target->ca_file[0] && !secure(&context, target, err))
        return NULL;
    if (target->password[0]) {
        const char *argv[] = {"AUTH", target->user[0] ? target->user : target->password, target->password};
        freeReplyObject(command(&context, target->user[0] ? 3 : 2, argv, NULL, err));
    }
    if (context && target->database) {
        char number[16];
        const char *argv[] = {"SELECT", number};
        snprintf(number, sizeof number, "%d", target->database);
        freeReplyObject(command(&context, 2, argv, NULL, err));
    }
    return context;
}

/* A write to a closed connection is an error to us, not a signal to the process. */
static void block_sigpipe(sigset_t *before)
{
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, before);
}

/* --- the thread --- */

static void give_up(struct redis *redis, const char *why)
{
    char quoted[200];
    if (!atomic_load(&redis->away) || atomic_load(&redis->up))
        mr_log(MR_LOG_WARN, "redis.away", "text=%s", mr_log_quote(why, quoted, sizeof quoted));
    if (redis->context)
        redisFree(redis->context);
    redis->context = NULL;
    atomic_store(&redis->up, false);
    atomic_store(&redis->away, true);
    redis->backoff_ms = redis->backoff_ms ? 2 * redis->backoff_ms : MR_REDIS_BACKOFF_MIN_MS;
    if (redis->backoff_ms > MR_REDIS_BACKOFF_MAX_MS)
        redis->backoff_ms = MR_REDIS_BACKOFF_MAX_MS;
    redis->retry_ns = now_ns() + redis->backoff_ms * MR_NS_PER_MS;
}

static bool load_one(struct redis *redis, const char *text, char sha[64], struct mr_err *err)
{
    const char *argv[] = {"SCRIPT", "LOAD", text};
    redisReply *reply = command(&redis->context, 3, argv, NULL, err);
    if (reply)
        snprintf(sha, 64, "%s", reply->type == REDIS_REPLY_STRING ? reply->str : "");
    freeReplyObject(reply);
    return reply != NULL;
}

static bool load_script(struct redis *redis, struct mr_err *err)
{
    return load_one(redis, script, redis->sha, err) && load_one(redis, sum_script, redis->sum_sha, err)
           && load_one(redis, least_script, redis->least_sha, err);
}

static void try_connect(struct redis *redis)
{
    struct mr_err err;
    redis->context = target_connect(&redis->target, &err);
    if (!redis->context || !load_script(redis, &err)) {
        give_up(redis, err.text);
        return;
    }
    if (atomic_load(&redis->away))
        mr_log(MR_LOG_INFO, "redis.back", "away=0");
    redis->backoff_ms = 0;
    redis->used_ns = now_ns();
    atomic_store(&redis->away, false);
    atomic_store(&redis->up, true);
}

static void append(struct redis *redis, const struct update *update)
{
    char epoch[24], expire[24];
    const char *argv[6 + 2 * FIELDS_MAX] = {"EVALSHA", redis->sha, "1", update->text, epoch, expire};
    size_t bytes[6 + 2 * FIELDS_MAX] = {7, strlen(redis->sha), 1, update->key_bytes};
    const char *p = update->text + update->key_bytes;
    bytes[4] = (size_t)snprintf(epoch, sizeof epoch, "%lld", (long long)update->epoch);
    bytes[5] = (size_t)snprintf(expire, sizeof expire, "%lld", (long long)update->expire_ms);
    for (int32_t i = 0; i < 2 * update->n_fields; i++) {
        argv[6 + i] = p;
        bytes[6 + i] = update->bytes[i];
        p += update->bytes[i];
    }
    redisAppendCommandArgv(redis->context, 6 + 2 * update->n_fields, argv, bytes);
}

/* Reads the answers to n updates and counts them; those that met NOSCRIPT are moved to the front. Returns how many; -1: the
 * connection is lost (the rest counts as dropped). */
static int take_answers(struct redis *redis, struct update **batch, int n)
{
    int again = 0;
    for (int i = 0; i < n; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(redis->context, (void **)&reply) != REDIS_OK) {
            give_up(redis, redis->context->errstr);
            atomic_fetch_add(&redis->dropped, (unsigned long long)(n - i + again));
            return -1;
        }
        if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0)
            batch[again++] = batch[i];
        else if (reply->type == REDIS_REPLY_ERROR)
            atomic_fetch_add(&redis->failed, 1);
        else
            atomic_fetch_add(reply->integer ? &redis->written : &redis->stale, 1);
        freeReplyObject(reply);
    }
    return again;
}

/* A batch swaps pointers within the array that `all` keeps for freeing. */
static void send_batch(struct redis *redis, struct update *const *all, int n)
{
    struct update *batch[MR_REDIS_BATCH_MAX];
    struct mr_err err;
    memcpy(batch, all, (size_t)n * sizeof *batch);
    for (int round = 0; n > 0 && round < 2; round++) {
        if (round > 0 && !load_script(redis, &err)) {
            give_up(redis, err.text);
            break;
        }
        for (int i = 0; i < n; i++)
            append(redis, batch[i]);
        n = take_answers(redis, batch, n);
    }
    if (n > 0) /* no script even after it was loaded, or the connection went in between */
        atomic_fetch_add(&redis->dropped, (unsigned long long)n);
    redis->used_ns = now_ns();
}

/* Two commands: the second reply (CLAIM) or the first (TAKE) is the answer. */
static void append_question(struct redis *redis, const struct question *q)
{
    const char *key = q->text, *value = q->text + q->key_bytes;
    if (q->kind == MR_STATE_CLAIM) {
        redisAppendCommand(redis->context, "SET %b %b NX PX %lld", key, q->key_bytes, value, q->value_bytes, (long long)q->expire_ms);
        redisAppendCommand(redis->context, "GET %b", key, q->key_bytes);
    } else {
        redisAppendCommand(redis->context, "HGET %b line", key, q->key_bytes);
        redisAppendCommand(redis->context, "DEL %b", key, q->key_bytes);
    }
}

static void put_answer(struct redis *redis, const struct question *q, const redisReply *reply)
{
    struct mr_state_answer answer = {.kind = q->kind, .tag = q->tag};
    if (reply->type == REDIS_REPLY_STRING && reply->len <= MR_REDIS_UPDATE_BYTES_MAX && (answer.text = malloc(reply->len + 1))) {
        memcpy(answer.text, reply->str, reply->len);
        answer.n = reply->len;
    }
    if (!mr_ring_push(&redis->answers, &answer))
        free(answer.text); /* as if it had never come */
    mr_wake_signal(q->wake);
}

static void ask_batch(struct redis *redis, struct question *const *batch, int n)
{
    for (int i = 0; i < n; i++)
        append_question(redis, batch[i]);
    for (int i = 0; i < 2 * n; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(redis->context, (void **)&reply) != REDIS_OK) {
            give_up(redis, redis->context->errstr);
            return;
        }
        if (i % 2 == (batch[i / 2]->kind == MR_STATE_CLAIM))
            put_answer(redis, batch[i / 2], reply);
        freeReplyObject(reply);
    }
    redis->used_ns = now_ns();
}

static void ask_all(struct redis *redis)
{
    struct question *batch[MR_REDIS_BATCH_MAX];
    for (int n = 1; n > 0;) {
        n = 0;
        while (n < MR_REDIS_BATCH_MAX && mr_ring_pop(&redis->questions, &batch[n]))
            n++;
        if (n > 0 && redis->context)
            ask_batch(redis, batch, n);
        for (int i = 0; i < n; i++)
            free(batch[i]);
    }
}

static int take_batch(struct redis *redis, struct update **batch)
{
    int n = 0;
    while (n < MR_REDIS_BATCH_MAX && mr_ring_pop(&redis->queue, &batch[n]))
        n++;
    return n;
}

static void append_tally(struct redis *redis, const struct mr_state_tally *t)
{
    char least[24] = "";
    if (t->kind == MR_STATE_SUM) {
        redisAppendCommand(redis->context, "EVALSHA %s 1 mr:%b %b %lld %lld", redis->sum_sha, t->hash.p, t->hash.n, t->field.p, t->field.n,
                           (long long)t->add, (long long)t->least);
        return;
    }
    if (t->least != INT64_MAX)
        snprintf(least, sizeof least, "%lld", (long long)t->least);
    redisAppendCommand(redis->context, "EVALSHA %s 1 mr:%b %b %b %lld", redis->least_sha, t->hash.p, t->hash.n, t->field.p, t->field.n, least,
                       strlen(least), (long long)t->fresh_ms);
}

/* Reads the answers to all; true: some met NOSCRIPT, and none of those was done. */
static bool take_tallies(struct redis *redis)
{
    bool again = false;
    for (int32_t i = 0; i < redis->n_tallies; i++) {
        struct mr_state_tally *t = &redis->tallies[i];
        redisReply *reply = NULL;
        if (redisGetReply(redis->context, (void **)&reply) != REDIS_OK) {
            give_up(redis, redis->context->errstr);
            return false;
        }
        again |= reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0;
        t->ok = reply->type == REDIS_REPLY_STRING;
        if (t->ok)
            t->out = reply->len ? strtoll(reply->str, NULL, 10) : INT64_MAX;
        freeReplyObject(reply);
    }
    return again;
}

/* One pipeline. Those without their script are not done and go out again at the caller's next turn. */
static void tally_all(struct redis *redis)
{
    struct mr_err err;
    if (atomic_load(&redis->tally_state) != TALLY_ASKED)
        return;
    for (int32_t i = 0; i < redis->n_tallies; i++) {
        redis->tallies[i].ok = false;
        if (redis->context)
            append_tally(redis, &redis->tallies[i]);
    }
    if (redis->context && take_tallies(redis) && !load_script(redis, &err))
        give_up(redis, err.text);
    redis->used_ns = now_ns();
    atomic_store(&redis->tally_state, TALLY_DONE);
}

static void ping(struct redis *redis)
{
    struct mr_err err;
    const char *argv[] = {"PING"};
    redisReply *reply = command(&redis->context, 1, argv, NULL, &err);
    if (!reply)
        give_up(redis, err.text);
    freeReplyObject(reply);
    redis->used_ns = now_ns();
}

static void step(struct redis *redis)
{
    struct update *batch[MR_REDIS_BATCH_MAX];
    if (!redis->context && now_ns() >= redis->retry_ns)
        try_connect(redis);
    tally_all(redis);
    ask_all(redis);
    for (int n; (n = take_batch(redis, batch)) > 0;) {
        if (redis->context)
            send_batch(redis, batch, n);
        else
            atomic_fetch_add(&redis->dropped, (unsigned long long)n);
        for (int i = 0; i < n; i++)
            free(batch[i]);
        ask_all(redis);
    }
    if (redis->context && now_ns() - redis->used_ns >= PING_EVERY_MS * MR_NS_PER_MS)
        ping(redis);
}

static void *body(void *self)
{
    struct redis *redis = self;
    block_sigpipe(NULL);
    while (!atomic_load(&redis->stop)) {
        step(redis);
        int64_t wait_ns = redis->context ? PING_EVERY_MS * MR_NS_PER_MS : redis->retry_ns - now_ns();
        mr_wake_wait(&redis->wake, wait_ns > 0 ? wait_ns : 0);
    }
    step(redis); /* what still waits */
    if (redis->context)
        redisFree(redis->context);
    return NULL;
}

/* --- the port --- */

static struct update *copy_of(const struct mr_state_update *update)
{
    size_t total = 3 + update->key.n;
    CHECK(update->n_fields >= 0 && update->n_fields <= FIELDS_MAX);
    for (int32_t i = 0; i < update->n_fields; i++)
        total += update->field[i].n + update->value[i].n;
    struct update *copy = total <= MR_REDIS_UPDATE_BYTES_MAX ? malloc(sizeof *copy + total) : NULL;
    if (!copy)
        return NULL;
    *copy = (struct update){.epoch = update->epoch, .expire_ms = update->expire_ms, .n_fields = update->n_fields, .key_bytes = 3 + update->key.n};
    char *p = copy->text;
    memcpy(p, "mr:", 3);
    memcpy(p + 3, update->key.p, update->key.n);
    p += copy->key_bytes;
    for (int32_t i = 0; i < 2 * update->n_fields; i++) {
        struct mr_str part = i % 2 ? update->value[i / 2] : update->field[i / 2];
        copy->bytes[i] = part.n;
        if (part.n)
            memcpy(p, part.p, part.n);
        p += part.n;
    }
    return copy;
}

static bool redis_put(void *self, const struct mr_state_update *update)
{
    struct redis *redis = self;
    struct update *copy = atomic_load(&redis->away) ? NULL : copy_of(update);
    if (copy && mr_ring_push(&redis->queue, &copy))
        return true;
    free(copy);
    atomic_fetch_add(&redis->dropped, 1);
    return false;
}

static bool redis_ask(void *self, const struct mr_state_ask *ask, struct mr_wake *wake)
{
    struct redis *redis = self;
    size_t bytes = 3 + ask->key.n + ask->value.n;
    struct question *q = atomic_load(&redis->away) || bytes > MR_REDIS_UPDATE_BYTES_MAX ? NULL : malloc(sizeof *q + bytes);
    if (!q)
        return false;
    *q = (struct question){.kind = ask->kind, .tag = ask->tag, .expire_ms = ask->expire_ms > 0 ? ask->expire_ms : 1, .wake = wake,
                           .key_bytes = 3 + ask->key.n, .value_bytes = ask->value.n};
    memcpy(q->text, "mr:", 3);
    memcpy(q->text + 3, ask->key.p, ask->key.n);
    if (ask->value.n)
        memcpy(q->text + q->key_bytes, ask->value.p, ask->value.n);
    if (mr_ring_push(&redis->questions, &q))
        return true;
    free(q);
    return false;
}

static bool redis_answer(void *self, struct mr_state_answer *out) { return mr_ring_pop(&((struct redis *)self)->answers, out); }

static bool redis_healthy(void *self)
{
    return atomic_load(&((struct redis *)self)->up);
}

static bool redis_tally(void *self, struct mr_state_tally *tallies, int32_t n)
{
    struct redis *redis = self;
    if (atomic_load(&redis->away) || atomic_load(&redis->tally_state) != TALLY_IDLE)
        return false;
    redis->tallies = tallies;
    redis->n_tallies = n;
    atomic_store(&redis->tally_state, TALLY_ASKED);
    mr_wake_signal(&redis->wake);
    return true;
}

static bool redis_tallied(void *self)
{
    struct redis *redis = self;
    if (atomic_load(&redis->tally_state) != TALLY_DONE)
        return false;
    atomic_store(&redis->tally_state, TALLY_IDLE);
    return true;
}

/* What was opened of it; the thread is not there, or gone. */
static void redis_free(struct redis *redis)
{
    struct update *update;
    struct question *question;
    struct mr_state_answer answer;
    while (redis->queue.slots && mr_ring_pop(&redis->queue, &update))
        free(update);
    while (redis->questions.slots && mr_ring_pop(&redis->questions, &question))
        free(question);
    while (redis->answers.slots && mr_ring_pop(&redis->answers, &answer))
        free(answer.text);
    mr_ring_close(&redis->queue);
    mr_ring_close(&redis->questions);
    mr_ring_close(&redis->answers);
    mr_wake_close(&redis->wake);
    explicit_bzero(redis->target.password, sizeof redis->target.password);
    free(redis);
}

enum mr_status mr_redis_open(const struct mr_redis_options *options, struct mr_state_port *out, struct mr_err *err)
{
    struct redis *redis = calloc(1, sizeof *redis);
    if (!redis)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for Redis");
    enum mr_status status = target_open(&redis->target, options, err);
    if (status) {
        free(redis);
        return status;
    }
    bool ok = mr_wake_open(&redis->wake) && mr_ring_open(&redis->queue, MR_REDIS_QUEUE_MAX, sizeof(struct update *), &redis->wake)
              && mr_ring_open(&redis->questions, MR_REDIS_QUEUE_MAX, sizeof(struct question *), &redis->wake)
              && mr_ring_open(&redis->answers, MR_REDIS_QUEUE_MAX, sizeof(struct mr_state_answer), NULL);
    if (!ok || pthread_create(&redis->thread, NULL, body, redis)) {
        redis_free(redis);
        return mr_err_set(err, MR_ERR_IO, "no descriptor, memory or thread left for Redis");
    }
    *out = (struct mr_state_port){.put = redis_put, .healthy = redis_healthy, .ask = redis_ask, .answer = redis_answer,
                                  .tally = redis_tally, .tallied = redis_tallied, .self = redis};
    return MR_OK;
}

void mr_redis_close(struct mr_state_port *port)
{
    struct redis *redis = port->self;
    *port = (struct mr_state_port){0};
    if (!redis)
        return;
    atomic_store(&redis->stop, true);
    mr_wake_signal(&redis->wake);
    pthread_join(redis->thread, NULL);
    redis_free(redis);
}

struct mr_redis_counts mr_redis_counts(const struct mr_state_port *port)
{
    struct redis *redis = port->self;
    return (struct mr_redis_counts){
        .written = atomic_load(&redis->written),
        .stale = atomic_load(&redis->stale),
        .dropped = atomic_load(&redis->dropped),
        .failed = atomic_load(&redis->failed),
    };
}

/* --- reading, for verbs: a connection a call, on the caller's thread --- */

static redisContext *reader_open(const struct mr_redis_options *options, sigset_t *before, struct mr_err *err)
{
    struct target target;
    block_sigpipe(before);
    redisContext *context = target_open(&target, options, err) ? NULL : target_connect(&target, err);
    explicit_bzero(target.password, sizeof target.password);
    if (!context)
        pthread_sigmask(SIG_SETMASK, before, NULL);
    return context;
}

static void reader_close(redisContext *context, const sigset_t *before)
{
    if (context)
        redisFree(context);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

enum mr_status mr_redis_read(const struct mr_redis_options *options, struct mr_str key, struct mr_arena *arena, struct mr_str **fields,
                             size_t *n_fields, struct mr_err *err)
{
    struct mr_err own;
    sigset_t before;
    err = err ? err : &own;
    redisContext *context = reader_open(options, &before, err);
    if (!context)
        return err->code;
    struct mr_buf name = {0};
    mr_buf_addf(&name, "mr:");
    mr_buf_add_str(&name, key);
    const char *argv[] = {"HGETALL", name.p};
    size_t bytes[] = {7, name.n};
    redisReply *reply = command(&context, 2, argv, bytes, err);
    mr_buf_fini(&name);
    enum mr_status status = reply ? MR_OK : err->code;
    if (reply) {
        *n_fields = reply->elements;
        *fields = mr_arena_array(arena, reply->elements + 1, sizeof **fields);
        for (size_t i = 0; *fields && i < reply->elements; i++)
            (*fields)[i] = mr_arena_str(arena, (struct mr_str){reply->element[i]->str, reply->element[i]->len});
        if (!*fields)
            status = mr_err_set(err, MR_ERR_NOMEM, "no memory for a state");
        else if (!reply->elements)
            status = mr_err_set(err, MR_ERR_NOT_FOUND, "Redis knows no state of %.*s", (int)key.n, key.p);
    }
    freeReplyObject(reply);
    reader_close(context, &before);
    return status;
}

/* The prefix as a pattern: nothing in it is special. */
static void add_pattern(struct mr_buf *pattern, struct mr_str prefix)
{
    mr_buf_addf(pattern, "mr:");
    for (size_t i = 0; i < prefix.n; i++) {
        if (strchr("*?[]\\^-", prefix.p[i]) && prefix.p[i])
            mr_buf_add_char(pattern, '\\');
        mr_buf_add_char(pattern, prefix.p[i]);
    }
    mr_buf_add_char(pattern, '*');
}

/* A walk over the keys. */
struct walk {
    struct mr_str pattern;
    char cursor[32];     /* "0" again when it has ended */
    struct mr_arena *arena;
    struct mr_str *keys; /* [n] of MR_REDIS_KEYS_MAX */
    size_t n;
};

/* One SCAN; false: err is set. */
static bool scan(redisContext **context, struct walk *walk, struct mr_err *err)
{
    const char *argv[] = {"SCAN", walk->cursor, "MATCH", walk->pattern.p, "COUNT", "1000"};
    size_t bytes[] = {4, strlen(walk->cursor), 5, walk->pattern.n, 5, 4};
    redisReply *reply = command(context, 6, argv, bytes, err);
    bool ok = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2;
    if (ok) {
        const redisReply *found = reply->element[1];
        snprintf(walk->cursor, sizeof walk->cursor, "%s", reply->element[0]->str);
        for (size_t i = 0; i < found->elements && walk->n < MR_REDIS_KEYS_MAX; i++)
            walk->keys[walk->n++] = mr_arena_str(walk->arena, (struct mr_str){found->element[i]->str + 3, found->element[i]->len - 3});
    }
    freeReplyObject(reply);
    return ok;
}

enum mr_status mr_redis_keys(const struct mr_redis_options *options, struct mr_str prefix, struct mr_arena *arena, struct mr_str **keys,
                             size_t *n_keys, struct mr_err *err)
{
    struct mr_err own;
    struct mr_buf pattern = {0};
    sigset_t before;
    err = err ? err : &own;
    struct walk walk = {.cursor = "0", .arena = arena, .keys = mr_arena_array(arena, MR_REDIS_KEYS_MAX, sizeof **keys)};
    if (!walk.keys)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for keys");
    redisContext *context = reader_open(options, &before, err);
    if (!context)
        return err->code;
    add_pattern(&pattern, prefix);
    walk.pattern = mr_buf_view(&pattern);
    bool ok;
    do
        ok = scan(&context, &walk, err);
    while (ok && strcmp(walk.cursor, "0") != 0 && walk.n < MR_REDIS_KEYS_MAX);
    *keys = walk.keys;
    *n_keys = walk.n;
    mr_buf_fini(&pattern);
    reader_close(context, &before);
    return ok ? MR_OK : err->code;
}
