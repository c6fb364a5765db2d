#include "base/source.h"

const char *qdq_dtype_name(qdq_dtype dtype) {
    const qdq_source *source = qdq_source_get(dtype);
    return source ? source->name : dtype == QDQ_U8 ? "u8" : "?";
}

size_t qdq_dtype_size(qdq_dtype dtype) {
    const qdq_source *source = qdq_source_get(dtype);
    return source ? source->bytes : dtype == QDQ_U8;
}
