/* Sorted names: look-up and duplicates in O(log n), whatever names a file chooses. */
#ifndef QDQ_FILES_SORTED_H
#define QDQ_FILES_SORTED_H

#include <stdint.h>

typedef struct qdq_name {
    const char *text;
    uint64_t index;
} qdq_name;

/* Sorts by text, then index. */
void qdq_sorted_sort(qdq_name *names, uint64_t n);
/* The first of the sorted names with that text, or NULL. */
const qdq_name *qdq_sorted_find(const qdq_name *names, uint64_t n, const char *text);

#endif
