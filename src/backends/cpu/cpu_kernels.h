/* The CPU's kernel tables, a tier each. */
#ifndef QDQ_BACKENDS_CPU_CPU_KERNELS_H
#define QDQ_BACKENDS_CPU_CPU_KERNELS_H

#include "backends/backend.h"
#include "backends/cpu/format_kernels.h"

_Static_assert(QDQ_CPU_TILE == QDQ_TILE, "a tile is 32 lanes of 32 elements");

/* What does not depend on the format. */
typedef struct qdq_cpu_tile_kernels {
    /* n elements of a dtype, at any alignment, to floats. */
    void (*widen)(qdq_dtype dtype, const void *src, float *dst, size_t n);
    /* n floats to elements of a dtype, at any alignment. */
    void (*narrow)(qdq_dtype dtype, const float *src, void *dst, size_t n);
    /* A linear tile of n <= 1,024 floats, at any alignment, to a transposed one; what is missing becomes +0. */
    void (*transpose)(const float *src, size_t n, float *tile);
    /* And back: the first n floats. */
    void (*restore)(const float *tile, float *dst, size_t n);
    /* Copies a linear tile past the cache. dst is 16-byte aligned, tile 64-byte. */
    void (*stream)(const float *tile, float *dst);
    /* Makes streamed stores visible to other threads. */
    void (*fence)(void);
    /* x, q, and m or NULL are transposed tiles. */
    qdq_tile_error (*error)(const float *x, const float *q, const float *m);
    qdq_tile_sensitivity (*sensitivity)(const float *low, const float *high, const float *gradient);
    /* As the backend's. */
    void (*dialect)(qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b, uint32_t *out, size_t n);
} qdq_cpu_tile_kernels;

typedef struct qdq_cpu_format_kernels {
    const qdq_cpu_format_lanes *lanes;
    const qdq_cpu_format_bytes *bytes;
} qdq_cpu_format_kernels;

/* A format's lanes by the search that ggml had up to 2026-08. */
typedef struct qdq_cpu_earlier {
    const char *format; /* NULL: the end */
    const qdq_cpu_format_lanes *lanes;
} qdq_cpu_earlier;

typedef struct qdq_cpu_kernels {
    const char *name;
    const qdq_cpu_tile_kernels *tile;
    const qdq_cpu_format_kernels *formats; /* by qdq_format */
    const qdq_cpu_earlier *earlier;
} qdq_cpu_kernels;

/* The strongest tier that the mask allows and this processor has; never NULL. */
const qdq_cpu_kernels *qdq_cpu_best_tier(uint32_t mask);
/* The tiers this processor has, as a mask. */
uint32_t qdq_cpu_present_tiers(void);

#endif
