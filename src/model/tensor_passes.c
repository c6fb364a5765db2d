/* Passes over single tensors, for programs: a selection's tensor, checked, as work for a pass. */
#include "model/format_list.h"
#include "model/gradients.h"
#include "model/pass.h"
#include "model/selection.h"
#include "base/error.h"
#include "files/shown.h"

/* The tensor, its importance, and whether all the formats take it. */
static qdq_status prepare(const qdq_pass *pass, const qdq_selection *s, uint64_t index, uint32_t n_formats,
                          const qdq_format *formats, qdq_work *work) {
    if (pass == NULL || s == NULL || formats == NULL || n_formats == 0 || n_formats > QDQ_MAX_FORMATS)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "a pass over a tensor: %u formats, or a NULL argument",
                        (unsigned)n_formats);
    work->n_formats = n_formats;
    work->formats = formats;
    for (uint32_t f = 0; f < n_formats; f++) {
        qdq_fit fit = {.size = sizeof fit};
        qdq_status status = qdq_selection_fit(s, index, formats[f], &fit);
        if (status != QDQ_OK) return status;
        work->tensor = qdq_model_tensor(s->model, index);
        if (fit.reason != QDQ_FIT_TAKEN)
            return qdq_fail(QDQ_UNSUPPORTED, "%s: tensor \"%s\": %s", SHOWN(work->tensor->path),
                            SHOWN(work->tensor->name), fit.text);
        status = qdq_selection_check(s, work->tensor, formats[f], &fit, &work->importance);
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

qdq_status qdq_pass_error(qdq_pass *pass, const qdq_selection *selection, uint64_t index, uint32_t n_formats,
                          const qdq_format *formats, qdq_error_sums *sums) {
    qdq_work work = {.kind = QDQ_WORK_ERROR, .error = sums};
    if (sums == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_error: sums is NULL");
    qdq_status status = prepare(pass, selection, index, n_formats, formats, &work);
    return status == QDQ_OK ? qdq_pass_put(pass, &work) : status;
}

static qdq_status put(qdq_pass *pass, qdq_work_kind kind, const qdq_selection *selection, uint64_t index,
                      qdq_format format, qdq_sink *sink, void *context) {
    qdq_work work = {.kind = kind, .sink = sink, .context = context};
    if (sink == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "a pass over a tensor: sink is NULL");
    qdq_status status = prepare(pass, selection, index, 1, &format, &work);
    return status == QDQ_OK ? qdq_pass_put(pass, &work) : status;
}

qdq_status qdq_pass_roundtrip(qdq_pass *pass, const qdq_selection *selection, uint64_t index, qdq_format format,
                              qdq_sink *sink, void *context) {
    return put(pass, QDQ_WORK_ROUNDTRIP, selection, index, format, sink, context);
}

qdq_status qdq_pass_quantize(qdq_pass *pass, const qdq_selection *selection, uint64_t index, qdq_format format,
                             qdq_sink *sink, void *context) {
    return put(pass, QDQ_WORK_QUANTIZE, selection, index, format, sink, context);
}

qdq_status qdq_pass_sensitivity(qdq_pass *pass, const qdq_selection *selection, uint64_t index,
                                const qdq_gradients *gradients, uint32_t n_low, const qdq_format *low, qdq_format high,
                                qdq_sensitivity_sums *sums) {
    qdq_work work = {.kind = QDQ_WORK_SENSITIVITY};
    if (gradients == NULL || sums == NULL || n_low >= QDQ_MAX_FORMATS)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_sensitivity: %u formats, or a NULL argument", (unsigned)n_low);
    qdq_status status = high != QDQ_FORMAT_SOURCE ? prepare(pass, selection, index, 1, &high, &work) : QDQ_OK;
    if (status == QDQ_OK) status = prepare(pass, selection, index, n_low, low, &work);
    for (uint32_t f = 0; f <= n_low && status == QDQ_OK; f++) {
        qdq_format format = f < n_low ? low[f] : high;
        if (format != QDQ_FORMAT_SOURCE && qdq_format_is_source(format))
            status = qdq_fail(QDQ_UNSUPPORTED, "sensitivities are of formats of blocks, not of %s",
                              qdq_describe_format(format).name);
    }
    qdq_gradient gradient = {0};
    if (status == QDQ_OK) status = qdq_gradients_of(gradients, work.tensor, &gradient);
    if (status == QDQ_OK && gradient.n_parts == 0)
        status = qdq_fail(QDQ_UNSUPPORTED, "%s: has no gradient for tensor \"%s\"",
                          SHOWN(qdq_model_path(qdq_gradients_model(gradients))), SHOWN(work.tensor->name));
    if (status == QDQ_OK)
        status = qdq_gradients_score(pass, work.tensor, &gradient, work.importance, n_low, low, high, sums);
    qdq_gradient_free(&gradient);
    return status;
}
