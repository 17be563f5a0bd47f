#include "base/hash.h"
#include "tests/test.h"

/* Vectors of draft-eastlake-fnv, appendix C. */
TEST(fnv1a_vectors)
{
    EXPECT(mr_fnv1a64(MR_FNV1A64_START, "", 0) == UINT64_C(0xcbf29ce484222325));
    EXPECT(mr_fnv1a64(MR_FNV1A64_START, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    EXPECT(mr_fnv1a64(MR_FNV1A64_START, "foobar", 6) == UINT64_C(0x85944171f73967e8));
    EXPECT(mr_fnv1a64(mr_fnv1a64(MR_FNV1A64_START, "foo", 3), "bar", 3) == UINT64_C(0x85944171f73967e8));
}

/* The first outputs of splitmix64 from seed 0: mix64 of multiples of the golden gamma. */
TEST(mix64_vectors)
{
    EXPECT(mr_mix64(UINT64_C(0x9e3779b97f4a7c15)) == UINT64_C(0xe220a8397b1dcdaf));
    EXPECT(mr_mix64(UINT64_C(0x9e3779b97f4a7c15) * 2) == UINT64_C(0x6e789e6aa1b965f4));
}

TEST_MAIN(TEST_CASE(fnv1a_vectors), TEST_CASE(mix64_vectors))
