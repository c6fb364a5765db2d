/* Which formats: the least damage within the bytes, with caution where a score guesses.
 *
 * A score that no gradients are in does not know what an error costs in one tensor beside another. Of the baselines
 * that fit, that with the least damage is the yardstick, and what a tensor loses beyond what it loses there counts
 * `caution` times. So the damage is never more than the yardstick's; and were each tensor's cost misjudged by any
 * factor from 1 / sqrt(caution) to sqrt(caution), it would still be no more: with w lost beyond the yardstick and s
 * saved, caution w <= s, and true costs make at most sqrt(caution) w of the one and at least s / sqrt(caution) of the
 * other. */
#ifndef QDQ_PLAN_CAUTION_H
#define QDQ_PLAN_CAUTION_H

#include "plan/baselines.h"

typedef struct qdq_found {
    double damage;         /* as the score has it, without caution */
    double lower_bound;    /* of what was least: with caution, if there is any */
    bool proven;           /* no other choice is better, with caution counted */
    double caution;        /* 1: none */
    const char *yardstick; /* NULL: caution is 1 */
} qdq_found;

/* planner->baselines are known. bytes: what the target allows; states: how far to search; chosen: a candidate for each
 * tensor of the problem. */
qdq_status qdq_planner_find(qdq_planner *planner, uint64_t bytes, uint64_t states, uint32_t *chosen, qdq_found *found);
/* No choice within the bytes has less damage than this, without caution; scratch: as `chosen`. */
qdq_status qdq_planner_bound(qdq_planner *planner, uint64_t bytes, uint32_t *scratch, double *lower_bound);

#endif
