/* What the parts of planning share: what is asked for, the tensors and their candidates, the problem, the plan. The
 * parts follow one another: candidates (candidates.c), rules (plan_rules.c), damage (damage.c), the solution
 * (planner.c). */
#ifndef QDQ_PLAN_PLANNER_H
#define QDQ_PLAN_PLANNER_H

#include "plan/given.h"
#include "plan/measure.h"
#include "plan/plan_file.h"
#include "plan/problem.h"
#include "plan/slow_formats.h"
#include "model/hyperparameters.h"
#include "model/llama_rules.h"
#include "model/pattern.h"
#include "model/selection.h"

/* ---- What is asked for ------------------------------------------------------------------------------------------ */

typedef struct qdq_plan_rule {
    qdq_plan_rule_kind kind;
    char *regex, *formats; /* NULL: every tensor; none */
    qdq_pattern *pattern;  /* of a regex that gives a format */
} qdq_plan_rule;

static inline bool qdq_plan_rule_gives(const qdq_plan_rule *rule) {
    return rule->kind == QDQ_PLAN_PIN || rule->kind == QDQ_PLAN_MINIMUM;
}

enum { QDQ_MAX_RULES = 256 };

/* ---- What is made of it ----------------------------------------------------------------------------------------- */

typedef struct qdq_baselines qdq_baselines;

/* A format to choose from: the last may be the source itself. */
typedef struct qdq_format_choice {
    const char *name;
    qdq_format format;
    bool listed; /* among the options' formats; else only for tensors that a rule gives it to */
} qdq_format_choice;

/* part / whole of a tensor. */
typedef struct qdq_share {
    uint64_t part, whole;
} qdq_share;

typedef struct qdq_item {
    const qdq_tensor *tensor;
    const qdq_imatrix_entry *importance;
    qdq_gradient gradient;
    qdq_gguf_name gguf;      /* name "": not known */
    char reason[QDQ_REASON]; /* why it is kept; "": it is planned */
    bool dropped;            /* GGUF does not have it */
    qdq_share reads;         /* of its bytes, what a token reads */
    qdq_format keeps;        /* the candidate that keeps its codes; QDQ_FORMAT_NONE: none */
    qdq_format *formats;     /* of its candidates, those that are measured */
    uint32_t n_formats;
    qdq_format published;      /* what it has in the published model; QDQ_FORMAT_NONE: there is none */
    qdq_candidate *candidates; /* one a format to choose from */
    double scale;              /* what errors are relative to; below 0: not yet known */
    double weight;             /* of the score `kinds`: what a relative error costs in such a tensor */
    uint32_t chosen;
    size_t index; /* in the problem */
} qdq_item;

struct qdq_planner {
    const qdq_selection *selection;
    const qdq_gradients *gradients; /* NULL: none */
    qdq_score score;
    char *wanted, *scores_path, *slow_text; /* the options' texts; NULL: none */
    char **more_scores;                     /* files of qdq_planner_add_scores() */
    uint32_t n_more_scores;
    bool for_llama_quantize, keep_codes;
    char reference[16];   /* the revision by which codes were chosen when damage was measured; "": not yet */
    qdq_plan_rule *rules; /* in the order in which they were given */
    uint32_t n_rules;

    /* What plans are held against, which no target changes; NULL: not known yet. */
    qdq_baselines *baselines;
    const struct qdq_baseline *leaning; /* of these, that whose caution is in the problem's damages; NULL: none */

    const qdq_model *published; /* NULL: none */
    bool solved;

    bool given;              /* the scores came with sensitivities, and no gradients are needed */
    bool prepared, measured; /* candidates and problem are those of the rules; damages are known */
    qdq_scores *scores;
    qdq_format_choice formats[QDQ_MAX_FORMATS + 1];
    uint32_t n_formats;
    qdq_item *items; /* all of the model's tensors, in its order */
    uint64_t n_items;
    uint64_t overhead, elements, source_bytes, kept, alignment; /* bytes of the file; of the source's tensors */
    /* Of what the target bounds, the file or what a token reads: */
    qdq_plan_cost cost;
    qdq_slow_formats slow;
    qdq_rules_revision revision;          /* of presets */
    qdq_hyperparameters facts;            /* of the model */
    uint64_t fixed;                       /* what all plans have in common */
    uint64_t floor, ceiling;              /* of plans */
    char reads_reason[QDQ_REASON];        /* why it is not known what a token reads; "": it is */
    uint64_t source_reads, read_elements; /* what it reads of the source, and how many weights */
    qdq_problem *problem;
};

static inline bool qdq_item_planned(const qdq_item *item) { return item->reason[0] == '\0'; }
/* A slice of one tensor of GGUF, which holds all experts. */
static inline bool qdq_item_is_expert(const qdq_item *item) {
    return item->gguf.expert != QDQ_NO_EXPERT && item->gguf.name[0] != '\0';
}
/* Bytes of the file that a tensor of so many takes, padding included. */
uint64_t qdq_planner_padded(const qdq_planner *planner, uint64_t bytes);

/* ---- The parts, in order ---------------------------------------------------------------------------------------- */

/* The formats to choose from, and every tensor with those that it can have, or why it is kept. */
qdq_status qdq_planner_candidates(qdq_planner *planner);
void qdq_planner_drop_candidates(qdq_planner *planner);
/* QDQ_INVALID_ARGUMENT: formats that cannot be chosen from. */
qdq_status qdq_planner_check_formats(qdq_planner *planner);
/* The formats that the published model has, for the tensors that have them there. */
qdq_status qdq_planner_add_published(qdq_planner *planner, qdq_status (*add)(qdq_planner *planner, const char *format));
/* What the tensor has in the published model. QDQ_BAD_DATA: that lacks it, or has it in another shape. */
qdq_status qdq_planner_find_published(const qdq_planner *planner, qdq_item *item);
/* The candidate that is what a planned tensor has there. */
const qdq_candidate *qdq_planner_published(const qdq_planner *planner, const qdq_item *item);
/* The size of the file with what tensors have there, as a target. */
const char *qdq_planner_published_target(const qdq_planner *planner, char text[32]);
/* The problem under the rules, and the sizes that it leaves. QDQ_INVALID_ARGUMENT: rules that leave nothing or match
 * nothing. */
qdq_status qdq_planner_rules(qdq_planner *planner);
/* Measures what the kept scores lack (*passes: tensors that it was), and gives every candidate its damage.
 * QDQ_SCORE_AUTO becomes the score that did best in docs/planner.md of those that the inputs allow. shared may be NULL;
 * after parts of it there is no damage. */
qdq_status qdq_planner_damage(qdq_planner *planner, qdq_pass *pass, qdq_shared_sums *shared, uint64_t *passes);

#endif
