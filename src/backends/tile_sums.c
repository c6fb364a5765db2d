/* Sums of tiles, added in order. */
#include <math.h>
#include <string.h>

#include "backends/backend.h"
#include "base/shared.h"

static double one_nan(double v) { return isnan(v) ? (double)NAN : v; }

static void add_errors(qdq_error_sums *sums, const qdq_tile_error *tiles, uint64_t n) {
    for (uint64_t t = 0; t < n; t++) {
        sums->err2 += (double)tiles[t].err2;
        sums->ww += (double)tiles[t].ww;
        sums->qq += (double)tiles[t].qq;
        if (tiles[t].max_abs > sums->max_abs) sums->max_abs = tiles[t].max_abs;
    }
    sums->err2 = one_nan(sums->err2);
    sums->ww = one_nan(sums->ww);
    sums->qq = one_nan(sums->qq);
}

static qdq_error_totals *totals_of(const qdq_op *op, uint32_t f) {
    return (qdq_error_totals *)(void *)((char *)op->totals + f * op->totals_size);
}

/* As much of them as the caller has. */
static void add_totals(qdq_error_totals *totals, size_t size, const qdq_tile_error *tiles, uint64_t n) {
    qdq_error_totals all = {0};
    if (size > sizeof all) size = sizeof all;
    memcpy(&all, totals, size);
    add_errors(&all.sums, tiles, n);
    for (uint64_t t = 0; t < n; t++, all.tiles++) {
        double err2 = (double)tiles[t].err2;
        if (!isfinite(tiles[t].err2) || !isfinite(tiles[t].ww) || !isfinite(tiles[t].qq)) all.non_finite_tiles++;
        if (isfinite(err2) && err2 > all.worst_err2) {
            all.worst_err2 = err2;
            all.worst_tile = all.tiles;
        }
    }
    memcpy(totals, &all, size);
}

QDQ_SHARED void qdq_add_tile_errors(const qdq_op *op, uint32_t f, const qdq_tile_error *tiles, uint64_t n) {
    if (op->error)
        add_errors(&op->error[f], tiles, n);
    else
        add_totals(totals_of(op, f), op->totals_size, tiles, n);
}

QDQ_SHARED void qdq_finish_sums(const qdq_op *op) {
    if (op->kept) return; /* by who adds them */
    for (uint32_t f = 0; f < op->n_formats; f++) {
        if (op->kind == QDQ_OP_ERROR) (op->error ? &op->error[f] : &totals_of(op, f)->sums)->count += op->count;
        if (op->kind == QDQ_OP_SENSITIVITY) op->sensitivity[f].count += op->count;
    }
}

void qdq_add_tile_sensitivities(const qdq_op *op, uint32_t f, const qdq_tile_sensitivity *tiles, uint64_t n) {
    qdq_sensitivity_sums *sums = &op->sensitivity[f];
    for (uint64_t t = 0; t < n; t++) {
        sums->signed_sum += (double)tiles[t].signed_sum;
        sums->absolute += (double)tiles[t].absolute;
        sums->squared += (double)tiles[t].squared;
    }
    sums->signed_sum = one_nan(sums->signed_sum);
    sums->absolute = one_nan(sums->absolute);
    sums->squared = one_nan(sums->squared);
}
