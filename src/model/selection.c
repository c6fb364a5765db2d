#include "model/selection.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/format_list.h"
#include "model/naming.h"
#include "model/pattern.h"
#include "base/error.h"
#include "files/shown.h"

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

static qdq_status name_importance(qdq_selection *s) {
    if (s->imatrix == NULL || s->names == NULL || qdq_model_layout(s->model) == QDQ_LAYOUT_GGUF) return QDQ_OK;
    uint64_t n = qdq_model_tensor_count(s->model);
    s->renamed = calloc((size_t)n + 1, sizeof *s->renamed);
    qdq_status status =
        s->renamed != NULL
            ? QDQ_OK
            : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the importance of %llu tensors", (unsigned long long)n);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++)
        status = find_renamed(s, s->names, qdq_model_tensor(s->model, i), &s->renamed[i]);
    return status;
}

/* ---- Selections ------------------------------------------------------------------------------------------------ */

qdq_status qdq_check_pattern(const char *text) {
    if (text == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_check_pattern: a NULL argument");
    qdq_pattern *pattern = NULL;
    qdq_status status = qdq_pattern_open(text, &pattern);
    qdq_pattern_free(pattern);
    return status;
}

/* What the patterns say of names: each is searched once, so that a selection is the same for every thread. */
enum { TAKEN, NOT_INCLUDED, EXCLUDED };

static qdq_status search(qdq_selection *s, const char *text, unsigned char found) {
    qdq_pattern *pattern = NULL;
    qdq_status status = qdq_pattern_open(text, &pattern);
    for (uint64_t i = 0; i < qdq_model_tensor_count(s->model) && status == QDQ_OK; i++) {
        bool matches;
        status = qdq_pattern_find(pattern, qdq_model_tensor(s->model, i)->name, NULL, &matches);
        if (status == QDQ_OK && matches) s->left_out[i] = found;
    }
    qdq_pattern_free(pattern);
    return status;
}

static qdq_status search_all(qdq_selection *s, const qdq_selection_options *o) {
    uint64_t n = qdq_model_tensor_count(s->model);
    if (o->n_include + o->n_exclude == 0) return QDQ_OK;
    s->left_out = malloc((size_t)n + 1);
    if (s->left_out == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (unsigned long long)n);
    memset(s->left_out, o->n_include > 0 ? NOT_INCLUDED : TAKEN, (size_t)n + 1);
    qdq_status status = QDQ_OK;
    for (uint32_t i = 0; i < o->n_include && status == QDQ_OK; i++) status = search(s, o->include[i], TAKEN);
    for (uint32_t i = 0; i < o->n_exclude && status == QDQ_OK; i++) status = search(s, o->exclude[i], EXCLUDED);
    return status;
}

qdq_status qdq_selection_create(const qdq_model *model, const qdq_selection_options *options, qdq_selection **result) {
    if (result == NULL || model == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_selection_create: a NULL argument");
    *result = NULL;
    qdq_selection_options o = {0};
    if (options != NULL) {
        if (options->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_selection_create: options->size is 0");
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    }
    qdq_selection *s = calloc(1, sizeof *s);
    if (s == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a selection of tensors");
    s->model = model;
    s->imatrix = o.imatrix;
    qdq_status status = search_all(s, &o);
    if (status == QDQ_OK) status = qdq_naming_open(model, o.architecture, o.map, &s->names);
    if (status == QDQ_OK) status = name_importance(s);
    if (status != QDQ_OK) {
        qdq_selection_free(s);
        return status;
    }
    *result = s;
    return QDQ_OK;
}

void qdq_selection_free(qdq_selection *s) {
    if (s == NULL) return;
    free(s->left_out);
    free(s->renamed);
    qdq_gguf_names_free(s->names);
    free(s);
}

const qdq_model *qdq_selection_model(const qdq_selection *selection) { return selection->model; }

/* ---- Names ------------------------------------------------------------------------------------------------------ */

qdq_gguf_name qdq_selection_name(const qdq_selection *s, const qdq_tensor *t, bool *dropped) {
    qdq_gguf_name name = {.expert = QDQ_NO_EXPERT};
    if (dropped != NULL) *dropped = false;
    if (qdq_model_layout(s->model) == QDQ_LAYOUT_GGUF) {
        if (strlen(t->name) < sizeof name.name) strcpy(name.name, t->name);
    } else if (s->names == NULL || qdq_gguf_names_to_gguf(s->names, t->name, &name) != QDQ_OK) {
        name = (qdq_gguf_name){.expert = QDQ_NO_EXPERT};
    } else if (dropped != NULL) {
        *dropped = name.name[0] == '\0';
    }
    return name;
}

qdq_status qdq_selection_gguf_name(const qdq_selection *s, uint64_t index, char *name, int64_t *expert) {
    if (s == NULL || name == NULL || expert == NULL || index >= qdq_model_tensor_count(s->model))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_selection_gguf_name: no such tensor, or a NULL argument");
    const qdq_tensor *t = qdq_model_tensor(s->model, index);
    qdq_gguf_name found = {.expert = QDQ_NO_EXPERT};
    qdq_status status = QDQ_OK;
    if (qdq_model_layout(s->model) == QDQ_LAYOUT_GGUF)
        found = qdq_selection_name(s, t, NULL);
    else if (s->names == NULL)
        status = qdq_naming_missing(s->model, "what is asked for");
    else
        status = qdq_gguf_names_to_gguf(s->names, t->name, &found);
    if (status != QDQ_OK) return status;
    memcpy(name, found.name, sizeof found.name);
    *expert = found.expert;
    return QDQ_OK;
}

/* A GGUF's own name, by way of the other one: what a conversion moves, the pairs of names say. */
static qdq_permute permute_in_gguf(const qdq_gguf_names *names, const char *gguf) {
    char hf[QDQ_NAME_MAX];
    qdq_gguf_name found;
    bool known = names != NULL && qdq_gguf_names_to_hf(names, gguf, QDQ_NO_EXPERT, hf) == QDQ_OK &&
                 qdq_gguf_names_to_gguf(names, hf, &found) == QDQ_OK;
    return known ? found.permute : QDQ_PERMUTE_NONE; /* of experts, which are a stack there, never */
}

qdq_status qdq_selection_moved_rows(const qdq_selection *s, uint64_t index, qdq_moved_rows *moved) {
    if (s == NULL || moved == NULL || index >= qdq_model_tensor_count(s->model))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_selection_moved_rows: no such tensor, or a NULL argument");
    const char *name = qdq_model_tensor(s->model, index)->name;
    qdq_gguf_name found = {.permute = QDQ_PERMUTE_NONE};
    qdq_status status = QDQ_OK;
    if (qdq_model_layout(s->model) == QDQ_LAYOUT_GGUF)
        found.permute = permute_in_gguf(s->names, name);
    else if (s->names == NULL)
        status = qdq_naming_missing(s->model, "what is asked for");
    else
        status = qdq_gguf_names_to_gguf(s->names, name, &found);
    if (status != QDQ_OK) return status;
    *moved = found.permute == QDQ_PERMUTE_Q   ? QDQ_MOVED_QUERIES
             : found.permute == QDQ_PERMUTE_K ? QDQ_MOVED_KEYS
                                              : QDQ_MOVED_NONE;
    return QDQ_OK;
}

/* ---- Fitting ---------------------------------------------------------------------------------------------------- */

qdq_status qdq_check_importance(const qdq_format *formats, uint32_t n, bool given) {
    for (uint32_t i = 0; i < n && !given; i++) {
        if (formats[i] == QDQ_FORMAT_SOURCE) continue;
        qdq_format_info info = qdq_describe_format(formats[i]);
        if (info.importance == 2)
            return qdq_fail_advising(QDQ_ADVICE_IMATRIX, QDQ_INVALID_ARGUMENT, "%s needs an importance matrix",
                                     info.name);
    }
    return QDQ_OK;
}

__attribute__((format(printf, 3, 4))) static void leave_out(qdq_fit *fit, qdq_fit_reason reason, const char *format,
                                                            ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fit->text, sizeof fit->text, format, arguments);
    va_end(arguments);
    fit->reason = reason;
}

/* Could any format take it? */
static void fit_any(const qdq_selection *s, const qdq_tensor *t, qdq_fit *fit) {
    unsigned left_out = s->left_out != NULL ? s->left_out[t - qdq_model_tensor(s->model, 0)] : TAKEN;
    const char *not_source = qdq_tensor_not_source(t);
    if (not_source != NULL)
        leave_out(fit, QDQ_FIT_TYPE, "%s", not_source);
    else if (left_out == NOT_INCLUDED)
        leave_out(fit, QDQ_FIT_NOT_INCLUDED, "its name is not among those included");
    else if (left_out == EXCLUDED)
        leave_out(fit, QDQ_FIT_EXCLUDED, "its name is among those excluded");
    else if (t->n_dims < 2)
        leave_out(fit, QDQ_FIT_DIMENSIONS, "%s; 2 are needed", t->n_dims == 0 ? "a scalar" : "1 dimension");
    else if (t->elements == 0)
        leave_out(fit, QDQ_FIT_EMPTY, "no elements");
}

static qdq_status find_importance(const qdq_selection *s, const qdq_tensor *t, const qdq_imatrix_entry **importance) {
    if (s->imatrix == NULL) return QDQ_OK;
    qdq_status status = qdq_imatrix_match(s->imatrix, t, importance);
    if (status == QDQ_OK && *importance == NULL && s->renamed != NULL) {
        const qdq_imatrix_entry *renamed = &s->renamed[t - qdq_model_tensor(s->model, 0)];
        if (renamed->name != NULL) *importance = renamed;
    }
    return status;
}

qdq_status qdq_selection_importance(const qdq_selection *s, uint64_t index, const qdq_imatrix_entry **entry) {
    if (s == NULL || entry == NULL || index >= qdq_model_tensor_count(s->model))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_selection_importance: no such tensor, or a NULL argument");
    *entry = NULL;
    qdq_status status = find_importance(s, qdq_model_tensor(s->model, index), entry);
    if (status == QDQ_OK && *entry != NULL) *entry = qdq_imatrix_find(s->imatrix, (*entry)->name);
    return status;
}

qdq_status qdq_selection_check(const qdq_selection *s, const qdq_tensor *t, qdq_format format, qdq_fit *fit,
                               const qdq_imatrix_entry **importance) {
    *fit = (qdq_fit){.size = sizeof *fit};
    *importance = NULL;
    fit_any(s, t, fit);
    if (fit->reason != QDQ_FIT_TAKEN || format == QDQ_FORMAT_NONE) return QDQ_OK;
    qdq_format_info info = qdq_describe_format(format);
    uint64_t row = t->shape[t->n_dims - 1];
    fit->block = info.block_elements;
    if (row % info.block_elements != 0) {
        leave_out(fit, QDQ_FIT_ROW, "rows of %llu elements are no multiple of the block of %s, %u",
                  (unsigned long long)row, info.name, (unsigned)info.block_elements);
        return QDQ_OK;
    }
    qdq_status status = find_importance(s, t, importance);
    fit->weighted = *importance != NULL;
    if (status == QDQ_OK && *importance == NULL && info.importance == 2)
        leave_out(fit, QDQ_FIT_NO_IMPORTANCE,
                  s->imatrix == NULL ? "%s needs an importance matrix"
                                     : "%s needs an importance matrix, and the one given has no entry for it",
                  info.name);
    return status;
}

qdq_status qdq_selection_fit(const qdq_selection *s, uint64_t index, qdq_format format, qdq_fit *fit) {
    if (s == NULL || fit == NULL || fit->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_selection_fit: a NULL argument, or fit->size is 0");
    if (index >= qdq_model_tensor_count(s->model))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_selection_fit: no tensor %llu: there are %llu",
                        (unsigned long long)index, (unsigned long long)qdq_model_tensor_count(s->model));
    if (format != QDQ_FORMAT_NONE && (format < 0 || format >= qdq_format_count()))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_selection_fit: no format %d", (int)format);
    qdq_fit all;
    const qdq_imatrix_entry *importance;
    qdq_status status = qdq_selection_check(s, qdq_model_tensor(s->model, index), format, &all, &importance);
    all.size = fit->size;
    if (status == QDQ_OK) memcpy(fit, &all, all.size < sizeof all ? all.size : sizeof all);
    return status;
}

qdq_status qdq_selection_takes(const qdq_selection *s, const qdq_tensor *t, bool *takes, char reason[QDQ_REASON]) {
    qdq_fit fit;
    const qdq_imatrix_entry *importance;
    qdq_status status = qdq_selection_check(s, t, QDQ_FORMAT_NONE, &fit, &importance);
    *takes = status == QDQ_OK && fit.reason == QDQ_FIT_TAKEN;
    if (!*takes) memcpy(reason, fit.text, sizeof fit.text);
    return status;
}

qdq_status qdq_selection_fits(const qdq_selection *s, const qdq_tensor *t, qdq_format format,
                              const qdq_imatrix_entry **importance, bool *fits, char reason[QDQ_REASON]) {
    qdq_fit fit;
    qdq_status status = qdq_selection_check(s, t, format, &fit, importance);
    *fits = status == QDQ_OK && fit.reason == QDQ_FIT_TAKEN;
    if (status == QDQ_OK && !*fits) {
        *importance = NULL;
        memcpy(reason, fit.text, sizeof fit.text);
    }
    return status;
}
