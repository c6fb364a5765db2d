/* The plain calls: one operation on host arrays, on a CPU device that is opened at the first call and kept. */
#include "api/check.h"
#include "api/device.h"
#include "base/error.h"
#include "base/format.h"
#include "base/lock.h"

static qdq_device *shared; /* QDQ_LOCK_SHARED_DEVICE guards it */
static uint32_t shared_mask;

/* The shared device, once more referenced; opened anew when the mask has changed. */
static qdq_status take_device(qdq_device **device) {
    qdq_status status = QDQ_OK;
    qdq_lock(QDQ_LOCK_SHARED_DEVICE);
    uint32_t mask = qdq_cpu_mask_in_force();
    if (shared && shared_mask != mask) {
        qdq_device_close(shared);
        shared = NULL;
    }
    if (!shared) {
        status = qdq_device_open("cpu", &shared);
        shared_mask = mask;
    }
    *device = shared;
    if (shared) qdq_device_retain(shared);
    qdq_unlock(QDQ_LOCK_SHARED_DEVICE);
    return status;
}

typedef struct host_array {
    const void *array;
    qdq_dtype dtype;
    uint64_t bytes;
    qdq_span *span;
} host_array;

static qdq_extent extent_of(const host_array *a) { return (qdq_extent){(uintptr_t)a->array, a->bytes}; }

/* Runs op with each array wrapped into its span; the last is the one that is written, if any is. */
static qdq_status run(qdq_op *op, const host_array *arrays, int n) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_status status = qdq_check_formats(kernel, op);
    if (status != QDQ_OK) return status;
    for (int i = 0; i < n; i++)
        if (!arrays[i].array) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: an array is NULL", kernel);
    if (n == 2 && op->kind != QDQ_OP_SENSITIVITY)
        status = qdq_check_overlap(kernel, "input", extent_of(&arrays[0]), extent_of(&arrays[1]),
                                   op->kind == QDQ_OP_ROUNDTRIP);
    if (status != QDQ_OK) return status;
    qdq_device *device;
    status = take_device(&device);
    if (status != QDQ_OK) return status;
    op->row = op->count;
    int wrapped = 0;
    for (; wrapped < n && status == QDQ_OK; wrapped++) {
        const host_array *a = &arrays[wrapped];
        a->span->dtype = a->dtype;
        status = device->backend->wrap(device->state, (void *)(uintptr_t)a->array, a->bytes, &a->span->memory);
        if (status != QDQ_OK) break;
    }
    void *ticket;
    if (status == QDQ_OK) status = qdq_build_op(device, op);
    if (status == QDQ_OK) status = device->backend->submit(device->state, (qdq_queue){0}, op, 1, &ticket);
    if (status == QDQ_OK) status = device->backend->wait(device->state, ticket);
    while (wrapped-- > 0) device->backend->free(device->state, arrays[wrapped].span->memory);
    qdq_device_release(device);
    return status;
}

qdq_status qdq_roundtrip(qdq_format format, const float *x, float *y, uint64_t n) {
    qdq_op op = {.kind = QDQ_OP_ROUNDTRIP, .count = n, .n_formats = 1, .format = {format}};
    return run(&op, (host_array[]){{x, QDQ_F32, n * 4, &op.input}, {y, QDQ_F32, n * 4, &op.output}}, 2);
}

qdq_status qdq_quantize(qdq_format format, const float *x, void *blocks, uint64_t n) {
    qdq_op op = {.kind = QDQ_OP_QUANTIZE, .count = n, .n_formats = 1, .format = {format}};
    uint64_t bytes = qdq_format_bytes(format, n);
    return run(&op, (host_array[]){{x, QDQ_F32, n * 4, &op.input}, {blocks, QDQ_U8, bytes, &op.output}}, 2);
}

qdq_status qdq_dequantize(qdq_format format, const void *blocks, float *y, uint64_t n) {
    qdq_op op = {.kind = QDQ_OP_DEQUANTIZE, .count = n, .n_formats = 1, .format = {format}};
    uint64_t bytes = qdq_format_bytes(format, n);
    return run(&op, (host_array[]){{blocks, QDQ_U8, bytes, &op.input}, {y, QDQ_F32, n * 4, &op.output}}, 2);
}

qdq_status qdq_error(qdq_format format, const float *x, uint64_t n, qdq_error_sums *sums) {
    if (!sums) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_error: no place for the sums");
    qdq_op op = {.kind = QDQ_OP_ERROR, .count = n, .n_formats = 1, .format = {format}, .error = sums};
    return run(&op, (host_array[]){{x, QDQ_F32, n * 4, &op.input}}, 1);
}

qdq_status qdq_sensitivity(qdq_format low, qdq_format high, const float *x, const float *g, uint64_t n,
                           qdq_sensitivity_sums *sums) {
    if (!sums) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_sensitivity: no place for the sums");
    qdq_op op = {
        .kind = QDQ_OP_SENSITIVITY, .count = n, .n_formats = 1, .format = {low}, .high = {high}, .sensitivity = sums};
    return run(&op, (host_array[]){{x, QDQ_F32, n * 4, &op.input}, {g, QDQ_F32, n * 4, &op.gradient}}, 2);
}
