#include "base/format.h"

#include <string.h>
#include <strings.h>

#include "base/error.h"

static const qdq_format_row rows[] = {
#define FORMAT(name, type, block, bytes, importance, file_type) {#name, type, block, bytes, importance, file_type},
#include "formats/formats.def"
#undef FORMAT
};

int32_t qdq_format_count(void) { return (int32_t)(sizeof rows / sizeof rows[0]); }

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
