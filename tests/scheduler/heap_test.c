#include "scheduler/heap.h"
#include "tests/test.h"

#include <stdlib.h>

TEST(keeps_order_through_random_moves)
{
    enum { N = 50 };
    struct heap heap;
    unsigned seed = 3;
    REQUIRE(heap_open(&heap, N));
    for (int i = 0; i < 20000; i++) {
        int32_t id = rand_r(&seed) % N;
        if (rand_r(&seed) % 3)
            heap_set(&heap, id, rand_r(&seed) % 40);
        else
            heap_remove(&heap, id);
        heap_check(&heap);
    }
    for (int64_t last = -1; heap.n;) {
        int32_t top = heap.items[0];
        EXPECT(heap.keys[top] >= last);
        last = heap.keys[top];
        heap_remove(&heap, top);
        EXPECT(!heap_has(&heap, top));
    }
    heap_close(&heap);
}

TEST_MAIN(TEST_CASE(keeps_order_through_random_moves))
