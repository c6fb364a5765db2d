/* What a plan is held against: one format for all tensors, and the mixtures of llama-quantize's presets. */
#ifndef QDQ_PLAN_BASELINES_H
#define QDQ_PLAN_BASELINES_H

#include "plan/planner.h"

typedef struct qdq_baseline {
    qdq_plan_baseline shown; /* plan_damage is set by who finds plans */
    bool listed;             /* else what a published model has, which is shown by itself */
    uint32_t *candidates;    /* one an item */
} qdq_baseline;

struct qdq_baselines {
    qdq_baseline *list; /* in order of what the target bounds */
    size_t n;
};

/* All of which every tensor's format is measured. Damages are known. */
qdq_status qdq_baselines_make(const qdq_planner *planner, qdq_baselines **baselines);
void qdq_baselines_free(qdq_baselines *baselines); /* NULL is allowed */

/* What the target bounds of it: the file's bytes, or what a token reads. */
uint64_t qdq_baseline_cost(const qdq_planner *planner, const qdq_plan_baseline *baseline);

#endif
