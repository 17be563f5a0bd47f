#include "worker/owner_state.h"

#include "base/log.h"

static struct owner_reply *reply_of(struct mr_owner *owner, struct mr_str topic)
{
    for (int32_t i = 0; i < owner->n_replies; i++)
        if (mr_str_is(topic, owner->replies[i].topic))
            return &owner->replies[i];
    return NULL;
}

bool owner_reply_allow(struct mr_owner *owner, struct mr_str topic)
{
    struct owner_reply *reply = reply_of(owner, topic);
    if (!reply || mr_breaker_allow(&reply->breaker, owner->now_ns))
        return true;
    owner->stats.replies_skipped++;
    return false;
}

void owner_reply_told(struct mr_owner *owner, struct mr_str topic, bool ok)
{
    struct owner_reply *reply = reply_of(owner, topic);
    if (!reply && !ok && owner->n_replies < MR_OWNER_REPLIES_MAX && topic.n <= MR_TOPIC_BYTES_MAX) {
        reply = &owner->replies[owner->n_replies++];
        memcpy(reply->topic, topic.p, topic.n);
    }
    if (!reply)
        return;
    enum mr_breaker_state before = reply->breaker.state;
    if (ok)
        mr_breaker_succeeded(&reply->breaker);
    else
        mr_breaker_failed(&reply->breaker, owner->now_ns);
    if (reply->breaker.state != before)
        mr_log(reply->breaker.state == MR_BREAKER_OPEN ? MR_LOG_WARN : MR_LOG_INFO, "reply.breaker", "topic=%s state=%s", reply->topic,
               mr_breaker_name(reply->breaker.state));
}
