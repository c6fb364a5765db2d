/* The CPU's kernel tables. A tier is an instruction set: each fills one qdq_cpu_tile_kernels (tile.c) and, for each
 * format, one qdq_cpu_format_lanes (format_lanes.c) and one qdq_cpu_format_bytes (format_bytes.c). Those files are
 * compiled once a tier, with the tier's flags.
 *
 * Two layouts of a tile (1,024 floats):
 *   linear      as in memory: element e of lane l at 32 l + e
 *   transposed  lanes side by side: element e of lane l at 32 e + l, so that a vector holds one element of its lanes
 * Transposed tiles are aligned to 64 bytes.
 *
 * What a format's kernels are compiled from ends here: nothing of the library's interface, so that they need not be
 * made again when that changes. */
#ifndef QDQ_BACKENDS_CPU_FORMAT_KERNELS_H
#define QDQ_BACKENDS_CPU_FORMAT_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QDQ_TILE_LANES = 32, QDQ_CPU_TILE = 32 * QDQ_TILE_LANES };

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

#endif
