/* Passes over a model that fill in what scores lack. */
#ifndef QDQ_PLAN_MEASURE_H
#define QDQ_PLAN_MEASURE_H

#include "plan/scores.h"
#include "model/gradients.h"

typedef struct qdq_measured_tensor {
    const qdq_tensor *tensor;
    uint64_t index; /* of the model */
    const qdq_imatrix_entry *importance;
    const qdq_gradient *gradient; /* NULL: errors are measured, else sensitivities */
    const qdq_format *formats;
    uint32_t n_formats;
} qdq_measured_tensor;

/* The scores of a file that is there, or empty ones. path: NULL: none are kept. reference: the revision by which codes
 * are chosen. */
qdq_status qdq_measure_open(const char *path, const qdq_model *model, const qdq_gradients *gradients,
                            const qdq_imatrix *imatrix, const char *reference, qdq_scores **scores);
/* Empty scores of a model, with sums that somebody else has measured to come. gradients: what of, in words. */
qdq_status qdq_measure_create(const char *gradients, const qdq_model *model, const qdq_imatrix *imatrix,
                              qdq_scores **scores);
/* Writes the file. path NULL: nothing. */
qdq_status qdq_measure_save(const char *path, const qdq_scores *scores);
/* Measures what scores lack, all formats of a tensor in one reading. Writes the file now and then, so that an
 * interrupted pass can be gone on with, and in the end, where something was measured or the scores
 * are changed already. *passes: tensors that were read. */
qdq_status qdq_measure(qdq_pass *pass, const char *path, size_t n, const qdq_measured_tensor *tensors,
                       qdq_scores *scores, bool changed, uint64_t *passes);
/* Measures what scores lack with other processes; with all sums, and no part to measure, scores take them. *lacking:
 * tensors whose sums the scores lacked. */
qdq_status qdq_measure_shared(qdq_pass *pass, const qdq_selection *selection, const qdq_gradients *gradients, size_t n,
                              const qdq_measured_tensor *tensors, qdq_scores *scores, qdq_shared_sums *shared,
                              uint64_t *lacking);

/* ---- What both are made of -------------------------------------------------------------------------------------- */

/* The tensor's formats that scores lack; returns how many. */
uint32_t qdq_measure_missing(const qdq_scores *scores, const qdq_measured_tensor *tensor,
                             qdq_format formats[QDQ_MAX_FORMATS]);
/* Is a tensor's energy wanted beside weighted errors, and do scores lack it? */
bool qdq_measure_lacks_energy(const qdq_scores *scores, const qdq_measured_tensor *tensor);
/* Puts the work into the pass. sums: n qdq_error_sums, or with a gradient qdq_sensitivity_sums; energy: NULL: it is not
 * wanted. All are zeros, and complete after a flush. */
qdq_status qdq_measure_put(qdq_pass *pass, const qdq_measured_tensor *tensor, uint32_t n, const qdq_format *formats,
                           void *sums, qdq_error_sums *energy);
/* Scores take what was measured so. */
qdq_status qdq_measure_keep(qdq_scores *scores, const qdq_measured_tensor *tensor, uint32_t n,
                            const qdq_format *formats, const void *sums, const qdq_error_sums *energy);

#endif
