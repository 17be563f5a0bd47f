#include "base/sha256.h"
#include "tests/test.h"

static void digest_of(const char *text, size_t n, size_t piece, char hex[65])
{
    struct mr_sha256 sha;
    unsigned char digest[32];
    mr_sha256_init(&sha);
    for (size_t at = 0; at < n; at += piece)
        mr_sha256_add(&sha, text + at, n - at < piece ? n - at : piece);
    mr_sha256_finish(&sha, digest);
    mr_hex(digest, 32, hex);
}

/* FIPS 180-4 examples, and one million 'a'. */
TEST(published_vectors)
{
    static char million[1000000];
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    char hex[65];
    digest_of("", 0, 1, hex);
    EXPECT_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_of("abc", 3, 3, hex);
    EXPECT_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_of(two_blocks, 56, 7, hex);
    EXPECT_STR(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', sizeof million);
    digest_of(million, sizeof million, 1009, hex);
    EXPECT_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(every_length_round_a_block_is_cut_the_same)
{
    char text[200], whole[65], pieces[65];
    memset(text, 'x', sizeof text);
    for (size_t n = 50; n < 200; n++) {
        digest_of(text, n, n, whole);
        digest_of(text, n, 1, pieces);
        EXPECT_STR(pieces, whole);
    }
}

TEST_MAIN(TEST_CASE(published_vectors), TEST_CASE(every_length_round_a_block_is_cut_the_same))
