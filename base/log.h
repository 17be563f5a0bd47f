/* Structured log lines on stderr: one line an event, `time=... level=... event=... key=value ...` (logfmt) or JSON.
 * Any thread; a line is written whole. Prompts and secrets never go in. */
#ifndef MR_BASE_LOG_H
#define MR_BASE_LOG_H

#include <stdbool.h>

enum mr_log_level { MR_LOG_DEBUG, MR_LOG_INFO, MR_LOG_WARN, MR_LOG_ERROR };

/* Called once at start, before threads. */
void mr_log_setup(enum mr_log_level least, bool json);
bool mr_log_enabled(enum mr_log_level level);

/* event: a fixed word like "job.done". format: space-separated key=value pairs; a value with spaces, quotes or '=' stands in
 * double quotes with \" and \\ inside (use mr_log_quote). The line is cut at 1,024 bytes. */
void mr_log(enum mr_log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Writes text quoted for a log value into out (NUL-terminated, cut to size) and returns out; control bytes become spaces. */
const char *mr_log_quote(const char *text, char *out, int size);

#endif
