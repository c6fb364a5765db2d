/* Operations as dispatches: cut to what the device can bind and launch, and made to wait for each other where they
 * must. */
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan_device.h"
#include "base/error.h"
#include "base/format.h"

enum {
    /* Several formats look at one input in turn; a piece of it should still be in the GPU's cache for the last. */
    PIECE_TILES = 1 << 12,
    /* Sums of one dispatch: 10 MiB. */
    MOST_SUM_TILES = 1 << 19,
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

static qdq_status take_scratch(planner *p, uint64_t bytes, const qdq_vk_memory **scratch) {
    qdq_vk_plan *plan = p->plan;
    qdq_vk_memory *all = grow(plan->scratch, plan->n_scratch, &plan->scratch_room, sizeof *all);
    if (!all) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to plan an operation");
    plan->scratch = all;
    qdq_status status = qdq_vk_borrow(p->device, bytes, QDQ_VK_DEVICE_MEMORY, &all[plan->n_scratch]);
    if (status == QDQ_OK) *scratch = &all[plan->n_scratch++];
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

static uint64_t most_range(const planner *p) {
    /* Less what aligning the ends may add. */
    uint64_t slack = 2 * (p->device->physical->properties.limits.minStorageBufferOffsetAlignment + 16);
    uint64_t range = p->device->physical->properties.limits.maxStorageBufferRange;
    return range > slack ? range - slack : 0;
}

/* Tiles of a dispatch. A tile's floats are 4,096 bytes, and no packed tile is more. */
static uint64_t most_tiles(const planner *p) {
    uint64_t groups = p->device->physical->properties.limits.maxComputeWorkGroupCount[0];
    uint64_t by_range = most_range(p) / (QDQ_TILE * 4), by_groups = groups;
    return by_range < by_groups ? by_range : by_groups;
}

static void set_kernel(qdq_vk_step *step, const qdq_vk_pipeline *kernel, uint64_t tiles) {
    step->pipeline = kernel->handle;
    step->groups = (uint32_t)((tiles + kernel->tiles - 1) / kernel->tiles);
}

static bool fit_is_weighted(const qdq_op *op, qdq_format format) {
    return op->importance.memory && qdq_format_get(format)->importance > 0;
}

/* Whether the kernel for it takes the importance: for its fit, or for the sums of errors. */
static bool is_weighted(const qdq_op *op, qdq_format format) {
    return fit_is_weighted(op, format) || (op->kind == QDQ_OP_ERROR && op->importance.memory);
}

static bool wants_row_sums(const qdq_op *op, qdq_format format) {
    return fit_is_weighted(op, format) && qdq_format_get(format)->row_sums;
}

/* One piece of an operation for one format. */
typedef struct piece {
    const qdq_op *op;
    qdq_format format;       /* without a combination */
    const int32_t *combined; /* QDQ_VK_SEVERAL formats of one kernel, or NULL */
    uint32_t kernel;
    bool weighted;
    uint64_t first_tile, tiles;
    const qdq_vk_memory *row_sums;
    uint32_t pair; /* of a sensitivity's */
} piece;

static uint64_t first_element(const piece *w) { return w->first_tile * QDQ_TILE; }

static uint64_t element_count(const piece *w) {
    uint64_t left = w->op->count - first_element(w), n = w->tiles * QDQ_TILE;
    return left < n ? left : n;
}

/* A step with what all kernels want: the input, and what weighs it. */
static qdq_status begin_step(const planner *p, const piece *w, qdq_vk_step *step) {
    const qdq_op *op = w->op;
    uint64_t first = first_element(w), n = element_count(w);
    *step = (qdq_vk_step){.tiles = w->tiles};
    step->work.count = (uint32_t)n;
    step->work.row = 32;
    qdq_vk_pipeline kernel;
    qdq_status status = w->combined ? qdq_vk_several_kernel(p->device, w->kernel, w->combined, &kernel)
                                    : qdq_vk_kernel(p->device, w->format, w->kernel, w->weighted, &kernel);
    if (status != QDQ_OK) return status;
    set_kernel(step, &kernel, w->tiles);
    const qdq_vk_memory *words = w->combined ? NULL : qdq_vk_words(p->device, w->format);
    if (words) step->buffers[QDQ_VK_BIND_WORDS] = (VkDescriptorBufferInfo){words->buffer, 0, words->bytes};
    if (w->kernel != QDQ_VK_DEQUANTIZE) {
        step->work.input_dtype = op->input.dtype;
        bind_span(p, step, QDQ_VK_BIND_INPUT, &op->input, first, n, &step->work.input_at);
    }
    if (!w->weighted) return QDQ_OK;
    step->work.row = (uint32_t)op->row;
    step->work.column = (uint32_t)(first % op->row);
    bind_span(p, step, QDQ_VK_BIND_IMPORTANCE, &op->importance, 0, op->row, &step->work.importance_at);
    if (w->row_sums) {
        uint64_t row = first / op->row, rows = (first + n - 1) / op->row + 1 - row;
        bind(p, step, QDQ_VK_BIND_ROW_SUMS, w->row_sums, 4 * row, 4 * rows, &step->work.row_sums_at);
    }
    return QDQ_OK;
}

static qdq_status plan_array(planner *p, const piece *w) {
    const qdq_op *op = w->op;
    const qdq_format_row *row = qdq_format_get(w->format);
    qdq_vk_step step;
    qdq_status status = begin_step(p, w, &step);
    if (status != QDQ_OK) return status;
    uint64_t first = first_element(w), n = element_count(w);
    uint64_t block = first / row->block_elements * row->block_bytes, bytes = n / row->block_elements * row->block_bytes;
    if (w->kernel == QDQ_VK_DEQUANTIZE)
        bind_span(p, &step, QDQ_VK_BIND_INPUT, &op->input, block, bytes, &step.work.input_at);
    if (w->kernel == QDQ_VK_QUANTIZE)
        bind_span(p, &step, QDQ_VK_BIND_OUTPUT, &op->output, block, bytes, &step.work.output_at);
    else
        bind_span(p, &step, QDQ_VK_BIND_OUTPUT, &op->output, first, n, &step.work.output_at);
    if (w->kernel != QDQ_VK_QUANTIZE) step.work.output_dtype = op->output.dtype;
    return add_step(p, &step);
}

/* Errors of the operation's formats number index[0 … n - 1]. */
static qdq_status plan_error(planner *p, const piece *w, const uint32_t *index, uint32_t n) {
    qdq_vk_step step;
    qdq_status status = begin_step(p, w, &step);
    if (status != QDQ_OK) return status;
    step.op = w->op;
    step.n_formats = n;
    memcpy(step.format_index, index, n * sizeof *index);
    step.sums_bytes = n * w->tiles * sizeof(qdq_tile_error);
    return add_step(p, &step);
}

static qdq_status plan_low(planner *p, const piece *w, const qdq_vk_memory *low) {
    qdq_vk_step step;
    qdq_status status = begin_step(p, w, &step);
    if (status != QDQ_OK) return status;
    bind(p, &step, QDQ_VK_BIND_OUTPUT, low, 0, 4 * element_count(w), &step.work.output_at);
    return add_step(p, &step);
}

static qdq_status plan_scores(planner *p, const piece *w, const qdq_vk_memory *low) {
    qdq_vk_step step;
    qdq_status status = begin_step(p, w, &step);
    if (status != QDQ_OK) return status;
    step.work.gradient_dtype = w->op->gradient.dtype;
    bind_span(p, &step, QDQ_VK_BIND_GRADIENT, &w->op->gradient, first_element(w), element_count(w),
              &step.work.gradient_at);
    if (low) bind(p, &step, QDQ_VK_BIND_LOW, low, 0, 4 * element_count(w), &step.work.low_at);
    step.op = w->op;
    step.format_index[0] = w->pair;
    step.sums_bytes = w->tiles * sizeof(qdq_tile_sensitivity);
    return add_step(p, &step);
}

/* The mean squares of all rows, into scratch memory. */
static qdq_status plan_row_sums(planner *p, const qdq_op *op, const qdq_vk_memory **row_sums) {
    uint64_t rows = op->count / op->row, size = qdq_dtype_size(op->input.dtype);
    uint64_t most = most_range(p) / (op->row * size), by_groups = most_tiles(p) * 32;
    if (most > by_groups) most = by_groups;
    qdq_vk_step step = {0};
    qdq_status status = take_scratch(p, rows * 4, row_sums);
    qdq_vk_pipeline kernel;
    if (status == QDQ_OK) status = qdq_vk_rows_kernel(p->device, &kernel);
    for (uint64_t row = 0; row < rows && status == QDQ_OK; row += most) {
        uint64_t n = rows - row < most ? rows - row : most;
        memset(step.buffers, 0, sizeof step.buffers);
        set_kernel(&step, &kernel, (n + 31) / 32);
        step.work = (qdq_vk_work){.count = (uint32_t)(n * op->row),
                                  .row = (uint32_t)op->row,
                                  .row_length = (float)op->row,
                                  .input_dtype = op->input.dtype};
        bind_span(p, &step, QDQ_VK_BIND_INPUT, &op->input, row * op->row, n * op->row, &step.work.input_at);
        bind(p, &step, QDQ_VK_BIND_OUTPUT, *row_sums, 4 * row, 4 * n, &step.work.output_at);
        status = add_step(p, &step);
    }
    return status;
}

static qdq_status check_row(const planner *p, const qdq_op *op) {
    if (!op->importance.memory || op->row <= most_range(p) / 4) return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED, "%s takes rows of at most %llu elements with an importance matrix, not %llu",
                    p->device->physical->properties.deviceName, (unsigned long long)(most_range(p) / 4),
                    (unsigned long long)op->row);
}

/* Formats whose errors one kernel sums: several combinable ones, or one of any kind. */
typedef struct group {
    uint32_t n, index[QDQ_VK_SEVERAL];
    int32_t formats[QDQ_VK_SEVERAL];
} group;

static uint32_t group_formats(const qdq_op *op, group groups[QDQ_MAX_OP_FORMATS]) {
    uint32_t n = 0, open = UINT32_MAX; /* the group that takes the next combinable format */
    for (uint32_t f = 0; f < op->n_formats; f++) {
        bool combinable = !op->importance.memory && qdq_vk_is_combinable(op->format[f]);
        if (!combinable || open == UINT32_MAX || groups[open].n == QDQ_VK_SEVERAL) {
            groups[n] = (group){.formats = {-1, -1, -1, -1}};
            if (combinable) open = n;
            n++;
        }
        group *g = &groups[combinable ? open : n - 1];
        g->index[g->n] = f;
        g->formats[g->n++] = op->format[f];
    }
    return n;
}

static bool is_combined_pair(const qdq_op *op, uint32_t pair) {
    return op->high[pair] != QDQ_FORMAT_SOURCE && qdq_vk_is_combinable(op->format[pair]) &&
           qdq_vk_is_combinable(op->high[pair]) && !fit_is_weighted(op, op->format[pair]) &&
           !fit_is_weighted(op, op->high[pair]);
}

static const qdq_vk_memory *row_sums_for(const qdq_op *op, qdq_format format, const qdq_vk_memory *row_sums) {
    return wants_row_sums(op, format) ? row_sums : NULL;
}

/* Low values of one piece are made while those of the piece before are used. */
static qdq_status plan_pair(planner *p, const qdq_op *op, uint32_t pair, const qdq_vk_memory *row_sums) {
    uint64_t all = (op->count + QDQ_TILE - 1) / QDQ_TILE, step = PIECE_TILES;
    if (step > most_tiles(p)) step = most_tiles(p);
    const qdq_vk_memory *scratch;
    qdq_vk_memory low[2];
    for (int i = 0; i < 2; i++) {
        qdq_status status = take_scratch(p, (step < all ? step : all) * QDQ_TILE * 4, &scratch);
        if (status != QDQ_OK) return status;
        low[i] = *scratch;
    }
    piece w[2];
    for (int i = 0; i < 2; i++) {
        qdq_format format = i == 0 ? op->format[pair] : op->high[pair];
        w[i] = (piece){.op = op,
                       .format = format,
                       .kernel = i == 0 ? QDQ_VK_ROUNDTRIP : QDQ_VK_SENSITIVITY_HIGH,
                       .weighted = fit_is_weighted(op, format),
                       .row_sums = row_sums_for(op, format, row_sums),
                       .pair = pair};
    }
    qdq_status status = QDQ_OK;
    for (uint64_t t = 0; t < all + step && status == QDQ_OK; t += step) {
        if (t < all) {
            w[0].first_tile = t;
            w[0].tiles = all - t < step ? all - t : step;
            status = plan_low(p, &w[0], &low[t / step % 2]);
        }
        if (t >= step && status == QDQ_OK) {
            w[1].first_tile = t - step;
            w[1].tiles = all - w[1].first_tile < step ? all - w[1].first_tile : step;
            status = plan_scores(p, &w[1], &low[(t / step + 1) % 2]);
        }
    }
    return status;
}

/* The sums of rows, if a format wants them. */
static qdq_status plan_all_row_sums(planner *p, const qdq_op *op, qdq_vk_memory *sums) {
    bool wanted = false;
    for (uint32_t f = 0; f < op->n_formats && !wanted; f++)
        wanted =
            wants_row_sums(op, op->format[f]) ||
            (op->kind == QDQ_OP_SENSITIVITY && op->high[f] != QDQ_FORMAT_SOURCE && wants_row_sums(op, op->high[f]));
    const qdq_vk_memory *made;
    qdq_status status = wanted ? plan_row_sums(p, op, &made) : QDQ_OK;
    if (wanted && status == QDQ_OK) *sums = *made; /* the plan's table may move */
    return status;
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static qdq_status plan_errors(planner *p, const qdq_op *op, const qdq_vk_memory *row_sums) {
    group groups[QDQ_MAX_OP_FORMATS];
    uint32_t n_groups = group_formats(op, groups);
    uint64_t all = (op->count + QDQ_TILE - 1) / QDQ_TILE;
    uint64_t step = smaller(most_tiles(p), n_groups > 1 ? PIECE_TILES : MOST_SUM_TILES / QDQ_VK_SEVERAL);
    qdq_status status = QDQ_OK;
    for (uint64_t t = 0; t < all && status == QDQ_OK; t += step)
        for (uint32_t i = 0; i < n_groups && status == QDQ_OK; i++) {
            const group *g = &groups[i];
            piece w = {.op = op,
                       .format = g->formats[0],
                       .combined = g->n > 1 ? g->formats : NULL,
                       .kernel = QDQ_VK_ERROR,
                       .weighted = is_weighted(op, g->formats[0]),
                       .first_tile = t,
                       .tiles = smaller(all - t, step),
                       .row_sums = row_sums_for(op, g->formats[0], row_sums)};
            status = plan_error(p, &w, g->index, g->n);
        }
    return status;
}

/* One kernel over the whole. */
static qdq_status plan_plain(planner *p, const qdq_op *op, uint32_t pair, uint32_t kernel,
                             const qdq_vk_memory *row_sums) {
    const int32_t formats[QDQ_VK_SEVERAL] = {op->format[pair], op->high[pair], -1, -1};
    bool scores = op->kind == QDQ_OP_SENSITIVITY;
    uint64_t all = (op->count + QDQ_TILE - 1) / QDQ_TILE;
    uint64_t step = smaller(most_tiles(p), scores ? MOST_SUM_TILES : UINT64_MAX);
    qdq_status status = QDQ_OK;
    for (uint64_t t = 0; t < all && status == QDQ_OK; t += step) {
        piece w = {.op = op,
                   .format = op->format[pair],
                   .combined = kernel == QDQ_VK_SENSITIVITY_PAIR ? formats : NULL,
                   .kernel = kernel,
                   .weighted = fit_is_weighted(op, op->format[pair]) && kernel != QDQ_VK_DEQUANTIZE,
                   .first_tile = t,
                   .tiles = smaller(all - t, step),
                   .row_sums = row_sums_for(op, op->format[pair], row_sums),
                   .pair = pair};
        status = scores ? plan_scores(p, &w, NULL) : plan_array(p, &w);
    }
    return status;
}

static qdq_status plan_scores_of_pair(planner *p, const qdq_op *op, uint32_t pair, const qdq_vk_memory *row_sums) {
    if (op->high[pair] == QDQ_FORMAT_SOURCE) return plan_plain(p, op, pair, QDQ_VK_SENSITIVITY_LOW, row_sums);
    if (is_combined_pair(op, pair)) return plan_plain(p, op, pair, QDQ_VK_SENSITIVITY_PAIR, NULL);
    return plan_pair(p, op, pair, row_sums);
}

static qdq_status plan_op(planner *p, const qdq_op *op) {
    qdq_vk_memory sums;
    qdq_status status = check_row(p, op);
    if (status == QDQ_OK) status = plan_all_row_sums(p, op, &sums);
    if (status != QDQ_OK) return status;
    switch (op->kind) {
    case QDQ_OP_ROUNDTRIP: return plan_plain(p, op, 0, QDQ_VK_ROUNDTRIP, &sums);
    case QDQ_OP_QUANTIZE: return plan_plain(p, op, 0, QDQ_VK_QUANTIZE, &sums);
    case QDQ_OP_DEQUANTIZE: return plan_plain(p, op, 0, QDQ_VK_DEQUANTIZE, NULL);
    case QDQ_OP_ERROR: return plan_errors(p, op, &sums);
    case QDQ_OP_SENSITIVITY:
        for (uint32_t f = 0; f < op->n_formats && status == QDQ_OK; f++) status = plan_scores_of_pair(p, op, f, &sums);
        return status;
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "no such operation: %d", (int)op->kind);
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

static qdq_status build_errors(qdq_vk_device *device, const qdq_op *op) {
    group groups[QDQ_MAX_OP_FORMATS];
    uint32_t n = group_formats(op, groups);
    qdq_vk_pipeline pipeline;
    qdq_status status = QDQ_OK;
    for (uint32_t i = 0; i < n && status == QDQ_OK; i++) {
        const group *g = &groups[i];
        status = g->n > 1
                     ? qdq_vk_several_kernel(device, QDQ_VK_ERROR, g->formats, &pipeline)
                     : qdq_vk_kernel(device, g->formats[0], QDQ_VK_ERROR, is_weighted(op, g->formats[0]), &pipeline);
    }
    return status;
}

static qdq_status build_pair(qdq_vk_device *device, const qdq_op *op, uint32_t pair) {
    qdq_vk_pipeline pipeline;
    qdq_format low = op->format[pair], high = op->high[pair];
    const int32_t formats[QDQ_VK_SEVERAL] = {low, high, -1, -1};
    bool weighted = fit_is_weighted(op, low);
    if (high == QDQ_FORMAT_SOURCE) return qdq_vk_kernel(device, low, QDQ_VK_SENSITIVITY_LOW, weighted, &pipeline);
    if (is_combined_pair(op, pair)) return qdq_vk_several_kernel(device, QDQ_VK_SENSITIVITY_PAIR, formats, &pipeline);
    qdq_status status = qdq_vk_kernel(device, low, QDQ_VK_ROUNDTRIP, weighted, &pipeline);
    if (status != QDQ_OK) return status;
    return qdq_vk_kernel(device, high, QDQ_VK_SENSITIVITY_HIGH, fit_is_weighted(op, high), &pipeline);
}

qdq_status qdq_vk_build(void *state, const qdq_op *op) {
    qdq_vk_device *device = state;
    qdq_vk_pipeline pipeline;
    if (op->input.pitch || op->output.pitch || op->gradient.pitch)
        return qdq_fail(QDQ_UNSUPPORTED, "%s takes no rows with a pitch; copy them to lie side by side",
                        device->physical->properties.deviceName);
    bool weighted = fit_is_weighted(op, op->format[0]);
    qdq_status status = QDQ_OK;
    switch (op->kind) {
    case QDQ_OP_ROUNDTRIP: return qdq_vk_kernel(device, op->format[0], QDQ_VK_ROUNDTRIP, weighted, &pipeline);
    case QDQ_OP_QUANTIZE: return qdq_vk_kernel(device, op->format[0], QDQ_VK_QUANTIZE, weighted, &pipeline);
    case QDQ_OP_DEQUANTIZE: return qdq_vk_kernel(device, op->format[0], QDQ_VK_DEQUANTIZE, false, &pipeline);
    case QDQ_OP_ERROR: return build_errors(device, op);
    case QDQ_OP_SENSITIVITY:
        for (uint32_t f = 0; f < op->n_formats && status == QDQ_OK; f++) status = build_pair(device, op, f);
        return status;
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "no such operation: %d", (int)op->kind);
}
