/* The Vulkan backend's table: devices, and how they are opened. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/quick_proof.h"
#include "backends/vulkan/vulkan_device.h"
#include "backends/vulkan/vulkan_proof.h"
#include "base/error.h"

static uint32_t count(void) { return qdq_vk_machine()->n_devices; }

static bool recommended(uint32_t index) {
    const qdq_vk_physical *p = &qdq_vk_machine()->devices[index];
    return p->properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_CPU && qdq_backend_proved(&qdq_vulkan_backend, index);
}

static uint64_t device_memory(const qdq_vk_physical *p) {
    uint64_t most = 0;
    for (uint32_t h = 0; h < p->memory.memoryHeapCount; h++) {
        const VkMemoryHeap *heap = &p->memory.memoryHeaps[h];
        if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap->size > most) most = heap->size;
    }
    return most;
}

static void describe(uint32_t index, qdq_device_info *info) {
    const qdq_vk_machine_info *machine = qdq_vk_machine();
    snprintf(info->name, sizeof info->name, "vulkan:%u", (unsigned)index);
    if (index >= machine->n_devices) {
        snprintf(info->name, sizeof info->name, "vulkan");
        snprintf(info->description, sizeof info->description, "%s", machine->missing);
        return;
    }
    const qdq_vk_physical *p = &machine->devices[index];
    snprintf(info->description, sizeof info->description, "%.90s, Vulkan %u.%u", p->properties.deviceName,
             (unsigned)VK_API_VERSION_MAJOR(p->properties.apiVersion),
             (unsigned)VK_API_VERSION_MINOR(p->properties.apiVersion));
    snprintf(info->driver, sizeof info->driver, "%s", p->driver);
    info->memory = device_memory(p);
    info->shared = p->shared;
    info->available = 1;
}

static void describe_open(const void *device, qdq_device_info *info) {
    describe((uint32_t)(((const qdq_vk_device *)device)->physical - qdq_vk_machine()->devices), info);
}

static void close_device(void *state) {
    qdq_vk_device *device = state;
    if (device->handle) {
        qdq_vk.vkDeviceWaitIdle(device->handle);
        qdq_vk_kernels_destroy(device);
        qdq_vk_couriers_destroy(device);
        qdq_vk_spares_destroy(device);
        qdq_vk.vkDestroyDevice(device->handle, NULL);
    }
    qdq_mutex_destroy(&device->queue_mutex);
    qdq_mutex_destroy(&device->kernels_mutex);
    qdq_mutex_destroy(&device->courier_mutex);
    qdq_mutex_destroy(&device->spare_mutex);
    qdq_condition_destroy(&device->courier_free);
    free(device);
}

static qdq_status make_device(qdq_vk_device *device) {
    const qdq_vk_physical *p = device->physical;
    const float priority = 1.0f;
    VkDeviceQueueCreateInfo queues[2] = {{.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                          .queueFamilyIndex = p->compute_family,
                                          .queueCount = 1,
                                          .pQueuePriorities = &priority}};
    queues[1] = queues[0];
    queues[1].queueFamilyIndex = p->transfer_family;
    const char *extensions[2];
    uint32_t n_extensions = 0;
    if (p->float_controls.known) extensions[n_extensions++] = VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME;
    if (p->portable_subset) extensions[n_extensions++] = QDQ_VK_PORTABILITY_SUBSET;
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .queueCreateInfoCount = p->transfer_family != p->compute_family ? 2 : 1,
                               .pQueueCreateInfos = queues,
                               .enabledExtensionCount = n_extensions,
                               .ppEnabledExtensionNames = extensions};
    VkResult result = qdq_vk.vkCreateDevice(p->handle, &info, NULL, &device->handle);
    if (result != VK_SUCCESS) {
        device->handle = NULL;
        return qdq_vk_fail(p, "vkCreateDevice", result);
    }
    qdq_vk.vkGetDeviceQueue(device->handle, p->compute_family, 0, &device->queue);
    qdq_vk.vkGetDeviceQueue(device->handle, p->transfer_family, 0, &device->transfer_queue);
    qdq_status status = qdq_vk_kernels_create(device);
    return status == QDQ_OK ? qdq_vk_find_habits(device) : status;
}

static qdq_status open_device(uint32_t index, int threads, void **state) {
    (void)threads;
    qdq_vk_device *device = calloc(1, sizeof *device);
    if (!device) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    device->physical = &qdq_vk_machine()->devices[index];
    qdq_mutex_init(&device->queue_mutex);
    qdq_mutex_init(&device->kernels_mutex);
    qdq_mutex_init(&device->courier_mutex);
    qdq_mutex_init(&device->spare_mutex);
    qdq_condition_init(&device->courier_free);
    qdq_status status = make_device(device);
    if (status != QDQ_OK)
        close_device(device);
    else
        *state = device;
    return status;
}

static void free_memory(void *state, void *memory) {
    qdq_vk_memory_destroy(state, memory);
    free(memory);
}

static qdq_status alloc_memory(void *state, uint64_t bytes, void **out) {
    qdq_vk_memory *memory = calloc(1, sizeof *memory);
    if (!memory) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a buffer");
    qdq_status status = qdq_vk_memory_create(state, bytes, QDQ_VK_DEVICE_MEMORY, memory);
    if (status != QDQ_OK) {
        free(memory);
        return status;
    }
    status = qdq_vk_zero(state, memory);
    if (status != QDQ_OK)
        free_memory(state, memory);
    else
        *out = memory;
    return status;
}

static qdq_status wrap_memory(void *state, void *owned_by_caller, uint64_t bytes, void **memory) {
    (void)state;
    (void)owned_by_caller;
    (void)bytes;
    (void)memory;
    return qdq_fail(QDQ_UNSUPPORTED,
                    "vulkan: memory of the caller's cannot be wrapped; create a buffer and write to it");
}

static void *host_memory(void *memory) { return ((qdq_vk_memory *)memory)->mapped; }

static qdq_status write_memory(void *state, void *memory, uint64_t offset, const void *from, uint64_t bytes) {
    return qdq_vk_write(state, memory, offset, from, bytes);
}

static qdq_status read_memory(void *state, void *memory, uint64_t offset, void *to, uint64_t bytes) {
    return qdq_vk_read(state, memory, offset, to, bytes);
}

const qdq_backend qdq_vulkan_backend = {.name = "vulkan",
                                        .count = count,
                                        .recommended = recommended,
                                        .describe = describe,
                                        .open = open_device,
                                        .close = close_device,
                                        .describe_open = describe_open,
                                        .alloc = alloc_memory,
                                        .wrap = wrap_memory,
                                        .free = free_memory,
                                        .host = host_memory,
                                        .write = write_memory,
                                        .read = read_memory,
                                        .build = qdq_vk_build,
                                        .submit = qdq_vk_run,
                                        .wait = qdq_vk_wait,
                                        .is_done = qdq_vk_is_done,
                                        .time_ops = qdq_vk_time_ops,
                                        .time_copy = qdq_vk_time_copy,
                                        .dialect = qdq_vulkan_dialect};
