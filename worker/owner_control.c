/* Cancels: every control topic is read from its start to its end before anything is admitted, then followed. A cancel counts from
 * the tenant's own control topic, or from one whose writers are trusted to name any tenant; from elsewhere it is refused.
 *
 * Invariants:
 * 1. A cancel is remembered by name: it counts for runs that come later too, whichever partition they lie in.
 * 2. Whether it counts is decided per run, by the run's tenant and the topic that it came through, never by what it says of itself.
 * Thread: the owner's. Rejected: one topic for all with a signature in the record (access lists of topics do that already). */
#include "worker/owner_state.h"

#include "base/check.h"
#include "base/log.h"
#include "worker/encoding.h"

static void add(struct mr_owner *owner, const struct mr_route *route)
{
    for (int32_t i = 0; i < owner->n_controls; i++) {
        struct owner_control *control = &owner->control[i];
        if (strcmp(control->topic, route->control) != 0)
            continue;
        control->trusted |= route->tenant_from_field;
        if (control->tenant && strcmp(control->tenant, route->tenant) != 0)
            control->tenant = NULL;
        return;
    }
    CHECK(owner->n_controls < MR_OWNER_CONTROLS_MAX);
    struct owner_control *control = &owner->control[owner->n_controls++];
    *control = (struct owner_control){.topic = route->control, .next = -1, .trusted = route->tenant_from_field, .tenant = route->tenant};
    mr_names_init(&control->cancels, MR_NAMES_MAX);
}

void owner_controls_open(struct mr_owner *owner)
{
    for (int32_t i = 0; i < owner->config.n_routes; i++) {
        if (owner->config.routes[i].control[0])
            add(owner, &owner->config.routes[i]);
    }
}

void owner_controls_close(struct mr_owner *owner)
{
    for (int32_t i = 0; i < owner->n_controls; i++)
        mr_names_fini(&owner->control[i].cancels);
}

void owner_controls_begin(struct mr_owner *owner)
{
    for (int32_t i = 0; i < owner->n_controls; i++)
        owner_log(owner, MR_LOG_FOLLOW, owner->control[i].topic, 0, -1);
}

bool owner_controls_ready(const struct mr_owner *owner)
{
    for (int32_t i = 0; i < owner->n_controls; i++) {
        if (!owner->control[i].caught_up)
            return false;
    }
    return true;
}

void owner_controls_tick(struct mr_owner *owner)
{
    for (int32_t i = 0; i < owner->n_controls; i++) {
        struct owner_control *control = &owner->control[i];
        if (control->look_again_ns && owner->now_ns >= control->look_again_ns) {
            control->look_again_ns = 0;
            owner_log(owner, MR_LOG_FOLLOW, control->topic, 0, -1);
        }
    }
}

static struct owner_control *control_of(struct mr_owner *owner, struct mr_str topic)
{
    for (int32_t i = 0; i < owner->n_controls; i++) {
        if (mr_str_is(topic, owner->control[i].topic))
            return &owner->control[i];
    }
    return NULL;
}

static bool may_cancel(const struct owner_control *control, const struct mr_run *run)
{
    return control->trusted || (control->tenant && mr_str_is(run->job->tenant, control->tenant));
}

static void cancel(struct mr_owner *owner, const struct owner_control *control, struct mr_run *run, struct mr_str by)
{
    bool may = may_cancel(control, run);
    owner_audit_cancel(owner, run, by, control->topic, may);
    owner->stats.cancels_refused += !may;
    if (may)
        owner_run_cancel(owner, run);
}

bool owner_control_cancelled(struct mr_owner *owner, const struct mr_run *run)
{
    for (int32_t i = 0; i < owner->n_controls; i++) {
        const struct owner_control *control = &owner->control[i];
        if (!mr_names_find(&control->cancels, run->name))
            continue;
        bool may = may_cancel(control, run);
        owner_audit_cancel(owner, run, (struct mr_str){0}, control->topic, may);
        owner->stats.cancels_refused += !may;
        if (may)
            return true;
    }
    return false;
}

static struct mr_str text_of(const struct mr_value *map, const char *key)
{
    const struct mr_value *value = mr_value_get(map, key);
    return value && value->kind == MR_STRING ? value->as.string : (struct mr_str){0};
}

static void take(struct mr_owner *owner, struct owner_control *control, const struct mr_record *record)
{
    struct mr_arena arena;
    struct mr_value value;
    enum mr_encoding encoding;
    control->next = record->offset + 1;
    mr_arena_init(&arena, 1 << 20);
    if (mr_encoding_of(record, &encoding) && mr_encoding_codec(encoding)->decode(record->value, NULL, &arena, &value, NULL) == MR_CODEC_OK) {
        struct mr_str job = text_of(&value, "job");
        if (mr_str_is(text_of(&value, "kind"), "cancel") && job.n) {
            mr_names_add(&control->cancels, job, record->offset, "");
            for (int32_t i = 0; i < owner->n_slots; i++) {
                struct mr_run *run = owner->slots[i].run;
                if (run && run->job && mr_str_equal(run->name, job))
                    cancel(owner, control, run, text_of(&value, "by"));
            }
        }
    }
    mr_arena_fini(&arena);
}

bool owner_control_event(struct mr_owner *owner, const struct mr_log_event *event)
{
    struct owner_control *control = control_of(owner, event->record.topic);
    if (!control)
        return false;
    if (event->kind == MR_LOG_FOLLOWED) {
        take(owner, control, &event->record);
    } else if (event->kind == MR_LOG_CAUGHT_UP) {
        control->caught_up = true;
    } else if (event->kind == MR_LOG_OUT_OF_RANGE) {
        owner_log(owner, MR_LOG_FOLLOW, control->topic, 0, -1);
    }
    return true;
}

bool owner_control_missing(struct mr_owner *owner, const struct mr_log_action *refused)
{
    struct owner_control *control = control_of(owner, refused->record.topic);
    if (!control)
        return false;
    mr_log(MR_LOG_WARN, "log.control_missing", "topic=%s", control->topic);
    control->look_again_ns = owner->now_ns + MR_OWNER_LOOK_AGAIN_NS;
    control->caught_up = true; /* nobody can have cancelled anything */
    return true;
}
