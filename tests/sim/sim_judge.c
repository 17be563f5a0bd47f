/* What the judge checks from the topics alone, for every input record, parked ones included:
 * 1. its run is closed, by one terminal that the fold accepts;
 * 2. every accepted token was made on exactly the accepted prefix (and, unsalted, is the undisturbed run's, text included);
 * 3. results of one src are the same bytes, there is one for every run that must have one, and it tells the accepted text;
 * 4. the outcome is one that the job's fate allows; nothing expires before its deadline in the log's time; a duplicate points at an
 *    earlier record of its name and body, and an id_conflict has an earlier one of another body;
 * 5. a parked record's origin has ended with MOVED, and a moved job has a parked record, the first of which runs;
 * 6. every input partition is committed to its end. */
#include "tests/sim/sim_state.h"

struct view {
    struct mr_fold fold;
    bool named;
    struct mr_buf text;
    enum mr_reason reason;
    struct mr_str result;
    bool dead;
    int64_t end_ms;
    char first_topic[64];
    int32_t first_partition;
    int64_t first_offset;
};

/* An input record: a job's, or a parked copy of it. */
struct place {
    const struct sim_job *job;
    const char *topic;
    int partition;
    int64_t offset, timestamp_ms;
    bool copy;
    struct view view;
};

struct places {
    struct place *list;
    int n;
};

void sim_wrong(struct world *w, const struct sim_job *job, const char *what, long long a, long long b)
{
    w->violations++;
    if (w->violations <= 12)
        printf("seed %llu: %s/%d/%lld %s fate %d: %s (%lld, %lld)\n", (unsigned long long)w->plan->seed, job ? w->inputs[job->tier] : "",
               job ? job->partition : 0, (long long)(job ? job->offset : 0), job ? job->id : "", job ? (int)job->fate : 0, what, a, b);
}

bool sim_all_committed(const struct world *w)
{
    for (int t = 0; t < 2 * w->plan->tiers; t++) {
        for (int p = 0; p < w->plan->partitions; p++) {
            int64_t end = mr_memory_end(w->memory, w->inputs[t], p), committed = mr_memory_committed(w->memory, w->inputs[t], p);
            if (end > 0 && committed != end)
                return false;
        }
    }
    return true;
}

/* ---- input records ---- */

static struct place *place_at(const struct places *places, struct mr_str topic, int partition, int64_t offset)
{
    for (int i = 0; i < places->n; i++) {
        struct place *place = &places->list[i];
        if (place->offset == offset && place->partition == partition && mr_str_is(topic, place->topic))
            return place;
    }
    return NULL;
}

static void add_copies(struct world *w, struct places *places, const char *parked, int partition)
{
    struct mr_record in;
    for (int64_t o = 0; mr_memory_read(w->memory, parked, partition, o, &in); o++) {
        struct mr_origin origin;
        const struct place *from = mr_origin_read(&in, &origin)
            ? place_at(places, mr_str_from(origin.topic), origin.partition, origin.offset) : NULL;
        if (!from || from->timestamp_ms != origin.timestamp_ms) {
            sim_wrong(w, NULL, "a parked record of nothing", partition, o);
            continue;
        }
        places->list[places->n++] = (struct place){.job = from->job, .topic = parked, .partition = partition, .offset = o,
                                                   .timestamp_ms = in.timestamp_ms, .copy = true};
    }
}

static struct places find_places(struct world *w)
{
    int tiers = w->plan->tiers, n = w->plan->jobs;
    for (int t = tiers; t < 2 * tiers; t++) {
        for (int p = 0; p < w->plan->partitions; p++)
            n += (int)mr_memory_end(w->memory, w->inputs[t], p);
    }
    struct places places = {calloc((size_t)n, sizeof *places.list), w->plan->jobs};
    CHECK(places.list);
    for (int i = 0; i < w->plan->jobs; i++) {
        const struct sim_job *job = &w->jobs[i];
        places.list[i] = (struct place){.job = job, .topic = w->inputs[job->tier], .partition = job->partition, .offset = job->offset,
                                        .timestamp_ms = job->timestamp_ms};
    }
    for (int t = tiers; t < 2 * tiers; t++) {
        for (int p = 0; p < w->plan->partitions; p++)
            add_copies(w, &places, w->inputs[t], p);
    }
    return places;
}

/* ---- the streams ---- */

static void judge_tokens(struct world *w, const struct sim_job *job, struct view *view, uint64_t ctx, const struct mr_stream_record *rec)
{
    for (int32_t i = 0; i < rec->n_ids; i++) {
        int32_t made = sim_token(job->body, ctx, (uint64_t)rec->ids[i], w->plan->salted);
        if (made != rec->ids[i])
            sim_wrong(w, job, "a token of another prefix", view->fold.seq, rec->ids[i]);
        ctx = mr_fold_ctx(ctx, 0, &rec->ids[i], 1);
        char piece[16];
        mr_buf_add_str(&view->text, sim_token_text(rec->ids[i], piece));
    }
    size_t n = rec->text.n;
    if (n > view->text.n || memcmp(view->text.p + view->text.n - n, rec->text.p, n) != 0)
        sim_wrong(w, job, "text that is not its tokens'", (long long)n, 0);
}

static void accept(struct world *w, const struct sim_job *job, struct view *view, uint64_t ctx, const struct mr_stream_record *rec)
{
    w->totals->accepted++;
    w->totals->starts += rec->kind == MR_FOLD_START;
    if (rec->kind == MR_FOLD_TOK)
        judge_tokens(w, job, view, ctx, rec);
    if (!mr_fold_is_terminal(rec->kind))
        return;
    mr_buf_add_str(&view->text, rec->text);
    view->reason = rec->reason;
    if (rec->kind == MR_FOLD_DUPLICATE) {
        snprintf(view->first_topic, sizeof view->first_topic, "%.*s", (int)rec->first.topic.n, rec->first.topic.p);
        view->first_partition = rec->first.partition;
        view->first_offset = rec->first.offset;
    }
}

static void judge_record(struct world *w, struct places *places, const char *topic, const struct mr_record *in)
{
    struct mr_stream_record rec;
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    w->totals->records++;
    w->totals->stream_bytes += (int64_t)in->value.n;
    w->totals->digest = mr_fnv1a64(w->totals->digest, in->value.p, in->value.n);
    CHECK(mr_stream_record_decode(in, &arena, &rec, NULL) == MR_OK);
    struct place *place = place_at(places, mr_str_from(topic), in->partition, rec.src.offset);
    if (!place || place->timestamp_ms != rec.src.timestamp_ms) {
        sim_wrong(w, NULL, "a run of no record", rec.src.offset, in->offset);
        mr_arena_fini(&arena);
        return;
    }
    struct view *view = &place->view;
    if (!view->named)
        mr_fold_init(&view->fold, rec.job.p, rec.job.n);
    view->named = true;
    struct mr_fold_record record = mr_stream_record_fold(&rec);
    uint64_t ctx = view->fold.ctx;
    if (mr_fold_add(&view->fold, &record)) {
        accept(w, place->job, view, ctx, &rec);
        view->end_ms = view->fold.closed ? in->timestamp_ms : 0;
    } else {
        w->totals->ignored++;
    }
    mr_arena_fini(&arena);
}

static void judge_streams(struct world *w, struct places *places)
{
    int tiers = w->plan->tiers;
    for (int t = 0; t < 2 * tiers; t++) {
        const char *stream = t < tiers ? w->routes[t].stream : w->routes[t - tiers].stream_parked;
        for (int p = 0; p < w->plan->partitions; p++) {
            struct mr_record in;
            for (int64_t o = 0; mr_memory_read(w->memory, stream, p, o, &in); o++)
                judge_record(w, places, w->inputs[t], &in);
        }
    }
}

/* ---- outcomes ---- */

static bool contains(struct mr_str whole, struct mr_str part)
{
    for (size_t i = 0; i + part.n <= whole.n; i++) {
        if (part.n == 0 || memcmp(whole.p + i, part.p, part.n) == 0)
            return true;
    }
    return false;
}

static void judge_result(struct world *w, struct places *places, const struct mr_record *in)
{
    struct mr_str src = mr_record_header(in, "mr-src");
    bool found = false;
    w->totals->results++;
    for (int i = 0; i < places->n && !found; i++) {
        struct place *place = &places->list[i];
        char name[48], at[48];
        snprintf(name, sizeof name, "acme/%s", place->job->id);
        snprintf(at, sizeof at, "%lld.%lld", (long long)place->offset, (long long)place->timestamp_ms);
        if (!mr_str_is(src, at) || !mr_str_is(in->key, name))
            continue;
        found = true;
        if (place->view.result.p && !mr_str_equal(place->view.result, in->value))
            sim_wrong(w, place->job, "two results that differ", in->offset, in->partition);
        w->totals->result_repeats += place->view.result.p != NULL;
        place->view.result = in->value;
    }
    if (!found)
        sim_wrong(w, NULL, "a result of no record", in->offset, in->partition);
}

static void judge_outcomes(struct world *w, struct places *places)
{
    struct mr_record in;
    for (int p = 0; p < 2; p++) {
        for (int64_t o = 0; mr_memory_read(w->memory, "results", p, o, &in); o++)
            judge_result(w, places, &in);
    }
    for (int64_t o = 0; mr_memory_read(w->memory, "dead", 0, o, &in); o++) {
        struct mr_str position = mr_record_header(&in, "mr-dead-position");
        for (int i = 0; i < places->n; i++) {
            char text[96];
            snprintf(text, sizeof text, "%s/%d/%lld", places->list[i].topic, places->list[i].partition, (long long)places->list[i].offset);
            places->list[i].view.dead |= mr_str_is(position, text);
        }
    }
}

static bool outcome_allowed(const struct place *place)
{
    enum mr_fold_kind end = place->view.fold.end;
    bool conflict = end == MR_FOLD_FAILED && place->view.reason == MR_REASON_ID_CONFLICT;
    switch (place->job->fate) {
    case FATE_PLAIN: return end == MR_FOLD_DONE;
    case FATE_BAD: return end == MR_FOLD_FAILED && place->view.reason == MR_REASON_OUT_OF_RANGE;
    case FATE_DUPLICATE: /* the first may be forgotten, and then another of its name be the first */
        return end == MR_FOLD_DONE || end == MR_FOLD_DUPLICATE || conflict;
    case FATE_CONFLICT: return end == MR_FOLD_DONE || conflict;
    case FATE_CANCEL: return end == MR_FOLD_DONE || end == MR_FOLD_CANCELLED;
    case FATE_DEADLINE: return end == MR_FOLD_DONE || end == MR_FOLD_EXPIRED;
    case FATE_POISON: return end == MR_FOLD_FAILED && place->view.reason == MR_REASON_POISON;
    case FATE_HELD: return place->copy ? end == MR_FOLD_DONE || end == MR_FOLD_DUPLICATE : end == MR_FOLD_MOVED;
    default: return false;
    }
}

static bool is_before(const struct place *a, const struct place *b)
{
    int topics = strcmp(a->topic, b->topic);
    if (a->timestamp_ms != b->timestamp_ms)
        return a->timestamp_ms < b->timestamp_ms;
    return topics ? topics < 0 : a->partition != b->partition ? a->partition < b->partition : a->offset < b->offset;
}

static void judge_name(struct world *w, const struct places *places, const struct place *place)
{
    const struct view *view = &place->view;
    if (view->fold.end == MR_FOLD_DUPLICATE) {
        const struct place *first = place_at(places, mr_str_from(view->first_topic), view->first_partition, view->first_offset);
        if (!first || !is_before(first, place) || strcmp(first->job->id, place->job->id) != 0 || first->job->body != place->job->body)
            sim_wrong(w, place->job, "a duplicate of something else", view->first_partition, view->first_offset);
        w->totals->elsewhere += first && (first->partition != place->partition || first->topic != place->topic);
    }
    if (view->reason != MR_REASON_ID_CONFLICT)
        return;
    for (int i = 0; i < places->n; i++) {
        const struct place *other = &places->list[i];
        if (strcmp(other->job->id, place->job->id) == 0 && other->job->body != place->job->body && is_before(other, place))
            return;
    }
    sim_wrong(w, place->job, "a conflict with nothing", 0, 0);
}

/* Of its copies the first must be there, and must be the one that runs. */
static void judge_move(struct world *w, const struct places *places, const struct place *place)
{
    bool moved = place->view.fold.end == MR_FOLD_MOVED, first = true;
    w->totals->moved += moved;
    for (int i = w->plan->jobs; i < places->n; i++) {
        const struct place *copy = &places->list[i];
        if (copy->job != place->job)
            continue;
        if (!moved)
            sim_wrong(w, place->job, "a parked record, and not moved", copy->offset, 0);
        if (first && copy->view.fold.end == MR_FOLD_DUPLICATE)
            sim_wrong(w, place->job, "the first copy is a duplicate", copy->offset, 0);
        w->totals->copies += !first;
        first = false;
    }
    if (moved && first)
        sim_wrong(w, place->job, "moved to nowhere", 0, 0);
}

static void judge_place(struct world *w, const struct places *places, const struct place *place)
{
    const struct sim_job *job = place->job;
    const struct view *view = &place->view;
    if (!view->named || !view->fold.closed) {
        sim_wrong(w, job, "not closed", view->named ? (long long)view->fold.starts : -1, view->fold.seq);
        return;
    }
    if (!outcome_allowed(place))
        sim_wrong(w, job, "an outcome that its fate does not allow", view->fold.end, view->reason);
    if (view->fold.end == MR_FOLD_DONE && view->fold.seq != sim_length(w, job->body))
        sim_wrong(w, job, "a length that is not the undisturbed run's", view->fold.seq, sim_length(w, job->body));
    if (view->fold.end == MR_FOLD_EXPIRED && view->end_ms < job->timestamp_ms + sim_deadline_ms(job))
        sim_wrong(w, job, "expired before its deadline", view->end_ms - job->timestamp_ms, sim_deadline_ms(job));
    bool failed = view->fold.end == MR_FOLD_FAILED;
    bool wants = view->fold.end != MR_FOLD_DUPLICATE && view->fold.end != MR_FOLD_MOVED && view->reason != MR_REASON_ID_CONFLICT;
    if (wants != (view->result.p != NULL))
        sim_wrong(w, job, wants ? "no result" : "a result that must not be", view->fold.end, 0);
    if (failed != view->dead)
        sim_wrong(w, job, failed ? "no dead letter" : "a dead letter that must not be", view->fold.end, 0);
    if (view->fold.end == MR_FOLD_DONE && !contains(view->result, mr_buf_view(&view->text)))
        sim_wrong(w, job, "a result without the accepted text", 0, 0);
    judge_name(w, places, place);
    if (!place->copy)
        judge_move(w, places, place);
    w->totals->tokens += view->fold.seq;
    w->totals->done += view->fold.end == MR_FOLD_DONE;
    w->totals->failed += failed;
    w->totals->cancelled += view->fold.end == MR_FOLD_CANCELLED;
    w->totals->expired += view->fold.end == MR_FOLD_EXPIRED;
    w->totals->duplicates += view->fold.end == MR_FOLD_DUPLICATE;
    w->totals->poison += view->reason == MR_REASON_POISON;
}

void sim_judge(struct world *w)
{
    if (!sim_all_committed(w))
        sim_wrong(w, NULL, "not committed to the end within an hour", w->produced, w->plan->jobs);
    struct places places = find_places(w);
    judge_streams(w, &places);
    judge_outcomes(w, &places);
    for (int i = 0; i < places.n; i++)
        judge_place(w, &places, &places.list[i]);
    for (int i = 0; i < places.n; i++)
        mr_buf_fini(&places.list[i].view.text);
    free(places.list);
}
