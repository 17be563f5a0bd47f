/* Options back to text: libconfig's and JSON.
 *
 * Pure; any thread.
 * 1 What is printed reads back to the same options, secrets aside (the config fuzzer and a test hold it to that).
 * 2 A secret leaves here as "***", whatever the form: option_table.h says what is one.
 * Rejected: printing only what differs from the defaults (a bug report should show what was in force). */
#include "adapters/codec/codec.h"
#include "worker/option_table.h"
#include "worker/options.h"

static struct mr_str kept(struct mr_arena *arena, struct mr_buf *text)
{
    struct mr_str s = mr_arena_str(arena, mr_buf_view(text));
    mr_buf_fini(text);
    return s;
}

static struct mr_value entry_value(struct mr_arena *arena, const char *entry)
{
    struct mr_buf text = {0};
    struct mr_str whole = mr_str_from(entry);
    if (!mr_option_secret(whole))
        return mr_value_string(whole);
    mr_buf_addf(&text, "%.*s=***", (int)strcspn(entry, "="), entry);
    return mr_value_string(kept(arena, &text));
}

static struct mr_value names_value(struct mr_arena *arena, const char *const *names, int32_t n)
{
    struct mr_value array = mr_value_array(arena, (size_t)n);
    for (int32_t i = 0; i < n; i++)
        mr_value_push(&array, mr_value_string(mr_str_from(names[i])));
    return array;
}

static struct mr_value routes_value(const struct mr_options *options, struct mr_arena *arena)
{
    struct mr_value array = mr_value_array(arena, (size_t)options->n_routes);
    for (int32_t i = 0; i < options->n_routes; i++) {
        const struct mr_route *r = &options->routes[i];
        const char *const texts[][2] = {
            {"name", r->name}, {"tier", mr_tier_name(r->tier)}, {"tenant", r->tenant_from_field ? "field" : r->tenant},
            {"jobs", r->jobs}, {"parked", r->parked}, {"stream", r->stream}, {"stream_parked", r->stream_parked},
            {"results", r->results}, {"dead", r->dead}, {"control", r->control},
        };
        size_t n = sizeof texts / sizeof *texts;
        struct mr_value map = mr_value_map(arena, n + 3);
        for (size_t k = 0; k < n; k++)
            mr_value_set(&map, texts[k][0], mr_value_string(mr_str_from(texts[k][1])));
        mr_value_set(&map, "models", names_value(arena, r->models, r->n_models));
        mr_value_set(&map, "reply_topics", names_value(arena, r->reply_topics, r->n_reply_topics));
        if (r->restart_on_model_change)
            mr_value_set(&map, "on_model_change", mr_value_string(MR_STR("restart")));
        mr_value_push(&array, map);
    }
    return array;
}

/* One option's value as a tree, with sizes and times in their units; secrets are starred. */
static struct mr_value option_value(const struct mr_options *options, const struct mr_option *option, struct mr_arena *arena)
{
    const void *field = (const char *)options + option->offset;
    struct mr_buf text = {0};
    switch (option->type) {
    case MR_OPTION_STRING: return mr_value_string(mr_str_from(*(const char *const *)field));
    case MR_OPTION_INT: return mr_value_int(*(const int64_t *)field);
    case MR_OPTION_BOOL: return mr_value_bool(*(const bool *)field);
    case MR_OPTION_WORD: return mr_value_string(mr_str_from(option->words[*(const int64_t *)field]));
    case MR_OPTION_BYTES: mr_bytes_format(*(const int64_t *)field, &text); return mr_value_string(kept(arena, &text));
    case MR_OPTION_TIME: mr_time_format(*(const int64_t *)field, &text); return mr_value_string(kept(arena, &text));
    case MR_OPTION_LIST: {
        const struct mr_option_list *list = field;
        struct mr_value array = mr_value_array(arena, (size_t)list->n);
        for (int32_t i = 0; i < list->n; i++)
            mr_value_push(&array, entry_value(arena, list->items[i]));
        return array;
    }
    case MR_OPTION_ROUTES: return routes_value(options, arena);
    }
    return mr_value_null();
}

/* libconfig's text. It knows \\, \", \n, \r, \t and \xHH, by which a value may hold what is no UTF-8; the file itself may not. */
static void print_string(struct mr_str s, struct mr_buf *out)
{
    unsigned char plain_end = mr_codec_utf8_valid(s) ? 0xff : 0x7f;
    mr_buf_add_char(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            mr_buf_add(out, (char[]){'\\', (char)c}, 2);
        else if (c < 0x20 || c > plain_end)
            mr_buf_addf(out, "\\x%02x", c);
        else
            mr_buf_add_char(out, (char)c);
    }
    mr_buf_add_char(out, '"');
}

static void print_value(const struct mr_value *value, int depth, struct mr_buf *out)
{
    switch (value->kind) {
    case MR_STRING: print_string(value->as.string, out); break;
    case MR_INT:
        mr_buf_addf(out, "%lld%s", (long long)value->as.integer, value->as.integer != (int32_t)value->as.integer ? "L" : "");
        break;
    case MR_BOOL: mr_buf_addf(out, value->as.boolean ? "true" : "false"); break;
    case MR_ARRAY:
        mr_buf_addf(out, "(");
        for (size_t i = 0; i < value->as.array.n; i++) {
            bool group = value->as.array.items[i].kind == MR_MAP;
            mr_buf_addf(out, group ? "%s\n%*s" : "%s%*s", i ? "," : "", group ? depth + 2 : i != 0, "");
            print_value(&value->as.array.items[i], depth + 2, out);
        }
        mr_buf_addf(out, ")");
        break;
    case MR_MAP:
        mr_buf_addf(out, "{");
        for (size_t i = 0; i < value->as.map.n; i++) {
            mr_buf_addf(out, " %.*s = ", (int)value->as.map.items[i].key.n, value->as.map.items[i].key.p);
            print_value(&value->as.map.items[i].value, depth, out);
            mr_buf_addf(out, ";");
        }
        mr_buf_addf(out, " }");
        break;
    default: break;
    }
}

/* The number of leading groups ("a.b." has two) that two names share. */
static int shared_groups(const char *a, const char *b)
{
    int n = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        n += a[i] == '.';
    return n;
}

static int count_groups(const char *name)
{
    int n = 0;
    for (; *name; name++)
        n += *name == '.';
    return n;
}

/* Closes and opens groups between two neighbours of the table, and leaves *last at the option's own name. */
static void print_groups(const char *before, const char *name, struct mr_buf *out, const char **last)
{
    int open = count_groups(before), shared = shared_groups(before, name);
    for (; open > shared; open--)
        mr_buf_addf(out, "%*s};\n", (open - 1) * 2, "");
    const char *at = name;
    for (int i = 0; i < count_groups(name); i++) {
        size_t n = strcspn(at, ".");
        if (i >= shared)
            mr_buf_addf(out, "%*s%.*s : {\n", i * 2, "", (int)n, at);
        at += n + 1;
    }
    *last = at;
}

void mr_options_print(const struct mr_options *options, struct mr_buf *out)
{
    size_t n;
    const struct mr_option *table = mr_option_table(&n);
    const char *before = "", *last;
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    for (size_t i = 0; i < n; i++) {
        struct mr_value value = option_value(options, &table[i], &arena);
        int depth = count_groups(table[i].name) * 2;
        print_groups(before, table[i].name, out, &last);
        mr_buf_addf(out, "%*s%s = ", depth, "", last);
        print_value(&value, depth, out);
        mr_buf_addf(out, ";\n");
        before = table[i].name;
    }
    print_groups(before, "", out, &last);
    mr_arena_fini(&arena);
}

void mr_options_print_json(const struct mr_options *options, struct mr_buf *out)
{
    size_t n;
    const struct mr_option *table = mr_option_table(&n);
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    struct mr_value map = mr_value_map(&arena, n);
    for (size_t i = 0; i < n; i++)
        mr_value_set(&map, table[i].name, option_value(options, &table[i], &arena));
    mr_codec_json.encode(&map, out);
    mr_buf_add_char(out, '\n');
    mr_arena_fini(&arena);
}
