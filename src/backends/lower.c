#include "backends/lower.h"

#include <string.h>

#include "base/format.h"

/* Formats, or pairs, that one kernel sums. */
typedef struct group {
    uint32_t n;
    uint8_t format[QDQ_MAX_OP_FORMATS];
    bool scratch[2]; /* the round trip of the one format, or of low and high, is made in scratch memory */
} group;

typedef struct lowering {
    const qdq_op *op;
    const qdq_limits *limits;
    qdq_take_step *take;
    void *context;
    group groups[QDQ_MAX_OP_FORMATS];
    uint32_t n_groups;
    bool rows;          /* a fit wants the sums of rows */
    uint64_t first_row; /* of those whose sums are there */
    uint64_t turn;      /* of the two slots */
} lowering;

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t tiles_of(uint64_t elements) { return elements / QDQ_TILE + (elements % QDQ_TILE != 0); }

static bool is_sum(const qdq_op *op) { return op->kind == QDQ_OP_ERROR || op->kind == QDQ_OP_SENSITIVITY; }

static bool fit_is_weighted(const qdq_op *op, qdq_format format) {
    if (op->kind == QDQ_OP_DEQUANTIZE || format == QDQ_FORMAT_SOURCE || !op->importance.memory) return false;
    return qdq_format_get(format)->importance > 0;
}

static bool fit_wants_rows(const qdq_op *op, qdq_format format) {
    return fit_is_weighted(op, format) && qdq_format_get(format)->row_sums;
}

static bool wants_rows(const qdq_op *op) {
    bool wanted = false;
    for (uint32_t f = 0; f < op->n_formats; f++)
        wanted = wanted || fit_wants_rows(op, op->format[f]) ||
                 (op->kind == QDQ_OP_SENSITIVITY && fit_wants_rows(op, op->high[f]));
    return wanted;
}

/* May a kernel of several formats take it? */
static bool combines(const lowering *l, qdq_format format) {
    const qdq_op *op = l->op;
    if (l->limits->any_format || format == QDQ_FORMAT_SOURCE) return true;
    if (op->kind == QDQ_OP_ERROR && op->importance.memory && !l->limits->weighs_several) return false;
    return qdq_format_get(format)->light && !fit_is_weighted(op, format);
}

/* For what no kernel of several takes. A kernel of one format's own takes the source, or what scratch memory has, for
 * the other of a pair. */
static void choose_scratch(const lowering *l, uint32_t f, bool scratch[2]) {
    bool pair = l->op->kind == QDQ_OP_SENSITIVITY;
    scratch[0] = scratch[1] = false;
    if (!l->limits->own_sums) {
        scratch[0] = !combines(l, l->op->format[f]);
        scratch[1] = pair && !combines(l, l->op->high[f]);
    } else {
        scratch[0] = pair && l->op->high[f] != QDQ_FORMAT_SOURCE;
    }
}

static void group_formats(lowering *l) {
    const qdq_op *op = l->op;
    bool pairs = op->kind == QDQ_OP_SENSITIVITY;
    uint32_t most = pairs ? l->limits->several_pairs : l->limits->several;
    group *open = NULL; /* takes the next that combines */
    for (uint32_t f = 0; f < op->n_formats; f++) {
        bool combined = combines(l, op->format[f]) && (!pairs || combines(l, op->high[f]));
        group *g = combined && open && open->n < most ? open : &l->groups[l->n_groups++];
        if (combined)
            open = g;
        else
            choose_scratch(l, f, g->scratch);
        g->format[g->n++] = (uint8_t)f;
    }
}

static size_t sum_size(const qdq_op *op) {
    return op->kind == QDQ_OP_ERROR ? sizeof(qdq_tile_error) : sizeof(qdq_tile_sensitivity);
}

static uint64_t wave_tiles(const lowering *l) {
    const qdq_limits *limits = l->limits;
    uint64_t wave = limits->tiles;
    if (is_sum(l->op)) wave = smaller(wave, limits->sum_bytes / (sum_size(l->op) * l->op->n_formats));
    if (l->n_groups > 1) wave = smaller(wave, limits->shared_tiles);
    for (uint32_t i = 0; i < l->n_groups; i++)
        if (l->groups[i].scratch[0] || l->groups[i].scratch[1]) wave = smaller(wave, limits->scratch_tiles);
    if (l->rows && !limits->rows_first) wave = smaller(wave, limits->row_tiles);
    return wave > 0 ? wave : 1;
}

static qdq_step begin_step(const lowering *l, qdq_step_kind kind, uint64_t first, uint64_t count) {
    return (qdq_step){.kind = kind,
                      .op = l->op,
                      .first = first,
                      .count = count,
                      .first_row = l->first_row,
                      .output = QDQ_NO_SLOT,
                      .given = {QDQ_NO_SLOT, QDQ_NO_SLOT}};
}

/* The sums of the rows that elements first … first + count - 1 belong to. */
static qdq_status take_rows(lowering *l, uint64_t first, uint64_t count) {
    uint64_t row = l->op->row, begin = first / row, end = (first + count - 1) / row + 1;
    qdq_step step = begin_step(l, QDQ_STEP_ROW_SQUARES, first, count);
    step.carries = first % row != 0;
    step.carried = step.carries ? begin - l->first_row : 0;
    step.row = begin + step.carries;
    step.place = step.carries;
    step.first_row = l->first_row = begin;
    uint64_t most = smaller(l->limits->row_elements / row, smaller(l->limits->tiles, UINT64_MAX / 32) * 32);
    qdq_status status = QDQ_OK;
    do {
        step.rows = smaller(end - step.row, most > 0 ? most : 1);
        if (step.rows > 0 || step.carried > 0) status = l->take(l->context, &step);
        step.row += step.rows;
        step.place += step.rows;
        step.carries = false;
        step.carried = 0;
    } while (step.row < end && status == QDQ_OK);
    return status;
}

/* Of the operation's format number f, or the second of that pair. */
static qdq_status take_array(lowering *l, qdq_step_kind kind, uint32_t f, bool high, int output, uint64_t first,
                             uint64_t count) {
    qdq_step step = begin_step(l, kind, first, count);
    step.n_formats = 1;
    step.format[0] = (uint8_t)f;
    step.high = high;
    step.weighted = fit_is_weighted(l->op, qdq_step_format(&step, 0));
    step.row_sums = fit_wants_rows(l->op, qdq_step_format(&step, 0));
    step.output = output;
    return l->take(l->context, &step);
}

/* What the kernel makes by itself of format, which is first or second of its pairs, wants. */
static void add_wants(qdq_step *step, qdq_format format) {
    step->weighted = step->weighted || fit_is_weighted(step->op, format);
    step->row_sums = step->row_sums || fit_wants_rows(step->op, format);
}

static qdq_status take_group(lowering *l, const group *g, uint64_t first, uint64_t count, uint64_t *sums) {
    const qdq_op *op = l->op;
    bool pairs = op->kind == QDQ_OP_SENSITIVITY;
    qdq_step step = begin_step(l, pairs ? QDQ_STEP_SENSITIVITY : QDQ_STEP_ERROR, first, count);
    step.n_formats = g->n;
    step.weighted = !pairs && op->importance.memory != NULL;
    step.sums = *sums;
    step.wave_sums = tiles_of(count) * sum_size(op) * op->n_formats;
    for (uint32_t k = 0; k < g->n; k++) {
        uint32_t f = step.format[k] = g->format[k];
        if (!g->scratch[0]) add_wants(&step, op->format[f]);
        if (pairs && !g->scratch[1]) add_wants(&step, op->high[f]);
    }
    for (int i = 0; i < 2; i++) {
        if (!g->scratch[i]) continue;
        /* If one slot is enough, they take turns, so that one is filled while the other is read. */
        step.given[i] = l->limits->own_sums ? (int)(l->turn++ % 2) : i;
        qdq_status status = take_array(l, QDQ_STEP_ROUNDTRIP, g->format[0], i == 1, step.given[i], first, count);
        if (status != QDQ_OK) return status;
    }
    *sums += qdq_step_sum_bytes(&step);
    return l->take(l->context, &step);
}

static qdq_status take_wave(lowering *l, uint64_t first, uint64_t count) {
    uint64_t sums = 0;
    qdq_status status = QDQ_OK;
    switch (l->op->kind) {
    case QDQ_OP_ROUNDTRIP: return take_array(l, QDQ_STEP_ROUNDTRIP, 0, false, QDQ_NO_SLOT, first, count);
    case QDQ_OP_QUANTIZE: return take_array(l, QDQ_STEP_QUANTIZE, 0, false, QDQ_NO_SLOT, first, count);
    case QDQ_OP_DEQUANTIZE: return take_array(l, QDQ_STEP_DEQUANTIZE, 0, false, QDQ_NO_SLOT, first, count);
    case QDQ_OP_ERROR:
    case QDQ_OP_SENSITIVITY: break;
    }
    for (uint32_t i = 0; i < l->n_groups && status == QDQ_OK; i++)
        status = take_group(l, &l->groups[i], first, count, &sums);
    return status;
}

qdq_status qdq_lower(const qdq_op *op, const qdq_limits *limits, qdq_take_step *take, void *context) {
    lowering l = {.op = op, .limits = limits, .take = take, .context = context, .rows = wants_rows(op)};
    if (is_sum(op)) group_formats(&l);
    uint64_t tiles = wave_tiles(&l), all = tiles_of(op->count);
    qdq_status status = QDQ_OK;
    if (l.rows && limits->rows_first && all > 0) status = take_rows(&l, 0, op->count);
    for (uint64_t t = 0; t < all && status == QDQ_OK;) {
        uint64_t wave = smaller(tiles, all - t), first = t * QDQ_TILE;
        uint64_t count = smaller(wave * QDQ_TILE, op->count - first);
        if (l.rows && !limits->rows_first) status = take_rows(&l, first, count);
        if (status == QDQ_OK) status = take_wave(&l, first, count);
        t += wave;
    }
    return status;
}

qdq_status qdq_lower_kernels(const qdq_op *op, const qdq_limits *limits, qdq_take_step *take, void *context) {
    qdq_op tile = *op;
    tile.count = tile.row = QDQ_TILE;
    return qdq_lower(&tile, limits, take, context);
}

uint64_t qdq_step_tiles(const qdq_step *step) { return tiles_of(step->count); }

uint64_t qdq_step_sum_bytes(const qdq_step *step) {
    if (step->kind != QDQ_STEP_ERROR && step->kind != QDQ_STEP_SENSITIVITY) return 0;
    return qdq_step_tiles(step) * step->n_formats * sum_size(step->op);
}

uint64_t qdq_kept_bytes(const qdq_op *op) {
    return is_sum(op) ? tiles_of(op->count) * op->n_formats * sum_size(op) : 0;
}

void qdq_add_kept_sums(const qdq_op *op) {
    qdq_op all = *op;
    uint64_t tiles = tiles_of(op->count);
    const char *kept = op->kept;
    all.kept = NULL;
    for (uint32_t f = 0; f < op->n_formats; f++, kept += tiles * sum_size(op))
        if (op->kind == QDQ_OP_ERROR)
            qdq_add_tile_errors(&all, f, (const qdq_tile_error *)(const void *)kept, tiles);
        else
            qdq_add_tile_sensitivities(&all, f, (const qdq_tile_sensitivity *)(const void *)kept, tiles);
    qdq_finish_sums(&all);
}

/* A step's sums to the places of its tiles. */
static void keep_step_sums(const qdq_step *step, const void *sums) {
    uint64_t size = sum_size(step->op), n = qdq_step_tiles(step) * size, all = tiles_of(step->op->count) * size;
    char *to = (char *)step->op->kept + step->first / QDQ_TILE * size;
    for (uint32_t f = 0; f < step->n_formats; f++) memcpy(to + step->format[f] * all, (const char *)sums + f * n, n);
}

void qdq_add_step_sums(const qdq_step *step, const void *sums) {
    uint64_t tiles = qdq_step_tiles(step);
    if (step->op->kept && qdq_step_sum_bytes(step) > 0) {
        keep_step_sums(step, sums);
        return;
    }
    for (uint32_t f = 0; f < step->n_formats; f++)
        if (step->kind == QDQ_STEP_ERROR)
            qdq_add_tile_errors(step->op, step->format[f], (const qdq_tile_error *)sums + f * tiles, tiles);
        else if (step->kind == QDQ_STEP_SENSITIVITY)
            qdq_add_tile_sensitivities(step->op, step->format[f], (const qdq_tile_sensitivity *)sums + f * tiles,
                                       tiles);
}
