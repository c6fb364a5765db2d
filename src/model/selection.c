#include "model/selection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format_list.h"
#include "model/naming.h"
#include "base/error.h"

#define SHOWN(text) qdq_printable((text), (char[256]){0}, 256)

/* ---- Importance under other names ------------------------------------------------------------------------------- */

static qdq_status find_renamed(const qdq_selection *s, const qdq_gguf_names *names, const qdq_tensor *t,
                               qdq_imatrix_entry *renamed) {
    qdq_gguf_name gguf;
    *renamed = (qdq_imatrix_entry){0};
    if (t->n_dims < 2 || qdq_gguf_names_to_gguf(names, t->name, &gguf) != QDQ_OK || gguf.name[0] == '\0') return QDQ_OK;
    const qdq_imatrix_entry *entry;
    if (gguf.expert == QDQ_NO_EXPERT) {
        qdq_tensor same = *t;
        same.name = gguf.name;
        qdq_status status = qdq_imatrix_match(s->imatrix, &same, &entry);
        if (status == QDQ_OK && entry != NULL) *renamed = *entry;
        return status;
    }
    return qdq_imatrix_match_expert(s->imatrix, gguf.name, (uint64_t)gguf.expert, t, renamed);
}

static qdq_status name_importance(qdq_selection *s, const qdq_gguf_names *names) {
    if (s->imatrix == NULL || names == NULL || qdq_model_layout(s->model) == QDQ_LAYOUT_GGUF) return QDQ_OK;
    uint64_t n = qdq_model_tensor_count(s->model);
    s->renamed = calloc((size_t)n + 1, sizeof *s->renamed);
    qdq_status status = s->renamed != NULL ? QDQ_OK
                                           : qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the importance of %llu tensors",
                                                      (unsigned long long)n);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++)
        status = find_renamed(s, names, qdq_model_tensor(s->model, i), &s->renamed[i]);
    return status;
}

/* ---- Selections ------------------------------------------------------------------------------------------------ */

qdq_status qdq_check_pattern(const char *text) {
    qdq_pattern *pattern = NULL;
    qdq_status status = qdq_pattern_open(text, &pattern);
    qdq_pattern_free(pattern);
    return status;
}

static qdq_status compile_all(uint32_t n, const char *const *texts, qdq_pattern ***patterns, uint32_t *done) {
    *patterns = calloc((size_t)n + 1, sizeof **patterns);
    if (*patterns == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %u patterns", (unsigned)n);
    qdq_status status = QDQ_OK;
    for (uint32_t i = 0; i < n && status == QDQ_OK; i++) {
        status = qdq_pattern_open(texts[i], &(*patterns)[i]);
        *done += status == QDQ_OK;
    }
    return status;
}

qdq_status qdq_selection_create(const qdq_model *model, const qdq_selection_options *o, qdq_selection **result) {
    qdq_selection *s = calloc(1, sizeof *s);
    if (s == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a selection of tensors");
    s->model = model;
    s->imatrix = o->imatrix;
    qdq_status status = compile_all(o->n_include, o->include, &s->include, &s->n_include);
    if (status == QDQ_OK) status = compile_all(o->n_exclude, o->exclude, &s->exclude, &s->n_exclude);
    if (status == QDQ_OK) status = qdq_naming_open(model, o->architecture, o->map, &s->names);
    if (status == QDQ_OK) status = name_importance(s, s->names);
    if (status != QDQ_OK) {
        qdq_selection_free(s);
        return status;
    }
    *result = s;
    return QDQ_OK;
}

void qdq_selection_free(qdq_selection *s) {
    if (s == NULL) return;
    for (uint32_t i = 0; i < s->n_include; i++) qdq_pattern_free(s->include[i]);
    for (uint32_t i = 0; i < s->n_exclude; i++) qdq_pattern_free(s->exclude[i]);
    free(s->include);
    free(s->exclude);
    free(s->renamed);
    qdq_gguf_names_free(s->names);
    free(s);
}

qdq_status qdq_check_importance(const qdq_format *formats, uint32_t n, const char *imatrix) {
    for (uint32_t i = 0; i < n && imatrix == NULL; i++) {
        if (formats[i] == QDQ_FORMAT_SOURCE) continue;
        qdq_format_info info = qdq_describe_format(formats[i]);
        if (info.importance == 2)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "%s needs an importance matrix: give --imatrix FILE", info.name);
    }
    return QDQ_OK;
}

/* ---- Eligibility ----------------------------------------------------------------------------------------------- */

static qdq_status search(qdq_pattern *const *patterns, uint32_t n, const char *name, bool *found) {
    qdq_status status = QDQ_OK;
    *found = false;
    for (uint32_t i = 0; i < n && status == QDQ_OK && !*found; i++)
        status = qdq_pattern_find(patterns[i], name, NULL, found);
    return status;
}

qdq_status qdq_selection_takes(const qdq_selection *selection, const qdq_tensor *tensor, bool *takes,
                               char reason[QDQ_REASON]) {
    const char *not_source = qdq_tensor_not_source(tensor);
    bool included, excluded = false;
    *takes = false;
    qdq_status status = search(selection->include, selection->n_include, tensor->name, &included);
    if (status == QDQ_OK) status = search(selection->exclude, selection->n_exclude, tensor->name, &excluded);
    if (status != QDQ_OK) return status;
    if (not_source != NULL)
        snprintf(reason, QDQ_REASON, "%s", not_source);
    else if (selection->n_include > 0 && !included)
        snprintf(reason, QDQ_REASON, "not matched by --include");
    else if (excluded)
        snprintf(reason, QDQ_REASON, "matched by --exclude");
    else if (tensor->n_dims < 2)
        snprintf(reason, QDQ_REASON, "%s; 2 are needed", tensor->n_dims == 0 ? "a scalar" : "1 dimension");
    else if (tensor->elements == 0)
        snprintf(reason, QDQ_REASON, "no elements");
    else
        *takes = true;
    return QDQ_OK;
}

qdq_status qdq_selection_fits(const qdq_selection *selection, const qdq_tensor *tensor, qdq_format format,
                              const qdq_imatrix_entry **importance, bool *fits, char reason[QDQ_REASON]) {
    qdq_format_info info = qdq_describe_format(format);
    uint64_t row = tensor->shape[tensor->n_dims - 1];
    *importance = NULL;
    *fits = row % info.block_elements == 0;
    if (!*fits) {
        snprintf(reason, QDQ_REASON, "rows of %llu elements are no multiple of the block of %s, %u",
                 (unsigned long long)row, info.name, (unsigned)info.block_elements);
        return QDQ_OK;
    }
    if (selection->imatrix == NULL) return QDQ_OK;
    qdq_status status = qdq_imatrix_match(selection->imatrix, tensor, importance);
    if (status == QDQ_OK && *importance == NULL && selection->renamed != NULL) {
        const qdq_imatrix_entry *renamed = &selection->renamed[tensor - qdq_model_tensor(selection->model, 0)];
        if (renamed->name != NULL) *importance = renamed;
    }
    if (status == QDQ_OK && *importance == NULL && info.importance == 2) {
        *fits = false;
        snprintf(reason, QDQ_REASON, "%s needs an importance matrix, and the one given has no entry for it", info.name);
    }
    return status;
}
