#include "model/sums_job.h"

#include <stdlib.h>

#include "model/costs.h"
#include "model/format_list.h"
#include "model/gradients.h"
#include "model/identity.h"
#include "model/selection.h"
#include "base/error.h"

qdq_status qdq_sums_begin(qdq_sums_job *job, const qdq_pass *pass, uint64_t most) {
    char reference[16];
    job->n = 0;
    job->tensors = calloc((size_t)most + 1, sizeof *job->tensors);
    if (job->tensors == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for what is measured");
    qdq_pass_reference(pass, reference);
    qdq_checksum_begin(&job->plan);
    qdq_checksum_text(&job->plan, job->what);
    qdq_checksum_text(&job->plan, reference);
    if (job->shared && job->gradients != NULL)
        qdq_checksum_number(&job->plan, qdq_identity_of_source(qdq_gradients_model(job->gradients)));
    return QDQ_OK;
}

/* Which gradient, in which order of rows, goes with the tensor; what it holds is in its file's own checksum. */
static qdq_status add_gradient(qdq_sums_job *job, const qdq_tensor *t, uint64_t *bytes) {
    qdq_gradient gradient;
    qdq_status status = qdq_gradients_of(job->gradients, t, &gradient);
    if (status != QDQ_OK) return status;
    for (uint64_t i = 0; i < gradient.n_parts; i++) {
        qdq_checksum_text(&job->plan, gradient.parts[i].gradient->name);
        qdq_checksum_number(&job->plan, (uint64_t)gradient.parts[i].heads);
        *bytes += gradient.parts[i].gradient->bytes;
    }
    qdq_gradient_free(&gradient);
    return QDQ_OK;
}

static qdq_status add_format(qdq_sums_job *job, const qdq_tensor *t, qdq_format format, double *cost) {
    const qdq_imatrix_entry *importance = NULL;
    qdq_fit fit = {.size = sizeof fit};
    bool source = format == QDQ_FORMAT_SOURCE;
    qdq_status status = source ? QDQ_OK : qdq_selection_check(job->selection, t, format, &fit, &importance);
    if (status != QDQ_OK) return status;
    if (!source) *cost += (double)t->elements * qdq_cost(format, importance != NULL);
    if (!job->shared) return QDQ_OK;
    qdq_checksum_text(&job->plan, source ? "source" : qdq_describe_format(format).name);
    qdq_checksum_number(&job->plan, importance != NULL);
    if (importance != NULL) qdq_identity_add_importance(&job->plan, importance);
    return QDQ_OK;
}

qdq_status qdq_sums_add(qdq_sums_job *job, uint64_t index, uint32_t n_formats, const qdq_format *formats, uint32_t n,
                        void *sums) {
    const qdq_tensor *t = qdq_model_tensor(job->selection->model, index);
    qdq_sums_tensor *made = &job->tensors[job->n++];
    *made = (qdq_sums_tensor){.index = index, .n = n, .sums = sums, .bytes = t->bytes};
    qdq_checksum_text(&job->plan, t->name);
    qdq_checksum_number(&job->plan, t->dtype);
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0; f < n_formats && status == QDQ_OK; f++) status = add_format(job, t, formats[f], &made->cost);
    if (status == QDQ_OK && job->gradients != NULL) status = add_gradient(job, t, &made->bytes);
    made->cost += (double)made->bytes * qdq_cost(QDQ_FORMAT_NONE, false);
    return status;
}

void qdq_sums_end(qdq_sums_job *job) {
    free(job->tensors);
    job->tensors = NULL;
}
