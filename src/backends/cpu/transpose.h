/* Between memory, where a lane's 32 elements lie side by side, and vectors, which hold one element of WIDTH lanes.
 *
 * Four columns at a time: WIDTH pieces of 128 bits, one a lane, are loaded straight into the quarters of four vectors
 * (quarter q of vector k comes from lane 4 q + k; these are loads with insertion, no shuffles), then each quarter is a
 * 4 x 4 transpose inside 128 bits, two shuffles a vector. The lanes come out in order. */
#ifndef QDQ_BACKENDS_CPU_TRANSPOSE_H
#define QDQ_BACKENDS_CPU_TRANSPOSE_H

#include <string.h>

/* A loop that is not unrolled: gcc would load a whole tile ahead of its first use, and spill it. */
#ifdef __clang__
#define KEEP_LOOP _Pragma("clang loop unroll(disable)")
#define UNROLLED  _Pragma("clang loop unroll(full)")
#else
#define KEEP_LOOP _Pragma("GCC unroll 1")
#define UNROLLED  _Pragma("GCC unroll 32")
#endif

/* One vector, at any alignment of a float. (memcpy would do, but gcc makes two halves of it, and a load of the whole
 * then waits for both stores.) */
#if WIDTH == 1
FN REAL load_vector(const float *p) { return *p; }
FN void store_vector(REAL v, float *p) { *p = v; }
#else
typedef float loose_real __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
FN REAL load_vector(const float *p) { return (REAL) * (const loose_real *)p; }
FN void store_vector(REAL v, float *p) { *(loose_real *)p = (loose_real)v; }
#endif

#if WIDTH == 1

FN void load4(const float *src, REAL *c) { memcpy(c, src, 16); }
FN void store4(const REAL *c, float *dst) { memcpy(dst, c, 16); }

#else

#if WIDTH == 16
#define LOW2(a, b)                                                                                                     \
    (REAL) _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd((__m512)(a)), _mm512_castps_pd((__m512)(b))))
#define HIGH2(a, b)                                                                                                    \
    (REAL) _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd((__m512)(a)), _mm512_castps_pd((__m512)(b))))
#define LOW1(a, b)  _mm512_unpacklo_ps((__m512)(a), (__m512)(b))
#define HIGH1(a, b) _mm512_unpackhi_ps((__m512)(a), (__m512)(b))
FN REAL load_quarters(const float *s) {
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(s));
    v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(s + 4 * 32));
    v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(s + 8 * 32));
    v = _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(s + 12 * 32));
    return (REAL)v;
}
FN void store_quarters(REAL v, float *d) {
    _mm_storeu_ps(d, _mm512_castps512_ps128((__m512)v));
    _mm_storeu_ps(d + 4 * 32, _mm512_extractf32x4_ps((__m512)v, 1));
    _mm_storeu_ps(d + 8 * 32, _mm512_extractf32x4_ps((__m512)v, 2));
    _mm_storeu_ps(d + 12 * 32, _mm512_extractf32x4_ps((__m512)v, 3));
}
#elif WIDTH == 8
#define LOW2(a, b)                                                                                                     \
    (REAL) _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd((__m256)(a)), _mm256_castps_pd((__m256)(b))))
#define HIGH2(a, b)                                                                                                    \
    (REAL) _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd((__m256)(a)), _mm256_castps_pd((__m256)(b))))
#define LOW1(a, b)  _mm256_unpacklo_ps((__m256)(a), (__m256)(b))
#define HIGH1(a, b) _mm256_unpackhi_ps((__m256)(a), (__m256)(b))
FN REAL load_quarters(const float *s) {
    return (REAL)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(s)), _mm_loadu_ps(s + 4 * 32), 1);
}
FN void store_quarters(REAL v, float *d) {
    _mm_storeu_ps(d, _mm256_castps256_ps128((__m256)v));
    _mm_storeu_ps(d + 4 * 32, _mm256_extractf128_ps((__m256)v, 1));
}
#elif defined(__SSE2__)
#define LOW2(a, b)  (REAL) _mm_movelh_ps((__m128)(a), (__m128)(b))
#define HIGH2(a, b) (REAL) _mm_movehl_ps((__m128)(b), (__m128)(a))
#define LOW1(a, b)  _mm_unpacklo_ps((__m128)(a), (__m128)(b))
#define HIGH1(a, b) _mm_unpackhi_ps((__m128)(a), (__m128)(b))
FN REAL load_quarters(const float *s) { return (REAL)_mm_loadu_ps(s); }
FN void store_quarters(REAL v, float *d) { _mm_storeu_ps(d, (__m128)v); }
#else
#define LOW2(a, b)  (REAL) vtrn1q_f64((float64x2_t)(a), (float64x2_t)(b))
#define HIGH2(a, b) (REAL) vtrn2q_f64((float64x2_t)(a), (float64x2_t)(b))
#define LOW1(a, b)  vzip1q_f32((float32x4_t)(a), (float32x4_t)(b))
#define HIGH1(a, b) vzip2q_f32((float32x4_t)(a), (float32x4_t)(b))
FN REAL load_quarters(const float *s) {
    REAL v;
    memcpy(&v, s, 16); /* s may have any alignment */
    return v;
}
FN void store_quarters(REAL v, float *d) { memcpy(d, &v, 16); }
#endif

/* A 4 x 4 transpose in each quarter of four vectors; its own inverse. */
FN void transpose4(REAL *v) {
    REAL a = (REAL)LOW1(v[0], v[1]), b = (REAL)LOW1(v[2], v[3]);
    REAL c = (REAL)HIGH1(v[0], v[1]), d = (REAL)HIGH1(v[2], v[3]);
    v[0] = LOW2(a, b);
    v[1] = HIGH2(a, b);
    v[2] = LOW2(c, d);
    v[3] = HIGH2(c, d);
}

/* c[0 … 3]: elements 0 … 3 of WIDTH lanes, the first of them at src. */
FN void load4(const float *src, REAL *c) {
    for (int k = 0; k < 4; k++) c[k] = load_quarters(src + 32 * k);
    transpose4(c);
}
FN void store4(const REAL *c, float *dst) {
    REAL v[4] = {c[0], c[1], c[2], c[3]};
    transpose4(v);
    for (int k = 0; k < 4; k++) store_quarters(v[k], dst + 32 * k);
}

#endif

/* c[0 … STORE_COLUMNS(past) - 1]: that many elements of WIDTH lanes, to memory: few and wide stores, since a processor
 * has one or two ports for them. past: beyond the cache; dst is then aligned to 64 bytes, but for the portable lanes.
 */
#if WIDTH == 16
#define STORE_COLUMNS(past) 16
FN void store_columns(const REAL *c, float *dst, bool past) {
    REAL v[16];
    for (int k = 0; k < 16; k++) v[k] = c[k];
    for (int k = 0; k < 16; k += 4) transpose4(v + k);
    for (int k = 0; k < 4; k++) {
        /* Quarter q of v[k], v[k+4], v[k+8], v[k+12] is the row of lane 4 q + k. */
        __m512 a = (__m512)v[k], b = (__m512)v[k + 4], e = (__m512)v[k + 8], f = (__m512)v[k + 12];
        __m512 ab02 = _mm512_shuffle_f32x4(a, b, 0x88), ab13 = _mm512_shuffle_f32x4(a, b, 0xdd);
        __m512 ef02 = _mm512_shuffle_f32x4(e, f, 0x88), ef13 = _mm512_shuffle_f32x4(e, f, 0xdd);
        __m512 row[4] = {_mm512_shuffle_f32x4(ab02, ef02, 0x88), _mm512_shuffle_f32x4(ab13, ef13, 0x88),
                         _mm512_shuffle_f32x4(ab02, ef02, 0xdd), _mm512_shuffle_f32x4(ab13, ef13, 0xdd)};
        for (int q = 0; q < 4; q++)
            if (past)
                _mm512_stream_ps(dst + 32 * (4 * q + k), row[q]);
            else
                _mm512_storeu_ps(dst + 32 * (4 * q + k), row[q]);
    }
}
#elif WIDTH == 8
/* Past the cache a lane's line of 64 bytes is stored whole: half a line at a time is slow. */
#define STORE_COLUMNS(past) ((past) ? 16 : 8)
FN void store_columns(const REAL *c, float *dst, bool past) {
    REAL v[16];
    for (int k = 0; k < STORE_COLUMNS(past); k++) v[k] = c[k];
    for (int k = 0; k < STORE_COLUMNS(past); k += 4) transpose4(v + k);
    for (int k = 0; k < 4; k++)
        for (int half = 0; half < 2; half++)
            for (int side = 0; side < STORE_COLUMNS(past); side += 8) {
                __m256 a = (__m256)v[k + side], b = (__m256)v[k + side + 4];
                __m256 row = half ? _mm256_permute2f128_ps(a, b, 0x31) : _mm256_permute2f128_ps(a, b, 0x20);
                float *to = dst + 32 * (k + 4 * half) + side;
                if (past)
                    _mm256_stream_ps(to, row);
                else
                    _mm256_storeu_ps(to, row);
            }
}
#else
#define STORE_COLUMNS(past) 4
FN void store_columns(const REAL *c, float *dst, bool past) { store4(c, dst); }
#endif

/* All 32 elements of WIDTH lanes. ahead: also asks for the lines that many floats further on, a few at a time, so that
 * the requests do not queue up. */
FN void load_lanes(const float *src, BLOCK_OUT(x), size_t ahead) {
    for (int i = 0; i < 32; i += 4) {
        if (ahead > 0)
            for (int line = 0; line < WIDTH; line += 4)
                __builtin_prefetch(src + ahead + 4 * (WIDTH * i / 4 + line), 0, 3);
        load4(src + i, x + i);
    }
}

#endif
