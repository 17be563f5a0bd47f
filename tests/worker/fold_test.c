/* The fold against the shared vectors; the 30 lines of Python against the same; and random records against the naive rules. */
#include "tests/test.h"

#include "adapters/codec/codec.h"
#include "worker/fold.h"

#include <stdlib.h>

#define VECTORS TEST_SOURCE_DIR "/tests/golden/fold/vectors.jsonl"

static uint64_t hex_of(const struct mr_value *v)
{
    char text[17] = {0};
    if (v && v->kind == MR_STRING && v->as.string.n == 16)
        memcpy(text, v->as.string.p, 16);
    return strtoull(text, NULL, 16);
}

static int64_t int_of(const struct mr_value *v) { return v && v->kind == MR_INT ? v->as.integer : -1; }

static struct mr_fold_record record_of(const struct mr_value *v, int32_t *ids)
{
    struct mr_fold_record r = {.epoch = (uint64_t)int_of(mr_value_get(v, "epoch")), .writer = hex_of(mr_value_get(v, "writer"))};
    struct mr_str kind = mr_value_get(v, "kind")->as.string;
    EXPECT(mr_fold_kind_from(kind.p, kind.n, &r.kind));
    r.ctx = hex_of(mr_value_get(v, "ctx"));
    r.seq = int_of(mr_value_get(v, r.kind == MR_FOLD_TOK ? "seq" : "n"));
    const struct mr_value *list = mr_value_get(v, "ids");
    if (r.kind == MR_FOLD_TOK) {
        r.choice = (uint32_t)int_of(mr_value_get(v, "choice"));
        for (size_t i = 0; i < list->as.array.n; i++)
            ids[i] = (int32_t)list->as.array.items[i].as.integer;
        r.ids = ids;
        r.n_ids = (int32_t)list->as.array.n;
    }
    return r;
}

static void check_case(const struct mr_value *c)
{
    struct mr_str job = mr_value_get(c, "job")->as.string, name = mr_value_get(c, "name")->as.string;
    const struct mr_value *records = mr_value_get(c, "records"), *accept = mr_value_get(c, "accept"), *closed = mr_value_get(c, "closed");
    int before = test_failures;
    struct mr_fold fold;
    mr_fold_init(&fold, job.p, job.n);
    for (size_t i = 0; i < records->as.array.n; i++) {
        int32_t ids[16];
        struct mr_fold_record r = record_of(&records->as.array.items[i], ids);
        EXPECT_EQ(mr_fold_add(&fold, &r), accept->as.array.items[i].as.boolean);
    }
    EXPECT_EQ(fold.epoch, int_of(mr_value_get(c, "epoch")));
    EXPECT(fold.writer == hex_of(mr_value_get(c, "writer")));
    EXPECT_EQ(fold.seq, int_of(mr_value_get(c, "seq")));
    EXPECT(fold.ctx == hex_of(mr_value_get(c, "ctx")));
    EXPECT_EQ(fold.closed, closed->kind == MR_STRING);
    if (fold.closed && closed->kind == MR_STRING)
        EXPECT(mr_str_is(closed->as.string, mr_fold_kind_name(fold.end)));
    for (int k = 0; k < MR_FOLD_KINDS; k++) {
        const struct mr_value *n = mr_value_get(mr_value_get(c, "ignored"), mr_fold_kind_name((enum mr_fold_kind)k));
        EXPECT_EQ(fold.ignored[k], n ? int_of(n) : 0);
    }
    if (test_failures != before)
        printf("in case \"%.*s\"\n", (int)name.n, name.p);
}

TEST(vectors)
{
    FILE *f = fopen(VECTORS, "r");
    REQUIRE(f);
    char line[65536];
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        struct mr_arena arena;
        mr_arena_init(&arena, 0);
        struct mr_value c;
        REQUIRE(mr_codec_json.decode((struct mr_str){line, strlen(line)}, NULL, &arena, &c, NULL) == MR_CODEC_OK);
        check_case(&c);
        n++;
        mr_arena_fini(&arena);
    }
    fclose(f);
    EXPECT(n >= 32);
}

TEST(python_agrees)
{
    EXPECT_EQ(system("python3 " TEST_SOURCE_DIR "/tests/worker/fold.py " VECTORS), 0);
}

TEST(kind_names)
{
    enum mr_fold_kind kind;
    for (int k = 0; k < MR_FOLD_KINDS; k++) {
        const char *name = mr_fold_kind_name((enum mr_fold_kind)k);
        EXPECT(mr_fold_kind_from(name, strlen(name), &kind) && (int)kind == k);
    }
    EXPECT(!mr_fold_kind_from("tokens", 6, &kind) && !mr_fold_kind_from("to", 2, &kind) && !mr_fold_kind_from("", 0, &kind));
}

/* Whatever is thrown at it, in whatever order: what was accepted reads back as one chain, and a closed fold never moves. */
TEST(random_records)
{
    uint64_t random = 7;
    for (int round = 0; round < 20000; round++) {
        struct mr_fold fold, old;
        mr_fold_init(&fold, "t/x", 3);
        uint64_t chain = fold.ctx;
        int64_t tokens = 0;
        for (int i = 0; i < 24; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t r = random >> 20;
            int32_t id = (int32_t)(r % 3);
            struct mr_fold_record rec = {.kind = (enum mr_fold_kind)((r >> 2) % 4), .epoch = (r >> 4) % 3 + fold.epoch - (fold.epoch > 0),
                .writer = (r >> 6) % 2,
                                         .ids = &id, .n_ids = 1, .seq = fold.seq + (int64_t)((r >> 8) % 8 == 0)};
            rec.ctx = rec.kind == MR_FOLD_TOK ? mr_fold_ctx(fold.ctx, 0, &id, 1) : fold.ctx;
            rec.ctx += (r >> 12) % 8 == 0;
            old = fold;
            if (!mr_fold_add(&fold, &rec)) {
                EXPECT(old.seq == fold.seq && old.ctx == fold.ctx && old.epoch == fold.epoch && old.closed == fold.closed);
                continue;
            }
            EXPECT(!old.closed);
            if (rec.kind == MR_FOLD_START)
                EXPECT(rec.epoch > old.epoch);
            else
                EXPECT(rec.epoch == old.epoch && rec.writer == old.writer);
            if (rec.kind == MR_FOLD_TOK)
                chain = mr_fold_ctx(chain, 0, &id, 1), tokens++;
        }
        EXPECT(chain == fold.ctx);
        EXPECT_EQ(tokens, fold.seq);
    }
}

TEST_MAIN(TEST_CASE(vectors), TEST_CASE(python_agrees), TEST_CASE(kind_names), TEST_CASE(random_records))
