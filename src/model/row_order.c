#include "model/row_order.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/bits.h"
#include "base/source.h"

uint64_t qdq_row_in_hf(uint64_t rows, uint64_t heads, uint64_t gguf_row) {
    uint64_t head = rows / heads, at = gguf_row % head;
    return gguf_row - at + at % 2 * (head / 2) + at / 2;
}

uint64_t qdq_row_in_gguf(uint64_t rows, uint64_t heads, uint64_t hf_row) {
    uint64_t head = rows / heads, at = hf_row % head, half = head / 2;
    return hf_row - at + (at < half ? 2 * at : 2 * (at - half) + 1);
}

static int divides(uint64_t rows, uint64_t heads) {
    return rows > 0 && heads > 0 && heads <= rows / 2 && rows % (2 * heads) == 0;
}

qdq_status qdq_permute_heads(qdq_permute permute, const char *name, uint64_t rows, uint64_t n_head, uint64_t n_head_kv,
                             uint64_t *heads) {
    uint64_t n = permute == QDQ_PERMUTE_NONE ? 0 : permute == QDQ_PERMUTE_Q ? n_head : n_head_kv;
    if (permute != QDQ_PERMUTE_NONE && !divides(rows, n))
        return qdq_fail(QDQ_BAD_DATA, "%.200s: %" PRIu64 " rows are not pairs in each of %" PRIu64 " heads", name, rows,
                        n);
    *heads = n;
    return QDQ_OK;
}

/* Whether x, stored in the source's elements, is y; NaNs are compared as they are. */
static bool same_stored(const float *x, const float *y, uint64_t n, const qdq_source *source) {
    enum { PIECE = 256 };
    for (uint64_t at = 0; at < n; at += PIECE) {
        uint32_t elements[PIECE];
        float stored[PIECE];
        uint64_t m = n - at < PIECE ? n - at : PIECE;
        qdq_source_store(source, x + at, elements, m);
        qdq_source_load(source, elements, stored, m);
        for (uint64_t i = 0; i < m; i++) {
            float v = x[at + i] != x[at + i] ? x[at + i] : stored[i];
            if (bits_of(v) != bits_of(y[at + i])) return false;
        }
    }
    return true;
}

/* Reads HF's row and compares it, as GGUF would store it, with GGUF's. */
static qdq_status compare_row(qdq_read_row hf, void *context, uint64_t hf_row, const float *gguf, float *scratch,
                              uint64_t columns, const qdq_source *source, int *same) {
    qdq_status status = hf(context, hf_row, scratch);
    if (status == QDQ_OK) *same = same_stored(scratch, gguf, columns, source);
    return status;
}

qdq_status qdq_rows_permuted(uint64_t rows, uint64_t columns, uint64_t heads, qdq_read_row hf, void *hf_context,
                             qdq_read_row gguf, void *gguf_context, qdq_dtype gguf_dtype, qdq_rows_order *order,
                             uint64_t *row) {
    if (heads && !divides(rows, heads))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%" PRIu64 " rows are not pairs in each of %" PRIu64 " heads", rows,
                        heads);
    const qdq_source *source = qdq_source_get(gguf_dtype);
    if (!source) return qdq_fail(QDQ_INVALID_ARGUMENT, "rows of %s are no weights", qdq_dtype_name(gguf_dtype));
    uint64_t bytes;
    float *scratch = NULL;
    if (!__builtin_mul_overflow(columns, 2 * sizeof *scratch, &bytes) && bytes <= PTRDIFF_MAX)
        scratch = malloc(bytes ? bytes : 1);
    if (!scratch) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for two rows of %" PRIu64 " elements", columns);

    float *theirs = scratch + columns;
    int identical = 1, permuted = heads != 0;
    qdq_status status = QDQ_OK;
    uint64_t r = 0;
    for (; r < rows; r++) {
        status = gguf(gguf_context, r, theirs);
        uint64_t from = heads ? qdq_row_in_hf(rows, heads, r) : r;
        int same = 0;
        if (status == QDQ_OK && (identical || from == r))
            status = compare_row(hf, hf_context, r, theirs, scratch, columns, source, &same);
        if (status != QDQ_OK) break;
        identical = identical && same;
        if (permuted && from != r) status = compare_row(hf, hf_context, from, theirs, scratch, columns, source, &same);
        if (status != QDQ_OK) break;
        permuted = permuted && same;
        if (!identical && !permuted) break;
    }
    free(scratch);
    if (status != QDQ_OK) return status;
    *order = identical && permuted ? QDQ_ROWS_EITHER
             : identical           ? QDQ_ROWS_IDENTICAL
             : permuted            ? QDQ_ROWS_PERMUTED
                                   : QDQ_ROWS_DIFFERENT;
    if (*order == QDQ_ROWS_DIFFERENT) *row = r;
    return QDQ_OK;
}
