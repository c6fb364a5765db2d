/* The dialect's operations one by one on a CUDA device. */
#include "backends/cuda/args.h"
#include "backends/cuda/cuda_device.h"
#include "base/error.h"

static qdq_status launch(qdq_cuda_device *device, qdq_cuda_dialect_args *args) {
    enum { THREADS = 32 * QDQ_CUDA_WARPS };
    qdq_status status = qdq_cuda_enter(device);
    if (status != QDQ_OK) return status;
    qdq_mutex_lock(&device->mutex);
    status = qdq_cuda_load_proof(device);
    if (status == QDQ_OK) status = qdq_cuda_after_writes(device, device->stream);
    if (status == QDQ_OK) {
        unsigned blocks = (unsigned)((args->count + THREADS - 1) / THREADS);
        CUresult error = device->cuda->launch(device->dialect, blocks, 1, 1, THREADS, 1, 1, 0, device->stream,
                                              (void *[]){args}, NULL);
        if (error == 0) error = device->cuda->stream_wait(device->stream);
        if (error != 0) status = qdq_cuda_fail(device->cuda, error, "the dialect's operations on a CUDA device");
    }
    qdq_mutex_unlock(&device->mutex);
    qdq_cuda_leave(device);
    return status;
}

qdq_status qdq_cuda_dialect(void *state, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                            uint32_t *out, size_t n) {
    if (n == 0 || n > (size_t)1 << 24) return qdq_fail(QDQ_INVALID_ARGUMENT, "%zu elements; from 1 to 2^24", n);
    const qdq_backend *cuda = &qdq_cuda_backend;
    void *memory[3] = {0};
    qdq_status status = QDQ_OK;
    for (int i = 0; i < 3 && status == QDQ_OK; i++) status = cuda->alloc(state, 4 * n, &memory[i]);
    if (status == QDQ_OK) status = cuda->write(state, memory[0], 0, a, 4 * n);
    if (status == QDQ_OK) status = cuda->write(state, memory[1], 0, b, 4 * n);
    if (status == QDQ_OK) {
        uint64_t at[3];
        for (int i = 0; i < 3; i++) at[i] = ((const qdq_cuda_memory *)memory[i])->address;
        status = launch(state, &(qdq_cuda_dialect_args){at[0], at[1], at[2], n, operation});
    }
    if (status == QDQ_OK) status = cuda->read(state, memory[2], 0, out, 4 * n);
    for (int i = 0; i < 3; i++)
        if (memory[i]) cuda->free(state, memory[i]);
    return status;
}
