/* JSON written from front to back. What fails is the builder's memory, which it remembers.
 *
 *     qdq_json_writer w = {.out = &builder, .indent = 2};
 *     qdq_json_put_open(&w, NULL, '{');
 *     qdq_json_put_text(&w, "name", name);
 *     qdq_json_put_open(&w, "shape", '[');
 *     qdq_json_put_whole(&w, NULL, 32);
 *     qdq_json_put_close(&w);
 *     qdq_json_put_close(&w);
 *
 * key: of a member of an object; NULL: of an array, or the text's one value. */
#ifndef QDQ_FILES_JSON_WRITER_H
#define QDQ_FILES_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "builder.h"

enum { QDQ_JSON_NESTING = 16 };

typedef struct qdq_json_writer {
    qdq_builder *out;
    unsigned indent; /* blanks a level, each value on a line of its own; 0: no blank anywhere */
    unsigned depth;
    bool filled; /* the object or array entered last has something in it */
    char close[QDQ_JSON_NESTING];
} qdq_json_writer;

/* open: '{' or '['; not deeper than QDQ_JSON_NESTING. */
void qdq_json_put_open(qdq_json_writer *writer, const char *key, char open);
void qdq_json_put_close(qdq_json_writer *writer);
/* NULL is null. What is no UTF-8, or no text of one line, is shown as in messages. */
void qdq_json_put_text(qdq_json_writer *writer, const char *key, const char *text);
/* length bytes of UTF-8, in which a NUL is a character. */
void qdq_json_put_bytes(qdq_json_writer *writer, const char *key, const char *text, uint64_t length);
void qdq_json_put_whole(qdq_json_writer *writer, const char *key, uint64_t value);
/* In digits that read back as the same; what is not finite, which JSON lacks, is null. */
void qdq_json_put_real(qdq_json_writer *writer, const char *key, double value);
void qdq_json_put_bool(qdq_json_writer *writer, const char *key, bool value);

#endif
