/* How much several tensors of a model matter, by one process or by several. */
#include "model/selection.h"
#include "model/shared_sums.h"
#include "base/error.h"

enum { WORDS = sizeof(qdq_sensitivity_sums) / sizeof(uint64_t) };
_Static_assert(sizeof(qdq_sensitivity_sums) <= QDQ_SUM_WORDS * sizeof(uint64_t), "sums are kept as words");

typedef struct measuring {
    qdq_format low, high;
    qdq_sums_job job;
} measuring;

static qdq_status put(void *context, qdq_pass *pass, uint64_t i) {
    const measuring *m = context;
    const qdq_sums_tensor *t = &m->job.tensors[i];
    return qdq_pass_sensitivity(pass, m->job.selection, t->index, m->job.gradients, 1, &m->low, m->high, t->sums);
}

static qdq_status add_tensor(measuring *m, uint64_t index, qdq_sensitivity_sums *sums) {
    qdq_format formats[] = {m->low, m->high};
    if (index >= qdq_model_tensor_count(m->job.selection->model))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_sensitivities: there is no tensor %llu",
                        (unsigned long long)index);
    *sums = (qdq_sensitivity_sums){0};
    qdq_status status = qdq_sums_add(&m->job, index, 1, sums);
    return status == QDQ_OK ? qdq_sums_of(&m->job, 0, 2, formats) : status;
}

qdq_status qdq_pass_sensitivities(qdq_pass *pass, const qdq_selection *selection, const qdq_gradients *gradients,
                                  uint64_t n, const uint64_t *indexes, qdq_format low, qdq_format high,
                                  qdq_sensitivity_sums *sums, qdq_shared_sums *shared) {
    if (pass == NULL || selection == NULL || gradients == NULL || indexes == NULL || sums == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_sensitivities: a NULL argument");
    for (uint64_t i = 1; i < n; i++)
        if (indexes[i] <= indexes[i - 1])
            return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_sensitivities: tensors are not in the model's order");
    measuring m = {.low = low,
                   .high = high,
                   .job = {.what = "sensitivity",
                           .selection = selection,
                           .gradients = gradients,
                           .words = WORDS,
                           .shared = shared != NULL,
                           .put = put,
                           .context = &m}};
    qdq_status status = qdq_sums_begin(&m.job, pass, n, n);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) status = add_tensor(&m, indexes[i], &sums[i]);
    if (status == QDQ_OK) status = qdq_sums_measure(&m.job, pass, shared);
    qdq_sums_end(&m.job);
    return status;
}
