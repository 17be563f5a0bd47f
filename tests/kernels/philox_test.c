#include "kernels/philox.h"

#include "tests/test.h"

/* The known answers that come with the method's own library (Random123, kat_vectors). */
TEST(known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], wanted[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct mr_philox counter;
        memcpy(counter.word, cases[c].counter, sizeof counter.word);
        struct mr_philox got = mr_philox4x32((uint64_t)cases[c].key[1] << 32 | cases[c].key[0], counter);
        for (int i = 0; i < 4; i++)
            EXPECT_EQ(got.word[i], cases[c].wanted[i]);
    }
}

TEST_MAIN(TEST_CASE(known_answers))
