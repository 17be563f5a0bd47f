#include "worker/planted.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The entry at *list, which moves behind it; n 0: there is none. */
static struct mr_str entry_next(const char **list)
{
    struct mr_str entry = {*list, strcspn(*list, ",")};
    *list += entry.n + ((*list)[entry.n] == ',');
    return entry;
}

static bool starts_with(struct mr_str text, const char *word, size_t n) { return text.n >= n && memcmp(text.p, word, n) == 0; }

bool mr_planted_parse(const char *list, struct mr_planted *out)
{
    *out = (struct mr_planted){.list = list};
    while (list && *list) {
        struct mr_str entry = entry_next(&list);
        if (starts_with(entry, "step:", 5))
            out->step_ms = strtol(entry.p + 5, NULL, 10);
        else if (!starts_with(entry, "abort:", 6) && !starts_with(entry, "hang:", 5))
            return false;
    }
    return out->step_ms >= 0;
}

bool mr_planted_for(const struct mr_planted *planted, const char *kind, struct mr_str name)
{
    const char *list = planted->list;
    size_t n = strlen(kind);
    while (list && *list) {
        struct mr_str entry = entry_next(&list);
        if (starts_with(entry, kind, n) && entry.n > n + 1 && entry.p[n] == ':' && starts_with(name, entry.p + n + 1, entry.n - n - 1))
            return true;
    }
    return false;
}

void mr_planted_meet(const struct mr_planted *planted, struct mr_str name)
{
    if (mr_planted_for(planted, "abort", name)) {
        mr_log(MR_LOG_ERROR, "planted.abort", "job=%.*s", (int)name.n, name.p);
        abort();
    }
    if (mr_planted_for(planted, "hang", name)) {
        mr_log(MR_LOG_ERROR, "planted.hang", "job=%.*s", (int)name.n, name.p);
        for (;;)
            pause();
    }
}

void mr_planted_step(const struct mr_planted *planted)
{
    if (planted->step_ms)
        nanosleep(&(struct timespec){.tv_sec = planted->step_ms / 1000, .tv_nsec = planted->step_ms % 1000 * 1000000}, NULL);
}
