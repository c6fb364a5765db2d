/* Carries tensors through a device, a chunk at a time, so that memory does not grow with the model. On the CPU the
 * kernels read the mapped file itself, whose pages are brought before; elsewhere two chunks are under way, so that
 * reading, transfer and kernels overlap. */
#ifndef QDQ_MODEL_PASS_H
#define QDQ_MODEL_PASS_H

#include "base/pool.h"
#include "files/files.h"

typedef enum qdq_work_kind {
    QDQ_WORK_ROUNDTRIP,
    QDQ_WORK_QUANTIZE,
    QDQ_WORK_ERROR,
    QDQ_WORK_SENSITIVITY,
    QDQ_WORK_KEEP /* blocks with the tensor's own codes (model/keep_codes.h) */
} qdq_work_kind;

/* What is done to one tensor. What is pointed at lives until the pass is flushed; the formats until qdq_pass_put()
 * returns. */
typedef struct qdq_work {
    qdq_work_kind kind;
    const qdq_tensor *tensor, *gradient; /* gradient: of sensitivity, with as many elements */
    /* The tensor's elements first … first + count - 1, whole blocks, with importance whole rows; count 0: all. Sums are
     * of whole tensors: their bits depend on where tiles begin. */
    uint64_t first, count;
    uint32_t n_formats;
    const qdq_format *formats; /* of sensitivity: any number of low ones, and the high one last */
    const qdq_imatrix_entry *importance;
    qdq_error_sums *error;             /* n_formats of them, added to */
    qdq_sensitivity_sums *sensitivity; /* one a low format, added to */
    qdq_sink *sink;                    /* of round trip (floats) and quantize (blocks) */
    void *context;
    bool again; /* the tensor's bytes are counted already */
} qdq_work;

/* Counts bytes that were read otherwise. QDQ_CANCELLED: the caller wants no more. */
qdq_status qdq_pass_advance(qdq_pass *pass, uint64_t bytes);
/* The host's threads. */
qdq_pool *qdq_pass_pool(const qdq_pass *pass);
/* The reference's revision by which its devices choose codes. */
void qdq_pass_reference(const qdq_pass *pass, char revision[16]);
bool qdq_pass_allows_non_finite(const qdq_pass *pass);
/* After a failure the pass can only be freed. */
qdq_status qdq_pass_put(qdq_pass *pass, const qdq_work *work);

#endif
