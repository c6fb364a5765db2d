/* How much several tensors of a model matter, by one process or by several. */
#include <stdlib.h>

#include "model/costs.h"
#include "model/decoding.h"
#include "model/format_list.h"
#include "model/gradients.h"
#include "model/identity.h"
#include "model/selection.h"
#include "model/shared_sums.h"
#include "base/error.h"

enum { WORDS = sizeof(qdq_sensitivity_sums) / sizeof(uint64_t) };
_Static_assert(sizeof(qdq_sensitivity_sums) <= QDQ_SUM_WORDS * sizeof(uint64_t), "sums are kept as words");

typedef struct measuring {
    const qdq_selection *selection;
    const qdq_gradients *gradients;
    qdq_format low, high;
    qdq_sums_tensor *tensors;
    bool shared;
    qdq_checksum plan; /* of what is shared */
} measuring;

static qdq_status put(void *context, qdq_pass *pass, uint64_t i) {
    const measuring *m = context;
    return qdq_pass_sensitivity(pass, m->selection, m->tensors[i].index, m->gradients, 1, &m->low, m->high,
                                m->tensors[i].sums);
}

/* Which gradient, in which order of rows, goes with the tensor; what it holds is in the file's own checksum. */
static qdq_status add_gradient(measuring *m, const qdq_tensor *t, uint64_t *bytes) {
    qdq_gradient gradient;
    qdq_status status = qdq_gradients_of(m->gradients, t, &gradient);
    if (status != QDQ_OK) return status;
    for (uint64_t i = 0; i < gradient.n_parts; i++) {
        qdq_checksum_text(&m->plan, gradient.parts[i].gradient->name);
        qdq_checksum_number(&m->plan, (uint64_t)gradient.parts[i].heads);
        *bytes += gradient.parts[i].gradient->bytes;
    }
    qdq_gradient_free(&gradient);
    return QDQ_OK;
}

static qdq_status add_tensor(measuring *m, uint64_t index, qdq_sensitivity_sums *sums, qdq_sums_tensor *made) {
    qdq_format formats[] = {m->low, m->high};
    if (index >= qdq_model_tensor_count(m->selection->model))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_sensitivities: there is no tensor %llu",
                        (unsigned long long)index);
    const qdq_tensor *t = qdq_model_tensor(m->selection->model, index);
    qdq_status status = QDQ_OK;
    *sums = (qdq_sensitivity_sums){0};
    *made = (qdq_sums_tensor){.index = index, .n = 1, .sums = sums, .bytes = t->bytes};
    for (int f = 0; f < 2 && status == QDQ_OK; f++) {
        const qdq_imatrix_entry *importance = NULL;
        qdq_fit fit = {.size = sizeof fit};
        bool source = formats[f] == QDQ_FORMAT_SOURCE;
        if (!source) status = qdq_selection_check(m->selection, t, formats[f], &fit, &importance);
        if (status != QDQ_OK) return status;
        made->cost += (double)t->elements * (source ? 0 : qdq_cost(formats[f], importance != NULL));
        if (m->shared) qdq_sums_plan_add(&m->plan, t, formats[f], importance);
    }
    status = add_gradient(m, t, &made->bytes);
    made->cost += (double)made->bytes * qdq_cost(QDQ_FORMAT_NONE, false);
    return status;
}

qdq_status qdq_pass_sensitivities(qdq_pass *pass, const qdq_selection *selection, const qdq_gradients *gradients,
                                  uint64_t n, const uint64_t *indexes, qdq_format low, qdq_format high,
                                  qdq_sensitivity_sums *sums, qdq_shared_sums *shared) {
    if (pass == NULL || selection == NULL || gradients == NULL || indexes == NULL || sums == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_sensitivities: a NULL argument");
    for (uint64_t i = 1; i < n; i++)
        if (indexes[i] <= indexes[i - 1])
            return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_sensitivities: tensors are not in the model's order");
    measuring m = {.selection = selection, .gradients = gradients, .low = low, .high = high, .shared = shared != NULL};
    m.tensors = calloc((size_t)n + 1, sizeof *m.tensors);
    qdq_status status = m.tensors != NULL ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for what is measured");
    qdq_sums_plan_begin(&m.plan, "sensitivity", pass);
    if (shared != NULL) qdq_checksum_number(&m.plan, qdq_identity_of_source(qdq_gradients_model(gradients)));
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) status = add_tensor(&m, indexes[i], &sums[i], &m.tensors[i]);
    qdq_sums_job job = {.model = selection->model,
                        .plan = qdq_checksum_value(&m.plan),
                        .words = WORDS,
                        .n = n,
                        .tensors = m.tensors,
                        .put = put,
                        .context = &m};
    if (status == QDQ_OK) status = qdq_sums_measure(&job, pass, shared);
    free(m.tensors);
    return status;
}
