/* One format for each group of tensors: the least total damage within a number of bytes.
 *
 * A multiple-choice knapsack, solved exactly (the method stands in choose.c). Damages are put on a grid of 2^-100 of
 * the damage of the smallest assignment, so that sums and comparisons are integers: the answer is the same on every
 * machine, and, where it is proven best, a larger budget never gets a larger damage. Only instances made to be hard
 * (every format equally good per byte) are not proven; their gap is then a few bytes' worth.
 *
 * Which of several best assignments: the least damage; of those, the fewest bytes; of those, the one that the search
 * meets first, and the search is a function of the arguments alone (no threads, clocks, addresses or random numbers).
 * Of one group's candidates that agree in bytes and damage, the first. */
#ifndef QDQ_PLAN_CHOOSE_H
#define QDQ_PLAN_CHOOSE_H

#include "qdq.h"

typedef struct qdq_candidate {
    uint64_t bytes; /* of the whole group in this format */
    double damage;  /* finite, not negative */
} qdq_candidate;

/* A group: exactly one of its candidates is taken. */
typedef struct qdq_choose_group {
    const qdq_candidate *candidates;
    uint32_t n_candidates; /* at least 1 */
} qdq_choose_group;

typedef struct qdq_choose_result {
    uint64_t bytes;
    double damage;      /* of the chosen candidates, on the grid */
    double lower_bound; /* no assignment within the budget has less damage, up to `grid` */
    double grid;        /* what rounding to the grid can have changed in any sum of damages */
    uint32_t
        proven; /* 1: no assignment is better on the grid; 0: the search was cut, the gap is damage - lower_bound */
    uint64_t states; /* partial assignments looked at */
} qdq_choose_result;

#define QDQ_CHOOSE_MAX_GROUPS (1u << 20)

/* The bytes of the smallest and of the largest assignment. QDQ_INVALID_ARGUMENT: a group without candidates, a damage
 * that is negative or not finite, sums that reach 2^63 bytes. */
qdq_status qdq_choose_range(size_t n_groups, const qdq_choose_group *groups, uint64_t *floor, uint64_t *ceiling);

/* chosen: n_groups candidate indices. QDQ_INVALID_ARGUMENT: as above, and a budget below the floor or above the ceiling
 * (the message has both); QDQ_OUT_OF_MEMORY. */
qdq_status qdq_choose(size_t n_groups, const qdq_choose_group *groups, uint64_t budget, uint32_t *chosen,
                      qdq_choose_result *result);

/* As qdq_choose, looking at no more than max_states partial assignments (qdq_choose allows QDQ_CHOOSE_STATES) before
 * it returns the best it has, with its gap. */
#define QDQ_CHOOSE_STATES 20000000u
qdq_status qdq_choose_limited(size_t n_groups, const qdq_choose_group *groups, uint64_t budget, uint64_t max_states,
                              uint32_t *chosen, qdq_choose_result *result);

/* The same for many budgets: what no budget changes is done once. Of the groups nothing is kept. By one thread at a
 * time. */
typedef struct qdq_knapsack qdq_knapsack;
qdq_status qdq_knapsack_create(size_t n_groups, const qdq_choose_group *groups, qdq_knapsack **knapsack);
void qdq_knapsack_free(qdq_knapsack *knapsack); /* NULL is allowed */
qdq_status qdq_knapsack_solve(qdq_knapsack *knapsack, uint64_t budget, uint64_t max_states, uint32_t *chosen,
                              qdq_choose_result *result);

#endif
