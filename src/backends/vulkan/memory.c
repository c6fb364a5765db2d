/* Memory, and copies between it and the host. */
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan_device.h"
#include "base/error.h"

/* The first memory type among those allowed that has all the flags; -1 if there is none. */
static int find_type(const qdq_vk_physical *physical, uint32_t allowed, VkMemoryPropertyFlags flags) {
    for (uint32_t t = 0; t < physical->memory.memoryTypeCount; t++)
        if ((allowed >> t & 1) && (physical->memory.memoryTypes[t].propertyFlags & flags) == flags) return (int)t;
    return -1;
}

static int choose_type(const qdq_vk_physical *physical, uint32_t allowed, qdq_vk_memory_kind kind) {
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                                cached = host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    int type = -1;
    if (kind == QDQ_VK_DEVICE_MEMORY && physical->shared) {
        type = find_type(physical, allowed, local | cached);
        if (type < 0) type = find_type(physical, allowed, local | host);
    } else if (kind == QDQ_VK_DEVICE_MEMORY) {
        return find_type(physical, allowed, local);
    } else if (kind == QDQ_VK_DOWNLOAD_MEMORY) {
        type = find_type(physical, allowed, cached);
    }
    return type >= 0 ? type : find_type(physical, allowed, host);
}

static qdq_status bind_memory(qdq_vk_device *device, qdq_vk_memory_kind kind, qdq_vk_memory *memory) {
    VkMemoryRequirements needs;
    qdq_vk.vkGetBufferMemoryRequirements(device->handle, memory->buffer, &needs);
    int type = choose_type(device->physical, needs.memoryTypeBits, kind);
    if (type < 0) return qdq_vk_fail(device->physical, "memory type", VK_ERROR_FEATURE_NOT_PRESENT);
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .allocationSize = needs.size,
                                 .memoryTypeIndex = (uint32_t)type};
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    /* A size over the heap's is no request that a driver must take. */
    if (needs.size <= device->physical->memory.memoryHeaps[device->physical->memory.memoryTypes[type].heapIndex].size)
        result = qdq_vk.vkAllocateMemory(device->handle, &info, NULL, &memory->memory);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
        return qdq_fail(QDQ_OUT_OF_MEMORY,
                        "no memory for a buffer of %llu bytes on %s, which gives at most %llu bytes at once",
                        (unsigned long long)memory->bytes, device->physical->properties.deviceName,
                        (unsigned long long)device->physical->max_allocation);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkAllocateMemory", result);
    result = qdq_vk.vkBindBufferMemory(device->handle, memory->buffer, memory->memory, 0);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkBindBufferMemory", result);
    if (kind == QDQ_VK_DEVICE_MEMORY && !device->physical->shared) return QDQ_OK;
    result = qdq_vk.vkMapMemory(device->handle, memory->memory, 0, VK_WHOLE_SIZE, 0, &memory->mapped);
    return result == VK_SUCCESS ? QDQ_OK : qdq_vk_fail(device->physical, "vkMapMemory", result);
}

qdq_status qdq_vk_memory_create(qdq_vk_device *device, uint64_t bytes, qdq_vk_memory_kind kind, qdq_vk_memory *memory) {
    *memory = (qdq_vk_memory){.bytes = bytes};
    if (bytes > UINT64_MAX - 15)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a buffer of %llu bytes", (unsigned long long)bytes);
    uint32_t families[2] = {device->physical->compute_family, device->physical->transfer_family};
    bool two = families[0] != families[1];
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = (bytes + 15) / 16 * 16, /* kernels read whole words */
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                               .sharingMode = two ? VK_SHARING_MODE_CONCURRENT : VK_SHARING_MODE_EXCLUSIVE,
                               .queueFamilyIndexCount = two ? 2 : 0,
                               .pQueueFamilyIndices = two ? families : NULL};
    VkResult result = qdq_vk.vkCreateBuffer(device->handle, &info, NULL, &memory->buffer);
    if (result != VK_SUCCESS) {
        memory->buffer = VK_NULL_HANDLE;
        return qdq_vk_fail(device->physical, "vkCreateBuffer", result);
    }
    qdq_status status = bind_memory(device, kind, memory);
    if (status != QDQ_OK) qdq_vk_memory_destroy(device, memory);
    return status;
}

void qdq_vk_memory_destroy(qdq_vk_device *device, qdq_vk_memory *memory) {
    qdq_vk.vkDestroyBuffer(device->handle, memory->buffer, NULL);
    qdq_vk.vkFreeMemory(device->handle, memory->memory, NULL); /* unmaps it */
    *memory = (qdq_vk_memory){0};
}

qdq_status qdq_vk_submit(qdq_vk_device *device, bool transfer, VkCommandBuffer commands, VkFence fence) {
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
    qdq_mutex_lock(&device->queue_mutex);
    VkResult result = qdq_vk.vkQueueSubmit(transfer ? device->transfer_queue : device->queue, 1, &info, fence);
    qdq_mutex_unlock(&device->queue_mutex);
    return result == VK_SUCCESS ? QDQ_OK : qdq_vk_fail(device->physical, "vkQueueSubmit", result);
}

/* ---- Spares ---------------------------------------------------------------------------------------------------- */

qdq_status qdq_vk_borrow(qdq_vk_device *device, uint64_t bytes, qdq_vk_memory_kind kind, qdq_vk_memory *memory) {
    uint64_t rounded = 1 << 16;
    while (rounded < bytes && rounded < (uint64_t)1 << 62) rounded *= 2;
    bool found = false;
    qdq_mutex_lock(&device->spare_mutex);
    for (int i = 0; i < QDQ_VK_SPARES && !found; i++) {
        qdq_vk_memory *spare = &device->spare[i];
        if (!spare->buffer || device->spare_kind[i] != kind || spare->bytes != rounded) continue;
        *memory = *spare;
        *spare = (qdq_vk_memory){0};
        found = true;
    }
    qdq_mutex_unlock(&device->spare_mutex);
    return found ? QDQ_OK : qdq_vk_memory_create(device, rounded, kind, memory);
}

void qdq_vk_give_back(qdq_vk_device *device, qdq_vk_memory_kind kind, qdq_vk_memory *memory) {
    if (!memory->buffer) return;
    qdq_mutex_lock(&device->spare_mutex);
    for (int i = 0; i < QDQ_VK_SPARES && memory->buffer; i++) {
        if (device->spare[i].buffer) continue;
        device->spare[i] = *memory;
        device->spare_kind[i] = kind;
        *memory = (qdq_vk_memory){0};
    }
    qdq_mutex_unlock(&device->spare_mutex);
    qdq_vk_memory_destroy(device, memory);
}

void qdq_vk_spares_destroy(qdq_vk_device *device) {
    for (int i = 0; i < QDQ_VK_SPARES; i++) qdq_vk_memory_destroy(device, &device->spare[i]);
}

/* ---- Couriers -------------------------------------------------------------------------------------------------- */

static void courier_destroy(qdq_vk_device *device, qdq_vk_courier *c) {
    qdq_vk.vkDestroyCommandPool(device->handle, c->pool, NULL);
    for (int i = 0; i < 2; i++) {
        qdq_vk.vkDestroyFence(device->handle, c->fences[i], NULL);
        qdq_vk_memory_destroy(device, &c->staging[i]);
    }
    bool busy = c->busy;
    *c = (qdq_vk_courier){.busy = busy};
}

void qdq_vk_couriers_destroy(qdq_vk_device *device) {
    for (int i = 0; i < QDQ_VK_COURIERS; i++) courier_destroy(device, &device->couriers[i]);
}

static qdq_status courier_make(qdq_vk_device *device, qdq_vk_courier *c) {
    if (c->made) return QDQ_OK;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = device->physical->transfer_family};
    VkResult result = qdq_vk.vkCreateCommandPool(device->handle, &pool, NULL, &c->pool);
    if (result == VK_SUCCESS) {
        VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = c->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 2};
        result = qdq_vk.vkAllocateCommandBuffers(device->handle, &info, c->commands);
    }
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    for (int i = 0; i < 2 && result == VK_SUCCESS; i++)
        result = qdq_vk.vkCreateFence(device->handle, &fence, NULL, &c->fences[i]);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "making a transfer", result);
    for (int i = 0; i < 2; i++) {
        qdq_status status = qdq_vk_memory_create(device, QDQ_VK_STAGING_BYTES, QDQ_VK_DOWNLOAD_MEMORY, &c->staging[i]);
        if (status != QDQ_OK) return status;
    }
    c->made = true;
    return QDQ_OK;
}

static qdq_status courier_take(qdq_vk_device *device, qdq_vk_courier **courier) {
    qdq_mutex_lock(&device->courier_mutex);
    qdq_vk_courier *c = NULL;
    while (!c) {
        for (int i = 0; i < QDQ_VK_COURIERS && !c; i++)
            if (!device->couriers[i].busy) c = &device->couriers[i];
        if (!c) qdq_condition_wait(&device->courier_free, &device->courier_mutex);
    }
    c->busy = true;
    qdq_mutex_unlock(&device->courier_mutex);
    qdq_status status = courier_make(device, c);
    *courier = c;
    return status;
}

static qdq_status courier_wait(qdq_vk_device *device, qdq_vk_courier *c, int half) {
    if (!c->moving[half]) return QDQ_OK;
    c->moving[half] = false;
    VkResult result = qdq_vk.vkWaitForFences(device->handle, 1, &c->fences[half], VK_TRUE, UINT64_MAX);
    return result == VK_SUCCESS ? QDQ_OK : qdq_vk_fail(device->physical, "vkWaitForFences", result);
}

static void courier_give_back(qdq_vk_device *device, qdq_vk_courier *c, bool good) {
    if (!good) {
        for (int half = 0; half < 2; half++)
            if (c->moving[half]) qdq_vk.vkWaitForFences(device->handle, 1, &c->fences[half], VK_TRUE, UINT64_MAX);
        courier_destroy(device, c);
    }
    qdq_mutex_lock(&device->courier_mutex);
    c->busy = false;
    qdq_condition_signal(&device->courier_free);
    qdq_mutex_unlock(&device->courier_mutex);
}

/* Starts a copy of the piece, or the filling of `to` with zeros; ordered after all earlier work of its queue. */
static qdq_status courier_send(qdq_vk_device *device, qdq_vk_courier *c, int half, VkBuffer from, VkBuffer to,
                               VkBufferCopy piece) {
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VkMemoryBarrier before = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    VkMemoryBarrier after = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                             .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                             .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    VkCommandBuffer commands = c->commands[half];
    VkResult result = qdq_vk.vkResetFences(device->handle, 1, &c->fences[half]);
    if (result == VK_SUCCESS) result = qdq_vk.vkBeginCommandBuffer(commands, &begin);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkBeginCommandBuffer", result);
    qdq_vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1,
                                &before, 0, NULL, 0, NULL);
    if (from)
        qdq_vk.vkCmdCopyBuffer(commands, from, to, 1, &piece);
    else
        qdq_vk.vkCmdFillBuffer(commands, to, 0, VK_WHOLE_SIZE, 0);
    qdq_vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &after, 0,
                                NULL, 0, NULL);
    result = qdq_vk.vkEndCommandBuffer(commands);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkEndCommandBuffer", result);
    qdq_status status = qdq_vk_submit(device, true, commands, c->fences[half]);
    c->moving[half] = status == QDQ_OK;
    return status;
}

qdq_status qdq_vk_write(qdq_vk_device *device, qdq_vk_memory *memory, uint64_t offset, const void *from,
                        uint64_t bytes) {
    if (memory->mapped) {
        memcpy((char *)memory->mapped + offset, from, (size_t)bytes);
        return QDQ_OK;
    }
    qdq_vk_courier *c;
    qdq_status status = courier_take(device, &c);
    int half = 0;
    for (uint64_t done = 0; done < bytes && status == QDQ_OK; half ^= 1) {
        uint64_t n = bytes - done < QDQ_VK_STAGING_BYTES ? bytes - done : QDQ_VK_STAGING_BYTES;
        status = courier_wait(device, c, half);
        if (status != QDQ_OK) break;
        memcpy(c->staging[half].mapped, (const char *)from + done, (size_t)n);
        status = courier_send(device, c, half, c->staging[half].buffer, memory->buffer,
                              (VkBufferCopy){.dstOffset = offset + done, .size = n});
        done += n;
    }
    for (int h = 0; h < 2 && status == QDQ_OK; h++) status = courier_wait(device, c, h);
    courier_give_back(device, c, status == QDQ_OK);
    return status;
}

qdq_status qdq_vk_read(qdq_vk_device *device, qdq_vk_memory *memory, uint64_t offset, void *to, uint64_t bytes) {
    if (memory->mapped) {
        memcpy(to, (char *)memory->mapped + offset, (size_t)bytes);
        return QDQ_OK;
    }
    qdq_vk_courier *c;
    qdq_status status = courier_take(device, &c);
    uint64_t sent = 0, taken = 0, size[2] = {0};
    /* One piece moves while the other is copied out. */
    for (int half = 0; taken < bytes && status == QDQ_OK; half ^= 1) {
        if (size[half] > 0) {
            status = courier_wait(device, c, half);
            if (status != QDQ_OK) break;
            memcpy((char *)to + taken, c->staging[half].mapped, (size_t)size[half]);
            taken += size[half];
            size[half] = 0;
        }
        if (sent < bytes) {
            size[half] = bytes - sent < QDQ_VK_STAGING_BYTES ? bytes - sent : QDQ_VK_STAGING_BYTES;
            status = courier_send(device, c, half, memory->buffer, c->staging[half].buffer,
                                  (VkBufferCopy){.srcOffset = offset + sent, .size = size[half]});
            sent += size[half];
        }
    }
    courier_give_back(device, c, status == QDQ_OK);
    return status;
}

qdq_status qdq_vk_zero(qdq_vk_device *device, qdq_vk_memory *memory) {
    if (memory->mapped) {
        memset(memory->mapped, 0, (size_t)memory->bytes);
        return QDQ_OK;
    }
    qdq_vk_courier *c;
    qdq_status status = courier_take(device, &c);
    if (status == QDQ_OK) status = courier_send(device, c, 0, VK_NULL_HANDLE, memory->buffer, (VkBufferCopy){0});
    if (status == QDQ_OK) status = courier_wait(device, c, 0);
    courier_give_back(device, c, status == QDQ_OK);
    return status;
}
