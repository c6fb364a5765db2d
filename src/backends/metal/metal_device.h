/* An open Metal device, as the files of this folder share it. */
#ifndef QDQ_BACKENDS_METAL_METAL_DEVICE_H
#define QDQ_BACKENDS_METAL_METAL_DEVICE_H

#include "backends/lower.h"
#include "backends/metal/metal_args.h"
#include "backends/metal/objc.h"
#include "base/platform.h"
#include "base/pool.h"

/* A kernel, ready to be dispatched; a NULL state: not built. */
typedef struct qdq_metal_kernel {
    objc_id state;
    ns_uint shared_bytes; /* threadgroup memory of a simdgroup, which takes a tile */
    uint32_t simdgroups;  /* a threadgroup's */
} qdq_metal_kernel;

/* One format's. Those that there are are built together. */
typedef struct qdq_metal_format_kernels {
    objc_id library;
    qdq_metal_kernel quantizer[2][2]; /* round trip, quantize; without and with importance */
    qdq_metal_kernel dequantize;
    objc_id words; /* the format's table, a buffer; NULL where it has none */
} qdq_metal_format_kernels;

typedef struct qdq_metal_device {
    const qdq_objc *objc;
    uint32_t index;
    objc_id device, queue; /* the device is the runtime's */

    qdq_mutex mutex; /* for what follows, and for the order of what is put on the queue */
    qdq_metal_format_kernels *formats;
    objc_id sums_library, proof_library;
    qdq_metal_kernel error[2], sensitivity, row_squares, dialect; /* error: without and with importance */
    objc_id scratch[2];      /* round trips of formats that the sums' kernels do not know; NULL until needed */
    objc_id row_sums;        /* likewise, of the rows of one operation */
    uint64_t row_sums_bytes; /* its length */
    qdq_pool *pool;          /* of those who read into the device's memory; NULL until needed */
} qdq_metal_device;

typedef struct qdq_metal_memory {
    objc_id buffer;
    unsigned char *bytes; /* what the host sees of it */
} qdq_metal_memory;

/* A buffer that the host and the device see. The status says of what size, and how much a buffer may have. */
qdq_status qdq_metal_new_buffer(const qdq_metal_device *device, uint64_t bytes, objc_id *buffer);
void qdq_metal_release(const qdq_metal_device *device, objc_id object);

/* metal_fill.c */
qdq_status qdq_metal_fill(void *device, void *memory, uint64_t offset, uint64_t bytes, qdq_reader *read, void *context);

/* metal_kernels.c. The mutex is held. */
/* What the step runs. */
qdq_status qdq_metal_load(qdq_metal_device *device, const qdq_step *step);
qdq_status qdq_metal_load_proof(qdq_metal_device *device);
void qdq_metal_unload(qdq_metal_device *device);

/* metal_run.c */
qdq_status qdq_metal_build(void *device, const qdq_op *op);
qdq_status qdq_metal_submit(void *device, qdq_queue queue, const qdq_op *ops, size_t n, void **ticket);
bool qdq_metal_is_done(void *device, void *ticket);
qdq_status qdq_metal_wait(void *device, void *ticket);
qdq_status qdq_metal_time_ops(void *device, const qdq_op *ops, size_t n, uint32_t repeats, double *seconds);
qdq_status qdq_metal_time_copy(void *device, void *to, void *from, uint64_t bytes, uint32_t repeats, double *seconds);
/* out[i] = the operation on a[i] and b[i]. */
qdq_status qdq_metal_dialect(void *device, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                             uint32_t *out, size_t n);

#endif
