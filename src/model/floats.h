/* F32, F16 and BF16 as targets of weights, beside the formats of blocks: conversions, on the host's own threads, to
 * nearest, ties to even, as ggml's base library rounds them. */
#ifndef QDQ_MODEL_FLOATS_H
#define QDQ_MODEL_FLOATS_H

#include "base/pool.h"

/* n elements of `source` at any alignment, stored as `target` at `to`, which is aligned to its elements. */
void qdq_floats_store(qdq_pool *pool, qdq_dtype source, const void *from, qdq_dtype target, void *to, uint64_t n);
/* The values that they then have. */
void qdq_floats_roundtrip(qdq_pool *pool, qdq_dtype source, const void *from, qdq_dtype target, float *to, uint64_t n);
/* Adds to *sums what that does to them, in the order of docs/exactness.md; of a tensor in several calls, all but the
 * last are of whole tiles. importance: of a row's elements, the first of n being a row's first; NULL: none.
 * QDQ_OUT_OF_MEMORY. */
qdq_status qdq_floats_error(qdq_pool *pool, qdq_dtype source, const void *from, qdq_dtype target, uint64_t n,
                            const float *importance, uint64_t row, qdq_error_sums *sums);

#endif
