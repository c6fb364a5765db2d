/* Which type each tensor of a quantized file gets: one format and exceptions, or a preset, by llama-quantize's rules
 * (model/llama_rules.h, model/mixtures.h). */
#ifndef QDQ_MODEL_TARGETS_H
#define QDQ_MODEL_TARGETS_H

#include "model/arrangement.h"
#include "model/mixtures.h"
#include "model/selection.h"

typedef struct qdq_targets {
    qdq_format format;        /* of all tensors that are quantized, where there is no preset */
    const qdq_preset *preset; /* llama-quantize's; NULL: none */
    bool copy;                /* llama-quantize's COPY: every tensor stays as it is */
    bool pure, leave_output;  /* as qdq_mixture_wish has these */
    uint32_t output_type, embedding_type;
    qdq_rules_revision rules;
    qdq_type_file *overrides;    /* NULL: none */
    uint64_t *used;              /* one an entry of overrides: the tensors for which it decided */
    uint32_t base;               /* the ggml type that is no exception; of qdq_targets_prepare() */
    qdq_mixture_choice *choices; /* one a tensor of the model; of qdq_targets_prepare() */
} qdq_targets;

#define QDQ_TARGETS_NONE                                                                                               \
    { .format = QDQ_FORMAT_NONE, .output_type = QDQ_NO_TYPE, .embedding_type = QDQ_NO_TYPE, .rules = QDQ_RULES_NEWEST }

/* All that can be asked for has the importance matrix that it needs; given: there is one. QDQ_INVALID_ARGUMENT: it has
 * not. */
qdq_status qdq_targets_check_importance(const qdq_targets *targets, bool given);
/* Decides for all tensors. kv: as qdq_rules_model_read() takes it. QDQ_UNSUPPORTED: llama-quantize stops at one of
 * them, or the preset's rules do not apply to such a model. */
qdq_status qdq_targets_prepare(qdq_targets *targets, const qdq_selection *selection, const qdq_arrangement *arrangement,
                               const qdq_kv_list *kv);
/* general.file_type. After qdq_targets_prepare(). */
uint32_t qdq_targets_file_type(const qdq_targets *targets, const qdq_model *model);

typedef struct qdq_target_choice {
    qdq_format format; /* QDQ_FORMAT_NONE: the tensor stays as it is */
    const qdq_imatrix_entry *importance;
    bool exception;          /* another format than the one */
    bool already;            /* it stays because it is of the wanted type */
    bool keeps_codes;        /* as qdq_choice has it */
    bool lacks_importance;   /* llama-quantize stops: it needs an importance that is not given */
    char reason[QDQ_REASON]; /* why it stays, or has another format */
} qdq_target_choice;

/* Of tensor `index`, after qdq_targets_prepare(). QDQ_UNSUPPORTED: a type that this version has no format for;
 * QDQ_BAD_DATA: an importance matrix of another size. */
qdq_status qdq_targets_choose(qdq_targets *targets, const qdq_selection *selection, uint64_t index,
                              qdq_target_choice *choice);
/* The failure for a tensor of that name that lacks importance for the format. */
qdq_status qdq_targets_lack(qdq_format format, const qdq_selection *selection, const char *name);
void qdq_targets_free(qdq_targets *targets);

#endif
