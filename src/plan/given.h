/* Sensitivities that somebody else has measured, and kept in a file of scores: no gradients are needed then. */
#ifndef QDQ_PLAN_GIVEN_H
#define QDQ_PLAN_GIVEN_H

#include <stdbool.h>

#include "plan/measure.h"

/* Are the scores such? *tokens: a sample had that many; 0: not known. */
bool qdq_given(const qdq_scores *scores, double *tokens);
/* Have they a sum of each tensor in each of its formats? A tensor with one format only needs none. QDQ_BAD_DATA: they
 * have not, with the first that they lack. path: for the message. */
qdq_status qdq_given_whole(const qdq_scores *scores, const char *path, size_t n, const qdq_measured_tensor *tensors);

#endif
