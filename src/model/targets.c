#include "model/targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/format_list.h"
#include "base/error.h"
#include "files/shown.h"

void qdq_targets_free(qdq_targets *targets) {
    qdq_type_file_free(targets->overrides);
    free(targets->used);
    free(targets->choices);
}

/* ---- Importance ------------------------------------------------------------------------------------------------- */

/* Formats that ggml can make without an importance matrix but llama-quantize does not, since the result is poor. */
static bool wants_importance(const qdq_targets *targets, const char *name, qdq_format format) {
    qdq_format_info info = qdq_describe_format(format);
    uint32_t file_type = targets->preset != NULL ? targets->preset->file_type : info.ggml_file_type;
    return info.importance == 2 || qdq_rules_needs_imatrix(name, info.ggml_type, file_type);
}

qdq_status qdq_targets_check_importance(const qdq_targets *targets, bool given) {
    if (given || targets->format == QDQ_FORMAT_NONE) return QDQ_OK;
    if (!wants_importance(targets, "", targets->format)) return QDQ_OK;
    return qdq_fail_advising(QDQ_ADVICE_IMATRIX, QDQ_INVALID_ARGUMENT, "%s needs an importance matrix",
                             qdq_describe_format(targets->format).name);
}

/* ---- All tensors ------------------------------------------------------------------------------------------------ */

static qdq_status decide(qdq_targets *targets, const qdq_selection *selection, const qdq_arrangement *a,
                         const qdq_mixture_wish *wish, const qdq_rules_model *facts) {
    qdq_ggml_tensor *tensors = calloc((size_t)a->n + 1, sizeof *tensors);
    qdq_mixture_choice *choices = calloc((size_t)a->n + 1, sizeof *choices);
    qdq_status status = tensors != NULL && choices != NULL
                            ? QDQ_OK
                            : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (unsigned long long)a->n);
    if (status == QDQ_OK) {
        for (uint64_t i = 0; i < a->n; i++)
            tensors[i] = qdq_rules_tensor(qdq_model_tensor(selection->model, a->tensors[i].index), a->tensors[i].name);
        status = qdq_mixture_types(wish, facts, tensors, (size_t)a->n, choices);
    }
    for (uint64_t i = 0; i < a->n && status == QDQ_OK; i++) targets->choices[a->tensors[i].index] = choices[i];
    free(tensors);
    free(choices);
    return status;
}

qdq_status qdq_targets_prepare(qdq_targets *targets, const qdq_selection *selection, const qdq_arrangement *arrangement,
                               const qdq_kv_list *kv) {
    bool gguf = qdq_model_layout(selection->model) == QDQ_LAYOUT_GGUF;
    if (targets->copy) return QDQ_OK;
    if (targets->preset != NULL && !gguf)
        return qdq_fail_advising(QDQ_ADVICE_LIKE, QDQ_UNSUPPORTED,
                                 "%s: presets go by names and metadata that a GGUF has, and a checkpoint has not",
                                 SHOWN(qdq_model_path(selection->model)));
    uint64_t n = qdq_model_tensor_count(selection->model);
    targets->choices = calloc((size_t)n + 1, sizeof *targets->choices);
    if (targets->choices == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (unsigned long long)n);
    qdq_preset one = {.type = 0};
    if (targets->preset == NULL) {
        qdq_format_info info = qdq_describe_format(targets->format);
        one = (qdq_preset){info.name, info.ggml_file_type, info.ggml_type};
    }
    qdq_mixture_wish wish = {.preset = targets->preset != NULL ? targets->preset : &one,
                             .revision = targets->rules,
                             .pure = targets->pure || targets->preset == NULL,
                             .leave_output = targets->leave_output,
                             .has_imatrix = selection->imatrix != NULL,
                             .output_type = targets->output_type,
                             .embedding_type = targets->embedding_type,
                             .overrides = targets->overrides,
                             .any_name = !gguf,
                             .keep_misfits = targets->preset == NULL};
    targets->base = wish.preset->type;
    qdq_rules_model facts;
    qdq_status status = QDQ_OK;
    if (targets->preset != NULL) status = qdq_rules_model_read(selection->model, kv, &facts);
    if (status == QDQ_OK)
        status = decide(targets, selection, arrangement, &wish, targets->preset != NULL ? &facts : NULL);
    return status;
}

/* What llama.cpp takes a file for that does not say: the type which most tensors have, marked as a guess. */
static uint32_t guessed_file_type(const qdq_model *model) {
    enum { GUESSED = 1024, TYPES = 64 };
    uint32_t counts[TYPES] = {0}, most = 0, type = 0;
    qdq_arrangement a;
    if (qdq_arrange(model, NULL, 0, &a) != QDQ_OK) return GUESSED;
    for (uint64_t i = 0; i < a.n; i++) {
        uint32_t id = qdq_model_tensor(model, a.tensors[i].index)->ggml_type;
        if (id >= TYPES || ++counts[id] <= most) continue;
        most = counts[id];
        type = id;
    }
    qdq_arrangement_free(&a);
    const qdq_ggml_type *ggml = qdq_ggml_type_by_id(type);
    static const struct {
        const char *type;
        uint32_t file_type;
    } others[] = {{"q3_K", QDQ_FILE_Q3_K_M}, {"q4_K", QDQ_FILE_Q4_K_M}, {"q5_K", QDQ_FILE_Q5_K_M},
                  {"iq2_s", QDQ_FILE_IQ2_S}, {"nvfp4", QDQ_FILE_NVFP4}, {"iq1_m", QDQ_FILE_F32},
                  {"mxfp4", QDQ_FILE_F32}};
    for (size_t i = 0; ggml != NULL && i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].type, ggml->name) == 0) return GUESSED | others[i].file_type;
    const qdq_preset *preset = qdq_preset_by_type(type);
    return GUESSED | (preset != NULL ? preset->file_type : QDQ_FILE_F32);
}

uint32_t qdq_targets_file_type(const qdq_targets *targets, const qdq_model *model) {
    if (targets->preset != NULL) return targets->preset->file_type;
    if (!targets->copy) return qdq_describe_format(targets->format).ggml_file_type;
    const qdq_kv *kv =
        qdq_model_layout(model) == QDQ_LAYOUT_GGUF ? qdq_model_find_kv(model, "general.file_type") : NULL;
    uint64_t value;
    return kv != NULL && qdq_kv_u64(kv, &value) && value <= UINT32_MAX ? (uint32_t)value : guessed_file_type(model);
}

/* ---- One tensor ------------------------------------------------------------------------------------------------- */

static void explain(qdq_targets *targets, const qdq_tensor *t, const qdq_mixture_choice *c, qdq_target_choice *choice) {
    const qdq_ggml_type *wanted = qdq_ggml_type_by_id(c->wanted);
    choice->exception = c->type != targets->base;
    if (c->type != c->wanted) {
        snprintf(choice->reason, QDQ_REASON, "rows of %llu elements; %s has blocks of %u%s",
                 (unsigned long long)t->shape[t->n_dims - 1], wanted->name, (unsigned)wanted->block_elements,
                 c->rule == QDQ_RULE_COPIED ? ", and there is no other to fall back to" : "");
        return;
    }
    switch (c->rule) {
    case QDQ_RULE_PATTERN:
        snprintf(choice->reason, QDQ_REASON, "by %s", SHOWN(qdq_type_file_entry(targets->overrides, c->entry)));
        break;
    case QDQ_RULE_OPTION:
        snprintf(choice->reason, QDQ_REASON, "by %s",
                 c->type == targets->output_type ? "the wish for the output" : "the wish for the token embedding");
        break;
    default: snprintf(choice->reason, QDQ_REASON, "%s", c->reason); break;
    }
}

/* llama-quantize does without the entry of an embedding that has another size. */
static bool is_embedding(const char *name) {
    return strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0;
}

static qdq_status set_format(const qdq_targets *targets, const qdq_selection *selection, const qdq_tensor *t,
                             uint32_t type, qdq_target_choice *choice) {
    choice->already = type == t->ggml_type;
    if (choice->already) {
        if (choice->reason[0] == '\0') snprintf(choice->reason, QDQ_REASON, "it is %s already", t->type_name);
        return QDQ_OK;
    }
    qdq_format format = qdq_format_by_ggml_type(type);
    const qdq_ggml_type *wanted = qdq_ggml_type_by_id(type);
    if (format == QDQ_FORMAT_NONE)
        return qdq_fail(QDQ_UNSUPPORTED, "%s: tensor \"%s\": this version cannot make %s", SHOWN(t->path),
                        SHOWN(t->name), wanted->name);
    bool wants = wants_importance(targets, t->name, format), fits;
    if (wants && selection->imatrix == NULL) {
        choice->format = format;
        choice->lacks_importance = true;
        return QDQ_OK;
    }
    char reason[QDQ_REASON];
    qdq_status status = qdq_selection_fits(selection, t, format, &choice->importance, &fits, reason);
    if (status == QDQ_BAD_DATA && targets->preset != NULL && is_embedding(t->name)) {
        choice->importance = NULL;
        fits = true;
        status = QDQ_OK;
    }
    if (status != QDQ_OK) return status;
    choice->lacks_importance = wants && choice->importance == NULL && targets->preset != NULL;
    if (choice->lacks_importance) {
        choice->format = format;
        return QDQ_OK;
    }
    if (wants && choice->importance == NULL) {
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

qdq_status qdq_targets_lack(qdq_format format, const qdq_selection *selection, const char *name) {
    const char *wanted = qdq_describe_format(format).name;
    if (selection->imatrix == NULL)
        return qdq_fail_advising(QDQ_ADVICE_IMATRIX, QDQ_INVALID_ARGUMENT,
                                 "%s: tensor \"%s\" would be %s, which needs an importance matrix",
                                 SHOWN(qdq_model_path(selection->model)), SHOWN(name), wanted);
    return qdq_fail_advising(QDQ_ADVICE_EXCEPTION, QDQ_BAD_DATA,
                             "%s: tensor \"%s\" would be %s, which needs an importance matrix, and the one given has "
                             "no entry for it",
                             SHOWN(qdq_model_path(selection->model)), SHOWN(name), wanted);
}

qdq_status qdq_targets_choose(qdq_targets *targets, const qdq_selection *selection, uint64_t index,
                              qdq_target_choice *choice) {
    *choice = (qdq_target_choice){.format = QDQ_FORMAT_NONE};
    const qdq_tensor *t = qdq_model_tensor(selection->model, index);
    if (targets->copy) {
        snprintf(choice->reason, QDQ_REASON, "COPY");
        choice->already = true;
        return QDQ_OK;
    }
    const qdq_mixture_choice *c = &targets->choices[index];
    const qdq_ggml_type *stored = qdq_ggml_type_by_id(t->ggml_type);
    bool takes;
    qdq_status status = qdq_selection_takes(selection, t, &takes, choice->reason);
    if (status != QDQ_OK) return status;
    if (!takes && targets->preset != NULL && stored != NULL && qdq_ggml_type_is_quantized(stored) &&
        c->type != t->ggml_type)
        return qdq_fail_advising(QDQ_ADVICE_REQUANTIZE, QDQ_UNSUPPORTED,
                                 "%s: tensor \"%s\" is %s already, and %s wants it as %s: give the F32, F16 or BF16 "
                                 "model that it was made from",
                                 SHOWN(t->path), SHOWN(t->name), stored->name, targets->preset->name,
                                 qdq_ggml_type_by_id(c->type)->name);
    if (!takes) return QDQ_OK;
    if (c->rule == QDQ_RULE_COPIED && c->wanted == c->type) {
        snprintf(choice->reason, QDQ_REASON, "llama-quantize keeps it (%s)", c->reason);
        return QDQ_OK;
    }
    if (c->rule == QDQ_RULE_PATTERN) targets->used[c->entry]++;
    explain(targets, t, c, choice);
    return set_format(targets, selection, t, c->type, choice);
}
