/* An open CUDA device, as the files of this folder share it. */
#ifndef QDQ_BACKENDS_CUDA_CUDA_DEVICE_H
#define QDQ_BACKENDS_CUDA_CUDA_DEVICE_H

#include <stdbool.h>

#include "backends/cuda/driver.h"
#include "backends/cuda/images.h"
#include "backends/lower.h"
#include "base/platform.h"

typedef struct qdq_cuda_ticket qdq_cuda_ticket;
typedef struct qdq_cuda_staging qdq_cuda_staging;

/* The kernels of one format; NULL until its module is loaded, or where importance leaves nothing to such a kernel. */
typedef struct qdq_cuda_format_kernels {
    CUmodule module;
    CUfunction quantizer[2][2]; /* round trip, quantize; without and with importance */
    CUfunction dequantize;
    CUdeviceptr words; /* the format's table, 0 where it has none */
    bool loaded;
} qdq_cuda_format_kernels;

/* Memory that submissions use in turn: a stream that takes it over waits for `done`. */
typedef struct qdq_cuda_scratch {
    CUdeviceptr values[2]; /* round trips of formats that the sums' kernels do not know; 0 until needed */
    CUdeviceptr row_sums;  /* likewise */
    CUstream stream;       /* whose work used it last */
    CUevent done;          /* that work; NULL: it was never used */
    uint64_t turn;
} qdq_cuda_scratch;

enum { QDQ_CUDA_SCRATCHES = 4 };

typedef struct qdq_cuda_device {
    const qdq_cuda_driver *cuda;
    CUdevice ordinal;
    CUcontext context;
    bool own_context; /* the primary one, retained */
    bool own_streams;
    CUstream stream, in, out; /* kernels, copies to the device, copies to the host; the caller's: all the same */

    CUevent written; /* on `in`: the last copy that was begun; NULL where the streams are the caller's */

    qdq_mutex mutex; /* for what follows, and for the order of what is put on `stream` */
    qdq_cuda_format_kernels *formats;
    CUmodule sums_module, proof_module;
    CUfunction error, error_weighted, sensitivity, sensitivities, row_squares, dialect;
    qdq_cuda_scratch scratch[QDQ_CUDA_SCRATCHES];
    uint64_t turns;           /* of scratch memory, counted */
    qdq_cuda_ticket *tickets; /* to be used again */
    qdq_cuda_staging *staging;
} qdq_cuda_device;

typedef struct qdq_cuda_memory {
    CUdeviceptr address;
    bool owned;
} qdq_cuda_memory;

/* The device's context is the calling thread's between these. */
qdq_status qdq_cuda_enter(qdq_cuda_device *device);
void qdq_cuda_leave(qdq_cuda_device *device);

/* modules.c. The mutex is held. */
/* What the step runs. */
qdq_status qdq_cuda_load(qdq_cuda_device *device, const qdq_step *step);
qdq_status qdq_cuda_load_proof(qdq_cuda_device *device);
void qdq_cuda_unload(qdq_cuda_device *device);

/* cuda_run.c */
qdq_status qdq_cuda_build(void *device, const qdq_op *op);
qdq_status qdq_cuda_submit(void *device, qdq_queue queue, const qdq_op *ops, size_t n, void **ticket);
bool qdq_cuda_is_done(void *device, void *ticket);
qdq_status qdq_cuda_wait(void *device, void *ticket);
qdq_status qdq_cuda_time_ops(void *device, const qdq_op *ops, size_t n, uint32_t repeats, double *seconds);
qdq_status qdq_cuda_time_copy(void *device, void *to, void *from, uint64_t bytes, uint32_t repeats, double *seconds);
void qdq_cuda_free_tickets(qdq_cuda_device *device);
void qdq_cuda_free_scratch(qdq_cuda_device *device);

/* cuda_proof.c */
qdq_status qdq_cuda_dialect(void *device, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                            uint32_t *out, size_t n);

/* transfer.c */
/* What is put on the stream from now on waits for the copies to the device that were begun. The mutex is held. */
qdq_status qdq_cuda_after_writes(qdq_cuda_device *device, CUstream stream);
qdq_status qdq_cuda_write(void *device, void *memory, uint64_t offset, const void *from, uint64_t bytes);
qdq_status qdq_cuda_fill(void *device, void *memory, uint64_t offset, uint64_t bytes, qdq_reader *read, void *context);
qdq_status qdq_cuda_read(void *device, void *memory, uint64_t offset, void *to, uint64_t bytes);
void qdq_cuda_free_staging(qdq_cuda_device *device);

#endif
