/* Carries tensors through a device, a chunk at a time, so that memory does not grow with the model. On the CPU the
 * kernels read the mapped file itself; elsewhere two chunks are under way, so that reading, transfer and kernels
 * overlap. */
#ifndef QDQ_CLI_STREAM_H
#define QDQ_CLI_STREAM_H

#include "files/files.h"
#include "qdq.h"

typedef struct qdq_stream qdq_stream;

typedef enum qdq_work_kind {
    QDQ_WORK_ROUNDTRIP,
    QDQ_WORK_QUANTIZE,
    QDQ_WORK_ERROR,
    QDQ_WORK_SENSITIVITY
} qdq_work_kind;

/* What is done to one tensor. All that is pointed at lives until the stream is flushed. */
typedef struct qdq_work {
    qdq_work_kind kind;
    const qdq_tensor *tensor, *gradient; /* gradient: of sensitivity, with as many elements */
    uint32_t n_formats;
    const qdq_format *formats; /* of sensitivity: any number of low ones, and the high one last */
    const qdq_imatrix_entry *importance;
    qdq_error_sums *error;             /* n_formats of them, added to */
    qdq_sensitivity_sums *sensitivity; /* one a low format, added to */
    /* Takes the results of round trip (floats) and quantize (blocks), in order. */
    qdq_status (*sink)(void *context, const void *data, uint64_t bytes);
    void *context;
} qdq_work;

/* threads: of the host's own work, 0 for one a core. Unless allow_non_finite, a weight or gradient that is NaN or
 * infinite is QDQ_BAD_DATA, with tensor and index. */
qdq_status qdq_stream_create(qdq_device *device, int threads, bool allow_non_finite, qdq_stream **stream);
/* After a failure the stream can only be freed. Counts bytes read as progress. */
qdq_status qdq_stream_put(qdq_stream *stream, const qdq_work *work);
/* Returns when all that was put is done and the sinks have everything. */
qdq_status qdq_stream_flush(qdq_stream *stream);
void qdq_stream_free(qdq_stream *stream); /* NULL is allowed */

#endif
