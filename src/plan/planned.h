/* A plan as what a quantized file's tensors get. */
#ifndef QDQ_PLAN_PLANNED_H
#define QDQ_PLAN_PLANNED_H

#include "plan/plan_file.h"
#include "model/targets.h"

/* The plan is one for the model's tensors, in their order, with the same shapes and types. path: for messages.
 * QDQ_BAD_DATA: it is not. */
qdq_status qdq_planned_check(const qdq_plan *plan, const char *path, const qdq_model *model);
/* All formats of the plan have the importance matrix that they need; given: there is one. QDQ_INVALID_ARGUMENT: one has
 * not. */
qdq_status qdq_planned_check_importance(const qdq_plan *plan, bool given);
/* Of tensor `index`. QDQ_BAD_DATA: an importance matrix of another size. */
qdq_status qdq_planned_choose(const qdq_plan *plan, const qdq_selection *selection, uint64_t index,
                              qdq_target_choice *choice);
/* general.file_type: that of the format which most of the weights get. */
uint32_t qdq_planned_file_type(const qdq_plan *plan);

#endif
