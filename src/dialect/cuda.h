/* The dialect for CUDA: a lane is one thread. Compiled with -fmad=false -prec-div=true -prec-sqrt=true -ftz=false.
 *
 * QDQ_SUMS_ONLY: defined where values are summed and not kept: a NaN's bits and a zero's sign do not matter. */
#ifndef QDQ_DIALECT_CUDA_H
#define QDQ_DIALECT_CUDA_H

#include <stdint.h>

#define FN     static __device__ __forceinline__
#define LARGE  FN /* a call would put the lane's elements into memory */
#define ROLLED _Pragma("unroll 1")
#define UNROLL

typedef float REAL;
typedef int32_t INT;
typedef uint32_t UINT;
typedef bool MASK;

#define STRUCT(name)                                                                                                   \
    typedef struct name name;                                                                                          \
    struct name
#define BLOCK_IN(x)          const REAL *__restrict__ x
#define BLOCK_OUT(x)         REAL *__restrict__ x
#define CODES_IN(c)          const INT *__restrict__ c
#define CODES_OUT(c)         INT *__restrict__ c
#define CODES_INOUT(c)       INT *__restrict__ c
#define ARRAY_IN(type, x, n) const type *x

#define splat(f)   ((float)(f))
#define splat_i(i) ((int32_t)(i))
#define splat_u(u) ((uint32_t)(u))
#define INT_OF(u)  ((INT)(u))
#define UINT_OF(i) ((UINT)(i))

#define as_uint(x) __float_as_uint(x)
#define as_real(u) __uint_as_float(u)

#define gt(a, b)          ((a) > (b))
#define ge(a, b)          ((a) >= (b))
#define lt(a, b)          ((a) < (b))
#define le(a, b)          ((a) <= (b))
#define eq(a, b)          ((a) == (b))
#define ne(a, b)          ((a) != (b))
#define gt_i(a, b)        ((INT)(a) > (INT)(b))
#define lt_i(a, b)        ((INT)(a) < (INT)(b))
#define eq_i(a, b)        ((INT)(a) == (INT)(b))
#define and_m(a, b)       ((a) & (b))
#define or_m(a, b)        ((a) | (b))
#define not_m(a)          (!(a))
#define any(m)            (m)
#define select_r(m, a, b) ((m) ? (a) : (b))
#define select_i(m, a, b) ((m) ? (a) : (b))
#define select_u(m, a, b) ((m) ? (a) : (b))

FN INT max_i(INT a, INT b) { return max(a, b); }
FN INT min_i(INT a, INT b) { return min(a, b); }
FN UINT max_u(UINT a, UINT b) { return max(a, b); }
FN REAL abs_(REAL x) { return fabsf(x); }
FN REAL div_rn(REAL a, REAL b) { return __fdiv_rn(a, b); }
FN REAL sqrt_rn(REAL a) { return __fsqrt_rn(a); }
FN INT to_int(REAL x) { return __float2int_rz(x); }
FN REAL to_real(INT i) { return __int2float_rn(i); }
FN REAL trunc_r(REAL x) { return truncf(x); }
FN REAL nearest(REAL x) { return (x + 12582912.0f) - 12582912.0f; }
FN REAL positive_zero(REAL x) { return x + 0.0f; }
#define at_once(rare, tame) (rare)

/* Lanes look up different places; a table fits into one or two lines of the cache. */
#define TABLE4(name, a, b, c, d)             static __device__ const float name[4] = {a, b, c, d};
#define TABLE8(name, a, b, c, d, e, f, g, h) static __device__ const float name[8] = {a, b, c, d, e, f, g, h};
#define TABLE16(name, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                                  \
    static __device__ const float name[16] = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
#define LOOKUP4(name, i)  __ldg(&(name)[i])
#define LOOKUP8(name, i)  __ldg(&(name)[i])
#define LOOKUP16(name, i) __ldg(&(name)[i])

/* The host stores a table's address before a kernel runs. */
#define WORDS(name)    extern "C" __device__ const uint32_t *qdq_words_##name = nullptr;
#define WORDS_OF(name) qdq_words_##name
#define WORDS_IN(t)    const uint32_t *__restrict__ t
#define WORD(t, i)     __ldg((t) + (i))

/* The processor's own maximum differs from the dialect's where b is a NaN, which what formats gather never is, and in
 * the zeros' signs, which no sum shows. */
#ifdef QDQ_SUMS_ONLY
FN REAL max_r(REAL a, REAL b) { return fmaxf(a, b); }
FN REAL min_r(REAL a, REAL b) { return fminf(a, b); }
#else
FN REAL max_r(REAL a, REAL b) { return a > b ? a : b; }
FN REAL min_r(REAL a, REAL b) { return a < b ? a : b; }
#endif

FN MASK lt_loose(REAL a, REAL b) { return a < b; }
FN REAL max_loose(REAL a, REAL b) { return fmaxf(a, b); }
FN REAL min_loose(REAL a, REAL b) { return fminf(a, b); }

/* The NaNs of this processor have lost what they came from. */
FN REAL nan_v(REAL a, REAL b, REAL r) {
    UINT n = ne(b, b) ? as_uint(b) | 0x00400000u : 0xffc00000u;
    n = ne(a, a) ? as_uint(a) | 0x00400000u : n;
    return ne(r, r) ? as_real(n) : r;
}
#ifdef QDQ_SUMS_ONLY
FN REAL mul_v(REAL a, REAL b) { return a * b; }
FN REAL add_v(REAL a, REAL b) { return a + b; }
FN REAL sub_v(REAL a, REAL b) { return a - b; }
FN bool nan_safe(REAL x) { return true; }
#else
FN REAL mul_v(REAL a, REAL b) { return nan_v(a, b, a * b); }
FN REAL add_v(REAL a, REAL b) { return nan_v(a, b, a + b); }
FN REAL sub_v(REAL a, REAL b) { return nan_v(a, b, a - b); }
FN bool nan_safe(REAL x) { return fabsf(x) <= 3.40282346638528859812e+38f; }
#endif

/* As common.h has it; NaNs, which the processor's own conversion loses, by hand. */
#define OWN_F16_VALUE
FN REAL f16_value(UINT h) {
    REAL r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"((unsigned short)h));
    UINT nan = (h & 0x8000u) << 16 | 0x7fc00000u | (h & 0x3ffu) << 13;
    return (h & 0x7fffu) > 0x7c00u ? as_real(nan) : r;
}

#include "dialect/common.h"

/* What the lanes of a block show to each other lies in shared memory, value k of the block's lane j at 32 k + j. */
#define PEERS(s)      const REAL *s
#define PEER(s, k, j) ((s)[32 * (k) + (j)])
#define PEER_INDEX(s) ((INT)(threadIdx.x % PACK_LANES))

/* Packed blocks are bytes. The lanes of a block, PACK_LANES of them, pack it together. */
#ifndef PACK_LANES
#define PACK_LANES 1
#endif
#define BYTES_IN(b)        const uint8_t *__restrict__ b
#define GET8(b, k)         ((UINT)(b)[k])
#define GET16(b, k)        (GET8(b, k) | GET8(b, (k) + 1) << 8)
#define GET32(b, k)        (GET16(b, k) | GET16(b, (k) + 2) << 16)
#define PACK_ARGS(c, h, b) const uint8_t *c, const uint32_t *h, uint8_t *b
#define CODE(c, i)         ((UINT)(c)[i])
#define HEAD(h, k, j)      ((h)[(k)*32 + (j)])
#define PUT8(b, k, v)      ((b)[k] = (uint8_t)(v))
#define PUT16(b, k, v)     (PUT8(b, k, v), PUT8(b, (k) + 1, (v) >> 8))
#define PUT32(b, k, v)     (PUT16(b, k, v), PUT16(b, (k) + 2, (v) >> 16))
#define PARALLEL(i, n)     _Pragma("unroll") for (int i = threadIdx.x % PACK_LANES; i < (n); i += PACK_LANES)
#define ONCE               if (threadIdx.x % PACK_LANES == 0)

#endif
