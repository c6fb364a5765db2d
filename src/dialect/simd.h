/* The dialect for SIMD: a lane is one element of a GCC/Clang vector of 16 (AVX-512), 8 (AVX2) or 4 (SSE2, NEON)
 * floats. Comparisons and selections use the processor's own masks, which compilers do not find by themselves. */
#ifndef QDQ_DIALECT_SIMD_H
#define QDQ_DIALECT_SIMD_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 16
#elif defined(__AVX2__)
#include <immintrin.h>
#define WIDTH 8
#elif defined(__SSE2__)
#include <emmintrin.h>
#define WIDTH 4
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define WIDTH 4
#else
#error "no SIMD lanes for this processor"
#endif

#define FN    static inline __attribute__((always_inline))
#define LARGE static __attribute__((noinline, unused))
#define UNROLL
#ifdef __clang__
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define ROLLED _Pragma("GCC unroll 1")
#endif

typedef float REAL __attribute__((vector_size(4 * WIDTH)));
typedef int32_t INT __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t UINT __attribute__((vector_size(4 * WIDTH)));
#if WIDTH == 16
typedef __mmask16 MASK;
#else
typedef INT MASK; /* all ones or all zeros */
#endif

#define TABLE4(name, a, b, c, d)             static const float name[4] = {a, b, c, d};
#define TABLE8(name, a, b, c, d, e, f, g, h) static const float name[8] = {a, b, c, d, e, f, g, h};
#define TABLE16(name, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                                  \
    static const float name[16] = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};

#define WORDS(name)    extern const uint32_t *qdq_words_##name;
#define WORDS_OF(name) qdq_words_##name
#define WORDS_IN(t)    const uint32_t *t

#define STRUCT(name)                                                                                                   \
    typedef struct name name;                                                                                          \
    struct name
#define BLOCK_IN(x)          const REAL *restrict x
#define BLOCK_OUT(x)         REAL *restrict x
#define CODES_IN(c)          const INT *restrict c
#define CODES_OUT(c)         INT *restrict c
#define CODES_INOUT(c)       INT *restrict c
#define ARRAY_IN(type, x, n) const type *x

#define splat(f)   ((REAL){0} + (float)(f))
#define splat_i(i) ((INT){0} + (int32_t)(i))
#define splat_u(u) ((UINT){0} + (uint32_t)(u))
#define INT_OF(u)  ((INT)(u))
#define UINT_OF(i) ((UINT)(i))
#define as_uint(x) ((UINT)(x))
#define as_real(u) ((REAL)(u))

FN REAL abs_(REAL x) { return as_real(as_uint(x) & 0x7fffffffu); }
FN REAL div_rn(REAL a, REAL b) { return a / b; }

#if WIDTH == 16

#define gt(a, b)          _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_GT_OQ)
#define ge(a, b)          _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_GE_OQ)
#define lt(a, b)          _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_LT_OQ)
#define le(a, b)          _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_LE_OQ)
#define eq(a, b)          _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_EQ_OQ)
#define ne(a, b)          _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_NEQ_UQ)
#define gt_i(a, b)        _mm512_cmpgt_epi32_mask((__m512i)((INT)(a)), (__m512i)((INT)(b)))
#define lt_i(a, b)        gt_i(b, a)
#define eq_i(a, b)        _mm512_cmpeq_epi32_mask((__m512i)((INT)(a)), (__m512i)((INT)(b)))
#define and_m(a, b)       ((MASK)((a) & (b)))
#define or_m(a, b)        ((MASK)((a) | (b)))
#define not_m(a)          ((MASK) ~(a))
#define select_r(m, a, b) ((REAL)_mm512_mask_blend_ps(m, (__m512)(b), (__m512)(a)))
#define select_i(m, a, b) ((INT)_mm512_mask_blend_epi32(m, (__m512i)(b), (__m512i)(a)))
#define select_u(m, a, b) ((UINT)_mm512_mask_blend_epi32(m, (__m512i)(b), (__m512i)(a)))

FN bool any(MASK m) { return m != 0; }
FN REAL max_r(REAL a, REAL b) { return (REAL)_mm512_max_ps((__m512)a, (__m512)b); }
FN REAL min_r(REAL a, REAL b) { return (REAL)_mm512_min_ps((__m512)a, (__m512)b); }
FN INT max_i(INT a, INT b) { return (INT)_mm512_max_epi32((__m512i)a, (__m512i)b); }
FN INT min_i(INT a, INT b) { return (INT)_mm512_min_epi32((__m512i)a, (__m512i)b); }
FN UINT max_u(UINT a, UINT b) { return (UINT)_mm512_max_epu32((__m512i)a, (__m512i)b); }
FN REAL sqrt_rn(REAL a) { return (REAL)_mm512_sqrt_ps((__m512)a); }
FN INT to_int(REAL x) { return (INT)_mm512_cvttps_epi32((__m512)x); }
FN REAL to_real(INT i) { return (REAL)_mm512_cvtepi32_ps((__m512i)i); }
FN REAL trunc_r(REAL x) { return (REAL)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
FN REAL nearest(REAL x) { return (REAL)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
FN REAL LOOKUP4(const float *table, INT i) {
    return (REAL)_mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(table)), (__m512i)i);
}
FN REAL LOOKUP8(const float *table, INT i) {
    return (REAL)_mm512_permutexvar_ps((__m512i)i, _mm512_broadcast_f32x8(_mm256_loadu_ps(table)));
}
FN REAL LOOKUP16(const float *table, INT i) { return (REAL)_mm512_permutexvar_ps((__m512i)i, _mm512_loadu_ps(table)); }
FN UINT WORD(WORDS_IN(t), INT i) { return (UINT)_mm512_i32gather_epi32((__m512i)i, t, 4); }

#else

#define gt(a, b)          ((MASK)((a) > (b)))
#define ge(a, b)          ((MASK)((a) >= (b)))
#define lt(a, b)          ((MASK)((a) < (b)))
#define le(a, b)          ((MASK)((a) <= (b)))
#define eq(a, b)          ((MASK)((a) == (b)))
#define ne(a, b)          ((MASK)((a) != (b)))
#define gt_i(a, b)        ((MASK)((INT)(a) > (INT)(b)))
#define lt_i(a, b)        ((MASK)((INT)(a) < (INT)(b)))
#define eq_i(a, b)        ((MASK)((INT)(a) == (INT)(b)))
#define and_m(a, b)       ((a) & (b))
#define or_m(a, b)        ((a) | (b))
#define not_m(a)          (~(a))
#define select_r(m, a, b) as_real(select_u(m, as_uint(a), as_uint(b)))
#define select_i(m, a, b) ((INT)select_u(m, (UINT)(a), (UINT)(b)))

#if WIDTH == 8

FN UINT select_u(MASK m, UINT a, UINT b) { return (UINT)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m); }
FN bool any(MASK m) { return _mm256_movemask_ps((__m256)m) != 0; }
FN REAL max_r(REAL a, REAL b) { return (REAL)_mm256_max_ps((__m256)a, (__m256)b); }
FN REAL min_r(REAL a, REAL b) { return (REAL)_mm256_min_ps((__m256)a, (__m256)b); }
FN INT max_i(INT a, INT b) { return (INT)_mm256_max_epi32((__m256i)a, (__m256i)b); }
FN INT min_i(INT a, INT b) { return (INT)_mm256_min_epi32((__m256i)a, (__m256i)b); }
FN UINT max_u(UINT a, UINT b) { return (UINT)_mm256_max_epu32((__m256i)a, (__m256i)b); }
FN REAL sqrt_rn(REAL a) { return (REAL)_mm256_sqrt_ps((__m256)a); }
FN INT to_int(REAL x) { return (INT)_mm256_cvttps_epi32((__m256)x); }
FN REAL to_real(INT i) { return (REAL)_mm256_cvtepi32_ps((__m256i)i); }
FN REAL trunc_r(REAL x) { return (REAL)_mm256_round_ps((__m256)x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
FN REAL nearest(REAL x) { return (REAL)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
FN REAL LOOKUP4(const float *table, INT i) {
    return (REAL)_mm256_permutevar_ps(_mm256_broadcast_ps((const __m128 *)table), (__m256i)i);
}
FN REAL LOOKUP8(const float *table, INT i) {
    return (REAL)_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)i);
}
FN REAL LOOKUP16(const float *table, INT i) {
    return select_r(gt_i(i, splat_i(7)), LOOKUP8(table + 8, i), LOOKUP8(table, i));
}
FN UINT WORD(WORDS_IN(t), INT i) { return (UINT)_mm256_i32gather_epi32((const int *)t, (__m256i)i, 4); }

#elif defined(__SSE2__)

FN UINT select_u(MASK m, UINT a, UINT b) { return ((UINT)m & a) | (~(UINT)m & b); }
FN bool any(MASK m) { return _mm_movemask_ps((__m128)m) != 0; }
FN REAL max_r(REAL a, REAL b) { return (REAL)_mm_max_ps((__m128)a, (__m128)b); }
FN REAL min_r(REAL a, REAL b) { return (REAL)_mm_min_ps((__m128)a, (__m128)b); }
FN INT max_i(INT a, INT b) { return select_i(gt_i(a, b), a, b); }
FN INT min_i(INT a, INT b) { return select_i(gt_i(a, b), b, a); }
FN UINT max_u(UINT a, UINT b) { return select_u((MASK)(a > b), a, b); }
FN REAL sqrt_rn(REAL a) { return (REAL)_mm_sqrt_ps((__m128)a); }
FN INT to_int(REAL x) { return (INT)_mm_cvttps_epi32((__m128)x); }
FN REAL to_real(INT i) { return (REAL)_mm_cvtepi32_ps((__m128i)i); }
FN REAL trunc_r(REAL x) { return to_real(to_int(x)); }
FN REAL nearest(REAL x) { return (x + 12582912.0f) - 12582912.0f; }

#else /* NEON; its own max and min treat NaN and -0 otherwise */

FN UINT select_u(MASK m, UINT a, UINT b) { return (UINT)vbslq_u32((uint32x4_t)m, (uint32x4_t)a, (uint32x4_t)b); }
FN bool any(MASK m) { return vmaxvq_u32((uint32x4_t)m) != 0; }
FN REAL max_r(REAL a, REAL b) { return select_r(gt(a, b), a, b); }
FN REAL min_r(REAL a, REAL b) { return select_r(lt(a, b), a, b); }
FN INT max_i(INT a, INT b) { return (INT)vmaxq_s32((int32x4_t)a, (int32x4_t)b); }
FN INT min_i(INT a, INT b) { return (INT)vminq_s32((int32x4_t)a, (int32x4_t)b); }
FN UINT max_u(UINT a, UINT b) { return (UINT)vmaxq_u32((uint32x4_t)a, (uint32x4_t)b); }
FN REAL sqrt_rn(REAL a) { return (REAL)vsqrtq_f32((float32x4_t)a); }
FN INT to_int(REAL x) { return (INT)vcvtq_s32_f32((float32x4_t)x); }
FN REAL to_real(INT i) { return (REAL)vcvtq_f32_s32((int32x4_t)i); }
FN REAL trunc_r(REAL x) { return (REAL)vrndq_f32((float32x4_t)x); }
FN REAL nearest(REAL x) { return (REAL)vrndnq_f32((float32x4_t)x); }

#endif

#if WIDTH == 4
FN REAL lookup(const float *table, INT i) { return (REAL){table[i[0]], table[i[1]], table[i[2]], table[i[3]]}; }
#define LOOKUP4(table, i)  lookup(table, i)
#define LOOKUP8(table, i)  lookup(table, i)
#define LOOKUP16(table, i) lookup(table, i)
FN UINT WORD(WORDS_IN(t), INT i) { return (UINT){t[i[0]], t[i[1]], t[i[2]], t[i[3]]}; }
#endif

#endif

FN MASK lt_loose(REAL a, REAL b) { return lt(a, b); }
FN REAL max_loose(REAL a, REAL b) { return max_r(a, b); }
FN REAL min_loose(REAL a, REAL b) { return min_r(a, b); }
FN REAL positive_zero(REAL x) { return x + 0.0f; }
#define at_once(rare, tame) (rare)

#include "nan.h"
#include "common.h"
#if WIDTH > 4
#include "lists.h"
#endif

#endif
