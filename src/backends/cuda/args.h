/* What the kernels are given, by value: the same structs for the C of the host and the C++ of the device. */
#ifndef QDQ_BACKENDS_CUDA_ARGS_H
#define QDQ_BACKENDS_CUDA_ARGS_H

#include <stdint.h>

#include "base/limits.h"

enum {
    QDQ_CUDA_WARPS = 4,      /* a thread block's; each takes one tile */
    QDQ_CUDA_GIVEN = 255,    /* in place of a format: its round trip lies in memory */
    QDQ_CUDA_UNCHANGED = 254 /* in place of a format: the weights themselves */
};

/* Elements at a device address; 0: none. With a pitch, element e is number first + e of rows of `columns`, a multiple
 * of 32, that begin at the address, one every `pitch`. */
typedef struct qdq_cuda_array {
    uint64_t address;
    uint32_t dtype; /* a qdq_dtype */
    uint32_t unused;
    uint64_t first, columns, pitch;
} qdq_cuda_array;

/* Importance of the columns: weight i belongs to the elements at column i of rows of `row`. first: the column of the
 * kernel's first element. sums: what qdq_row_squares made of the rows, from that element's on. */
typedef struct qdq_cuda_columns {
    uint64_t address, row, first, sums;
} qdq_cuda_columns;

/* Round trip, quantize, dequantize of one format. */
typedef struct qdq_cuda_format_args {
    qdq_cuda_array input;
    qdq_cuda_columns importance;
    qdq_cuda_array output;
    uint64_t count; /* elements */
} qdq_cuda_format_args;

/* Sums go to sums[f * tiles + tile]. */
typedef struct qdq_cuda_error_args {
    qdq_cuda_array input;
    qdq_cuda_columns importance;
    uint64_t given; /* floats */
    uint64_t count;
    uint64_t sums;
    uint32_t n_formats;
    uint8_t format[QDQ_MAX_FORMATS];
} qdq_cuda_error_args;

/* sums[r]: the squares of row r, added one after another, divided by the row's length. */
typedef struct qdq_cuda_rows_args {
    qdq_cuda_array input; /* of the first row */
    uint64_t row, rows, pitch;
    uint64_t sums;
} qdq_cuda_rows_args;

/* Sums go to sums[p * tiles + tile], p being the pair. */
typedef struct qdq_cuda_sensitivity_args {
    qdq_cuda_array input, gradient;
    uint64_t given[2]; /* low, high: floats */
    uint64_t count;
    uint64_t sums;
    uint32_t n_pairs;
    uint8_t format[QDQ_MAX_FORMATS][2]; /* low, high */
} qdq_cuda_sensitivity_args;

/* out[i]: operation number `operation` (dialect/operations.h) on a[i] and b[i]. */
typedef struct qdq_cuda_dialect_args {
    uint64_t a, b, out, count;
    uint32_t operation;
} qdq_cuda_dialect_args;

#endif
