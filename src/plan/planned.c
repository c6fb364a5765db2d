#include "plan/planned.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "model/choosers.h"
#include "model/decoding.h"
#include "model/format_list.h"
#include "model/keep_codes.h"
#include "files/shown.h"
#include "base/error.h"

qdq_status qdq_planned_check(const qdq_plan *plan, const char *path, const qdq_model *model) {
    uint64_t n = qdq_model_tensor_count(model);
    if (n != plan->n_tensors)
        return qdq_fail(QDQ_BAD_DATA, "%s: a plan for another model: it has %llu tensors, this one has %llu",
                        SHOWN(path), (unsigned long long)plan->n_tensors, (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++) {
        const qdq_tensor *t = qdq_model_tensor(model, i);
        const qdq_plan_tensor *p = &plan->tensors[i];
        bool shape = strcmp(t->name, p->name) == 0 && t->n_dims == p->n_dims &&
                     (t->n_dims == 0 || memcmp(t->shape, p->shape, t->n_dims * sizeof *t->shape) == 0);
        bool type = strcmp(t->type_name, p->dtype) == 0;
        /* The same model in floats of another width: what is quantized has the same size and format. */
        if (shape && (type || (qdq_plan_format(p) != QDQ_FORMAT_NONE && t->source))) continue;
        if (shape)
            return qdq_fail(
                QDQ_BAD_DATA,
                "%s: a plan for this model in other types: it keeps \"%s\" as %s, and here it is %s, so the "
                "file would not have the planned size: plan this file anew",
                SHOWN(path), SHOWN(t->name), SHOWN(p->dtype), t->type_name);
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: a plan for another model: this one has \"%s\", %s of %s, where the plan has another tensor, "
            "shape or type",
            SHOWN(path), SHOWN(t->name), QDQ_EXTENTS(t), t->type_name);
    }
    return QDQ_OK;
}

qdq_status qdq_planned_check_importance(const qdq_plan *plan, bool given) {
    for (size_t i = 0; i < plan->n_tensors && !given; i++) {
        qdq_format format = qdq_plan_format(&plan->tensors[i]);
        qdq_status status = format != QDQ_FORMAT_NONE ? qdq_check_importance(&format, 1, given) : QDQ_OK;
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

qdq_status qdq_planned_choose(const qdq_plan *plan, const qdq_selection *selection, uint64_t index,
                              qdq_target_choice *choice) {
    const qdq_plan_tensor *planned = &plan->tensors[index];
    *choice = (qdq_target_choice){.format = QDQ_FORMAT_NONE};
    const qdq_tensor *t = qdq_model_tensor(selection->model, index);
    qdq_format format = qdq_plan_format(planned);
    bool fits;
    if (format == QDQ_FORMAT_NONE) {
        snprintf(choice->reason, QDQ_REASON, "%s",
                 planned->reason != NULL ? planned->reason : "the plan keeps it as it is");
        return QDQ_OK;
    }
    bool takes;
    qdq_status status = qdq_selection_takes(selection, t, &takes, choice->reason);
    if (status != QDQ_OK || !takes) return status;
    choice->keeps_codes = plan->keep_codes && qdq_keeps_codes(t) == format;
    choice->already = qdq_tensor_is_in(t, format);
    if (choice->already) {
        snprintf(choice->reason, QDQ_REASON, "it is %s already", t->type_name);
        return QDQ_OK;
    }
    status = qdq_selection_fits(selection, t, format, &choice->importance, &fits, choice->reason);
    if (fits) choice->format = format;
    return status;
}

uint32_t qdq_planned_file_type(const qdq_plan *plan) {
    enum { ALL_F32 = 0, MOSTLY_F16 = 1, MOSTLY_BF16 = 32 };
    uint64_t elements[QDQ_MAX_FORMATS] = {0}, most = 0;
    uint32_t type = ALL_F32;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const qdq_plan_tensor *t = &plan->tensors[i];
        qdq_format format = qdq_plan_format(t);
        if (format >= 0 && format < QDQ_MAX_FORMATS) elements[format] += t->elements;
        if (most == 0 && format < 0 && t->n_dims > 1)
            type = strcasecmp(t->dtype, "f16") == 0    ? MOSTLY_F16
                   : strcasecmp(t->dtype, "bf16") == 0 ? MOSTLY_BF16
                                                       : ALL_F32;
    }
    for (qdq_format f = 0; f < qdq_format_count() && f < QDQ_MAX_FORMATS; f++)
        if (elements[f] > most) {
            most = elements[f];
            type = qdq_describe_format(f).ggml_file_type;
        }
    return type;
}

/* ---- For programs ----------------------------------------------------------------------------------------------- */

qdq_status qdq_plan_check(const qdq_plan *plan, const qdq_selection *selection) {
    if (plan == NULL || selection == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_check: a NULL argument");
    qdq_status status = qdq_planned_check(plan, plan->path, selection->model);
    return status == QDQ_OK ? qdq_planned_check_importance(plan, selection->imatrix != NULL) : status;
}

qdq_status qdq_plan_choose(void *context, uint64_t index, qdq_choice *choice) {
    const qdq_plan_chooser *c = context;
    if (c == NULL || choice == NULL || index >= c->plan->n_tensors)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_choose: no such tensor, or a NULL argument");
    qdq_target_choice made;
    qdq_status status = qdq_planned_choose(c->plan, c->selection, index, &made);
    if (status == QDQ_OK) qdq_target_choice_show(&made, choice);
    return status;
}
