/* librdkafka's settings: what the promises need, what keeps memory small, and the user's own on top.
 *
 * Each handle gets the common settings, then its own, then `extra`. An extra option that a promise hangs on is refused by
 * name; one that only the other kind of client knows is passed to both (librdkafka ignores it there). */
#include "adapters/kafka_private.h"

#include "base/log.h"

#include <stdio.h>
#include <strings.h>
#include <syslog.h>

struct setting {
    const char *key, *value;
};

static const struct setting common_settings[] = {
    {"client.id", "millrace"},
    {"socket.keepalive.enable", "true"},
    {"reconnect.backoff.max.ms", "1000"},
    {"log.connection.close", "false"},
    {"log_level", "5"},
};

static const struct setting producer_settings[] = {
    {"enable.idempotence", "true"},   /* acks=all, no doubled and no reordered records inside one producer's life */
    {"acks", "all"},
    {"linger.ms", "1"},
    {"delivery.timeout.ms", "30000"}, /* a broker's restart takes 4 to 7 s */
    {"message.max.bytes", "8388608"}, /* the topic's own limit decides */
    {"queue.buffering.max.messages", "100000"},
    {"queue.buffering.max.kbytes", "65536"},
    {"partitioner", "murmur2_random"}, /* a key lands where Java's producers put it */
};

/* All partitions of a handle share one queue. Once that holds so much, 2.0.2 asks for nothing more, and looks again only a second later,
 * however soon the queue is empty: a tail of more than so many records would hold every barrier up for that second, and many jobs of
 * one tier the next job of another. So it is full by bytes only, which are more than what one answer brings. */
static const struct setting consumer_settings[] = {
    {"queued.min.messages", "10000000"},
    {"queued.max.messages.kbytes", "32768"},
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "error"},
    {"fetch.error.backoff.ms", "100"},
    {"allow.auto.create.topics", "false"},
};

static const struct setting group_settings[] = {
    {"fetch.message.max.bytes", "262144"}, /* of a partition at a time: pause throws away what was fetched ahead */
    {"partition.assignment.strategy", "range"}, /* 2.0.2's cooperative one loses assignments and offsets */
    {"session.timeout.ms", "6000"},
    {"heartbeat.interval.ms", "1000"}, /* how late a member learns that it must rejoin */
    {"max.poll.interval.ms", "60000"},
};

static const struct setting follower_settings[] = {
    {"group.id", "millrace-follower"}, /* never joined: librdkafka wants one for manual reading in some versions */
    {"enable.partition.eof", "true"},
    {"session.timeout.ms", "6000"}, /* as the group's: a user's max.poll.interval.ms below the default's 45 s is refused otherwise */
};

static const char *const refused[] = {
    "bootstrap.servers", "metadata.broker.list", "group.id", "group.instance.id", "enable.idempotence", "acks", "request.required.acks",
    "transactional.id", "enable.auto.commit", "auto.commit.enable", "enable.auto.offset.store", "auto.offset.reset",
    "partition.assignment.strategy", "enable.partition.eof", "isolation.level", "message.send.max.retries", "retries",
    "allow.auto.create.topics", "test.mock.num.brokers", "plugin.library.paths", "enable.gapless.guarantee",
};

/* librdkafka's own lines, from its threads. */
static void log_line(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    char quoted[600];
    (void)handle;
    /* An extra option of the other kind of client; the embedded broker, which says no version. */
    if (strstr(text, "will be ignored by this") || strcmp(facility, "AUTOCREATE") == 0)
        return;
    enum mr_log_level ours = level <= LOG_ERR ? MR_LOG_ERROR : level == LOG_WARNING ? MR_LOG_WARN : MR_LOG_DEBUG;
    mr_log(ours, "kafka.library", "facility=%s text=%s", facility, mr_log_quote(text, quoted, sizeof quoted));
}

static bool set(rd_kafka_conf_t *conf, const char *key, const char *value, struct mr_err *err)
{
    char text[256];
    if (rd_kafka_conf_set(conf, key, value, text, sizeof text) == RD_KAFKA_CONF_OK)
        return true;
    mr_err_set(err, MR_ERR_INVALID, "kafka.options: %s", text); /* librdkafka's sentence names the option, not a secret value */
    return false;
}

static bool set_all(rd_kafka_conf_t *conf, const struct setting *settings, size_t n, struct mr_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!set(conf, settings[i].key, settings[i].value, err))
            return false;
    return true;
}
#define SET_ALL(conf, settings, err) set_all(conf, settings, sizeof(settings) / sizeof *(settings), err)

static bool set_extra(rd_kafka_conf_t *conf, const char *entry, struct mr_err *err)
{
    char key[128];
    const char *equals = strchr(entry, '=');
    if (!equals || equals == entry || (size_t)(equals - entry) >= sizeof key) {
        mr_err_set(err, MR_ERR_INVALID, "kafka.options: an entry must read \"key=value\"");
        return false;
    }
    memcpy(key, entry, (size_t)(equals - entry));
    key[equals - entry] = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(key, refused[i]) == 0) {
            mr_err_set(err, MR_ERR_INVALID, "kafka.options: %s is not yours to set: what millrace promises hangs on it", key);
            return false;
        }
    }
    return set(conf, key, equals + 1, err);
}

static bool loopback(struct mr_str host)
{
    static const char *const names[] = {"localhost", "::1", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (mr_str_is(host, names[i]))
            return true;
    return host.n > 4 && memcmp(host.p, "127.", 4) == 0;
}

static bool reads(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char text[64] = "";
    size_t n = sizeof text;
    return rd_kafka_conf_get(conf, key, text, &n) == RD_KAFKA_CONF_OK && strcasecmp(text, value) == 0;
}

/* What is wrong with the way to a broker on another machine, or NULL. TLS that compares neither certificate nor name hides nothing from
 * whoever stands in the middle. */
static const char *way_is_open(rd_kafka_conf_t *conf)
{
    if (!reads(conf, "security.protocol", "ssl") && !reads(conf, "security.protocol", "sasl_ssl"))
        return "the connection is not encrypted: set security.protocol in kafka.options";
    if (reads(conf, "enable.ssl.certificate.verification", "false"))
        return "enable.ssl.certificate.verification=false lets any broker in: set ssl.ca.location in kafka.options";
    if (reads(conf, "ssl.endpoint.identification.algorithm", "none"))
        return "ssl.endpoint.identification.algorithm=none lets any name in: leave it at https";
    return NULL;
}

/* Prompts are nobody's business on the way: a broker elsewhere is spoken to by TLS, unless the user says otherwise. */
static bool check_way(const struct mr_kafka_options *options, rd_kafka_conf_t *conf, struct mr_err *err)
{
    const char *open = options->allow_plaintext ? NULL : way_is_open(conf);
    if (!open)
        return true;
    for (const char *p = options->brokers; *p;) {
        size_t length = strcspn(p, ",");
        struct mr_str host = {p, length};
        while (host.n && *host.p == ' ')
            host.p++, host.n--;
        for (size_t i = host.n; i > 0; i--) {
            if (host.p[i - 1] == ':') {
                host.n = i - 1;
                break;
            }
        }
        if (host.n && !loopback(host)) {
            mr_err_set(err, MR_ERR_INVALID, "kafka.brokers: %.*s is not on this machine and %s, or say kafka.allow_plaintext", (int)host.n,
                       host.p, open);
            return false;
        }
        p += length + (p[length] == ',');
    }
    return true;
}

rd_kafka_conf_t *kafka_conf_new(const struct mr_kafka_options *options, enum kafka_client client, bool dev_broker, struct mr_err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool ok = SET_ALL(conf, common_settings, err);
    if (client == KAFKA_PRODUCER)
        ok = ok && SET_ALL(conf, producer_settings, err);
    else
        ok = ok && SET_ALL(conf, consumer_settings, err) && set(conf, "fetch.wait.max.ms", dev_broker ? "10" : "50", err);
    if (client == KAFKA_GROUP)
        ok = ok && SET_ALL(conf, group_settings, err) && set(conf, "group.id", options->group, err);
    if (client == KAFKA_FOLLOWER)
        ok = ok && SET_ALL(conf, follower_settings, err);
    for (int32_t i = 0; ok && i < options->n_extra; i++)
        ok = set_extra(conf, options->extra[i], err);
    ok = ok && set(conf, "bootstrap.servers", options->brokers, err) && check_way(options, conf, err);
    if (!ok) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_log_cb(conf, log_line);
    return conf;
}
