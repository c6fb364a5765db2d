/* Memory that goes all at once, and tables that grow. */
#ifndef QDQ_FILES_ARENA_H
#define QDQ_FILES_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qdq_arena { /* of zeros: empty */
    struct qdq_arena_block *blocks;
} qdq_arena;

void *qdq_arena_alloc(qdq_arena *arena, uint64_t bytes);                    /* zeroed, aligned to 16; NULL: no memory */
char *qdq_arena_text(qdq_arena *arena, const void *bytes, uint64_t length); /* with a NUL added */
void qdq_arena_free(qdq_arena *arena);

/* Grows *items (of `size` bytes each) so that one more than n fits; false: no memory. */
bool qdq_grow(void **items, uint64_t n, uint64_t *capacity, size_t size);

#endif
