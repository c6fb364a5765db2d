/* Rows that a conversion to GGUF moves. Llama's rotary embedding turns pairs of rows of a head: (i, i + half) in
 * Hugging Face's files, (2i, 2i + 1) in GGUF, so the conversion of llama, mistral and mixtral interleaves the halves of
 * each head's rows of q and k (weights and biases; k has n_head_kv heads). Shapes stay the same: nothing but the values
 * can tell. Never for qwen, gemma, phi3 and bert.
 *
 * Whole rows move and blocks lie inside a row, so quantization commutes with it; a gradient in the other order does
 * not fit, though. */
#ifndef QDQ_MODEL_ROW_ORDER_H
#define QDQ_MODEL_ROW_ORDER_H

#include "model/gguf_names.h"

/* The Hugging Face row that stands in a GGUF row, and back. rows: a positive multiple of 2 x heads; row < rows. */
uint64_t qdq_row_in_hf(uint64_t rows, uint64_t heads, uint64_t gguf_row);
uint64_t qdq_row_in_gguf(uint64_t rows, uint64_t heads, uint64_t hf_row);
/* How many heads that permutation has for a tensor of these rows, checked. QDQ_BAD_DATA: rows is no multiple of
 * 2 x heads; name: for the message. */
qdq_status qdq_permute_heads(qdq_permute permute, const char *name, uint64_t rows, uint64_t n_head, uint64_t n_head_kv,
                             uint64_t *heads);

typedef enum qdq_rows_order {
    QDQ_ROWS_IDENTICAL, /* row for row */
    QDQ_ROWS_PERMUTED,  /* as llama's conversion moves them */
    QDQ_ROWS_EITHER,    /* both hold (rows that repeat): the values cannot tell */
    QDQ_ROWS_DIFFERENT
} qdq_rows_order;

/* Gives the `columns` values of a row. */
typedef qdq_status (*qdq_read_row)(void *context, uint64_t row, float *values);

/* Compares two files' versions of a tensor, row by row, until neither order can hold. gguf_dtype: how GGUF's side is
 * stored; the other side's values are rounded to it (to nearest, ties to even) before bits are compared. heads: 0 for a
 * tensor whose rows no conversion moves. *row: where it is QDQ_ROWS_DIFFERENT, the GGUF row at which the last order
 * failed. QDQ_INVALID_ARGUMENT: rows is no multiple of 2 x heads, gguf_dtype is QDQ_U8; a reader's failure is handed
 * on. */
qdq_status qdq_rows_permuted(uint64_t rows, uint64_t columns, uint64_t heads, qdq_read_row hf, void *hf_context,
                             qdq_read_row gguf, void *gguf_context, qdq_dtype gguf_dtype, qdq_rows_order *order,
                             uint64_t *row);

#endif
