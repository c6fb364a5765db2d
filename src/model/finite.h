/* Looks for NaN and infinities. */
#ifndef QDQ_MODEL_FINITE_H
#define QDQ_MODEL_FINITE_H

#include "base/pool.h"

/* The index of the first of n elements of f32, f16 or bf16, at any alignment, that is not finite; n if all are.
 * pool: NULL: this thread looks. */
uint64_t qdq_first_non_finite(qdq_pool *pool, qdq_dtype dtype, const void *elements, uint64_t n);

#endif
