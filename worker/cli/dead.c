/* `millrace dead list|show|redrive`: the dead topics' letters, told and run again.
 *
 * Owns the letters while the verb runs.
 * 1 Which letters: those of every JOB given (tenant/id, or the position that list shows), and of these those that --reason and --tenant
 *   leave; redrive takes none unless something chose it (--all does).
 * 2 redrive passes over a letter that was redriven and died again: its later letter speaks for it.
 * 3 A letter is never taken out of the topic: retention does that.
 * Thread: one. Rejected: asking before a redrive (--dry-run shows what would be sent; a second redrive is a duplicate). */
#include "adapters/codec/codec.h"
#include "worker/cli/client.h"
#include "worker/cli/dead_letter.h"
#include "worker/cli/outcome.h"
#include "worker/encoding.h"

#include <stdio.h>
#include <time.h>

struct dead {
    struct mr_cli *cli;
    struct mr_client client;
    struct mr_dead_letters letters;
    const char *reason, *tenant;
    char *const *jobs; /* [n_jobs] */
    int n_jobs;
    bool all, raw, dry_run;
    uint64_t tag;
};

static bool dead_take(void *self, const struct mr_record *record) { return mr_dead_letters_add(self, record); }

static int dead_read(struct dead *d)
{
    const struct mr_options *options = d->client.options;
    const char *names[MR_ROUTES_MAX];
    struct mr_client_topics topics = {.names = names, .n = (size_t)options->n_routes, .what = "dead topic"};
    for (int32_t i = 0; i < options->n_routes; i++)
        names[i] = options->routes[i].dead;
    int code = mr_client_read(&d->client, &topics, dead_take, &d->letters);
    return code != MR_EXIT_DONE || mr_dead_letters_sort(&d->letters) ? code : mr_cli_fail("out of memory");
}

static bool dead_is(const struct dead *d, const struct mr_dead_letter *letter)
{
    bool named = d->n_jobs == 0;
    for (int i = 0; i < d->n_jobs; i++)
        named |= mr_str_is(letter->job, d->jobs[i]) || mr_str_is(letter->position, d->jobs[i]);
    return named && (!d->reason || mr_str_is(letter->reason, d->reason)) && (!d->tenant || mr_str_is(letter->tenant, d->tenant));
}

/* ---- list, show ---- */

static struct mr_value dead_value(const struct mr_dead_letter *letter, struct mr_arena *arena)
{
    struct mr_value map = mr_value_map(arena, 16);
    mr_value_set(&map, "job", mr_value_string(letter->job));
    mr_value_set(&map, "reason", mr_value_string(letter->reason));
    mr_value_set(&map, "field", mr_value_string(letter->field));
    mr_value_set(&map, "message", mr_value_string(letter->message));
    mr_value_set(&map, "src", mr_value_string(letter->src));
    mr_value_set(&map, "position", mr_value_string(letter->position));
    mr_value_set(&map, "history", mr_value_string(letter->history));
    mr_value_set(&map, "time_ms", mr_value_int(letter->record.timestamp_ms));
    mr_value_set(&map, "bytes", letter->record.value.p ? mr_value_int((int64_t)letter->record.value.n) : mr_value_null());
    mr_value_set(&map, "redriven", mr_value_bool(letter->redriven));
    return map;
}

static void dead_list(const struct mr_dead_letter *letter, bool json)
{
    struct mr_arena arena = {0};
    char when[32];
    time_t seconds = (time_t)(letter->record.timestamp_ms / 1000);
    struct tm utc;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
    if (json) {
        struct mr_value map = dead_value(letter, &arena);
        mr_outcome_print_json(&map);
        mr_arena_fini(&arena);
        return;
    }
    struct mr_buf line = {0};
    mr_buf_addf(&line, "%s %-18.*s %.*s  %.*s: %.*s%s", when, (int)letter->reason.n, letter->reason.p, (int)letter->job.n, letter->job.p,
                (int)letter->position.n, letter->position.p, (int)letter->message.n, letter->message.p, letter->redriven ? " (redriven)" : "");
    mr_outcome_print_text(mr_buf_view(&line));
    putchar('\n');
    mr_buf_fini(&line);
}

/* The value as it can be shown: decoded, or its bytes in hex. */
static void set_value(struct mr_value *map, const struct mr_record *record, struct mr_arena *arena)
{
    enum mr_encoding encoding;
    struct mr_value value;
    struct mr_buf hex = {0};
    if (!record->value.p)
        return;
    if (mr_encoding_of(record, &encoding) && mr_encoding_codec(encoding)->decode(record->value, NULL, arena, &value, NULL) == MR_CODEC_OK) {
        mr_value_set(map, "value", value);
        return;
    }
    for (size_t i = 0; i < record->value.n; i++)
        mr_buf_addf(&hex, "%02x", (unsigned char)record->value.p[i]);
    mr_value_set(map, "value_hex", mr_value_string(mr_arena_str(arena, mr_buf_view(&hex))));
    mr_buf_fini(&hex);
}

static void dead_show(const struct mr_dead_letter *letter, bool json)
{
    struct mr_arena arena = {0};
    struct mr_value map = dead_value(letter, &arena), headers = mr_value_map(&arena, (size_t)letter->record.n_headers);
    for (int32_t i = 0; i < letter->record.n_headers && headers.kind == MR_MAP; i++) {
        const struct mr_header *header = &letter->record.headers[i];
        bool ours = header->key.n >= 8 && memcmp(header->key.p, "mr-dead-", 8) == 0;
        if (!ours && mr_codec_utf8_valid(header->key) && mr_codec_utf8_valid(header->value) && !mr_value_get(&headers, header->key.p))
            mr_value_set(&headers, header->key.p, mr_value_string(header->value));
    }
    mr_value_set(&map, "headers", headers);
    set_value(&map, &letter->record, &arena);
    if (json) {
        mr_outcome_print_json(&map);
        mr_arena_fini(&arena);
        return;
    }
    for (size_t i = 0; i < map.as.map.n; i++) {
        struct mr_buf line = {0};
        const struct mr_pair *pair = &map.as.map.items[i];
        mr_buf_addf(&line, "%-10.*s ", (int)pair->key.n, pair->key.p);
        if (pair->value.kind == MR_STRING)
            mr_buf_add_str(&line, pair->value.as.string);
        else
            mr_codec_json.encode(&pair->value, &line);
        mr_outcome_print_text(mr_buf_view(&line));
        putchar('\n');
        mr_buf_fini(&line);
    }
    mr_arena_fini(&arena);
}

/* ---- redrive ---- */

/* The letter's record again, into its input topic. */
static enum mr_status dead_send(struct dead *d, const struct mr_dead_letter *letter, struct mr_arena *arena, struct mr_record *out,
                                struct mr_err *err)
{
    const char *topic;
    int32_t partition;
    int64_t offset;
    struct mr_record original;
    struct mr_log_event event;
    const struct mr_route *route = mr_dead_letter_place(letter, d->client.options, &topic, &partition, &offset);
    if (!route)
        return mr_err_set(err, MR_ERR_INVALID, "no route of the configuration reads its topic");
    bool elsewhere = !letter->record.value.p;
    if (elsewhere && mr_client_record(&d->client, topic, partition, offset, arena, &original) != MR_OK)
        return mr_err_set(err, MR_ERR_NOT_FOUND, "it holds no value, and its input record is gone");
    enum mr_status status = mr_dead_letter_redrive(letter, elsewhere ? &original : NULL, d->raw, arena, out, err);
    out->topic = mr_str_from(route->jobs);
    if (status != MR_OK || d->dry_run)
        return status;
    status = mr_client_produce(&d->client, out, ++d->tag);
    if (status != MR_OK || !mr_client_delivered(&d->client, d->tag, &event) || event.status != MR_OK)
        return mr_err_set(err, MR_ERR_IO, "%s does not take it", route->jobs);
    return MR_OK;
}

static bool dead_redrive(struct dead *d, const struct mr_dead_letter *letter)
{
    struct mr_arena arena = {0};
    struct mr_record record = {0};
    struct mr_err err = {0};
    bool sent = dead_send(d, letter, &arena, &record, &err) == MR_OK;
    if (d->cli->json) {
        struct mr_value map = mr_value_map(&arena, 5);
        mr_value_set(&map, "job", mr_value_string(letter->job));
        mr_value_set(&map, "position", mr_value_string(letter->position));
        if (sent) {
            mr_value_set(&map, "redriven_as", mr_value_string(record.key));
            mr_value_set(&map, "topic", mr_value_string(record.topic));
        } else {
            mr_value_set(&map, "error", mr_value_string(mr_str_from(err.text)));
        }
        mr_outcome_print_json(&map);
    } else if (sent) {
        mr_outcome_print_text(record.key);
        putchar('\n');
    } else {
        mr_cli_fail("%.*s is not redriven: %s", letter->job.n > 200 ? 200 : (int)letter->job.n, letter->job.p ? letter->job.p : "", err.text);
    }
    mr_arena_fini(&arena);
    return sent;
}

/* ---- the verb ---- */

enum dead_what { DEAD_LIST, DEAD_SHOW, DEAD_REDRIVE };

static int dead_run(struct dead *d, enum dead_what what)
{
    size_t chosen = 0, failed = 0;
    int code = dead_read(d);
    for (size_t i = 0; code == MR_EXIT_DONE && i < d->letters.n; i++) {
        const struct mr_dead_letter *letter = &d->letters.list[i];
        if (!dead_is(d, letter) || (what == DEAD_REDRIVE && letter->redriven))
            continue;
        chosen++;
        if (what == DEAD_REDRIVE)
            failed += !dead_redrive(d, letter);
        else if (what == DEAD_SHOW && d->raw)
            fwrite(letter->record.value.p, 1, letter->record.value.n, stdout);
        else
            (what == DEAD_SHOW ? dead_show : dead_list)(letter, d->cli->json);
    }
    if (code != MR_EXIT_DONE)
        return code;
    if (d->n_jobs && !chosen)
        return mr_cli_fail("no dead letter of that name");
    if (what != DEAD_SHOW)
        fprintf(stderr, "millrace: %zu of %zu dead letters%s\n", chosen - failed, d->letters.n,
                what == DEAD_LIST ? "" : d->dry_run ? " would be redriven" : " redriven");
    return failed ? MR_EXIT_FAILED : MR_EXIT_DONE;
}

/* What items[0] asks for. */
static bool dead_what(const struct mr_args *args, enum dead_what *what)
{
    static const char *const words[] = {"list", "show", "redrive"};
    for (int i = 0; i < 3 && args->n; i++) {
        *what = (enum dead_what)i;
        if (strcmp(args->items[0], words[i]) == 0)
            return true;
    }
    mr_cli_misuse("dead list, show or redrive");
    return false;
}

int mr_verb_dead(struct mr_cli *cli, int argc, char **argv)
{
    struct dead d = {.cli = cli};
    enum dead_what what;
    const struct mr_flag flags[] = {
        {"reason", "R", "only letters of that reason (man millrace-jobs has them)", MR_FLAG_TEXT, &d.reason, NULL},
        {"tenant", "T", "only that tenant's", MR_FLAG_TEXT, &d.tenant, NULL},
        {"all", NULL, "redrive: every letter", MR_FLAG_BOOL, &d.all, NULL},
        {"raw", NULL, "show: the bytes alone; redrive: what cannot be decoded too, as it is", MR_FLAG_BOOL, &d.raw, NULL},
        {"dry-run", NULL, "redrive: say what would be sent", MR_FLAG_BOOL, &d.dry_run, NULL},
        {"brokers", "LIST", "host:port[,host:port]", MR_FLAG_SETTING, NULL, "kafka.brokers"},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "dead list|show|redrive [JOB...]",
        .about = "Failed jobs lie in the dead topics, with their original bytes and the reason. JOB: tenant/id, or a position as list shows it.\n"
                 "redrive sends a job again, as a new one: its id becomes <id>~r1 (then ~r2, ...), header redrive-of names where it lay. The same\n"
                 "letter redriven twice runs once. A letter stays where it is.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .max_args = -1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    if (!dead_what(&args, &what))
        return MR_EXIT_USAGE;
    d.jobs = args.items + 1;
    d.n_jobs = args.n - 1;
    if (what == DEAD_SHOW && !d.n_jobs)
        return mr_cli_misuse("dead show JOB");
    if (what == DEAD_REDRIVE && !d.n_jobs && !d.reason && !d.tenant && !d.all)
        return mr_cli_misuse("redrive what? JOB, --reason, --tenant or --all");
    int code = mr_client_open(&d.client, cli);
    if (code != MR_EXIT_DONE)
        return code;
    code = dead_run(&d, what);
    mr_client_close(&d.client);
    mr_dead_letters_fini(&d.letters);
    return code;
}
