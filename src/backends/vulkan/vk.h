/* Vulkan, through a loader opened at run time: its functions, and the machine's devices. */
#ifndef QDQ_BACKENDS_VULKAN_VK_H
#define QDQ_BACKENDS_VULKAN_VK_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "backends/backend.h"
#include "backends/vulkan/spirv.h"

#define QDQ_VK_BEFORE_INSTANCE(X)                                                                                      \
    X(vkCreateInstance)                                                                                                \
    X(vkEnumerateInstanceExtensionProperties)                                                                          \
    X(vkEnumerateInstanceVersion)                                                                                      \
    X(vkEnumerateInstanceLayerProperties)

#define QDQ_VK_OF_INSTANCE(X)                                                                                          \
    X(vkAllocateCommandBuffers)                                                                                        \
    X(vkAllocateDescriptorSets)                                                                                        \
    X(vkAllocateMemory)                                                                                                \
    X(vkBeginCommandBuffer)                                                                                            \
    X(vkBindBufferMemory)                                                                                              \
    X(vkCmdBindDescriptorSets)                                                                                         \
    X(vkCmdBindPipeline)                                                                                               \
    X(vkCmdCopyBuffer)                                                                                                 \
    X(vkCmdDispatch)                                                                                                   \
    X(vkCmdFillBuffer)                                                                                                 \
    X(vkCmdPipelineBarrier)                                                                                            \
    X(vkCmdPushConstants)                                                                                              \
    X(vkCmdResetQueryPool)                                                                                             \
    X(vkCmdWriteTimestamp)                                                                                             \
    X(vkCreateBuffer)                                                                                                  \
    X(vkCreateCommandPool)                                                                                             \
    X(vkCreateComputePipelines)                                                                                        \
    X(vkCreateDescriptorPool)                                                                                          \
    X(vkCreateDescriptorSetLayout)                                                                                     \
    X(vkCreateDevice)                                                                                                  \
    X(vkCreateFence)                                                                                                   \
    X(vkCreatePipelineCache)                                                                                           \
    X(vkCreatePipelineLayout)                                                                                          \
    X(vkCreateQueryPool)                                                                                               \
    X(vkCreateShaderModule)                                                                                            \
    X(vkDestroyBuffer)                                                                                                 \
    X(vkDestroyCommandPool)                                                                                            \
    X(vkDestroyDescriptorPool)                                                                                         \
    X(vkDestroyDescriptorSetLayout)                                                                                    \
    X(vkDestroyDevice)                                                                                                 \
    X(vkDestroyFence)                                                                                                  \
    X(vkDestroyPipeline)                                                                                               \
    X(vkDestroyPipelineCache)                                                                                          \
    X(vkDestroyPipelineLayout)                                                                                         \
    X(vkDestroyQueryPool)                                                                                              \
    X(vkDestroyShaderModule)                                                                                           \
    X(vkDeviceWaitIdle)                                                                                                \
    X(vkEndCommandBuffer)                                                                                              \
    X(vkEnumerateDeviceExtensionProperties)                                                                            \
    X(vkEnumeratePhysicalDevices)                                                                                      \
    X(vkFreeMemory)                                                                                                    \
    X(vkGetBufferMemoryRequirements)                                                                                   \
    X(vkGetDeviceQueue)                                                                                                \
    X(vkGetPhysicalDeviceMemoryProperties)                                                                             \
    X(vkGetPhysicalDeviceProperties)                                                                                   \
    X(vkGetPhysicalDeviceProperties2)                                                                                  \
    X(vkGetPhysicalDeviceQueueFamilyProperties)                                                                        \
    X(vkGetPipelineCacheData)                                                                                          \
    X(vkGetQueryPoolResults)                                                                                           \
    X(vkMapMemory)                                                                                                     \
    X(vkQueueSubmit)                                                                                                   \
    X(vkResetCommandPool)                                                                                              \
    X(vkResetFences)                                                                                                   \
    X(vkUpdateDescriptorSets)                                                                                          \
    X(vkGetFenceStatus)                                                                                                \
    X(vkWaitForFences)

/* vk.CmdDispatch is vkCmdDispatch. */
typedef struct qdq_vk_functions {
#define QDQ_VK_MEMBER(name) PFN_##name name;
    QDQ_VK_BEFORE_INSTANCE(QDQ_VK_MEMBER)
    QDQ_VK_OF_INSTANCE(QDQ_VK_MEMBER)
#undef QDQ_VK_MEMBER
} qdq_vk_functions;

extern qdq_vk_functions qdq_vk; /* filled by qdq_vk_machine() */

#define QDQ_VK_PORTABILITY_SUBSET "VK_KHR_portability_subset" /* which vulkan.h has among what is not settled */

enum { QDQ_VK_MAX_DEVICES = 16 };

/* A device that can run the kernels: Vulkan 1.1 with a compute queue. */
typedef struct qdq_vk_physical {
    VkPhysicalDevice handle;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    qdq_float_controls float_controls;
    bool portable_subset;    /* not wholly Vulkan's, as MoltenVK is not: who opens it says that he knows */
    uint64_t max_allocation; /* bytes */
    uint32_t compute_family;
    uint32_t transfer_family; /* one that only copies, else compute_family */
    uint32_t timestamp_bits;  /* of the compute family; 0: it has no clock */
    bool shared;              /* its memory is the host's */
    char driver[128];
} qdq_vk_physical;

typedef struct qdq_vk_machine_info {
    VkInstance instance; /* NULL: see missing */
    uint32_t n_devices;
    qdq_vk_physical devices[QDQ_VK_MAX_DEVICES]; /* discrete GPUs first, CPUs last */
    char missing[128];                           /* why there is no device; "" if there is one */
} qdq_vk_machine_info;

/* Opens the loader at the first call; the instance lives as long as the process. */
const qdq_vk_machine_info *qdq_vk_machine(void);

const char *qdq_vk_result_name(VkResult result);
/* The status and message of a failed call: "vulkan:0 (NAME): vkQueueSubmit: device lost". */
qdq_status qdq_vk_fail(const qdq_vk_physical *physical, const char *call, VkResult result);

#endif
