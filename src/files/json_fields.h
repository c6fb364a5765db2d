/* Objects whose members are known, read by a table of them. */
#ifndef QDQ_FILES_JSON_FIELDS_H
#define QDQ_FILES_JSON_FIELDS_H

#include "arena.h"
#include "json_reader.h"
#include "qdq.h"

typedef enum qdq_json_kind {
    QDQ_JSON_TEXT,               /* const char **, in the arena */
    QDQ_JSON_OPTIONAL,           /* the same; null leaves it NULL, and it may be missing */
    QDQ_JSON_WHOLE,              /* uint64_t * */
    QDQ_JSON_OPTIONAL_WHOLE,     /* the same; null leaves it as it is, and it may be missing */
    QDQ_JSON_MAGNITUDE,          /* double *, finite and not negative */
    QDQ_JSON_OPTIONAL_MAGNITUDE, /* the same; null leaves it as it is, and it may be missing */
    QDQ_JSON_BOOL,               /* bool *; it may be missing */
} qdq_json_kind;

typedef struct qdq_json_field {
    const char *key;
    qdq_json_kind kind;
    void *to;
} qdq_json_field;

/* Reads the member that qdq_json_key() has just announced into the field of that key, of n <= 64, and passes over one
 * that is no field's. *seen: 0 before the first; a bit a field. false: it is of another kind, was there before, or the
 * reader has failed. */
bool qdq_json_field_read(qdq_json_reader *reader, qdq_arena *arena, const char *key, const qdq_json_field *fields,
                         size_t n, uint64_t *seen);
/* Is there every field that may not be missing? */
bool qdq_json_fields_all(const qdq_json_field *fields, size_t n, uint64_t seen);
/* QDQ_BAD_DATA: the text is no JSON, or no object whose "schema" is that one. what: it should be, "plan". */
qdq_status qdq_json_check_schema(const char *path, const char *text, size_t length, const char *schema,
                                 const char *what);
/* What a reader that has failed says of the file, as QDQ_BAD_DATA or QDQ_OUT_OF_MEMORY. */
qdq_status qdq_json_failure(const char *path, const qdq_json_reader *reader);

#endif
