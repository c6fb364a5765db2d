#include "plan/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/decoding.h"
#include "model/format_list.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/platform.h"
#include "base/platform_files.h"

/* ---- Fingerprints ---------------------------------------------------------------------------------------------- */

/* Of a model: a hash of each file's size and time of change, each tensor's name, type, shape, place and first bytes.
 * Contents as a whole are not read, that would take as long as to measure them: whoever writes into a file and then
 * sets its old time again is believed. */
enum { FINGERPRINT = 32, PROBE = 64 };

static qdq_status mix_file(const char *path, uint64_t *hash) {
    qdq_file_info info;
    if (!qdq_path_info(path, &info)) return qdq_fail(QDQ_IO_ERROR, "%s: %s", path, strerror(errno));
    uint64_t facts[] = {info.bytes, (uint64_t)info.changed, (uint64_t)info.changed_ns};
    *hash = qdq_hash(*hash, facts, sizeof facts);
    return QDQ_OK;
}

static uint64_t mix_data(const qdq_tensor *t, uint64_t hash) {
    const qdq_decoding *d = t->decoding;
    if (d == NULL) return qdq_hash(hash, t->data, t->bytes < PROBE ? (size_t)t->bytes : PROBE);
    hash = qdq_hash(hash, &t->dtype, sizeof t->dtype);
    return qdq_hash(hash, d->codes, d->code_bytes < PROBE ? (size_t)d->code_bytes : PROBE);
}

static qdq_status fingerprint_model(const qdq_model *model, char text[FINGERPRINT]) {
    uint64_t hash = QDQ_HASH_OF_NOTHING;
    const char *path = NULL;
    qdq_status status = QDQ_OK;
    qdq_model_scattered(model, true);
    for (uint64_t i = 0; i < qdq_model_tensor_count(model) && status == QDQ_OK; i++) {
        const qdq_tensor *t = qdq_model_tensor(model, i);
        if (path == NULL || strcmp(path, t->path) != 0) status = mix_file(path = t->path, &hash);
        hash = qdq_hash(hash, t->name, strlen(t->name) + 1);
        hash = qdq_hash(hash, t->type_name, strlen(t->type_name) + 1);
        hash = qdq_hash(hash, t->shape, t->n_dims * sizeof *t->shape);
        hash = qdq_hash(hash, &t->offset, sizeof t->offset);
        hash = mix_data(t, hash);
    }
    qdq_model_scattered(model, false);
    snprintf(text, FINGERPRINT, "%016" PRIx64, hash);
    return status;
}

/* An importance matrix is small: all that is used of it. */
static qdq_status fingerprint_importance(const qdq_imatrix *imatrix, char text[FINGERPRINT]) {
    uint64_t hash = QDQ_HASH_OF_NOTHING;
    for (uint64_t i = 0; i < qdq_imatrix_count(imatrix); i++) {
        const qdq_imatrix_entry *entry = qdq_imatrix_entry_at(imatrix, i);
        float *weights = malloc((size_t)entry->count * sizeof *weights + 1);
        if (weights == NULL)
            return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %" PRIu64 " importances", entry->count);
        qdq_imatrix_weights(entry, 0, entry->count, weights);
        hash = qdq_hash(hash, entry->name, strlen(entry->name) + 1);
        hash = qdq_hash(hash, weights, (size_t)entry->count * sizeof *weights);
        free(weights);
    }
    snprintf(text, FINGERPRINT, "%016" PRIx64, hash);
    return QDQ_OK;
}

/* ---- The file -------------------------------------------------------------------------------------------------- */

qdq_status qdq_measure_open(const char *path, const qdq_model *model, const qdq_gradients *gradients,
                            const qdq_imatrix *imatrix, const char *reference, qdq_scores **scores) {
    char weights[FINGERPRINT], gradient[FINGERPRINT], importance[FINGERPRINT], *text;
    qdq_scores_inputs inputs = {.weights = weights,
                                .gradients = gradients != NULL ? gradient : NULL,
                                .importance = imatrix != NULL ? importance : NULL,
                                .reference = reference};
    qdq_file_info info;
    size_t length;
    qdq_status status = fingerprint_model(model, weights);
    if (status == QDQ_OK && gradients != NULL) status = fingerprint_model(qdq_gradients_model(gradients), gradient);
    if (status == QDQ_OK && imatrix != NULL) status = fingerprint_importance(imatrix, importance);
    if (status != QDQ_OK) return status;
    if (path == NULL || (!qdq_path_info(path, &info) && errno == ENOENT)) return qdq_scores_create(&inputs, scores);
    status = qdq_read_text(path, QDQ_RESULTS_LIMIT, &text, &length);
    if (status != QDQ_OK) return status;
    status = qdq_scores_read(path, text, length, &inputs, scores);
    free(text);
    return status;
}

qdq_status qdq_measure_create(const char *gradients, const qdq_model *model, const qdq_imatrix *imatrix,
                              qdq_scores **scores) {
    char weights[FINGERPRINT], importance[FINGERPRINT];
    qdq_status status = fingerprint_model(model, weights);
    if (status == QDQ_OK && imatrix != NULL) status = fingerprint_importance(imatrix, importance);
    if (status != QDQ_OK) return status;
    return qdq_scores_create(&(qdq_scores_inputs){.weights = weights,
                                                  .gradients = gradients,
                                                  .importance = imatrix != NULL ? importance : NULL},
                             scores);
}

qdq_status qdq_measure_save(const char *path, const qdq_scores *scores) {
    if (path == NULL) return QDQ_OK;
    char *text = qdq_scores_text(scores);
    if (text == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %s", path);
    qdq_status status = qdq_out_write_file(path, text, strlen(text));
    free(text);
    return status;
}

/* ---- Passes ---------------------------------------------------------------------------------------------------- */

/* The file is written anew each time: not more often than every second, and for no more than a twentieth of the time.
 */
static bool is_time_to_save(double saved, double took) {
    double passed = qdq_seconds() - saved;
    return passed >= 1 && passed >= 20 * took;
}

static const char *name_of(qdq_format format) { return qdq_describe_format(format).name; }

static bool lacks(const qdq_scores *scores, const qdq_measured_tensor *m, qdq_format format) {
    qdq_scores_error error;
    qdq_sensitivity_sums sums;
    return m->gradient != NULL ? !qdq_scores_get_gradient(scores, m->tensor->name, name_of(format), &sums)
                               : !qdq_scores_get_error(scores, m->tensor->name, name_of(format), &error);
}

/* Any format will do that takes the tensor as it is. */
static qdq_format format_for_energy(const qdq_measured_tensor *m) {
    qdq_format format = qdq_format_by_name("q8_0"); /* its block divides that of every format which needs importance */
    for (uint32_t f = 0; f < m->n_formats; f++)
        if (qdq_describe_format(m->formats[f]).importance < 2) format = m->formats[f];
    return format;
}

qdq_status qdq_measure_put(qdq_pass *pass, const qdq_measured_tensor *m, uint32_t n, const qdq_format *formats,
                           void *sums, qdq_error_sums *energy) {
    qdq_work work = {.kind = QDQ_WORK_ERROR, .tensor = m->tensor};
    qdq_status status = QDQ_OK;
    if (energy != NULL) {
        qdq_format any = format_for_energy(m);
        work.n_formats = 1;
        work.formats = &any;
        work.error = energy;
        status = qdq_pass_put(pass, &work);
    }
    if (n == 0 || status != QDQ_OK) return status;
    if (m->gradient != NULL)
        return qdq_gradients_score(pass, m->tensor, m->gradient, m->importance, n, formats, QDQ_FORMAT_SOURCE, sums);
    work.n_formats = n;
    work.formats = formats;
    work.importance = m->importance;
    work.error = sums;
    return qdq_pass_put(pass, &work);
}

qdq_status qdq_measure_keep(qdq_scores *scores, const qdq_measured_tensor *m, uint32_t n, const qdq_format *formats,
                            const void *sums, const qdq_error_sums *energy) {
    const char *name = m->tensor->name;
    qdq_status status = energy != NULL ? qdq_scores_set_energy(scores, name, energy->ww) : QDQ_OK;
    for (uint32_t f = 0; f < n && status == QDQ_OK; f++) {
        if (m->gradient != NULL) {
            status = qdq_scores_set_gradient(scores, name, name_of(formats[f]), (const qdq_sensitivity_sums *)sums + f);
        } else {
            const qdq_error_sums *e = (const qdq_error_sums *)sums + f;
            status = qdq_scores_set_error(scores, name, name_of(formats[f]), &(qdq_scores_error){e->err2, e->ww});
        }
    }
    return status;
}

bool qdq_measure_lacks_energy(const qdq_scores *scores, const qdq_measured_tensor *m) {
    double energy;
    return m->importance != NULL && m->gradient == NULL && !qdq_scores_get_energy(scores, m->tensor->name, &energy);
}

static uint64_t bytes_of(const qdq_measured_tensor *m, uint32_t n) {
    return m->gradient == NULL || n == 0
               ? m->tensor->bytes
               : m->tensor->bytes + m->tensor->elements * qdq_dtype_size(m->gradient->parts->gradient->dtype);
}

uint32_t qdq_measure_missing(const qdq_scores *scores, const qdq_measured_tensor *m,
                             qdq_format formats[QDQ_MAX_FORMATS]) {
    uint32_t n = 0;
    for (uint32_t f = 0; f < m->n_formats; f++)
        if (lacks(scores, m, m->formats[f])) formats[n++] = m->formats[f];
    return n;
}

/* Tensors under way together: several devices would wait for one another at the end of each. */
enum { TOGETHER = 32 };

typedef struct under_way {
    const qdq_measured_tensor *tensor;
    uint32_t n; /* formats that it lacks */
    bool lacks_energy;
    qdq_format formats[QDQ_MAX_FORMATS];
    qdq_error_sums energy;
    union {
        qdq_error_sums errors[QDQ_MAX_FORMATS];
        qdq_sensitivity_sums sensitivities[QDQ_MAX_FORMATS];
    } sums;
} under_way;

/* ---- By one process ---------------------------------------------------------------------------------------------- */

qdq_status qdq_measure(qdq_pass *pass, const char *path, size_t n, const qdq_measured_tensor *tensors,
                       qdq_scores *scores, bool changed, uint64_t *passes) {
    qdq_format formats[QDQ_MAX_FORMATS];
    uint64_t bytes = 0;
    *passes = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t k = qdq_measure_missing(scores, &tensors[i], formats);
        if (k > 0) bytes += bytes_of(&tensors[i], k);
        if (qdq_measure_lacks_energy(scores, &tensors[i])) bytes += tensors[i].tensor->bytes;
    }
    if (bytes == 0) return changed ? qdq_measure_save(path, scores) : QDQ_OK;
    under_way *all = malloc(TOGETHER * sizeof *all);
    if (all == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for what is measured");
    qdq_status status = QDQ_OK;
    double saved = qdq_seconds(), took = 0;
    qdq_pass_expect(pass, bytes);
    for (size_t i = 0; i < n && status == QDQ_OK;) {
        size_t together = 0;
        bool due = false;
        for (; i < n && together < TOGETHER && !due && status == QDQ_OK; i++) {
            under_way *u = &all[together];
            *u = (under_way){.tensor = &tensors[i], .lacks_energy = qdq_measure_lacks_energy(scores, &tensors[i])};
            u->n = qdq_measure_missing(scores, u->tensor, u->formats);
            if (u->n == 0 && !u->lacks_energy) continue;
            together++;
            status = qdq_measure_put(pass, u->tensor, u->n, u->formats, &u->sums, u->lacks_energy ? &u->energy : NULL);
            due = path != NULL && is_time_to_save(saved, took);
        }
        if (status == QDQ_OK) status = qdq_pass_flush(pass);
        for (size_t k = 0; k < together && status == QDQ_OK; k++) {
            const under_way *u = &all[k];
            status =
                qdq_measure_keep(scores, u->tensor, u->n, u->formats, &u->sums, u->lacks_energy ? &u->energy : NULL);
        }
        *passes += together;
        if (status != QDQ_OK || path == NULL || !is_time_to_save(saved, took)) continue;
        double before = qdq_seconds();
        status = qdq_measure_save(path, scores);
        saved = qdq_seconds();
        took = saved - before;
    }
    free(all);
    return status == QDQ_OK ? qdq_measure_save(path, scores) : status;
}
