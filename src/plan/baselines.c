#include "plan/baselines.h"
#include "plan/token_reads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/format_list.h"
#include "model/hyperparameters.h"
#include "files/sorted.h"
#include "base/error.h"

/* How far the search for the plan of a baseline's size goes at first: there are dozens, and nearly always this is all
 * it takes. */
enum { STATES = 2000000 };

/* The model as llama-quantize has it: experts one tensor, in its order. */
typedef struct stacks {
    qdq_ggml_tensor *tensors;
    size_t n;
    size_t *of; /* an item's tensor */
} stacks;

typedef struct drafts {
    const qdq_planner *planner;
    qdq_plan_baseline *list;
    size_t n;
    uint32_t *candidates; /* an item's, of the baseline that is being made */
    uint32_t *of_group;   /* the candidate that a group's first tensor has */
    uint32_t *chosen;     /* of plans, which are not kept */
} drafts;

static qdq_status no_memory(void) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for what a plan is held against");
}

/* ---- One baseline ----------------------------------------------------------------------------------------------- */

static bool find_candidate(const qdq_planner *p, const qdq_item *it, qdq_format format, uint32_t *candidate) {
    for (uint32_t c = 0; c < p->n_formats && format != QDQ_FORMAT_NONE; c++) {
        if (p->formats[c].format != format || it->candidates[c].bytes == QDQ_NO_CANDIDATE) continue;
        *candidate = c;
        return true;
    }
    return false;
}

/* Do the rules leave all of it? */
static bool is_allowed(drafts *d) {
    const qdq_planner *p = d->planner;
    for (uint64_t i = 0; i < p->n_items; i++) d->of_group[i] = UINT32_MAX;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        if (!qdq_item_planned(it)) continue;
        uint32_t *first = &d->of_group[qdq_problem_group(p->problem, it->index)];
        if (*first == UINT32_MAX) *first = d->candidates[i];
        if (*first != d->candidates[i] || !qdq_problem_open(p->problem, it->index, d->candidates[i])) return false;
    }
    return true;
}

static uint64_t cost_of(const qdq_planner *p, const qdq_plan_baseline *b) {
    return p->cost == QDQ_COST_TOKEN ? b->token_bytes : b->bytes;
}

/* The least damage within the bytes. A plan that the search has found worse than an allowed baseline is looked for
 * with all that planning has. */
static qdq_status plan_beside(drafts *d, qdq_plan_baseline *b) {
    const qdq_planner *p = d->planner;
    qdq_choose_result result;
    uint64_t cost = cost_of(p, b);
    b->plan_damage = (double)NAN;
    if (cost < p->floor) return QDQ_OK;
    uint64_t budget = (cost < p->ceiling ? cost : p->ceiling) - p->fixed;
    qdq_status status = qdq_problem_approach(p->problem, budget, STATES, d->chosen, &result);
    if (status == QDQ_OK && b->allowed && result.damage > b->damage)
        status = qdq_problem_solve(p->problem, budget, d->chosen, &result);
    if (status == QDQ_OK) b->plan_damage = result.damage;
    return status;
}

/* Adds what d->candidates has. */
static qdq_status add(drafts *d, const char *name, bool preset) {
    const qdq_planner *p = d->planner;
    qdq_plan_baseline *b = &d->list[d->n++];
    *b = (qdq_plan_baseline){.name = name, .preset = preset, .bytes = p->overhead + p->kept, .allowed = is_allowed(d)};
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        bool planned = qdq_item_planned(it);
        if (planned) b->bytes += it->candidates[d->candidates[i]].bytes;
        if (planned) b->damage += it->candidates[d->candidates[i]].damage;
        if (p->reads_reason[0] == '\0')
            b->token_bytes +=
                planned ? qdq_planner_candidate_reads(p, it, d->candidates[i]) : qdq_item_reads(it, it->tensor->bytes);
    }
    return plan_beside(d, b);
}

/* ---- One format for all ----------------------------------------------------------------------------------------- */

/* With what llama-quantize writes where its block does not divide a row. */
static qdq_status add_uniform(drafts *d, const qdq_format_choice *choice) {
    const qdq_planner *p = d->planner;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        qdq_format other = QDQ_FORMAT_NONE;
        if (!qdq_item_planned(it) || find_candidate(p, it, choice->format, &d->candidates[i])) continue;
        qdq_status status = qdq_llama_fallback(choice->format, it->tensor->shape[it->tensor->n_dims - 1], &other);
        if (status == QDQ_OUT_OF_MEMORY) return status;
        if (status != QDQ_OK || other == choice->format || !find_candidate(p, it, other, &d->candidates[i]))
            return QDQ_OK;
    }
    return add(d, choice->name, false);
}

/* ---- Presets ---------------------------------------------------------------------------------------------------- */

typedef struct stack {
    qdq_ggml_tensor tensor;
    uint64_t first; /* of its items, among the sorted names */
} stack;

static int in_rules_order(const void *a, const void *b) {
    return qdq_rules_compare(((const stack *)a)->tensor.name, ((const stack *)b)->tensor.name);
}

/* names: room for one an item; made: for one a tensor. */
static void stack_items(const qdq_planner *p, qdq_name *names, stack *made, stacks *s) {
    uint64_t named = 0;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (p->items[i].gguf.name[0] != '\0') names[named++] = (qdq_name){p->items[i].gguf.name, i};
    qdq_sorted_sort(names, named);
    for (uint64_t k = 0; k < named; k++) {
        if (k > 0 && strcmp(names[k - 1].text, names[k].text) == 0) {
            made[s->n - 1].tensor.ne[2]++;
            continue;
        }
        made[s->n++] = (stack){qdq_rules_tensor(p->items[names[k].index].tensor, names[k].text), k};
    }
    qsort(made, s->n, sizeof *made, in_rules_order);
    for (size_t t = 0; t < s->n; t++) {
        s->tensors[t] = made[t].tensor;
        for (uint64_t k = made[t].first; k < named && strcmp(names[k].text, made[t].tensor.name) == 0; k++)
            s->of[names[k].index] = t;
    }
}

static qdq_status make_stacks(const qdq_planner *p, stacks *s) {
    size_t room = (size_t)p->n_items + 1;
    qdq_name *names = malloc(room * sizeof *names);
    stack *made = malloc(room * sizeof *made);
    s->tensors = malloc(room * sizeof *s->tensors);
    s->of = malloc(room * sizeof *s->of);
    bool whole = names != NULL && made != NULL && s->tensors != NULL && s->of != NULL;
    if (whole) stack_items(p, names, made, s);
    free(names);
    free(made);
    return whole ? QDQ_OK : no_memory();
}

/* The first by that number: some have two names. */
static bool is_alias(size_t index) {
    for (size_t i = 0; i < index; i++)
        if (qdq_preset_at(i)->file_type == qdq_preset_at(index)->file_type) return true;
    return false;
}

/* A preset at which llama-quantize stops, or of which something is not measured, is left out. */
static qdq_status add_preset(drafts *d, const stacks *s, const qdq_rules_model *facts, const qdq_preset *preset,
                             qdq_mixture_choice *choices) {
    const qdq_planner *p = d->planner;
    qdq_mixture_wish wish = {.preset = preset,
                             .revision = QDQ_RULES_NEWEST,
                             .has_imatrix = p->selection->imatrix != NULL,
                             .output_type = QDQ_NO_TYPE,
                             .embedding_type = QDQ_NO_TYPE};
    qdq_status status = qdq_mixture_types(&wish, facts, s->tensors, s->n, choices);
    if (status != QDQ_OK) return status == QDQ_UNSUPPORTED ? QDQ_OK : status;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        if (!qdq_item_planned(it)) continue;
        uint32_t type = choices[s->of[i]].type;
        if (it->importance == NULL && qdq_rules_needs_imatrix(it->gguf.name, type, preset->file_type)) return QDQ_OK;
        if (!find_candidate(p, it, qdq_format_by_ggml_type(type), &d->candidates[i])) return QDQ_OK;
    }
    return add(d, preset->name, true);
}

static qdq_status add_presets(drafts *d) {
    const qdq_planner *p = d->planner;
    stacks s = {0};
    qdq_hyperparameters facts;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (qdq_item_planned(&p->items[i]) && p->items[i].gguf.name[0] == '\0') return QDQ_OK;
    qdq_status status = qdq_hyperparameters_read(p->selection, &facts);
    if (status != QDQ_OK || facts.rules.architecture[0] == '\0') return status; /* what mixtures go by is not known */
    status = make_stacks(p, &s);
    qdq_mixture_choice *choices = malloc((s.n + 1) * sizeof *choices);
    if (choices == NULL) status = no_memory();
    for (size_t i = 0; i < qdq_preset_count() && status == QDQ_OK; i++)
        if (!is_alias(i) && qdq_ggml_type_is_quantized(qdq_ggml_type_by_id(qdq_preset_at(i)->type)))
            status = add_preset(d, &s, &facts.rules, qdq_preset_at(i), choices);
    free(choices);
    free(s.tensors);
    free(s.of);
    return status;
}

/* ---- All of them ------------------------------------------------------------------------------------------------ */

static int fewer_read_first(const void *a, const void *b) {
    const qdq_plan_baseline *x = a, *y = b;
    if (x->token_bytes != y->token_bytes) return x->token_bytes < y->token_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int smaller_first(const void *a, const void *b) {
    const qdq_plan_baseline *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

qdq_status qdq_planner_find_baselines(qdq_planner *p) {
    if (p->baselines != NULL) return QDQ_OK;
    size_t items = (size_t)p->n_items + 1;
    drafts d = {.planner = p,
                .list = calloc(p->n_formats + qdq_preset_count() + 1, sizeof *d.list),
                .candidates = malloc(items * sizeof *d.candidates),
                .of_group = malloc(items * sizeof *d.of_group),
                .chosen = malloc(items * sizeof *d.chosen)};
    bool whole = d.list != NULL && d.candidates != NULL && d.of_group != NULL && d.chosen != NULL;
    qdq_status status = whole ? QDQ_OK : no_memory();
    for (uint32_t c = 0; c < p->n_formats && status == QDQ_OK; c++)
        if (p->formats[c].listed && p->formats[c].format >= 0) status = add_uniform(&d, &p->formats[c]);
    if (status == QDQ_OK) status = add_presets(&d);
    free(d.candidates);
    free(d.of_group);
    free(d.chosen);
    if (status != QDQ_OK) {
        free(d.list);
        return status;
    }
    qsort(d.list, d.n, sizeof *d.list, p->cost == QDQ_COST_TOKEN ? fewer_read_first : smaller_first);
    p->baselines = d.list;
    p->n_baselines = d.n;
    return QDQ_OK;
}
