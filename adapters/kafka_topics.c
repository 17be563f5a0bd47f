/* How many partitions each topic has. The list is read whole: asking for one name would make some brokers create it. */
#include "adapters/kafka_private.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct kafka_topic_count *)a)->name, ((const struct kafka_topic_count *)b)->name);
}

/* Why, in librdkafka's words: of the errors that wait in the handle's queue the latest that says more than that no broker is there. */
static const char *reason_of(rd_kafka_t *handle, rd_kafka_resp_err_t failed, char *text, size_t n)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(handle);
    rd_kafka_event_t *event;
    snprintf(text, n, "%s", rd_kafka_err2str(failed));
    while ((event = rd_kafka_queue_poll(queue, 0))) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR && rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
            snprintf(text, n, "%s", rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    return text;
}

enum mr_status kafka_topics_read(struct kafka_topics *topics, rd_kafka_t *handle, int timeout_ms, struct mr_err *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t failed = rd_kafka_metadata(handle, 1, NULL, &metadata, timeout_ms);
    if (failed) {
        char text[400];
        return err ? mr_err_set(err, MR_ERR_IO, "no Kafka broker answered: %s", reason_of(handle, failed, text, sizeof text)) : MR_ERR_IO;
    }
    size_t n = (size_t)metadata->topic_cnt;
    struct kafka_topic_count *items = calloc(n + 1, sizeof *items);
    CHECK(items);
    for (size_t i = 0; i < n; i++) {
        kafka_topic_copy(items[i].name, mr_str_from(metadata->topics[i].topic));
        items[i].partitions = metadata->topics[i].partition_cnt;
    }
    rd_kafka_metadata_destroy(metadata);
    qsort(items, n, sizeof *items, by_name);
    pthread_mutex_lock(&topics->lock);
    free(topics->items);
    topics->items = items;
    topics->n = n;
    pthread_mutex_unlock(&topics->lock);
    return MR_OK;
}

static void wait_ms(struct kafka_topics *topics, int64_t ms, bool even_if_wanted)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* pthread_cond's own clock; a jump only reads the list early or late */
    int64_t ns = until.tv_nsec + ms * MR_NS_PER_MS;
    until.tv_sec += ns / MR_NS_PER_S;
    until.tv_nsec = ns % MR_NS_PER_S;
    while (!topics->stop && (even_if_wanted || !topics->wanted))
        if (pthread_cond_timedwait(&topics->changed, &topics->lock, &until))
            return;
}

static void *refresh(void *self)
{
    struct kafka_topics *topics = self;
    pthread_mutex_lock(&topics->lock);
    while (!topics->stop) {
        wait_ms(topics, 1000, true);
        wait_ms(topics, MR_KAFKA_TOPICS_MS - 1000, false);
        topics->wanted = false;
        if (topics->stop)
            break;
        pthread_mutex_unlock(&topics->lock);
        kafka_topics_read(topics, topics->handle, 5000, NULL); /* a broker that is away is said by others */
        pthread_mutex_lock(&topics->lock);
    }
    pthread_mutex_unlock(&topics->lock);
    return NULL;
}

bool kafka_topics_start(struct kafka_topics *topics, rd_kafka_t *handle)
{
    topics->handle = handle;
    topics->running = pthread_create(&topics->thread, NULL, refresh, topics) == 0;
    return topics->running;
}

void kafka_topics_stop(struct kafka_topics *topics)
{
    pthread_mutex_lock(&topics->lock);
    topics->stop = true;
    pthread_cond_signal(&topics->changed);
    pthread_mutex_unlock(&topics->lock);
    if (topics->running)
        pthread_join(topics->thread, NULL);
    topics->running = false;
    topics->stop = false;
}

void kafka_topics_free(struct kafka_topics *topics)
{
    free(topics->items);
    topics->items = NULL;
    topics->n = 0;
}

int32_t kafka_topics_partitions(struct kafka_topics *topics, struct mr_str name)
{
    struct kafka_topic_count wanted;
    int32_t partitions = -1;
    if (!kafka_topic_copy(wanted.name, name))
        return -1;
    pthread_mutex_lock(&topics->lock);
    const struct kafka_topic_count *found =
        topics->n ? bsearch(&wanted, topics->items, topics->n, sizeof *topics->items, by_name) : NULL;
    if (found) {
        partitions = found->partitions;
    } else {
        topics->wanted = true;
        pthread_cond_signal(&topics->changed);
    }
    pthread_mutex_unlock(&topics->lock);
    return partitions;
}
