#include "worker/calibration_cache.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES = MR_CALIBRATION_KEY_BYTES + MR_STEP_COST_TEXT_BYTES + 96, PATH_BYTES = 4096 };

static bool fits(int written, size_t bytes) { return written > 0 && (size_t)written < bytes; }

bool mr_calibration_key(const struct mr_calibration_identity *id, char key[MR_CALIBRATION_KEY_BYTES])
{
    char host[65] = "";
    struct stat program; /* a build is known by its file: versions stand still while kernels change */
    if (stat("/proc/self/exe", &program) != 0 || gethostname(host, sizeof host - 1) != 0)
        return false;
    int n = snprintf(key, MR_CALIBRATION_KEY_BYTES, "%s %s %s threads=%" PRId64 " block=%" PRId64 " kv=%" PRId64 " seqs=%" PRId64 " step=%" PRId64
                     " logits=%" PRId64 " host=%s program=%" PRId64 ".%09ld.%" PRId64, id->model, id->path, id->weights, id->threads,
                     id->block_tokens, id->kv_type, id->max_seqs, id->max_step_tokens, id->max_logits, host, (int64_t)program.st_mtim.tv_sec,
                     (long)program.st_mtim.tv_nsec, (int64_t)program.st_size);
    return fits(n, MR_CALIBRATION_KEY_BYTES);
}

static bool path_of(const char *folder, const char *key, const char *suffix, char path[PATH_BYTES])
{
    uint64_t hash = mr_fnv1a64(MR_FNV1A64_START, key, strlen(key));
    return fits(snprintf(path, PATH_BYTES, "%s/calibration-%016" PRIx64 "%s", folder, hash, suffix), PATH_BYTES);
}

/* The whole file but its last line, which is the checksum of what stands before. */
static bool text_print(const char *key, int64_t at_s, const char *cost, char text[FILE_BYTES])
{
    int n = snprintf(text, FILE_BYTES, "millrace calibration 1\n%s\n%" PRId64 "\n%s\n", key, at_s, cost);
    if (!fits(n, FILE_BYTES))
        return false;
    size_t left = FILE_BYTES - (size_t)n;
    return fits(snprintf(text + n, left, "%016" PRIx64 "\n", mr_fnv1a64(MR_FNV1A64_START, text, (size_t)n)), left);
}

static bool file_read(const char *path, char text[FILE_BYTES])
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    size_t n = fread(text, 1, FILE_BYTES - 1, file);
    text[n] = '\0';
    return fclose(file) == 0 && strlen(text) == n;
}

/* Read by being written again: what it says of time and cost gives one text, checksum and all, and the file must be that. */
bool mr_calibration_cache_load(const char *folder, const char *key, int64_t now_s, struct mr_sched_cost *out)
{
    char path[PATH_BYTES], text[FILE_BYTES], again[FILE_BYTES], cost[MR_STEP_COST_TEXT_BYTES];
    int64_t at_s;
    if (!path_of(folder, key, "", path) || !file_read(path, text))
        return false;
    if (sscanf(text, "millrace calibration 1\n%*[^\n]\n%" SCNd64 "\n%159[^\n]\n", &at_s, cost) != 2)
        return false;
    if (!text_print(key, at_s, cost, again) || strcmp(text, again) != 0 || at_s > now_s || now_s - at_s > MR_CALIBRATION_AGE_S)
        return false;
    return mr_step_cost_parse(cost, out);
}

bool mr_calibration_cache_store(const char *folder, const char *key, int64_t now_s, const struct mr_sched_cost *cost)
{
    char path[PATH_BYTES], fresh[PATH_BYTES], suffix[32], numbers[MR_STEP_COST_TEXT_BYTES], text[FILE_BYTES];
    snprintf(suffix, sizeof suffix, ".%ld", (long)getpid());
    mr_step_cost_print(cost, numbers);
    if (!path_of(folder, key, "", path) || !path_of(folder, key, suffix, fresh) || !text_print(key, now_s, numbers, text))
        return false;
    mkdir(folder, 0755); /* it may be there */
    FILE *file = fopen(fresh, "wb");
    if (!file)
        return false;
    bool ok = fputs(text, file) >= 0;
    ok = fclose(file) == 0 && ok && rename(fresh, path) == 0;
    if (!ok)
        unlink(fresh);
    return ok;
}
