#include "worker/model/model_digest.h"

#include "base/check.h"
#include "tests/model/gguf_build.h"
#include "tests/test.h"

enum { COLUMNS = 1 << 18, TENSOR_BYTES = COLUMNS * 4 };

static void digest_of(struct mr_buf *b, size_t whole_max_bytes, char out[65])
{
    struct mr_gguf *gguf;
    struct mr_err err = {0};
    CHECK(mr_gguf_parse(b->p, b->n, &gguf, &err) == MR_OK);
    mr_model_digest_gguf(gguf, whole_max_bytes, out);
    mr_gguf_close(gguf);
}

static void build(struct mr_buf *b)
{
    build_header(b, 1, 1);
    build_key_str(b, "general.name", "digest");
    build_tensor(b, "t", COLUMNS, 0, 0, 0);
    build_pad(b, 32);
    build_zeros(b, TENSOR_BYTES);
}

/* Whether the digest changes when byte `at` does. */
static bool changes(struct mr_buf *b, size_t at, size_t whole_max_bytes)
{
    char before[65], after[65];
    digest_of(b, whole_max_bytes, before);
    b->p[at] ^= 1;
    digest_of(b, whole_max_bytes, after);
    b->p[at] ^= 1;
    return strcmp(before, after) != 0;
}

TEST(a_small_file_whole)
{
    struct mr_buf b = {0};
    build(&b);
    size_t data = b.n - TENSOR_BYTES;
    EXPECT(changes(&b, 4 + 4 + 8 + 8 + 8 + 13 + 4 + 8, b.n)); /* in the value of general.name */
    EXPECT(changes(&b, data, b.n));
    EXPECT(changes(&b, data + 5000, b.n));
    EXPECT(changes(&b, b.n - 1, b.n));
    mr_buf_fini(&b);
}

TEST(a_large_file_by_pieces)
{
    struct mr_buf b = {0};
    build(&b);
    size_t data = b.n - TENSOR_BYTES, limit = b.n - 1;
    EXPECT(changes(&b, 4 + 4 + 8 + 8 + 8 + 13 + 4 + 8, limit));
    EXPECT(changes(&b, data, limit));
    EXPECT(changes(&b, data + MR_DIGEST_PIECE_BYTES - 1, limit));
    EXPECT(!changes(&b, data + MR_DIGEST_PIECE_BYTES, limit)); /* what the header says it misses */
    EXPECT(changes(&b, b.n - 1, limit));
    EXPECT(changes(&b, b.n - MR_DIGEST_PIECE_BYTES, limit));
    mr_buf_fini(&b);
}

TEST(synthetic)
{
    char a[65], b[65], c[65];
    mr_model_digest_synthetic("tiny", 1, a);
    mr_model_digest_synthetic("tiny", 2, b);
    mr_model_digest_synthetic("tinier", 1, c);
    EXPECT(strcmp(a, b) != 0 && strcmp(a, c) != 0);
    EXPECT_EQ(strlen(a), 64);
}

TEST_MAIN(TEST_CASE(a_small_file_whole), TEST_CASE(a_large_file_by_pieces), TEST_CASE(synthetic))
