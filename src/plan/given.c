#include "plan/given.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/format_list.h"
#include "model/selection.h"

/* How a file of scores says what it is, in the place of a fingerprint of gradients. */
static const char opening[] = "root mean squares that were not kept; tokens a sample: ";

bool qdq_given(const qdq_scores *scores, double *tokens) {
    const char *told = qdq_scores_gradients(scores);
    if (told == NULL || strncmp(told, opening, strlen(opening)) != 0) return false;
    *tokens = strtod(told + strlen(opening), NULL);
    return true;
}

qdq_status qdq_given_whole(const qdq_scores *scores, const char *path, size_t n, const qdq_measured_tensor *tensors) {
    qdq_sensitivity_sums sums;
    for (size_t i = 0; i < n; i++) {
        const qdq_measured_tensor *t = &tensors[i];
        for (uint32_t f = 0; f < t->n_formats && t->n_formats > 1; f++) {
            const char *format = qdq_describe_format(t->formats[f]).name;
            if (qdq_scores_get_gradient(scores, t->tensor->name, format, &sums)) continue;
            return qdq_fail(QDQ_BAD_DATA,
                            "%s: has no sensitivity of \"%.200s\" in %s, and no gradients are given to measure it by: "
                            "score that format, too, or plan without it",
                            path, t->tensor->name, format);
        }
    }
    return QDQ_OK;
}

static qdq_status add(qdq_scores *scores, const qdq_selection *selection, const qdq_given_sums *given) {
    const qdq_model *model = qdq_selection_model(selection);
    const qdq_tensor *t = given->tensor != NULL ? qdq_model_find(model, given->tensor) : NULL;
    if (t == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s has no tensor \"%.200s\"", qdq_model_path(model),
                        given->tensor != NULL ? given->tensor : "");
    qdq_format_info info = {.size = sizeof info};
    qdq_status status = qdq_format_describe(given->format, &info);
    if (status != QDQ_OK) return status;
    qdq_fit fit;
    const qdq_imatrix_entry *importance;
    status = qdq_selection_check(selection, t, given->format, &fit, &importance);
    if (status == QDQ_OK && fit.text[0] != '\0')
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "\"%.200s\" in %s: %s", t->name, info.name, fit.text);
    if (status == QDQ_OK && given->sums.count != t->elements)
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "\"%.200s\": sums of %" PRIu64 " elements, and the tensor has %" PRIu64,
                          t->name, given->sums.count, t->elements);
    if (status == QDQ_OK)
        status = qdq_scores_match(scores, qdq_model_path(model), t->name, NULL,
                                  importance != NULL ? importance->name : NULL);
    return status == QDQ_OK ? qdq_scores_set_gradient(scores, t->name, info.name, &given->sums) : status;
}

qdq_status qdq_scores_write(const char *path, const qdq_selection *selection, double tokens, uint64_t n,
                            const qdq_given_sums *sums) {
    if (path == NULL || selection == NULL || (sums == NULL && n > 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_scores_write: a NULL argument");
    if (n == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_scores_write: no sums");
    if (!(tokens >= 0) || isinf(tokens))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_scores_write: %g tokens a sample", tokens);
    char told[128];
    snprintf(told, sizeof told, "%s%.17g", opening, tokens);
    qdq_scores *scores = NULL;
    qdq_status status = qdq_measure_create(told, qdq_selection_model(selection), selection->imatrix, &scores);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) status = add(scores, selection, &sums[i]);
    if (status == QDQ_OK) status = qdq_measure_save(path, scores);
    qdq_scores_free(scores);
    return status;
}
