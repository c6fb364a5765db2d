/* An open Vulkan device and its parts. */
#ifndef QDQ_BACKENDS_VULKAN_VULKAN_DEVICE_H
#define QDQ_BACKENDS_VULKAN_VULKAN_DEVICE_H

#include "backends/lower.h"
#include "backends/vulkan/kernel_args.h"
#include "backends/vulkan/vk.h"
#include "base/platform.h"

enum { QDQ_VK_STAGING_BYTES = 4 << 20 };

/* A built kernel. */
typedef struct qdq_vk_pipeline {
    VkPipeline handle;
    uint32_t tiles; /* a workgroup's */
} qdq_vk_pipeline;

/* A kernel of several formats. */
typedef struct qdq_vk_combination {
    uint32_t op;
    int32_t formats[QDQ_VK_SEVERAL]; /* -1: none */
    qdq_vk_pipeline pipeline;
} qdq_vk_combination;

typedef enum qdq_vk_memory_kind {
    QDQ_VK_DEVICE_MEMORY,  /* the device's own; mapped where it is the host's too */
    QDQ_VK_UPLOAD_MEMORY,  /* mapped, for the host to write */
    QDQ_VK_DOWNLOAD_MEMORY /* mapped, for the host to read */
} qdq_vk_memory_kind;

/* A buffer with memory of its own. */
typedef struct qdq_vk_memory {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t bytes;
    void *mapped; /* NULL where the host cannot see it */
} qdq_vk_memory;

/* What one copy between host and device needs: two pieces of staging memory, so that one fills while the other moves.
 */
typedef struct qdq_vk_courier {
    bool made, busy;
    VkCommandPool pool;
    VkCommandBuffer commands[2];
    VkFence fences[2];
    bool moving[2]; /* submitted and not waited for */
    qdq_vk_memory staging[2];
} qdq_vk_courier;

enum { QDQ_VK_COURIERS = 4, QDQ_VK_SPARES = 8 };

typedef struct qdq_vk_device {
    const qdq_vk_physical *physical;
    VkDevice handle;
    VkQueue queue, transfer_queue;
    qdq_mutex queue_mutex; /* of both queues */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    qdq_mutex kernels_mutex;
    VkPipelineCache cache;
    size_t cache_bytes;                                 /* when it was loaded */
    qdq_vk_pipeline (*pipelines)[QDQ_VK_KERNEL_OPS][2]; /* by format; [1] with importance */
    qdq_vk_memory *words; /* by format: its table, if it has one and a kernel of it was built */
    qdq_vk_pipeline rows;
    qdq_vk_combination *combinations; /* those built so far */
    size_t n_combinations;
    qdq_mutex spare_mutex;
    qdq_vk_memory spare[QDQ_VK_SPARES]; /* memory of done work, for the next */
    qdq_vk_memory_kind spare_kind[QDQ_VK_SPARES];
    qdq_mutex courier_mutex;
    qdq_condition courier_free;
    qdq_vk_courier couriers[QDQ_VK_COURIERS];
    bool fuses, keeps_subnormals; /* its fma rounds once; it compares subnormals rightly: found when it is opened */
} qdq_vk_device;

qdq_status qdq_vk_memory_create(qdq_vk_device *device, uint64_t bytes, qdq_vk_memory_kind kind, qdq_vk_memory *memory);
void qdq_vk_memory_destroy(qdq_vk_device *device, qdq_vk_memory *memory);
/* Memory for a while, not zeroed: a spare one, or new. */
qdq_status qdq_vk_borrow(qdq_vk_device *device, uint64_t bytes, qdq_vk_memory_kind kind, qdq_vk_memory *memory);
void qdq_vk_give_back(qdq_vk_device *device, qdq_vk_memory_kind kind, qdq_vk_memory *memory);
void qdq_vk_spares_destroy(qdq_vk_device *device);
/* Copies from and to host memory, complete at return. */
qdq_status qdq_vk_write(qdq_vk_device *device, qdq_vk_memory *memory, uint64_t offset, const void *from,
                        uint64_t bytes);
qdq_status qdq_vk_read(qdq_vk_device *device, qdq_vk_memory *memory, uint64_t offset, void *to, uint64_t bytes);
qdq_status qdq_vk_zero(qdq_vk_device *device, qdq_vk_memory *memory);
void qdq_vk_couriers_destroy(qdq_vk_device *device);

qdq_status qdq_vk_submit(qdq_vk_device *device, bool transfer, VkCommandBuffer commands, VkFence fence);

/* The pipelines' layout, cache and table. destroy also takes what a failed create has made. */
qdq_status qdq_vk_kernels_create(qdq_vk_device *device);
void qdq_vk_kernels_destroy(qdq_vk_device *device);
/* Builds it on first use. */
qdq_status qdq_vk_kernel(qdq_vk_device *device, qdq_format format, uint32_t op, bool weighted,
                         qdq_vk_pipeline *pipeline);
/* Errors of several formats, or one against another: all must be light. */
qdq_status qdq_vk_several_kernel(qdq_vk_device *device, uint32_t op, const int32_t formats[QDQ_VK_SEVERAL],
                                 qdq_vk_pipeline *pipeline);
/* The table of words of a format whose kernels were built; NULL for a format that has none. */
const qdq_vk_memory *qdq_vk_words(qdq_vk_device *device, qdq_format format);
qdq_status qdq_vk_rows_kernel(qdq_vk_device *device, qdq_vk_pipeline *pipeline);
/* New ones, the caller's to destroy. */
qdq_status qdq_vk_copy_kernel(qdq_vk_device *device, qdq_vk_pipeline *pipeline);
qdq_status qdq_vk_proof_kernel(qdq_vk_device *device, uint32_t operation, qdq_vk_pipeline *pipeline);

/* The pipeline cache's bytes in the user's cache folder. load returns NULL where there are none that fit. */
void *qdq_vk_cache_load(const qdq_vk_physical *physical, size_t *bytes);
void qdq_vk_cache_save(const qdq_vk_physical *physical, const void *data, size_t bytes);

/* One dispatch, or none: recorded commands without their buffers' handles. */
typedef struct qdq_vk_step {
    VkPipeline pipeline;
    VkDescriptorBufferInfo buffers[QDQ_VK_BINDINGS];
    qdq_vk_work work;
    uint32_t groups;
    bool wait; /* for the steps before it */
    /* Of error and sensitivity: which step's sums it makes. The output is then bound when they have a place. */
    qdq_step of;
    uint64_t sums_bytes;
} qdq_vk_step;

/* Operations as dispatches. */
typedef struct qdq_vk_plan {
    qdq_vk_step *steps;
    size_t n, room;
    qdq_vk_memory *scratch;
    size_t n_scratch, scratch_room;
} qdq_vk_plan;

qdq_status qdq_vk_plan_create(qdq_vk_device *device, const qdq_op *ops, size_t n, qdq_vk_plan *plan);
void qdq_vk_plan_destroy(qdq_vk_device *device, qdq_vk_plan *plan);

qdq_status qdq_vk_build(void *device, const qdq_op *op);
qdq_status qdq_vk_run(void *device, qdq_queue queue, const qdq_op *ops, size_t n, void **ticket);
bool qdq_vk_is_done(void *device, void *ticket);
qdq_status qdq_vk_wait(void *device, void *ticket);
/* Sets device->fuses and device->keeps_subnormals. */
qdq_status qdq_vk_find_habits(qdq_vk_device *device);
/* One step, complete at return. */
qdq_status qdq_vk_run_step(qdq_vk_device *device, const qdq_vk_step *step);
qdq_status qdq_vk_time_ops(void *device, const qdq_op *ops, size_t n, uint32_t repeats, double *seconds);
qdq_status qdq_vk_time_copy(void *device, void *to, void *from, uint64_t bytes, uint32_t repeats, double *seconds);

#endif
