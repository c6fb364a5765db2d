#include "base/format.h"

#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/ggml_type.h"
#include "dialect/scalar.h"
#include "dialect/bytes.h"
#include "dialect/peers.h"
#include "base/shared.h"
#include "every_format.h" /* the files of formats.def, which the build lists */
#include "base/fact_asserts.h"
#include "every_source.h"

/* What a format's file says is said there alone. A fact that is missing is an error below, by its name. */
#define FORMAT(format, type, file_type)                                                                                \
    {.name = #format,                                                                                                  \
     .ggml_type = type,                                                                                                \
     .ggml_file_type = file_type,                                                                                      \
     .lanes = format##_LANES,                                                                                          \
     .block_elements = 32 * format##_LANES,                                                                            \
     .block_bytes = format##_BYTES,                                                                                    \
     .heads = format##_HEADS,                                                                                          \
     .shared = format##_SHARED,                                                                                        \
     .importance = format##_IMPORTANCE,                                                                                \
     .row_sums = format##_WEIGHTED_SUM == SUM_ROW,                                                                     \
     .light = format##_LIGHT,                                                                                          \
     .unrolled = format##_UNROLLED},
#define SOURCE(source, number, type, file_type, spelling)                                                              \
    {.name = #source,                                                                                                  \
     .ggml_type = type,                                                                                                \
     .ggml_file_type = file_type,                                                                                      \
     .block_elements = 1,                                                                                              \
     .block_bytes = source##_BYTES,                                                                                    \
     .is_source = true,                                                                                                \
     .dtype = (qdq_dtype)number},
static const qdq_format_row rows[] = {
#include "formats/formats.def"
#include "sources/sources.def"
};
#undef FORMAT
#undef SOURCE

#define FORMAT(...) +1
enum {
    N_ROWS = sizeof rows / sizeof rows[0],
    N_BLOCK_FORMATS = 0
#include "formats/formats.def"
};
#undef FORMAT
_Static_assert(N_ROWS <= QDQ_MAX_FORMATS, "formats.def, sources.def: more formats than QDQ_MAX_FORMATS");

/* ggml's ids as of version 0.9 (2026-08). */
static const qdq_ggml_type ggml_types[] = {
#define FORMAT(format, type, file_type) {#format, type, 32 * format##_LANES, format##_BYTES},
#include "formats/formats.def"
#undef FORMAT
#define SOURCE(source, number, type, file_type, name) {#source, type, 1, source##_BYTES},
#include "sources/sources.def"
#undef SOURCE
    {"i8", 24, 1, 1},  {"i16", 25, 1, 2},   {"i32", 26, 1, 4},      {"i64", 27, 1, 8},
    {"f64", 28, 1, 8}, {"q8_1", 9, 32, 36}, {"q8_K", 15, 256, 292},
};
enum { N_GGML_TYPES = sizeof ggml_types / sizeof ggml_types[0] };

QDQ_SHARED const qdq_ggml_type *qdq_ggml_type_by_id(uint32_t id) {
    for (int i = 0; i < N_GGML_TYPES; i++)
        if (ggml_types[i].id == id) return &ggml_types[i];
    return NULL;
}

QDQ_SHARED const qdq_ggml_type *qdq_ggml_type_by_name(const char *name, size_t length) {
    for (int i = 0; i < N_GGML_TYPES; i++)
        if (strlen(ggml_types[i].name) == length && strncasecmp(ggml_types[i].name, name, length) == 0)
            return &ggml_types[i];
    return NULL;
}

int32_t qdq_format_count(void) { return N_ROWS; }

qdq_format qdq_block_format_count(void) { return N_BLOCK_FORMATS; }

const qdq_format_row *qdq_format_get(qdq_format format) {
    return format >= 0 && format < qdq_format_count() ? &rows[format] : NULL;
}

qdq_format qdq_format_by_name(const char *name) {
    for (qdq_format f = 0; name && f < qdq_format_count(); f++)
        if (strcasecmp(rows[f].name, name) == 0) return f;
    return QDQ_FORMAT_NONE;
}

qdq_format qdq_format_by_ggml_type(uint32_t ggml_type) {
    for (qdq_format f = 0; f < qdq_format_count(); f++)
        if (rows[f].ggml_type == ggml_type) return f;
    return QDQ_FORMAT_NONE;
}

qdq_status qdq_format_describe(qdq_format format, qdq_format_info *info) {
    const qdq_format_row *row = qdq_format_get(format);
    if (!row) return qdq_fail(QDQ_INVALID_ARGUMENT, "no format has the number %d", (int)format);
    if (!info || info->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_format_describe: info->size is not set");
    qdq_format_info full = {.size = info->size,
                            .name = row->name,
                            .ggml_type = row->ggml_type,
                            .block_elements = row->block_elements,
                            .block_bytes = row->block_bytes,
                            .importance = row->importance,
                            .ggml_file_type = row->ggml_file_type};
    memcpy(info, &full, info->size < sizeof full ? info->size : sizeof full);
    return QDQ_OK;
}

uint64_t qdq_format_bytes(qdq_format format, uint64_t elements) {
    const qdq_format_row *row = qdq_format_get(format);
    uint64_t bytes;
    if (!row || elements % row->block_elements != 0) return 0;
    return __builtin_mul_overflow(elements / row->block_elements, row->block_bytes, &bytes) ? 0 : bytes;
}
