/* Plans, run: recorded into command buffers, submitted, waited for, their tiles' sums added up. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan_device.h"
#include "base/error.h"

/* A batch is a command buffer: what is submitted at once. Most work is one. Those that need memory for sums are not all
 * submitted ahead. */
enum { MOST_STEPS = 4096, BATCHES_AHEAD = 4 };
static const uint64_t MOST_SUMS = (uint64_t)16 << 20;

typedef struct batch {
    size_t first, end; /* steps */
    uint64_t sums_bytes;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkDescriptorPool sets;
    VkFence fence;
    qdq_vk_memory sums, host_sums; /* host_sums: only where the host cannot see sums */
    bool submitted;
} batch;

typedef struct ticket {
    qdq_vk_device *device;
    const qdq_op *ops;
    size_t n_ops;
    qdq_vk_plan plan;
    batch *batches;
    size_t n_batches, n_submitted, n_done;
} ticket;

static uint64_t sums_room(const qdq_vk_step *step) {
    return (step->sums_bytes + 255) / 256 * 256; /* 256: the most that minStorageBufferOffsetAlignment may be */
}

/* ---- One batch ------------------------------------------------------------------------------------------------- */

static void batch_destroy(qdq_vk_device *device, batch *b) {
    qdq_vk.vkDestroyCommandPool(device->handle, b->pool, NULL);
    qdq_vk.vkDestroyDescriptorPool(device->handle, b->sets, NULL);
    qdq_vk.vkDestroyFence(device->handle, b->fence, NULL);
    qdq_vk_give_back(device, QDQ_VK_DEVICE_MEMORY, &b->sums);
    qdq_vk_give_back(device, QDQ_VK_DOWNLOAD_MEMORY, &b->host_sums);
    *b = (batch){.first = b->first, .end = b->end};
}

static qdq_status batch_create(qdq_vk_device *device, batch *b) {
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
                                    .queueFamilyIndex = device->physical->compute_family};
    VkResult result = qdq_vk.vkCreateCommandPool(device->handle, &pool, NULL, &b->pool);
    if (result == VK_SUCCESS) {
        VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = b->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
        result = qdq_vk.vkAllocateCommandBuffers(device->handle, &info, &b->commands);
    }
    if (result == VK_SUCCESS && b->end > b->first) {
        uint32_t n = (uint32_t)(b->end - b->first);
        VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, n * QDQ_VK_BINDINGS};
        VkDescriptorPoolCreateInfo sets = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                           .maxSets = n,
                                           .poolSizeCount = 1,
                                           .pPoolSizes = &size};
        result = qdq_vk.vkCreateDescriptorPool(device->handle, &sets, NULL, &b->sets);
    }
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    if (result == VK_SUCCESS) result = qdq_vk.vkCreateFence(device->handle, &fence, NULL, &b->fence);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "recording work", result);
    if (b->sums_bytes == 0) return QDQ_OK;
    qdq_status status = qdq_vk_borrow(device, b->sums_bytes, QDQ_VK_DEVICE_MEMORY, &b->sums);
    if (status == QDQ_OK && !b->sums.mapped)
        status = qdq_vk_borrow(device, b->sums_bytes, QDQ_VK_DOWNLOAD_MEMORY, &b->host_sums);
    return status;
}

static void barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags writes, VkPipelineStageFlags to,
                    VkAccessFlags accesses) {
    VkMemoryBarrier b = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = writes, .dstAccessMask = accesses};
    qdq_vk.vkCmdPipelineBarrier(commands, from, to, 0, 1, &b, 0, NULL, 0, NULL);
}

static void barrier_between_kernels(VkCommandBuffer commands) {
    barrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

/* Sets for the batch's steps, in the same order. What a step does not bind is bound all the same, to its output: a
 * kernel that never looks there still names it. */
static qdq_status make_sets(qdq_vk_device *device, const batch *b, const qdq_vk_step *steps, VkDescriptorSet *sets) {
    uint64_t sums_at = 0;
    for (size_t i = 0; i < b->end - b->first; i++) {
        const qdq_vk_step *step = &steps[b->first + i];
        VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = b->sets,
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &device->set_layout};
        VkResult result = qdq_vk.vkAllocateDescriptorSets(device->handle, &info, &sets[i]);
        if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkAllocateDescriptorSets", result);
        VkDescriptorBufferInfo buffers[QDQ_VK_BINDINGS];
        memcpy(buffers, step->buffers, sizeof buffers);
        if (step->sums_bytes > 0) {
            buffers[QDQ_VK_BIND_OUTPUT] = (VkDescriptorBufferInfo){b->sums.buffer, sums_at, step->sums_bytes};
            sums_at += sums_room(step);
        }
        VkWriteDescriptorSet writes[QDQ_VK_BINDINGS];
        for (uint32_t k = 0; k < QDQ_VK_BINDINGS; k++) {
            if (!buffers[k].buffer) buffers[k] = buffers[QDQ_VK_BIND_OUTPUT];
            writes[k] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                               .dstSet = sets[i],
                                               .dstBinding = k,
                                               .descriptorCount = 1,
                                               .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                               .pBufferInfo = &buffers[k]};
        }
        qdq_vk.vkUpdateDescriptorSets(device->handle, QDQ_VK_BINDINGS, writes, 0, NULL);
    }
    return QDQ_OK;
}

static void record_steps(qdq_vk_device *device, const batch *b, const qdq_vk_step *steps, const VkDescriptorSet *sets) {
    VkPipeline bound = VK_NULL_HANDLE;
    for (size_t i = b->first; i < b->end; i++) {
        const qdq_vk_step *step = &steps[i];
        if (step->wait) barrier_between_kernels(b->commands);
        if (step->pipeline != bound)
            qdq_vk.vkCmdBindPipeline(b->commands, VK_PIPELINE_BIND_POINT_COMPUTE, step->pipeline);
        bound = step->pipeline;
        qdq_vk.vkCmdBindDescriptorSets(b->commands, VK_PIPELINE_BIND_POINT_COMPUTE, device->layout, 0, 1,
                                       &sets[i - b->first], 0, NULL);
        qdq_vk.vkCmdPushConstants(b->commands, device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof step->work,
                                  &step->work);
        qdq_vk.vkCmdDispatch(b->commands, step->groups, 1, 1);
    }
}

static qdq_status begin_commands(qdq_vk_device *device, VkCommandBuffer commands) {
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VkResult result = qdq_vk.vkBeginCommandBuffer(commands, &begin);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkBeginCommandBuffer", result);
    /* After all that the queue was given before, and after copies, which the host has waited for. */
    barrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT,
            VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT);
    return QDQ_OK;
}

static qdq_status end_commands(qdq_vk_device *device, VkCommandBuffer commands) {
    barrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
            VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
    VkResult result = qdq_vk.vkEndCommandBuffer(commands);
    return result == VK_SUCCESS ? QDQ_OK : qdq_vk_fail(device->physical, "vkEndCommandBuffer", result);
}

static qdq_status record(qdq_vk_device *device, const batch *b, const qdq_vk_step *steps) {
    VkDescriptorSet *sets = malloc((b->end - b->first + 1) * sizeof *sets);
    if (!sets) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record %zu dispatches", b->end - b->first);
    qdq_status status = make_sets(device, b, steps, sets);
    if (status == QDQ_OK) status = begin_commands(device, b->commands);
    if (status == QDQ_OK) {
        record_steps(device, b, steps, sets);
        if (b->host_sums.buffer) {
            VkBufferCopy all = {.size = b->sums_bytes};
            barrier(b->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                    VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
            qdq_vk.vkCmdCopyBuffer(b->commands, b->sums.buffer, b->host_sums.buffer, 1, &all);
        }
        status = end_commands(device, b->commands);
    }
    free(sets);
    return status;
}

static qdq_status fence_wait(qdq_vk_device *device, VkFence fence) {
    VkResult result = qdq_vk.vkWaitForFences(device->handle, 1, &fence, VK_TRUE, UINT64_MAX);
    return result == VK_SUCCESS ? QDQ_OK : qdq_vk_fail(device->physical, "vkWaitForFences", result);
}

static void add_sums(const batch *b, const qdq_vk_step *steps) {
    const unsigned char *sums = b->host_sums.mapped ? b->host_sums.mapped : b->sums.mapped;
    for (size_t i = b->first; i < b->end; i++) {
        const qdq_vk_step *step = &steps[i];
        if (step->sums_bytes == 0) continue;
        qdq_add_step_sums(&step->of, sums);
        sums += sums_room(step);
    }
}

qdq_status qdq_vk_run_step(qdq_vk_device *device, const qdq_vk_step *step) {
    batch b = {.end = 1};
    qdq_status status = batch_create(device, &b);
    if (status == QDQ_OK) status = record(device, &b, step);
    if (status == QDQ_OK) status = qdq_vk_submit(device, false, b.commands, b.fence);
    if (status == QDQ_OK) status = fence_wait(device, b.fence);
    batch_destroy(device, &b);
    return status;
}

/* ---- Tickets --------------------------------------------------------------------------------------------------- */

static qdq_status cut_batches(ticket *t) {
    size_t room = 0;
    for (size_t i = 0; i < t->plan.n || t->n_batches == 0;) {
        if (t->n_batches == room) {
            room = room ? 2 * room : 4;
            batch *more = realloc(t->batches, room * sizeof *more);
            if (!more) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record work");
            t->batches = more;
        }
        batch *b = &t->batches[t->n_batches++];
        *b = (batch){.first = i, .end = i};
        for (; b->end < t->plan.n && b->end - b->first < MOST_STEPS; b->end++) {
            uint64_t more = sums_room(&t->plan.steps[b->end]);
            if (b->end > b->first && b->sums_bytes + more > MOST_SUMS) break;
            b->sums_bytes += more;
        }
        if (b->end == i) break;
        i = b->end;
    }
    return QDQ_OK;
}

static qdq_status submit_next(ticket *t) {
    batch *b = &t->batches[t->n_submitted];
    qdq_status status = batch_create(t->device, b);
    if (status == QDQ_OK) status = record(t->device, b, t->plan.steps);
    if (status == QDQ_OK) status = qdq_vk_submit(t->device, false, b->commands, b->fence);
    b->submitted = status == QDQ_OK;
    t->n_submitted++;
    return status;
}

static void ticket_destroy(ticket *t) {
    for (size_t i = 0; i < t->n_submitted; i++) {
        batch *b = &t->batches[i];
        if (b->submitted) qdq_vk.vkWaitForFences(t->device->handle, 1, &b->fence, VK_TRUE, UINT64_MAX);
        batch_destroy(t->device, b);
    }
    qdq_vk_plan_destroy(t->device, &t->plan);
    free(t->batches);
    free(t);
}

qdq_status qdq_vk_run(void *state, qdq_queue queue, const qdq_op *ops, size_t n, void **out) {
    (void)queue;
    ticket *t = calloc(1, sizeof *t);
    if (!t) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record work");
    t->device = state;
    t->ops = ops;
    t->n_ops = n;
    qdq_status status = qdq_vk_plan_create(t->device, ops, n, &t->plan);
    if (status == QDQ_OK) status = cut_batches(t);
    while (status == QDQ_OK && t->n_submitted < t->n_batches &&
           (t->n_submitted < BATCHES_AHEAD || t->batches[t->n_submitted].sums_bytes == 0))
        status = submit_next(t);
    if (status != QDQ_OK)
        ticket_destroy(t);
    else
        *out = t;
    return status;
}

/* A lost device is done: waiting tells. */
bool qdq_vk_is_done(void *state, void *taken) {
    const qdq_vk_device *device = state;
    const ticket *t = taken;
    for (size_t i = t->n_done; i < t->n_submitted; i++)
        if (qdq_vk.vkGetFenceStatus(device->handle, t->batches[i].fence) == VK_NOT_READY) return false;
    return t->n_submitted == t->n_batches;
}

qdq_status qdq_vk_wait(void *state, void *taken) {
    (void)state;
    ticket *t = taken;
    qdq_status status = QDQ_OK;
    while (t->n_done < t->n_batches && status == QDQ_OK) {
        batch *b = &t->batches[t->n_done++];
        status = fence_wait(t->device, b->fence);
        if (status != QDQ_OK) break;
        add_sums(b, t->plan.steps);
        batch_destroy(t->device, b);
        if (t->n_submitted < t->n_batches) status = submit_next(t);
    }
    for (size_t i = 0; i < t->n_ops && status == QDQ_OK; i++) qdq_finish_sums(&t->ops[i]);
    ticket_destroy(t);
    return status;
}

/* ---- Times ----------------------------------------------------------------------------------------------------- */

/* One command buffer that does the plan's steps, or a copy, 1 + repeats times, with the clock read between. */
static qdq_status record_timed(qdq_vk_device *device, const batch *b, const qdq_vk_step *steps, VkQueryPool clock,
                               const qdq_vk_memory *to, const qdq_vk_memory *from, uint64_t bytes, uint32_t repeats) {
    VkDescriptorSet *sets = malloc((b->end - b->first + 1) * sizeof *sets);
    if (!sets) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record %zu dispatches", b->end - b->first);
    qdq_status status = make_sets(device, b, steps, sets);
    if (status == QDQ_OK) status = begin_commands(device, b->commands);
    if (status == QDQ_OK) {
        qdq_vk.vkCmdResetQueryPool(b->commands, clock, 0, repeats + 1);
        for (uint32_t r = 0; r <= repeats; r++) {
            if (to)
                qdq_vk.vkCmdCopyBuffer(b->commands, from->buffer, to->buffer, 1, &(VkBufferCopy){.size = bytes});
            else
                record_steps(device, b, steps, sets);
            barrier(b->commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT,
                    VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT);
            qdq_vk.vkCmdWriteTimestamp(b->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, clock, r);
        }
        status = end_commands(device, b->commands);
    }
    free(sets);
    return status;
}

static qdq_status read_clock(qdq_vk_device *device, VkQueryPool clock, uint32_t repeats, double *seconds) {
    uint64_t *ticks = calloc(repeats + 1, sizeof *ticks);
    if (!ticks) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for %u times", (unsigned)repeats);
    VkResult result =
        qdq_vk.vkGetQueryPoolResults(device->handle, clock, 0, repeats + 1, (repeats + 1) * sizeof *ticks, ticks,
                                     sizeof *ticks, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    uint32_t bits = device->physical->timestamp_bits;
    uint64_t mask = bits < 64 ? ((uint64_t)1 << bits) - 1 : UINT64_MAX;
    for (uint32_t r = 0; r < repeats; r++)
        seconds[r] = (double)((ticks[r + 1] - ticks[r]) & mask) *
                     (double)device->physical->properties.limits.timestampPeriod * 1e-9;
    free(ticks);
    return result == VK_SUCCESS ? QDQ_OK : qdq_vk_fail(device->physical, "vkGetQueryPoolResults", result);
}

static qdq_status time_plan(qdq_vk_device *device, const qdq_vk_plan *plan, const qdq_vk_memory *to,
                            const qdq_vk_memory *from, uint64_t bytes, uint32_t repeats, double *seconds) {
    if (device->physical->timestamp_bits == 0)
        return qdq_fail(QDQ_UNSUPPORTED, "%s has no clock", device->physical->properties.deviceName);
    batch b = {.end = plan->n};
    for (size_t i = 0; i < plan->n; i++) b.sums_bytes += sums_room(&plan->steps[i]);
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = repeats + 1};
    VkQueryPool clock;
    VkResult result = qdq_vk.vkCreateQueryPool(device->handle, &info, NULL, &clock);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkCreateQueryPool", result);
    qdq_status status = batch_create(device, &b);
    if (status == QDQ_OK) status = record_timed(device, &b, plan->steps, clock, to, from, bytes, repeats);
    if (status == QDQ_OK) status = qdq_vk_submit(device, false, b.commands, b.fence);
    if (status == QDQ_OK) status = fence_wait(device, b.fence);
    if (status == QDQ_OK) status = read_clock(device, clock, repeats, seconds);
    batch_destroy(device, &b);
    qdq_vk.vkDestroyQueryPool(device->handle, clock, NULL);
    return status;
}

qdq_status qdq_vk_time_ops(void *state, const qdq_op *ops, size_t n, uint32_t repeats, double *seconds) {
    qdq_vk_plan plan;
    qdq_status status = qdq_vk_plan_create(state, ops, n, &plan);
    if (status != QDQ_OK) return status;
    status = time_plan(state, &plan, NULL, NULL, 0, repeats, seconds);
    qdq_vk_plan_destroy(state, &plan);
    return status;
}

/* A copy by kernel, where a kernel can be bound to all of it. */
static qdq_status time_copy_kernel(qdq_vk_device *device, const qdq_vk_memory *to, const qdq_vk_memory *from,
                                   uint64_t bytes, uint32_t repeats, double *seconds) {
    qdq_vk_pipeline kernel;
    qdq_status status = qdq_vk_copy_kernel(device, &kernel);
    if (status != QDQ_OK) return status;
    uint64_t groups = bytes / 4096; /* eight quads an invocation, 32 invocations or more a group */
    uint32_t most = device->physical->properties.limits.maxComputeWorkGroupCount[0];
    qdq_vk_step step = {.pipeline = kernel.handle,
                        .groups = groups < most ? (uint32_t)groups : most,
                        .work = {.count = (uint32_t)(bytes / 16), .row = 32}};
    step.buffers[QDQ_VK_BIND_INPUT] = (VkDescriptorBufferInfo){from->buffer, 0, bytes};
    step.buffers[QDQ_VK_BIND_OUTPUT] = (VkDescriptorBufferInfo){to->buffer, 0, bytes};
    status = time_plan(device, &(qdq_vk_plan){.steps = &step, .n = 1}, NULL, NULL, 0, repeats, seconds);
    qdq_vk.vkDestroyPipeline(device->handle, kernel.handle, NULL);
    return status;
}

static double least(const double *seconds, uint32_t n) {
    double best = INFINITY;
    for (uint32_t i = 0; i < n; i++) best = fmin(best, seconds[i]);
    return best;
}

/* The driver's copy or the kernel's, whichever is quicker. */
qdq_status qdq_vk_time_copy(void *state, void *to, void *from, uint64_t bytes, uint32_t repeats, double *seconds) {
    qdq_vk_device *device = state;
    qdq_status status = time_plan(device, &(qdq_vk_plan){0}, to, from, bytes, repeats, seconds);
    if (status != QDQ_OK || repeats == 0 || bytes < 4096 || bytes % 16 != 0 ||
        bytes > device->physical->properties.limits.maxStorageBufferRange)
        return status;
    double *kernel = malloc(repeats * sizeof *kernel);
    if (!kernel) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for %u times", (unsigned)repeats);
    status = time_copy_kernel(device, to, from, bytes, repeats, kernel);
    if (status == QDQ_OK && least(kernel, repeats) < least(seconds, repeats))
        memcpy(seconds, kernel, repeats * sizeof *kernel);
    free(kernel);
    return status;
}
