/* Dead letters, in order, and what runs one again.
 *
 * Owns copies of the letters.
 * 1 A redrive's name is a function of the letters up to this one: N is one above every N given before among the letters of one
 *   stem. Sending it twice gives two records of one name and one body: the second ends as a duplicate.
 * 2 A letter whose redrive died again is done with: that one's letter goes on.
 * 3 Only topics that the configuration reads jobs from are written to, whatever a letter's headers say.
 * Thread: one. Rejected: remembering redrives in a topic of their own (the names say it); keeping the producer's key (the letter has the
 * job's name as its key, so a redrive may lie in another partition than the first). */
#include "worker/cli/dead_letter.h"

#include "worker/batch_line.h"
#include "worker/cli/record_copy.h"
#include "worker/encoding.h"
#include "worker/job_decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Splits tenant/id~rN. */
static void take_name(struct mr_dead_letter *letter)
{
    struct mr_str job = letter->stem = letter->job;
    const char *slash = job.n ? memchr(job.p, '/', job.n) : NULL;
    size_t digits = 0;
    letter->tenant = slash ? (struct mr_str){job.p, (size_t)(slash - job.p)} : (struct mr_str){0};
    while (digits < job.n && job.p[job.n - 1 - digits] >= '0' && job.p[job.n - 1 - digits] <= '9')
        digits++;
    if (!digits || digits + 2 > MR_REDRIVE_BYTES_MAX || job.n < digits + 3 || memcmp(job.p + job.n - digits - 2, "~r", 2) != 0)
        return;
    letter->stem.n -= digits + 2;
    for (size_t i = job.n - digits; i < job.n; i++)
        letter->number = 10 * letter->number + (job.p[i] - '0');
}

/* A header that must be there, in printable ASCII: it will be shown. */
static bool is_plain(const struct mr_record *record, const char *name)
{
    struct mr_str value = mr_record_header(record, name);
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < 0x20 || value.p[i] > 0x7e)
            return false;
    return value.n > 0;
}

bool mr_dead_letters_add(struct mr_dead_letters *letters, const struct mr_record *record)
{
    if (!is_plain(record, "mr-dead-reason") || !is_plain(record, "mr-dead-job") || !is_plain(record, "mr-dead-position")) {
        letters->strangers++;
        return true;
    }
    if (letters->n == letters->capacity) {
        size_t capacity = letters->capacity ? 2 * letters->capacity : 64;
        struct mr_dead_letter *list = reallocarray(letters->list, capacity, sizeof *list);
        if (!list)
            return false;
        letters->list = list;
        letters->capacity = capacity;
    }
    struct mr_dead_letter *letter = &letters->list[letters->n];
    *letter = (struct mr_dead_letter){0};
    if (!mr_record_copy(&letters->arena, record, &letter->record))
        return false;
    letters->n++;
    const struct mr_record *kept = &letter->record;
    letter->reason = mr_record_header(kept, "mr-dead-reason");
    letter->field = mr_record_header(kept, "mr-dead-field");
    letter->message = mr_record_header(kept, "mr-dead-message");
    letter->job = mr_record_header(kept, "mr-dead-job");
    letter->src = mr_record_header(kept, "mr-dead-src");
    letter->position = mr_record_header(kept, "mr-dead-position");
    letter->history = mr_record_header(kept, "mr-dead-history");
    take_name(letter);
    return true;
}

static int compare_letters(const void *a, const void *b)
{
    const struct mr_record *x = &((const struct mr_dead_letter *)a)->record, *y = &((const struct mr_dead_letter *)b)->record;
    if (x->timestamp_ms != y->timestamp_ms)
        return x->timestamp_ms < y->timestamp_ms ? -1 : 1;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* For an index by stem, those of one in order, so that numbering is not quadratic. */
static int compare_stems(const void *a, const void *b)
{
    const struct mr_dead_letter *x = *(struct mr_dead_letter *const *)a, *y = *(struct mr_dead_letter *const *)b;
    int order = memcmp(x->stem.p ? x->stem.p : "", y->stem.p ? y->stem.p : "", x->stem.n < y->stem.n ? x->stem.n : y->stem.n);
    return order ? order : x->stem.n != y->stem.n ? (x->stem.n > y->stem.n) - (x->stem.n < y->stem.n) : (x > y) - (x < y);
}

bool mr_dead_letters_sort(struct mr_dead_letters *letters)
{
    struct mr_dead_letter **by_stem = mr_arena_array(&letters->arena, letters->n, sizeof *by_stem);
    if (!by_stem || !letters->n)
        return by_stem != NULL;
    qsort(letters->list, letters->n, sizeof *letters->list, compare_letters);
    for (size_t i = 0; i < letters->n; i++)
        by_stem[i] = &letters->list[i];
    qsort(by_stem, letters->n, sizeof *by_stem, compare_stems);
    for (size_t i = 0, first = 0; i < letters->n; i++) {
        struct mr_dead_letter *letter = by_stem[i];
        struct mr_str of = mr_record_header(&letter->record, "redrive-of");
        if (i && !mr_str_equal(letter->stem, by_stem[i - 1]->stem))
            first = i;
        int64_t last = i > first ? by_stem[i - 1]->next : 0;
        letter->next = 1 + (letter->number > last ? letter->number : last);
        for (size_t k = first; k < i; k++)
            by_stem[k]->redriven |= of.n && mr_str_equal(by_stem[k]->position, of);
    }
    return true;
}

void mr_dead_letters_fini(struct mr_dead_letters *letters)
{
    free(letters->list);
    mr_arena_fini(&letters->arena);
    *letters = (struct mr_dead_letters){0};
}

const struct mr_route *mr_dead_letter_place(const struct mr_dead_letter *letter, const struct mr_options *options, const char **topic,
                                            int32_t *partition, int64_t *offset)
{
    struct mr_str at = letter->position;
    char numbers[48], rest[2];
    bool parked;
    const char *slash = at.n ? memchr(at.p, '/', at.n) : NULL;
    struct mr_str name = {at.p, slash ? (size_t)(slash - at.p) : 0};
    const struct mr_route *route = slash ? mr_route_of_topic(options->routes, options->n_routes, name, &parked) : NULL;
    if (!route || at.n - name.n >= sizeof numbers)
        return NULL;
    memcpy(numbers, slash + 1, at.n - name.n - 1);
    numbers[at.n - name.n - 1] = 0;
    *topic = parked ? route->parked : route->jobs;
    return sscanf(numbers, "%" SCNd32 "/%" SCNd64 "%1s", partition, offset, rest) == 2 && *partition >= 0 && *offset >= 0 ? route : NULL;
}

/* ---- redrive ---- */

static bool is_dead_header(struct mr_str key) { return key.n >= 8 && memcmp(key.p, "mr-dead-", 8) == 0; }

/* The letter's own headers, without what is said anew, and with what is. */
static bool make_headers(const struct mr_dead_letter *letter, struct mr_str key_id, bool batch, struct mr_arena *arena, struct mr_record *out)
{
    static const char *const replaced[] = {"redrive-of", "idempotency-key", "mr-origin"};
    struct mr_header *headers = mr_arena_array(arena, (size_t)letter->record.n_headers + 2, sizeof *headers);
    int32_t n = 0;
    for (int32_t i = 0; headers && i < letter->record.n_headers; i++) {
        struct mr_header header = letter->record.headers[i];
        bool left_out = is_dead_header(header.key) || (batch && mr_str_is(header.key, "batch-id"));
        for (size_t k = 0; k < sizeof replaced / sizeof *replaced; k++)
            left_out |= mr_str_is(header.key, replaced[k]);
        if (!left_out)
            headers[n++] = header;
    }
    if (!headers)
        return false;
    headers[n++] = (struct mr_header){MR_STR("redrive-of"), letter->position};
    if (key_id.n)
        headers[n++] = (struct mr_header){MR_STR("idempotency-key"), key_id};
    out->headers = headers;
    out->n_headers = n;
    return true;
}

/* The body under its new id; a Batch line's id is its header's. */
static struct mr_value rename_body(const struct mr_value *tree, bool batch, struct mr_str id, struct mr_arena *arena)
{
    struct mr_value body = mr_value_map(arena, tree->as.map.n + 1);
    if (!batch)
        mr_value_set(&body, "id", mr_value_string(id));
    for (size_t i = 0; body.kind == MR_MAP && i < tree->as.map.n; i++)
        if (batch || !mr_str_is(tree->as.map.items[i].key, "id"))
            body.as.map.items[body.as.map.n++] = tree->as.map.items[i];
    return body;
}

/* A Batch line whose request has an id of its own keeps saying the same thing twice. */
static void rename_request(struct mr_value *line, struct mr_str id, struct mr_arena *arena)
{
    for (size_t i = 0; i < line->as.map.n; i++) {
        struct mr_pair *pair = &line->as.map.items[i];
        if (mr_str_is(pair->key, "body") && pair->value.kind == MR_MAP && mr_value_get(&pair->value, "id"))
            pair->value = rename_body(&pair->value, false, id, arena);
    }
}

static enum mr_status make_value(struct mr_str bytes, const struct mr_dead_letter *letter, struct mr_str id, struct mr_arena *arena,
                                 struct mr_record *out, struct mr_err *err)
{
    struct mr_value tree = {0};
    struct mr_buf value = {0};
    enum mr_encoding encoding;
    struct mr_record probe = letter->record;
    probe.value = bytes;
    bool known = mr_encoding_of(&probe, &encoding);
    if (!known || mr_encoding_codec(encoding)->decode(bytes, NULL, arena, &tree, NULL) != MR_CODEC_OK || tree.kind != MR_MAP)
        return mr_err_set(err, MR_ERR_INVALID, "it cannot be decoded: --raw sends its bytes as they are");
    bool batch = mr_batch_line_is(&tree);
    struct mr_value body = rename_body(&tree, batch, id, arena);
    if (batch)
        rename_request(&body, id, arena);
    if (body.kind == MR_MAP)
        mr_encoding_codec(encoding)->encode(&body, &value);
    out->value = value.failed || body.kind != MR_MAP ? (struct mr_str){0} : mr_arena_str(arena, mr_buf_view(&value));
    mr_buf_fini(&value);
    bool done = out->value.p && make_headers(letter, batch ? id : (struct mr_str){0}, batch, arena, out);
    return done ? MR_OK : mr_err_set(err, MR_ERR_NOMEM, "out of memory");
}

enum mr_status mr_dead_letter_redrive(const struct mr_dead_letter *letter, const struct mr_record *original, bool raw, struct mr_arena *arena,
                                      struct mr_record *out, struct mr_err *err)
{
    struct mr_str bytes = original ? original->value : letter->record.value;
    struct mr_buf text = {0};
    *out = (struct mr_record){.partition = -1};
    mr_buf_add_str(&text, letter->stem);
    mr_buf_addf(&text, "~r%" PRId64, letter->next);
    out->key = text.failed ? (struct mr_str){0} : mr_arena_str(arena, mr_buf_view(&text));
    mr_buf_fini(&text);
    if (!out->key.p)
        return mr_err_set(err, MR_ERR_NOMEM, "out of memory");
    struct mr_str id = {out->key.p + letter->tenant.n + 1, out->key.n - letter->tenant.n - 1};
    if (!mr_tenant_valid(letter->tenant) || !mr_job_id_valid(id, true))
        return mr_err_set(err, MR_ERR_INVALID, "its redrive would be named %.*s, which is no job's name", (int)(out->key.n < 120 ? out->key.n : 120),
                          out->key.p);
    if (!bytes.p)
        return mr_err_set(err, MR_ERR_INVALID, "it has no value");
    struct mr_err why;
    enum mr_status status = make_value(bytes, letter, id, arena, out, &why);
    if (status == MR_ERR_INVALID && raw) {
        out->value = bytes;
        return make_headers(letter, id, true, arena, out) ? MR_OK : mr_err_set(err, MR_ERR_NOMEM, "out of memory");
    }
    return status == MR_OK ? MR_OK : mr_err_set(err, status, "%s", why.text);
}
