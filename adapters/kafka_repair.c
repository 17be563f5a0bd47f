/* A reader that librdkafka gave up for good is closed at once and made anew after a while, twice as long each time it fails again.
 * The producer needs none of this: its failures are delivery reports, and the caller asks for the next one (REOPEN_PRODUCER). */
#include "adapters/kafka_private.h"

#include "base/clock.h"

void kafka_repair_ask(struct kafka *k, struct kafka_repair *repair, const char *text)
{
    const int64_t min_ns = MR_KAFKA_REPAIR_MIN_MS * MR_NS_PER_MS, max_ns = MR_KAFKA_REPAIR_MAX_MS * MR_NS_PER_MS;
    kafka_tell_trouble(k, MR_ERR_CLOSED, false, NULL, -1, text);
    if (repair->wanted)
        return;
    int64_t wait_ns = repair->backoff_ns ? repair->backoff_ns : min_ns;
    repair->wanted = true;
    repair->at_ns = kafka_now_ns() + wait_ns;
    repair->backoff_ns = 2 * wait_ns < max_ns ? 2 * wait_ns : max_ns;
}

static void open_anew(struct kafka *k, struct kafka_repair *repair, enum mr_status (*open)(struct kafka *, struct mr_err *))
{
    struct mr_err err;
    repair->wanted = false;
    if (open(k, &err))
        kafka_repair_ask(k, repair, err.text);
}

/* Asked of the handle: not every fatal error becomes an event that somebody polls. */
static void ask_if_fatal(struct kafka *k, struct kafka_repair *repair, rd_kafka_t *handle)
{
    char text[256];
    if (handle && !repair->wanted && rd_kafka_fatal_error(handle, text, sizeof text))
        kafka_repair_ask(k, repair, text);
}

void kafka_repair_step(struct kafka *k)
{
    ask_if_fatal(k, &k->group_repair, k->group);
    ask_if_fatal(k, &k->follow_repair, k->follower);
    if (k->group_repair.wanted) {
        kafka_group_forget(k, true);
        kafka_group_close(k);
        if (kafka_now_ns() >= k->group_repair.at_ns)
            open_anew(k, &k->group_repair, kafka_group_open);
    }
    if (k->follow_repair.wanted) {
        kafka_topics_stop(&k->topics); /* its thread uses the handle too */
        kafka_follow_close(k);
        if (kafka_now_ns() < k->follow_repair.at_ns)
            return;
        open_anew(k, &k->follow_repair, kafka_follow_open);
        if (!k->follower)
            return;
        if (!kafka_topics_start(&k->topics, k->follower))
            kafka_repair_ask(k, &k->follow_repair, "no thread left for Kafka");
        kafka_follow_resume(k);
    }
}

int64_t kafka_repair_due_ns(const struct kafka *k)
{
    int64_t due_ns = INT64_MAX;
    if (k->group_repair.wanted)
        due_ns = k->group_repair.at_ns;
    if (k->follow_repair.wanted && k->follow_repair.at_ns < due_ns)
        due_ns = k->follow_repair.at_ns;
    return due_ns;
}
