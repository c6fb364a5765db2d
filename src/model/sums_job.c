#include "model/sums_job.h"

#include <stdlib.h>

#include "model/costs.h"
#include "model/format_list.h"
#include "model/gradients.h"
#include "model/identity.h"
#include "model/selection.h"
#include "base/error.h"

/* An importance matrix and gradients are told by their files, too: who leaves one out by mistake is to hear of it, and
 * not to measure all anew. */
static uint64_t plan_of(const qdq_sums_job *job, const qdq_pass *pass) {
    char reference[16];
    qdq_checksum plan;
    const qdq_imatrix *imatrix = job->selection->imatrix;
    qdq_pass_reference(pass, reference);
    qdq_checksum_begin(&plan);
    qdq_checksum_text(&plan, job->what);
    qdq_checksum_text(&plan, reference);
    qdq_checksum_number(&plan, imatrix != NULL);
    for (uint64_t i = 0; imatrix != NULL && i < qdq_imatrix_count(imatrix); i++) {
        const qdq_imatrix_entry *entry = qdq_imatrix_entry_at(imatrix, i);
        qdq_checksum_text(&plan, entry->name);
        qdq_identity_add_importance(&plan, entry);
    }
    if (job->gradients != NULL) qdq_checksum_number(&plan, qdq_identity_of_source(qdq_gradients_model(job->gradients)));
    return qdq_checksum_value(&plan);
}

qdq_status qdq_sums_begin(qdq_sums_job *job, const qdq_pass *pass, uint64_t most_tensors, uint64_t most_sums) {
    job->n = job->n_sums = 0;
    job->tensors = calloc((size_t)most_tensors + 1, sizeof *job->tensors);
    job->keys = calloc((size_t)most_sums + 1, sizeof *job->keys);
    if (job->tensors == NULL || job->keys == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for what is measured");
    if (job->shared) job->plan = plan_of(job, pass);
    return QDQ_OK;
}

/* Which gradient, in which order of rows, goes with the tensor; what it holds is in its file's own checksum. */
static qdq_status add_gradient(qdq_sums_job *job, const qdq_tensor *t, uint64_t *bytes) {
    qdq_gradient gradient;
    qdq_status status = qdq_gradients_of(job->gradients, t, &gradient);
    if (status != QDQ_OK) return status;
    for (uint64_t i = 0; i < gradient.n_parts; i++) {
        qdq_checksum_text(&job->tensor, gradient.parts[i].gradient->name);
        qdq_checksum_number(&job->tensor, (uint64_t)gradient.parts[i].heads);
        *bytes += gradient.parts[i].gradient->bytes;
    }
    qdq_gradient_free(&gradient);
    return QDQ_OK;
}

qdq_status qdq_sums_add(qdq_sums_job *job, uint64_t index, uint32_t n, void *sums) {
    const qdq_tensor *t = qdq_model_tensor(job->selection->model, index);
    qdq_sums_tensor *made = &job->tensors[job->n++];
    *made = (qdq_sums_tensor){.index = index, .first = job->n_sums, .n = n, .sums = sums, .bytes = t->bytes};
    job->n_sums += n;
    job->importance = NULL;
    qdq_checksum_begin(&job->tensor);
    qdq_checksum_text(&job->tensor, t->name);
    qdq_checksum_number(&job->tensor, t->dtype);
    qdq_status status = job->gradients != NULL ? add_gradient(job, t, &made->bytes) : QDQ_OK;
    made->cost = (double)made->bytes * qdq_cost(QDQ_FORMAT_NONE, false);
    return status;
}

/* That of the last tensor is kept. */
static uint64_t checksum_of(qdq_sums_job *job, const qdq_imatrix_entry *importance) {
    qdq_checksum sum;
    if (importance == job->importance) return job->importance_sum;
    qdq_checksum_begin(&sum);
    qdq_identity_add_importance(&sum, importance);
    job->importance = importance;
    return job->importance_sum = qdq_checksum_value(&sum);
}

qdq_status qdq_sums_of(qdq_sums_job *job, uint32_t k, uint32_t n_formats, const qdq_format *formats) {
    qdq_sums_tensor *to = &job->tensors[job->n - 1];
    const qdq_tensor *t = qdq_model_tensor(job->selection->model, to->index);
    const qdq_imatrix_entry *importance = NULL;
    qdq_fit fit = {.size = sizeof fit};
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0; f < n_formats && status == QDQ_OK; f++) {
        if (formats[f] == QDQ_FORMAT_SOURCE) continue;
        status = qdq_selection_check(job->selection, t, formats[f], &fit, &importance);
        to->cost += (double)t->elements * qdq_cost(formats[f], importance != NULL);
    }
    if (status != QDQ_OK || !job->shared) return status;
    qdq_checksum key = job->tensor;
    qdq_checksum_number(&key, importance != NULL);
    if (importance != NULL) qdq_checksum_number(&key, checksum_of(job, importance));
    for (uint32_t f = 0; f < n_formats; f++)
        qdq_checksum_text(&key, formats[f] == QDQ_FORMAT_SOURCE ? "source" : qdq_describe_format(formats[f]).name);
    job->keys[to->first + k] = qdq_checksum_value(&key);
    return QDQ_OK;
}

void qdq_sums_end(qdq_sums_job *job) {
    free(job->tensors);
    free(job->keys);
    job->tensors = NULL;
    job->keys = NULL;
}
