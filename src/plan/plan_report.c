/* From a plan to its report: tensors, what the plan is held against, the curve of all budgets. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/plan_file.h"
#include "plan/problem.h"
#include "plan/report_parts.h"
#include "plan/usual.h"
#include "model/format_list.h"
#include "model/gguf_names.h"
#include "files/files.h"
#include "files/sorted.h"
#include "base/error.h"
#include "base/platform_files.h"

enum { CURVE = 32, DRAWN_STATES = 200000 }; /* points; what is drawn need not be proven the best */

/* Of a tensor of the plan: the first and the next of the same tensor of GGUF, and, of the first, the report's tensor
 * that they are folded into. SIZE_MAX: there is none. */
typedef struct slice {
    size_t first, next, stack;
} slice;

typedef struct page {
    const qdq_plan *plan;
    qdq_report report;
    qdq_report_tensor *tensors;
    qdq_report_choice **choices; /* a tensor's */
    uint64_t **shapes;
    char (*kinds)[QDQ_NAME_MAX];
    slice *slices;
    const char **ggufs; /* of stacks of experts, their name; else NULL */
    qdq_report_point *curve;
    qdq_report_baseline *baselines;
    const char *formats[QDQ_MAX_FORMATS + 1]; /* all that any tensor can have */
    uint32_t n_formats;
    char title[512], generator[64], score[384];
    char **notes; /* why tensors are kept: one a reason */
} page;

static qdq_status no_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the report"); }

/* ---- Tensors ---------------------------------------------------------------------------------------------------- */

static void add_format(page *p, const char *name) {
    uint32_t f = 0;
    while (f < p->n_formats && strcmp(p->formats[f], name) != 0) f++;
    if (f == p->n_formats && f <= QDQ_MAX_FORMATS) p->formats[p->n_formats++] = name;
}

static const qdq_report_choice *find_choice(const qdq_report_tensor *t, const char *format) {
    for (uint32_t c = 0; c < t->n_choices; c++)
        if (strcmp(t->choices[c].format, format) == 0) return &t->choices[c];
    return NULL;
}

/* Which tensors of the plan are slices of one tensor of GGUF: models have thousands of experts one by one. */
static qdq_status link_slices(page *p) {
    size_t n = 0;
    qdq_name *names = malloc((p->plan->n_tensors + 1) * sizeof *names);
    p->slices = malloc((p->plan->n_tensors + 1) * sizeof *p->slices);
    for (size_t i = 0; i < p->plan->n_tensors && names != NULL && p->slices != NULL; i++) {
        p->slices[i] = (slice){i, SIZE_MAX, SIZE_MAX};
        if (p->plan->tensors[i].gguf != NULL) names[n++] = (qdq_name){p->plan->tensors[i].gguf, i};
    }
    qdq_status status = names != NULL && p->slices != NULL ? QDQ_OK : no_memory();
    if (status == QDQ_OK) qdq_sorted_sort(names, n);
    for (size_t k = 1; k < n && status == QDQ_OK; k++) {
        if (strcmp(names[k - 1].text, names[k].text) != 0) continue;
        p->slices[names[k - 1].index].next = names[k].index;
        p->slices[names[k].index].first = p->slices[names[k - 1].index].first;
    }
    free(names);
    return status;
}

/* Adds a slice to the tensor of GGUF that an earlier one has begun. */
static bool fold(page *p, size_t index) {
    const qdq_plan_tensor *t = &p->plan->tensors[index];
    size_t i = p->slices[p->slices[index].first].stack;
    if (i == SIZE_MAX) return false;
    qdq_report_tensor *r = &p->tensors[i];
    if (t->n_choices != r->n_choices || t->chosen != r->chosen || r->n_dims != t->n_dims + 1) return false;
    for (uint32_t c = 0; c < t->n_choices; c++)
        if (strcmp(t->choices[c].format, r->choices[c].format) != 0) return false;
    for (uint32_t c = 0; c < t->n_choices; c++) {
        p->choices[i][c].bytes += t->choices[c].bytes;
        p->choices[i][c].damage += t->choices[c].damage;
        p->choices[i][c].token_bytes += t->choices[c].token_bytes;
    }
    p->shapes[i][0]++;
    return true;
}

/* Is it the first of several slices of a tensor of GGUF? They share its format, so the group's name tells. */
static bool begins_stack(const page *p, size_t index) {
    const qdq_plan_tensor *t = &p->plan->tensors[index];
    size_t next = p->slices[index].next;
    return t->group != NULL && next != SIZE_MAX && p->plan->tensors[next].n_dims == t->n_dims;
}

static qdq_status add_tensor(page *p, size_t index) {
    const qdq_plan_tensor *t = &p->plan->tensors[index];
    size_t n = p->report.n_tensors;
    qdq_report_choice *choices = p->choices[n] = calloc(t->n_choices, sizeof *choices);
    uint64_t *shape = p->shapes[n] = calloc(t->n_dims + 1, sizeof *shape);
    if (choices == NULL || shape == NULL) return no_memory();
    bool stack = begins_stack(p, index);
    shape[0] = 1;
    memcpy(shape + stack, t->shape, t->n_dims * sizeof *shape);
    for (uint32_t c = 0; c < t->n_choices; c++) {
        choices[c] = (qdq_report_choice){t->choices[c].format, t->choices[c].bytes, t->choices[c].damage,
                                         t->choices[c].token_bytes};
        add_format(p, t->choices[c].format);
    }
    qdq_report_tensor *r = &p->tensors[n];
    *r = (qdq_report_tensor){.name = stack ? t->gguf : t->name,
                             .shape = shape,
                             .n_dims = t->n_dims + stack,
                             .kind = p->kinds[n],
                             .dtype = t->dtype,
                             .group = t->group,
                             .choices = choices,
                             .n_choices = t->n_choices,
                             .chosen = t->chosen};
    qdq_name_parts(t->gguf != NULL ? t->gguf : t->name, &r->layer, p->kinds[n]);
    p->ggufs[n] = stack ? t->gguf : NULL;
    size_t *begun = &p->slices[p->slices[index].first].stack;
    if (stack && *begun == SIZE_MAX) *begun = n;
    p->report.n_tensors++;
    return QDQ_OK;
}

/* A group whose slices have all been folded is one tensor. */
static qdq_status drop_single_groups(page *p) {
    size_t n = 0, last = 0;
    qdq_name *groups = malloc((p->report.n_tensors + 1) * sizeof *groups);
    if (groups == NULL) return no_memory();
    for (size_t i = 0; i < p->report.n_tensors; i++)
        if (p->tensors[i].group != NULL) groups[n++] = (qdq_name){p->tensors[i].group, i};
    qdq_sorted_sort(groups, n);
    for (size_t k = 1; k <= n; k++) {
        if (k < n && strcmp(groups[k].text, groups[last].text) == 0) continue;
        if (k - last == 1 && p->ggufs[groups[last].index] != NULL) p->tensors[groups[last].index].group = NULL;
        last = k;
    }
    free(groups);
    return QDQ_OK;
}

/* The planned tensors; the others are in other_bytes. */
static qdq_status add_tensors(page *p) {
    const qdq_plan *plan = p->plan;
    p->tensors = calloc(plan->n_tensors + 1, sizeof *p->tensors);
    p->choices = calloc(plan->n_tensors + 1, sizeof *p->choices);
    p->shapes = calloc(plan->n_tensors + 1, sizeof *p->shapes);
    p->kinds = calloc(plan->n_tensors + 1, sizeof *p->kinds);
    p->ggufs = calloc(plan->n_tensors + 1, sizeof *p->ggufs);
    if (p->tensors == NULL || p->choices == NULL || p->shapes == NULL || p->kinds == NULL || p->ggufs == NULL)
        return no_memory();
    p->report.other_bytes = plan->overhead;
    p->report.per_token = qdq_plan_is_per_token(plan);
    p->report.token_bytes = plan->token_bytes;
    p->report.slow = plan->slow;
    p->report.tensors = p->tensors;
    qdq_status status = link_slices(p);
    for (size_t i = 0; i < plan->n_tensors && status == QDQ_OK; i++) {
        const qdq_plan_tensor *t = &plan->tensors[i];
        if (t->reason != NULL)
            p->report.other_bytes += t->bytes;
        else if (!fold(p, i))
            status = add_tensor(p, i);
    }
    if (status == QDQ_OK) status = drop_single_groups(p);
    if (status != QDQ_OK || p->report.n_tensors > 0) return status;
    return qdq_fail(QDQ_BAD_DATA, "the plan has no tensor with a choice");
}

/* ---- What the plan is held against ------------------------------------------------------------------------------ */

static qdq_status add_baselines(page *p) {
    p->baselines = calloc(p->plan->n_baselines + 1, sizeof *p->baselines);
    if (p->baselines == NULL) return no_memory();
    for (size_t i = 0; i < p->plan->n_baselines; i++) {
        const qdq_plan_baseline *b = &p->plan->baselines[i];
        p->baselines[i] =
            (qdq_report_baseline){b->name, b->bytes, b->damage, b->plan_damage, b->preset, b->allowed, b->token_bytes};
    }
    p->report.n_baselines = p->plan->n_baselines;
    p->report.baselines = p->baselines;
    return QDQ_OK;
}

/* ---- The curve -------------------------------------------------------------------------------------------------- */

/* The plan's problem once more: its rules have become choices and groups. */
static qdq_status make_problem(const page *p, qdq_problem **problem) {
    qdq_problem_format formats[QDQ_MAX_FORMATS + 1];
    qdq_candidate cells[QDQ_MAX_FORMATS + 1];
    for (uint32_t f = 0; f < p->n_formats; f++) formats[f] = (qdq_problem_format){p->formats[f], 1, 1};
    qdq_status status = qdq_problem_create(p->n_formats, formats, problem);
    for (size_t i = 0; i < p->report.n_tensors && status == QDQ_OK; i++) {
        const qdq_report_tensor *t = &p->tensors[i];
        for (uint32_t f = 0; f < p->n_formats; f++) {
            const qdq_report_choice *c = find_choice(t, p->formats[f]);
            cells[f] = c != NULL ? (qdq_candidate){p->report.per_token ? c->token_bytes : c->bytes, c->damage}
                                 : (qdq_candidate){QDQ_NO_CANDIDATE, 0};
        }
        status = qdq_problem_add(*problem, t->name, cells);
        if (status == QDQ_OK && t->group != NULL) status = qdq_problem_label(*problem, i, t->group);
    }
    return status;
}

/* What the budget bounds of all that is not to be chosen. */
static uint64_t other_cost(const page *p) {
    if (!p->report.per_token) return p->report.other_bytes;
    uint64_t other = p->plan->token_bytes;
    for (size_t i = 0; i < p->report.n_tensors; i++) other -= qdq_report_chosen(&p->tensors[i])->token_bytes;
    return other;
}

static int smaller_first(const void *a, const void *b) {
    const qdq_report_point *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return x->damage < y->damage ? -1 : x->damage > y->damage;
}

/* More bytes, less damage: what is not the best that was found for its bytes goes. */
static void keep_falling(page *p) {
    size_t kept = 0;
    qsort(p->curve, p->report.n_curve, sizeof *p->curve, smaller_first);
    for (size_t k = 0; k < p->report.n_curve; k++)
        if (kept == 0 || p->curve[k].damage < p->curve[kept - 1].damage) p->curve[kept++] = p->curve[k];
    p->report.n_curve = kept;
}

static qdq_status draw_curve(page *p, qdq_problem *problem) {
    uint64_t floor, ceiling, other = other_cost(p);
    uint32_t *chosen = calloc(p->report.n_tensors, sizeof *chosen);
    qdq_status status = chosen != NULL ? qdq_problem_range(problem, &floor, &ceiling) : no_memory();
    for (uint32_t k = 0; k < CURVE && status == QDQ_OK; k++) {
        qdq_choose_result result;
        uint64_t budget = floor + (ceiling - floor) / (CURVE - 1) * k;
        status = qdq_problem_approach(problem, k == CURVE - 1 ? ceiling : budget, DRAWN_STATES, chosen, &result);
        if (status != QDQ_OK) break;
        p->curve[p->report.n_curve++] = (qdq_report_point){result.bytes + other, result.damage};
    }
    free(chosen);
    /* The plans of the sizes of what is drawn beside the curve are known, too. */
    for (size_t i = 0; i < p->plan->n_baselines && status == QDQ_OK; i++) {
        const qdq_plan_baseline *b = &p->plan->baselines[i];
        uint64_t bytes = p->report.per_token ? b->token_bytes : b->bytes;
        if (isfinite(b->plan_damage) && bytes >= floor + other && bytes <= ceiling + other)
            p->curve[p->report.n_curve++] = (qdq_report_point){bytes, b->plan_damage};
    }
    keep_falling(p);
    return status;
}

static qdq_status add_curve(page *p) {
    qdq_problem *problem = NULL;
    p->curve = calloc(CURVE + p->plan->n_baselines, sizeof *p->curve);
    if (p->curve == NULL) return no_memory();
    qdq_status status = make_problem(p, &problem);
    if (status == QDQ_OK) status = draw_curve(p, problem);
    qdq_problem_free(problem);
    p->report.curve = p->curve;
    return status;
}

/* ---- The rest --------------------------------------------------------------------------------------------------- */

/* What damage is, as the library says it. A score that this version does not know is its name. */
static void explain_score(page *p) {
    qdq_score score = QDQ_SCORE_AUTO;
    bool known = qdq_score_by_name(p->plan->score, &score);
    bool weighted = known && p->plan->imatrix != NULL && !qdq_score_takes_gradients(score);
    bool raised = known && p->plan->imatrix != NULL && qdq_score_is_raised(score);
    const char *meaning = known ? qdq_score_meaning(score) : p->plan->score;
    snprintf(p->score, sizeof p->score, "%s%s%s", meaning,
             weighted ? "; squares are weighted by the importance matrix" : "",
             raised ? "; where codes fitted to that matrix do better than is usual, half of it is believed" : "");
    p->report.score = weighted || raised ? p->score : meaning;
}

/* How many tensors are kept for the reason of tensor `first`, which none before it has. */
static size_t count_kept(const qdq_plan *plan, size_t first) {
    const char *reason = plan->tensors[first].reason;
    size_t n = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        bool same = plan->tensors[i].reason != NULL && strcmp(plan->tensors[i].reason, reason) == 0;
        if (same && i < first) return 0;
        n += same;
    }
    return n;
}

static qdq_status add_notes(page *p) {
    const qdq_plan *plan = p->plan;
    p->notes = calloc(plan->n_tensors + 1, sizeof *p->notes);
    if (p->notes == NULL) return no_memory();
    p->report.notes = (const char *const *)p->notes;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const qdq_plan_tensor *t = &plan->tensors[i];
        size_t n = t->reason != NULL ? count_kept(plan, i) : 0;
        if (n == 0) continue;
        static const char *const forms[] = {"%s is kept as it is: %s.", "%s and %zu more are kept as they are: %s."};
        int length = n == 1 ? snprintf(NULL, 0, forms[0], t->name, t->reason)
                            : snprintf(NULL, 0, forms[1], t->name, n - 1, t->reason);
        char *note = p->notes[p->report.n_notes++] = malloc((size_t)length + 1);
        if (note == NULL) return no_memory();
        if (n == 1)
            snprintf(note, (size_t)length + 1, forms[0], t->name, t->reason);
        else
            snprintf(note, (size_t)length + 1, forms[1], t->name, n - 1, t->reason);
    }
    return QDQ_OK;
}

static void describe(page *p) {
    const char *name = qdq_path_last(p->plan->model);
    snprintf(p->title, sizeof p->title, "%s", name[0] != '\0' ? name : p->plan->model);
    snprintf(p->generator, sizeof p->generator, "qdq %s", qdq_version());
    p->report.title = p->title;
    p->report.generator = p->generator;
    explain_score(p);
    p->report.budget = p->plan->budget;
    if (p->plan->elements > 0)
        p->report.bits = 8 * (double)(p->plan->bytes - p->plan->overhead) / (double)p->plan->elements;
    p->report.lower_bound = p->plan->lower_bound;
    p->report.yardstick = p->plan->yardstick;
    p->report.caution = p->plan->caution;
    p->report.forecast = p->plan->forecast.text;
    p->report.kl_unit = p->plan->forecast.unit;
}

static qdq_status write_page(const page *p, const char *output) {
    qdq_builder text = {0};
    qdq_status status = qdq_report_write(&p->report, &text);
    if (status == QDQ_OK) status = qdq_out_write_file(output, text.bytes, text.n);
    qdq_builder_free(&text);
    return status;
}

static void close_page(page *p) {
    for (size_t i = 0; p->choices != NULL && i < p->plan->n_tensors; i++) free(p->choices[i]);
    for (size_t i = 0; p->shapes != NULL && i < p->plan->n_tensors; i++) free(p->shapes[i]);
    free(p->shapes);
    free(p->ggufs);
    free(p->slices);
    for (size_t i = 0; i < p->report.n_notes; i++) free(p->notes[i]);
    free(p->notes);
    free(p->choices);
    free(p->tensors);
    free(p->kinds);
    free(p->curve);
    free(p->baselines);
}

qdq_status qdq_plan_report(const qdq_plan *plan, const char *output) {
    if (plan == NULL || output == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_report: a NULL argument");
    page p = {.plan = plan};
    qdq_status status = add_tensors(&p);
    if (status == QDQ_OK) status = add_baselines(&p);
    if (status == QDQ_OK) status = qdq_blame(add_curve(&p), plan->path);
    if (status == QDQ_OK) status = add_notes(&p);
    if (status == QDQ_OK) {
        describe(&p);
        status = write_page(&p, output);
    }
    close_page(&p);
    return status;
}
