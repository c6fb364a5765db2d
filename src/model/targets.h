/* Which type each tensor of a quantized file gets: one format and exceptions, by llama-quantize's rules
 * (model/llama_rules.h). */
#ifndef QDQ_MODEL_TARGETS_H
#define QDQ_MODEL_TARGETS_H

#include "model/llama_rules.h"
#include "model/selection.h"

typedef struct qdq_targets {
    qdq_format format;        /* of all tensors that are quantized */
    qdq_type_file *overrides; /* NULL: none */
    uint64_t *used;           /* one an entry of overrides: the tensors for which it decided */
} qdq_targets;

/* All that can be asked for has the importance matrix that it needs; imatrix: its path, or NULL. QDQ_INVALID_ARGUMENT:
 * it has not. */
qdq_status qdq_targets_check_importance(const qdq_targets *targets, const char *imatrix);

typedef struct qdq_target_choice {
    qdq_format format; /* QDQ_FORMAT_NONE: the tensor stays as it is */
    const qdq_imatrix_entry *importance;
    bool exception;          /* another format than the one */
    bool already;            /* it stays because it is of the wanted type */
    char reason[QDQ_REASON]; /* why it stays, or has another format */
} qdq_target_choice;

/* Of tensor `index`. QDQ_UNSUPPORTED: a type that this version has no format for; QDQ_BAD_DATA: an importance matrix of
 * another size; QDQ_INVALID_ARGUMENT: the type needs an importance matrix and none is given. */
qdq_status qdq_targets_choose(qdq_targets *targets, const qdq_selection *selection, uint64_t index,
                              qdq_target_choice *choice);
void qdq_targets_free(qdq_targets *targets);

#endif
