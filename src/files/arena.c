/* Small allocations that live as long as the model they belong to. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct qdq_arena_block {
    struct qdq_arena_block *next;
    size_t used, size;
    _Alignas(16) uint8_t bytes[];
} block;

void *qdq_arena_alloc(qdq_arena *arena, uint64_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t need = ((size_t)bytes + 15) & ~(size_t)15;
    block *b = arena->blocks;
    if (b == NULL || b->size - b->used < need) {
        size_t size = need > 4096 ? need : 65536;
        b = calloc(1, sizeof *b + size);
        if (b == NULL) return NULL;
        b->size = size;
        b->next = arena->blocks;
        arena->blocks = b;
    }
    void *result = b->bytes + b->used;
    b->used += need;
    return result;
}

char *qdq_arena_text(qdq_arena *arena, const void *bytes, uint64_t length) {
    char *text = length < SIZE_MAX / 2 ? qdq_arena_alloc(arena, length + 1) : NULL;
    if (text != NULL && length > 0) memcpy(text, bytes, (size_t)length);
    return text;
}

void qdq_arena_free(qdq_arena *arena) {
    while (arena->blocks != NULL) {
        block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

bool qdq_grow(void **items, uint64_t n, uint64_t *capacity, size_t size) {
    if (n < *capacity) return true;
    uint64_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    if (wanted > SIZE_MAX / size) return false;
    void *grown = realloc(*items, (size_t)wanted * size);
    if (grown == NULL) return false;
    *items = grown;
    *capacity = wanted;
    return true;
}
