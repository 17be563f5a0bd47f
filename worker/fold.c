#include "worker/fold.h"

#include <string.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static const char *const kind_names[MR_FOLD_KINDS] = {"start",     "tok",     "yield",     "done", "failed",
                                                      "cancelled", "expired", "duplicate", "moved"};

static uint64_t fnv_u32(uint64_t h, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        h = (h ^ (value >> 8 * i & 0xff)) * FNV_PRIME;
    return h;
}

void mr_fold_init(struct mr_fold *fold, const char *name, size_t n)
{
    memset(fold, 0, sizeof *fold);
    fold->ctx = FNV_START;
    for (size_t i = 0; i < n; i++)
        fold->ctx = (fold->ctx ^ (unsigned char)name[i]) * FNV_PRIME;
}

uint64_t mr_fold_ctx(uint64_t ctx, uint32_t choice, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ctx = fnv_u32(fnv_u32(ctx, choice), (uint32_t)ids[i]);
    return ctx;
}

static bool counts(struct mr_fold *fold, const struct mr_fold_record *record)
{
    if (fold->closed)
        return false;
    if (record->kind == MR_FOLD_START) {
        if (record->epoch <= fold->epoch)
            return false;
        fold->epoch = record->epoch;
        fold->writer = record->writer;
        fold->starts++;
        return true;
    }
    if (fold->epoch == 0 || record->epoch != fold->epoch || record->writer != fold->writer)
        return false;
    if (record->kind == MR_FOLD_YIELD)
        return true;
    if (record->seq != fold->seq)
        return false;
    if (record->kind == MR_FOLD_TOK) {
        uint64_t ctx = mr_fold_ctx(fold->ctx, record->choice, record->ids, (size_t)(record->n_ids > 0 ? record->n_ids : 0));
        if (record->n_ids < 1 || record->ctx != ctx)
            return false;
        fold->seq += record->n_ids;
        fold->ctx = ctx;
        return true;
    }
    if (record->ctx != fold->ctx)
        return false;
    fold->closed = true;
    fold->end = record->kind;
    return true;
}

bool mr_fold_add(struct mr_fold *fold, const struct mr_fold_record *record)
{
    bool accepted = counts(fold, record);
    if (!accepted)
        fold->ignored[record->kind]++;
    return accepted;
}

const char *mr_fold_kind_name(enum mr_fold_kind kind)
{
    return kind_names[kind];
}

bool mr_fold_kind_from(const char *name, size_t n, enum mr_fold_kind *kind)
{
    for (int i = 0; i < MR_FOLD_KINDS; i++) {
        if (strlen(kind_names[i]) == n && memcmp(kind_names[i], name, n) == 0) {
            *kind = (enum mr_fold_kind)i;
            return true;
        }
    }
    return false;
}
