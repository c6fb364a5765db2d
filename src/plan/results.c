/* What comes of a plan: its file, llama-quantize's recipe, mlx-lm's sensitivities. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/planner.h"
#include "plan/recipe.h"
#include "model/naming.h"
#include "base/error.h"

#define SHOWN(text) qdq_printable((text), (char[256]){0}, 256)

/* ---- The plan --------------------------------------------------------------------------------------------------- */

/* The first tensor of the group, if there are others. */
static const char *group_of(const qdq_planner *p, const qdq_item *it, const size_t *sizes, const char *const *firsts) {
    size_t group = qdq_problem_group(p->problem, it->index);
    return sizes[group] > 1 ? firsts[group] : NULL;
}

static void fill_tensor(qdq_planner *p, const qdq_item *it, const char *group, qdq_plan_tensor *t) {
    *t = (qdq_plan_tensor){.name = it->tensor->name,
                           .dtype = it->tensor->type_name,
                           .gguf = it->gguf.name[0] != '\0' ? it->gguf.name : NULL,
                           .group = group,
                           .reason = it->reason[0] != '\0' ? it->reason : NULL,
                           .shape = it->tensor->shape,
                           .n_dims = it->tensor->n_dims,
                           .elements = it->tensor->elements,
                           .bytes = qdq_planner_padded(p, it->tensor->bytes)};
    if (t->reason != NULL) return;
    qdq_plan_choice *choices = calloc(p->n_formats, sizeof *choices);
    t->choices = choices;
    for (uint32_t c = 0; c < p->n_formats && choices != NULL; c++) {
        if (!qdq_problem_open(p->problem, it->index, c)) continue;
        if (c == it->chosen) t->chosen = t->n_choices;
        choices[t->n_choices++] =
            (qdq_plan_choice){p->formats[c].name, it->candidates[c].bytes, it->candidates[c].damage};
    }
    if (choices != NULL) t->bytes = choices[t->chosen].bytes;
}

qdq_status qdq_planner_plan(qdq_planner *p) {
    const qdq_plan_request *r = p->request;
    qdq_plan_tensor *tensors = calloc((size_t)p->n_items + 1, sizeof *tensors);
    size_t *sizes = calloc((size_t)p->n_items + 1, sizeof *sizes);
    const char **firsts = calloc((size_t)p->n_items + 1, sizeof *firsts);
    p->plan = (qdq_plan){.model = qdq_model_path(p->selection->model),
                         .score = qdq_score_texts[r->score].name,
                         .target = r->target_text,
                         .imatrix = r->imatrix,
                         .budget = p->budget,
                         .bytes = p->overhead,
                         .floor = p->floor,
                         .ceiling = p->ceiling,
                         .overhead = p->overhead,
                         .elements = p->elements,
                         .damage = p->result.damage,
                         .lower_bound = fmax(p->result.lower_bound, 0),
                         .proven = p->result.proven != 0,
                         .n_tensors = tensors != NULL ? (size_t)p->n_items : 0,
                         .tensors = tensors};
    qdq_status status = QDQ_OK;
    if (tensors == NULL || sizes == NULL || firsts == NULL)
        status = qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the plan");
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        if (!qdq_item_planned(&p->items[i])) continue;
        size_t group = qdq_problem_group(p->problem, p->items[i].index);
        if (sizes[group]++ == 0) firsts[group] = p->items[i].tensor->name;
    }
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const qdq_item *it = &p->items[i];
        fill_tensor(p, it, qdq_item_planned(it) ? group_of(p, it, sizes, firsts) : NULL, &tensors[i]);
        if (tensors[i].reason == NULL && tensors[i].choices == NULL)
            status = qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the plan");
        p->plan.bytes += tensors[i].bytes;
    }
    free(sizes);
    free(firsts);
    return status;
}

/* ---- The recipe ------------------------------------------------------------------------------------------------- */

/* As the converter to GGUF has them: experts are one tensor. */
static qdq_status recipe_tensors(const qdq_planner *p, qdq_recipe_tensor *tensors, size_t *n) {
    *n = 0;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        qdq_recipe_tensor t = {.tensor = qdq_item_ggml(it)};
        if (it->gguf.name[0] == '\0') {
            qdq_gguf_name name;
            if (p->selection->names == NULL) return qdq_naming_missing(p->selection->model, "--recipe");
            qdq_status status = qdq_gguf_names_to_gguf(p->selection->names, it->tensor->name, &name);
            if (status != QDQ_OK) return status;
            continue; /* dropped */
        }
        qdq_format format = qdq_plan_format(&p->plan.tensors[i]);
        t.wanted = format != QDQ_FORMAT_NONE ? qdq_describe_format(format).ggml_type : it->tensor->ggml_type;
        size_t k = 0;
        while (qdq_item_is_expert(it) && k < *n && strcmp(tensors[k].tensor.name, t.tensor.name) != 0) k++;
        if (qdq_item_is_expert(it) && k < *n)
            tensors[k].tensor.ne[2]++;
        else
            tensors[(*n)++] = t;
    }
    return QDQ_OK;
}

qdq_status qdq_planner_recipe(const qdq_planner *p, qdq_recipe *recipe) {
    const qdq_plan_request *r = p->request;
    bool gguf = qdq_model_layout(p->selection->model) == QDQ_LAYOUT_GGUF;
    qdq_recipe_tensor *tensors = calloc((size_t)p->n_items + 1, sizeof *tensors);
    qdq_recipe_job job = {.tensors = tensors,
                          .input = gguf ? qdq_model_path(p->selection->model) : "MODEL.gguf",
                          .output = "OUT.gguf",
                          .recipe = r->recipe,
                          .imatrix = r->imatrix};
    *recipe = (qdq_recipe){0};
    qdq_status status = tensors != NULL ? recipe_tensors(p, tensors, &job.n_tensors)
                                        : qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the recipe");
    if (status == QDQ_OK) status = qdq_recipe_make(&job, recipe);
    free(tensors);
    return status;
}

/* ---- mlx-lm ----------------------------------------------------------------------------------------------------- */

/* What mlx-lm calls the module. A stack of experts of GGUF is named by its first. */
static bool mlx_path(const qdq_planner *p, const char *name, char path[QDQ_NAME_MAX]) {
    char hf[QDQ_NAME_MAX];
    if (qdq_model_layout(p->selection->model) == QDQ_LAYOUT_GGUF && p->selection->names != NULL &&
        (qdq_gguf_names_to_hf(p->selection->names, name, QDQ_NO_EXPERT, hf) == QDQ_OK ||
         qdq_gguf_names_to_hf(p->selection->names, name, 0, hf) == QDQ_OK))
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

/* Adds to the cost and the elements of a path: experts are one module. Kept tensors have no cost yet. */
static bool add_cost(json_t *costs, const char *path, const qdq_plan_tensor *t) {
    json_t *sums = json_object_get(costs, path);
    if (t->reason != NULL) return sums != NULL || json_object_set_new(costs, path, json_null()) == 0;
    double cost = cost_of(t), elements = (double)t->elements;
    if (json_is_array(sums)) {
        cost += json_real_value(json_array_get(sums, 0));
        elements += json_real_value(json_array_get(sums, 1));
    }
    return json_object_set_new(costs, path, json_pack("[f, f]", cost, elements)) == 0;
}

static double per_million(const json_t *sums) {
    return json_real_value(json_array_get(sums, 0)) / (json_real_value(json_array_get(sums, 1)) / 1e6);
}

/* mlx-lm asks for the score of everything that it can quantize, routers too, which the plan keeps: those get the
 * highest score there is, so that mlx-lm keeps them in its larger format. */
static json_t *list_scores(json_t *costs) {
    json_t *list = json_array(), *sums;
    const char *path;
    double highest = 0;
    json_object_foreach(costs, path, sums) {
        if (json_is_array(sums) && per_million(sums) > highest) highest = per_million(sums);
    }
    json_object_foreach(costs, path, sums) {
        json_t *pair = json_pack("[s, f]", path, json_is_array(sums) ? per_million(sums) : highest);
        if (json_array_append_new(list, pair) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *qdq_planner_mlx(const qdq_planner *p) {
    json_t *costs = json_object(), *list = NULL;
    bool done = costs != NULL;
    for (uint64_t i = 0; i < p->n_items && done; i++) {
        const qdq_plan_tensor *t = &p->plan.tensors[i];
        char path[QDQ_NAME_MAX];
        if (t->n_dims >= 2 && t->elements > 0 && mlx_path(p, t->name, path)) done = add_cost(costs, path, t);
    }
    if (done) list = list_scores(costs);
    json_decref(costs);
    return list;
}
