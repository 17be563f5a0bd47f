/* Options: from defaults, a file and assignments to struct mr_options, and back to text.
 *
 * Any thread; everything made lies in the options' own arena.
 * 1 Every value, whether from the table's default, the file or --set, passes the same range check, whose error names where the
 *   value stood.
 * 2 Nothing is skipped: a name that is not in the table is an error with the nearest name that is.
 * 3 What is printed reads back to the same options, secrets aside; secrets are never printed and never accepted from --set.
 * Rejected: environment variables (a fourth place to look in when a value surprises). */
#include "worker/options.h"

#include "adapters/codec/codec.h"
#include "adapters/codec/config.h"
#include "base/check.h"
#include "worker/option_table.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_BYTES_MAX = 65536, WHERE_BYTES = 512 };

/* What an open carries along. where: the place of the value at hand, "file:line: " or "--set NAME: ". */
struct opening {
    struct mr_options *options;
    const struct mr_config *config;
    const struct mr_value *routes; /* NULL: none given */
    char where[WHERE_BYTES];
    struct mr_err *err;
};

static enum mr_status wrong(const struct opening *o, const struct mr_option *option, const char *what)
{
    return mr_err_set(o->err, MR_ERR_INVALID, "%s%s %s", o->where, option->name, what);
}

static enum mr_status unknown(const struct opening *o, struct mr_str name)
{
    const struct mr_option *nearest = mr_option_nearest(name);
    return mr_err_set(o->err, MR_ERR_INVALID, "%sunknown option %.*s%s%s%s", o->where, (int)name.n, name.p, nearest ? "; did you mean " : "",
                      nearest ? nearest->name : "", nearest ? "?" : "");
}

static void format_number(const struct mr_option *option, int64_t value, struct mr_buf *out)
{
    if (option->type == MR_OPTION_BYTES)
        mr_bytes_format(value, out);
    else if (option->type == MR_OPTION_TIME)
        mr_time_format(value, out);
    else
        mr_buf_addf(out, "%" PRId64, value);
}

static enum mr_status set_number(struct opening *o, const struct mr_option *option, int64_t value)
{
    if (value < option->least || value > option->most) {
        struct mr_buf range = {0};
        mr_buf_addf(&range, "must be ");
        format_number(option, option->least, &range);
        mr_buf_addf(&range, " to ");
        format_number(option, option->most, &range);
        mr_buf_add_char(&range, 0);
        enum mr_status status = wrong(o, option, range.failed ? "is out of range" : range.p);
        mr_buf_fini(&range);
        return status;
    }
    *(int64_t *)mr_option_field(o->options, option) = value;
    return MR_OK;
}

/* Reads a file that holds a secret: a regular file of the caller's, closed to group and others; one trailing newline is cut. */
static enum mr_status read_secret(struct opening *o, const char *path, struct mr_buf *out)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mr_err_set(o->err, MR_ERR_IO, "%scannot read %s: %s", o->where, path, strerror(errno));
    bool safe = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && !(info.st_mode & 077);
    bool whole = safe && info.st_size <= SECRET_BYTES_MAX && mr_buf_reserve(out, (size_t)info.st_size) &&
                 read(fd, out->p + out->n, (size_t)info.st_size) == info.st_size;
    close(fd);
    if (!safe)
        return mr_err_set(o->err, MR_ERR_INVALID, "%s%s holds a secret: it must be a file that only its owner may read (mode 0600)", o->where, path);
    if (!whole)
        return mr_err_set(o->err, MR_ERR_IO, "%scannot read %s whole", o->where, path);
    if (info.st_size && memchr(out->p + out->n, 0, (size_t)info.st_size))
        return mr_err_set(o->err, MR_ERR_INVALID, "%s%s holds a zero byte: a secret is text", o->where, path);
    out->n += (size_t)info.st_size;
    if (out->n && out->p[out->n - 1] == '\n')
        out->n--;
    return MR_OK;
}

static const char *keep(struct opening *o, struct mr_str text) { return mr_arena_str(&o->options->arena, text).p; }

/* "name=file:PATH" of a secret becomes "name=<content>". */
static enum mr_status resolve_secret(struct opening *o, const struct mr_option *option, struct mr_str entry, bool from_set, const char **out)
{
    const char *value = (const char *)memchr(entry.p, '=', entry.n) + 1;
    bool file = strncmp(value, "file:", 5) == 0;
    if (from_set && !file)
        return wrong(o, option, "holds a secret, which a command line must not: write name=file:PATH");
    *out = entry.p;
    if (!file)
        return MR_OK;
    struct mr_buf text = {0};
    mr_buf_add(&text, entry.p, (size_t)(value - entry.p));
    enum mr_status status = read_secret(o, value + 5, &text);
    if (!status)
        *out = keep(o, mr_buf_view(&text));
    if (text.p)
        explicit_bzero(text.p, text.capacity);
    mr_buf_fini(&text);
    return status || *out ? status : mr_err_set(o->err, MR_ERR_NOMEM, "no memory for the options");
}

static enum mr_status add_to_list(struct opening *o, const struct mr_option *option, struct mr_str entry, bool from_set)
{
    struct mr_option_list *list = mr_option_field(o->options, option);
    const char *complaint = option->complaint ? option->complaint(entry) : NULL;
    if (complaint)
        return wrong(o, option, complaint);
    if (list->n >= MR_OPTION_LIST_MAX)
        return wrong(o, option, "has more than 256 entries");
    const char **items = mr_arena_array(&o->options->arena, (size_t)list->n + 1, sizeof *items);
    const char *kept = keep(o, entry);
    if (!items || !kept)
        return mr_err_set(o->err, MR_ERR_NOMEM, "no memory for the options");
    if (mr_option_secret(entry)) {
        enum mr_status status = resolve_secret(o, option, mr_str_from(kept), from_set, &kept);
        if (status)
            return status;
    }
    if (list->n)
        memcpy(items, list->items, (size_t)list->n * sizeof *items);
    items[list->n] = kept;
    *list = (struct mr_option_list){items, list->n + 1};
    return MR_OK;
}

static enum mr_status set_string(struct opening *o, const struct mr_option *option, struct mr_str text)
{
    const char *complaint = option->complaint ? option->complaint(text) : NULL;
    if (complaint)
        return wrong(o, option, complaint);
    const char *kept = keep(o, text);
    if (!kept)
        return mr_err_set(o->err, MR_ERR_NOMEM, "no memory for the options");
    *(const char **)mr_option_field(o->options, option) = kept;
    return MR_OK;
}

static enum mr_status set_word(struct opening *o, const struct mr_option *option, struct mr_str text)
{
    char what[200];
    int n = snprintf(what, sizeof what, "must be one of");
    for (int i = 0; option->words[i]; i++) {
        if (mr_str_is(text, option->words[i])) {
            *(int64_t *)mr_option_field(o->options, option) = i;
            return MR_OK;
        }
        n += snprintf(what + n, sizeof what - (size_t)n, "%s %s", i ? "," : "", option->words[i]);
    }
    return wrong(o, option, what);
}

static bool parse_int(struct mr_str text, int64_t *out)
{
    char copy[24], *end;
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    errno = 0;
    *out = strtoll(copy, &end, 10);
    return errno == 0 && *end == 0 && copy[0] != ' ' && copy[0] != '+';
}

/* A value written as text: a default, the right side of --set, or a string of the file. */
static enum mr_status set_text(struct opening *o, const struct mr_option *option, struct mr_str text, bool from_set)
{
    int64_t number;
    switch (option->type) {
    case MR_OPTION_STRING: return set_string(o, option, text);
    case MR_OPTION_WORD: return set_word(o, option, text);
    case MR_OPTION_LIST: return add_to_list(o, option, text, from_set);
    case MR_OPTION_INT: return parse_int(text, &number) ? set_number(o, option, number) : wrong(o, option, "must be a whole number");
    case MR_OPTION_BYTES:
        return mr_bytes_parse(text, &number) ? set_number(o, option, number) : wrong(o, option, "must be a size with its unit, like 64MiB or 900kB");
    case MR_OPTION_TIME:
        return mr_time_parse(text, &number) ? set_number(o, option, number) : wrong(o, option, "must be a time with its unit, like 100ms, 5s or 1h");
    case MR_OPTION_BOOL:
        if (!mr_str_is(text, "true") && !mr_str_is(text, "false"))
            return wrong(o, option, "must be true or false");
        *(bool *)mr_option_field(o->options, option) = mr_str_is(text, "true");
        return MR_OK;
    case MR_OPTION_ROUTES: return wrong(o, option, "can only be given in the configuration file");
    }
    return MR_OK;
}

static void place(struct opening *o, const struct mr_value *value)
{
    struct mr_config_place at = mr_config_find(o->config, value);
    snprintf(o->where, sizeof o->where, "%s:%d: ", at.file, at.line);
}

static enum mr_status set_list(struct opening *o, const struct mr_option *option, const struct mr_value *value)
{
    if (value->kind != MR_ARRAY)
        return wrong(o, option, "must be a list of strings, like (\"a\", \"b\")");
    for (size_t i = 0; i < value->as.array.n; i++) {
        const struct mr_value *item = &value->as.array.items[i];
        place(o, item);
        if (item->kind != MR_STRING)
            return wrong(o, option, "must be a list of strings, like (\"a\", \"b\")");
        enum mr_status status = add_to_list(o, option, item->as.string, false);
        if (status)
            return status;
    }
    return MR_OK;
}

/* A value of the file. Sizes and times are strings, so that their unit is always seen. */
static enum mr_status set_value(struct opening *o, const struct mr_option *option, const struct mr_value *value)
{
    place(o, value);
    if (option->type == MR_OPTION_ROUTES) {
        o->routes = value;
        return value->kind == MR_ARRAY ? MR_OK : wrong(o, option, "must be a list of groups: ( { name = ...; }, ... )");
    }
    if (option->type == MR_OPTION_LIST)
        return set_list(o, option, value);
    if (option->type == MR_OPTION_BOOL && value->kind == MR_BOOL) {
        *(bool *)mr_option_field(o->options, option) = value->as.boolean;
        return MR_OK;
    }
    if (option->type == MR_OPTION_INT && value->kind == MR_INT)
        return set_number(o, option, value->as.integer);
    bool sized = option->type == MR_OPTION_BYTES || option->type == MR_OPTION_TIME;
    if (sized && value->kind == MR_INT && value->as.integer == 0)
        return set_number(o, option, 0);
    bool textual = sized || option->type == MR_OPTION_STRING || option->type == MR_OPTION_WORD;
    if (textual && value->kind == MR_STRING)
        return set_text(o, option, value->as.string, false);
    switch (option->type) {
    case MR_OPTION_BOOL: return wrong(o, option, "must be true or false");
    case MR_OPTION_INT: return wrong(o, option, "must be a whole number");
    case MR_OPTION_BYTES: return wrong(o, option, "must be a size in quotes with its unit, like \"64MiB\"");
    case MR_OPTION_TIME: return wrong(o, option, "must be a time in quotes with its unit, like \"100ms\"");
    default: return wrong(o, option, "must be a string in quotes");
    }
}

/* The settings of one group, whose dotted name is prefix (with its dot; "" for the whole file). */
static enum mr_status set_group(struct opening *o, const struct mr_value *group, const char *prefix)
{
    for (size_t i = 0; i < group->as.map.n; i++) {
        const struct mr_pair *pair = &group->as.map.items[i];
        char name[128];
        int n = snprintf(name, sizeof name, "%s%.*s", prefix, (int)pair->key.n, pair->key.p);
        place(o, &pair->value);
        if (n < 0 || n >= (int)sizeof name - 1)
            return unknown(o, pair->key);
        const struct mr_option *option = mr_option_find(mr_str_from(name));
        enum mr_status status;
        if (option) {
            status = set_value(o, option, &pair->value);
        } else if (!mr_option_is_group(mr_str_from(name))) {
            status = unknown(o, mr_str_from(name));
        } else if (pair->value.kind != MR_MAP) {
            status = mr_err_set(o->err, MR_ERR_INVALID, "%s%s is a group: write %s : { ... };", o->where, name, name);
        } else {
            strcat(name, ".");
            status = set_group(o, &pair->value, name);
        }
        if (status)
            return status;
    }
    return MR_OK;
}

static enum mr_status set_defaults(struct opening *o)
{
    size_t n;
    const struct mr_option *table = mr_option_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (table[i].type == MR_OPTION_LIST || table[i].type == MR_OPTION_ROUTES)
            continue; /* empty; routes follow from the prefix in the end */
        enum mr_status status = set_text(o, &table[i], mr_str_from(table[i].fallback), false);
        CHECK(status != MR_ERR_INVALID);
        if (status)
            return status;
    }
    return MR_OK;
}

static enum mr_status set_assignment(struct opening *o, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    snprintf(o->where, sizeof o->where, "--set: ");
    if (!equals)
        return mr_err_set(o->err, MR_ERR_INVALID, "--set %s: must be NAME=VALUE", assignment);
    struct mr_str name = {assignment, (size_t)(equals - assignment)};
    const struct mr_option *option = mr_option_find(name);
    return option ? set_text(o, option, mr_str_from(equals + 1), true) : unknown(o, name);
}

static enum mr_status set_routes(struct opening *o)
{
    struct mr_options *options = o->options;
    if (!o->routes) {
        options->routes = mr_route_defaults(options->kafka.prefix, &options->arena);
        options->n_routes = MR_TIER_COUNT;
        if (!options->routes)
            return mr_err_set(o->err, MR_ERR_NOMEM, "no memory for the options");
        return mr_routes_check(options->routes, options->n_routes, o->err);
    }
    size_t n = o->routes->as.array.n;
    struct mr_route *routes = mr_arena_array(&options->arena, n, sizeof *routes);
    if (!routes)
        return mr_err_set(o->err, MR_ERR_NOMEM, "no memory for the options");
    struct mr_err inner;
    const struct mr_value *bad = o->routes;
    enum mr_status status = MR_OK;
    for (size_t i = 0; i < n && !status; i++)
        status = mr_route_read(&o->routes->as.array.items[i], options->kafka.prefix, &options->arena, &routes[i], &bad, &inner);
    if (!status) {
        bad = o->routes;
        status = mr_routes_check(routes, (int32_t)n, &inner);
    }
    if (status) {
        place(o, bad);
        return mr_err_set(o->err, status, "%s%s", o->where, inner.text);
    }
    options->routes = routes;
    options->n_routes = (int32_t)n;
    return MR_OK;
}

enum mr_status mr_options_open(struct mr_options *out, const char *file, const char *const *sets, int n_sets, struct mr_err *err)
{
    struct mr_config config = {0};
    struct opening o = {.options = out, .config = &config, .err = err};
    *out = (struct mr_options){0};
    mr_arena_init(&out->arena, 0);
    enum mr_status status = set_defaults(&o);
    if (!status && file)
        status = mr_config_read_file(file, &out->arena, &config, err);
    if (!status && file)
        status = set_group(&o, &config.root, "");
    for (int i = 0; i < n_sets && !status; i++)
        status = set_assignment(&o, sets[i]);
    if (!status)
        status = set_routes(&o);
    if (status)
        mr_options_fini(out);
    return status;
}

void mr_options_fini(struct mr_options *options)
{
    mr_arena_fini(&options->arena);
    *options = (struct mr_options){0};
}
