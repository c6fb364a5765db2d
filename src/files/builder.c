#include "builder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for n bytes more and a NUL. */
static bool reserve(qdq_builder *b, uint64_t n) {
    uint64_t end, room = b->room;
    b->failed |= __builtin_add_overflow(b->n, n, &end) || end >= SIZE_MAX / 2;
    if (b->failed) return false;
    while (room <= end) room = room == 0 ? 4096 : room * 2;
    if (room == b->room) return true;
    char *grown = realloc(b->bytes, (size_t)room);
    b->failed = grown == NULL;
    if (b->failed) return false;
    b->bytes = grown;
    b->room = room;
    return true;
}

void qdq_builder_add(qdq_builder *b, const void *bytes, uint64_t n) {
    if (!reserve(b, n)) return;
    if (n > 0) memcpy(b->bytes + b->n, bytes, (size_t)n);
    b->n += n;
    b->bytes[b->n] = '\0';
}

void qdq_builder_text(qdq_builder *b, const char *text) { qdq_builder_add(b, text, strlen(text)); }
void qdq_builder_character(qdq_builder *b, char character) { qdq_builder_add(b, &character, 1); }

void qdq_builder_format(qdq_builder *b, const char *format, ...) {
    if (!reserve(b, 0)) return;
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int n = vsnprintf(b->bytes + b->n, (size_t)(b->room - b->n), format, arguments);
    if (n < 0) b->failed = true; /* printf itself had no memory */
    if (n >= 0 && (uint64_t)n >= b->room - b->n && reserve(b, (uint64_t)n))
        b->failed = vsnprintf(b->bytes + b->n, (size_t)(b->room - b->n), format, again) != n;
    if (!b->failed) b->n += (uint64_t)n;
    va_end(again);
    va_end(arguments);
}

char *qdq_builder_take(qdq_builder *b) {
    qdq_builder_add(b, "", 0); /* so that an empty text is one */
    char *text = b->failed ? NULL : b->bytes;
    if (b->failed) free(b->bytes);
    *b = (qdq_builder){0};
    return text;
}

void qdq_builder_free(qdq_builder *b) {
    free(b->bytes);
    *b = (qdq_builder){0};
}
