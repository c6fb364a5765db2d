/* What work costs beside other work, so that parts of it take about as long. */
#ifndef QDQ_MODEL_COSTS_H
#define QDQ_MODEL_COSTS_H

#include "qdq_model.h"

/* Nanoseconds of a processor's core for an element that is brought into the format, or, with QDQ_FORMAT_NONE, for a
 * byte that is copied. Made of figures alone, so that every process finds the same. */
double qdq_cost(qdq_format format, bool weighted);

#endif
