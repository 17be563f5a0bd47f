/* Stream records to bytes and back.
 *
 * Pure; any thread.
 * 1 encode is a function of its arguments alone: a record appended twice is the same bytes.
 * 2 decode demands of each kind what the fold and a takeover rest on (kind, job, src, epoch, writer; seq, ids, ctx; n), and is
 *   lenient with the rest: a reader must get past a record that a newer writer made richer.
 * 3 64-bit numbers that a JSON reader could round (writer, process, ctx) are 16 hex digits; epoch is below 2^53.
 * 4 A token's bytes may be a part of a character: its text is then repaired, and its bytes stand beside it.
 * Rejected: encoding without a tree in between (one more writer for each encoding to keep equal). */
#include "worker/record.h"

#include "base/check.h"
#include "base/starved.h"
#include "worker/result_logprobs.h"
#include "worker/text/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const cause_names[] = {"new", "takeover", "rebalance", "producer"};
enum { N_CAUSES = sizeof cause_names / sizeof *cause_names };

const char *mr_stream_cause_name(enum mr_stream_cause cause)
{
    CHECK((int)cause < N_CAUSES);
    return cause_names[cause];
}

struct mr_fold_record mr_stream_record_fold(const struct mr_stream_record *r)
{
    return (struct mr_fold_record){
        .kind = r->kind,
        .epoch = (uint64_t)r->epoch,
        .writer = r->writer,
        .ctx = r->ctx,
        .seq = mr_fold_is_terminal(r->kind) ? r->n : r->seq,
        .ids = r->ids,
        .n_ids = r->n_ids,
        .choice = (uint32_t)r->choice,
    };
}

static struct mr_value text_value(struct mr_arena *arena, struct mr_buf *text)
{
    struct mr_str s = mr_arena_str(arena, mr_buf_view(text));
    mr_buf_fini(text);
    return s.p ? mr_value_string(s) : mr_value_null();
}

static struct mr_value hex_value(struct mr_arena *arena, uint64_t number)
{
    struct mr_buf text = {0};
    mr_buf_addf(&text, "%016" PRIx64, number);
    return text_value(arena, &text);
}

static struct mr_value src_value(struct mr_arena *arena, struct mr_src src)
{
    struct mr_buf text = {0};
    mr_buf_addf(&text, "%" PRId64 ".%" PRId64, src.offset, src.timestamp_ms);
    return text_value(arena, &text);
}

static struct mr_value ids_value(struct mr_arena *arena, const int32_t *ids, int32_t n)
{
    struct mr_value array = mr_value_array(arena, (size_t)n);
    for (int32_t i = 0; i < n; i++)
        mr_value_push(&array, mr_value_int(ids[i]));
    return array;
}

static void set_token(struct mr_arena *arena, struct mr_value *map, const struct mr_token_logprob *token)
{
    struct mr_buf text = {0};
    mr_value_set(map, "id", mr_value_int(token->id));
    mr_utf8_repair(token->bytes, &text);
    mr_value_set(map, "token", text_value(arena, &text));
    mr_value_set(map, "logprob", mr_logprob_value(token->logprob));
    if (mr_codec_utf8_valid(token->bytes))
        return;
    struct mr_value bytes = mr_value_array(arena, token->bytes.n);
    for (size_t i = 0; i < token->bytes.n; i++)
        mr_value_push(&bytes, mr_value_int((unsigned char)token->bytes.p[i]));
    mr_value_set(map, "bytes", bytes);
}

static struct mr_value logprobs_value(struct mr_arena *arena, const struct mr_logprob *logprobs, int32_t n)
{
    struct mr_value array = mr_value_array(arena, (size_t)n);
    for (int32_t i = 0; i < n; i++) {
        if (logprobs[i].chosen.id < 0) {
            mr_value_push(&array, mr_value_null());
            continue;
        }
        struct mr_value map = mr_value_map(arena, 5), top = mr_value_array(arena, (size_t)logprobs[i].n_top);
        set_token(arena, &map, &logprobs[i].chosen);
        for (int32_t k = 0; k < logprobs[i].n_top; k++) {
            struct mr_value entry = mr_value_map(arena, 4);
            set_token(arena, &entry, &logprobs[i].top[k]);
            mr_value_push(&top, entry);
        }
        mr_value_set(&map, "top", top);
        mr_value_push(&array, map);
    }
    return array;
}

static void set_start(struct mr_arena *arena, struct mr_value *map, const struct mr_stream_record *r)
{
    mr_value_set(map, "cause", mr_value_string(mr_str_from(mr_stream_cause_name(r->cause))));
    mr_value_set(map, "attempt", mr_value_int(r->attempt));
    mr_value_set(map, "process", hex_value(arena, r->process));
    mr_value_set(map, "alone", mr_value_bool(r->alone));
    mr_value_set(map, "worker", mr_value_string(r->worker));
    if (r->model.n)
        mr_value_set(map, "model", mr_value_string(r->model));
    mr_value_set(map, "model_digest", mr_value_string(r->model_digest));
    mr_value_set(map, "tokenizer_digest", mr_value_string(r->tokenizer_digest));
    mr_value_set(map, "build", mr_value_string(r->build));
    mr_value_set(map, "seed", mr_value_int((int64_t)r->seed));
    mr_value_set(map, "body_hash", mr_value_string(r->body_hash));
    mr_value_set(map, "from", mr_value_int(r->from));
}

static void set_tok(struct mr_arena *arena, struct mr_value *map, const struct mr_stream_record *r)
{
    mr_value_set(map, "seq", mr_value_int(r->seq));
    mr_value_set(map, "choice", mr_value_int(r->choice));
    mr_value_set(map, "ids", ids_value(arena, r->ids, r->n_ids));
    mr_value_set(map, "text", mr_value_string(r->text));
    if (r->logprobs)
        mr_value_set(map, "logprobs", logprobs_value(arena, r->logprobs, r->n_ids));
    mr_value_set(map, "ctx", hex_value(arena, r->ctx));
}

static struct mr_value usage_value(struct mr_arena *arena, const struct mr_usage *usage)
{
    struct mr_value map = mr_value_map(arena, 3), cached = mr_value_map(arena, 1);
    mr_value_set(&cached, "device", mr_value_int(usage->cached_tokens));
    mr_value_set(&map, "prompt_tokens", mr_value_int(usage->prompt_tokens));
    mr_value_set(&map, "completion_tokens", mr_value_int(usage->completion_tokens));
    mr_value_set(&map, "cached_tokens", cached);
    return map;
}

/* Milliseconds to the microsecond; unknown ones are left out. */
static void set_ms(struct mr_value *map, const char *key, double ms)
{
    if (ms >= 0)
        mr_value_set(map, key, mr_value_float(round(ms * 1000) / 1000));
}

static struct mr_value timings_value(struct mr_arena *arena, const struct mr_timings *timings)
{
    struct mr_value map = mr_value_map(arena, 3);
    set_ms(&map, "queue_ms", timings->queue_ms);
    set_ms(&map, "ttft_ms", timings->ttft_ms);
    set_ms(&map, "tpot_ms", timings->tpot_ms);
    return map;
}

/* What a run that produced something ends with: all terminals but DUPLICATE and MOVED. */
static void set_outcome(struct mr_arena *arena, struct mr_value *map, const struct mr_stream_record *r)
{
    struct mr_value finish = mr_value_array(arena, (size_t)r->n_finish);
    for (int32_t i = 0; i < r->n_finish; i++)
        mr_value_push(&finish, mr_value_string(r->finish[i]));
    mr_value_set(map, "text", mr_value_string(r->text));
    mr_value_set(map, "finish_reason", finish);
    if (r->has_usage)
        mr_value_set(map, "usage", usage_value(arena, &r->usage));
    if (r->prompt_logprobs)
        mr_value_set(map, "prompt_logprobs", logprobs_value(arena, r->prompt_logprobs, r->n_prompt_logprobs));
    mr_value_set(map, "timings", timings_value(arena, &r->timings));
    if (r->reason == MR_REASON_NONE)
        return;
    mr_value_set(map, "reason", mr_value_string(mr_str_from(mr_reason_name(r->reason))));
    mr_value_set(map, "message", mr_value_string(r->message));
    mr_value_set(map, "field", mr_value_string(r->field));
    if (r->retry_after_ms > 0)
        mr_value_set(map, "retry_after_ms", mr_value_int(r->retry_after_ms));
}

static void set_terminal(struct mr_arena *arena, struct mr_value *map, const struct mr_stream_record *r)
{
    mr_value_set(map, "n", mr_value_int(r->n));
    mr_value_set(map, "ctx", hex_value(arena, r->ctx));
    if (r->kind == MR_FOLD_DUPLICATE) {
        struct mr_value first = mr_value_map(arena, 3);
        mr_value_set(&first, "topic", mr_value_string(r->first.topic));
        mr_value_set(&first, "partition", mr_value_int(r->first.partition));
        mr_value_set(&first, "offset", mr_value_int(r->first.offset));
        mr_value_set(map, "first", first);
    } else if (r->kind == MR_FOLD_MOVED) {
        struct mr_value to = mr_value_map(arena, 1);
        mr_value_set(&to, "topic", mr_value_string(r->to_topic));
        mr_value_set(map, "to", to);
    } else {
        set_outcome(arena, map, r);
    }
}

bool mr_stream_record_encode(const struct mr_stream_record *r, enum mr_encoding encoding, struct mr_buf *out)
{
    struct mr_arena arena;
    uint64_t starved = mr_starved_count();
    mr_arena_init(&arena, 0);
    struct mr_value map = mr_value_map(&arena, 24);
    CHECK(r->epoch >= 0 && r->epoch <= MR_STREAM_EPOCH_MAX);
    mr_value_set(&map, "v", mr_value_int(1));
    mr_value_set(&map, "kind", mr_value_string(mr_str_from(mr_fold_kind_name(r->kind))));
    mr_value_set(&map, "job", mr_value_string(r->job));
    mr_value_set(&map, "src", src_value(&arena, r->src));
    mr_value_set(&map, "epoch", mr_value_int(r->epoch));
    mr_value_set(&map, "writer", hex_value(&arena, r->writer));
    if (r->kind == MR_FOLD_START)
        set_start(&arena, &map, r);
    else if (r->kind == MR_FOLD_TOK)
        set_tok(&arena, &map, r);
    else if (mr_fold_is_terminal(r->kind))
        set_terminal(&arena, &map, r);
    if (map.kind == MR_MAP)
        mr_encoding_codec(encoding)->encode(&map, out);
    mr_arena_fini(&arena);
    return map.kind == MR_MAP && !out->failed && mr_starved_count() == starved; /* a list without memory would be null */
}

/* Decoding: the map, and the first field that is wrong. */
struct reading {
    const struct mr_value *map;
    struct mr_arena *arena;
    const char *wrong;
    bool full;
};

static const struct mr_value *need(struct reading *d, const char *key, enum mr_value_kind kind)
{
    const struct mr_value *value = mr_value_get(d->map, key);
    if (value && value->kind == kind)
        return value;
    d->wrong = d->wrong ? d->wrong : key;
    return NULL;
}

static struct mr_str read_text(const struct mr_value *map, const char *key)
{
    const struct mr_value *value = mr_value_get(map, key);
    return value && value->kind == MR_STRING ? value->as.string : (struct mr_str){0};
}

static int64_t read_int(const struct mr_value *map, const char *key, int64_t otherwise)
{
    const struct mr_value *value = mr_value_get(map, key);
    return value && value->kind == MR_INT ? value->as.integer : otherwise;
}

static int64_t need_int(struct reading *d, const char *key, int64_t least, int64_t most)
{
    const struct mr_value *value = need(d, key, MR_INT);
    if (value && value->as.integer >= least && value->as.integer <= most)
        return value->as.integer;
    d->wrong = d->wrong ? d->wrong : key;
    return least;
}

static bool parse_hex(struct mr_str text, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        *out = *out << 4 | (unsigned)digit;
    }
    return text.n == 16;
}

static uint64_t need_hex(struct reading *d, const char *key)
{
    uint64_t number = 0;
    const struct mr_value *value = need(d, key, MR_STRING);
    if (value && !parse_hex(value->as.string, &number))
        d->wrong = d->wrong ? d->wrong : key;
    return number;
}

static bool parse_int(struct mr_str text, int64_t *out)
{
    char copy[24], *end;
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    *out = strtoll(copy, &end, 10);
    return *end == 0 && (copy[0] == '-' || (copy[0] >= '0' && copy[0] <= '9'));
}

static struct mr_src need_src(struct reading *d)
{
    struct mr_src src = {0};
    const struct mr_value *value = need(d, "src", MR_STRING);
    struct mr_str text = value ? value->as.string : (struct mr_str){0};
    const char *dot = text.n ? memchr(text.p, '.', text.n) : NULL;
    if (!dot || !parse_int((struct mr_str){text.p, (size_t)(dot - text.p)}, &src.offset) ||
        !parse_int((struct mr_str){dot + 1, (size_t)(text.p + text.n - dot - 1)}, &src.timestamp_ms))
        d->wrong = d->wrong ? d->wrong : "src";
    return src;
}

static void *allocate(struct reading *d, size_t n, size_t size)
{
    void *p = mr_arena_array(d->arena, n, size);
    d->full |= !p;
    return p;
}

static void read_ids(struct reading *d, struct mr_stream_record *out)
{
    const struct mr_value *array = need(d, "ids", MR_ARRAY);
    size_t n = array ? array->as.array.n : 0;
    if (n < 1 || n > MR_STREAM_IDS_MAX) {
        d->wrong = d->wrong ? d->wrong : "ids";
        return;
    }
    int32_t *ids = allocate(d, n, sizeof *ids);
    for (size_t i = 0; ids && i < n; i++) {
        const struct mr_value *id = &array->as.array.items[i];
        if (id->kind != MR_INT || id->as.integer < 0 || id->as.integer > INT32_MAX)
            d->wrong = d->wrong ? d->wrong : "ids";
        ids[i] = id->kind == MR_INT ? (int32_t)id->as.integer : 0;
    }
    out->ids = ids;
    out->n_ids = (int32_t)n;
}

static struct mr_token_logprob read_token(struct reading *d, const struct mr_value *map)
{
    double logprob = -9999;
    mr_value_number(mr_value_get(map, "logprob"), &logprob);
    struct mr_token_logprob token = {(int32_t)read_int(map, "id", -1), (float)logprob, read_text(map, "token")};
    const struct mr_value *bytes = mr_value_get(map, "bytes");
    if (!bytes || bytes->kind != MR_ARRAY)
        return token;
    char *p = allocate(d, bytes->as.array.n, 1);
    for (size_t i = 0; p && i < bytes->as.array.n; i++)
        p[i] = (char)(bytes->as.array.items[i].kind == MR_INT ? bytes->as.array.items[i].as.integer : 0);
    token.bytes = (struct mr_str){p, p ? bytes->as.array.n : 0};
    return token;
}

/* n: how many there must be; -1: any number. NULL: not there. */
static const struct mr_logprob *read_logprobs(struct reading *d, const char *key, int32_t *n)
{
    const struct mr_value *array = mr_value_get(d->map, key);
    if (!array || array->kind != MR_ARRAY)
        return NULL;
    if (*n >= 0 && array->as.array.n != (size_t)*n) {
        d->wrong = d->wrong ? d->wrong : key;
        return NULL;
    }
    *n = (int32_t)array->as.array.n;
    struct mr_logprob *logprobs = allocate(d, array->as.array.n, sizeof *logprobs);
    for (int32_t i = 0; logprobs && i < *n; i++) {
        const struct mr_value *map = &array->as.array.items[i], *top = mr_value_get(map, "top");
        size_t n_top = top && top->kind == MR_ARRAY ? top->as.array.n : 0;
        struct mr_token_logprob *entries = allocate(d, n_top, sizeof *entries);
        for (size_t k = 0; entries && k < n_top; k++)
            entries[k] = read_token(d, &top->as.array.items[k]);
        logprobs[i] = (struct mr_logprob){read_token(d, map), entries, entries ? (int32_t)n_top : 0};
    }
    return logprobs;
}

static void read_start(struct reading *d, struct mr_stream_record *out)
{
    struct mr_str cause = read_text(d->map, "cause");
    const struct mr_value *alone = mr_value_get(d->map, "alone");
    for (int i = 0; i < N_CAUSES; i++)
        if (mr_str_is(cause, cause_names[i]))
            out->cause = (enum mr_stream_cause)i;
    out->attempt = read_int(d->map, "attempt", 0);
    out->process = need_hex(d, "process");
    out->alone = alone && alone->kind == MR_BOOL && alone->as.boolean;
    out->worker = read_text(d->map, "worker");
    out->model = read_text(d->map, "model");
    out->model_digest = read_text(d->map, "model_digest");
    out->tokenizer_digest = read_text(d->map, "tokenizer_digest");
    out->build = read_text(d->map, "build");
    out->body_hash = read_text(d->map, "body_hash");
    out->seed = (uint64_t)read_int(d->map, "seed", 0);
    out->from = read_int(d->map, "from", 0);
}

static void read_tok(struct reading *d, struct mr_stream_record *out)
{
    out->seq = need_int(d, "seq", 0, INT32_MAX);
    out->choice = (int32_t)need_int(d, "choice", 0, MR_STREAM_CHOICES_MAX - 1);
    read_ids(d, out);
    out->text = read_text(d->map, "text");
    out->ctx = need_hex(d, "ctx");
    int32_t n = out->n_ids;
    out->logprobs = read_logprobs(d, "logprobs", &n);
}

static void read_usage(struct reading *d, struct mr_stream_record *out)
{
    const struct mr_value *usage = mr_value_get(d->map, "usage"), *timings = mr_value_get(d->map, "timings");
    out->has_usage = usage && usage->kind == MR_MAP;
    out->usage = (struct mr_usage){
        (int32_t)read_int(usage, "prompt_tokens", 0),
        (int32_t)read_int(usage, "completion_tokens", 0),
        (int32_t)read_int(mr_value_get(usage, "cached_tokens"), "device", 0),
    };
    out->timings = (struct mr_timings){-1, -1, -1};
    mr_value_number(mr_value_get(timings, "queue_ms"), &out->timings.queue_ms);
    mr_value_number(mr_value_get(timings, "ttft_ms"), &out->timings.ttft_ms);
    mr_value_number(mr_value_get(timings, "tpot_ms"), &out->timings.tpot_ms);
}

static void read_finish(struct reading *d, struct mr_stream_record *out)
{
    const struct mr_value *array = mr_value_get(d->map, "finish_reason");
    size_t n = array && array->kind == MR_ARRAY ? array->as.array.n : 0;
    if (n > MR_STREAM_CHOICES_MAX) {
        d->wrong = d->wrong ? d->wrong : "finish_reason";
        return;
    }
    struct mr_str *finish = allocate(d, n, sizeof *finish);
    for (size_t i = 0; finish && i < n; i++)
        finish[i] = array->as.array.items[i].kind == MR_STRING ? array->as.array.items[i].as.string : (struct mr_str){0};
    out->finish = finish;
    out->n_finish = (int32_t)n;
}

static void read_terminal(struct reading *d, struct mr_stream_record *out)
{
    out->n = need_int(d, "n", 0, INT32_MAX);
    out->ctx = need_hex(d, "ctx");
    out->text = read_text(d->map, "text");
    read_finish(d, out);
    read_usage(d, out);
    out->n_prompt_logprobs = -1;
    out->prompt_logprobs = read_logprobs(d, "prompt_logprobs", &out->n_prompt_logprobs);
    out->n_prompt_logprobs = out->prompt_logprobs ? out->n_prompt_logprobs : 0;
    struct mr_str reason = read_text(d->map, "reason");
    out->reason = reason.p ? mr_reason_from_name(reason.p) : MR_REASON_NONE; /* a decoder's strings are terminated */
    out->message = read_text(d->map, "message");
    out->field = read_text(d->map, "field");
    out->retry_after_ms = read_int(d->map, "retry_after_ms", 0);
    const struct mr_value *first = mr_value_get(d->map, "first");
    out->first.topic = read_text(first, "topic");
    out->first.partition = (int32_t)read_int(first, "partition", -1);
    out->first.offset = read_int(first, "offset", -1);
    out->to_topic = read_text(mr_value_get(d->map, "to"), "topic");
}

enum mr_status mr_stream_record_decode(const struct mr_record *in, struct mr_arena *arena, struct mr_stream_record *out, struct mr_err *err)
{
    enum mr_encoding encoding;
    struct mr_value map;
    struct reading d = {.map = &map, .arena = arena};
    *out = (struct mr_stream_record){0};
    if (!in->value.p || !mr_encoding_of(in, &encoding))
        return mr_err_set(err, MR_ERR_INVALID, "a stream record without a value or with an unknown content type");
    if (mr_encoding_codec(encoding)->decode(in->value, NULL, arena, &map, err) != MR_CODEC_OK)
        return MR_ERR_INVALID;
    const struct mr_value *kind = need(&d, "kind", MR_STRING), *job = need(&d, "job", MR_STRING);
    if (kind && !mr_fold_kind_from(kind->as.string.p, kind->as.string.n, &out->kind))
        d.wrong = d.wrong ? d.wrong : "kind";
    out->job = job ? job->as.string : (struct mr_str){0};
    out->src = need_src(&d);
    out->epoch = need_int(&d, "epoch", 0, MR_STREAM_EPOCH_MAX);
    out->writer = need_hex(&d, "writer");
    if (d.wrong)
        return mr_err_set(err, MR_ERR_INVALID, "a stream record whose %s is missing or wrong", d.wrong);
    if (out->kind == MR_FOLD_START)
        read_start(&d, out);
    else if (out->kind == MR_FOLD_TOK)
        read_tok(&d, out);
    else if (mr_fold_is_terminal(out->kind))
        read_terminal(&d, out);
    if (d.full)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a stream record");
    return d.wrong ? mr_err_set(err, MR_ERR_INVALID, "a stream record whose %s is missing or wrong", d.wrong) : MR_OK;
}

static void add_header(struct mr_stream_headers *h, const char *key, struct mr_str value)
{
    CHECK(h->n < MR_STREAM_HEADERS_MAX);
    h->list[h->n++] = (struct mr_header){mr_str_from(key), value};
}

void mr_stream_record_headers(const struct mr_stream_record *r, enum mr_encoding encoding, const struct mr_header *echoed, int32_t n_echoed,
                              struct mr_stream_headers *out)
{
    *out = (struct mr_stream_headers){0};
    add_header(out, "content-type", mr_str_from(mr_encoding_codec(encoding)->content_type));
    add_header(out, "mr-job", r->job);
    add_header(out, "mr-kind", mr_str_from(mr_fold_kind_name(r->kind)));
    const struct {
        const char *key;
        bool there;
        int64_t number;
        uint64_t hex; /* number is then ignored */
    } numbers[] = {
        {"mr-epoch", true, r->epoch, 0},
        {"mr-writer", true, 0, r->writer},
        {"mr-seq", r->kind == MR_FOLD_TOK, r->seq, 0},
        {"mr-n", mr_fold_is_terminal(r->kind), r->n, 0},
        {"mr-ctx", r->kind == MR_FOLD_TOK || mr_fold_is_terminal(r->kind), 0, r->ctx},
    };
    char(*text)[32] = out->text;
    int n = snprintf(*text, sizeof *text, "%" PRId64 ".%" PRId64, r->src.offset, r->src.timestamp_ms);
    add_header(out, "mr-src", (struct mr_str){*text, n < 32 ? (size_t)n : 31});
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        bool hex = i == 1 || i == 4;
        if (!numbers[i].there)
            continue;
        text++;
        n = hex ? snprintf(*text, sizeof *text, "%016" PRIx64, numbers[i].hex) : snprintf(*text, sizeof *text, "%" PRId64, numbers[i].number);
        add_header(out, numbers[i].key, (struct mr_str){*text, (size_t)n});
    }
    for (int32_t i = 0; i < n_echoed && i < MR_JOB_ECHO_MAX; i++)
        add_header(out, echoed[i].key.p, echoed[i].value);
}
