/* The dialect's operations one by one on a Vulkan device. */
#include "backends/vulkan/proof.h"

#include <math.h>
#include <string.h>

#include "backends/vulkan/device.h"
#include "core/error.h"

static qdq_status dispatch_dialect(qdq_vk_device *device, uint32_t operation, qdq_vk_memory memory[3], size_t n) {
    qdq_vk_pipeline kernel;
    qdq_status status = qdq_vk_proof_kernel(device, operation, &kernel);
    if (status != QDQ_OK) return status;
    uint32_t width = 32 * kernel.tiles;
    qdq_vk_step step = {.pipeline = kernel.handle,
                        .groups = (uint32_t)((n + width - 1) / width),
                        .work = {.count = (uint32_t)n, .row = 32}};
    static const int bindings[3] = {QDQ_VK_BIND_INPUT, QDQ_VK_BIND_GRADIENT, QDQ_VK_BIND_OUTPUT};
    for (int i = 0; i < 3; i++) step.buffers[bindings[i]] = (VkDescriptorBufferInfo){memory[i].buffer, 0, 4 * n};
    status = qdq_vk_run_step(device, &step);
    qdq_vk.vkDestroyPipeline(device->handle, kernel.handle, NULL);
    return status;
}

static qdq_status operate(qdq_vk_device *device, uint32_t operation, const uint32_t *a, const uint32_t *b,
                          uint32_t *out, size_t n) {
    qdq_vk_memory memory[3] = {0};
    qdq_status status = QDQ_OK;
    for (int i = 0; i < 3 && status == QDQ_OK; i++)
        status = qdq_vk_borrow(device, 4 * n, QDQ_VK_DEVICE_MEMORY, &memory[i]);
    if (status == QDQ_OK) status = qdq_vk_write(device, &memory[0], 0, a, 4 * n);
    if (status == QDQ_OK) status = qdq_vk_write(device, &memory[1], 0, b, 4 * n);
    if (status == QDQ_OK) status = dispatch_dialect(device, operation, memory, n);
    if (status == QDQ_OK) status = qdq_vk_read(device, &memory[2], 0, out, 4 * n);
    for (int i = 0; i < 3; i++) qdq_vk_give_back(device, QDQ_VK_DEVICE_MEMORY, &memory[i]);
    return status;
}

qdq_status qdq_vulkan_dialect(void *state, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                              uint32_t *out, size_t n) {
    if (n == 0 || n > (size_t)1 << 24) return qdq_fail(QDQ_INVALID_ARGUMENT, "%zu elements; from 1 to 2^24", n);
    return operate(state, operation, a, b, out, n);
}

/* A product's rounding error, which only an fma that rounds once shows: it must be right for all of some thousand
 * pairs. Quotients that rest on it have proofs of their own. */
qdq_status qdq_vk_find_fuses(qdq_vk_device *device) {
    enum { N = 4096 };
    uint32_t a[N], b[N], out[N], seed = 1;
    for (int i = 0; i < 2 * N; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t mixed = seed ^ seed >> 15; /* of magnitudes 2^-30 … 2^33 */
        (i < N ? a : b)[i % N] = (mixed & 0x807fffffu) | (97 + (mixed >> 24 & 63)) << 23;
    }
    qdq_status status = operate(device, QDQ_DIALECT_OPERATION_COUNT, a, b, out, N);
    device->fuses = status == QDQ_OK;
    for (int i = 0; i < N && device->fuses; i++) {
        float x, y, error;
        memcpy(&x, &a[i], 4);
        memcpy(&y, &b[i], 4);
        memcpy(&error, &out[i], 4);
        float product = x * y;
        device->fuses = error == fmaf(x, y, -product);
    }
    return status;
}
