/* An element is NaN or infinite when all bits of its source's exponent are set. */
#include "model/finite.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/source.h"

enum { PIECE = 1 << 16, STEP = 1024 };

typedef struct scan {
    const unsigned char *elements;
    const qdq_source *source;
    uint64_t n;
    _Atomic uint64_t first;
} scan;

/* Vectors of any alignment: 16 bytes are what every machine has. */
typedef uint32_t words __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint16_t halves __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint8_t bytes __attribute__((vector_size(16), aligned(1), may_alias));

/* Whether any of STEP elements has all bits of `exponent` set. Four chains of ORs keep the loads busy. */
#define ANY(vector, element, name)                                                                                     \
    static bool name(const unsigned char *at, element exponent) {                                                      \
        enum { N = sizeof(vector) / sizeof(element) };                                                                 \
        const vector *v = (const vector *)(const void *)at;                                                            \
        vector any[4] = {{0}}, e = exponent - (vector){0};                                                             \
        for (int i = 0; i < STEP / N; i += 4)                                                                          \
            for (int k = 0; k < 4; k++) any[k] |= (vector)((v[i + k] & e) == e);                                       \
        any[0] |= any[1] | any[2] | any[3];                                                                            \
        element all = 0;                                                                                               \
        for (int k = 0; k < N; k++) all |= any[0][k];                                                                  \
        return all != 0;                                                                                               \
    }
ANY(words, uint32_t, any32)
ANY(halves, uint16_t, any16)
ANY(bytes, uint8_t, any8)

static bool any_of_step(const qdq_source *source, const unsigned char *at) {
    if (source->bytes == 4) return any32(at, source->exponent);
    return source->bytes == 2 ? any16(at, (uint16_t)source->exponent) : any8(at, (uint8_t)source->exponent);
}

static bool is_finite(const qdq_source *source, const unsigned char *at) {
    return (qdq_source_bits(source, at) & source->exponent) != source->exponent;
}

static void scan_piece(void *context, uint64_t piece) {
    scan *s = context;
    size_t size = s->source->bytes;
    uint64_t first = piece * PIECE, end = s->n - first < PIECE ? s->n : first + PIECE;
    for (uint64_t i = first; i < end;) {
        const unsigned char *at = s->elements + i * size;
        if (end - i >= STEP && !any_of_step(s->source, at)) {
            i += STEP;
            continue;
        }
        if (!is_finite(s->source, at)) {
            uint64_t lowest = atomic_load(&s->first);
            while (i < lowest && !atomic_compare_exchange_weak(&s->first, &lowest, i)) continue;
            return;
        }
        i++;
    }
}

uint64_t qdq_first_non_finite(qdq_pool *pool, qdq_dtype dtype, const void *elements, uint64_t n) {
    scan s = {.elements = elements, .source = qdq_source_get(dtype), .n = n};
    atomic_init(&s.first, n);
    uint64_t pieces = n / PIECE + (n % PIECE != 0);
    if (pool != NULL)
        qdq_pool_run(pool, pieces, scan_piece, &s);
    else
        for (uint64_t p = 0; p < pieces; p++) scan_piece(&s, p);
    return atomic_load(&s.first);
}
