/* The dialect for any C11 compiler: a lane is one float. */
#ifndef QDQ_DIALECT_SCALAR_H
#define QDQ_DIALECT_SCALAR_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define WIDTH 1
#define FN    static inline
#define LARGE static inline
#define ROLLED
#define UNROLL

typedef float REAL;
typedef int32_t INT;
typedef uint32_t UINT;
typedef bool MASK;

#define STRUCT(name)                                                                                                   \
    typedef struct name name;                                                                                          \
    struct name
#define BLOCK_IN(x)          const REAL *restrict x
#define BLOCK_OUT(x)         REAL *restrict x
#define CODES_IN(c)          const INT *restrict c
#define CODES_OUT(c)         INT *restrict c
#define CODES_INOUT(c)       INT *restrict c
#define ARRAY_IN(type, x, n) const type *x

#define splat(f)   ((float)(f))
#define splat_i(i) ((int32_t)(i))
#define splat_u(u) ((uint32_t)(u))
#define INT_OF(u)  ((INT)(u))
#define UINT_OF(i) ((UINT)(i))

FN UINT as_uint(REAL x) {
    UINT u;
    memcpy(&u, &x, 4);
    return u;
}
FN REAL as_real(UINT u) {
    REAL x;
    memcpy(&x, &u, 4);
    return x;
}

#define gt(a, b)          ((a) > (b))
#define ge(a, b)          ((a) >= (b))
#define lt(a, b)          ((a) < (b))
#define le(a, b)          ((a) <= (b))
#define eq(a, b)          ((a) == (b))
#define ne(a, b)          ((a) != (b))
#define gt_i(a, b)        ((INT)(a) > (INT)(b))
#define lt_i(a, b)        ((INT)(a) < (INT)(b))
#define eq_i(a, b)        ((INT)(a) == (INT)(b))
#define and_m(a, b)       ((a) && (b))
#define or_m(a, b)        ((a) || (b))
#define not_m(a)          (!(a))
#define any(m)            (m)
#define select_r(m, a, b) ((m) ? (a) : (b))
#define select_i(m, a, b) ((m) ? (a) : (b))
#define select_u(m, a, b) ((m) ? (a) : (b))

FN REAL max_r(REAL a, REAL b) { return a > b ? a : b; }
FN REAL min_r(REAL a, REAL b) { return a < b ? a : b; }
FN INT max_i(INT a, INT b) { return a > b ? a : b; }
FN INT min_i(INT a, INT b) { return a < b ? a : b; }
FN UINT max_u(UINT a, UINT b) { return a > b ? a : b; }
FN REAL abs_(REAL x) { return as_real(as_uint(x) & 0x7fffffffu); }
FN REAL div_rn(REAL a, REAL b) { return a / b; }
FN REAL sqrt_rn(REAL a) { return sqrtf(a); }
FN INT to_int(REAL x) { return (INT)x; }
FN REAL to_real(INT i) { return (REAL)i; }
FN REAL trunc_r(REAL x) { return (REAL)(INT)x; }
FN REAL nearest(REAL x) { return (x + 12582912.0f) - 12582912.0f; }
FN MASK lt_loose(REAL a, REAL b) { return lt(a, b); }
FN REAL max_loose(REAL a, REAL b) { return max_r(a, b); }
FN REAL min_loose(REAL a, REAL b) { return min_r(a, b); }
FN REAL positive_zero(REAL x) { return x + 0.0f; }
#define at_once(rare, tame) (rare)

#define TABLE4(name, a, b, c, d)             static const float name[4] = {a, b, c, d};
#define TABLE8(name, a, b, c, d, e, f, g, h) static const float name[8] = {a, b, c, d, e, f, g, h};
#define TABLE16(name, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                                  \
    static const float name[16] = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
#define LOOKUP4(name, i)  (name)[i]
#define LOOKUP8(name, i)  (name)[i]
#define LOOKUP16(name, i) (name)[i]

#define WORDS(name)    extern const uint32_t *qdq_words_##name;
#define WORDS_OF(name) qdq_words_##name
#define WORDS_IN(t)    const uint32_t *t
#define WORD(t, i)     (t)[i]

#include "nan.h"
#include "common.h"

#endif
