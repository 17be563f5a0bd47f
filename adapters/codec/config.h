/* Configuration files in libconfig's syntax, as a value tree in which every setting knows its file and line.
 *
 * What libconfig 1.5 gets wrong without a word is refused here with its line: an integer past 32 bits without the suffix L
 * (it would read as 0 or wrap), one past 64 bits, an @include that leaves the folder of the first file. */
#ifndef MR_CODEC_CONFIG_H
#define MR_CODEC_CONFIG_H

#include "base/status.h"
#include "base/value.h"

enum {
    MR_CONFIG_BYTES_MAX = 1 << 20, /* of one file */
    MR_CONFIG_FILES_MAX = 16,      /* the first and what it includes, each counted as often as it is included */
    MR_CONFIG_DEPTH_MAX = 16,      /* groups, lists and arrays inside each other */
};

/* A setting's place. Value pointers are those of the tree. */
struct mr_config_place {
    const struct mr_value *value;
    const char *file;
    int line;
};

struct mr_config {
    struct mr_value root;                  /* a map; groups are maps, lists and arrays are arrays */
    const struct mr_config_place *places;  /* [n_places] every node but the root */
    size_t n_places;
};

/* Everything lies in arena. MR_ERR_IO: the file cannot be read; MR_ERR_INVALID: err names file and line; MR_ERR_LIMIT. */
enum mr_status mr_config_read_file(const char *path, struct mr_arena *arena, struct mr_config *out, struct mr_err *err);
/* The same from memory; name stands for the file in errors; @include is refused. */
enum mr_status mr_config_read_text(struct mr_str text, const char *name, struct mr_arena *arena, struct mr_config *out, struct mr_err *err);
/* Where value stands; a place with file "" and line 0 when it is not of this config. */
struct mr_config_place mr_config_find(const struct mr_config *config, const struct mr_value *value);

#endif
