/* The CPU's kernel tables. A tier is an instruction set: each fills one qdq_cpu_tile_kernels (tile.c) and, for each
 * format, one qdq_cpu_format_lanes (format_lanes.c) and one qdq_cpu_format_bytes (format_bytes.c). Those files are
 * compiled once a tier, with the tier's flags.
 *
 * Two layouts of a tile (1,024 floats):
 *   linear      as in memory: element e of lane l at 32 l + e
 *   transposed  lanes side by side: element e of lane l at 32 e + l, so that a vector holds one element of its lanes
 * Transposed tiles are aligned to 64 bytes. */
#ifndef QDQ_BACKENDS_CPU_CPU_KERNELS_H
#define QDQ_BACKENDS_CPU_CPU_KERNELS_H

#include "backends/backend.h"

enum { QDQ_TILE_LANES = 32 };

/* What does not depend on the format. */
typedef struct qdq_cpu_tile_kernels {
    /* n elements of a dtype, at any alignment, to floats. */
    void (*widen)(qdq_dtype dtype, const void *src, float *dst, size_t n);
    /* n floats to f16 or bf16, at any alignment. */
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

typedef struct qdq_cpu_format_lanes {
    /* The round trip of a transposed tile. In and out may be the same. */
    void (*roundtrip)(const float *x, float *y);
    /* The round trip of linear tiles at any alignment. In and out may be the same. */
    void (*roundtrip_linear)(const float *x, float *y, size_t tiles);
    /* The same past the cache, for arrays far over it; y is 64-byte aligned. Ends without a fence. */
    void (*roundtrip_past)(const float *x, float *y, size_t tiles);
    /* The codes of a transposed tile, as floats, transposed, and the heads: word k of lane l at 32 k + l. */
    void (*encode)(const float *x, float *codes, uint32_t *heads);
    /* The same with the elements' importance, a transposed tile, and a row sum a lane; NULL where importance changes
     * nothing, as the plain ones are where it is needed. */
    void (*weighted_roundtrip)(const float *x, const float *importance, const float *row_sums, float *y);
    void (*weighted_encode)(const float *x, const float *importance, const float *row_sums, float *codes,
                            uint32_t *heads);
    /* The values of n blocks from their codes, linear, to floats at any alignment. */
    void (*decode)(const uint8_t *blocks, const int8_t *codes, float *y, size_t n);
} qdq_cpu_format_lanes;

typedef struct qdq_cpu_format_bytes {
    /* n blocks of one tile from its linear codes and its heads. */
    void (*pack)(const uint8_t *codes, const uint32_t *heads, uint8_t *blocks, size_t n);
    /* The codes of n blocks, any bytes; linear. */
    void (*codes)(const uint8_t *blocks, int8_t *codes, size_t n);
} qdq_cpu_format_bytes;

typedef struct qdq_cpu_format_kernels {
    const qdq_cpu_format_lanes *lanes;
    const qdq_cpu_format_bytes *bytes;
} qdq_cpu_format_kernels;

typedef struct qdq_cpu_kernels {
    const char *name;
    const qdq_cpu_tile_kernels *tile;
    const qdq_cpu_format_kernels *formats; /* by qdq_format */
} qdq_cpu_kernels;

/* The strongest tier that the mask allows and this processor has; never NULL. */
const qdq_cpu_kernels *qdq_cpu_best_tier(uint32_t mask);
/* The tiers this processor has, as a mask. */
uint32_t qdq_cpu_present_tiers(void);

#endif
