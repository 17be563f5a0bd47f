/* Owns every record appended, until close.
 *
 * Invariants:
 * 1. Records of one client reach one partition in the order in which they were produced, less those that are lost; a duplicate
 *    follows its original at once. (An idempotent producer; two clients interleave as chance has it.)
 * 2. A follower sees a record some time after it was appended, in order, and none twice.
 * 3. A commit counts only from a member of the present generation; its answer says OK only if the partition stayed assigned.
 * 4. All chance comes from one generator, drawn in the order of the calls.
 *
 * Rejected: threads and real time (nothing would replay); modelling brokers and replicas (the protocol only ever sees errors). */
#include "adapters/memory.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdlib.h>

enum { ASSIGNED_MAX = 256, FOLLOWED_MAX = 256 };

struct stored {
    struct mr_record record;
    int64_t visible_ns;
    char *memory;
};

struct log {
    struct stored *records; /* [end], of which those below start are gone */
    int64_t start, end, capacity;
    int64_t committed;
    char *metadata; /* of the commit */
};

struct topic {
    const char *name;
    int32_t n_partitions;
    struct log partition[MR_MEMORY_PARTITIONS_MAX];
};

/* Something on its way: a record to the log, or an event to the client. */
struct pending {
    struct pending *next;
    int64_t due_ns;
    bool is_append, lost, lie;
    struct mr_record record; /* of memory */
    char *memory;
    uint64_t tag;
    struct mr_log_event event;
    struct mr_log_action commit; /* COMMIT on its way: text in memory */
    bool is_commit;
    struct pending *held; /* COMMIT of a transaction: the records that go with it */
    int32_t generation;
    uint32_t epoch; /* of the client's assignment when it was sent */
};

struct position {
    struct topic *topic;
    int32_t partition;
    int64_t next, caught_up_at; /* caught_up_at: -1 once it was said */
    bool paused;
};

struct mr_memory_client {
    struct mr_memory *memory;
    const char *const *topics;
    int32_t n_topics;
    bool gone, member, joined, kicked, leaving;
    int32_t generation;
    uint32_t epoch;
    int64_t last_poll_ns, last_due_ns;
    struct position assigned[ASSIGNED_MAX], followed[FOLLOWED_MAX];
    int32_t n_assigned, n_followed, n_announced; /* announced: ASSIGNED events given so far */
    struct pending *first, **last;     /* in the order sent */
    struct pending *held, **held_last; /* records of the transaction that is open */
    struct mr_wake wake;
    char *event_memory;                /* what the last event points at */
};

struct mr_memory {
    const struct mr_manual_clock *clock;
    uint64_t random, draws;
    struct mr_memory_faults faults;
    int64_t session_ns, appends;
    struct topic topics[MR_MEMORY_TOPICS_MAX];
    int32_t n_topics;
    struct mr_memory_client *clients[MR_MEMORY_CLIENTS_MAX];
    int32_t n_clients, generation;
    bool rebalancing;
};

static uint64_t draw(struct mr_memory *m, uint64_t below)
{
    return below ? mr_mix64(m->random + ++m->draws * UINT64_C(0x9e3779b97f4a7c15)) % below : 0;
}

static bool chance(struct mr_memory *m, int of_1024) { return (int)draw(m, 1024) < of_1024; }
static int64_t delay(struct mr_memory *m) { return (int64_t)draw(m, (uint64_t)m->faults.delay_max_ns + 1); }
static int64_t now(const struct mr_memory *m) { return m->clock->monotonic_ns; }

static struct topic *topic_of(const struct mr_memory *m, struct mr_str name)
{
    for (int32_t i = 0; i < m->n_topics; i++) {
        if (mr_str_is(name, m->topics[i].name))
            return (struct topic *)&m->topics[i];
    }
    return NULL;
}

static struct log *log_of(const struct mr_memory *m, struct mr_str name, int32_t partition)
{
    struct topic *topic = topic_of(m, name);
    return topic && partition >= 0 && partition < topic->n_partitions ? &topic->partition[partition] : NULL;
}

struct mr_memory *mr_memory_open(uint64_t seed, const struct mr_manual_clock *clock)
{
    struct mr_memory *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->clock = clock;
    m->random = mr_mix64(seed + 1);
    m->session_ns = 6 * MR_NS_PER_S;
    return m;
}

static void pending_free(struct pending *p)
{
    while (p->held) {
        struct pending *next = p->held->next;
        free(p->held->memory);
        free(p->held);
        p->held = next;
    }
    free(p->memory);
    free(p);
}

/* What waits for its transaction's commit is forgotten. */
static void held_free(struct mr_memory_client *c)
{
    struct pending all = {.held = c->held};
    while (all.held) {
        struct pending *p = all.held;
        all.held = p->next;
        pending_free(p);
    }
    c->held = NULL;
    c->held_last = &c->held;
}

static void client_free(struct mr_memory_client *c)
{
    while (c->first) {
        struct pending *next = c->first->next;
        pending_free(c->first);
        c->first = next;
    }
    held_free(c);
    mr_wake_close(&c->wake);
    free(c->event_memory);
    free(c);
}

void mr_memory_close(struct mr_memory *m)
{
    for (int32_t i = 0; i < m->n_clients; i++)
        client_free(m->clients[i]);
    for (int32_t t = 0; t < m->n_topics; t++) {
        for (int32_t p = 0; p < m->topics[t].n_partitions; p++) {
            struct log *log = &m->topics[t].partition[p];
            for (int64_t i = 0; i < log->end; i++)
                free(log->records[i].memory);
            free(log->records);
            free(log->metadata);
        }
    }
    free(m);
}

void mr_memory_set_faults(struct mr_memory *m, const struct mr_memory_faults *faults) { m->faults = *faults; }
void mr_memory_set_session_ns(struct mr_memory *m, int64_t session_ns) { m->session_ns = session_ns; }
int64_t mr_memory_appends(const struct mr_memory *m) { return m->appends; }

void mr_memory_topic(struct mr_memory *m, const char *name, int32_t partitions)
{
    CHECK(m->n_topics < MR_MEMORY_TOPICS_MAX && partitions <= MR_MEMORY_PARTITIONS_MAX && !topic_of(m, mr_str_from(name)));
    struct topic *topic = &m->topics[m->n_topics++];
    topic->name = name;
    topic->n_partitions = partitions;
    for (int32_t i = 0; i < partitions; i++)
        topic->partition[i].committed = -1;
}

/* ---- records ---- */

static struct mr_str put(char **at, struct mr_str s)
{
    struct mr_str copy = {s.p ? *at : NULL, s.n};
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

/* A copy of everything in one block, which the caller frees. */
static char *record_copy(const struct mr_record *from, struct mr_record *to)
{
    size_t n_headers = (size_t)from->n_headers, bytes = n_headers * sizeof(struct mr_header) + from->topic.n + from->key.n + from->value.n + 1;
    for (size_t i = 0; i < n_headers; i++)
        bytes += from->headers[i].key.n + from->headers[i].value.n;
    char *memory = malloc(bytes), *at = memory + n_headers * sizeof(struct mr_header);
    CHECK(memory);
    struct mr_header *headers = (struct mr_header *)memory;
    *to = *from;
    to->topic = put(&at, from->topic);
    to->key = put(&at, from->key);
    to->value = put(&at, from->value);
    for (size_t i = 0; i < n_headers; i++) {
        headers[i].key = put(&at, from->headers[i].key);
        headers[i].value = put(&at, from->headers[i].value);
    }
    to->headers = headers;
    return memory;
}

static int64_t append(struct mr_memory *m, const struct mr_record *record, int64_t visible_ns)
{
    struct topic *topic = topic_of(m, record->topic);
    CHECK(topic);
    int32_t partition = record->partition;
    if (partition < 0)
        partition = (int32_t)(mr_fnv1a64(MR_FNV1A64_START, record->key.p, record->key.n) % (uint64_t)topic->n_partitions);
    struct log *log = &topic->partition[partition];
    if (log->end == log->capacity) {
        log->capacity = log->capacity ? log->capacity * 2 : 64;
        log->records = realloc(log->records, sizeof *log->records * (size_t)log->capacity);
        CHECK(log->records);
    }
    struct stored *stored = &log->records[log->end];
    stored->memory = record_copy(record, &stored->record);
    stored->record.topic = mr_str_from(topic->name);
    stored->record.partition = partition;
    stored->record.offset = log->end;
    stored->record.timestamp_ms = m->clock->wall_ms;
    int64_t before = log->end ? log->records[log->end - 1].visible_ns : 0;
    stored->visible_ns = visible_ns > before ? visible_ns : before;
    return log->end++;
}

int64_t mr_memory_append(struct mr_memory *m, const struct mr_record *record) { return append(m, record, now(m)); }

int64_t mr_memory_end(const struct mr_memory *m, const char *topic, int32_t partition)
{
    const struct log *log = log_of(m, mr_str_from(topic), partition);
    return log ? log->end : 0;
}

bool mr_memory_read(const struct mr_memory *m, const char *topic, int32_t partition, int64_t offset, struct mr_record *out)
{
    const struct log *log = log_of(m, mr_str_from(topic), partition);
    if (!log || offset < log->start || offset >= log->end)
        return false;
    *out = log->records[offset].record;
    return true;
}

int64_t mr_memory_committed(const struct mr_memory *m, const char *topic, int32_t partition)
{
    return log_of(m, mr_str_from(topic), partition)->committed;
}

void mr_memory_cut(struct mr_memory *m, const char *topic, int32_t partition, int64_t start)
{
    struct log *log = log_of(m, mr_str_from(topic), partition);
    log->start = start < log->end ? start : log->end;
}

/* ---- what is on its way ---- */

static struct pending *send(struct mr_memory_client *c, int64_t due_ns)
{
    struct pending *p = calloc(1, sizeof *p);
    CHECK(p);
    p->due_ns = due_ns;
    *c->last = p;
    c->last = &p->next;
    return p;
}

static void report(struct mr_memory_client *c, uint64_t tag, enum mr_status status, int64_t offset, int64_t due_ns)
{
    struct pending *p = send(c, due_ns);
    p->event = (struct mr_log_event){.kind = MR_LOG_DELIVERED, .tag = tag, .status = status, .offset = offset,
                                     .timestamp_ms = status == MR_OK ? c->memory->clock->wall_ms : 0};
}

static void hold(struct mr_memory_client *c, const struct mr_log_action *action)
{
    struct pending *p = calloc(1, sizeof *p);
    CHECK(p);
    p->memory = record_copy(&action->record, &p->record);
    *c->held_last = p;
    c->held_last = &p->next;
}

static void produce(struct mr_memory_client *c, const struct mr_log_action *action)
{
    struct mr_memory *m = c->memory;
    if (action->transaction) {
        hold(c, action);
        return;
    }
    c->last_due_ns = (c->last_due_ns > now(m) ? c->last_due_ns : now(m)) + delay(m) / 4; /* in order */
    struct pending *p = send(c, c->last_due_ns);
    p->is_append = true;
    p->tag = action->tag;
    p->memory = record_copy(&action->record, &p->record);
    p->lost = chance(m, m->faults.lose);
    p->lie = !p->lost && chance(m, m->faults.lie);
}

static void arrive(struct mr_memory_client *c, struct pending *p)
{
    struct mr_memory *m = c->memory;
    int64_t offset = -1;
    if (!p->lost) {
        offset = append(m, &p->record, now(m) + delay(m));
        m->appends++;
        if (chance(m, m->faults.twice))
            append(m, &p->record, now(m) + delay(m));
    }
    if (p->tag && !c->gone) {
        bool failed = p->lost || p->lie;
        report(c, p->tag, failed ? MR_ERR_TIMEOUT : MR_OK, offset, now(m) + delay(m) + (failed ? m->faults.error_after_ns : 0));
    }
}

static void commit_arrive(struct mr_memory_client *c, struct pending *p)
{
    struct mr_memory *m = c->memory;
    struct log *log = log_of(m, p->commit.record.topic, p->commit.record.partition);
    enum mr_commit_outcome outcome = MR_COMMIT_OK;
    if (m->rebalancing || chance(m, m->faults.refuse_commit))
        outcome = MR_COMMIT_RETRY;
    if (!c->member || p->generation != m->generation)
        outcome = MR_COMMIT_NOT_OWNER;
    if (outcome == MR_COMMIT_OK) {
        log->committed = p->commit.offset;
        free(log->metadata);
        log->metadata = strndup(p->commit.text.p, p->commit.text.n);
        for (struct pending *held = p->held; held; held = held->next, m->appends++)
            append(m, &held->record, now(m) + delay(m));
        if (p->commit.transaction && chance(m, m->faults.lie))
            outcome = MR_COMMIT_RETRY; /* it is done, and its answer lost */
    }
    if (c->gone)
        return;
    struct pending *answer = send(c, now(m) + delay(m));
    answer->epoch = p->epoch;
    answer->memory = record_copy(&p->commit.record, &answer->event.record);
    answer->event.kind = MR_LOG_COMMITTED;
    answer->event.tag = p->commit.tag;
    answer->event.commit = outcome;
}

/* Moves everything that is due and bound for the cluster. */
static void move_due(struct mr_memory_client *c)
{
    for (struct pending **link = &c->first; *link;) {
        struct pending *p = *link;
        if (p->due_ns > now(c->memory) || !(p->is_append || p->is_commit)) {
            link = &p->next;
            continue;
        }
        if (p->is_append)
            arrive(c, p);
        else
            commit_arrive(c, p);
        *link = p->next; /* arrive may have added behind it */
        if (c->last == &p->next)
            c->last = link;
        pending_free(p);
    }
}

/* ---- the group ---- */

static void begin_rebalance(struct mr_memory *m)
{
    m->rebalancing = true;
    for (int32_t i = 0; i < m->n_clients; i++)
        m->clients[i]->joined = false;
}

static bool consumes(const struct mr_memory_client *c, const char *topic)
{
    for (int32_t i = 0; i < c->n_topics; i++) {
        if (strcmp(c->topics[i], topic) == 0)
            return true;
    }
    return false;
}

static void assign_to(struct mr_memory_client *c, struct topic *topic, int32_t partition)
{
    struct log *log = &topic->partition[partition];
    CHECK(c->n_assigned < ASSIGNED_MAX);
    c->assigned[c->n_assigned++] = (struct position){.topic = topic, .partition = partition, .next = log->committed >= 0
        ? log->committed : log->start};
}

/* Range: each topic's partitions in blocks over the members. */
static void finish_rebalance(struct mr_memory *m)
{
    m->rebalancing = false;
    m->generation++;
    for (int32_t t = 0; t < m->n_topics; t++) {
        struct mr_memory_client *members[MR_MEMORY_CLIENTS_MAX];
        int32_t n = 0, next = 0;
        for (int32_t i = 0; i < m->n_clients; i++) {
            if (m->clients[i]->member && consumes(m->clients[i], m->topics[t].name))
                members[n++] = m->clients[i];
        }
        for (int32_t i = 0; i < n; i++) {
            int32_t share = m->topics[t].n_partitions / n + (i < m->topics[t].n_partitions % n);
            for (int32_t k = 0; k < share; k++)
                assign_to(members[i], &m->topics[t], next++);
        }
    }
    for (int32_t i = 0; i < m->n_clients; i++)
        m->clients[i]->generation = m->clients[i]->member ? m->generation : m->clients[i]->generation;
}

void mr_memory_group_reset(struct mr_memory *m, bool forget)
{
    m->generation = 0;
    for (int32_t t = 0; forget && t < m->n_topics; t++) {
        for (int32_t p = 0; p < m->topics[t].n_partitions; p++) {
            m->topics[t].partition[p].committed = -1;
            free(m->topics[t].partition[p].metadata);
            m->topics[t].partition[p].metadata = NULL;
        }
    }
    for (int32_t i = 0; i < m->n_clients; i++) {
        if (m->clients[i]->member) {
            m->clients[i]->member = false;
            m->clients[i]->kicked = true;
        }
    }
    begin_rebalance(m);
}

void mr_memory_step(struct mr_memory *m)
{
    for (int32_t i = 0; i < m->n_clients; i++) {
        struct mr_memory_client *c = m->clients[i];
        move_due(c);
        if (c->member && (c->leaving || now(m) - c->last_poll_ns > m->session_ns)) {
            c->member = false;
            c->kicked = !c->gone;
            begin_rebalance(m);
        }
    }
    bool all = m->rebalancing, any = false;
    for (int32_t i = 0; i < m->n_clients; i++) {
        all &= !m->clients[i]->member || m->clients[i]->joined;
        any |= m->clients[i]->member;
    }
    if (all && any)
        finish_rebalance(m);
}

/* ---- the port ---- */

static bool give_due(struct mr_memory_client *c, struct mr_log_event *event)
{
    for (struct pending **link = &c->first; *link; link = &(*link)->next) {
        struct pending *p = *link;
        if (p->is_append || p->is_commit || p->due_ns > now(c->memory))
            continue;
        *event = p->event;
        if (event->kind == MR_LOG_COMMITTED && event->commit == MR_COMMIT_OK && p->epoch != c->epoch)
            event->commit = MR_COMMIT_NOT_OWNER; /* revoked between question and answer */
        *link = p->next;
        if (c->last == &p->next)
            c->last = link;
        free(c->event_memory);
        c->event_memory = p->memory;
        free(p);
        return true;
    }
    return false;
}

static bool give_revoked(struct mr_memory_client *c, struct mr_log_event *event)
{
    if (c->n_assigned == 0)
        return false;
    struct position *position = &c->assigned[--c->n_assigned];
    bool announced = c->n_assigned < c->n_announced;
    c->n_announced = announced ? c->n_assigned : c->n_announced;
    if (!announced)
        return give_revoked(c, event);
    *event = (struct mr_log_event){.kind = MR_LOG_REVOKED, .lost = c->kicked};
    event->record.topic = mr_str_from(position->topic->name);
    event->record.partition = position->partition;
    c->epoch++;
    return true;
}

static bool give_group(struct mr_memory_client *c, struct mr_log_event *event)
{
    struct mr_memory *m = c->memory;
    bool must_join = c->n_topics && !c->leaving && (c->kicked || !c->member || (m->rebalancing && !c->joined));
    if (must_join || c->leaving) {
        if (give_revoked(c, event))
            return true;
        if (must_join) {
            if (!c->member)
                begin_rebalance(m);
            c->member = c->joined = true;
            c->kicked = false;
            return false;
        }
    }
    if (c->n_announced >= c->n_assigned || m->rebalancing)
        return false;
    struct position *position = &c->assigned[c->n_announced++];
    struct log *log = &position->topic->partition[position->partition];
    *event = (struct mr_log_event){.kind = MR_LOG_ASSIGNED, .offset = log->committed, .generation = c->generation,
                                   .text = log->metadata ? mr_str_from(log->metadata) : (struct mr_str){0}};
    position->next = log->committed >= 0 ? log->committed : log->start;
    event->record.topic = mr_str_from(position->topic->name);
    event->record.partition = position->partition;
    return true;
}

static bool out_of_range(struct position *position, struct mr_log_event *event)
{
    struct log *log = &position->topic->partition[position->partition];
    if (position->next >= log->start && position->next <= log->end)
        return false;
    *event = (struct mr_log_event){.kind = MR_LOG_OUT_OF_RANGE, .offset = log->start};
    event->record.topic = mr_str_from(position->topic->name);
    event->record.partition = position->partition;
    position->next = log->start;
    return true;
}

static bool give_followed(struct mr_memory_client *c, struct mr_log_event *event)
{
    for (int32_t i = 0; i < c->n_followed; i++) {
        struct position *position = &c->followed[(i + c->memory->draws) % (uint64_t)c->n_followed];
        struct log *log = &position->topic->partition[position->partition];
        if (out_of_range(position, event))
            return true;
        if (position->caught_up_at >= 0 && position->next >= position->caught_up_at) {
            *event = (struct mr_log_event){.kind = MR_LOG_CAUGHT_UP, .offset = position->next};
            event->record.topic = mr_str_from(position->topic->name);
            event->record.partition = position->partition;
            position->caught_up_at = -1;
            return true;
        }
        if (position->next < log->end && log->records[position->next].visible_ns <= now(c->memory)) {
            *event = (struct mr_log_event){.kind = MR_LOG_FOLLOWED, .record = log->records[position->next++].record};
            event->offset = event->record.offset;
            return true;
        }
    }
    return false;
}

static bool give_record(struct mr_memory_client *c, struct mr_log_event *event)
{
    for (int32_t i = 0; i < c->n_announced; i++) {
        struct position *position = &c->assigned[i];
        struct log *log = &position->topic->partition[position->partition];
        if (position->paused || position->next >= log->end || log->records[position->next].visible_ns > now(c->memory))
            continue;
        if (out_of_range(position, event))
            return true;
        *event = (struct mr_log_event){.kind = MR_LOG_RECORD, .record = log->records[position->next++].record};
        event->offset = event->record.offset;
        return true;
    }
    return false;
}

static bool poll_client(void *self, int64_t timeout_ns, struct mr_log_event *event)
{
    struct mr_memory_client *c = self;
    (void)timeout_ns;
    c->last_poll_ns = now(c->memory);
    bool late = c->kicked && draw(c->memory, 4) != 0; /* what was fetched before comes first, mostly */
    bool (*const order[4])(struct mr_memory_client *, struct mr_log_event *) = {give_group, give_due, give_followed, give_record};
    unsigned first = late ? 1 + (unsigned)draw(c->memory, 3) : (unsigned)draw(c->memory, 4);
    for (unsigned i = 0; i < 4; i++) {
        if (order[(first + i) % 4](c, event))
            return true;
    }
    return false;
}

static struct position *find(struct position *list, int32_t n, const struct mr_log_action *action)
{
    for (int32_t i = 0; i < n; i++) {
        if (list[i].partition == action->record.partition && mr_str_is(action->record.topic, list[i].topic->name))
            return &list[i];
    }
    return NULL;
}

static enum mr_status follow(struct mr_memory_client *c, const struct mr_log_action *action)
{
    struct topic *topic = topic_of(c->memory, action->record.topic);
    if (!topic || action->record.partition >= topic->n_partitions)
        return MR_ERR_NOT_FOUND;
    struct position *position = find(c->followed, c->n_followed, action);
    if (!position) {
        CHECK(c->n_followed < FOLLOWED_MAX);
        position = &c->followed[c->n_followed++];
    }
    struct log *log = &topic->partition[action->record.partition];
    *position = (struct position){.topic = topic, .partition = action->record.partition,
                                  .next = action->offset == MR_LOG_FROM_END ? log->end : action->offset < 0 ? log->start : action->offset,
                                      .caught_up_at = log->end};
    return MR_OK;
}

static enum mr_status commit(struct mr_memory_client *c, const struct mr_log_action *action)
{
    struct pending *p = send(c, now(c->memory) + delay(c->memory) / 2);
    p->is_commit = true;
    p->commit = *action;
    p->generation = c->generation;
    p->epoch = c->epoch;
    struct mr_record whole = action->record;
    whole.value = action->text;
    p->memory = record_copy(&whole, &p->commit.record);
    p->commit.text = p->commit.record.value;
    if (action->transaction) {
        p->held = c->held;
        c->held = NULL;
        c->held_last = &c->held;
    }
    return MR_OK;
}

static enum mr_status act(void *self, const struct mr_log_action *action)
{
    struct mr_memory_client *c = self;
    struct position *position;
    switch (action->kind) {
    case MR_LOG_PRODUCE:
        if (!topic_of(c->memory, action->record.topic))
            return MR_ERR_NOT_FOUND;
        produce(c, action);
        break;
    case MR_LOG_COMMIT: return commit(c, action);
    case MR_LOG_PAUSE:
    case MR_LOG_RESUME:
        position = find(c->assigned, c->n_assigned, action);
        if (position)
            position->paused = action->kind == MR_LOG_PAUSE;
        break;
    case MR_LOG_FOLLOW: return follow(c, action);
    case MR_LOG_UNFOLLOW:
        position = find(c->followed, c->n_followed, action);
        if (position)
            *position = c->followed[--c->n_followed];
        break;
    case MR_LOG_REOPEN_PRODUCER: /* what has not left is forgotten; what has may still arrive */
        for (struct pending *p = c->first; p; p = p->next)
            p->lost = p->lost || (p->is_append && draw(c->memory, 2));
        held_free(c);
        break;
    case MR_LOG_LEAVE: c->leaving = true; break;
    }
    return MR_OK;
}

static int32_t partitions(void *self, struct mr_str name)
{
    struct topic *topic = topic_of(((struct mr_memory_client *)self)->memory, name);
    return topic ? topic->n_partitions : -1;
}

struct mr_memory_client *mr_memory_client_open(struct mr_memory *m, const char *const *topics, int32_t n_topics, struct mr_log_port *port)
{
    struct mr_memory_client *c = calloc(1, sizeof *c);
    CHECK(c && m->n_clients < MR_MEMORY_CLIENTS_MAX && mr_wake_open(&c->wake));
    c->memory = m;
    c->topics = topics;
    c->n_topics = n_topics;
    c->last = &c->first;
    c->held_last = &c->held;
    c->last_poll_ns = now(m);
    m->clients[m->n_clients++] = c;
    *port = (struct mr_log_port){.poll = poll_client, .act = act, .partitions = partitions, .wake = &c->wake, .self = c};
    return c;
}

void mr_memory_client_crash(struct mr_memory_client *c)
{
    uint64_t arrives = draw(c->memory, 16);
    for (struct pending *p = c->first; p; p = p->next) {
        if (p->is_append && arrives)
            arrives--;
        else
            p->lost = true;
    }
    c->gone = true;
}
