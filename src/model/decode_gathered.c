/* Tensors put together from others, row by row, as a conversion to GGUF puts them. */
#include "model/like.h"
#include "model/row_order.h"
#include "base/source.h"

const qdq_tensor *qdq_gathered_at(const qdq_gathered *g, uint64_t *index) {
    uint64_t row = *index / g->columns, at = row % g->rows;
    if (g->heads != 0) at = qdq_row_in_hf(g->rows, g->heads, at);
    *index = at * g->columns + *index % g->columns;
    return g->parts[row / g->rows];
}

void qdq_decode_gathered(const qdq_decoding *d, uint64_t first, uint32_t n, float *values) {
    const qdq_gathered *g = d->layout;
    const qdq_tensor *part = qdq_gathered_at(g, &first);
    uint32_t elements[QDQ_DECODED_PIECE]; /* the widest source's */
    qdq_decode(NULL, part, first, n, elements);
    qdq_source_load(qdq_source_get(part->dtype), elements, values, n);
    for (uint32_t i = 0; i < n && g->added != 0; i++) values[i] += g->added;
}
