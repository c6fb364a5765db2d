/* What the parts of planning share: what is asked for, the tensors and their candidates, the problem, the plan. The
 * parts follow one another: candidates (candidates.c), rules (plan_rules.c), damage (damage.c), results (results.c). */
#ifndef QDQ_PLAN_PLANNER_H
#define QDQ_PLAN_PLANNER_H

#include "plan/measure.h"
#include "plan/plan_file.h"
#include "plan/problem.h"
#include "plan/recipe.h"
#include "model/llama_rules.h"
#include "model/selection.h"

/* ---- What is asked for ------------------------------------------------------------------------------------------ */

typedef enum qdq_score {
    QDQ_SCORE_ERROR,
    QDQ_SCORE_RELATIVE,
    QDQ_SCORE_SIZED,
    QDQ_SCORE_SIGNED,
    QDQ_SCORE_ABSOLUTE,
    QDQ_SCORE_SQUARED,
    QDQ_SCORE_AUTO
} qdq_score;

typedef struct qdq_score_text {
    const char *name, *meaning;
} qdq_score_text;
extern const qdq_score_text qdq_score_texts[]; /* by qdq_score */

typedef enum qdq_plan_rule_kind { QDQ_RULE_PIN, QDQ_RULE_SAME, QDQ_RULE_MINIMUM, QDQ_RULE_ALLOW } qdq_plan_rule_kind;

typedef struct qdq_plan_rule {
    qdq_plan_rule_kind kind;
    char *regex, *formats; /* NULL: every tensor; none */
} qdq_plan_rule;

enum { QDQ_MAX_RULES = 256 };

typedef struct qdq_plan_request {
    const char *target_text, *formats, *gradients, *hf, *imatrix, *scores, *recipe, *mlx, *output;
    qdq_target target;
    qdq_score score;
    qdq_plan_rule rules[QDQ_MAX_RULES]; /* in the order in which they were given */
    unsigned n_rules;
} qdq_plan_request;

/* ---- What is made of it ----------------------------------------------------------------------------------------- */

/* A format to choose from: the last may be the source itself. */
typedef struct qdq_format_choice {
    const char *name;
    qdq_format format;
    bool listed; /* of --formats; else only for tensors that a rule gives it to */
} qdq_format_choice;

typedef struct qdq_item {
    const qdq_tensor *tensor;
    const qdq_imatrix_entry *importance;
    qdq_gradient gradient;
    qdq_gguf_name gguf;      /* name "": not known */
    char reason[QDQ_REASON]; /* why it is kept; "": it is planned */
    qdq_format *formats;     /* of its candidates, those that are measured */
    uint32_t n_formats;
    qdq_candidate *candidates; /* one a format to choose from */
    double scale;              /* what errors are relative to; below 0: not yet known */
    uint32_t chosen;
    size_t index; /* in the problem */
} qdq_item;

typedef struct qdq_planner {
    const qdq_selection *selection;
    qdq_pass *pass;
    qdq_plan_request *request;
    qdq_pattern *patterns[QDQ_MAX_RULES]; /* of the rules that pin, and those of a minimum */
    qdq_gradients *gradients;
    qdq_scores *scores;
    qdq_format_choice formats[QDQ_MAX_FORMATS + 1];
    uint32_t n_formats;
    qdq_item *items; /* all of the model's tensors, in its order */
    uint64_t n_items;
    uint64_t overhead, elements, source_bytes, kept, alignment; /* bytes of the file; of the source's tensors */
    uint64_t floor, ceiling, budget;                            /* of files */
    qdq_choose_result result;
    qdq_problem *problem;
    qdq_plan plan;
} qdq_planner;

static inline bool qdq_item_planned(const qdq_item *item) { return item->reason[0] == '\0'; }
/* A slice of one tensor of GGUF, which holds all experts. */
static inline bool qdq_item_is_expert(const qdq_item *item) {
    return item->gguf.expert != QDQ_NO_EXPERT && item->gguf.name[0] != '\0';
}
/* As llama-quantize sees it. */
qdq_ggml_tensor qdq_item_ggml(const qdq_item *item);
/* Bytes of the file that a tensor of so many takes, padding included. */
uint64_t qdq_planner_padded(const qdq_planner *planner, uint64_t bytes);

/* ---- The parts, in order ---------------------------------------------------------------------------------------- */

/* The formats to choose from, and every tensor with those that it can have, or why it is kept. */
qdq_status qdq_planner_candidates(qdq_planner *planner);
/* The problem under the rules. QDQ_INVALID_ARGUMENT: rules that leave nothing or match nothing, and a target below the
 * smallest or above the largest choice, with both. */
qdq_status qdq_planner_rules(qdq_planner *planner);
/* Measures what the kept scores lack (*passes: tensors read), and gives every candidate its damage. */
qdq_status qdq_planner_damage(qdq_planner *planner, size_t *passes);
/* Chooses: planner->result and the items' `chosen`. */
qdq_status qdq_planner_solve(qdq_planner *planner);
/* planner->plan. */
qdq_status qdq_planner_plan(qdq_planner *planner);
/* The recipe, to be freed with qdq_recipe_free(). */
qdq_status qdq_planner_recipe(const qdq_planner *planner, qdq_recipe *recipe);
/* mlx-lm's [[path, score], …]; NULL: no memory. */
json_t *qdq_planner_mlx(const qdq_planner *planner);

/* Is the score made of gradients? */
bool qdq_score_takes_gradients(qdq_score score);
/* Of those that the inputs allow, the score that did best in docs/planner.md. */
qdq_score qdq_planner_best_score(const qdq_planner *planner);

#endif
