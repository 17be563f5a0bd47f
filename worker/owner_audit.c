/* Who did what, when and why: one record a job accepted, redriven, ended, and a cancel or change of model that met a job.
 * Best effort: an audit record is not waited for, and may be lost with the worker that wrote it; the streams hold the truth. */
#include "worker/owner_state.h"

#include "base/check.h"
#include "worker/encoding.h"

static void set(struct mr_value *map, const char *key, struct mr_str text)
{
    if (text.n)
        mr_value_set(map, key, mr_value_string(text));
}

static void publish(struct mr_owner *owner, const struct mr_run *run, struct mr_value *map)
{
    const struct mr_partition *p = run->partition;
    int64_t when_ms;
    set(map, "job", run->name);
    set(map, "tenant", run->job->tenant);
    set(map, "route", mr_str_from(p->route->name));
    set(map, "topic", mr_str_from(p->topic));
    mr_value_set(map, "partition", mr_value_int(p->number));
    set(map, "src", owner_out_format(owner, "%lld.%lld", (long long)run->src.offset, (long long)run->src.timestamp_ms));
    set(map, "worker", mr_str_from(owner->config.worker));
    set(map, "process", owner_out_format(owner, "%016llx", (unsigned long long)owner->config.process));
    set(map, "build", mr_str_from(owner->config.build));
    set(map, "model_digest", mr_str_from(owner->config.model_digest));
    if (owner_broker_now(owner, &when_ms))
        mr_value_set(map, "when_ms", mr_value_int(when_ms));
    mr_buf_clear(&owner->scratch);
    mr_encoding_codec(MR_ENCODING_JSON)->encode(map, &owner->scratch);
    struct mr_log_action *log = &owner_act(owner, MR_OWNER_DO_LOG)->log;
    log->kind = MR_LOG_PRODUCE;
    log->record.topic = mr_str_from(owner->config.audit);
    log->record.partition = -1;
    log->record.key = owner_out_str(owner, run->job->tenant);
    log->record.value = owner_out_scratch(owner);
}

static struct mr_value begin(struct mr_owner *owner, const char *kind, const char *action, struct mr_str by)
{
    struct mr_value map = mr_value_map(&owner->out, 20);
    mr_value_set(&map, "v", mr_value_int(1));
    set(&map, "kind", mr_str_from(kind));
    set(&map, "action", mr_str_from(action));
    set(&map, "by", by);
    return map;
}

static bool wanted(const struct mr_owner *owner) { return owner->config.audit && owner->config.audit[0]; }

void owner_audit_run(struct mr_owner *owner, const struct mr_run *run, const char *kind, const char *action, struct mr_str reason)
{
    if (!wanted(owner))
        return;
    struct mr_value map = begin(owner, kind, action, run->job->tenant);
    set(&map, "reason", reason);
    mr_value_set(&map, "tokens", mr_value_int(run->fold.seq));
    publish(owner, run, &map);
}

void owner_audit_cancel(struct mr_owner *owner, const struct mr_run *run, struct mr_str by, const char *topic, bool accepted)
{
    if (!wanted(owner))
        return;
    struct mr_value map = begin(owner, "cancel", accepted ? "accepted" : "refused", by);
    set(&map, "from", mr_str_from(topic));
    set(&map, "reason", accepted ? MR_STR("cancelled") : MR_STR("not the tenant's control topic"));
    publish(owner, run, &map);
}
