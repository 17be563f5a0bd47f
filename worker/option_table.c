/* The table of options, and the units that their values are written in.
 *
 * Immutable; any thread.
 * 1 A field of struct mr_options without a row here does not exist for a user: the test demands that rows cover the struct.
 * 2 Defaults are text and go through the same parser as a user's.
 * 3 A group's options stand together, so that printing opens each group once (libconfig refuses a second).
 * Rejected: one parse function an option (the types are few and the checks are ranges). */
#define _GNU_SOURCE /* memrchr, memmem */
#include "worker/option_table.h"

#include "worker/contract.h"
#include "worker/owner.h"
#include "worker/policy.h"
#include "worker/step_cost.h"
#include "worker/tenants.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *complain_listen(struct mr_str text)
{
    if (text.n == 0)
        return NULL;
    const char *colon = memrchr(text.p, ':', text.n);
    size_t digits = colon ? (size_t)(text.p + text.n - colon - 1) : 0;
    int port = 0;
    for (size_t i = 0; i < digits && port < 100000; i++)
        port = colon[1 + i] >= '0' && colon[1 + i] <= '9' ? port * 10 + colon[1 + i] - '0' : 100000;
    return digits && port <= 65535 ? NULL : "must be host:port";
}

static const char *complain_prefix(struct mr_str text)
{
    bool good = text.n == 0 || (text.n <= 128 && mr_topic_valid(text));
    return good ? NULL : "must be the start of a topic name ([A-Za-z0-9._-], at most 128 characters)";
}

static const char *complain_empty(struct mr_str text) { return text.n ? NULL : "must not be empty"; }

static const char *complain_pair(struct mr_str text)
{
    const char *equals = text.n ? memchr(text.p, '=', text.n) : NULL;
    return equals && equals != text.p ? NULL : "must be a list of \"name=value\"";
}

static const char *complain_worker(struct mr_str text)
{
    return text.n == 0 || (text.n <= 128 && mr_topic_valid(text)) ? NULL : "must have at most 128 characters of [A-Za-z0-9._-]";
}

static const char *complain_cost(struct mr_str text)
{
    char cost[MR_STEP_COST_TEXT_BYTES];
    struct mr_sched_cost parsed;
    snprintf(cost, sizeof cost, "%.*s", (int)text.n, text.n ? text.p : "");
    bool good = text.n == 0 || (text.n < sizeof cost && mr_step_cost_parse(cost, &parsed));
    return good ? NULL : "must be seven whole numbers, as bench calibrate prints them";
}

static const char *const precisions[] = {"exact", "fast", "auto", NULL}; /* enum mr_precision */
static const char *const kv_types[] = {"auto", "fp8", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"logfmt", "json", NULL};

#define AT(field) offsetof(struct mr_options, field)
#define DAY_MS (INT64_C(24) * 3600 * 1000)
#define STRING(name, field, fallback, complaint, text) {name, MR_OPTION_STRING, AT(field), fallback, 0, 0, NULL, complaint, text}
#define INT(name, field, fallback, least, most, text) {name, MR_OPTION_INT, AT(field), fallback, least, most, NULL, NULL, text}
#define BOOL(name, field, fallback, text) {name, MR_OPTION_BOOL, AT(field), fallback, 0, 0, NULL, NULL, text}
#define BYTES(name, field, fallback, least, most, text) {name, MR_OPTION_BYTES, AT(field), fallback, least, most, NULL, NULL, text}
#define TIME(name, field, fallback, least, most, text) {name, MR_OPTION_TIME, AT(field), fallback, least, most, NULL, NULL, text}
#define WORD(name, field, fallback, words, text) {name, MR_OPTION_WORD, AT(field), fallback, 0, 0, words, NULL, text}
#define TIER(name, index, tokens, wait, floor, levels) \
    INT("tier." name ".batch_tokens", tier[index].batch_tokens, tokens, 1, 4096, \
        "A token record of this tier leaves when it holds so many tokens."), \
    TIME("tier." name ".batch_wait", tier[index].batch_ms, wait, 0, 60000, "Or when its first token has waited so long."), \
    TIME("tier." name ".ttft", tier[index].ttft_ms, "0", 0, DAY_MS, \
         "Service level: time to the first token. " levels " One that the device cannot meet for a single job is refused at start."), \
    TIME("tier." name ".tpot", tier[index].tpot_ms, "0", 0, DAY_MS, "Service level: time per further token. 0: as above."), \
    INT("tier." name ".floor", tier[index].floor_permille, floor, 0, 1000, \
        "Share of the machine, in thousandths, that the tier is owed while it has work.")

static const struct mr_option table[] = {
    STRING("model", model, "", NULL, "The model: a GGUF file, or synthetic:SHAPE for random weights of a real shape."),
    STRING("model_name", model_name, "", NULL, "The name that jobs ask for. Empty: the file's name without folder and suffix."),
    STRING("kafka.brokers", kafka.brokers, "localhost:9092", complain_empty, "Brokers to start from, host:port, separated by commas."),
    STRING("kafka.prefix", kafka.prefix, "millrace.", complain_prefix, "What the names of all default topics start with."),
    STRING("kafka.group", kafka.group, "millrace", complain_empty, "The consumer group. All workers of one group serve the same routes and models."),
    {"kafka.options", MR_OPTION_LIST, AT(kafka.options), "", 0, 0, NULL, complain_pair,
     "Options for librdkafka, each \"name=value\". A value that is a secret (a password, a key) is written as \"name=file:PATH\": it is "
     "read from the file, which nobody but its owner may read. Secrets are never printed, and are refused on the command line."},
    BOOL("kafka.allow_plaintext", kafka.allow_plaintext, "false",
         "Talk without TLS, or with TLS that checks nothing, to a broker that is not on this machine."),
    INT("kafka.partitions", kafka.partitions, "8", 1, 10000, "Partitions of a topic that millrace creates."),
    INT("kafka.replication", kafka.replication, "-1", -1, 100, "Replicas of a topic that millrace creates. -1: the broker's default."),
    INT("kafka.prefetch", kafka.prefetch_jobs, "64", 1, 100000,
        "Records of one partition that may wait for admission before the partition is paused."),
    STRING("kafka.audit", kafka.audit, "audit", complain_worker,
           "Topic of audit records (who ran, ended or cancelled what), behind kafka.prefix. Empty: none."),
    {"routes", MR_OPTION_ROUTES, AT(routes), "", 0, 0, NULL, NULL,
     "A list of groups, each joining an input topic to where its outcomes go: name, jobs, parked, stream, stream_parked, results, dead, "
     "control (topics), tier (realtime, standard, bulk), tenant (a name, or \"field\": the job says it), models and reply_topics (lists of "
     "names), on_model_change (fail, restart: what becomes of a run without a token that was begun on another model). What is not given "
     "follows from kafka.prefix, the route's name and its tenant's. Default: one route a tier, of the tier's name, tenant = \"field\"."},
    STRING("redis.address", redis.address, "", NULL, "host:port, or the path of a socket. Empty: no Redis; jobs do not need it."),
    STRING("redis.user", redis.user, "", NULL, "ACL user. Empty: the default user."),
    STRING("redis.password_file", redis.password_file, "", NULL,
           "File that holds the password; nobody but its owner may read it. Empty: no password."),
    INT("redis.database", redis.database, "0", 0, 1000000, "Database number."),
    BOOL("redis.tls", redis.tls, "false", "Use TLS, where the Redis library has it."),
    STRING("redis.ca_file", redis.ca_file, "", NULL, "Certificates to trust; redis.tls wants them named."),
    TIME("redis.timeout", redis.timeout_ms, "1s", 1, 600000, "How long one command may take before the connection counts as broken."),
    TIME("redis.expire", redis.expire_ms, "7d", 1000, 366 * DAY_MS, "How long a job's state is kept."),
    BOOL("delivery.transactions", delivery.transactions, "false",
         "Outcomes leave in one transaction with the position that they finish. Needs a real broker; every result waits for it (tests/bench/price)."),
    BOOL("delivery.journal", delivery.journal, "true",
         "Write what was accepted of a job to Redis now and then: who takes it over may prefill before it has read the log."),
    BOOL("delivery.first", delivery.first, "true", "Find jobs with one id in different partitions, with Redis' help."),
    BOOL("delivery.bare", delivery.bare, "false",
         "For measuring only: no tail, no barrier; what is appended counts at once. Breaks every promise about delivery: jobs are lost and doubled."),
    STRING("http.listen", http.listen, "", complain_listen, "host:port for /metrics, /healthz and /readyz. Empty: none."),
    STRING("worker.id", worker.id, "", complain_worker, "Name of this worker in records and metrics. Empty: host name and process id."),
    TIME("worker.grace", worker.grace_ms, "30s", 0, DAY_MS, "How long a drain may go on with running jobs before it leaves them to others."),
    TIME("worker.heartbeat", worker.heartbeat_ms, "2s", 100, 3600000, "How often the worker writes its load to Redis."),
    TIME("worker.hung", worker.hung_ms, "60s", 1000, DAY_MS,
         "A worker with a thread that has been stuck for so long leaves the group and ends; after a third of it /healthz says no."),
    BOOL("worker.lenient", worker.lenient, "false", "Ignore unknown fields of a job instead of refusing the job."),
    STRING("engine.device", engine.device, "auto", NULL,
           "cpu, cuda, or auto: a CUDA card that the kernels are built for, else the CPU."),
    STRING("engine.weights", engine.weights, "file", NULL,
           "file: weights as the model's file has them (CPU), or bf16 (CUDA). fp8: the linear layers in 8 bits, quantised at load; CUDA only."),
    INT("engine.threads", engine.threads, "0", 0, 1024, "Threads that compute. 0: one a core."),
    BOOL("engine.pin", engine.pin, "false", "Pin each thread to a core. For a worker that has its cores to itself."),
    WORD("engine.precision", engine.precision, "auto", precisions,
         "exact: float32 activations and cache (CPU); bf16 in one order of sums, so that a job's tokens do not depend on its company (CUDA). "
         "fast: 8-bit activations and a float16 cache (CPU); bf16 in whatever order is fastest (CUDA): other tokens at near ties. auto: exact on "
         "the CPU, fast on CUDA."),
    INT("engine.max_seqs", engine.max_seqs, "64", 1, 65536, "Sequences of one step."),
    INT("engine.max_step_tokens", engine.max_step_tokens, "512", 1, 1048576, "Tokens of one step, prompts and outputs together."),
    INT("engine.max_logits", engine.max_logits, "256", 1, 1048576, "Positions of one step whose logits are wanted."),
    INT("engine.chunk_tokens", engine.chunk_tokens, "0", 0, 65536,
        "A prompt is cut into multiples of so many tokens. 0: what the device suits."),
    INT("engine.max_context", engine.max_context, "0", 0, 16777216, "Longest prompt and output of a job, in tokens. 0: the model's own."),
    INT("engine.seed", engine.seed, "1", 0, INT64_MAX, "Seed of a synthetic model's weights."),
    INT("kv.block_tokens", kv.block_tokens, "16", 1, 1024, "Tokens of one block of the cache."),
    BYTES("kv.memory", kv.memory_bytes, "0", 0, INT64_C(1) << 50,
          "Memory for the cache. 0: what a card has left when all else is in place, but a thirty-second of it; 1GiB on a CPU."),
    WORD("kv.type", kv.type, "auto", kv_types, "auto: the elements of the path's own cache. fp8: 8 bits, so that twice as much fits; CUDA only."),
    BOOL("kv.prefix_cache", kv.prefix_cache, "true", "Let jobs of one tenant share what they have computed for equal beginnings."),
    BYTES("limits.record", limits.record_bytes, "1MiB", 1024, 16 << 20, "Largest job record."),
    INT("limits.prompt_tokens", limits.prompt_tokens, "0", 0, 16777216, "Longest prompt. 0: what the context allows."),
    INT("limits.output_tokens", limits.output_tokens, "0", 0, 16777216, "Longest output. 0: what the context leaves."),
    INT("limits.jobs", limits.jobs, "1024", 1, MR_OWNER_JOBS_MAX / 2, "Jobs admitted and unfinished in this worker. At it, partitions are paused."),
    INT("limits.jobs_per_partition", limits.jobs_per_partition, "256", 1, 1000000, "The same, of one partition."),
    INT("limits.jobs_per_tenant", limits.jobs_per_tenant, "0", 0, 1000000,
        "Jobs of one tenant that run at a time, where its contract says nothing; others wait in order. 0: no limit of its own."),
    TIME("limits.deadline", limits.deadline_ms, "7d", 1, 366 * DAY_MS, "The longest deadline that a job may ask for."),
    INT("limits.tenants", limits.tenants, "1024", MR_TENANTS_MIN, MR_TENANTS_MAX,
        "Tenants that one worker tells apart, one less with jobs at a time: more share the last place, as if they were one."),
    TIER("realtime", MR_TIER_REALTIME, "1", "0", "700", "0: 500ms and 50ms a token, or what the device can keep if that is more."),
    TIER("standard", MR_TIER_STANDARD, "8", "100ms", "250", "0: 5s and 100ms a token, or what the device can keep if that is more."),
    TIER("bulk", MR_TIER_BULK, "64", "1s", "50", "0: none."),
    WORD("scheduler.policy", scheduler.policy, "ours", mr_policy_names,
         "The order that jobs run in. ours: tiers, service levels, fair shares. fcfs: first come, first served. strict: by tier, first come "
         "inside. vtc: fair shares alone. lpm: the longest cached beginning first. All but ours are there to compare with."),
    STRING("scheduler.cost", scheduler.cost, "", complain_cost,
           "What a step costs, as `millrace bench calibrate --out FILE` writes it. Empty: measured at start."),
    TIME("scheduler.calibrate", scheduler.calibrate_ms, "2s", 0, 600000,
         "At most so long is measured at start what a step costs. 0: not at all; without a cost service levels shape no step."),
    STRING("scheduler.calibration", scheduler.calibration, "", NULL,
           "Folder that keeps what was measured for the next start of the same model, device, sizes and program, for a day; for instance "
           "~/.cache/millrace, written out. Empty: every start measures."),
    BOOL("scheduler.track", scheduler.track, "true", "Follow the cost of steps while the worker runs."),
    INT("scheduler.window", scheduler.window_tokens, "8192", 0, 16777216,
        "How much more weighted service, in tokens, a tenant may have had than the least before it must wait: room for cached beginnings."),
    INT("scheduler.floor_tokens", scheduler.floor_tokens, "0", 0, 1048576,
        "Prompt tokens that a step always has time for. 0: what the device suits."),
    INT("scheduler.forced_chunk", scheduler.forced_chunk, "0", 0, 1048576,
        "Prompt tokens of a step that no service level leaves time for. 0: what the device suits."),
    INT("scheduler.pace", scheduler.pace_permille, "1000", 1, 1000,
        "Realtime tokens are aimed at this part, in thousandths, of their time. Less: shorter steps, an arriving job waits less, bulk gets less."),
    INT("scheduler.backfill_keep", scheduler.backfill_keep_permille, "0", 0, 1000,
        "Of the time that a step with realtime prompts leaves, this part, in thousandths, is kept from the lower tiers. 1000: a realtime job's "
        "first token comes as if it were alone; 0: the lower tiers get all that the service level leaves."),
    INT("scheduler.input", scheduler.input_permille, "1000", 1, 1000000, "Service of a prompt token, in thousandths."),
    INT("scheduler.cached", scheduler.cached_permille, "100", 0, 1000000, "Service of a prompt token found in the cache, in thousandths."),
    INT("scheduler.output", scheduler.output_permille, "2000", 1, 1000000, "Service of an output token, in thousandths."),
    TIME("scheduler.sync", scheduler.sync_ms, "200ms", 0, 60000,
         "How often workers exchange through Redis what each tenant was served. 0: every worker is fair by itself."),
    {"tenants", MR_OPTION_LIST, AT(tenants), "", 0, 0, NULL, mr_contract_complaint,
     "A list of contracts, each \"NAME key=value ...\"; NAME * is for every other tenant. weight: share of the machine against others' (1). "
     "rate, burst: tokens of service a second, and how many at once; over it the tenant waits. concurrency: jobs that run at a time. "
     "queued: prompt and output tokens that may wait; past it a job ends with quota. scavenge=1: over its rate it runs behind the others "
     "instead of waiting."},
    WORD("log.level", log.level, "info", levels, "The least important lines that are written."),
    WORD("log.format", log.format, "logfmt", formats, "How a line is written."),
    BYTES("result.max_bytes", result.max_bytes, "900kB", 1024, 64 << 20,
          "Largest result record; a job that could exceed it is refused at admission."),
    STRING("dev_broker.listen", dev_broker.listen, "127.0.0.1:9092", complain_listen, "Where `millrace dev-broker` listens."),
};

const struct mr_option *mr_option_table(size_t *n)
{
    *n = sizeof table / sizeof *table;
    return table;
}

const struct mr_option *mr_option_find(struct mr_str name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (mr_str_is(name, table[i].name))
            return &table[i];
    return NULL;
}

bool mr_option_is_group(struct mr_str name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i].name) > name.n && table[i].name[name.n] == '.' && memcmp(table[i].name, name.p, name.n) == 0)
            return true;
    return false;
}

/* Levenshtein's distance, one row at a time. */
static int distance(struct mr_str a, struct mr_str b)
{
    enum { LONGEST = 64 };
    int row[LONGEST + 1];
    if (a.n > LONGEST || b.n > LONGEST)
        return LONGEST;
    for (size_t k = 0; k <= b.n; k++)
        row[k] = (int)k;
    for (size_t i = 1; i <= a.n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t k = 1; k <= b.n; k++) {
            int change = diagonal + (a.p[i - 1] != b.p[k - 1]);
            int gap = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
            diagonal = row[k];
            row[k] = change < gap ? change : gap;
        }
    }
    return row[b.n];
}

const struct mr_option *mr_option_nearest(struct mr_str name)
{
    const struct mr_option *nearest = NULL;
    int least = 2 + (int)name.n / 4; /* farther than that, a guess confuses more than it helps */
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int d = distance(name, mr_str_from(table[i].name));
        if (d < least)
            nearest = &table[i], least = d;
    }
    return nearest;
}

struct unit {
    const char *name;
    int64_t size;
};
/* Largest first among those that printing uses; what only reading knows comes last. */
static const struct unit byte_units[] = {{"TiB", INT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1000000000000},
                                         {"GB", 1000000000}, {"MB", 1000000}, {"kB", 1000}, {"B", 1}, {NULL, 0}};
static const struct unit time_units[] = {{"d", DAY_MS}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {NULL, 0}};

static bool parse(struct mr_str text, const struct unit *unit, int64_t *out)
{
    int64_t number = 0;
    size_t i = 0;
    for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, text.p[i] - '0', &number))
            return false;
    if (i == 0)
        return false;
    while (i < text.n && text.p[i] == ' ')
        i++;
    struct mr_str suffix = {text.p + i, text.n - i};
    if (suffix.n == 0 && number == 0) {
        *out = 0;
        return true;
    }
    while (unit->name && !mr_str_is(suffix, unit->name))
        unit++;
    return unit->name && !__builtin_mul_overflow(number, unit->size, out);
}

static void format(int64_t value, const struct unit *unit, struct mr_buf *out)
{
    while (value % unit->size)
        unit++;
    if (value)
        mr_buf_addf(out, "%" PRId64 "%s", value / unit->size, unit->name);
    else
        mr_buf_add_char(out, '0');
}

bool mr_bytes_parse(struct mr_str text, int64_t *bytes) { return parse(text, byte_units, bytes); }
bool mr_time_parse(struct mr_str text, int64_t *ms) { return parse(text, time_units, ms); }
void mr_bytes_format(int64_t bytes, struct mr_buf *out) { format(bytes, byte_units, out); }
void mr_time_format(int64_t ms, struct mr_buf *out) { format(ms, time_units, out); }

bool mr_option_secret(struct mr_str entry)
{
    static const char *const words[] = {"password", "secret", "sasl.jaas", "token", "ssl.key.pem"};
    const char *equals = entry.n ? memchr(entry.p, '=', entry.n) : NULL;
    size_t n = equals ? (size_t)(equals - entry.p) : entry.n;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (n && memmem(entry.p, n, words[i], strlen(words[i])))
            return true;
    return false;
}
