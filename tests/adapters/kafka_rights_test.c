/* The access lists of deploy/kafka/acls on the secure broker that KAFKA_SECURE names by its folder (deploy/kafka/start --secure): what each
 * role does works with exactly its lines, and fails without any one of them, in words that say so. The topics are there already.
 * `grant` alone leaves all lists in place, for whoever comes next. */
#include "adapters/kafka_private.h"
#include "base/clock.h"
#include "tests/test.h"

#include <stdlib.h>
#include <time.h>

enum { RIGHTS_MAX = 64, EXTRA_MAX = 8, WAIT_MS = 15000 };

struct right {
    char role[16], kind[24], match[16], name[64], operation[24];
};

static struct right rights[RIGHTS_MAX];
static int n_rights;
static char folder[200], brokers[64], reason[600];

static bool read_rights(void)
{
    char line[256];
    FILE *file = fopen(TEST_SOURCE_DIR "/deploy/kafka/acls", "r");
    n_rights = 0;
    while (file && fgets(line, sizeof line, file)) {
        struct right *r = &rights[n_rights];
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (n_rights == RIGHTS_MAX || sscanf(line, "%15s %23s %15s %63s %23s", r->role, r->kind, r->match, r->name, r->operation) != 5) {
            printf("odd line: %s", line);
            n_rights = 0;
            break;
        }
        n_rights++;
    }
    if (file)
        fclose(file);
    return n_rights > 0;
}

static bool no_broker(void)
{
    char path[256];
    const char *given = getenv("KAFKA_SECURE");
    int port = 0;
    if (!given) {
        printf("skipped: KAFKA_SECURE is not set\n");
        return true;
    }
    snprintf(folder, sizeof folder, "%s", given);
    snprintf(path, sizeof path, "%s/ports", folder);
    FILE *file = fopen(path, "r");
    EXPECT(file && fscanf(file, "%d", &port) == 1);
    if (file)
        fclose(file);
    snprintf(brokers, sizeof brokers, "127.0.0.1:%d", port);
    return port == 0 || !read_rights();
}

/* "key=value" of DIR/secure/USER.properties. */
struct login {
    char lines[EXTRA_MAX][300];
    const char *extra[EXTRA_MAX];
    int n;
};

static struct login login_of(const char *user)
{
    struct login login = {0};
    char path[300];
    snprintf(path, sizeof path, "%s/secure/%s.properties", folder, user);
    FILE *file = fopen(path, "r");
    while (file && login.n < EXTRA_MAX && fgets(login.lines[login.n], sizeof login.lines[0], file)) {
        login.lines[login.n][strcspn(login.lines[login.n], "\n")] = 0;
        login.n++;
    }
    if (file)
        fclose(file);
    return login;
}

static struct mr_kafka_options options_of(struct login *login)
{
    static const char *const inputs[] = {"millrace.jobs.realtime", "millrace.parked.realtime"};
    for (int i = 0; i < login->n; i++)
        login->extra[i] = login->lines[i];
    return (struct mr_kafka_options){.brokers = brokers, .group = "millrace", .inputs = inputs, .n_inputs = 2, .extra = login->extra,
                                     .n_extra = login->n};
}

/* ---- the lists, by admin ---- */

static rd_kafka_t *admin_open(void)
{
    char text[300];
    struct login login = login_of("admin");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof text);
    for (int i = 0; i < login.n; i++) {
        char *value = strchr(login.lines[i], '=');
        *value++ = 0;
        if (rd_kafka_conf_set(conf, login.lines[i], value, text, sizeof text))
            printf("%s\n", text);
    }
    return rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
}

static rd_kafka_AclBinding_t *binding_of(const struct right *r, char *text, size_t n)
{
    static const struct {
        const char *name;
        int number;
    } words[] = {
        {"group", RD_KAFKA_RESOURCE_GROUP}, {"topic", RD_KAFKA_RESOURCE_TOPIC}, {"cluster", RD_KAFKA_RESOURCE_BROKER},
        {"literal", RD_KAFKA_RESOURCE_PATTERN_LITERAL}, {"prefixed", RD_KAFKA_RESOURCE_PATTERN_PREFIXED},
        {"read", RD_KAFKA_ACL_OPERATION_READ},
        {"write", RD_KAFKA_ACL_OPERATION_WRITE}, {"describe-configs", RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS},
        {"idempotent-write", RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE},
    };
    const char *asked[] = {r->kind, r->match, r->operation};
    int found[3] = {-1, -1, -1};
    char principal[40];
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < sizeof words / sizeof *words; k++)
            found[i] = strcmp(asked[i], words[k].name) == 0 ? words[k].number : found[i];
    snprintf(principal, sizeof principal, "User:%s", r->role);
    return rd_kafka_AclBinding_new((rd_kafka_ResourceType_t)found[0], r->name, (rd_kafka_ResourcePatternType_t)found[1], principal, "*",
                                   (rd_kafka_AclOperation_t)found[2], RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, text, n);
}

/* librdkafka cannot grant what is about transactional ids: that such a line is needed is shown, not that it is enough. */
static bool can_grant(const struct right *r) { return strcmp(r->kind, "transactional-id") != 0; }

/* Adds or takes away one line. */
static bool change(rd_kafka_t *admin, const struct right *r, bool add)
{
    char text[300] = "";
    if (!can_grant(r))
        return true;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_AclBinding_t *binding = binding_of(r, text, sizeof text);
    if (binding && add)
        rd_kafka_CreateAcls(admin, &binding, 1, NULL, queue);
    else if (binding)
        rd_kafka_DeleteAcls(admin, &binding, 1, NULL, queue);
    rd_kafka_event_t *event = binding ? rd_kafka_queue_poll(queue, WAIT_MS) : NULL;
    bool ok = event && !rd_kafka_event_error(event);
    size_t n = 0;
    if (ok && add) {
        const rd_kafka_acl_result_t **made = rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event), &n);
        ok = n == 1 && !rd_kafka_acl_result_error(made[0]);
    } else if (ok) {
        const rd_kafka_DeleteAcls_result_response_t **gone = rd_kafka_DeleteAcls_result_responses(rd_kafka_event_DeleteAcls_result(event), &n);
        ok = n == 1 && !rd_kafka_DeleteAcls_result_response_error(gone[0]);
    }
    if (!ok)
        printf("%s %s %s %s %s: %s %s\n", r->role, r->kind, r->match, r->name, r->operation, text,
               event ? rd_kafka_event_error_string(event) : "no answer");
    rd_kafka_event_destroy(event);
    if (binding)
        rd_kafka_AclBinding_destroy(binding);
    rd_kafka_queue_destroy(queue);
    return ok;
}

/* ---- what the roles do ---- */

struct peer {
    struct mr_wake wake;
    struct mr_log_port port;
    struct login login;
    struct mr_kafka_options options;
    bool read[2];                 /* a record of each input */
    char topic[KAFKA_TOPIC_BYTES]; /* of the latest */
    int32_t partition;
};

static bool said(const char *what, struct mr_str text)
{
    snprintf(reason, sizeof reason, "%s: %.*s", what, (int)text.n, text.p);
    return false;
}

static bool peer_open(struct peer *peer, const char *user, enum mr_log_role role, bool transactions)
{
    struct mr_err err = {0};
    *peer = (struct peer){.login = login_of(user)};
    peer->options = options_of(&peer->login);
    peer->options.transactions = transactions;
    if (mr_wake_open(&peer->wake) && !mr_kafka_open(&peer->options, role, &peer->wake, &peer->port, &err))
        return true;
    mr_wake_close(&peer->wake);
    return said("open", mr_str_from(err.text));
}

static void peer_close(struct peer *peer)
{
    mr_kafka_close(&peer->port);
    mr_wake_close(&peer->wake);
}

/* Polls until an event of this kind; trouble ends it. */
static bool wait_for(struct peer *peer, enum mr_log_event_kind kind, struct mr_log_event *event)
{
    for (int waited = 0; waited < WAIT_MS / 100; waited++) {
        if (!peer->port.poll(peer->port.self, 100 * MR_NS_PER_MS, event))
            continue;
        if (event->kind == MR_LOG_TROUBLE || (event->kind == MR_LOG_DELIVERED && event->status) ||
            (event->kind == MR_LOG_COMMITTED && event->commit != MR_COMMIT_OK))
            return said("event", event->text);
        if (event->kind == MR_LOG_RECORD) {
            peer->partition = event->record.partition;
            kafka_topic_copy(peer->topic, event->record.topic);
            for (int i = 0; i < 2; i++)
                peer->read[i] |= mr_str_is(event->record.topic, peer->options.inputs[i]);
        }
        if (event->kind == kind)
            return true;
    }
    snprintf(reason, sizeof reason, "event %d did not come", (int)kind);
    return false;
}

static bool produce(struct peer *peer, const char *topic)
{
    struct mr_log_event event;
    struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .record = {.topic = mr_str_from(topic), .key = MR_STR("k"), .value = MR_STR("{}")}};
    if (peer->port.act(peer->port.self, &action))
        return said("may not be seen", mr_str_from(topic));
    return wait_for(peer, MR_LOG_DELIVERED, &event);
}

static bool follow(struct peer *peer, const char *topic)
{
    struct mr_log_event event;
    struct mr_log_action action = {.kind = MR_LOG_FOLLOW, .record = {.topic = mr_str_from(topic)}, .offset = -1};
    if (peer->port.act(peer->port.self, &action))
        return said("may not be seen", mr_str_from(topic));
    return wait_for(peer, MR_LOG_CAUGHT_UP, &event);
}

static bool describe(struct peer *peer, const char *name)
{
    struct mr_topic topic = {0};
    struct mr_err err = {0};
    snprintf(topic.name, sizeof topic.name, "%s", name);
    return !mr_kafka_topic_describe(&peer->options, &topic, &err) || said("describe", mr_str_from(err.text));
}

/* A record of each input is read, and one committed, alone or in a transaction. */
static bool take_and_commit(struct peer *peer, bool transaction)
{
    struct mr_log_event event;
    while (!peer->read[0] || !peer->read[1])
        if (!wait_for(peer, MR_LOG_RECORD, &event))
            return false;
    struct mr_log_action outcome = {.kind = MR_LOG_PRODUCE, .transaction = true,
                                    .record = {.topic = MR_STR("millrace.results"), .key = MR_STR("k"), .value = MR_STR("{}")}};
    struct mr_log_action commit = {.kind = MR_LOG_COMMIT, .record = {.topic = mr_str_from(peer->topic), .partition = peer->partition},
                                   .offset = 0, .transaction = transaction}; /* 0: whoever comes next reads them again */
    if (transaction && peer->port.act(peer->port.self, &outcome))
        return said("may not be seen", MR_STR("results"));
    return !peer->port.act(peer->port.self, &commit) && wait_for(peer, MR_LOG_COMMITTED, &event);
}

static bool work(bool transactions)
{
    static const char *const out[] = {"millrace.parked.realtime", "millrace.stream.realtime", "millrace.results", "millrace.dead", "millrace.audit"};
    struct peer peer;
    if (!peer_open(&peer, "worker", MR_LOG_WORKER, transactions))
        return false;
    bool ok = describe(&peer, "millrace.control") && follow(&peer, "millrace.stream.realtime") && follow(&peer, "millrace.control");
    for (size_t i = 0; ok && i < sizeof out / sizeof *out; i++)
        ok = produce(&peer, out[i]);
    ok = ok && take_and_commit(&peer, transactions);
    peer_close(&peer);
    return ok;
}

static bool submit(void)
{
    struct peer peer;
    if (!peer_open(&peer, "submitter", MR_LOG_CLIENT, false))
        return false;
    bool ok = produce(&peer, "millrace.jobs.realtime") && produce(&peer, "millrace.control");
    peer_close(&peer);
    return ok;
}

static bool look(void)
{
    static const char *const in[] = {"millrace.jobs.realtime", "millrace.parked.realtime", "millrace.stream.realtime", "millrace.results",
                                     "millrace.dead", "millrace.control", "millrace.audit"};
    struct peer peer;
    if (!peer_open(&peer, "reader", MR_LOG_CLIENT, false))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof in / sizeof *in; i++)
        ok = follow(&peer, in[i]);
    peer_close(&peer);
    return ok;
}

/* What the role of a line does, and with transactions where the line is about them. */
static bool works(const struct right *r)
{
    reason[0] = 0;
    return strcmp(r->role, "worker") == 0 ? work(strcmp(r->kind, "transactional-id") == 0) : strcmp(r->role, "submitter") == 0 ? submit() : look();
}

TEST(grant)
{
    if (no_broker())
        return;
    rd_kafka_t *admin = admin_open();
    REQUIRE(admin);
    for (int i = 0; i < n_rights; i++)
        EXPECT(change(admin, &rights[i], true));
    rd_kafka_destroy(admin);
}

TEST(the_least_rights_are_enough_and_each_is_needed)
{
    if (no_broker())
        return;
    rd_kafka_t *admin = admin_open();
    REQUIRE(admin);
    EXPECT(submit() && work(false) && look());
    if (reason[0])
        printf("%s\n", reason);
    for (int i = 0; i < n_rights; i++) {
        EXPECT(change(admin, &rights[i], false));
        bool ok = works(&rights[i]);
        printf("without %s %s %s %s: %s\n", rights[i].role, rights[i].kind, rights[i].name, rights[i].operation, ok ? "works" : reason);
        EXPECT(!ok && (strstr(reason, "uthorization") || strstr(reason, "may not be seen") || strstr(reason, "does not exist")));
        EXPECT(change(admin, &rights[i], true));
    }
    rd_kafka_destroy(admin);
}

/* What no role may: what the others do. */
TEST(roles_are_kept_apart)
{
    static const struct {
        const char *user, *topic;
        bool write;
    } refused[] = {
        {"submitter", "millrace.stream.realtime", true}, {"submitter", "millrace.results", false}, {"submitter", "millrace.jobs.realtime", false},
        {"reader", "millrace.jobs.realtime", true},      {"reader", "millrace.stream.realtime", true}, {"worker", "millrace.jobs.realtime", true},
        {"worker", "millrace.dead", false},
    };
    if (no_broker())
        return;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct peer peer;
        REQUIRE(peer_open(&peer, refused[i].user, MR_LOG_CLIENT, false));
        bool ok = refused[i].write ? produce(&peer, refused[i].topic) : follow(&peer, refused[i].topic);
        if (ok)
            printf("%s may %s %s\n", refused[i].user, refused[i].write ? "write to" : "read", refused[i].topic);
        EXPECT(!ok);
        peer_close(&peer);
    }
}

TEST_MAIN(TEST_CASE(grant), TEST_CASE(the_least_rights_are_enough_and_each_is_needed), TEST_CASE(roles_are_kept_apart))
