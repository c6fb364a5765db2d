/* JSON read from front to back: no tree is built, so that memory is what the caller keeps, whatever a text claims.
 *
 *     qdq_json_reader r = {.bytes = bytes, .length = length};
 *     const char *key;
 *     if (qdq_json_enter(&r, '{'))
 *         while (qdq_json_key(&r, &key))
 *             if (strcmp(key, "shape") == 0 && qdq_json_enter(&r, '['))
 *                 while (qdq_json_item(&r)) if (!qdq_json_whole(&r, &value)) …
 *             else
 *                 qdq_json_skip(&r);
 *     qdq_json_end(&r);
 *     if (r.why != NULL) …
 *     qdq_json_free(&r);
 *
 * After the first failure every call returns false and nothing more is read. Each value that a key or an item announces
 * is to be consumed, by one of the calls that return true or by qdq_json_skip(). Texts are UTF-8 without NUL. */
#ifndef QDQ_FILES_JSON_READER_H
#define QDQ_FILES_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QDQ_JSON_DEPTH = 128, QDQ_JSON_KEY_LIMIT = 65535 };

typedef struct qdq_json_reader {
    const uint8_t *bytes;
    uint64_t length, at;
    const char *why; /* NULL: no failure; else what is wrong at `at` */
    bool memory;     /* the failure is that there was none */
    bool fresh;      /* an object or array was just entered: no comma comes first */
    unsigned depth;
    char open[QDQ_JSON_DEPTH]; /* what was entered: '{' or '[' */
    char *key, *text;          /* room for the last of each */
    size_t key_room, text_room;
} qdq_json_reader;

/* Is the next value one of that kind, '{' or '['? Then it is entered. */
bool qdq_json_enter(qdq_json_reader *reader, char kind);
/* The next member of the object entered last; *key lives up to the next call of this. false: it has ended. */
bool qdq_json_key(qdq_json_reader *reader, const char **key);
/* The next item of the array entered last. false: it has ended. */
bool qdq_json_item(qdq_json_reader *reader);
/* Is the next value a string? Then *text, of *length bytes, lives up to the next call of this. length may be NULL. */
bool qdq_json_string(qdq_json_reader *reader, const char **text, size_t *length);
/* Is the next value a whole number, 0 … 2^63 - 1, written without fraction and exponent? */
bool qdq_json_whole(qdq_json_reader *reader, uint64_t *value);
/* Is the next value a number? Then *value is the nearest double, infinite if it is too large. */
bool qdq_json_real(qdq_json_reader *reader, double *value);
/* Is it true or false? */
bool qdq_json_bool(qdq_json_reader *reader, bool *value);
/* Is it null? */
bool qdq_json_null(qdq_json_reader *reader);
/* The next value, whatever it is. */
void qdq_json_skip(qdq_json_reader *reader);
/* Nothing but white space is left. */
void qdq_json_end(qdq_json_reader *reader);
void qdq_json_free(qdq_json_reader *reader);

#endif
