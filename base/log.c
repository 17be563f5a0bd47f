#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 1024 };

static enum mr_log_level least_level = MR_LOG_INFO;
static bool as_json;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void mr_log_setup(enum mr_log_level least, bool json)
{
    least_level = least;
    as_json = json;
}

bool mr_log_enabled(enum mr_log_level level) { return level >= least_level; }

const char *mr_log_quote(const char *text, char *out, int size)
{
    int n = 0;
    out[n++] = '"';
    for (; *text && n < size - 3; text++) {
        if (*text == '"' || *text == '\\')
            out[n++] = '\\';
        out[n++] = (unsigned char)*text < 32 ? ' ' : *text;
    }
    out[n++] = '"';
    out[n] = 0;
    return out;
}

/* Turns `a=b c="d e"` into `,"a":"b","c":"d e"`. Values stay strings: a reader need not guess types. */
static int pairs_to_json(const char *pairs, char *out, int size)
{
    int n = 0;
    const char *p = pairs;
    while (*p && n < size - 8) {
        while (*p == ' ')
            p++;
        const char *equals = strchr(p, '=');
        if (!equals)
            break;
        n += snprintf(out + n, (size_t)(size - n), ",\"%.*s\":\"", (int)(equals - p), p);
        p = equals + 1;
        bool quoted = *p == '"';
        if (quoted)
            p++;
        while (*p && (quoted ? *p != '"' : *p != ' ') && n < size - 4) {
            if (*p == '\\' && p[1])
                out[n++] = *p++;
            out[n++] = *p++;
        }
        if (quoted && *p == '"')
            p++;
        if (n < size - 1)
            out[n++] = '"';
        out[n] = 0;
    }
    return n < size ? n : size - 1;
}

void mr_log(enum mr_log_level level, const char *event, const char *format, ...)
{
    if (!mr_log_enabled(level))
        return;
    char pairs[LINE_BYTES], line[2 * LINE_BYTES], stamp[40];
    struct timespec now;
    struct tm utc;
    va_list args;
    va_start(args, format);
    vsnprintf(pairs, sizeof pairs, format, args);
    va_end(args);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t at = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + at, sizeof stamp - at, ".%03ldZ", now.tv_nsec / 1000000);
    int n;
    if (as_json) {
        n = snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", stamp, level_names[level], event);
        n += pairs_to_json(pairs, line + n, (int)sizeof line - n - 3);
        n += snprintf(line + n, sizeof line - (size_t)n, "}\n");
    } else {
        n = snprintf(line, sizeof line, "time=%s level=%s event=%s %s\n", stamp, level_names[level], event, pairs);
    }
    if (n >= (int)sizeof line)
        n = (int)sizeof line - 1;
    ssize_t written = write(STDERR_FILENO, line, (size_t)n);
    (void)written; /* a log that cannot be written has nowhere to complain */
}
