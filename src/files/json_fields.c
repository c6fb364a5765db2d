#include "json_fields.h"

#include <math.h>
#include <string.h>

#include "internal.h"

static bool read_text(qdq_json_reader *r, qdq_arena *arena, const char **text) {
    const char *read;
    size_t length;
    if (!qdq_json_string(r, &read, &length)) return false;
    *text = qdq_arena_text(arena, read, length);
    r->memory |= *text == NULL;
    if (*text == NULL) r->why = "out of memory";
    return *text != NULL;
}

static bool read_value(qdq_json_reader *r, qdq_arena *arena, const qdq_json_field *field) {
    switch (field->kind) {
    case QDQ_JSON_OPTIONAL:
        if (qdq_json_null(r)) return true;
        /* fall through */
    case QDQ_JSON_TEXT: return read_text(r, arena, field->to);
    case QDQ_JSON_OPTIONAL_WHOLE:
        if (qdq_json_null(r)) return true;
        /* fall through */
    case QDQ_JSON_WHOLE: return qdq_json_whole(r, field->to);
    case QDQ_JSON_BOOL: return qdq_json_bool(r, field->to);
    case QDQ_JSON_OPTIONAL_MAGNITUDE:
        if (qdq_json_null(r)) return true;
        break;
    case QDQ_JSON_MAGNITUDE: break;
    }
    double *magnitude = field->to;
    return qdq_json_real(r, magnitude) && isfinite(*magnitude) && *magnitude >= 0;
}

bool qdq_json_field_read(qdq_json_reader *r, qdq_arena *arena, const char *key, const qdq_json_field *fields, size_t n,
                         uint64_t *seen) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(fields[i].key, key) != 0) continue;
        bool again = (*seen >> i & 1) != 0;
        *seen |= UINT64_C(1) << i;
        return !again && read_value(r, arena, &fields[i]);
    }
    qdq_json_skip(r);
    return r->why == NULL;
}

static bool may_be_missing(qdq_json_kind kind) {
    return kind == QDQ_JSON_OPTIONAL || kind == QDQ_JSON_OPTIONAL_WHOLE || kind == QDQ_JSON_OPTIONAL_MAGNITUDE ||
           kind == QDQ_JSON_BOOL;
}

bool qdq_json_fields_all(const qdq_json_field *fields, size_t n, uint64_t seen) {
    for (size_t i = 0; i < n; i++)
        if ((seen >> i & 1) == 0 && !may_be_missing(fields[i].kind)) return false;
    return true;
}

qdq_status qdq_json_failure(const char *path, const qdq_json_reader *r) {
    if (r->memory) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for its JSON", SHOWN(path));
    return qdq_fail(QDQ_BAD_DATA, "%s: not JSON: byte %llu: %s", SHOWN(path), (unsigned long long)r->at, r->why);
}

qdq_status qdq_json_check_schema(const char *path, const char *text, size_t length, const char *schema,
                                 const char *what) {
    qdq_json_reader r = {.bytes = (const uint8_t *)text, .length = length};
    const char *key, *value;
    bool has = false, found = !qdq_json_enter(&r, '{');
    while (!found && qdq_json_key(&r, &key)) {
        found = strcmp(key, "schema") == 0;
        if (found)
            has = qdq_json_string(&r, &value, NULL) && strcmp(value, schema) == 0;
        else
            qdq_json_skip(&r);
    }
    qdq_status status = QDQ_OK;
    if (r.why != NULL)
        status = qdq_json_failure(path, &r);
    else if (!has)
        status = qdq_fail(QDQ_BAD_DATA, "%s: no %s: its \"schema\" is not \"%s\"", SHOWN(path), what, schema);
    qdq_json_free(&r);
    return status;
}
