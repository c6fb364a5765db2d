/* Carries tensors through a device, a chunk at a time, so that memory does not grow with the model. On the CPU the
 * kernels read the mapped file itself; elsewhere two chunks are under way, so that reading, transfer and kernels
 * overlap. */
#ifndef QDQ_MODEL_PASS_H
#define QDQ_MODEL_PASS_H

#include <stdbool.h>

#include "files/files.h"
#include "qdq.h"

typedef struct qdq_pass qdq_pass;

/* What a pass returns whose progress callback wanted no more. */
#define QDQ_CANCELLED ((qdq_status)7)

typedef enum qdq_work_kind {
    QDQ_WORK_ROUNDTRIP,
    QDQ_WORK_QUANTIZE,
    QDQ_WORK_ERROR,
    QDQ_WORK_SENSITIVITY
} qdq_work_kind;

/* What is done to one tensor. All that is pointed at lives until the pass is flushed. */
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
typedef struct qdq_pass_options {
    size_t size; /* sizeof(qdq_pass_options), set by the caller */
    int threads;
    bool allow_non_finite;
    /* Told, on the caller's thread, how many bytes have been read since qdq_pass_expect(), of how many (0: not known).
     * false: the call that is under way returns QDQ_CANCELLED. NULL: nobody is told. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
} qdq_pass_options;

/* Chunks go to the devices in turn. */
qdq_status qdq_pass_create(uint32_t n_devices, qdq_device *const *devices, const qdq_pass_options *options,
                           qdq_pass **pass);
/* Progress begins anew, of so many bytes; 0: not known. */
void qdq_pass_expect(qdq_pass *pass, uint64_t bytes);
/* Counts bytes that were read otherwise. QDQ_CANCELLED: the caller wants no more. */
qdq_status qdq_pass_advance(qdq_pass *pass, uint64_t bytes);
/* After a failure the pass can only be freed. */
qdq_status qdq_pass_put(qdq_pass *pass, const qdq_work *work);
/* Returns when all that was put is done and the sinks have everything. */
qdq_status qdq_pass_flush(qdq_pass *pass);
void qdq_pass_free(qdq_pass *pass); /* NULL is allowed */

#endif
