/* Which type each tensor of `qdq quantize` gets: -f, --tensor-type and --tensor-type-file by llama-quantize's rules
 * (model/llama_rules.h), or a plan. */
#ifndef QDQ_CLI_TARGETS_H
#define QDQ_CLI_TARGETS_H

#include "plan/plan_file.h"
#include "model/llama_rules.h"
#include "cli/session.h"

typedef struct qdq_targets {
    qdq_format format;        /* of -f; QDQ_FORMAT_NONE: the plan's */
    qdq_type_file *overrides; /* NULL: none */
    uint64_t *used;           /* one an entry of overrides: the tensors for which it decided */
    const char *plan_path;    /* NULL: no plan */
    qdq_plan plan;
} qdq_targets;

/* The plan is one for the model's tensors, in their order, with the same shapes and types. QDQ_BAD_DATA: it is not. */
qdq_status qdq_targets_check_plan(const qdq_targets *targets, const qdq_model *model);
/* All that can be asked for has the importance matrix that it needs; imatrix: its path, or NULL. QDQ_INVALID_ARGUMENT:
 * it has not. */
qdq_status qdq_targets_check_importance(const qdq_targets *targets, const char *imatrix);

typedef struct qdq_target_choice {
    qdq_format format; /* QDQ_FORMAT_NONE: the tensor stays as it is */
    const qdq_imatrix_entry *importance;
    bool exception;          /* another format than -f's */
    bool already;            /* it stays because it is of the wanted type */
    char reason[QDQ_REASON]; /* why it stays, or has another format */
} qdq_target_choice;

/* Of tensor `index`. QDQ_UNSUPPORTED: a type that this version has no format for; QDQ_BAD_DATA: an importance matrix of
 * another size; QDQ_INVALID_ARGUMENT: the type needs an importance matrix and none is given. */
qdq_status qdq_targets_choose(qdq_targets *targets, const qdq_session *session, uint64_t index,
                              qdq_target_choice *choice);
void qdq_targets_free(qdq_targets *targets);

#endif
