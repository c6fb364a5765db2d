/* Weights that sit on a grid: made of few codes and a scale for each group, though they are stored as floats. */
#ifndef QDQ_MODEL_LATTICE_H
#define QDQ_MODEL_LATTICE_H

#include "files/files.h"

/* Of a group of `n` weights of one row, as `dtype` has them: are they all, up to the rounding of that type, levels of
 * the grid times one scale? All zeros are on every grid. */
bool qdq_lattice_has(uint32_t lattice, const float *weights, uint32_t n, qdq_dtype dtype);

#endif
