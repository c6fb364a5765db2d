/* Names sorted for look-up: no hash that a hostile file could aim at. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    const qdq_name *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

void qdq_sorted_sort(qdq_name *names, uint64_t n) {
    if (n > 1) qsort(names, (size_t)n, sizeof *names, compare);
}

const qdq_name *qdq_sorted_find(const qdq_name *names, uint64_t n, const char *text) {
    uint64_t low = 0, high = n;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (strcmp(names[middle].text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && strcmp(names[low].text, text) == 0 ? &names[low] : NULL;
}
