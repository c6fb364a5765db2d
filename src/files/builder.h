/* Bytes put together piece by piece, of which the first failure is kept: open_memstream(), whose pieces get lost one by
 * one when memory is short, for all that is written whole or not at all. */
#ifndef QDQ_FILES_BUILDER_H
#define QDQ_FILES_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qdq_builder { /* of zeros: empty */
    char *bytes;             /* with a NUL behind them once something was added */
    uint64_t n, room;
    bool failed; /* no memory: some piece is missing, and nothing more is added */
} qdq_builder;

void qdq_builder_add(qdq_builder *builder, const void *bytes, uint64_t n);
void qdq_builder_text(qdq_builder *builder, const char *text);
void qdq_builder_character(qdq_builder *builder, char character);
__attribute__((format(printf, 2, 3))) void qdq_builder_format(qdq_builder *builder, const char *format, ...);
/* The text, to be freed, or NULL if some of it is missing; the builder is empty again. */
char *qdq_builder_take(qdq_builder *builder);
void qdq_builder_free(qdq_builder *builder);

#endif
