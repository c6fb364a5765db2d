/* What a token's computation reads of the weights, where tokens come one at a time: of experts those that it uses, of
 * tables that are only looked up one row, of all else everything. */
#ifndef QDQ_PLAN_TOKEN_READS_H
#define QDQ_PLAN_TOKEN_READS_H

#include "plan/planner.h"

/* Each item's share, and whether all are known; planner->reads_reason: why not. Items have their names. */
void qdq_planner_find_reads(qdq_planner *planner);
/* Bytes that a token reads of an item, without padding, those of slow formats counted by their factors: as it is, and
 * of what a candidate makes of it. */
uint64_t qdq_planner_kept_reads(const qdq_planner *planner, const qdq_item *item);
uint64_t qdq_planner_candidate_reads(const qdq_planner *planner, const qdq_item *item, uint32_t candidate);
/* What a candidate takes of what the target bounds. */
uint64_t qdq_planner_cost(const qdq_planner *planner, const qdq_item *item, uint32_t candidate);

#endif
