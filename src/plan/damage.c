/* The damage of a plan's candidates: what is measured, and what a score makes of it. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/kinds.h"
#include "plan/planner.h"
#include "plan/usual.h"
#include "model/decoding.h"
#include "model/format_list.h"
#include "model/pass.h"
#include "files/shown.h"
#include "base/error.h"
#include "base/platform_files.h"
#include "files/sorted.h"

typedef unsigned long long ull;

enum { SOURCE_TEXT = 400 };

/* ---- Scores ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *meaning;
} scores[] = {
    [QDQ_SCORE_AUTO] = {"auto", ""},
    [QDQ_SCORE_ERROR] = {"error", "squared error"},
    [QDQ_SCORE_RELATIVE] = {"relative", "squared error relative to the tensor's squared weights"},
    [QDQ_SCORE_SIZED] = {"sized",
                         "squared error relative to the tensor's squared weights, times the root of its elements"},
    [QDQ_SCORE_KINDS] = {"kinds", "squared error relative to the tensor's squared weights, times what errors cost in "
                                  "tensors of its kind"},
    [QDQ_SCORE_SIGNED] = {"signed", "first-order change of the loss, sum(g D), 0 where negative"},
    [QDQ_SCORE_ABSOLUTE] = {"absolute", "sum|g D| of the gradients"},
    [QDQ_SCORE_SQUARED] = {"squared", "sum((g D)^2) of the gradients"},
};

static bool is_score(qdq_score score) { return (unsigned)score < sizeof scores / sizeof *scores; }

const char *qdq_score_name(qdq_score score) { return is_score(score) ? scores[score].name : NULL; }

const char *qdq_score_meaning(qdq_score score) { return is_score(score) ? scores[score].meaning : NULL; }

bool qdq_score_by_name(const char *name, qdq_score *score) {
    for (qdq_score s = QDQ_SCORE_AUTO; name != NULL && is_score(s); s = (qdq_score)(s + 1)) {
        if (strcmp(scores[s].name, name) != 0) continue;
        *score = s;
        return true;
    }
    return false;
}

bool qdq_score_takes_gradients(qdq_score s) {
    return s == QDQ_SCORE_SIGNED || s == QDQ_SCORE_ABSOLUTE || s == QDQ_SCORE_SQUARED;
}

static qdq_kinds kinds_of(const qdq_planner *p) {
    qdq_kinds kinds = {0};
    for (uint64_t i = 0; i < p->n_items; i++)
        if (p->items[i].gguf.name[0] != '\0') qdq_kinds_see(&kinds, p->items[i].gguf.name);
    return kinds;
}

/* The first planned tensor whose name in GGUF is not known; NULL: there is none. */
static const qdq_item *first_unnamed(const qdq_planner *p) {
    for (uint64_t i = 0; i < p->n_items; i++)
        if (qdq_item_planned(&p->items[i]) && p->items[i].gguf.name[0] == '\0') return &p->items[i];
    return NULL;
}

/* Of those that the inputs allow, the score that did best in docs/planner.md. */
static qdq_score best_score(const qdq_planner *p) {
    if (p->gradients != NULL || p->given) return QDQ_SCORE_SQUARED;
    if (first_unnamed(p) != NULL) return QDQ_SCORE_SIZED;
    return kinds_of(p).is_encoder ? QDQ_SCORE_RELATIVE : QDQ_SCORE_KINDS;
}

/* ---- Measuring -------------------------------------------------------------------------------------------------- */

/* Which gradient, in which order of rows. */
static void name_gradient(const qdq_gradient *gradient, char text[SOURCE_TEXT]) {
    const qdq_gradient_part *first = gradient->parts;
    snprintf(text, SOURCE_TEXT, "%.300s, %llu parts, %llu heads permuted", first->gradient->name,
             (ull)gradient->n_parts, (ull)first->heads);
}

/* Were the scores of the planned tensors measured with what belongs to these now? */
static qdq_status match_sources(const qdq_planner *p, qdq_scores *of, const char *path) {
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const qdq_item *it = &p->items[i];
        char gradient[SOURCE_TEXT];
        if (!qdq_item_planned(it)) continue;
        if (it->gradient.n_parts > 0) name_gradient(&it->gradient, gradient);
        status = qdq_scores_match(of, path, it->tensor->name, it->gradient.n_parts > 0 ? gradient : NULL,
                                  it->importance != NULL ? it->importance->name : NULL);
    }
    return status;
}

/* Kept from one measuring to the next. */
static qdq_status open_scores(qdq_planner *p, const qdq_pass *pass) {
    const char *path = p->scores_path;
    qdq_status status = QDQ_OK;
    if (p->reference[0] == '\0') qdq_pass_reference(pass, p->reference);
    if (p->scores == NULL)
        status =
            qdq_measure_open(path, p->selection->model, p->gradients, p->selection->imatrix, p->reference, &p->scores);
    if (status == QDQ_OK && path != NULL) status = match_sources(p, p->scores, path);
    if (status != QDQ_OK || p->gradients != NULL) return status;
    double tokens;
    bool used = p->score == QDQ_SCORE_AUTO || qdq_score_takes_gradients(p->score);
    p->given = used && qdq_given(p->scores, &tokens);
    if (!p->given && qdq_score_takes_gradients(p->score))
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "the score \"%s\" is made of gradients: none are given, and the file of scores has none that "
                        "were measured elsewhere",
                        qdq_score_name(p->score));
    return QDQ_OK;
}

/* What other files of scores know of the tensors, in the model's order. */
static qdq_status take_more_scores(qdq_planner *p, size_t n, const qdq_measured_tensor *tensors) {
    qdq_status status = QDQ_OK;
    qdq_scores **others = calloc((size_t)p->n_more_scores + 1, sizeof *others);
    if (others == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for files of scores");
    for (uint32_t k = 0; k < p->n_more_scores && status == QDQ_OK; k++) {
        qdq_file_info info;
        const char *path = p->more_scores[k];
        if (!qdq_path_info(path, &info))
            status = qdq_fail(QDQ_IO_ERROR, "%s: cannot be read: %s", path, strerror(errno));
        else
            status = qdq_measure_open(path, p->selection->model, p->gradients, p->selection->imatrix, p->reference,
                                      &others[k]);
        if (status == QDQ_OK) status = match_sources(p, others[k], path);
    }
    for (size_t i = 0; i < n && status == QDQ_OK; i++)
        for (uint32_t k = 0; k < p->n_more_scores && status == QDQ_OK; k++)
            status = qdq_scores_take(p->scores, others[k], tensors[i].tensor->name);
    for (uint32_t k = 0; k < p->n_more_scores; k++) qdq_scores_free(others[k]);
    free(others);
    return status;
}

/* shared: NULL: by this process alone. *passes: tensors that were not known. */
static qdq_status measure(qdq_planner *p, qdq_pass *pass, qdq_shared_sums *shared, uint64_t *passes) {
    qdq_measured_tensor *tensors = calloc((size_t)p->n_items + 1, sizeof *tensors);
    if (tensors == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (ull)p->n_items);
    size_t n = 0;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        bool gradients = p->gradients != NULL;
        if (it->reason[0] != '\0' || (gradients && it->gradient.n_parts == 0)) continue;
        tensors[n++] = (qdq_measured_tensor){
            it->tensor, i, it->importance, gradients ? &it->gradient : NULL, it->formats, it->n_formats};
    }
    if (p->given) {
        *passes = 0;
        qdq_status whole = qdq_given_whole(p->scores, p->scores_path, n, tensors);
        free(tensors);
        return whole;
    }
    uint64_t shared_passes = 0;
    qdq_status status = take_more_scores(p, n, tensors);
    if (status == QDQ_OK && shared != NULL)
        status = qdq_measure_shared(pass, p->selection, p->gradients, n, tensors, p->scores, shared, &shared_passes);
    if (status == QDQ_OK && (shared == NULL || shared->parts == 0))
        status =
            qdq_measure(pass, p->scores_path, n, tensors, p->scores, shared_passes > 0 || p->n_more_scores > 0, passes);
    *passes += shared_passes;
    free(tensors);
    return status;
}

/* ---- Damage ----------------------------------------------------------------------------------------------------- */

/* The mean of a tensor's importances. */
static qdq_status mean_importance(const qdq_imatrix_entry *entry, double *mean) {
    float *weights = malloc((size_t)entry->count * sizeof *weights);
    if (weights == NULL && entry->count > 0)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for an importance matrix");
    qdq_imatrix_weights(entry, 0, entry->count, weights);
    double sum = 0;
    for (uint64_t i = 0; i < entry->count; i++) sum += weights[i];
    *mean = entry->count > 0 ? sum / (double)entry->count : 0;
    free(weights);
    return QDQ_OK;
}

/* next[i]: the next slice after item i of the same tensor of GGUF; n_items: there is none. To be freed; NULL: no
 * memory.
 */
static uint64_t *link_slices(const qdq_planner *p) {
    uint64_t *next = malloc(((size_t)p->n_items + 1) * sizeof *next), n = 0;
    qdq_name *names = malloc(((size_t)p->n_items + 1) * sizeof *names);
    for (uint64_t i = 0; i < p->n_items && next != NULL && names != NULL; i++) {
        next[i] = p->n_items;
        if (qdq_item_planned(&p->items[i]) && qdq_item_is_expert(&p->items[i]))
            names[n++] = (qdq_name){p->items[i].gguf.name, i};
    }
    if (names == NULL) {
        free(next);
        return NULL;
    }
    qdq_sorted_sort(names, n);
    for (uint64_t k = 1; k < n && next != NULL; k++)
        if (strcmp(names[k - 1].text, names[k].text) == 0) next[names[k - 1].index] = names[k].index;
    free(names);
    return next;
}

/* A tensor's squared weights, and its mean importance. */
static qdq_status find_energy(const qdq_planner *p, const qdq_item *it, double *energy, double *mean) {
    qdq_scores_error sums;
    *energy = 0;
    *mean = 1;
    if (it->n_formats == 0) return QDQ_OK;
    if (it->importance != NULL && qdq_scores_get_energy(p->scores, it->tensor->name, energy))
        return mean_importance(it->importance, mean);
    if (qdq_scores_get_error(p->scores, it->tensor->name, qdq_describe_format(it->formats[0]).name, &sums))
        *energy = sums.ww;
    return QDQ_OK;
}

/* What errors are relative to: the squared weights, times the mean importance. (Weighted column by column they would be
 * ruled by a few columns with large inputs, whose own errors matter less: docs/planner.md.) An expert's error is
 * relative to all of the tensor that it is a slice of in GGUF. Of `sized`, over the root of that tensor's elements:
 * what a unit of relative error does, a tensor's weights do not show, but more of it is likely in a larger tensor. */
static qdq_status set_scales(qdq_planner *p) {
    uint64_t *next = link_slices(p);
    qdq_status status = next != NULL ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the damage");
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        if (!qdq_item_planned(&p->items[i]) || p->items[i].scale >= 0) continue; /* kept; a slice of an earlier one */
        double energies = 0, means = 0, slices = 0, elements = 0;
        for (uint64_t k = i; k < p->n_items && status == QDQ_OK; k = next[k]) {
            double energy, mean;
            status = find_energy(p, &p->items[k], &energy, &mean);
            energies += energy;
            means += mean;
            elements += (double)p->items[k].tensor->elements;
            slices++;
        }
        double scale = energies * (means / slices);
        if (p->score == QDQ_SCORE_SIZED) scale /= sqrt(elements);
        for (uint64_t k = i; k < p->n_items; k = next[k]) p->items[k].scale = scale;
    }
    free(next);
    return status;
}

/* A relative error counts by the tensor's kind, and where a layer writes more than those before it, by how much: what
 * activations are, only an importance matrix shows. Scales are set. */
static qdq_status weigh_kinds(qdq_planner *p) {
    qdq_kinds kinds = kinds_of(p);
    const qdq_item *unnamed = first_unnamed(p);
    if (unnamed != NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "the score \"kinds\" goes by names of GGUF, and that of \"%s\" of %s is not known: take "
                        "another score, or say which architecture it is",
                        SHOWN(unnamed->tensor->name), SHOWN(unnamed->tensor->path));
    double *written = calloc((size_t)kinds.layers + 1, sizeof *written); /* layer l's at l + 1, then all up to it */
    if (written == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for %u layers", (unsigned)kinds.layers);
    int64_t layer;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        if (qdq_item_planned(it) && it->importance != NULL && qdq_kinds_writes(it->gguf.name, &layer))
            written[layer + 1] = fmax(written[layer + 1], it->scale);
    }
    for (uint32_t l = 1; l <= kinds.layers; l++) written[l] += written[l - 1];
    for (uint64_t i = 0; i < p->n_items; i++) {
        qdq_item *it = &p->items[i];
        if (!qdq_item_planned(it)) continue;
        it->weight = qdq_kinds_weight(&kinds, it->gguf.name);
        if (it->importance != NULL && qdq_kinds_writes(it->gguf.name, &layer))
            it->weight *= qdq_kinds_outburst(&kinds, it->scale, written[layer]);
    }
    free(written);
    return QDQ_OK;
}

static double damage_of(const qdq_planner *p, const qdq_item *it, const char *format) {
    qdq_scores_error error = {0, 0};
    qdq_sensitivity_sums sums = {0};
    if (qdq_score_takes_gradients(p->score)) {
        if (!qdq_scores_get_gradient(p->scores, it->tensor->name, format, &sums)) return 0; /* pinned, not scored */
        return p->score == QDQ_SCORE_ABSOLUTE  ? sums.absolute
               : p->score == QDQ_SCORE_SQUARED ? sums.squared
                                               : fmax(sums.signed_sum, 0);
    }
    qdq_scores_get_error(p->scores, it->tensor->name, format, &error);
    if (p->score == QDQ_SCORE_ERROR) return error.err2;
    if (!(it->scale > 0)) return 0;
    return p->score == QDQ_SCORE_KINDS ? it->weight * (error.err2 / it->scale) : error.err2 / it->scale;
}

static qdq_status raise_to_usual(qdq_planner *p) {
    uint64_t *next = link_slices(p);
    qdq_status status = next != NULL ? qdq_planner_raise_to_usual(p, next)
                                     : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the damage");
    free(next);
    return status;
}

static qdq_status set_damage(qdq_planner *p) {
    for (uint64_t i = 0; i < p->n_items; i++) {
        qdq_item *it = &p->items[i];
        for (uint32_t c = 0; c < p->n_formats && qdq_item_planned(it); c++) {
            if (it->candidates[c].bytes == QDQ_NO_CANDIDATE || p->formats[c].format == QDQ_FORMAT_SOURCE) continue;
            bool copied = p->formats[c].format == it->keeps || qdq_tensor_is_in(it->tensor, p->formats[c].format);
            it->candidates[c].damage = copied ? 0 : damage_of(p, it, p->formats[c].name);
        }
    }
    qdq_status status = p->selection->imatrix != NULL && qdq_score_is_raised(p->score) ? raise_to_usual(p) : QDQ_OK;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const qdq_item *it = &p->items[i];
        for (uint32_t c = 0; c < p->n_formats && qdq_item_planned(it) && status == QDQ_OK; c++)
            if (it->candidates[c].bytes != QDQ_NO_CANDIDATE && p->formats[c].format != QDQ_FORMAT_SOURCE)
                status = qdq_problem_set_damage(p->problem, it->index, c, it->candidates[c].damage);
    }
    return qdq_blame(status, p->scores_path != NULL ? p->scores_path : qdq_model_path(p->selection->model));
}

qdq_status qdq_planner_damage(qdq_planner *p, qdq_pass *pass, qdq_shared_sums *shared, uint64_t *passes) {
    qdq_status status = open_scores(p, pass);
    if (status == QDQ_OK && p->score == QDQ_SCORE_AUTO) p->score = best_score(p);
    if (status == QDQ_OK) status = measure(p, pass, shared, passes);
    if (status != QDQ_OK || (shared != NULL && shared->parts > 0)) return status;
    bool relative = p->score == QDQ_SCORE_RELATIVE || p->score == QDQ_SCORE_SIZED || p->score == QDQ_SCORE_KINDS;
    if (relative) status = set_scales(p);
    if (status == QDQ_OK && p->score == QDQ_SCORE_KINDS) status = weigh_kinds(p);
    return status == QDQ_OK ? set_damage(p) : status;
}
