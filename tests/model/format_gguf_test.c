#include "worker/model/format_gguf.h"

#include "base/hash.h"
#include "tests/model/gguf_build.h"
#include "tests/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Keys of every kind and two tensors: 2 x 32 F32 at 0 (256 bytes), 64 x 3 Q4_0 at 256 (108 bytes). */
static void build_whole(struct mr_buf *b)
{
    build_header(b, 2, 7);
    build_key_str(b, "general.architecture", "llama");
    build_key_u32(b, "count", 4000000000u);
    build_key_f32(b, "ratio", 0.5f);
    build_key(b, "flag", 7);
    mr_buf_add_char(b, 1);
    build_key(b, "small", 1);
    mr_buf_add_char(b, (char)-3);
    build_key_array(b, "words", 8, 3);
    build_str(b, "one");
    build_str(b, "");
    build_str(b, "three");
    build_key_array(b, "numbers", 5, 2);
    build_u32(b, 7);
    build_u32(b, (uint32_t)-8);
    build_tensor(b, "a.weight", 32, 2, 0, 0);
    build_tensor(b, "b.weight", 64, 3, 2, 256);
    build_pad(b, 32);
    build_zeros(b, 256 + 108);
}

/* Parses a copy of exactly n bytes, so that a sanitizer sees the first byte read beyond it. */
static enum mr_status parse_copy(const char *bytes, size_t n, struct mr_err *err)
{
    char *copy = malloc(n ? n : 1);
    struct mr_gguf *gguf = NULL;
    memcpy(copy, bytes, n);
    enum mr_status status = mr_gguf_parse(copy, n, &gguf, err);
    EXPECT((status == MR_OK) == (gguf != NULL));
    mr_gguf_close(gguf);
    free(copy);
    return status;
}

TEST(reads_what_was_written)
{
    struct mr_buf b = {0};
    struct mr_err err = {0};
    struct mr_gguf *gguf;
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    build_whole(&b);
    REQUIRE(mr_gguf_parse(b.p, b.n, &gguf, &err) == MR_OK);
    EXPECT_EQ(gguf->n_keys, 7);
    EXPECT_EQ(gguf->n_tensors, 2);
    struct mr_str text;
    int64_t whole = -1;
    double real = 0;
    bool flag = false;
    EXPECT_EQ(mr_gguf_string(gguf, "general.architecture", &text, &err), MR_OK);
    EXPECT(mr_str_is(text, "llama"));
    EXPECT_EQ(mr_gguf_int(gguf, "count", 0, INT64_MAX, &whole, &err), MR_OK);
    EXPECT_EQ(whole, 4000000000);
    EXPECT_EQ(mr_gguf_int(gguf, "small", -128, 127, &whole, &err), MR_OK);
    EXPECT_EQ(whole, -3);
    EXPECT_EQ(mr_gguf_real(gguf, "ratio", &real, &err), MR_OK);
    EXPECT_NEAR(real, 0.5, 0);
    EXPECT_EQ(mr_gguf_real(gguf, "small", &real, &err), MR_OK);
    EXPECT_EQ(mr_gguf_bool(gguf, "flag", &flag, &err), MR_OK);
    EXPECT(flag);
    const struct mr_str *words;
    const int32_t *numbers;
    size_t n;
    EXPECT_EQ(mr_gguf_strings(gguf, "words", &arena, &words, &n, &err), MR_OK);
    EXPECT(n == 3 && mr_str_is(words[0], "one") && words[1].n == 0 && mr_str_is(words[2], "three"));
    EXPECT_EQ(mr_gguf_ints(gguf, "numbers", &arena, &numbers, &n, &err), MR_OK);
    EXPECT(n == 2 && numbers[0] == 7 && numbers[1] == -8);
    struct mr_tensor_table table = {gguf->tensors, gguf->n_tensors};
    const struct mr_tensor *tensor = mr_tensor_find(&table, "b.weight");
    REQUIRE(tensor);
    EXPECT_EQ(tensor->dtype, MR_Q4_0);
    EXPECT_EQ(tensor->dims[0], 64);
    EXPECT_EQ(tensor->dims[1], 3);
    EXPECT_EQ(tensor->bytes, 108);
    EXPECT(tensor->data == gguf->bytes + gguf->data_offset + 256);
    EXPECT(!mr_tensor_find(&table, "c.weight"));
    mr_gguf_close(gguf);
    mr_arena_fini(&arena);
    mr_buf_fini(&b);
}

TEST(getters_name_the_key)
{
    struct mr_buf b = {0};
    struct mr_err err = {0};
    struct mr_gguf *gguf;
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    build_whole(&b);
    REQUIRE(mr_gguf_parse(b.p, b.n, &gguf, &err) == MR_OK);
    int64_t whole = 17;
    bool flag;
    struct mr_str text;
    const struct mr_str *words;
    const int32_t *numbers;
    size_t n;
    EXPECT_EQ(mr_gguf_int(gguf, "absent", 0, 9, &whole, &err), MR_ERR_NOT_FOUND);
    EXPECT_STR(err.text, "key absent is missing");
    EXPECT_EQ(whole, 17);
    EXPECT_EQ(mr_gguf_int(gguf, "small", 0, 9, &whole, &err), MR_ERR_INVALID);
    EXPECT_STR(err.text, "key small is -3, not 0 to 9");
    EXPECT_EQ(mr_gguf_int(gguf, "ratio", 0, 9, &whole, &err), MR_ERR_INVALID);
    EXPECT_EQ(mr_gguf_int(gguf, "numbers", 0, 9, &whole, &err), MR_ERR_INVALID);
    EXPECT_EQ(mr_gguf_bool(gguf, "count", &flag, &err), MR_ERR_INVALID);
    EXPECT_EQ(mr_gguf_string(gguf, "count", &text, &err), MR_ERR_INVALID);
    EXPECT_EQ(mr_gguf_strings(gguf, "numbers", &arena, &words, &n, &err), MR_ERR_INVALID);
    EXPECT_EQ(mr_gguf_strings(gguf, "count", &arena, &words, &n, &err), MR_ERR_INVALID);
    EXPECT_EQ(mr_gguf_ints(gguf, "words", &arena, &numbers, &n, &err), MR_ERR_INVALID);
    mr_gguf_close(gguf);
    mr_arena_fini(&arena);
    mr_buf_fini(&b);
}

/* Every prefix of a good file is refused, but for those that only lack the last tensor's padding (there is none here). */
TEST(every_truncation_is_refused)
{
    struct mr_buf b = {0};
    struct mr_err err = {0};
    build_whole(&b);
    EXPECT_EQ(parse_copy(b.p, b.n, &err), MR_OK);
    for (size_t n = 0; n < b.n; n++)
        EXPECT(parse_copy(b.p, n, &err) != MR_OK);
    mr_buf_fini(&b);
}

/* Hostile files. Each writer makes one; `says` must be in the error. */
struct hostile {
    const char *name;
    void (*write)(struct mr_buf *b);
    enum mr_status status;
    const char *says;
};

static void h_magic(struct mr_buf *b) { mr_buf_add(b, "GGML\3\0\0\0", 8), build_zeros(b, 64); }
static void h_version(struct mr_buf *b) { mr_buf_add(b, "GGUF", 4), build_u32(b, 4), build_zeros(b, 64); }
static void h_big_endian(struct mr_buf *b) { mr_buf_add(b, "GGUF\0\0\0\3", 8), build_zeros(b, 64); }
static void h_keys_huge(struct mr_buf *b) { build_header(b, 0, UINT64_MAX), build_zeros(b, 64); }
static void h_tensors_huge(struct mr_buf *b) { build_header(b, UINT64_C(1) << 58, 0), build_zeros(b, 64); }
static void h_keys_over_cap(struct mr_buf *b) { build_header(b, 0, MR_GGUF_KEYS_MAX + 1), build_zeros(b, 13 * (MR_GGUF_KEYS_MAX + 1)); }
static void h_name_wraps(struct mr_buf *b) { build_header(b, 0, 1), build_u64(b, UINT64_MAX - 7), build_zeros(b, 64); }
static void h_name_long(struct mr_buf *b) { build_header(b, 0, 1), build_u64(b, MR_GGUF_NAME_BYTES_MAX + 1), build_zeros(b, 400); }
static void h_name_empty(struct mr_buf *b) { build_header(b, 0, 1), build_u64(b, 0), build_zeros(b, 64); }
static void h_name_nul(struct mr_buf *b) { build_header(b, 0, 1), build_u64(b, 4), build_zeros(b, 64); }
static void h_key_type(struct mr_buf *b) { build_header(b, 0, 1), build_key(b, "k", 13), build_zeros(b, 64); }
static void h_string_wraps(struct mr_buf *b) { build_header(b, 0, 1), build_key(b, "k", 8), build_u64(b, UINT64_MAX), build_zeros(b, 64); }
static void h_array_wraps(struct mr_buf *b) { build_header(b, 0, 1), build_key_array(b, "k", 10, UINT64_C(1) << 61), build_zeros(b, 64); }
static void h_array_claims(struct mr_buf *b) { build_header(b, 0, 1), build_key_array(b, "k", 4, 17), build_zeros(b, 67); }
static void h_vocabulary(struct mr_buf *b) /* a token whose length is past 2^31 */
{
    build_header(b, 0, 1);
    build_key_array(b, "tokenizer.ggml.tokens", 8, 2);
    build_str(b, "fine");
    build_u64(b, UINT64_C(0x80000005));
    build_zeros(b, 64);
}
static void h_nested(struct mr_buf *b) { build_header(b, 0, 1), build_key_array(b, "k", 9, 1), build_zeros(b, 64); }
static void h_bool(struct mr_buf *b) { build_header(b, 0, 1), build_key(b, "k", 7), mr_buf_add_char(b, 2), build_zeros(b, 64); }
static void h_key_twice(struct mr_buf *b) { build_header(b, 0, 2), build_key_u32(b, "k", 1), build_key_u32(b, "k", 2), build_zeros(b, 64); }
static void h_alignment_zero(struct mr_buf *b) { build_header(b, 0, 1), build_key_u32(b, "general.alignment", 0), build_zeros(b, 64); }
static void h_alignment_odd(struct mr_buf *b) { build_header(b, 0, 1), build_key_u32(b, "general.alignment", 24), build_zeros(b, 64); }
static void h_alignment_past(struct mr_buf *b) { build_header(b, 0, 1), build_key_u32(b, "general.alignment", 2 * MR_GGUF_ALIGNMENT_MAX), build_zeros(b, 64); }
static void h_alignment_huge(struct mr_buf *b) { build_header(b, 0, 1), build_key_u32(b, "general.alignment", 1u << 31), build_zeros(b, 64); }
static void one_tensor(struct mr_buf *b, uint64_t columns, uint64_t rows, uint32_t type, uint64_t offset)
{
    build_header(b, 1, 0);
    build_tensor(b, "t", columns, rows, type, offset);
    build_pad(b, 32);
    build_zeros(b, 256);
}
static void h_dims_none(struct mr_buf *b) { build_header(b, 1, 0), build_str(b, "t"), build_zeros(b, 64); }
static void h_dims_many(struct mr_buf *b) { build_header(b, 1, 0), build_str(b, "t"), build_u32(b, 5), build_zeros(b, 64); }
static void h_dim_zero(struct mr_buf *b) { one_tensor(b, 0, 2, 0, 0); }
static void h_dim_past_int(struct mr_buf *b) { one_tensor(b, 32, UINT64_C(0x100000001), 0, 0); }
static void h_size_wraps(struct mr_buf *b) /* 2^30 * 2^30 * 16 F32: 0 bytes modulo 2^64 */
{
    build_header(b, 1, 0);
    build_str(b, "t");
    build_u32(b, 3);
    build_u64(b, 1 << 30), build_u64(b, 1 << 30), build_u64(b, 16);
    build_u32(b, 0), build_u64(b, 0);
    build_pad(b, 32), build_zeros(b, 256);
}
static void h_rows_wrap(struct mr_buf *b) /* three dimensions whose product passes 2^63 */
{
    build_header(b, 1, 0);
    build_str(b, "t");
    build_u32(b, 4);
    build_u64(b, 32), build_u64(b, 1 << 30), build_u64(b, 1 << 30), build_u64(b, 1 << 30);
    build_u32(b, 0), build_u64(b, 0);
    build_pad(b, 32), build_zeros(b, 256);
}
static void h_block(struct mr_buf *b) { one_tensor(b, 33, 2, 2, 0); }
static void h_type_unknown(struct mr_buf *b) { one_tensor(b, 32, 2, 999, 0); }
static void h_type_unread(struct mr_buf *b) { one_tensor(b, 256, 1, 16, 0); }
static void h_offset_odd(struct mr_buf *b) { one_tensor(b, 8, 2, 0, 4); }
static void h_offset_far(struct mr_buf *b) { one_tensor(b, 8, 2, 0, 320); }
static void h_offset_wraps(struct mr_buf *b) { one_tensor(b, 8, 2, 0, UINT64_MAX - 31); }
static void h_too_long(struct mr_buf *b) { one_tensor(b, 32, 3, 0, 0); }
static void two_tensors(struct mr_buf *b, const char *second, uint64_t offset)
{
    build_header(b, 2, 0);
    build_tensor(b, "t", 32, 0, 0, 0);
    build_tensor(b, second, 32, 0, 0, offset);
    build_pad(b, 32);
    build_zeros(b, 512);
}
static void h_overlap(struct mr_buf *b) { two_tensors(b, "u", 96); }
static void h_same_place(struct mr_buf *b) { two_tensors(b, "u", 0); }
static void h_tensor_twice(struct mr_buf *b) { two_tensors(b, "t", 128); }

static const struct hostile hostiles[] = {
    {"magic", h_magic, MR_ERR_INVALID, "GGUF"},
    {"version", h_version, MR_ERR_UNSUPPORTED, "version 4"},
    {"big endian", h_big_endian, MR_ERR_UNSUPPORTED, "big-endian"},
    {"more keys than bytes", h_keys_huge, MR_ERR_INVALID, "keys"},
    {"more tensors than bytes", h_tensors_huge, MR_ERR_INVALID, "tensors"},
    {"keys past the cap", h_keys_over_cap, MR_ERR_LIMIT, "keys"},
    {"name length wraps", h_name_wraps, MR_ERR_INVALID, "name of key 0"},
    {"name too long", h_name_long, MR_ERR_LIMIT, "name of key 0"},
    {"name empty", h_name_empty, MR_ERR_LIMIT, "name of key 0"},
    {"name with NUL", h_name_nul, MR_ERR_INVALID, "name of key 0"},
    {"unknown key type", h_key_type, MR_ERR_INVALID, "key k"},
    {"string length wraps", h_string_wraps, MR_ERR_INVALID, "key k"},
    {"array bytes wrap", h_array_wraps, MR_ERR_INVALID, "key k"},
    {"array one longer than the file", h_array_claims, MR_ERR_INVALID, "key k"},
    {"vocabulary entry past 2^31", h_vocabulary, MR_ERR_INVALID, "tokenizer.ggml.tokens"},
    {"array of arrays", h_nested, MR_ERR_UNSUPPORTED, "key k"},
    {"boolean 2", h_bool, MR_ERR_INVALID, "key k"},
    {"key twice", h_key_twice, MR_ERR_INVALID, "key k"},
    {"alignment 0", h_alignment_zero, MR_ERR_INVALID, "general.alignment"},
    {"alignment 24", h_alignment_odd, MR_ERR_INVALID, "general.alignment"},
    {"alignment past its number", h_alignment_past, MR_ERR_INVALID, "general.alignment"},
    {"alignment 2^31", h_alignment_huge, MR_ERR_INVALID, "general.alignment"},
    {"no dimensions", h_dims_none, MR_ERR_LIMIT, "tensor t"},
    {"five dimensions", h_dims_many, MR_ERR_LIMIT, "tensor t"},
    {"dimension 0", h_dim_zero, MR_ERR_INVALID, "tensor t"},
    {"dimension past int", h_dim_past_int, MR_ERR_INVALID, "tensor t"},
    {"size wraps to nothing", h_size_wraps, MR_ERR_INVALID, "tensor t"},
    {"rows wrap", h_rows_wrap, MR_ERR_INVALID, "tensor t"},
    {"row no whole block", h_block, MR_ERR_INVALID, "tensor t"},
    {"unknown tensor type", h_type_unknown, MR_ERR_INVALID, "tensor t"},
    {"tensor type not read", h_type_unread, MR_ERR_UNSUPPORTED, "IQ2_XXS"},
    {"offset unaligned", h_offset_odd, MR_ERR_INVALID, "tensor t"},
    {"offset beyond the file", h_offset_far, MR_ERR_INVALID, "tensor t"},
    {"offset wraps", h_offset_wraps, MR_ERR_INVALID, "tensor t"},
    {"tensor past the end", h_too_long, MR_ERR_INVALID, "tensor t"},
    {"tensors overlap", h_overlap, MR_ERR_INVALID, "overlap"},
    {"tensors in one place", h_same_place, MR_ERR_INVALID, "overlap"},
    {"tensor twice", h_tensor_twice, MR_ERR_INVALID, "tensor t comes twice"},
};

TEST(hostile_files_are_refused_by_name)
{
    for (size_t i = 0; i < sizeof hostiles / sizeof *hostiles; i++) {
        struct mr_buf b = {0};
        struct mr_err err = {0};
        hostiles[i].write(&b);
        enum mr_status status = parse_copy(b.p, b.n, &err);
        if (status != hostiles[i].status || !strstr(err.text, hostiles[i].says))
            test_failures++, printf("%s: %s, \"%s\"\n", hostiles[i].name, mr_status_name(status), err.text);
        mr_buf_fini(&b);
    }
}

TEST(limits_at_their_number)
{
    struct mr_buf b = {0};
    struct mr_err err = {0};
    char name[MR_GGUF_NAME_BYTES_MAX + 1];
    memset(name, 'n', MR_GGUF_NAME_BYTES_MAX);
    name[MR_GGUF_NAME_BYTES_MAX] = 0;
    build_header(&b, 0, MR_GGUF_KEYS_MAX);
    build_key_u32(&b, name, 1);
    for (int i = 1; i < MR_GGUF_KEYS_MAX; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        build_key_u32(&b, key, 1);
    }
    EXPECT_EQ(parse_copy(b.p, b.n, &err), MR_OK);
    mr_buf_clear(&b);
    build_header(&b, 0, 1);
    build_key_array(&b, "bytes", 0, MR_GGUF_ARRAY_MAX);
    build_zeros(&b, MR_GGUF_ARRAY_MAX);
    EXPECT_EQ(parse_copy(b.p, b.n, &err), MR_OK);
    mr_buf_clear(&b);
    build_header(&b, 0, 1);
    build_key_array(&b, "bytes", 0, MR_GGUF_ARRAY_MAX + 1);
    build_zeros(&b, MR_GGUF_ARRAY_MAX + 1);
    EXPECT_EQ(parse_copy(b.p, b.n, &err), MR_ERR_LIMIT);
    EXPECT(strstr(err.text, "key bytes"));
    mr_buf_clear(&b);
    build_header(&b, 0, 1);
    build_key(&b, "text", 8);
    build_u64(&b, MR_GGUF_STRING_BYTES_MAX + 1);
    build_zeros(&b, MR_GGUF_STRING_BYTES_MAX + 1);
    EXPECT_EQ(parse_copy(b.p, b.n, &err), MR_ERR_LIMIT);
    mr_buf_fini(&b);
}

/* Flipped bytes: never a crash, and what is accepted still lies inside. */
TEST(mutations_stay_inside)
{
    struct mr_buf b = {0};
    struct mr_err err = {0};
    uint64_t state = 1;
    build_whole(&b);
    for (int round = 0; round < 20000; round++) {
        char *copy = malloc(b.n);
        struct mr_gguf *gguf;
        memcpy(copy, b.p, b.n);
        for (uint64_t flips = 1 + mr_mix64(state++) % 3; flips > 0; flips--) {
            size_t at = mr_mix64(state++) % (b.n - 364);
            uint64_t random = mr_mix64(state++);
            copy[at] = (char)(random % 3 ? random >> 8 : 0xff);
        }
        if (mr_gguf_parse(copy, b.n, &gguf, &err) == MR_OK) {
            for (size_t i = 0; i < gguf->n_tensors; i++)
                EXPECT((const char *)gguf->tensors[i].data >= copy && (const char *)gguf->tensors[i].data + gguf->tensors[i].bytes <= copy + b.n);
            mr_gguf_close(gguf);
        }
        free(copy);
    }
    mr_buf_fini(&b);
}

TEST(files)
{
    char path[] = "/tmp/mr_gguf_XXXXXX";
    struct mr_buf b = {0};
    struct mr_err err = {0};
    struct mr_gguf *gguf;
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    EXPECT_EQ(mr_gguf_open(path, &gguf, &err), MR_ERR_INVALID); /* empty */
    build_whole(&b);
    REQUIRE(write(fd, b.p, b.n) == (ssize_t)b.n);
    close(fd);
    EXPECT_EQ(mr_gguf_open(path, &gguf, &err), MR_OK);
    if (gguf)
        EXPECT_EQ(gguf->n_tensors, 2);
    mr_gguf_close(gguf);
    unlink(path);
    EXPECT_EQ(mr_gguf_open(path, &gguf, &err), MR_ERR_IO);
    EXPECT(!gguf && strstr(err.text, path));
    EXPECT_EQ(mr_gguf_open("/tmp", &gguf, &err), MR_ERR_INVALID);
    mr_buf_fini(&b);
}

/* What a worker with this file open is told; a file that was replaced is not the one that it has. */
TEST(a_file_that_changes_while_it_is_open)
{
    char path[] = "/tmp/mr_gguf_XXXXXX", other[sizeof path + 4];
    struct mr_buf b = {0};
    build_whole(&b);
    for (int how = 0; how < 3; how++) { /* replaced, written to in place, cut off */
        struct mr_gguf *gguf;
        strcpy(path, "/tmp/mr_gguf_XXXXXX");
        int fd = mkstemp(path);
        REQUIRE(fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n);
        struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}}; /* the clock of files is coarse */
        REQUIRE(futimens(fd, then) == 0 && mr_gguf_open(path, &gguf, NULL) == MR_OK);
        EXPECT(!mr_gguf_changed(gguf));
        snprintf(other, sizeof other, "%s.new", path);
        int fresh = open(other, O_CREAT | O_WRONLY, 0600);
        REQUIRE(fresh >= 0 && write(fresh, "GGUF", 4) == 4);
        close(fresh);
        if (how == 0)
            REQUIRE(rename(other, path) == 0);
        else if (how == 1)
            REQUIRE(pwrite(fd, b.p, 1, 0) == 1);
        else
            REQUIRE(ftruncate(fd, 1) == 0);
        EXPECT_EQ(mr_gguf_changed(gguf), how > 0);
        mr_gguf_close(gguf);
        close(fd);
        unlink(path);
        unlink(other);
    }
    mr_buf_fini(&b);
}

/* What a page of a mapped file does that the disk does not give: the kernel's answer is the same signal when the page is gone. */
TEST(a_page_that_cannot_be_read_ends_the_process)
{
    char path[] = "/tmp/mr_gguf_XXXXXX";
    struct mr_buf b = {0};
    struct mr_gguf *gguf;
    build_whole(&b);
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n && mr_gguf_open(path, &gguf, NULL) == MR_OK);
    pid_t child = fork();
    if (child == 0) {
        volatile const unsigned char *weights = gguf->tensors[0].data;
        signal(SIGBUS, SIG_DFL); /* a sanitizer has a handler of its own */
        _exit(ftruncate(fd, 0) == 0 ? weights[0] & 0 : 1);
    }
    int code = 0;
    REQUIRE(child > 0 && waitpid(child, &code, 0) == child);
    EXPECT(WIFSIGNALED(code) && WTERMSIG(code) == SIGBUS);
    mr_gguf_close(gguf);
    close(fd);
    unlink(path);
    mr_buf_fini(&b);
}

TEST(alignment_goes_to_its_number)
{
    struct mr_buf b = {0};
    struct mr_gguf *gguf = NULL;
    build_header(&b, 0, 1);
    build_key_u32(&b, "general.alignment", MR_GGUF_ALIGNMENT_MAX);
    build_pad(&b, MR_GGUF_ALIGNMENT_MAX);
    EXPECT_EQ(mr_gguf_parse(b.p, b.n, &gguf, NULL), MR_OK);
    mr_gguf_close(gguf);
    mr_buf_fini(&b);
}

TEST_MAIN(TEST_CASE(a_file_that_changes_while_it_is_open), TEST_CASE(a_page_that_cannot_be_read_ends_the_process),
          TEST_CASE(alignment_goes_to_its_number), TEST_CASE(reads_what_was_written), TEST_CASE(getters_name_the_key),
          TEST_CASE(every_truncation_is_refused), TEST_CASE(hostile_files_are_refused_by_name), TEST_CASE(limits_at_their_number),
          TEST_CASE(mutations_stay_inside), TEST_CASE(files))
