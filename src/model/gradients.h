/* Which gradient belongs to which weights, whatever either file calls them and in whatever order it has the rows. */
#ifndef QDQ_MODEL_GRADIENTS_H
#define QDQ_MODEL_GRADIENTS_H

#include "model/gguf_names.h"
#include "model/pass.h"
#include "model/selection.h"

/* A tensor's gradient: of each of its matrices in order, if that is how the other file has them, else one for all. */
typedef struct qdq_gradient_part {
    const qdq_tensor *gradient;
    uint64_t heads; /* the gradient's rows stand as in Hugging Face's files, the weights' as in GGUF; 0: alike */
} qdq_gradient_part;

typedef struct qdq_gradient {
    uint64_t n_parts; /* 0: there is none */
    qdq_gradient_part *parts;
} qdq_gradient;

/* Does the file's metadata say that the gradients are root mean squares over samples ("reduction")? */
bool qdq_gradients_are_rms(const qdq_gradients *gradients);
/* Tokens of a sample, in the mean ("tokens_per_sample"); 0: the metadata do not say. */
double qdq_gradients_tokens(const qdq_gradients *gradients);

/* QDQ_BAD_DATA: another shape; rows in an order that cannot be told (no hf) or that is neither GGUF's nor Hugging
 * Face's. */
qdq_status qdq_gradients_of(const qdq_gradients *gradients, const qdq_tensor *tensor, qdq_gradient *gradient);
void qdq_gradient_free(qdq_gradient *gradient);
/* Adds to sums, one a format, the scores of the tensor between the format and `high`, which may be QDQ_FORMAT_SOURCE:
 * all formats in one reading. A gradient of several parts, or of other rows, is done at return; otherwise sums are
 * complete after a flush. n_formats < QDQ_MAX_FORMATS. */
qdq_status qdq_gradients_score(qdq_pass *pass, const qdq_tensor *tensor, const qdq_gradient *gradient,
                               const qdq_imatrix_entry *importance, uint32_t n_formats, const qdq_format *formats,
                               qdq_format high, qdq_sensitivity_sums *sums);

#endif
