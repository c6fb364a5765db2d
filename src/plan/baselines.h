/* What a plan is held against: one format for all tensors, and the mixtures of llama-quantize's presets. */
#ifndef QDQ_PLAN_BASELINES_H
#define QDQ_PLAN_BASELINES_H

#include "plan/planner.h"

/* Sets planner->baselines, unless they are known: all of which every tensor's format is measured, in order of what the
 * target bounds, each with the plan of its size. Damages are known. */
qdq_status qdq_planner_find_baselines(qdq_planner *planner);

#endif
