/* The judge's reading of a stream partition, record by record.
 *
 * Owns what every START said, and of each run who is in force.
 * 1 What the fold accepts is the run; what it ignores is counted, by kind, and with its tokens.
 * 2 A writer begins with a START: any other record, accepted or not, whose (epoch, writer) no START of its run named before is a
 *   violation, unless retention has cut the partition. Two processes never share that pair (the same START twice is a repeat).
 * 3 A START is written from a view that may lag: it may not know of a START that came just before it, be it another process's or its
 *   own, of which it was told that it had failed. But attempt, from and cause must be what a writer sees at one point of the log, not
 *   longer than MR_JUDGE_UNSEEN_MS before.
 * 4 A YIELD is a writer's last word in a run.
 * Thread: the judge's. Rejected: believing timestamps further than that (the producer's clock may be in them). */
#include "worker/cli/judge_state.h"

#include "worker/encoding.h"

static void check_offset(struct mr_judge *judge, struct judge_run *j, struct judge_partition *p, int64_t offset)
{
    if (offset > p->expected)
        judge_complain(judge, j, JUDGE_VIOLATION, "stream offset %lld: %lld records before it are missing", (long long)offset,
                       (long long)(offset - p->expected));
    else if (offset < p->expected)
        judge_complain(judge, j, JUDGE_VIOLATION, "stream offset %lld: out of order", (long long)offset);
    if (offset >= p->expected)
        p->expected = offset + 1;
}

static void check_headers(struct mr_judge *judge, struct judge_run *j, const struct mr_record *record, const struct mr_stream_record *decoded,
                          enum mr_encoding encoding)
{
    struct mr_stream_headers wanted;
    mr_stream_record_headers(decoded, encoding, NULL, 0, &wanted);
    if (!mr_str_equal(record->key, decoded->job))
        judge_complain(judge, j, JUDGE_VIOLATION, "stream offset %lld: its key is not the job's name", (long long)record->offset);
    for (int32_t i = 0; i < wanted.n; i++) {
        char key[32] = "";
        memcpy(key, wanted.list[i].key.p, wanted.list[i].key.n < sizeof key ? wanted.list[i].key.n : sizeof key - 1);
        struct mr_str is = mr_record_header(record, key);
        if (!mr_str_equal(is, wanted.list[i].value))
            judge_complain(judge, j, JUDGE_VIOLATION, "stream offset %lld: header %s is \"%.*s\", its value says \"%.*s\"", (long long)record->offset,
                           key, is.n > 40 ? 40 : (int)is.n, is.p ? is.p : "", wanted.list[i].value.n > 60 ? 60 : (int)wanted.list[i].value.n,
                           wanted.list[i].value.p);
    }
}

/* The process that START names; what it says of itself must be the same in all its STARTs. */
static void check_process(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *start)
{
    struct judge_process *p = judge->processes;
    while (p && p->process != start->process)
        p = p->next;
    if (!p) {
        p = mr_arena_alloc(&judge->arena, sizeof *p);
        if (!p) {
            judge->out_of_memory = true;
            return;
        }
        *p = (struct judge_process){.next = judge->processes, .process = start->process};
        p->worker = mr_arena_str(&judge->arena, start->worker);
        p->build = mr_arena_str(&judge->arena, start->build);
        p->model = mr_arena_str(&judge->arena, start->model_digest);
        p->tokenizer = mr_arena_str(&judge->arena, start->tokenizer_digest);
        judge->processes = p;
    }
    if (!mr_str_equal(p->worker, start->worker) || !mr_str_equal(p->build, start->build) || !mr_str_equal(p->model, start->model_digest) ||
        !mr_str_equal(p->tokenizer, start->tokenizer_digest))
        judge_complain(judge, j, JUDGE_VIOLATION, "two STARTs of one process name different workers, builds, models or tokenizers");
}

/* What the STARTs of one run have in common. */
static void check_run(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *start)
{
    if (!j->model.p) {
        j->model = mr_arena_str(&judge->arena, start->model_digest);
        j->tokenizer = mr_arena_str(&judge->arena, start->tokenizer_digest);
        j->body_hash = mr_arena_str(&judge->arena, start->body_hash);
        j->seed = start->seed;
        judge->out_of_memory |= !j->model.p || !j->tokenizer.p || !j->body_hash.p;
    } else if (!mr_str_equal(start->model_digest, j->model) || !mr_str_equal(start->tokenizer_digest, j->tokenizer) ||
               !mr_str_equal(start->body_hash, j->body_hash) || start->seed != j->seed) {
        judge_complain(judge, j, JUDGE_VIOLATION, "two STARTs of one run name different models, tokenizers, bodies or seeds");
    }
}

/* The accepted START of that number; NULL: there is none. */
static const struct judge_start *start_numbered(const struct judge_run *j, int64_t number)
{
    const struct judge_start *s = j->starts;
    while (s && (number < 1 || s->number != number))
        s = s->next;
    return s;
}

/* An accepted START against what stood before it: there must be a point of the log, not long ago, at which a writer sees as many STARTs
 * and tokens as it says. */
static void check_view(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *record, const struct judge_start *start)
{
    int64_t is = (int64_t)j->run->fold.starts, attempt = record->attempt, now = j->run->fold.seq;
    const struct judge_start *last = start_numbered(j, attempt - 1), *unseen = start_numbered(j, attempt);
    bool late = unseen && start->timestamp_ms - unseen->timestamp_ms > MR_JUDGE_UNSEEN_MS;
    if (attempt < 1 || attempt > is || late)
        judge_complain(judge, j, JUDGE_VIOLATION, "START says attempt %lld, it is the %lld. that counts", (long long)attempt, (long long)is);
    else if (record->from < (last ? last->seq : 0) || record->from > (attempt == 1 ? 0 : unseen ? unseen->seq : now))
        judge_complain(judge, j, JUDGE_VIOLATION, "START of attempt %lld goes on from token %lld, there are %lld", (long long)attempt,
                       (long long)record->from, (long long)now);
    bool other = last && last->process != start->process, again = record->cause >= MR_CAUSE_REBALANCE;
    if (!last ? record->cause != MR_CAUSE_NEW : other ? record->cause != MR_CAUSE_TAKEOVER : !again)
        judge_complain(judge, j, JUDGE_VIOLATION, "START of cause %s behind %s", mr_stream_cause_name(record->cause),
                       !last ? "none" : other ? "another process's" : "its own process's");
}

static struct judge_start *start_of(const struct judge_run *j, const struct mr_stream_record *record)
{
    struct judge_start *s = j->starts;
    while (s && (s->epoch != record->epoch || s->writer != record->writer))
        s = s->next;
    return s;
}

/* Keeps a START; NULL: no memory. */
static struct judge_start *keep_start(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *record, int64_t timestamp_ms)
{
    struct judge_start *start = mr_arena_alloc(&judge->arena, sizeof *start);
    if (!start)
        return NULL;
    *start = (struct judge_start){.next = j->starts, .epoch = record->epoch, .timestamp_ms = timestamp_ms, .writer = record->writer,
                                  .process = record->process, .worker = mr_arena_str(&judge->arena, record->worker)};
    j->starts = start;
    return start->worker.p ? start : NULL;
}

/* Where a recovery begins whose owner was lost at died_ms and that another took over at taken_ms: at the last death before it, for that was
 * whose turn it was, and not before the broker was back. */
static int64_t recovery_begin(const struct mr_judge *judge, int64_t died_ms, int64_t taken_ms)
{
    int64_t begin_ms = died_ms;
    for (const struct judge_death *d = judge->deaths; d; d = d->next) {
        bool back = mr_str_is(d->worker, MR_JUDGE_BROKER_BACK), away = mr_str_is(d->worker, MR_JUDGE_BROKER_AWAY);
        if (!back && !away && d->time_ms < taken_ms && d->time_ms > begin_ms)
            begin_ms = d->time_ms;
    }
    for (const struct judge_death *d = judge->deaths; d; d = d->next) {
        int64_t away_ms = INT64_MIN;
        if (!mr_str_is(d->worker, MR_JUDGE_BROKER_BACK) || d->time_ms <= begin_ms)
            continue;
        for (const struct judge_death *a = judge->deaths; a; a = a->next)
            if (mr_str_is(a->worker, MR_JUDGE_BROKER_AWAY) && a->time_ms <= d->time_ms && a->time_ms > away_ms)
                away_ms = a->time_ms;
        if (d->time_ms <= taken_ms)
            begin_ms = d->time_ms;
        else if (away_ms != INT64_MIN && away_ms < taken_ms)
            begin_ms = taken_ms; /* it went on before anybody noticed that the broker was back */
    }
    return begin_ms;
}

/* Since when the run that is taken over waits for somebody; -1 if nobody was lost: the owner yielded, or did not die. */
static int64_t lost_since(const struct mr_judge *judge, const struct judge_run *j, int64_t taken_ms)
{
    int64_t died_ms = -1;
    if (!j->owner || j->owner->yielded)
        return -1;
    if (!judge->deaths)
        return j->last_ms;
    for (const struct judge_death *d = judge->deaths; d; d = d->next)
        if (mr_str_equal(d->worker, j->owner->worker) && d->time_ms >= j->owner->timestamp_ms - MR_JUDGE_LAST_WORDS_MS && d->time_ms <= taken_ms
            && d->time_ms > died_ms)
            died_ms = d->time_ms;
    return died_ms < 0 ? -1 : recovery_begin(judge, died_ms, taken_ms);
}

/* whole: retention has cut nothing off the partition. */
static void accepted_start(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *record, struct judge_start *start, bool whole)
{
    judge->report.starts++;
    judge->report.extra_starts += j->run->fold.starts > 1;
    check_process(judge, j, record);
    check_run(judge, j, record);
    if (whole)
        check_view(judge, j, record, start);
    start->number = (int64_t)j->run->fold.starts;
    start->seq = j->run->fold.seq;
    if (record->cause == MR_CAUSE_TAKEOVER) {
        judge->report.takeovers++;
        j->lost_ms = lost_since(judge, j, start->timestamp_ms);
        if (j->lost_ms >= 0)
            judge_number(judge, &judge->recoveries, (double)(start->timestamp_ms - j->lost_ms));
    }
    j->owner = start;
}

/* A token, YIELD or terminal that counts. */
static void accepted(struct mr_judge *judge, struct judge_run *j, const struct mr_stream_record *record, int64_t timestamp_ms)
{
    if (j->owner && j->owner->yielded && record->kind != MR_FOLD_YIELD)
        judge_complain(judge, j, JUDGE_VIOLATION, "a %s behind its writer's YIELD", mr_fold_kind_name(record->kind));
    if (record->kind == MR_FOLD_YIELD && j->owner)
        j->owner->yielded = true;
    if (record->kind != MR_FOLD_YIELD && j->lost_ms >= 0) {
        judge_number(judge, &judge->first_tokens, (double)(timestamp_ms - j->lost_ms));
        j->lost_ms = -1;
    }
    bool own = judge_logprobs_agree(record->logprobs, record->n_ids);
    for (int32_t i = 0; record->logprobs && i < record->n_ids; i++)
        own &= record->logprobs[i].chosen.id == record->ids[i];
    if (!own)
        judge_complain(judge, j, JUDGE_VIOLATION, "a token's log probability is another's");
    judge->report.tokens += record->n_ids;
}

/* Folds a record that names its run. false: no memory. */
static bool take(struct mr_judge *judge, struct judge_run *j, const struct judge_partition *partition, const struct mr_record *record,
                 const struct mr_stream_record *decoded)
{
    enum mr_encoding encoding;
    mr_encoding_of(record, &encoding);
    bool accepts = mr_run_follow(j->run, decoded, record->offset, record->value, encoding), start = decoded->kind == MR_FOLD_START;
    check_headers(judge, j, record, decoded, encoding);
    if (j->run->foreign) {
        judge_complain(judge, j, JUDGE_VIOLATION, "stream offset %lld: a record of another name", (long long)record->offset);
        j->run->foreign = false;
        return true;
    }
    struct judge_start *known = start_of(j, decoded);
    if (!start && !known && partition->first == 0)
        judge_complain(judge, j, JUDGE_VIOLATION, "stream offset %lld: a %s whose writer began with no START", (long long)record->offset,
                       mr_fold_kind_name(decoded->kind));
    if (start && known && known->process != decoded->process)
        judge_complain(judge, j, JUDGE_VIOLATION, "two processes share one writer");
    if (start && !(known = keep_start(judge, j, decoded, record->timestamp_ms)))
        return false;
    if (!accepts) {
        judge->report.ignored[decoded->kind]++;
        judge->report.tokens_twice += decoded->n_ids;
        j->tokens_twice += decoded->n_ids;
        return true;
    }
    if (start)
        accepted_start(judge, j, decoded, known, partition->first == 0);
    else
        accepted(judge, j, decoded, record->timestamp_ms);
    j->last_ms = record->timestamp_ms;
    return true;
}

bool judge_stream(struct mr_judge *judge, const struct mr_route *route, bool parked, struct judge_partition *partition,
                  const struct mr_record *record)
{
    struct mr_stream_record decoded;
    struct mr_err err = {.text = "its content type is unknown"};
    struct judge_run nowhere = {.input = parked ? route->stream_parked : route->stream, .partition = record->partition, .src.offset = record->offset};
    judge->report.records++;
    check_offset(judge, &nowhere, partition, record->offset);
    mr_arena_fini(&judge->scratch);
    enum mr_status status = mr_stream_record_decode(record, &judge->scratch, &decoded, &err);
    if (status == MR_ERR_NOMEM)
        return false;
    if (status != MR_OK) {
        judge_complain(judge, &nowhere, JUDGE_VIOLATION, "no stream record: %s", err.text);
        return true;
    }
    struct judge_run *j = judge_entry(judge, route, parked, record->partition, decoded.src);
    if (!j || (!j->run && !(j->run = mr_run_open(NULL, decoded.src))))
        return false;
    return take(judge, j, partition, record, &decoded);
}
