/* The table of formats.def. */
#ifndef QDQ_BASE_FORMAT_H
#define QDQ_BASE_FORMAT_H

#include "qdq.h"

typedef struct qdq_format_row {
    const char *name;
    uint32_t ggml_type, block_elements, block_bytes, importance, ggml_file_type;
} qdq_format_row;

/* NULL when there is no such format. */
const qdq_format_row *qdq_format_get(qdq_format format);

#endif
