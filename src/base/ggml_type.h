/* ggml's types of tensors: the formats that ggml has, and the others. */
#ifndef QDQ_BASE_GGML_TYPE_H
#define QDQ_BASE_GGML_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From there on are the ids of formats that ggml does not have. */
enum { QDQ_GGML_TYPES_END = 1000 };

typedef struct qdq_ggml_type {
    const char *name; /* ggml's */
    uint32_t id;
    uint32_t block_elements, block_bytes;
} qdq_ggml_type;

/* NULL when there is no such type. Names in any case. */
const qdq_ggml_type *qdq_ggml_type_by_id(uint32_t id);
const qdq_ggml_type *qdq_ggml_type_by_name(const char *name, size_t length);

/* As ggml_is_quantized. */
static inline bool qdq_ggml_type_is_quantized(const qdq_ggml_type *type) { return type->block_elements > 1; }

#endif
