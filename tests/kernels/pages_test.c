#include "kernels/cpu/pages.h"

#include "tests/test.h"

#include <stdint.h>
#include <stdlib.h>

TEST(pieces_are_aligned_and_apart)
{
    struct mr_pages pages = {0};
    unsigned char *pieces[40];
    for (int i = 0; i < 40; i++) {
        pieces[i] = mr_pages_alloc(&pages, (size_t)(1000 * i + 1));
        REQUIRE(pieces[i]);
        EXPECT_EQ((uintptr_t)pieces[i] % 64, 0);
        memset(pieces[i], i, (size_t)(1000 * i + 1));
    }
    for (int i = 0; i < 40; i++)
        EXPECT(pieces[i][0] == i && pieces[i][1000 * i] == i);
    for (int i = 0; i < 40; i++)
        mr_pages_release(&pages, pieces[(i * 7) % 40]);
    EXPECT(pages.chunks == NULL);
    mr_pages_release(&pages, NULL);
}

TEST(a_piece_may_fill_a_chunk_or_pass_it)
{
    struct mr_pages pages = {0};
    char *small = mr_pages_alloc(&pages, 64), *fits = mr_pages_alloc(&pages, MR_PAGES_CHUNK - 64);
    REQUIRE(small && fits);
    EXPECT(fits == small + 64); /* to the last byte */
    char *next = mr_pages_alloc(&pages, 1), *larger = mr_pages_alloc(&pages, MR_PAGES_CHUNK + 1);
    REQUIRE(next && larger);
    larger[MR_PAGES_CHUNK] = 1;
    mr_pages_release(&pages, small);
    mr_pages_release(&pages, larger);
    mr_pages_release(&pages, fits);
    mr_pages_release(&pages, next);
    EXPECT(pages.chunks == NULL);
}

TEST(blocks_are_aligned_and_refused_when_there_is_no_memory)
{
    void *small = mr_pages_block(100), *large = mr_pages_block(MR_PAGE_BYTES);
    struct mr_pages pages = {0};
    EXPECT(small && (uintptr_t)small % 64 == 0);
    EXPECT(large && (uintptr_t)large % MR_PAGE_BYTES == 0);
    EXPECT(mr_pages_block(SIZE_MAX) == NULL);
    EXPECT(mr_pages_alloc(&pages, SIZE_MAX) == NULL);
    EXPECT(pages.chunks == NULL);
    free(small), free(large);
}

TEST_MAIN(TEST_CASE(pieces_are_aligned_and_apart), TEST_CASE(a_piece_may_fill_a_chunk_or_pass_it),
          TEST_CASE(blocks_are_aligned_and_refused_when_there_is_no_memory))
