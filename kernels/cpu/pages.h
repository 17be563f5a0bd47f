/* Memory on huge pages where the system has them (Linux, transparent): streaming weights through 4 KiB pages costs a fifth of the rate.
 * One thread. */
#ifndef MR_KERNELS_CPU_PAGES_H
#define MR_KERNELS_CPU_PAGES_H

#include <stddef.h>

enum {
    MR_PAGE_BYTES = 2 << 20,    /* a huge page */
    MR_PAGES_CHUNK = 32 << 20,  /* the least that an arena asks for at once; untouched pages of it cost nothing */
};

/* An arena for pieces smaller than a page: zeroed is one without memory. */
struct mr_pages {
    struct mr_pages_chunk *chunks; /* the newest first */
};

/* 64-byte aligned, not cleared; NULL: no memory. A chunk goes back once all its pieces are released. */
void *mr_pages_alloc(struct mr_pages *pages, size_t bytes);
void mr_pages_release(struct mr_pages *pages, void *memory); /* NULL is allowed */

/* One block of its own, 64-byte aligned, to be given to free(); on huge pages where it is as large as one. NULL: no memory. */
void *mr_pages_block(size_t bytes);

#endif
