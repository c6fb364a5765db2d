/* Passes over a model that fill in what scores lack. */
#ifndef QDQ_PLAN_MEASURE_H
#define QDQ_PLAN_MEASURE_H

#include "plan/scores.h"
#include "model/gradients.h"

typedef struct qdq_measured_tensor {
    const qdq_tensor *tensor;
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
/* Leaves of the tensors those of one part, counted from 1, of parts that cost about the same: *n of them, in order. */
qdq_status qdq_measure_part(qdq_measured_tensor *tensors, size_t *n, uint32_t part, uint32_t parts);
/* Measures what scores lack, all formats of a tensor in one reading. Writes the file now and then, so that an
 * interrupted pass can be gone on with, and in the end, where something was measured or the scores
 * are changed already. *passes: tensors that were read. */
qdq_status qdq_measure(qdq_pass *pass, const char *path, size_t n, const qdq_measured_tensor *tensors,
                       qdq_scores *scores, bool changed, uint64_t *passes);

#endif
