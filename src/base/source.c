#include "base/source.h"

#include "base/shared.h"
#include "dialect/scalar.h"
#include "every_source.h" /* the files of sources.def, which the build lists */
#include "base/source_asserts.h"

static const qdq_source sources[] = {
#define SOURCE(source, number, type, file_type, spelling)                                                              \
    {.name = #source,                                                                                                  \
     .dtype = (qdq_dtype)number,                                                                                       \
     .ggml_type = type,                                                                                                \
     .ggml_file_type = file_type,                                                                                      \
     .safetensors = #spelling,                                                                                         \
     .bytes = source##_BYTES,                                                                                          \
     .exponent = source##_EXPONENT},
#include "sources/sources.def"
#undef SOURCE
};
enum { N_SOURCES = sizeof sources / sizeof sources[0] };

QDQ_SHARED const qdq_source *qdq_source_get(qdq_dtype dtype) {
    for (int i = 0; i < N_SOURCES; i++)
        if (sources[i].dtype == dtype) return &sources[i];
    return NULL;
}

QDQ_SHARED const qdq_source *qdq_source_by_ggml_type(uint32_t ggml_type) {
    for (int i = 0; i < N_SOURCES; i++)
        if (sources[i].ggml_type == ggml_type) return &sources[i];
    return NULL;
}

const qdq_source *qdq_source_at(uint32_t index) { return index < N_SOURCES ? &sources[index] : NULL; }

QDQ_SHARED uint32_t qdq_source_bits(const qdq_source *source, const void *element) {
    const unsigned char *at = element;
    uint32_t bits = 0;
    for (uint32_t k = 0; k < source->bytes; k++) bits |= (uint32_t)at[k] << 8 * k;
    return bits;
}

/* Loops of one source, without branches, so that a compiler makes vectors of them. */
#define ELEMENT2(bytes) element_##bytes
#define ELEMENT(bytes)  ELEMENT2(bytes)
typedef uint8_t element_1;
typedef uint16_t element_2;
typedef uint32_t element_4;

#define SOURCE(source, ...)                                                                                            \
    static void load_##source(const unsigned char *restrict from, float *restrict to, uint64_t n) {                    \
        for (uint64_t i = 0; i < n; i++) {                                                                             \
            ELEMENT(source##_BYTES) bits;                                                                              \
            memcpy(&bits, from + sizeof bits * i, sizeof bits);                                                        \
            to[i] = source##_load(bits);                                                                               \
        }                                                                                                              \
    }                                                                                                                  \
    static void store_##source(const float *restrict from, unsigned char *restrict to, uint64_t n) {                   \
        for (uint64_t i = 0; i < n; i++) {                                                                             \
            ELEMENT(source##_BYTES) bits = (ELEMENT(source##_BYTES))source##_store(from[i]);                           \
            memcpy(to + sizeof bits * i, &bits, sizeof bits);                                                          \
        }                                                                                                              \
    }
#include "sources/sources.def"
#undef SOURCE

QDQ_SHARED void qdq_source_load(const qdq_source *source, const void *from, float *to, uint64_t n) {
    switch ((int)source->dtype) {
#define SOURCE(source, number, ...)                                                                                    \
    case number:                                                                                                       \
        load_##source(from, to, n);                                                                                    \
        break;
#include "sources/sources.def"
#undef SOURCE
    }
}

QDQ_SHARED void qdq_source_store(const qdq_source *source, const float *from, void *to, uint64_t n) {
    switch ((int)source->dtype) {
#define SOURCE(source, number, ...)                                                                                    \
    case number:                                                                                                       \
        store_##source(from, to, n);                                                                                   \
        break;
#include "sources/sources.def"
#undef SOURCE
    }
}
