/* What several formats do to each tensor of a selection, from one reading, and to all of them together. */
#include <stdlib.h>
#include <string.h>

#include "model/format_list.h"
#include "model/selection.h"
#include "model/shared_sums.h"
#include "base/error.h"

enum { NOT_MEASURED = 255 };

_Static_assert(sizeof(qdq_error_sums) == QDQ_SUM_WORDS * sizeof(uint64_t), "sums are kept as words");

struct qdq_errors {
    const qdq_selection *selection;
    uint64_t n_tensors; /* of the model */
    uint32_t n_formats;
    qdq_format formats[QDQ_MAX_FORMATS];
    /* A tensor's: how many different formats it is measured in, and whether importance weighs its squares. */
    uint8_t *n_taken;
    bool *weighted;
    /* n_formats a tensor: those different formats first, and their sums; and for each format that was asked for, which
     * of them stands for it. */
    qdq_format *taken;
    qdq_error_sums *sums;
    uint8_t *slots;
};

void qdq_errors_free(qdq_errors *e) {
    if (e == NULL) return;
    free(e->n_taken);
    free(e->weighted);
    free(e->taken);
    free(e->sums);
    free(e->slots);
    free(e);
}

/* ---- Which formats ---------------------------------------------------------------------------------------------- */

/* The format itself where it takes the tensor; where its block does not divide the rows, what is written in its place;
 * else QDQ_FORMAT_NONE. fit: of the one, or, with none, of the format itself. */
static qdq_status find_format(const qdq_errors *e, uint64_t index, qdq_format format, qdq_format *written,
                              qdq_fit *fit) {
    const qdq_tensor *t = qdq_model_tensor(e->selection->model, index);
    qdq_fit other = {.size = sizeof other};
    *written = QDQ_FORMAT_NONE;
    qdq_status status = qdq_selection_fit(e->selection, index, format, fit);
    if (status != QDQ_OK) return status;
    if (fit->reason == QDQ_FIT_TAKEN) *written = format;
    qdq_format stand_in;
    if (fit->reason != QDQ_FIT_ROW || qdq_llama_fallback(format, t->shape[t->n_dims - 1], &stand_in) != QDQ_OK)
        return QDQ_OK;
    status = qdq_selection_fit(e->selection, index, stand_in, &other);
    if (status != QDQ_OK || other.reason != QDQ_FIT_TAKEN) return status;
    *written = stand_in;
    *fit = other;
    return QDQ_OK;
}

static qdq_status add_tensor(qdq_errors *e, uint64_t index) {
    uint64_t row = index * e->n_formats;
    for (uint32_t f = 0; f < e->n_formats; f++) {
        qdq_format written;
        qdq_fit fit = {.size = sizeof fit};
        qdq_status status = find_format(e, index, e->formats[f], &written, &fit);
        if (status != QDQ_OK) return status;
        e->slots[row + f] = NOT_MEASURED;
        if (written == QDQ_FORMAT_NONE) continue;
        uint8_t k = 0;
        while (k < e->n_taken[index] && e->taken[row + k] != written) k++;
        if (k == e->n_taken[index]) e->taken[row + e->n_taken[index]++] = written;
        e->slots[row + f] = k;
        e->weighted[index] = fit.weighted;
    }
    return QDQ_OK;
}

static qdq_status make_room(qdq_errors *e) {
    uint64_t n = e->n_tensors, results;
    if (!__builtin_mul_overflow(n, e->n_formats, &results)) {
        e->n_taken = calloc((size_t)n + 1, sizeof *e->n_taken);
        e->weighted = calloc((size_t)n + 1, sizeof *e->weighted);
        e->taken = calloc((size_t)results + 1, sizeof *e->taken);
        e->sums = calloc((size_t)results + 1, sizeof *e->sums);
        e->slots = calloc((size_t)results + 1, sizeof *e->slots);
    }
    if (e->slots == NULL || e->n_taken == NULL || e->weighted == NULL || e->taken == NULL || e->sums == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results of %llu tensors", (unsigned long long)n);
    return QDQ_OK;
}

qdq_status qdq_errors_create(const qdq_selection *selection, uint32_t n_formats, const qdq_format *formats,
                             qdq_errors **errors) {
    if (errors == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_errors_create: errors is NULL");
    *errors = NULL;
    if (selection == NULL || formats == NULL || n_formats == 0 || n_formats > QDQ_MAX_FORMATS)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_errors_create: %u formats, or a NULL argument", (unsigned)n_formats);
    qdq_errors *e = calloc(1, sizeof *e);
    if (e == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for errors");
    e->selection = selection;
    e->n_tensors = qdq_model_tensor_count(selection->model);
    e->n_formats = n_formats;
    memcpy(e->formats, formats, n_formats * sizeof *formats);
    qdq_status status = make_room(e);
    for (uint64_t i = 0; i < e->n_tensors && status == QDQ_OK; i++) status = add_tensor(e, i);
    if (status == QDQ_OK)
        *errors = e;
    else
        qdq_errors_free(e);
    return status;
}

/* ---- Measuring -------------------------------------------------------------------------------------------------- */

typedef struct measuring {
    qdq_errors *errors;
    qdq_sums_job job;
} measuring;

static qdq_status put(void *context, qdq_pass *pass, uint64_t i) {
    const measuring *m = context;
    const qdq_errors *e = m->errors;
    const qdq_sums_tensor *t = &m->job.tensors[i];
    return qdq_pass_error(pass, e->selection, t->index, t->n, e->taken + t->index * e->n_formats, t->sums);
}

qdq_status qdq_errors_measure_shared(qdq_errors *e, qdq_pass *pass, qdq_shared_sums *shared) {
    if (e == NULL || pass == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_errors_measure: a NULL argument");
    measuring m = {.errors = e,
                   .job = {.what = "error",
                           .selection = e->selection,
                           .words = sizeof(qdq_error_sums) / sizeof(uint64_t),
                           .shared = shared != NULL,
                           .put = put,
                           .context = &m}};
    qdq_status status = qdq_sums_begin(&m.job, pass, e->n_tensors, e->n_tensors * e->n_formats);
    memset(e->sums, 0, (size_t)(e->n_tensors * e->n_formats) * sizeof *e->sums);
    for (uint64_t i = 0; i < e->n_tensors && status == QDQ_OK; i++) {
        uint64_t row = i * e->n_formats;
        if (e->n_taken[i] > 0) status = qdq_sums_add(&m.job, i, e->n_taken[i], e->sums + row);
        for (uint32_t k = 0; k < e->n_taken[i] && status == QDQ_OK; k++)
            status = qdq_sums_of(&m.job, k, 1, &e->taken[row + k]);
    }
    if (status == QDQ_OK) status = qdq_sums_measure(&m.job, pass, shared);
    qdq_sums_end(&m.job);
    return status;
}

qdq_status qdq_errors_measure(qdq_errors *errors, qdq_pass *pass) {
    return qdq_errors_measure_shared(errors, pass, NULL);
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

bool qdq_errors_find(const qdq_errors *e, uint64_t index, uint32_t format, qdq_format *written,
                     const qdq_error_sums **sums) {
    if (e == NULL || index >= e->n_tensors || format >= e->n_formats) return false;
    uint64_t row = index * e->n_formats;
    uint8_t slot = e->slots[row + format];
    if (slot == NOT_MEASURED) return false;
    if (written != NULL) *written = e->taken[row + slot];
    if (sums != NULL) *sums = &e->sums[row + slot];
    return true;
}

bool qdq_errors_weighted(const qdq_errors *e, uint64_t index) {
    return e != NULL && index < e->n_tensors && e->weighted[index];
}

qdq_status qdq_errors_total(const qdq_errors *e, uint32_t format, bool weighted, qdq_error_sums *sums, double *bits) {
    if (e == NULL || sums == NULL || format >= e->n_formats)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_errors_total: there is no format %u, or a NULL argument",
                        (unsigned)format);
    *sums = (qdq_error_sums){0};
    double all = 0;
    for (uint64_t i = 0; i < e->n_tensors; i++) {
        qdq_format written;
        const qdq_error_sums *one;
        if (e->weighted[i] != weighted || !qdq_errors_find(e, i, format, &written, &one)) continue;
        qdq_format_info info = qdq_describe_format(written);
        sums->err2 += one->err2;
        sums->ww += one->ww;
        sums->qq += one->qq;
        sums->count += one->count;
        if (one->max_abs > sums->max_abs) sums->max_abs = one->max_abs;
        all += 8.0 * info.block_bytes / info.block_elements * (double)one->count;
    }
    if (bits != NULL) *bits = sums->count > 0 ? all / (double)sums->count : 0;
    return QDQ_OK;
}
