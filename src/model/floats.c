#include "model/floats.h"

#include <stdlib.h>
#include <string.h>

#include "base/source.h"
#include "backends/cpu/cpu_kernels.h"
#include "base/error.h"

enum { TURN_TILES = 64 }; /* a thread's turn: 64 Ki elements */

typedef struct job {
    const qdq_cpu_tile_kernels *tile;
    qdq_dtype source, target;
    const unsigned char *from;
    unsigned char *to;
    uint64_t n, row;
    const float *importance;
    qdq_tile_error *errors; /* one a tile */
} job;

static job make_job(qdq_dtype source, const void *from, qdq_dtype target, void *to, uint64_t n) {
    return (job){.tile = qdq_cpu_best_tier(qdq_cpu_mask_in_force())->tile,
                 .source = source,
                 .target = target,
                 .from = from,
                 .to = to,
                 .n = n};
}

static uint64_t tiles_of(const job *j) { return j->n / QDQ_TILE + (j->n % QDQ_TILE != 0); }

static size_t tile_count(const job *j, uint64_t tile) {
    uint64_t left = j->n - tile * QDQ_TILE;
    return left < QDQ_TILE ? (size_t)left : QDQ_TILE;
}

static void run(qdq_pool *pool, job *j, void (*turn)(void *, uint64_t)) {
    uint64_t tiles = tiles_of(j);
    qdq_pool_run(pool, tiles / TURN_TILES + (tiles % TURN_TILES != 0), turn, j);
}

static uint64_t turn_end(const job *j, uint64_t turn) {
    uint64_t tiles = tiles_of(j), end = (turn + 1) * TURN_TILES;
    return end < tiles ? end : tiles;
}

static void widen_tile(const job *j, uint64_t tile, float *x) {
    const unsigned char *at = j->from + tile * QDQ_TILE * qdq_dtype_size(j->source);
    j->tile->widen(j->source, at, x, tile_count(j, tile));
}

static void store_turn(void *context, uint64_t turn) {
    const job *j = context;
    _Alignas(64) float x[QDQ_TILE];
    for (uint64_t t = turn * TURN_TILES; t < turn_end(j, turn); t++) {
        size_t n = tile_count(j, t);
        unsigned char *to = j->to + t * QDQ_TILE * qdq_dtype_size(j->target);
        widen_tile(j, t, x);
        qdq_source_store(qdq_source_get(j->target), x, to, n);
    }
}

/* x as `target` has it. */
static void requantize(const job *j, const float *x, float *y, size_t n) {
    uint32_t elements[QDQ_TILE];
    qdq_source_store(qdq_source_get(j->target), x, elements, n);
    j->tile->widen(j->target, elements, y, n);
}

static void roundtrip_turn(void *context, uint64_t turn) {
    const job *j = context;
    _Alignas(64) float x[QDQ_TILE];
    for (uint64_t t = turn * TURN_TILES; t < turn_end(j, turn); t++) {
        widen_tile(j, t, x);
        requantize(j, x, (float *)(void *)j->to + t * QDQ_TILE, tile_count(j, t));
    }
}

static void load_importance(const job *j, uint64_t tile, size_t n, float *m) {
    uint64_t column = tile * QDQ_TILE % j->row;
    for (size_t i = 0; i < n; i++) {
        m[i] = j->importance[column];
        if (++column == j->row) column = 0;
    }
}

static void error_turn(void *context, uint64_t turn) {
    const job *j = context;
    _Alignas(64) float x[QDQ_TILE], q[QDQ_TILE], m[QDQ_TILE], tx[QDQ_TILE], tq[QDQ_TILE], tm[QDQ_TILE];
    for (uint64_t t = turn * TURN_TILES; t < turn_end(j, turn); t++) {
        size_t n = tile_count(j, t);
        widen_tile(j, t, x);
        requantize(j, x, q, n);
        j->tile->transpose(x, n, tx);
        j->tile->transpose(q, n, tq);
        if (j->importance != NULL) {
            load_importance(j, t, n, m);
            j->tile->transpose(m, n, tm);
        }
        j->errors[t] = j->tile->error(tx, tq, j->importance != NULL ? tm : NULL);
    }
}

void qdq_floats_store(qdq_pool *pool, qdq_dtype source, const void *from, qdq_dtype target, void *to, uint64_t n) {
    job j = make_job(source, from, target, to, n);
    run(pool, &j, store_turn);
}

void qdq_floats_roundtrip(qdq_pool *pool, qdq_dtype source, const void *from, qdq_dtype target, float *to, uint64_t n) {
    job j = make_job(source, from, target, to, n);
    run(pool, &j, roundtrip_turn);
}

qdq_status qdq_floats_error(qdq_pool *pool, qdq_dtype source, const void *from, qdq_dtype target, uint64_t n,
                            const float *importance, uint64_t row, qdq_error_sums *sums) {
    job j = make_job(source, from, target, NULL, n);
    j.importance = importance;
    j.row = row;
    j.errors = malloc((size_t)(tiles_of(&j) + 1) * sizeof *j.errors);
    if (j.errors == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the sums of %llu tiles",
                        (unsigned long long)tiles_of(&j));
    run(pool, &j, error_turn);
    const qdq_op op = {.kind = QDQ_OP_ERROR, .count = n, .n_formats = 1, .error = sums};
    qdq_add_tile_errors(&op, 0, j.errors, tiles_of(&j));
    qdq_finish_sums(&op);
    free(j.errors);
    return QDQ_OK;
}
