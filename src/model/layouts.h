/* How checkpoints lay codes out whose scales are in other tensors: what the decoders go by. One struct a decoder; its
 * pointers lead into the mapped files, and all that they reach was checked to be there. */
#ifndef QDQ_MODEL_LAYOUTS_H
#define QDQ_MODEL_LAYOUTS_H

#include "model/decoding.h"
#include "model/scales.h"

typedef struct qdq_byte_codes {
    qdq_scales scales;
    bool integers;                      /* I8; else E4M3 */
    const int8_t *zeros;                /* of integers, which are less by them: one a scale; NULL: 0 */
    uint64_t rows;                      /* of a matrix */
    uint64_t block_rows, block_columns; /* codes that share a scale */
    uint64_t scale_rows, scale_columns; /* of a matrix */
} qdq_byte_codes;

/* E2M1, two codes a byte, the first in the low half; a scale for each group of a row's codes, and maybe one more for
 * each matrix, by which the scale is multiplied, or divided, first. */
typedef struct qdq_fp4_codes {
    qdq_scales scales;
    uint32_t group;       /* 16 or 32 */
    uint64_t rows;        /* of a matrix */
    const uint8_t *outer; /* f32, one a matrix or one for all; NULL: there is none */
    bool outer_is_one, outer_divides;
} qdq_fp4_codes;

/* Whole numbers of 1 to 8 bits (packed_words.h); each row begins a word. The value is (code - zero) x scale of its
 * group. */
typedef struct qdq_packed_codes {
    qdq_scales scales;
    uint32_t bits;
    uint64_t words;          /* a row */
    uint64_t groups, group;  /* groups a row, or 1 and the row */
    bool one_scale;          /* for all rows */
    const uint8_t *zeros;    /* packed likewise, but down the rows: words of [rows, groups]; NULL: 2^(bits - 1) */
    const uint8_t *group_of; /* i32, one a column; NULL: column / group */
} qdq_packed_codes;

/* The matrix stands as columns: words of GPTQ's have codes of one row of it, [columns x bits / 32, rows], of AWQ's, in
 * an order of their own, of one column, [columns, rows x bits / 32]; zeros are [groups, rows x bits / 32], scales
 * [groups, rows]. */
typedef struct qdq_column_codes {
    qdq_scales scales;
    bool awq;
    uint32_t bits;
    int32_t zero_lacks; /* what zeros are less than they mean: 1 of GPTQ's first version */
    uint64_t rows, groups, group;
    const uint8_t *zeros;
    const uint8_t *group_of; /* i32, one a column; NULL: column / group */
} qdq_column_codes;

void qdq_decode_bytes(const qdq_decoding *decoding, uint64_t first, uint32_t n, float *values);
void qdq_decode_fp4(const qdq_decoding *decoding, uint64_t first, uint32_t n, float *values);
void qdq_decode_columns(const qdq_decoding *decoding, uint64_t first, uint32_t n, float *values);
void qdq_decode_packed(const qdq_decoding *decoding, uint64_t first, uint32_t n, float *values);

#endif
