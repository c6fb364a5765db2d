/* Damage beside what is usual: of codes that were fitted to an importance matrix, what looks good is believed to half.
 *
 * A format chooses its codes for the least error as the matrix weighs it, and damage weighs errors by the same inputs,
 * so where it is least, the choice was lucky, too; and errors that were chosen are not independent, which damage takes
 * them for. What is usual is a level of the tensor times a level of the format, fitted to all tensors and formats.
 * Damage below that is raised to the geometric mean of both; what is above stays. */
#ifndef QDQ_PLAN_USUAL_H
#define QDQ_PLAN_USUAL_H

#include "plan/planner.h"

/* Is its damage raised, where there is an importance matrix? Of scores that did better so (docs/planner.md). */
bool qdq_score_is_raised(qdq_score score);
/* damage: a row a tensor, a column a format; 0: there is none, and none is made. QDQ_OUT_OF_MEMORY. */
qdq_status qdq_raise_to_usual(size_t tensors, uint32_t formats, double *damage);
/* The same of the candidates of all planned tensors that have importance. next[i]: the slice after item i of the same
 * tensor of GGUF, n_items: there is none; slices are raised as the tensor that they make up. */
qdq_status qdq_planner_raise_to_usual(qdq_planner *planner, const uint64_t *next);

#endif
