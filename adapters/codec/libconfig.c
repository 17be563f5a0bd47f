/* Configuration files by libconfig 1.5, behind a scan of the raw text.
 *
 * Owns nothing between calls; any thread.
 * 1 libconfig sees no file that the scan has not: what libconfig reads wrongly without a word (an integer past 32 bits without
 *   L reads as 0 or wraps, one past 64 bits saturates) is only visible in the text, so the text is where it is refused.
 * 2 @include names a relative path inside the folder of the first file, also after symbolic links are followed.
 * 3 Every node of the tree has its file and line; whoever judges a value can say where it stands.
 * Rejected: a configuration syntax of our own; reading numbers as strings (every number in every file would need quotes). */
#include "adapters/codec/config.h"

#include "adapters/codec/codec.h"
#include "base/buf.h"

#include <ctype.h>
#include <errno.h>
#include <libconfig.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The scan of one text. It knows as much of the grammar as it needs to find numbers, nesting and includes. */
struct scan {
    const char *p, *end;
    const char *file;    /* for errors */
    int line, depth;
    const char *folder;  /* real path of the first file's folder; NULL: no include is allowed */
    int *files;          /* read so far, this one counted */
    struct mr_err *err;
};

static enum mr_status scan_text(struct scan *s);

static enum mr_status refuse(const struct scan *s, enum mr_status code, const char *what)
{
    return mr_err_set(s->err, code, "%s:%d: %s", s->file, s->line, what);
}

static enum mr_status read_whole(const char *path, struct mr_buf *text, struct mr_err *err)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return mr_err_set(err, MR_ERR_IO, "cannot read %s: %s", path, strerror(errno));
    size_t n = 0;
    do
        text->n += n;
    while (text->n <= MR_CONFIG_BYTES_MAX && mr_buf_reserve(text, 4096) && (n = fread(text->p + text->n, 1, 4096, file)) > 0);
    bool broken = ferror(file);
    int cause = errno;
    fclose(file);
    if (broken)
        return mr_err_set(err, MR_ERR_IO, "cannot read %s: %s", path, strerror(cause));
    if (text->failed)
        return mr_err_set(err, MR_ERR_NOMEM, "%s: no memory", path);
    if (text->n > MR_CONFIG_BYTES_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "%s: more than %d bytes", path, MR_CONFIG_BYTES_MAX);
    return MR_OK;
}

static void skip_comment(struct scan *s)
{
    bool block = s->p[0] == '/' && s->p[1] == '*';
    for (s->p += block ? 2 : 1; s->p < s->end; s->p++) {
        if (block && s->p[0] == '*' && s->end - s->p > 1 && s->p[1] == '/') {
            s->p += 2;
            return;
        }
        if (*s->p == '\n' && !block)
            return;
        s->line += *s->p == '\n';
    }
}

/* From the opening quote past the closing one; text between them in *out (escapes untouched). */
static void skip_string(struct scan *s, struct mr_str *out)
{
    const char *from = ++s->p;
    for (; s->p < s->end && *s->p != '"'; s->p++) {
        if (*s->p == '\\' && s->end - s->p > 1)
            s->p++;
        s->line += *s->p == '\n';
    }
    *out = (struct mr_str){from, (size_t)(s->p - from)};
    if (s->p < s->end)
        s->p++;
}

static enum mr_status scan_number(struct scan *s)
{
    char text[64];
    const char *from = s->p;
    size_t digits = from[0] == '-' || from[0] == '+';
    bool hex = s->end - from > (ptrdiff_t)digits + 1 && from[digits] == '0' && tolower((unsigned char)from[digits + 1]) == 'x';
    for (s->p++; s->p < s->end; s->p++) {
        bool sign = !hex && (*s->p == '-' || *s->p == '+') && tolower((unsigned char)s->p[-1]) == 'e';
        if (!isalnum((unsigned char)*s->p) && *s->p != '.' && !sign)
            break;
    }
    size_t n = (size_t)(s->p - from), suffix = 0;
    if (n >= sizeof text)
        return refuse(s, MR_ERR_INVALID, "a number of more than 63 characters");
    memcpy(text, from, n);
    text[n] = 0;
    while (suffix < 2 && n > 1 && text[n - 1] == 'L')
        text[--n] = 0, suffix++;
    if (!hex && text[digits + strspn(text + digits, "0123456789")])
        return MR_OK; /* a float, or no number: the parser's affair */
    errno = 0;
    long long value = strtoll(text, NULL, hex ? 16 : 10);
    if (errno == ERANGE)
        return refuse(s, MR_ERR_INVALID, "an integer outside 64 bits");
    if (!suffix && (value > INT32_MAX || value < INT32_MIN))
        return refuse(s, MR_ERR_INVALID, "an integer outside 32 bits needs the suffix L (sizes and times are better written as strings, \"8GiB\")");
    return MR_OK;
}

/* Joins folder and path, follows links, and demands that the result lies inside folder. */
static bool path_inside(const char *folder, struct mr_str path, char out[PATH_MAX])
{
    char joined[PATH_MAX];
    size_t n = strlen(folder);
    if (path.n == 0 || path.p[0] == '/' || memchr(path.p, '\\', path.n) || n + path.n + 2 > sizeof joined)
        return false;
    snprintf(joined, sizeof joined, "%s/%.*s", folder, (int)path.n, path.p);
    if (!realpath(joined, out))
        return false;
    return strncmp(out, folder, n) == 0 && (out[n] == '/' || strcmp(folder, "/") == 0);
}

static enum mr_status scan_include(struct scan *s)
{
    char path[PATH_MAX];
    struct mr_str name = {0};
    s->p += strlen("@include");
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
        s->p++;
    if (s->p < s->end && *s->p == '"')
        skip_string(s, &name);
    if (!s->folder)
        return refuse(s, MR_ERR_INVALID, "@include is not allowed here");
    if (!path_inside(s->folder, name, path))
        return refuse(s, MR_ERR_INVALID, "@include must name a file inside the folder of the configuration file");
    if (++*s->files > MR_CONFIG_FILES_MAX)
        return refuse(s, MR_ERR_LIMIT, "too many included files");
    struct mr_buf text = {0};
    enum mr_status status = read_whole(path, &text, s->err);
    if (!status) {
        struct scan inner = {text.p, text.p + text.n, path, 1, 0, s->folder, s->files, s->err};
        status = scan_text(&inner);
    }
    mr_buf_fini(&text);
    return status;
}

static enum mr_status scan_token(struct scan *s)
{
    struct mr_str ignored;
    char c = *s->p;
    bool more = s->end - s->p > 1;
    if (c == '#' || (c == '/' && more && (s->p[1] == '/' || s->p[1] == '*'))) {
        skip_comment(s);
    } else if (c == '"') {
        skip_string(s, &ignored);
    } else if (isdigit((unsigned char)c) || c == '.' || c == '-' || c == '+') {
        return scan_number(s);
    } else if (isalpha((unsigned char)c) || c == '*' || c == '_') {
        while (s->p < s->end && (isalnum((unsigned char)*s->p) || strchr("-_*", *s->p)))
            s->p++;
    } else if (c == '@') {
        if ((size_t)(s->end - s->p) < strlen("@include") || memcmp(s->p, "@include", strlen("@include")) != 0)
            return refuse(s, MR_ERR_INVALID, "'@' opens nothing but @include");
        return scan_include(s);
    } else {
        s->line += c == '\n';
        s->depth += (c == '{' || c == '[' || c == '(') - (c == '}' || c == ']' || c == ')');
        s->p++;
        if (s->depth > MR_CONFIG_DEPTH_MAX)
            return refuse(s, MR_ERR_LIMIT, "nested too deep");
    }
    return MR_OK;
}

static enum mr_status scan_text(struct scan *s)
{
    struct mr_str whole = {s->p, (size_t)(s->end - s->p)};
    if (whole.n > MR_CONFIG_BYTES_MAX)
        return refuse(s, MR_ERR_LIMIT, "the file is too large");
    if (!mr_codec_utf8_valid(whole) || (whole.n && memchr(whole.p, 0, whole.n)))
        return refuse(s, MR_ERR_INVALID, "the file is not text in UTF-8");
    enum mr_status status = MR_OK;
    while (!status && s->p < s->end)
        status = scan_token(s);
    return status;
}

/* The tree being built. places has room for every node. */
struct build {
    struct mr_arena *arena;
    struct mr_config_place *places;
    size_t n_places;
    const char *name;
    const char *file; /* the last place's, so that a file's name is kept once */
    bool full;
};

static size_t count_nodes(const config_setting_t *setting)
{
    size_t n = 1;
    if (config_setting_is_aggregate(setting))
        for (int i = 0; i < config_setting_length(setting); i++)
            n += count_nodes(config_setting_get_elem(setting, (unsigned)i));
    return n;
}

static const char *keep_file(struct build *b, const char *file)
{
    file = file ? file : b->name;
    if (!b->file || strcmp(b->file, file) != 0)
        b->file = mr_arena_str(b->arena, mr_str_from(file)).p;
    return b->file ? b->file : "";
}

static struct mr_value build_value(struct build *b, const config_setting_t *setting);

static struct mr_value build_aggregate(struct build *b, const config_setting_t *setting)
{
    bool group = config_setting_is_group(setting);
    unsigned n = (unsigned)config_setting_length(setting);
    struct mr_value value = group ? mr_value_map(b->arena, n) : mr_value_array(b->arena, n);
    b->full |= value.kind == MR_NULL;
    for (unsigned i = 0; i < n && !b->full; i++) {
        const config_setting_t *child = config_setting_get_elem(setting, i);
        struct mr_value item = build_value(b, child);
        struct mr_value *at;
        if (group) {
            struct mr_str key = mr_arena_str(b->arena, mr_str_from(config_setting_name(child)));
            b->full |= !key.p;
            value.as.map.items[value.as.map.n] = (struct mr_pair){key, item};
            at = &value.as.map.items[value.as.map.n++].value;
        } else {
            mr_value_push(&value, item);
            at = &value.as.array.items[i];
        }
        b->places[b->n_places++] =
            (struct mr_config_place){at, keep_file(b, config_setting_source_file(child)), (int)config_setting_source_line(child)};
    }
    return value;
}

static struct mr_value build_value(struct build *b, const config_setting_t *setting)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64: return mr_value_int(config_setting_get_int64(setting));
    case CONFIG_TYPE_FLOAT: return mr_value_float(config_setting_get_float(setting));
    case CONFIG_TYPE_BOOL: return mr_value_bool(config_setting_get_bool(setting));
    case CONFIG_TYPE_STRING: {
        struct mr_str s = mr_arena_str(b->arena, mr_str_from(config_setting_get_string(setting)));
        b->full |= !s.p;
        return mr_value_string(s);
    }
    default: return build_aggregate(b, setting);
    }
}

static enum mr_status build(const config_t *config, const char *name, struct mr_arena *arena, struct mr_config *out, struct mr_err *err)
{
    const config_setting_t *root = config_root_setting(config);
    struct build b = {.arena = arena, .name = name};
    b.places = mr_arena_array(arena, count_nodes(root), sizeof *b.places);
    struct mr_value tree = b.places ? build_aggregate(&b, root) : mr_value_null();
    if (!b.places || b.full || tree.kind == MR_NULL)
        return mr_err_set(err, MR_ERR_NOMEM, "%s: no memory", name);
    *out = (struct mr_config){tree, b.places, b.n_places};
    return MR_OK;
}

static enum mr_status parse_error(const config_t *config, const char *name, struct mr_err *err)
{
    const char *file = config_error_file(config);
    return mr_err_set(err, MR_ERR_INVALID, "%s:%d: %s", file ? file : name, config_error_line(config), config_error_text(config));
}

/* The real path of the folder that path lies in. */
static bool folder_of(const char *path, char out[PATH_MAX])
{
    char real[PATH_MAX];
    if (!realpath(path, real))
        return false;
    char *slash = strrchr(real, '/');
    slash[slash == real] = 0;
    strcpy(out, real);
    return true;
}

enum mr_status mr_config_read_file(const char *path, struct mr_arena *arena, struct mr_config *out, struct mr_err *err)
{
    char folder[PATH_MAX];
    struct mr_buf text = {0};
    int files = 1;
    if (!folder_of(path, folder))
        return mr_err_set(err, MR_ERR_IO, "cannot read %s: %s", path, strerror(errno));
    enum mr_status status = read_whole(path, &text, err);
    if (!status) {
        struct scan s = {text.p, text.p + text.n, path, 1, 0, folder, &files, err};
        status = scan_text(&s);
    }
    mr_buf_fini(&text);
    if (status)
        return status;
    config_t config;
    config_init(&config);
    config_set_include_dir(&config, folder);
    status = config_read_file(&config, path) ? build(&config, path, arena, out, err) : parse_error(&config, path, err);
    config_destroy(&config);
    return status;
}

enum mr_status mr_config_read_text(struct mr_str text, const char *name, struct mr_arena *arena, struct mr_config *out, struct mr_err *err)
{
    int files = 1;
    struct scan s = {text.p, text.p + text.n, name, 1, 0, NULL, &files, err};
    enum mr_status status = scan_text(&s);
    struct mr_str terminated = status ? (struct mr_str){0} : mr_arena_str(arena, text);
    if (status)
        return status;
    if (!terminated.p)
        return mr_err_set(err, MR_ERR_NOMEM, "%s: no memory", name);
    config_t config;
    config_init(&config);
    status = config_read_string(&config, terminated.p) ? build(&config, name, arena, out, err) : parse_error(&config, name, err);
    config_destroy(&config);
    return status;
}

struct mr_config_place mr_config_find(const struct mr_config *config, const struct mr_value *value)
{
    for (size_t i = 0; i < config->n_places; i++)
        if (config->places[i].value == value)
            return config->places[i];
    return (struct mr_config_place){value, "", 0};
}
