/* The kernels: one module a format, one pipeline a module and operation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan_device.h"
#include "base/error.h"
#include "base/format.h"
#include "base/codebook.h"
#include "dialect/glsl_constants.h"

#ifdef QDQ_VULKAN_UNROLLED
#define UNROLLED(name) &qdq_spirv_##name##_unrolled
#else
#define UNROLLED(name) NULL
#endif

#define FORMAT(name, ...) extern const qdq_spirv qdq_spirv_##name, qdq_spirv_##name##_unrolled;
#include "formats/formats.def"
#undef FORMAT

extern const qdq_spirv qdq_spirv_several, qdq_spirv_row_squares, qdq_spirv_operations, qdq_spirv_copy;

/* unrolled: the kernels without importance once more, with loops unrolled and arrays taken apart; empty, or NULL, where
 * that is not wanted or could not be made. */
static const struct {
    const qdq_spirv *plain, *unrolled;
} modules[] = {
#define FORMAT(name, ...) {&qdq_spirv_##name, UNROLLED(name)},
#include "formats/formats.def"
#undef FORMAT
};

static qdq_status layouts_create(qdq_vk_device *device) {
    VkDescriptorSetLayoutBinding bindings[QDQ_VK_BINDINGS];
    for (uint32_t b = 0; b < QDQ_VK_BINDINGS; b++)
        bindings[b] = (VkDescriptorSetLayoutBinding){.binding = b,
                                                     .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                     .descriptorCount = 1,
                                                     .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                           .bindingCount = QDQ_VK_BINDINGS,
                                           .pBindings = bindings};
    VkResult result = qdq_vk.vkCreateDescriptorSetLayout(device->handle, &set, NULL, &device->set_layout);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkCreateDescriptorSetLayout", result);
    VkPushConstantRange constants = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = sizeof(qdq_vk_work)};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &device->set_layout,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &constants};
    result = qdq_vk.vkCreatePipelineLayout(device->handle, &layout, NULL, &device->layout);
    return result == VK_SUCCESS ? QDQ_OK : qdq_vk_fail(device->physical, "vkCreatePipelineLayout", result);
}

static qdq_status cache_create(qdq_vk_device *device) {
    size_t bytes = 0;
    void *data = qdq_vk_cache_load(device->physical, &bytes);
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = bytes, .pInitialData = data};
    VkResult result = qdq_vk.vkCreatePipelineCache(device->handle, &info, NULL, &device->cache);
    free(data);
    device->cache_bytes = bytes;
    return result == VK_SUCCESS ? QDQ_OK : qdq_vk_fail(device->physical, "vkCreatePipelineCache", result);
}

qdq_status qdq_vk_kernels_create(qdq_vk_device *device) {
    device->pipelines = calloc(sizeof modules / sizeof modules[0], sizeof *device->pipelines);
    device->words = calloc(sizeof modules / sizeof modules[0], sizeof *device->words);
    if (!device->pipelines || !device->words) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the table of kernels");
    qdq_status status = layouts_create(device);
    return status == QDQ_OK ? cache_create(device) : status;
}

/* Kept for the next process if kernels were built that it did not have. */
static void cache_keep(qdq_vk_device *device) {
    size_t bytes = 0;
    if (qdq_vk.vkGetPipelineCacheData(device->handle, device->cache, &bytes, NULL) != VK_SUCCESS) return;
    if (bytes <= device->cache_bytes) return;
    void *data = malloc(bytes);
    if (data && qdq_vk.vkGetPipelineCacheData(device->handle, device->cache, &bytes, data) == VK_SUCCESS)
        qdq_vk_cache_save(device->physical, data, bytes);
    free(data);
}

void qdq_vk_kernels_destroy(qdq_vk_device *device) {
    if (device->cache) cache_keep(device);
    for (size_t f = 0; device->pipelines && f < sizeof modules / sizeof modules[0]; f++)
        for (int op = 0; op < QDQ_VK_KERNEL_OPS; op++)
            for (int w = 0; w < 2; w++)
                qdq_vk.vkDestroyPipeline(device->handle, device->pipelines[f][op][w].handle, NULL);
    for (size_t i = 0; i < device->n_combinations; i++)
        qdq_vk.vkDestroyPipeline(device->handle, device->combinations[i].pipeline.handle, NULL);
    free(device->combinations);
    qdq_vk.vkDestroyPipeline(device->handle, device->rows.handle, NULL);
    free(device->pipelines);
    for (size_t f = 0; device->words && f < sizeof modules / sizeof modules[0]; f++)
        qdq_vk_memory_destroy(device, &device->words[f]);
    free(device->words);
    qdq_vk.vkDestroyPipelineCache(device->handle, device->cache, NULL);
    qdq_vk.vkDestroyPipelineLayout(device->handle, device->layout, NULL);
    qdq_vk.vkDestroyDescriptorSetLayout(device->handle, device->set_layout, NULL);
}

/* What a kernel is built of. */
typedef struct recipe {
    const qdq_spirv *module;
    const qdq_format_row *row; /* NULL: the module is no format's */
    uint32_t op;
    bool weighted;
    const int32_t *formats; /* of several.glsl, or NULL */
} recipe;

/* Bytes of shared memory that a tile takes: tile.glsl, lanes.glsl. */
static uint32_t shared_bytes(const recipe *r) {
    const uint32_t stage = 16 * 9 * 4;
    if (!r->row) return 4 * stage;
    uint32_t packed = 16 * ((r->row->block_bytes + r->row->lanes - 1) / r->row->lanes);
    uint32_t words = (packed > stage ? packed : stage) + 32 * r->row->shared;
    if (r->op == QDQ_VK_QUANTIZE) words += 32 * (9 + r->row->heads);
    return 4 * words;
}

static qdq_status build(qdq_vk_device *device, const recipe *r, qdq_vk_pipeline *pipeline) {
    uint32_t room = device->physical->properties.limits.maxComputeSharedMemorySize, tile = shared_bytes(r);
    /* Warps that only wait for themselves keep memory busier; those of blocks of several lanes are few, and go in
     * pairs. */
    uint32_t tiles = r->row && r->row->shared > 0 && room / tile >= 2 ? 2 : 1;
    if (room < tile)
        return qdq_fail(QDQ_UNSUPPORTED, "%s has %u bytes of shared memory; the kernel takes %u",
                        device->physical->properties.deviceName, (unsigned)room, (unsigned)tile);
    VkPipeline handle;
    uint32_t *code = malloc(r->module->words * sizeof *code);
    if (!code) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to build a kernel");
    size_t words = qdq_spirv_for_device(r->module, &device->physical->float_controls, code);
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = 4 * words, .pCode = code};
    VkShaderModule shader;
    VkResult result = qdq_vk.vkCreateShaderModule(device->handle, &info, NULL, &shader);
    free(code);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkCreateShaderModule", result);
    uint32_t constants[QDQ_VK_IDS] = {[QDQ_VK_ID_OP] = r->op,
                                      [QDQ_VK_ID_TILES] = tiles,
                                      [QDQ_VK_ID_LANES] = 32 * tiles,
                                      [QDQ_VK_ID_WEIGHTED] = r->weighted,
                                      [QDQ_VK_ID_KEEPS_SUBNORMALS] = device->keeps_subnormals,
                                      [QDQ_VK_ID_FUSES] = device->fuses};
    for (int i = 0; i < QDQ_VK_SEVERAL; i++)
        constants[QDQ_VK_ID_FORMAT + i] = r->formats ? (uint32_t)r->formats[i] : UINT32_MAX;
    VkSpecializationMapEntry entries[QDQ_VK_IDS];
    for (uint32_t i = 0; i < QDQ_VK_IDS; i++) entries[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
    VkSpecializationInfo special = {QDQ_VK_IDS, entries, sizeof constants, constants};
    VkComputePipelineCreateInfo create = {.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
                                          .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                                                    .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                                                    .module = shader,
                                                    .pName = "main",
                                                    .pSpecializationInfo = &special},
                                          .layout = device->layout};
    result = qdq_vk.vkCreateComputePipelines(device->handle, device->cache, 1, &create, NULL, &handle);
    qdq_vk.vkDestroyShaderModule(device->handle, shader, NULL);
    if (result != VK_SUCCESS) return qdq_vk_fail(device->physical, "vkCreateComputePipelines", result);
    *pipeline = (qdq_vk_pipeline){handle, tiles};
    return QDQ_OK;
}

/* The pipeline in the slot, built if it is not there yet. */
static qdq_status take(qdq_vk_device *device, const recipe *r, qdq_vk_pipeline *slot, qdq_vk_pipeline *pipeline) {
    qdq_mutex_lock(&device->kernels_mutex);
    qdq_status status = slot->handle ? QDQ_OK : build(device, r, slot);
    *pipeline = *slot;
    qdq_mutex_unlock(&device->kernels_mutex);
    return status;
}

/* The format's table of words, where it has one, brought to the device once. */
static qdq_status upload_words(qdq_vk_device *device, qdq_format format) {
    const uint32_t *words;
    size_t n;
    qdq_status status = qdq_format_words(qdq_format_get(format)->name, &words, &n);
    if (status != QDQ_OK || !words) return status;
    qdq_vk_memory memory;
    qdq_mutex_lock(&device->kernels_mutex);
    if (!device->words[format].buffer) {
        status = qdq_vk_memory_create(device, 4 * n, QDQ_VK_DEVICE_MEMORY, &memory);
        if (status == QDQ_OK) {
            status = qdq_vk_write(device, &memory, 0, words, 4 * n);
            if (status == QDQ_OK)
                device->words[format] = memory;
            else
                qdq_vk_memory_destroy(device, &memory);
        }
    }
    qdq_mutex_unlock(&device->kernels_mutex);
    return status;
}

const qdq_vk_memory *qdq_vk_words(qdq_vk_device *device, qdq_format format) {
    return device->words[format].buffer ? &device->words[format] : NULL;
}

qdq_status qdq_vk_kernel(qdq_vk_device *device, qdq_format format, uint32_t op, bool weighted,
                         qdq_vk_pipeline *pipeline) {
    qdq_status status = upload_words(device, format);
    if (status != QDQ_OK) return status;
    const qdq_format_row *row = qdq_format_get(format);
    const qdq_spirv *unrolled = row->unrolled && !weighted ? modules[format].unrolled : NULL;
    const recipe r = {unrolled ? unrolled : modules[format].plain, row, op, weighted, NULL};
    return take(device, &r, &device->pipelines[format][op][weighted], pipeline);
}

static qdq_status combine(qdq_vk_device *device, qdq_vk_combination *wanted) {
    for (size_t i = 0; i < device->n_combinations; i++) {
        const qdq_vk_combination *c = &device->combinations[i];
        if (c->op != wanted->op || memcmp(c->formats, wanted->formats, sizeof c->formats) != 0) continue;
        wanted->pipeline = c->pipeline;
        return QDQ_OK;
    }
    qdq_vk_combination *more = realloc(device->combinations, (device->n_combinations + 1) * sizeof *more);
    if (!more) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to build a kernel");
    device->combinations = more;
    const recipe r = {&qdq_spirv_several, NULL, wanted->op, false, wanted->formats};
    qdq_status status = build(device, &r, &wanted->pipeline);
    if (status == QDQ_OK) more[device->n_combinations++] = *wanted;
    return status;
}

qdq_status qdq_vk_several_kernel(qdq_vk_device *device, uint32_t op, const int32_t formats[QDQ_VK_SEVERAL],
                                 qdq_vk_pipeline *pipeline) {
    qdq_vk_combination wanted = {.op = op};
    memcpy(wanted.formats, formats, sizeof wanted.formats);
    qdq_mutex_lock(&device->kernels_mutex);
    qdq_status status = combine(device, &wanted);
    qdq_mutex_unlock(&device->kernels_mutex);
    *pipeline = wanted.pipeline;
    return status;
}

qdq_status qdq_vk_rows_kernel(qdq_vk_device *device, qdq_vk_pipeline *pipeline) {
    const recipe r = {.module = &qdq_spirv_row_squares};
    return take(device, &r, &device->rows, pipeline);
}

qdq_status qdq_vk_copy_kernel(qdq_vk_device *device, qdq_vk_pipeline *pipeline) {
    const recipe r = {.module = &qdq_spirv_copy};
    return build(device, &r, pipeline);
}

qdq_status qdq_vk_proof_kernel(qdq_vk_device *device, uint32_t operation, qdq_vk_pipeline *pipeline) {
    const recipe r = {.module = &qdq_spirv_operations, .op = operation};
    return build(device, &r, pipeline);
}
