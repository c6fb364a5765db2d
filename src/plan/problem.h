/* From tensors and wishes to the groups that qdq_choose wants: which tensors share a format, which formats a tensor may
 * have. */
#ifndef QDQ_PLAN_PROBLEM_H
#define QDQ_PLAN_PROBLEM_H

#include "plan/choose.h"

/* Tensors x formats, narrowed by rules, merged into groups. Regular expressions (pattern.h) search the
 * tensor's name, as --include does. */
typedef struct qdq_problem qdq_problem;

typedef struct qdq_problem_format {
    const char *name;
    uint32_t block_elements, block_bytes; /* the order of formats is that of bytes per element */
} qdq_problem_format;

/* bytes of a cell that is no candidate (the row is not divisible by the block, say) */
#define QDQ_NO_CANDIDATE UINT64_MAX

/* The names are copied. */
qdq_status qdq_problem_create(uint32_t n_formats, const qdq_problem_format *formats, qdq_problem **problem);
void qdq_problem_free(qdq_problem *problem);
/* candidates: one a format. Tensors count from 0 in the order in which they are added. QDQ_INVALID_ARGUMENT: a
 * damage that is negative or not finite, no candidate at all. */
qdq_status qdq_problem_add(qdq_problem *problem, const char *name, const qdq_candidate *candidates);

/* Of a candidate that the tensor was added with; rules and labels stay. QDQ_INVALID_ARGUMENT: a damage that is negative
 * or not finite. */
qdq_status qdq_problem_set_damage(qdq_problem *problem, size_t tensor, uint32_t format, double damage);

/* All of these may be called in any order, before qdq_problem_solve. A rule that matches no tensor, or that leaves a
 * tensor without a candidate, is QDQ_INVALID_ARGUMENT and changes nothing. regex NULL: every tensor. */

/* Tensors with equal labels share one format; a tensor may have several. */
qdq_status qdq_problem_label(qdq_problem *problem, size_t tensor, const char *label);
/* Tensors that match share one format if what the regex's parentheses caught is equal too: "attn_[qkv]" ties all of
 * them, "blk\.([0-9]+)\.attn_[qkv]" those of one layer. */
qdq_status qdq_problem_same(qdq_problem *problem, const char *regex);
/* Tensors that match get this format. */
qdq_status qdq_problem_pin(qdq_problem *problem, const char *regex, const char *format);
/* Tensors that match get no format with fewer bits than this one. */
qdq_status qdq_problem_minimum(qdq_problem *problem, const char *regex, const char *format);
/* Tensors that match get one of these formats. */
qdq_status qdq_problem_allow(qdq_problem *problem, const char *regex, uint32_t n_formats, const char *const *formats);

/* The floor and ceiling of what the rules leave. QDQ_INVALID_ARGUMENT: a group whose tensors have no format in common,
 * named. */
qdq_status qdq_problem_range(qdq_problem *problem, uint64_t *floor, uint64_t *ceiling);
/* formats: the chosen format's index for each tensor. */
qdq_status qdq_problem_solve(qdq_problem *problem, uint64_t budget, uint32_t *formats, qdq_choose_result *result);
/* The same with a limit of the search: close to the best, soon, where only a line is drawn. */
qdq_status qdq_problem_approach(qdq_problem *problem, uint64_t budget, uint64_t max_states, uint32_t *formats,
                                qdq_choose_result *result);
/* Frees what solving keeps between budgets; the next makes it anew. */
void qdq_problem_rest(qdq_problem *problem);
/* The group of a tensor, after qdq_problem_range or _solve: groups count from 0, in the order of their first tensors.
 */
size_t qdq_problem_group(const qdq_problem *problem, size_t tensor);

/* May the rules still give the tensor that format? */
int qdq_problem_open(const qdq_problem *problem, size_t tensor, uint32_t format);

#endif
