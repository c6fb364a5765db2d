/* What weights may be stored in, as sources.def and the sources' files say. */
#ifndef QDQ_BASE_SOURCE_H
#define QDQ_BASE_SOURCE_H

#include "qdq.h"

enum { QDQ_MAX_DTYPES = 16 }; /* their numbers are below */

typedef struct qdq_source {
    const char *name;
    qdq_dtype dtype;
    uint32_t ggml_type, ggml_file_type;
    const char *safetensors;
    uint32_t bytes;    /* an element's */
    uint32_t exponent; /* an element with all of these bits set is infinite or a NaN */
} qdq_source;

/* NULL: elements of that dtype are no weights. */
const qdq_source *qdq_source_get(qdq_dtype dtype);
/* NULL: no source has that type. */
const qdq_source *qdq_source_by_ggml_type(uint32_t ggml_type);
/* Of number index, from 0; NULL: there are no more. */
const qdq_source *qdq_source_at(uint32_t index);

/* The bits of an element, at any address. */
uint32_t qdq_source_bits(const qdq_source *source, const void *element);

/* n elements, at any alignment, to floats; and floats to the nearest elements, ties to even. */
void qdq_source_load(const qdq_source *source, const void *from, float *to, uint64_t n);
void qdq_source_store(const qdq_source *source, const float *from, void *to, uint64_t n);

#endif
