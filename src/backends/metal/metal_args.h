/* What the kernels are given: the same struct for the C of the host and the Metal of the device. */
#ifndef QDQ_BACKENDS_METAL_METAL_ARGS_H
#define QDQ_BACKENDS_METAL_METAL_ARGS_H

#ifndef __METAL_VERSION__
#include <stdint.h>
#endif

#include "base/limits.h"

enum { QDQ_METAL_SIMDGROUPS = 4 }; /* a threadgroup's, at most; each takes one tile */

/* In place of a format: */
#define QDQ_METAL_GIVEN     255 /* its round trip lies in memory */
#define QDQ_METAL_UNCHANGED 254 /* the weights themselves */

/* The kernels' buffers, by index. */
#define QDQ_METAL_WORK       0
#define QDQ_METAL_INPUT      1
#define QDQ_METAL_OUTPUT     2
#define QDQ_METAL_GRADIENT   3
#define QDQ_METAL_LOW        4 /* round trips, floats */
#define QDQ_METAL_HIGH       5
#define QDQ_METAL_IMPORTANCE 6
#define QDQ_METAL_ROW_SUMS   7
#define QDQ_METAL_WORDS      8
#define QDQ_METAL_BUFFERS    9

/* Elements from byte `at` of a buffer on. With a pitch, element e is number first + e of rows of `columns`, a multiple
 * of 32, that begin at that byte, one every `pitch`. */
typedef struct qdq_metal_array {
    uint64_t at, first, columns, pitch;
    uint32_t dtype; /* a qdq_dtype */
    uint32_t unused;
} qdq_metal_array;

typedef struct qdq_metal_work {
    qdq_metal_array input, output, gradient; /* output of sums: they go to number f * tiles + tile from `at` on */
    uint64_t count;                          /* elements; of row_squares_kernel: rows */
    /* Weight i of the importance, which begins at a byte, belongs to the elements at column i of rows of `row`. column:
     * that of the first element. row_sums: where its row's sum is. */
    uint64_t importance_at, row, column, row_sums;
    uint32_t simdgroups; /* a threadgroup's */
    uint32_t n_formats;
    uint32_t operation; /* of dialect_kernel: a qdq_dialect_operation */
    uint32_t unused;
    uint8_t format[2][QDQ_MAX_FORMATS]; /* whose errors; or low and high */
} qdq_metal_work;

#endif
