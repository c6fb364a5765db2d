/* Operations as dispatches: cut to what the device can bind and launch, and made to wait for each other where they
 * must. */
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan_device.h"
#include "base/error.h"
#include "base/format.h"

enum {
    /* What several kernels read in turn should still be in the GPU's cache for the last. */
    PIECE_TILES = 1 << 12,
    SUM_BYTES = 8 << 20, /* of a wave */
    MOST_ACCESSES = 128
};

typedef struct access {
    VkBuffer buffer;
    uint64_t first, end;
    bool writes;
} access;

/* A plan in the making. */
typedef struct planner {
    qdq_vk_device *device;
    qdq_vk_plan *plan;
    access accesses[MOST_ACCESSES]; /* since the last wait */
    size_t n_accesses;
    /* Of the operation that is being planned: slots of scratch memory, and its rows' sums; no buffer where there are
     * none. */
    qdq_vk_memory slots[2], row_sums;
} planner;

static void *grow(void *array, size_t n, size_t *room, size_t size) {
    if (n < *room) return array;
    size_t more = *room ? 2 * *room : 16;
    void *bigger = realloc(array, more * size);
    if (bigger) *room = more;
    return bigger;
}

static qdq_status add_step(planner *p, const qdq_vk_step *step) {
    qdq_vk_step *steps = grow(p->plan->steps, p->plan->n, &p->plan->room, sizeof *steps);
    if (!steps) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to plan an operation");
    p->plan->steps = steps;
    steps[p->plan->n] = *step;
    access news[QDQ_VK_BINDINGS];
    size_t n_news = 0;
    for (uint32_t b = 0; b < QDQ_VK_BINDINGS; b++)
        if (step->buffers[b].buffer)
            news[n_news++] = (access){step->buffers[b].buffer, step->buffers[b].offset,
                                      step->buffers[b].offset + step->buffers[b].range, b == QDQ_VK_BIND_OUTPUT};
    bool wait = p->n_accesses + n_news > MOST_ACCESSES;
    for (size_t i = 0; i < p->n_accesses && !wait; i++)
        for (size_t k = 0; k < n_news; k++) {
            const access *a = &p->accesses[i], *b = &news[k];
            if ((a->writes || b->writes) && a->buffer == b->buffer && a->first < b->end && b->first < a->end)
                wait = true;
        }
    if (wait) p->n_accesses = 0;
    memcpy(p->accesses + p->n_accesses, news, n_news * sizeof *news);
    p->n_accesses += n_news;
    steps[p->plan->n++].wait = wait;
    return QDQ_OK;
}

/* Once; the plan gives it back. */
static qdq_status take_scratch(planner *p, uint64_t bytes, qdq_vk_memory *scratch) {
    if (scratch->buffer) return QDQ_OK;
    qdq_vk_plan *plan = p->plan;
    qdq_vk_memory *all = grow(plan->scratch, plan->n_scratch, &plan->scratch_room, sizeof *all);
    if (!all) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to plan an operation");
    plan->scratch = all;
    qdq_status status = qdq_vk_borrow(p->device, bytes, QDQ_VK_DEVICE_MEMORY, &all[plan->n_scratch]);
    if (status == QDQ_OK) *scratch = all[plan->n_scratch++];
    return status;
}

/* Binds `bytes` of a memory from byte `at` on; where they begin in the bound range goes to *begin. */
static void bind(const planner *p, qdq_vk_step *step, uint32_t binding, const qdq_vk_memory *memory, uint64_t at,
                 uint64_t bytes, uint32_t *begin) {
    uint64_t unit = p->device->physical->properties.limits.minStorageBufferOffsetAlignment;
    uint64_t offset = unit > 16 ? at / unit * unit : at / 16 * 16;
    *begin = (uint32_t)(at - offset);
    step->buffers[binding] = (VkDescriptorBufferInfo){memory->buffer, offset, (at - offset + bytes + 3) / 4 * 4};
}

/* Binds elements of a span, from element `first` on. */
static void bind_span(const planner *p, qdq_vk_step *step, uint32_t binding, const qdq_span *span, uint64_t first,
                      uint64_t count, uint32_t *begin) {
    uint64_t size = qdq_dtype_size(span->dtype);
    bind(p, step, binding, span->memory, span->offset + first * size, count * size, begin);
}

static uint64_t most_range(const qdq_vk_device *device) {
    /* Less what aligning the ends may add. */
    uint64_t slack = 2 * (device->physical->properties.limits.minStorageBufferOffsetAlignment + 16);
    uint64_t range = device->physical->properties.limits.maxStorageBufferRange;
    return range > slack ? range - slack : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* A tile's floats are 4,096 bytes, and no packed tile is more. */
static qdq_limits limits_of(const qdq_vk_device *device) {
    uint64_t groups = device->physical->properties.limits.maxComputeWorkGroupCount[0];
    return (qdq_limits){.tiles = smaller(most_range(device) / (QDQ_TILE * 4), groups),
                        .sum_bytes = SUM_BYTES,
                        .shared_tiles = PIECE_TILES,
                        .scratch_tiles = PIECE_TILES,
                        .row_elements = most_range(device) / 4,
                        .rows_first = true,
                        .several = QDQ_VK_SEVERAL,
                        .several_pairs = 1,
                        .own_sums = true};
}

/* What a step's kernel is built of. */
typedef struct kernel_choice {
    uint32_t op;
    bool several; /* of these formats, or else of the first alone */
    int32_t formats[QDQ_VK_SEVERAL];
} kernel_choice;

static kernel_choice choose_kernel(const qdq_step *step) {
    kernel_choice k = {.formats = {-1, -1, -1, -1}};
    for (uint32_t f = 0; f < step->n_formats; f++) k.formats[f] = qdq_step_format(step, f);
    switch (step->kind) {
    case QDQ_STEP_ROW_SQUARES: break; /* no format's */
    case QDQ_STEP_ROUNDTRIP: k.op = QDQ_VK_ROUNDTRIP; break;
    case QDQ_STEP_QUANTIZE: k.op = QDQ_VK_QUANTIZE; break;
    case QDQ_STEP_DEQUANTIZE: k.op = QDQ_VK_DEQUANTIZE; break;
    case QDQ_STEP_ERROR:
        k.op = QDQ_VK_ERROR;
        k.several = step->n_formats > 1;
        break;
    case QDQ_STEP_SENSITIVITY:
        if (step->given[0] != QDQ_NO_SLOT) {
            k.op = QDQ_VK_SENSITIVITY_HIGH;
            k.formats[0] = qdq_step_high(step, 0);
        } else {
            k.several = qdq_step_high(step, 0) != QDQ_FORMAT_SOURCE;
            k.op = k.several ? QDQ_VK_SENSITIVITY_PAIR : QDQ_VK_SENSITIVITY_LOW;
            if (k.several) k.formats[1] = qdq_step_high(step, 0);
        }
        break;
    }
    return k;
}

/* Builds the step's kernel, if it is the first time. */
static qdq_status take_kernel(qdq_vk_device *device, const qdq_step *step, qdq_vk_pipeline *kernel) {
    kernel_choice k = choose_kernel(step);
    if (step->kind == QDQ_STEP_ROW_SQUARES) return qdq_vk_rows_kernel(device, kernel);
    if (k.several) return qdq_vk_several_kernel(device, k.op, k.formats, kernel);
    return qdq_vk_kernel(device, k.formats[0], k.op, step->weighted, kernel);
}

static void set_kernel(qdq_vk_step *made, const qdq_vk_pipeline *kernel, uint64_t tiles) {
    made->pipeline = kernel->handle;
    made->groups = (uint32_t)((tiles + kernel->tiles - 1) / kernel->tiles);
}

/* The mean squares of rows, into scratch memory for those of all of them. */
static qdq_status plan_rows(planner *p, const qdq_step *step, const qdq_vk_pipeline *kernel) {
    const qdq_op *op = step->op;
    uint64_t elements = step->rows * op->row;
    qdq_status status = take_scratch(p, op->count / op->row * 4, &p->row_sums);
    if (status != QDQ_OK) return status;
    qdq_vk_step made = {.work = {.count = (uint32_t)elements,
                                 .row = (uint32_t)op->row,
                                 .row_length = (float)op->row,
                                 .input_dtype = op->input.dtype}};
    set_kernel(&made, kernel, (step->rows + 31) / 32);
    bind_span(p, &made, QDQ_VK_BIND_INPUT, &op->input, step->row * op->row, elements, &made.work.input_at);
    bind(p, &made, QDQ_VK_BIND_OUTPUT, &p->row_sums, 4 * step->place, 4 * step->rows, &made.work.output_at);
    return add_step(p, &made);
}

static void bind_importance(const planner *p, const qdq_step *step, qdq_vk_step *made) {
    const qdq_op *op = step->op;
    made->work.row = (uint32_t)op->row;
    made->work.column = (uint32_t)(step->first % op->row);
    bind_span(p, made, QDQ_VK_BIND_IMPORTANCE, &op->importance, 0, op->row, &made->work.importance_at);
    if (!step->row_sums) return;
    uint64_t row = step->first / op->row, end = (step->first + step->count - 1) / op->row + 1;
    bind(p, made, QDQ_VK_BIND_ROW_SUMS, &p->row_sums, 4 * (row - step->first_row), 4 * (end - row),
         &made->work.row_sums_at);
}

/* What the kernel reads of the operation. */
static qdq_status bind_inputs(planner *p, const qdq_step *step, qdq_vk_step *made) {
    const qdq_op *op = step->op;
    if (step->kind == QDQ_STEP_DEQUANTIZE) {
        qdq_format format = qdq_step_format(step, 0);
        bind(p, made, QDQ_VK_BIND_INPUT, op->input.memory, op->input.offset + qdq_format_bytes(format, step->first),
             qdq_format_bytes(format, step->count), &made->work.input_at);
    } else {
        made->work.input_dtype = op->input.dtype;
        bind_span(p, made, QDQ_VK_BIND_INPUT, &op->input, step->first, step->count, &made->work.input_at);
    }
    if (step->weighted) bind_importance(p, step, made);
    if (step->kind == QDQ_STEP_SENSITIVITY) {
        made->work.gradient_dtype = op->gradient.dtype;
        bind_span(p, made, QDQ_VK_BIND_GRADIENT, &op->gradient, step->first, step->count, &made->work.gradient_at);
        if (step->given[0] != QDQ_NO_SLOT)
            bind(p, made, QDQ_VK_BIND_LOW, &p->slots[step->given[0]], 0, 4 * step->count, &made->work.low_at);
    }
    return QDQ_OK;
}

/* Where its results go, but for sums. */
static qdq_status bind_output(planner *p, const qdq_step *step, qdq_vk_step *made) {
    const qdq_op *op = step->op;
    if (step->kind == QDQ_STEP_QUANTIZE) {
        qdq_format format = qdq_step_format(step, 0);
        bind(p, made, QDQ_VK_BIND_OUTPUT, op->output.memory, op->output.offset + qdq_format_bytes(format, step->first),
             qdq_format_bytes(format, step->count), &made->work.output_at);
    } else if (step->output != QDQ_NO_SLOT) {
        qdq_vk_memory *slot = &p->slots[step->output]; /* the first of its steps wants most */
        qdq_status status = take_scratch(p, 4 * step->count, slot);
        if (status != QDQ_OK) return status;
        bind(p, made, QDQ_VK_BIND_OUTPUT, slot, 0, 4 * step->count, &made->work.output_at);
    } else {
        made->work.output_dtype = op->output.dtype;
        bind_span(p, made, QDQ_VK_BIND_OUTPUT, &op->output, step->first, step->count, &made->work.output_at);
    }
    return QDQ_OK;
}

static qdq_status plan_step(void *planner_, const qdq_step *step) {
    planner *p = planner_;
    qdq_vk_pipeline kernel;
    qdq_status status = take_kernel(p->device, step, &kernel);
    if (status != QDQ_OK || step->kind == QDQ_STEP_ROW_SQUARES)
        return status == QDQ_OK ? plan_rows(p, step, &kernel) : status;
    qdq_vk_step made = {
        .of = *step, .sums_bytes = qdq_step_sum_bytes(step), .work = {.count = (uint32_t)step->count, .row = 32}};
    set_kernel(&made, &kernel, qdq_step_tiles(step));
    kernel_choice k = choose_kernel(step);
    const qdq_vk_memory *words = k.several ? NULL : qdq_vk_words(p->device, k.formats[0]);
    if (words) made.buffers[QDQ_VK_BIND_WORDS] = (VkDescriptorBufferInfo){words->buffer, 0, words->bytes};
    status = bind_inputs(p, step, &made);
    if (status == QDQ_OK && made.sums_bytes == 0) status = bind_output(p, step, &made);
    return status == QDQ_OK ? add_step(p, &made) : status;
}

static qdq_status check_row(const qdq_vk_device *device, const qdq_op *op) {
    if (!op->importance.memory || op->row <= most_range(device) / 4) return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED, "%s takes rows of at most %llu elements with an importance matrix, not %llu",
                    device->physical->properties.deviceName, (unsigned long long)(most_range(device) / 4),
                    (unsigned long long)op->row);
}

static qdq_status check_pitch(const qdq_vk_device *device, const qdq_op *op) {
    if (!op->input.pitch && !op->output.pitch && !op->gradient.pitch) return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED, "%s takes no rows with a pitch; copy them to lie side by side",
                    device->physical->properties.deviceName);
}

static qdq_status plan_op(planner *p, const qdq_op *op) {
    qdq_limits limits = limits_of(p->device);
    p->slots[0] = p->slots[1] = p->row_sums = (qdq_vk_memory){0};
    qdq_status status = check_row(p->device, op);
    return status == QDQ_OK ? qdq_lower(op, &limits, plan_step, p) : status;
}

qdq_status qdq_vk_plan_create(qdq_vk_device *device, const qdq_op *ops, size_t n, qdq_vk_plan *plan) {
    *plan = (qdq_vk_plan){0};
    planner p = {.device = device, .plan = plan};
    qdq_status status = QDQ_OK;
    for (size_t i = 0; i < n && status == QDQ_OK; i++) status = plan_op(&p, &ops[i]);
    if (status != QDQ_OK) qdq_vk_plan_destroy(device, plan);
    return status;
}

void qdq_vk_plan_destroy(qdq_vk_device *device, qdq_vk_plan *plan) {
    for (size_t i = 0; i < plan->n_scratch; i++) qdq_vk_give_back(device, QDQ_VK_DEVICE_MEMORY, &plan->scratch[i]);
    free(plan->scratch);
    free(plan->steps);
    *plan = (qdq_vk_plan){0};
}

static qdq_status build_step(void *device, const qdq_step *step) {
    qdq_vk_pipeline kernel;
    return take_kernel(device, step, &kernel);
}

qdq_status qdq_vk_build(void *device, const qdq_op *op) {
    qdq_limits limits = limits_of(device);
    qdq_status status = check_pitch(device, op);
    return status == QDQ_OK ? qdq_lower_kernels(op, &limits, build_step, device) : status;
}
