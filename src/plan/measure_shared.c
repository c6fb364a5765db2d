/* What scores lack, measured with other processes in a folder of sums. */
#include <stdlib.h>

#include "model/selection.h"
#include "model/shared_sums.h"
#include "plan/measure.h"
#include "base/error.h"

_Static_assert(sizeof(qdq_error_sums) == QDQ_SUM_WORDS * sizeof(uint64_t), "sums are kept as words");

typedef struct measuring {
    const qdq_measured_tensor *tensors;
    qdq_scores *scores;
    qdq_sums_job job; /* a tensor each, but those without sums */
    size_t *which;    /* of the tensors each of the job's is */
    char *sums;
} measuring;

/* Energy stands behind the formats' sums. */
static bool has_energy(const qdq_measured_tensor *m) { return m->importance != NULL && m->gradient == NULL; }

static qdq_error_sums *energy_of(const qdq_measured_tensor *m, void *sums) {
    return has_energy(m) ? (qdq_error_sums *)sums + m->n_formats : NULL;
}

static qdq_status put(void *context, qdq_pass *pass, uint64_t i) {
    const measuring *m = context;
    const qdq_measured_tensor *t = &m->tensors[m->which[i]];
    void *sums = m->job.tensors[i].sums;
    return qdq_measure_put(pass, t, t->n_formats, t->formats, sums, energy_of(t, sums));
}

/* As `error` and `sensitivity` have these sums: what is in a folder is there for all three. */
static qdq_status add_tensor(qdq_sums_job *job, const qdq_measured_tensor *t, void *sums) {
    qdq_status status = qdq_sums_add(job, t->index, t->n_formats + has_energy(t), sums);
    for (uint32_t f = 0; f < t->n_formats && status == QDQ_OK; f++) {
        qdq_format formats[] = {t->formats[f], QDQ_FORMAT_SOURCE};
        status = qdq_sums_of(job, f, t->gradient != NULL ? 2 : 1, formats);
    }
    return status == QDQ_OK && has_energy(t) ? qdq_sums_of(job, t->n_formats, 0, NULL) : status;
}

static qdq_status add_tensors(measuring *m, qdq_pass *pass, size_t n, uint64_t *lacking) {
    qdq_format formats[QDQ_MAX_FORMATS];
    uint64_t n_sums = 0;
    for (size_t i = 0; i < n; i++) n_sums += m->tensors[i].n_formats + has_energy(&m->tensors[i]);
    m->sums = calloc((size_t)n_sums + 1, m->job.words * sizeof(uint64_t));
    m->which = calloc(n + 1, sizeof *m->which);
    if (m->sums == NULL || m->which == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for what is measured");
    qdq_status status = qdq_sums_begin(&m->job, pass, n, n_sums);
    for (size_t i = 0; i < n && status == QDQ_OK; i++) {
        const qdq_measured_tensor *t = &m->tensors[i];
        if (t->n_formats == 0 && !has_energy(t)) continue;
        m->which[m->job.n] = i;
        status = add_tensor(&m->job, t, m->sums + m->job.n_sums * m->job.words * sizeof(uint64_t));
        bool lacks = qdq_measure_missing(m->scores, t, formats) > 0 || qdq_measure_lacks_energy(m->scores, t);
        m->job.tensors[m->job.n - 1].known = !lacks;
        *lacking += lacks;
    }
    return status;
}

static qdq_status keep(const measuring *m) {
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < m->job.n && status == QDQ_OK; i++) {
        const qdq_measured_tensor *t = &m->tensors[m->which[i]];
        void *sums = m->job.tensors[i].sums;
        if (!m->job.tensors[i].known)
            status = qdq_measure_keep(m->scores, t, t->n_formats, t->formats, sums, energy_of(t, sums));
    }
    return status;
}

qdq_status qdq_measure_shared(qdq_pass *pass, const qdq_selection *selection, const qdq_gradients *gradients, size_t n,
                              const qdq_measured_tensor *tensors, qdq_scores *scores, qdq_shared_sums *shared,
                              uint64_t *lacking) {
    uint64_t bytes = gradients != NULL ? sizeof(qdq_sensitivity_sums) : sizeof(qdq_error_sums);
    measuring m = {.tensors = tensors,
                   .scores = scores,
                   .job = {.what = gradients != NULL ? "sensitivity" : "error",
                           .selection = selection,
                           .gradients = gradients,
                           .words = (uint32_t)(bytes / sizeof(uint64_t)),
                           .shared = true,
                           .put = put,
                           .context = &m}};
    *lacking = 0;
    qdq_status status = add_tensors(&m, pass, n, lacking);
    if (status == QDQ_OK) status = qdq_sums_measure(&m.job, pass, shared);
    if (status == QDQ_OK && shared->parts == 0) status = keep(&m);
    qdq_sums_end(&m.job);
    free(m.which);
    free(m.sums);
    return status;
}
