/* Floats back to 16 bits: to nearest, ties to even. */
#ifndef QDQ_MODEL_NARROW_H
#define QDQ_MODEL_NARROW_H

#include "qdq.h"

/* IEEE binary16: what is too large becomes infinite, subnormals are kept, a NaN becomes the quiet one of its sign. */
uint16_t qdq_f16_of_float(float value);
/* The upper half of a binary32, rounded; a NaN stays one. */
uint16_t qdq_bf16_of_float(float value);
/* n floats to f16 or bf16. */
void qdq_narrow(qdq_dtype dtype, const float *restrict from, uint16_t *restrict to, uint64_t n);

#endif
