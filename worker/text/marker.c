#include "worker/text/marker.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const struct mr_mark *x = a, *y = b;
    unsigned char first_x = (unsigned char)x->name.p[0], first_y = (unsigned char)y->name.p[0];
    if (first_x != first_y)
        return first_x < first_y ? -1 : 1;
    if (x->name.n != y->name.n)
        return x->name.n > y->name.n ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

bool mr_marker_init(struct mr_marker *marker, const struct mr_mark *marks, size_t n)
{
    *marker = (struct mr_marker){.marks = calloc(n ? n : 1, sizeof *marks), .n = n};
    if (!marker->marks)
        return false;
    if (n) {
        memcpy(marker->marks, marks, n * sizeof *marks);
        qsort(marker->marks, n, sizeof *marks, compare);
    }
    for (size_t byte = 0, i = 0; byte <= 256; byte++) {
        while (i < n && (unsigned char)marker->marks[i].name.p[0] < byte)
            i++;
        marker->start[byte] = i;
    }
    return true;
}

void mr_marker_fini(struct mr_marker *marker)
{
    free(marker->marks);
    *marker = (struct mr_marker){0};
}

const struct mr_mark *mr_marker_find(const struct mr_marker *marker, struct mr_str text, size_t from, size_t until, bool meant, size_t *at)
{
    for (size_t i = from; i < until && marker->n; i++) {
        unsigned char first = (unsigned char)text.p[i];
        for (size_t m = marker->start[first]; m < marker->start[first + 1]; m++) {
            const struct mr_mark *mark = &marker->marks[m];
            size_t end = mark->control ? (meant ? until : 0) : text.n;
            if (i + mark->name.n <= end && memcmp(text.p + i, mark->name.p, mark->name.n) == 0) {
                *at = i;
                return mark;
            }
        }
    }
    return NULL;
}
