/* The CPU backend: cuts an operation into chunks of tiles, which the pool's threads take one by one. */
#include "backends/lower.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/cpu_kernels.h"
#include "base/platform.h"
#include "base/pool.h"
#include "backends/cpu/row_squares.h"
#include "base/error.h"
#include "base/format.h"
#include "base/codebook.h"

typedef struct cpu_device {
    qdq_pool *pool;
    const qdq_cpu_kernels *kernels;
    qdq_cpu_kernels *own; /* the same with earlier searches; NULL: they are not wanted */
} cpu_device;

typedef struct cpu_memory {
    unsigned char *bytes;
    bool owned;
} cpu_memory;

/* A thread's turn. Threads have several, so that none waits long for the last one; but a turn is worth taking. */
enum { MOST_CHUNK_TILES = 64, LEAST_CHUNK_TILES = 8, TURNS_OF_A_THREAD = 8 };

static const qdq_limits limits = {.tiles = UINT64_MAX,
                                  .sum_bytes = 16 << 20,
                                  .shared_tiles = UINT64_MAX,
                                  .scratch_tiles = UINT64_MAX,
                                  .row_tiles = 1 << 14,
                                  .row_elements = UINT64_MAX,
                                  .several = QDQ_MAX_OP_FORMATS,
                                  .several_pairs = QDQ_MAX_OP_FORMATS,
                                  .any_format = true,
                                  .weighs_several = true};

/* One step of an operation as the threads see it. */
typedef struct job {
    const qdq_cpu_kernels *kernels;
    qdq_pool *pool;
    const qdq_op *op;
    const qdq_step *step;
    const unsigned char *input, *gradient;
    unsigned char *output;
    const float *importance;
    uint64_t first_tile, tiles; /* the step's */
    uint64_t chunk_tiles;
    float *row_sums; /* mean squares of rows, made by a step before */
    bool stream;
    void *sums; /* the step's, as qdq_add_step_sums takes them */
} job;

static unsigned char *span_bytes(const qdq_span *span) {
    return span->memory ? ((cpu_memory *)span->memory)->bytes + span->offset : NULL;
}

static size_t tile_count(const job *j, uint64_t tile) {
    uint64_t left = j->op->count - tile * QDQ_TILE;
    return left < QDQ_TILE ? (size_t)left : QDQ_TILE;
}

/* The byte at which a span's element is, from the span's first, and how many elements from there on lie side by side.
 */
static uint64_t find_element(const qdq_span *span, uint64_t element, uint64_t *together) {
    uint64_t size = qdq_dtype_size(span->dtype);
    *together = UINT64_MAX;
    if (span->pitch == 0) return element * size;
    uint64_t row = element / span->columns, column = element % span->columns;
    *together = span->columns - column;
    return (row * span->pitch + column) * size;
}

/* The floats of a tile: in place if they are floats side by side already, else brought into buffer. Float tiles are
 * only read by kernels that take any alignment. */
static const float *tile_floats(const job *j, const unsigned char *array, const qdq_span *span, uint64_t tile,
                                float *buffer) {
    uint64_t together, n = tile_count(j, tile);
    for (uint64_t i = 0; i < n; i += together) {
        const unsigned char *at = array + find_element(span, tile * QDQ_TILE + i, &together);
        if (together > n - i) together = n - i;
        if (span->dtype == QDQ_F32 && together == n) return (const float *)(const void *)at;
        j->kernels->tile->widen(span->dtype, at, buffer + i, together);
    }
    return buffer;
}

/* Puts a tile's floats where the output has them, as what it has. */
static void store_floats(const job *j, const float *floats, uint64_t tile) {
    const qdq_span *span = &j->op->output;
    uint64_t together, n = tile_count(j, tile);
    for (uint64_t i = 0; i < n; i += together) {
        unsigned char *at = j->output + find_element(span, tile * QDQ_TILE + i, &together);
        if (together > n - i) together = n - i;
        if (span->dtype == QDQ_F32)
            memcpy(at, floats + i, together * 4);
        else
            j->kernels->tile->narrow(span->dtype, floats + i, at, together);
    }
}

/* The output takes floats side by side, as kernels store them. */
static bool takes_floats(const job *j) { return j->op->output.dtype == QDQ_F32 && j->op->output.pitch == 0; }

static void load_tile(const job *j, const unsigned char *array, const qdq_span *span, uint64_t tile,
                      float *transposed) {
    _Alignas(64) float buffer[QDQ_TILE];
    const float *linear = tile_floats(j, array, span, tile, buffer);
    j->kernels->tile->transpose(linear, tile_count(j, tile), transposed);
}

/* What a tile's elements weigh, transposed, and the mean square of each lane's row. */
typedef struct tile_weights {
    _Alignas(64) float importance[QDQ_TILE];
    float row_sums[QDQ_TILE_LANES];
} tile_weights;

/* The importance of the columns, row elements, is repeated. */
static void load_weights(const job *j, uint64_t tile, tile_weights *w) {
    if (!j->importance) return;
    _Alignas(64) float linear[QDQ_TILE];
    size_t n = tile_count(j, tile);
    uint64_t column = tile * QDQ_TILE % j->op->row;
    for (size_t i = 0; i < n;) {
        uint64_t left = j->op->row - column, piece = n - i < left ? n - i : left;
        memcpy(linear + i, j->importance + column, piece * 4);
        i += piece;
        column = piece == left ? 0 : column + piece;
    }
    j->kernels->tile->transpose(linear, n, w->importance);
    if (!j->step->row_sums) return;
    for (size_t l = 0; l < QDQ_TILE_LANES; l++)
        w->row_sums[l] = l * 32 < n ? j->row_sums[(tile * QDQ_TILE + l * 32) / j->op->row - j->step->first_row] : 0.0f;
}

static bool is_source(qdq_format format) { return qdq_format_get(format)->is_source; }

static bool weighs(const job *j, qdq_format format) {
    return j->importance && !is_source(format) && j->kernels->formats[format].lanes->weighted_roundtrip;
}

/* n floats, as elements of a source have them. */
static void round_to_source(const job *j, qdq_format format, const float *x, float *y, size_t n) {
    qdq_dtype dtype = qdq_format_get(format)->dtype;
    uint32_t elements[QDQ_TILE];
    j->kernels->tile->narrow(dtype, x, elements, n);
    j->kernels->tile->widen(dtype, elements, y, n);
}

/* The round trip of a transposed tile. */
static void requantize(const job *j, qdq_format format, const float *x, const tile_weights *w, float *y) {
    if (is_source(format)) {
        round_to_source(j, format, x, y, QDQ_TILE);
        return;
    }
    const qdq_cpu_format_lanes *lanes = j->kernels->formats[format].lanes;
    if (weighs(j, format))
        lanes->weighted_roundtrip(x, w->importance, w->row_sums, y);
    else
        lanes->roundtrip(x, y);
}

/* A chunk's tiles, counted from the first of all. */
static uint64_t chunk_end(const job *j, uint64_t chunk, uint64_t *first) {
    uint64_t begin = chunk * j->chunk_tiles, left = j->tiles - begin;
    *first = j->first_tile + begin;
    return *first + (left < j->chunk_tiles ? left : j->chunk_tiles);
}

static void roundtrip_chunk(void *context, uint64_t chunk) {
    const job *j = context;
    const qdq_cpu_tile_kernels *k = j->kernels->tile;
    const qdq_cpu_format_lanes *format = j->kernels->formats[j->op->format[0]].lanes;
    uint64_t first, end = chunk_end(j, chunk, &first);
    _Alignas(64) float widened[QDQ_TILE], result[QDQ_TILE], tile[QDQ_TILE];
    bool aligned = (uintptr_t)j->output % 64 == 0, weighted = weighs(j, j->op->format[0]), direct = takes_floats(j);
    for (uint64_t t = first; t < end; t++) {
        float *out = direct ? (float *)(void *)(j->output + t * QDQ_TILE * 4) : result;
        size_t n = tile_count(j, t);
        const float *in = tile_floats(j, j->input, &j->op->input, t, widened);
        if (n < QDQ_TILE || weighted) {
            tile_weights weights;
            load_weights(j, t, &weights);
            k->transpose(in, n, tile);
            requantize(j, j->op->format[0], tile, &weights, tile);
            k->restore(tile, out, n);
        } else if (j->stream && aligned) {
            format->roundtrip_past(in, out, 1);
        } else if (j->stream) {
            format->roundtrip_linear(in, result, 1);
            k->stream(result, out);
        } else {
            format->roundtrip_linear(in, out, 1);
        }
        if (!direct) store_floats(j, result, t);
    }
    if (j->stream) k->fence();
}

static void quantize_chunk(void *context, uint64_t chunk) {
    const job *j = context;
    const qdq_cpu_tile_kernels *k = j->kernels->tile;
    qdq_format id = j->op->format[0];
    const qdq_cpu_format_lanes *format = j->kernels->formats[id].lanes;
    const qdq_cpu_format_bytes *bytes = j->kernels->formats[id].bytes;
    const qdq_format_row *row = qdq_format_get(id);
    uint64_t first, end = chunk_end(j, chunk, &first);
    tile_weights weights;
    _Alignas(64) float tile[QDQ_TILE], codes[QDQ_TILE];
    _Alignas(64) uint8_t narrow[QDQ_TILE];
    _Alignas(64) uint32_t heads[QDQ_MAX_HEADS * QDQ_TILE_LANES];
    for (uint64_t t = first; t < end; t++) {
        size_t n = tile_count(j, t);
        load_tile(j, j->input, &j->op->input, t, tile);
        load_weights(j, t, &weights);
        if (weighs(j, id))
            format->weighted_encode(tile, weights.importance, weights.row_sums, tile, heads);
        else
            format->encode(tile, tile, heads);
        k->restore(tile, codes, QDQ_TILE);
        for (int i = 0; i < QDQ_TILE; i++) narrow[i] = (uint8_t)(int)codes[i];
        bytes->pack(narrow, heads, j->output + t * QDQ_TILE / row->block_elements * row->block_bytes,
                    n / row->block_elements);
    }
}

static void dequantize_chunk(void *context, uint64_t chunk) {
    const job *j = context;
    const qdq_format_row *row = qdq_format_get(j->op->format[0]);
    const qdq_cpu_format_kernels *format = &j->kernels->formats[j->op->format[0]];
    uint64_t first, end = chunk_end(j, chunk, &first);
    _Alignas(64) int8_t codes[QDQ_TILE];
    _Alignas(64) float result[QDQ_TILE];
    bool direct = takes_floats(j);
    for (uint64_t t = first; t < end; t++) {
        const uint8_t *blocks = j->input + t * QDQ_TILE / row->block_elements * row->block_bytes;
        float *out = direct ? (float *)(void *)(j->output + t * QDQ_TILE * 4) : result;
        size_t n = tile_count(j, t) / row->block_elements;
        format->bytes->codes(blocks, codes, n);
        format->lanes->decode(blocks, codes, out, n);
        if (!direct) store_floats(j, result, t);
    }
}

/* Round trip, quantize and dequantize of a source as a format. */
static void convert_chunk(void *context, uint64_t chunk) {
    const job *j = context;
    qdq_format format = j->op->format[0];
    const qdq_format_row *row = qdq_format_get(format);
    const qdq_cpu_tile_kernels *k = j->kernels->tile;
    uint64_t first, end = chunk_end(j, chunk, &first);
    _Alignas(64) float widened[QDQ_TILE], result[QDQ_TILE];
    bool direct = takes_floats(j);
    for (uint64_t t = first; t < end; t++) {
        size_t n = tile_count(j, t);
        uint64_t at = t * QDQ_TILE * row->block_bytes; /* of blocks */
        float *out = direct ? (float *)(void *)(j->output + t * QDQ_TILE * 4) : result;
        if (j->op->kind == QDQ_OP_QUANTIZE) {
            k->narrow(row->dtype, tile_floats(j, j->input, &j->op->input, t, widened), j->output + at, n);
            continue;
        }
        if (j->op->kind == QDQ_OP_DEQUANTIZE)
            k->widen(row->dtype, j->input + at, out, n);
        else
            round_to_source(j, format, tile_floats(j, j->input, &j->op->input, t, widened), out, n);
        if (!direct) store_floats(j, result, t);
    }
}

static void error_chunk(void *context, uint64_t chunk) {
    const job *j = context;
    qdq_tile_error *sums = j->sums;
    const qdq_cpu_tile_kernels *k = j->kernels->tile;
    uint64_t first, end = chunk_end(j, chunk, &first);
    tile_weights weights;
    _Alignas(64) float x[QDQ_TILE], q[QDQ_TILE];
    for (uint64_t t = first; t < end; t++) {
        load_tile(j, j->input, &j->op->input, t, x);
        load_weights(j, t, &weights);
        for (uint32_t f = 0; f < j->op->n_formats; f++) {
            requantize(j, j->op->format[f], x, &weights, q);
            sums[f * j->tiles + t - j->first_tile] = k->error(x, q, j->importance ? weights.importance : NULL);
        }
    }
}

static void sensitivity_chunk(void *context, uint64_t chunk) {
    const job *j = context;
    qdq_tile_sensitivity *sums = j->sums;
    const qdq_cpu_tile_kernels *k = j->kernels->tile;
    uint64_t first, end = chunk_end(j, chunk, &first);
    tile_weights weights;
    _Alignas(64) float x[QDQ_TILE], low[QDQ_TILE], high[QDQ_TILE], g[QDQ_TILE];
    for (uint64_t t = first; t < end; t++) {
        load_tile(j, j->input, &j->op->input, t, x);
        load_tile(j, j->gradient, &j->op->gradient, t, g);
        load_weights(j, t, &weights);
        qdq_format made = QDQ_FORMAT_NONE; /* what is in high: often the same for all */
        for (uint32_t f = 0; f < j->op->n_formats; f++) {
            bool is_source = j->op->high[f] == QDQ_FORMAT_SOURCE;
            if (!is_source && made != j->op->high[f]) requantize(j, made = j->op->high[f], x, &weights, high);
            requantize(j, j->op->format[f], x, &weights, low);
            sums[f * j->tiles + t - j->first_tile] = k->sensitivity(low, is_source ? x : high, g);
        }
    }
}

/* Groups of QDQ_ROWS rows in a thread's turn. */
static uint64_t row_groups(const job *j) { return 1 + j->chunk_tiles * QDQ_TILE / QDQ_ROWS / j->op->row; }

static uint64_t choose_chunk(const job *j) {
    uint64_t tiles = j->tiles / (TURNS_OF_A_THREAD * (uint64_t)qdq_pool_threads(j->pool));
    if (tiles < LEAST_CHUNK_TILES) return LEAST_CHUNK_TILES;
    return tiles < MOST_CHUNK_TILES ? tiles : MOST_CHUNK_TILES;
}

static uint64_t chunks(const job *j) { return (j->tiles + j->chunk_tiles - 1) / j->chunk_tiles; }

/* The mean squares of a few groups of rows. */
static void rows_chunk(void *context, uint64_t chunk) {
    const job *j = context;
    const qdq_step *step = j->step;
    uint64_t groups = row_groups(j), row = j->op->row;
    const qdq_span *input = &j->op->input;
    uint64_t together;
    float widened[QDQ_ROWS][QDQ_TILE];
    for (uint64_t g = chunk * groups; g < (chunk + 1) * groups && g * QDQ_ROWS < step->rows; g++) {
        float sums[QDQ_ROWS] = {0};
        uint64_t left = step->rows - g * QDQ_ROWS;
        int n = left < QDQ_ROWS ? (int)left : QDQ_ROWS;
        for (uint64_t at = 0; at < row; at += QDQ_TILE) {
            size_t piece = row - at < QDQ_TILE ? (size_t)(row - at) : QDQ_TILE;
            const float *rows[QDQ_ROWS];
            for (int r = 0; r < QDQ_ROWS; r++) {
                rows[r] = widened[r < n ? r : 0];
                if (r >= n) continue;
                uint64_t start = (step->row + g * QDQ_ROWS + (uint64_t)r) * row + at;
                j->kernels->tile->widen(input->dtype, j->input + find_element(input, start, &together), widened[r],
                                        piece);
            }
            qdq_cpu_add_squares(rows, piece, sums);
        }
        for (int r = 0; r < n; r++) j->row_sums[step->place + g * QDQ_ROWS + (uint64_t)r] = sums[r] / (float)row;
    }
}

/* Bytes that no cache holds: from there on, results are stored past it. */
static uint64_t far_over_the_cache(void) {
    uint64_t last = qdq_last_cache();
    return last > 0 ? last : (uint64_t)32 << 20;
}

/* The operation's memory, which is made for the first of its waves; none is larger. */
static qdq_status need(job *j, uint64_t row_sums, uint64_t sum_bytes) {
    if (row_sums > 0 && !j->row_sums) j->row_sums = calloc(row_sums, sizeof *j->row_sums);
    if (sum_bytes > 0 && !j->sums) j->sums = malloc(sum_bytes);
    if ((row_sums == 0 || j->row_sums) && (sum_bytes == 0 || j->sums)) return QDQ_OK;
    return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the sums of %llu tiles", (unsigned long long)j->tiles);
}

static qdq_status run_step(void *context, const qdq_step *step) {
    job *j = context;
    j->step = step;
    j->tiles = qdq_step_tiles(step);
    j->chunk_tiles = choose_chunk(j);
    j->first_tile = step->first / QDQ_TILE;
    uint64_t rows = step->kind == QDQ_STEP_ROW_SQUARES ? step->count / j->op->row + 2 : 0;
    bool converts = is_source(j->op->format[0]);
    qdq_status status = need(j, rows, qdq_step_sum_bytes(step));
    if (status != QDQ_OK) return status;
    switch (step->kind) {
    case QDQ_STEP_ROW_SQUARES: {
        if (step->carries) j->row_sums[0] = j->row_sums[step->carried];
        uint64_t groups = (step->rows + QDQ_ROWS - 1) / QDQ_ROWS;
        qdq_pool_run(j->pool, (groups + row_groups(j) - 1) / row_groups(j), rows_chunk, j);
        break;
    }
    case QDQ_STEP_ROUNDTRIP:
        j->stream = takes_floats(j) && j->op->count * 8 > far_over_the_cache() && (uintptr_t)j->output % 16 == 0;
        qdq_pool_run(j->pool, chunks(j), converts ? convert_chunk : roundtrip_chunk, j);
        break;
    case QDQ_STEP_QUANTIZE: qdq_pool_run(j->pool, chunks(j), converts ? convert_chunk : quantize_chunk, j); break;
    case QDQ_STEP_DEQUANTIZE: qdq_pool_run(j->pool, chunks(j), converts ? convert_chunk : dequantize_chunk, j); break;
    case QDQ_STEP_ERROR:
        qdq_pool_run(j->pool, chunks(j), error_chunk, j);
        qdq_add_step_sums(step, j->sums);
        break;
    case QDQ_STEP_SENSITIVITY:
        qdq_pool_run(j->pool, chunks(j), sensitivity_chunk, j);
        qdq_add_step_sums(step, j->sums);
        break;
    }
    return QDQ_OK;
}

static qdq_status run(cpu_device *device, const qdq_op *op) {
    job j = {.kernels = device->kernels,
             .pool = device->pool,
             .op = op,
             .input = span_bytes(&op->input),
             .output = span_bytes(&op->output),
             .gradient = span_bytes(&op->gradient),
             .importance = (const float *)(const void *)span_bytes(&op->importance)};
    qdq_status status = qdq_lower(op, &limits, run_step, &j);
    if (status == QDQ_OK) qdq_finish_sums(op);
    free(j.sums);
    free(j.row_sums);
    return status;
}

static uint32_t cpu_count(void) { return 1; }

static void describe(qdq_device_info *info, int threads, const char *tier) {
    char model[80];
    qdq_processor_name(model, sizeof model);
    snprintf(info->name, sizeof info->name, "cpu");
    if (threads > 0)
        snprintf(info->description, sizeof info->description, "%s, %d thread%s, %s", model, threads,
                 threads == 1 ? "" : "s", tier);
    else
        snprintf(info->description, sizeof info->description, "%s, %s", model, tier);
    info->driver[0] = '\0';
    info->memory = qdq_machine_memory();
    info->shared = 1;
    info->available = 1;
}

static void cpu_describe(uint32_t index, qdq_device_info *info) {
    (void)index;
    describe(info, 0, qdq_cpu_best_tier(qdq_cpu_mask_in_force())->name);
}

static void cpu_describe_open(const void *state, qdq_device_info *info) {
    const cpu_device *device = state;
    describe(info, qdq_pool_threads(device->pool), device->kernels->name);
}

static qdq_status cpu_open(uint32_t index, int threads, void **state) {
    (void)index;
    cpu_device *device = calloc(1, sizeof *device);
    if (!device) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    device->kernels = qdq_cpu_best_tier(qdq_cpu_mask_in_force());
    qdq_status status = qdq_pool_create(threads, &device->pool);
    if (status != QDQ_OK) {
        free(device);
        return status;
    }
    *state = device;
    return QDQ_OK;
}

static void cpu_close(void *state) {
    cpu_device *device = state;
    qdq_pool_free(device->pool);
    if (device->own) free((void *)(uintptr_t)device->own->formats);
    free(device->own);
    free(device);
}

static qdq_status search_as_earlier(void *state) {
    cpu_device *device = state;
    size_t bytes = (size_t)qdq_block_format_count() * sizeof *device->kernels->formats;
    qdq_cpu_format_kernels *formats = malloc(bytes);
    qdq_cpu_kernels *own = malloc(sizeof *own);
    if (!formats || !own) {
        free(formats);
        free(own);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    }
    memcpy(formats, device->kernels->formats, bytes);
    for (const qdq_cpu_earlier *e = device->kernels->earlier; e->format; e++) {
        qdq_format format = qdq_format_by_name(e->format);
        if (format != QDQ_FORMAT_NONE) formats[format].lanes = e->lanes;
    }
    *own = *device->kernels;
    own->formats = formats;
    device->kernels = device->own = own;
    return QDQ_OK;
}

static qdq_status cpu_wrap(void *state, void *bytes, uint64_t size, void **memory) {
    (void)state;
    (void)size;
    cpu_memory *m = calloc(1, sizeof *m);
    if (!m) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a buffer");
    m->bytes = bytes;
    *memory = m;
    return QDQ_OK;
}

static qdq_status cpu_alloc(void *state, uint64_t size, void **memory) {
    void *bytes = size <= SIZE_MAX - 64 ? qdq_aligned_alloc(64, (size_t)size) : NULL;
    if (!bytes) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a buffer of %llu bytes", (unsigned long long)size);
    memset(bytes, 0, (size_t)size);
    qdq_status status = cpu_wrap(state, bytes, size, memory);
    if (status != QDQ_OK)
        qdq_aligned_free(bytes);
    else
        ((cpu_memory *)*memory)->owned = true;
    return status;
}

static void cpu_free(void *state, void *memory) {
    (void)state;
    cpu_memory *m = memory;
    if (m->owned) qdq_aligned_free(m->bytes);
    free(m);
}

static void *cpu_host(void *memory) { return ((cpu_memory *)memory)->bytes; }

static uint64_t cpu_address(const void *memory) { return (uintptr_t)((const cpu_memory *)memory)->bytes; }

static qdq_status cpu_write(void *state, void *memory, uint64_t offset, const void *from, uint64_t bytes) {
    (void)state;
    memmove(((cpu_memory *)memory)->bytes + offset, from, (size_t)bytes);
    return QDQ_OK;
}

static qdq_status cpu_read(void *state, void *memory, uint64_t offset, void *to, uint64_t bytes) {
    (void)state;
    memmove(to, ((cpu_memory *)memory)->bytes + offset, (size_t)bytes);
    return QDQ_OK;
}

/* Kernels are compiled ahead; what formats with codebooks look up is made here. */
static qdq_status build_format(qdq_format format) {
    const qdq_format_row *row = qdq_format_get(format);
    const uint32_t *words;
    size_t n;
    return row ? qdq_format_words(row->name, &words, &n) : QDQ_OK;
}

static qdq_status cpu_build(void *state, const qdq_op *op) {
    (void)state;
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0; f < op->n_formats && status == QDQ_OK; f++) {
        status = build_format(op->format[f]);
        if (status == QDQ_OK && op->kind == QDQ_OP_SENSITIVITY) status = build_format(op->high[f]);
    }
    return status;
}

/* Work is done at submission: the calling thread is one of the pool's. */
static qdq_status cpu_submit(void *state, qdq_queue queue, const qdq_op *ops, size_t n, void **ticket) {
    (void)queue;
    *ticket = NULL;
    for (size_t i = 0; i < n; i++) {
        qdq_status status = run(state, &ops[i]);
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

static qdq_status cpu_wait(void *state, void *ticket) {
    (void)state;
    (void)ticket;
    return QDQ_OK;
}

static qdq_status cpu_dialect(void *state, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                              uint32_t *out, size_t n) {
    ((cpu_device *)state)->kernels->tile->dialect(operation, a, b, out, n);
    return QDQ_OK;
}

const qdq_backend qdq_cpu_backend = {.name = "cpu",
                                     .takes_sources = true,
                                     .count = cpu_count,
                                     .describe = cpu_describe,
                                     .open = cpu_open,
                                     .close = cpu_close,
                                     .describe_open = cpu_describe_open,
                                     .alloc = cpu_alloc,
                                     .wrap = cpu_wrap,
                                     .free = cpu_free,
                                     .host = cpu_host,
                                     .address = cpu_address,
                                     .write = cpu_write,
                                     .read = cpu_read,
                                     .build = cpu_build,
                                     .submit = cpu_submit,
                                     .search_as_earlier = search_as_earlier,
                                     .wait = cpu_wait,
                                     .dialect = cpu_dialect};
