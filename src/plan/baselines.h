/* What a plan is held against: one format for all tensors, and the mixtures of llama-quantize's presets. */
#ifndef QDQ_PLAN_BASELINES_H
#define QDQ_PLAN_BASELINES_H

#include "plan/planner.h"

/* All of which every tensor's format is measured, in order of bytes, each with the plan of its size. list is for
 * free(). Damages are known. */
qdq_status qdq_planner_baselines(const qdq_planner *planner, qdq_plan_baseline **list, size_t *n);

#endif
