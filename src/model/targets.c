#include "model/targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format_list.h"
#include "base/error.h"

#define SHOWN(text, size) qdq_printable((text), (char[size]){0}, size)

void qdq_targets_free(qdq_targets *targets) {
    qdq_type_file_free(targets->overrides);
    free(targets->used);
}

/* ---- Importance ------------------------------------------------------------------------------------------------- */

/* Formats that ggml can make without an importance matrix but llama-quantize does not, since the result is poor. */
static bool wants_importance(const char *name, qdq_format format) {
    qdq_format_info info = qdq_describe_format(format);
    return info.importance == 2 || qdq_rules_needs_imatrix(name, info.ggml_type, info.ggml_file_type);
}

qdq_status qdq_targets_check_importance(const qdq_targets *targets, const char *imatrix) {
    if (imatrix != NULL) return QDQ_OK;
    if (!wants_importance("", targets->format)) return QDQ_OK;
    return qdq_fail(QDQ_INVALID_ARGUMENT, "%s needs an importance matrix: give --imatrix FILE",
                    qdq_describe_format(targets->format).name);
}

/* ---- One tensor ------------------------------------------------------------------------------------------------- */

static qdq_ggml_tensor ggml_tensor(const qdq_tensor *t) {
    qdq_ggml_tensor g = {.name = t->name, .ne = {1, 1, 1, 1}, .type = t->ggml_type};
    for (uint32_t d = 0; d < t->n_dims && d < 4; d++) g.ne[d] = t->shape[t->n_dims - 1 - d];
    return g;
}

/* The ggml type by format and overrides, before the row's length is looked at. */
static qdq_status wanted_type(qdq_targets *targets, const qdq_tensor *t, uint32_t *type, qdq_target_choice *choice) {
    *type = qdq_describe_format(targets->format).ggml_type;
    if (targets->overrides == NULL) return QDQ_OK;
    size_t entry;
    uint32_t named = *type;
    qdq_status status = qdq_type_file_match(targets->overrides, t->name, &entry, &named);
    if (status != QDQ_OK || entry == qdq_type_file_count(targets->overrides)) return status;
    targets->used[entry]++;
    choice->exception = named != *type;
    *type = named;
    snprintf(choice->reason, QDQ_REASON, "by %s", SHOWN(qdq_type_file_entry(targets->overrides, entry), 200));
    return QDQ_OK;
}

/* The type that a row of this length falls back to. */
static void fall_back(const qdq_tensor *t, uint32_t *type, qdq_target_choice *choice) {
    uint64_t row = t->shape[t->n_dims - 1];
    const qdq_ggml_type *wanted = qdq_ggml_type_by_id(*type);
    uint32_t written;
    bool stops = qdq_rules_fallback(*type, row, &written) != QDQ_OK;
    if (!stops && written == *type) return;
    snprintf(choice->reason, QDQ_REASON, "rows of %llu elements; %s has blocks of %u%s", (unsigned long long)row,
             wanted->name, (unsigned)wanted->block_elements, stops ? ", and there is no other to fall back to" : "");
    choice->exception = true;
    *type = stops ? t->ggml_type : written;
}

static qdq_status set_format(const qdq_selection *selection, const qdq_tensor *t, uint32_t type,
                             qdq_target_choice *choice) {
    choice->already = type == t->ggml_type;
    if (choice->already) {
        if (!choice->exception) snprintf(choice->reason, QDQ_REASON, "it is %s already", t->type_name);
        return QDQ_OK;
    }
    qdq_format format = qdq_target_by_ggml_type(type);
    const qdq_ggml_type *wanted = qdq_ggml_type_by_id(type);
    if (format == QDQ_FORMAT_NONE)
        return qdq_fail(QDQ_UNSUPPORTED, "tensor \"%s\": this version cannot make %s", SHOWN(t->name, 256),
                        wanted->name);
    bool wants = wants_importance(t->name, format), fits;
    if (wants && selection->imatrix == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "tensor \"%s\" would be %s, which needs an importance matrix: give --imatrix FILE",
                        SHOWN(t->name, 256), wanted->name);
    char reason[QDQ_REASON];
    qdq_status status = qdq_selection_fits(selection, t, format, &choice->importance, &fits, reason);
    if (status != QDQ_OK) return status;
    if (fits && wants && choice->importance == NULL) {
        fits = false;
        snprintf(reason, QDQ_REASON, "%s needs an importance matrix, and the one given has no entry for it",
                 wanted->name);
    }
    if (fits)
        choice->format = format;
    else
        snprintf(choice->reason, QDQ_REASON, "%s", reason);
    return QDQ_OK;
}

qdq_status qdq_targets_choose(qdq_targets *targets, const qdq_selection *selection, uint64_t index,
                              qdq_target_choice *choice) {
    *choice = (qdq_target_choice){.format = QDQ_FORMAT_NONE};
    const qdq_tensor *t = qdq_model_tensor(selection->model, index);
    if (!qdq_selection_takes(selection, t, choice->reason)) return QDQ_OK;
    qdq_ggml_tensor g = ggml_tensor(t);
    const char *why = NULL;
    /* The rules go by GGUF's names. */
    if (qdq_model_layout(selection->model) == QDQ_LAYOUT_GGUF && !qdq_rules_quantizes(&g, &why)) {
        snprintf(choice->reason, QDQ_REASON, "llama-quantize keeps it (%s)", why);
        return QDQ_OK;
    }
    uint32_t type = 0;
    qdq_status status = wanted_type(targets, t, &type, choice);
    if (status != QDQ_OK) return status;
    fall_back(t, &type, choice);
    return set_format(selection, t, type, choice);
}
