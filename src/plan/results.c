/* What other programs take of a plan: llama-quantize's recipe, mlx-lm's sensitivities. */
#include <stdlib.h>
#include <string.h>

#include "plan/planned.h"
#include "plan/recipe.h"
#include "model/format_list.h"
#include "model/naming.h"
#include "files/arena.h"
#include "files/json_writer.h"
#include "files/sorted.h"
#include "base/error.h"

/* The plan's tensors are the selection's model's, in its order. */
static qdq_status check(const qdq_plan *plan, const qdq_selection *s) {
    if (plan == NULL || s == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "a plan or a selection is NULL");
    return qdq_planned_check(plan, plan->path, s->model);
}

/* ---- The recipe ------------------------------------------------------------------------------------------------- */

/* As the converter to GGUF has them: experts are one tensor. names: n of them, that the tensors' names are kept in. */
static qdq_status recipe_tensors(const qdq_plan *plan, const qdq_selection *s, qdq_gguf_name *names,
                                 qdq_recipe_tensor *tensors, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const qdq_tensor *t = qdq_model_tensor(s->model, i);
        names[i] = qdq_selection_name(s, t, NULL);
        if (names[i].name[0] == '\0') {
            qdq_gguf_name name;
            if (s->names == NULL) return qdq_naming_missing(s->model, "a recipe");
            qdq_status status = qdq_gguf_names_to_gguf(s->names, t->name, &name);
            if (status != QDQ_OK) return status;
            continue; /* dropped */
        }
        qdq_format format = qdq_plan_format(&plan->tensors[i]);
        qdq_recipe_tensor made = {.tensor = qdq_rules_tensor(t, names[i].name),
                                  .wanted =
                                      format != QDQ_FORMAT_NONE ? qdq_describe_format(format).ggml_type : t->ggml_type};
        bool expert = names[i].expert != QDQ_NO_EXPERT;
        size_t k = 0;
        while (expert && k < *n && strcmp(tensors[k].tensor.name, made.tensor.name) != 0) k++;
        if (expert && k < *n)
            tensors[k].tensor.ne[2]++;
        else
            tensors[(*n)++] = made;
    }
    return QDQ_OK;
}

qdq_status qdq_plan_recipe(const qdq_plan *plan, const qdq_selection *s, const char *path, char **text,
                           char **command) {
    if (path == NULL || text == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_recipe: a NULL argument");
    qdq_status status = check(plan, s);
    if (status != QDQ_OK) return status;
    bool gguf = qdq_model_layout(s->model) == QDQ_LAYOUT_GGUF;
    qdq_recipe_tensor *tensors = calloc(plan->n_tensors + 1, sizeof *tensors);
    qdq_gguf_name *names = calloc(plan->n_tensors + 1, sizeof *names);
    qdq_recipe_job job = {.tensors = tensors,
                          .input = gguf ? qdq_model_path(s->model) : "MODEL.gguf",
                          .output = "OUT.gguf",
                          .recipe = path,
                          .imatrix = plan->imatrix};
    qdq_recipe recipe = {0};
    status = tensors != NULL && names != NULL ? recipe_tensors(plan, s, names, tensors, &job.n_tensors)
                                              : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the recipe");
    if (status == QDQ_OK) status = qdq_recipe_make(&job, &recipe);
    free(tensors);
    free(names);
    if (status != QDQ_OK) return status;
    *text = recipe.text;
    recipe.text = NULL;
    if (command != NULL) {
        *command = recipe.command;
        recipe.command = NULL;
    }
    qdq_recipe_free(&recipe);
    return QDQ_OK;
}

/* ---- mlx-lm ----------------------------------------------------------------------------------------------------- */

/* What mlx-lm calls the module. A stack of experts of GGUF is named by its first. */
static bool mlx_path(const qdq_selection *s, const char *name, char path[QDQ_NAME_MAX]) {
    char hf[QDQ_NAME_MAX];
    if (qdq_model_layout(s->model) == QDQ_LAYOUT_GGUF && s->names != NULL &&
        (qdq_gguf_names_to_hf(s->names, name, QDQ_NO_EXPERT, hf) == QDQ_OK ||
         qdq_gguf_names_to_hf(s->names, name, 0, hf) == QDQ_OK))
        name = hf;
    return qdq_name_in_mlx(name, path);
}

/* What the smallest format costs more than the largest. */
static double cost_of(const qdq_plan_tensor *t) {
    const qdq_plan_choice *least = &t->choices[0], *most = least;
    for (uint32_t c = 1; c < t->n_choices; c++) {
        if (t->choices[c].bytes < least->bytes) least = &t->choices[c];
        if (t->choices[c].bytes > most->bytes) most = &t->choices[c];
    }
    return least->damage - most->damage;
}

/* Of a module: what it costs, and its elements in millions. Kept tensors have no cost. */
typedef struct module {
    const char *path;
    double cost, millions;
    bool planned;
} module;

static double per_million(const module *m) { return m->cost / m->millions; }

/* Adds up the modules of one path, at the first of them: experts are one module. names: room for n. */
static uint64_t add_up(module *modules, uint64_t n, qdq_name *names) {
    uint64_t left = 0;
    for (uint64_t i = 0; i < n; i++) names[i] = (qdq_name){modules[i].path, i};
    qdq_sorted_sort(names, n);
    for (uint64_t k = 1, first = 0; k < n; k++) {
        if (strcmp(names[k].text, names[first].text) != 0) first = k;
        if (k == first) continue;
        module *to = &modules[names[first].index], *from = &modules[names[k].index];
        to->cost += from->cost;
        to->millions += from->millions;
        to->planned |= from->planned;
        from->path = NULL;
    }
    for (uint64_t i = 0; i < n; i++)
        if (modules[i].path != NULL) modules[left++] = modules[i];
    return left;
}

/* mlx-lm asks for the score of everything that it can quantize, routers too, which the plan keeps: those get the
 * highest score there is, so that mlx-lm keeps them in its larger format. */
static char *list_scores(const module *modules, uint64_t n) {
    qdq_builder text = {0};
    qdq_json_writer w = {.out = &text, .indent = 2};
    double highest = 0;
    for (uint64_t i = 0; i < n; i++)
        if (modules[i].planned && per_million(&modules[i]) > highest) highest = per_million(&modules[i]);
    qdq_json_put_open(&w, NULL, '[');
    for (uint64_t i = 0; i < n; i++) {
        qdq_json_put_open(&w, NULL, '[');
        qdq_json_put_text(&w, NULL, modules[i].path);
        qdq_json_put_real(&w, NULL, modules[i].planned ? per_million(&modules[i]) : highest);
        qdq_json_put_close(&w);
    }
    qdq_json_put_close(&w);
    return qdq_builder_take(&text);
}

qdq_status qdq_plan_mlx(const qdq_plan *plan, const qdq_selection *s, char **text) {
    if (text == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_mlx: a NULL argument");
    qdq_status status = check(plan, s);
    if (status != QDQ_OK) return status;
    qdq_arena arena = {0};
    module *modules = calloc(plan->n_tensors + 1, sizeof *modules);
    qdq_name *names = calloc(plan->n_tensors + 1, sizeof *names);
    bool whole = modules != NULL && names != NULL;
    uint64_t n = 0;
    for (size_t i = 0; i < plan->n_tensors && whole; i++) {
        const qdq_plan_tensor *t = &plan->tensors[i];
        char path[QDQ_NAME_MAX];
        if (t->n_dims < 2 || t->elements == 0 || !mlx_path(s, t->name, path)) continue;
        bool planned = t->reason == NULL;
        modules[n] = (module){qdq_arena_text(&arena, path, strlen(path)), planned ? cost_of(t) : 0,
                              planned ? (double)t->elements / 1e6 : 0, planned};
        whole = modules[n++].path != NULL;
    }
    *text = whole ? list_scores(modules, add_up(modules, n, names)) : NULL;
    free(names);
    free(modules);
    qdq_arena_free(&arena);
    return *text != NULL ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for mlx-lm's sensitivities");
}
