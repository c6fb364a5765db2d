/* What a tier does with tiles of any format: conversion, transposition, sums. Compiled once a tier (kernels.h). */
#include "backends/cpu/cpu_kernels.h"

#ifdef QDQ_SCALAR
#include "dialect/scalar.h"
#else
#include "dialect/simd.h"
#endif
#ifdef __SSE2__
#include <xmmintrin.h>
#endif
#include "dialect/sums.h"
#include "every_source.h"
#include "base/source_asserts.h"
#include "backends/cpu/cpu_operations.h"
#include "backends/cpu/transpose.h"
#include "backends/cpu/tier_names.h"

enum { PASSES = QDQ_TILE_LANES / WIDTH };

FN REAL load_row(const float *tile, int e, int pass) { return load_vector(tile + 32 * e + WIDTH * pass); }

/* A vector of elements at any address, the first m of them: their bits, a word each. */
#define ELEMENT2(bytes) element_##bytes
#define ELEMENT(bytes)  ELEMENT2(bytes)
typedef uint8_t element_1;
typedef uint16_t element_2;
typedef uint32_t element_4;
#define TAKE_BITS(name)                                                                                                \
    FN UINT take_bits_##name(const unsigned char *from, size_t m) {                                                    \
        ELEMENT(name##_BYTES) element[WIDTH] = {0};                                                                    \
        if (m == WIDTH)                                                                                                \
            memcpy(element, from, sizeof element);                                                                     \
        else                                                                                                           \
            memcpy(element, from, name##_BYTES *m);                                                                    \
        uint32_t word[WIDTH];                                                                                          \
        for (int l = 0; l < WIDTH; l++) word[l] = element[l];                                                          \
        UINT bits;                                                                                                     \
        memcpy(&bits, word, sizeof bits);                                                                              \
        return bits;                                                                                                   \
    }

#define WIDEN(name)                                                                                                    \
    static void widen_##name(const unsigned char *from, float *to, size_t n) {                                         \
        for (size_t i = 0; i < n; i += WIDTH) {                                                                        \
            size_t m = n - i < WIDTH ? n - i : WIDTH;                                                                  \
            REAL value = name##_load(take_bits_##name(from + name##_BYTES * i, m));                                    \
            if (m == WIDTH)                                                                                            \
                memcpy(to + i, &value, sizeof value);                                                                  \
            else                                                                                                       \
                memcpy(to + i, &value, 4 * m);                                                                         \
        }                                                                                                              \
    }

#define NARROW(name)                                                                                                   \
    static void narrow_##name(const float *from, unsigned char *to, size_t n) {                                        \
        for (size_t i = 0; i < n; i += WIDTH) {                                                                        \
            size_t m = n - i < WIDTH ? n - i : WIDTH;                                                                  \
            float some[WIDTH] = {0};                                                                                   \
            memcpy(some, from + i, 4 * m);                                                                             \
            UINT bits = name##_store(load_vector(some));                                                               \
            uint32_t word[WIDTH];                                                                                      \
            memcpy(word, &bits, sizeof word);                                                                          \
            ELEMENT(name##_BYTES) element[WIDTH];                                                                      \
            for (int l = 0; l < WIDTH; l++) element[l] = (ELEMENT(name##_BYTES))word[l];                               \
            memcpy(to + name##_BYTES * i, element, name##_BYTES * m);                                                  \
        }                                                                                                              \
    }

#define SOURCE(name, ...) TAKE_BITS(name) WIDEN(name) NARROW(name)
#include "sources/sources.def"
#undef SOURCE

static void widen(qdq_dtype dtype, const void *src, float *dst, size_t n) {
    switch ((int)dtype) {
#define SOURCE(name, number, ...)                                                                                      \
    case number:                                                                                                       \
        widen_##name(src, dst, n);                                                                                     \
        break;
#include "sources/sources.def"
#undef SOURCE
    }
}

static void narrow(qdq_dtype dtype, const float *src, void *dst, size_t n) {
    switch ((int)dtype) {
#define SOURCE(name, number, ...)                                                                                      \
    case number:                                                                                                       \
        narrow_##name(src, dst, n);                                                                                    \
        break;
#include "sources/sources.def"
#undef SOURCE
    }
}

/* Lanes are 128 bytes apart, a pattern that no hardware foresees: the next tile's lines are asked for, a few at a
 * time, so that the requests do not queue up. What is asked for past an array's end is not fetched. */
static void transpose_full(const float *src, float *tile) {
    enum { AHEAD = QDQ_TILE, LINE = 16, LINES = WIDTH / 4 };
    for (int pass = 0; pass < PASSES; pass++)
        for (int e = 0; e < 32; e += 4) {
            REAL c[4];
            for (int line = 0; line < LINES; line++)
                __builtin_prefetch(src + AHEAD + LINE * (LINES * (8 * pass + e / 4) + line), 0, 3);
            load4(src + 32 * WIDTH * pass + e, c);
            for (int k = 0; k < 4; k++) store_vector(c[k], tile + 32 * (e + k) + WIDTH * pass);
        }
}

static void transpose(const float *src, size_t n, float *tile) {
    if (n >= QDQ_TILE) {
        transpose_full(src, tile);
        return;
    }
    float padded[QDQ_TILE] = {0};
    memcpy(padded, src, n * 4);
    transpose_full(padded, tile);
}

static void restore_full(const float *tile, float *dst) {
    for (int pass = 0; pass < PASSES; pass++)
        for (int e = 0; e < 32; e += STORE_COLUMNS(false)) {
            REAL c[16];
            for (int k = 0; k < STORE_COLUMNS(false); k++) c[k] = load_row(tile, e + k, pass);
            store_columns(c, dst + 32 * WIDTH * pass + e, false);
        }
}

static void restore(const float *tile, float *dst, size_t n) {
    if (n >= QDQ_TILE) {
        restore_full(tile, dst);
        return;
    }
    float padded[QDQ_TILE];
    restore_full(tile, padded);
    memcpy(dst, padded, n * 4);
}

static void stream(const float *tile, float *dst) {
#ifdef __SSE2__
    for (int i = 0; i < QDQ_TILE; i += 4) _mm_stream_ps(dst + i, _mm_load_ps(tile + i));
#else
    memcpy(dst, tile, QDQ_TILE * 4);
#endif
}

static void fence(void) {
#ifdef __SSE2__
    _mm_sfence();
#endif
}

/* The lanes' sums, added as sums.h has it. */

FN void put_lanes(REAL v, float *lanes, int pass) { store_vector(v, lanes + WIDTH * pass); }

FN float sum_lanes(const float *lanes) {
    REAL v[PASSES];
    float rest[WIDTH];
    for (int pass = 0; pass < PASSES; pass++) v[pass] = load_vector(lanes + WIDTH * pass);
    for (int half = PASSES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) v[i] = v[i] + v[i + half];
    store_vector(v[0], rest);
    for (int half = WIDTH / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) rest[l] += rest[l + half];
    return rest[0];
}

/* weighted is a constant where this is called. */
FN qdq_tile_error tile_error(const float *x, const float *q, const float *m, bool weighted) {
    _Alignas(64) float lanes[4][QDQ_TILE_LANES];
    KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) {
        error_sums e = no_errors();
        tree ww = empty_tree();
        UNROLLED for (int i = 0; i < 32; i++) {
            REAL w = load_row(x, i, pass), importance = weighted ? load_row(m, i, pass) : w;
            e = with_error(e, i, w, load_row(q, i, pass), importance, weighted);
            ww = with_weight(ww, i, w, importance, weighted);
        }
        put_lanes(e.dd.all, lanes[0], pass);
        put_lanes(ww.all, lanes[1], pass);
        put_lanes(e.vv.all, lanes[2], pass);
        put_lanes(e.largest, lanes[3], pass);
    }
    qdq_tile_error sums = {sum_lanes(lanes[0]), sum_lanes(lanes[1]), sum_lanes(lanes[2]), 0.0f};
    for (int l = 0; l < QDQ_TILE_LANES; l++)
        if (lanes[3][l] > sums.max_abs) sums.max_abs = lanes[3][l];
    return sums;
}

static qdq_tile_error error(const float *x, const float *q, const float *m) {
    return m ? tile_error(x, q, m, true) : tile_error(x, q, x, false);
}

static qdq_tile_sensitivity sensitivity(const float *low, const float *high, const float *gradient) {
    _Alignas(64) float lanes[3][QDQ_TILE_LANES];
    KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) {
        sensitivity_sums s = no_sensitivities();
        UNROLLED for (int i = 0; i < 32; i++) s =
            with_difference(s, i, load_row(gradient, i, pass), load_row(low, i, pass) - load_row(high, i, pass));
        put_lanes(s.t.all, lanes[0], pass);
        put_lanes(s.size.all, lanes[1], pass);
        put_lanes(s.tt.all, lanes[2], pass);
    }
    return (qdq_tile_sensitivity){sum_lanes(lanes[0]), sum_lanes(lanes[1]), sum_lanes(lanes[2])};
}

const qdq_cpu_tile_kernels TILE_KERNELS = {widen, narrow, transpose,   restore, stream,
                                           fence, error,  sensitivity, dialect};
