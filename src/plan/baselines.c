#include "plan/baselines.h"
#include "plan/token_reads.h"

#include <stdlib.h>
#include <string.h>

#include "model/format_list.h"
#include "files/sorted.h"
#include "base/error.h"

/* The model as llama-quantize has it: experts one tensor, in its order. */
typedef struct stacks {
    qdq_ggml_tensor *tensors;
    size_t n;
    size_t *of; /* an item's tensor */
} stacks;

typedef struct drafts {
    const qdq_planner *planner;
    qdq_baselines *made;
    uint32_t *candidates; /* an item's, of the baseline that is being made */
    uint32_t *of_group;   /* the candidate that a group's first tensor has */
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

uint64_t qdq_baseline_cost(const qdq_planner *p, const qdq_plan_baseline *b) {
    return p->cost == QDQ_COST_TOKEN ? b->token_bytes : b->bytes;
}

/* Adds what d->candidates has. */
static qdq_status add(drafts *d, const char *name, bool preset, bool listed) {
    const qdq_planner *p = d->planner;
    size_t bytes = (size_t)p->n_items * sizeof *d->candidates;
    uint32_t *candidates = malloc(bytes + 1);
    if (candidates == NULL) return no_memory();
    memcpy(candidates, d->candidates, bytes);
    qdq_baseline *made = &d->made->list[d->made->n++];
    *made = (qdq_baseline){.listed = listed, .candidates = candidates};
    qdq_plan_baseline *b = &made->shown;
    *b = (qdq_plan_baseline){.name = name, .preset = preset, .bytes = p->overhead + p->kept, .allowed = is_allowed(d)};
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        bool planned = qdq_item_planned(it);
        if (planned) b->bytes += it->candidates[d->candidates[i]].bytes;
        if (planned) b->damage += it->candidates[d->candidates[i]].damage;
        if (p->reads_reason[0] == '\0')
            b->token_bytes +=
                planned ? qdq_planner_candidate_reads(p, it, d->candidates[i]) : qdq_planner_kept_reads(p, it);
    }
    return QDQ_OK;
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
    return add(d, choice->name, false, true);
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

/* To a format that is here: a build may have fewer. */
static bool quantizes(const qdq_preset *preset) {
    const qdq_ggml_type *type = qdq_ggml_type_by_id(preset->type);
    return type != NULL && qdq_ggml_type_is_quantized(type);
}

/* A preset at which llama-quantize stops, or of which something is not measured, is left out. */
static qdq_status add_preset(drafts *d, const stacks *s, const qdq_rules_model *facts, const qdq_preset *preset,
                             qdq_mixture_choice *choices) {
    const qdq_planner *p = d->planner;
    qdq_mixture_wish wish = {.preset = preset,
                             .revision = p->revision,
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
    return add(d, preset->name, true, true);
}

static qdq_status add_presets(drafts *d) {
    const qdq_planner *p = d->planner;
    stacks s = {0};
    const qdq_rules_model *facts = &p->facts.rules;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (qdq_item_planned(&p->items[i]) && p->items[i].gguf.name[0] == '\0') return QDQ_OK;
    if (facts->architecture[0] == '\0') return QDQ_OK; /* what mixtures go by is not known */
    qdq_status status = make_stacks(p, &s);
    qdq_mixture_choice *choices = malloc((s.n + 1) * sizeof *choices);
    if (choices == NULL) status = no_memory();
    for (size_t i = 0; i < qdq_preset_count() && status == QDQ_OK; i++)
        if (!is_alias(i) && quantizes(qdq_preset_at(i))) status = add_preset(d, &s, facts, qdq_preset_at(i), choices);
    free(choices);
    free(s.tensors);
    free(s.of);
    return status;
}

/* ---- All of them ------------------------------------------------------------------------------------------------ */

static qdq_status add_published(drafts *d) {
    const qdq_planner *p = d->planner;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        if (qdq_item_planned(it)) d->candidates[i] = (uint32_t)(qdq_planner_published(p, it) - it->candidates);
    }
    return add(d, qdq_model_path(p->published), false, false);
}

static int by_name(const qdq_plan_baseline *x, const qdq_plan_baseline *y) { return strcmp(x->name, y->name); }

static int fewer_read_first(const void *a, const void *b) {
    const qdq_plan_baseline *x = &((const qdq_baseline *)a)->shown, *y = &((const qdq_baseline *)b)->shown;
    return x->token_bytes != y->token_bytes ? (x->token_bytes < y->token_bytes ? -1 : 1) : by_name(x, y);
}

static int smaller_first(const void *a, const void *b) {
    const qdq_plan_baseline *x = &((const qdq_baseline *)a)->shown, *y = &((const qdq_baseline *)b)->shown;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? -1 : 1) : by_name(x, y);
}

qdq_status qdq_baselines_make(const qdq_planner *p, qdq_baselines **result) {
    size_t items = (size_t)p->n_items + 1;
    qdq_baselines *made = calloc(1, sizeof *made);
    if (made == NULL) return no_memory();
    made->list = calloc(p->n_formats + qdq_preset_count() + 1, sizeof *made->list);
    drafts d = {.planner = p,
                .made = made,
                .candidates = calloc(items, sizeof *d.candidates),
                .of_group = malloc(items * sizeof *d.of_group)};
    bool whole = made->list != NULL && d.candidates != NULL && d.of_group != NULL;
    qdq_status status = whole ? QDQ_OK : no_memory();
    for (uint32_t c = 0; c < p->n_formats && status == QDQ_OK; c++)
        if (p->formats[c].listed && p->formats[c].format >= 0) status = add_uniform(&d, &p->formats[c]);
    if (status == QDQ_OK) status = add_presets(&d);
    if (status == QDQ_OK && p->published != NULL) status = add_published(&d);
    free(d.candidates);
    free(d.of_group);
    if (status != QDQ_OK) {
        qdq_baselines_free(made);
        return status;
    }
    qsort(made->list, made->n, sizeof *made->list, p->cost == QDQ_COST_TOKEN ? fewer_read_first : smaller_first);
    *result = made;
    return QDQ_OK;
}

void qdq_baselines_free(qdq_baselines *b) {
    if (b == NULL) return;
    for (size_t i = 0; i < b->n; i++) free(b->list[i].candidates);
    free(b->list);
    free(b);
}
