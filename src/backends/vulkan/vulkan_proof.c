/* The dialect's operations one by one on a Vulkan device. */
#include "backends/vulkan/vulkan_proof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan_device.h"
#include "base/bits.h"
#include "base/error.h"

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

enum { TRIED = 4096 };
_Static_assert((int)QDQ_DIALECT_OPERATION_COUNT <= QDQ_VK_PRODUCT_ERROR,
               "the dialect has more operations than kernel_args.h knows");

/* A product's rounding error, which only an fma that rounds once shows. */
static qdq_status find_fuses(qdq_vk_device *device, uint32_t *a, uint32_t *b, uint32_t *out) {
    for (int i = 0; i < TRIED; i++) { /* magnitudes of 2^-30 … 2^33 */
        a[i] = (a[i] & 0x807fffffu) | (97 + (a[i] >> 24 & 63)) << 23;
        b[i] = (b[i] & 0x807fffffu) | (97 + (b[i] >> 24 & 63)) << 23;
    }
    qdq_status status = operate(device, QDQ_VK_PRODUCT_ERROR, a, b, out, TRIED);
    device->fuses = status == QDQ_OK;
    for (int i = 0; i < TRIED && device->fuses; i++) {
        float x = float_of(a[i]), y = float_of(b[i]), product = x * y;
        device->fuses = float_of(out[i]) == fmaf(x, y, -product);
    }
    return status;
}

static qdq_status find_keeps_subnormals(qdq_vk_device *device, uint32_t *a, uint32_t *b, uint32_t *out) {
    for (int i = 0; i < TRIED; i++) { /* each of small, subnormal or zero */
        a[i] &= 0x80000000u | 0x00ffffffu >> i % 24;
        b[i] &= 0x80000000u | 0x00ffffffu >> i % 23;
    }
    qdq_status status = operate(device, QDQ_VK_PLAIN_COMPARE, a, b, out, TRIED);
    bool good = status == QDQ_OK;
    for (int i = 0; i < TRIED && good; i++) {
        float x = float_of(a[i]), y = float_of(b[i]);
        good = out[i] == (uint32_t)((x > y) | (x >= y) << 1 | (x < y) << 2 | (x == y) << 3);
    }
    if (status == QDQ_OK) status = operate(device, QDQ_VK_PLAIN_MAX, a, b, out, TRIED);
    for (int i = 0; i < TRIED && good; i++) {
        float x = float_of(a[i]), y = float_of(b[i]);
        good = float_of(out[i]) == (x > y ? x : y);
    }
    device->keeps_subnormals = good && status == QDQ_OK;
    return status;
}

/* Both have to be right for all of some thousand pairs. What rests on them, quotients and comparisons, has proofs of
 * its own. QDQ_VULKAN_WARY=1 takes both for wrong, so that tests reach what is done then on a device that has them
 * right. */
qdq_status qdq_vk_find_habits(qdq_vk_device *device) {
    const char *wary = getenv("QDQ_VULKAN_WARY");
    if (wary && strcmp(wary, "1") == 0) return QDQ_OK;
    uint32_t words[2][2][TRIED], out[TRIED], seed = 1;
    for (uint32_t *w = words[0][0]; w < words[0][0] + 4 * TRIED; w++) {
        seed = seed * 1664525u + 1013904223u;
        *w = seed ^ seed >> 15;
    }
    qdq_status status = find_fuses(device, words[0][0], words[0][1], out);
    return status == QDQ_OK ? find_keeps_subnormals(device, words[1][0], words[1][1], out) : status;
}
