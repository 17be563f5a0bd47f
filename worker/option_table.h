/* The one table of options: parser, command line, validation, defaults and manual all follow from it. */
#ifndef MR_WORKER_OPTION_TABLE_H
#define MR_WORKER_OPTION_TABLE_H

#include "worker/options.h"

enum mr_option_type {
    MR_OPTION_STRING, /* const char * */
    MR_OPTION_INT,    /* int64_t */
    MR_OPTION_BOOL,   /* bool */
    MR_OPTION_BYTES,  /* int64_t, written "64MiB", "900kB", "0" */
    MR_OPTION_TIME,   /* int64_t milliseconds, written "100ms", "5s", "1h", "0" */
    MR_OPTION_WORD,   /* int64_t, the index of one of words */
    MR_OPTION_LIST,   /* struct mr_option_list of strings */
    MR_OPTION_ROUTES, /* groups: route.h */
};

struct mr_option {
    const char *name;          /* "kafka.brokers"; options of one group stand together */
    enum mr_option_type type;
    size_t offset;             /* in struct mr_options */
    const char *fallback;      /* the default, as one would write it behind --set */
    int64_t least, most;       /* INT, BYTES, TIME */
    const char *const *words;  /* WORD: NULL-terminated */
    const char *(*complaint)(struct mr_str text); /* STRING, each of LIST: NULL, or what is wrong with it; NULL: anything goes */
    const char *text;          /* for the manual: sentences */
};

const struct mr_option *mr_option_table(size_t *n);
/* NULL: no such option. */
const struct mr_option *mr_option_find(struct mr_str name);
/* The option whose name is the fewest edits away, if that is few enough to be meant; else NULL. */
const struct mr_option *mr_option_nearest(struct mr_str name);
/* Is there an option whose name starts with name and a dot? */
bool mr_option_is_group(struct mr_str name);

static inline void *mr_option_field(struct mr_options *options, const struct mr_option *option) { return (char *)options + option->offset; }

/* "64MiB" and "5s": false when text is not a whole number and a known unit ("0" needs none), or does not fit. */
bool mr_bytes_parse(struct mr_str text, int64_t *bytes);
bool mr_time_parse(struct mr_str text, int64_t *ms);
/* The shortest exact form that parses back: "64MiB", "1500ms". */
void mr_bytes_format(int64_t bytes, struct mr_buf *out);
void mr_time_format(int64_t ms, struct mr_buf *out);

/* A kafka.options entry ("key=value") whose value nobody may print. */
bool mr_option_secret(struct mr_str entry);

#endif
