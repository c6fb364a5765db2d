/* The dialect for Metal's shading language, which is C++14: a lane is a thread. The device's own compiler reads it at
 * run time, in safe mode and without contraction.
 *
 * Apple's processors take subnormal floats for zeros, and give zeros for them, whatever the compiler is told. So a REAL
 * is the bits of a float, and an operation is the device's own only where its result shows that no subnormal had a part
 * in it; else it is done in integers. (ARITHMETIC says so; metal_arithmetic.h has the other choices.)
 *
 * Of a product, a result that is normal or infinite is right: a factor that was taken for 0 would have made it 0 or a
 * NaN, and a product below the normal numbers would have become 0.
 *
 * Of a sum, a result of 2^-101 or more in magnitude, or an infinite one, is right: the numbers next to it are 2^-125 or
 * more away, so that a subnormal, which is less than half of that, and was taken for 0, is rounded off anyway.
 *
 * Of a comparison, the answer is right unless both are subnormals or zeros; these are compared as integers.
 *
 * What is left, zeros and NaNs among it, is done in integers, and NaNs come out as x86 makes them. This holds for each
 * operation by itself, whatever a format does with it. It takes nothing from a device but + and * of normal numbers
 * that round to nearest, and quick_proof.c asks each device for that.
 *
 * A format's functions are members of a struct that the driver begins (tile.metal), since no variable outside of
 * functions can be written to, and they want the format's table of words, and the lane's place in its block. */
#ifndef QDQ_DIALECT_METAL_H
#define QDQ_DIALECT_METAL_H

#include <metal_stdlib>
using namespace metal;

#if __METAL_VERSION__ >= 320
#pragma METAL fp math_mode(safe)
#pragma METAL fp contract(off)
#else
#pragma clang fp contract(off)
#endif

#include "dialect/metal_arithmetic.h"

#define FN     static inline
#define LARGE  FN                               /* a call would put the lane's elements into memory */
#define SELDOM static __attribute__((noinline)) /* what is called from many places, and seldom */
#define ROLLED _Pragma("clang loop unroll(disable)")
#define UNROLL

typedef int INT;
typedef uint UINT;
typedef bool MASK;
/* A float's bits: no float, which a move might flush, and no class, of which compilers choose with `?:` less freely. */
enum class REAL : uint {};

#define STRUCT(name)         struct name
#define BLOCK_IN(x)          thread const REAL *x
#define BLOCK_OUT(x)         thread REAL *x
#define CODES_IN(c)          thread const INT *c
#define CODES_OUT(c)         thread INT *c
#define CODES_INOUT(c)       thread INT *c
#define ARRAY_IN(type, x, n) thread const type *x

#define half half_ /* a type of the language, a variable of formats */

#define splat(f)   real_of(float(f))
#define splat_i(i) int(i)
#define splat_u(u) uint(u)
#define INT_OF(u)  int(u)
#define UINT_OF(i) uint(i)

FN UINT as_uint(REAL x) { return UINT(x); }
FN REAL as_real(UINT u) { return REAL(u); }
FN float float_of(REAL x) { return as_type<float>(UINT(x)); }
FN REAL real_of(float x) { return REAL(as_type<uint>(x)); }

/* ---- Arithmetic in integers ---- */

/* The NaN of an operation on a and b, as x86 makes it. */
FN bool is_nan(UINT a) { return (a & 0x7fffffffu) > 0x7f800000u; }
FN UINT nan_bits(UINT a, UINT b) { return is_nan(a) ? a | 0x00400000u : is_nan(b) ? b | 0x00400000u : 0xffc00000u; }

FN INT leading_zeros(ulong x) { /* x is not 0 */
    UINT high = UINT(x >> 32);
    return INT(high > 0u ? clz(high) : 32u + clz(UINT(x)));
}

/* The significand of the finite, non-zero magnitude u as 24 bits m, and its exponent e: u is the bits of
 * m 2^(e - 150), where a subnormal has an e below 1. */
FN UINT significand(UINT u, thread INT &e) {
    e = INT(u >> 23);
    if (e > 0) return (u & 0x007fffffu) | 0x00800000u;
    INT up = INT(clz(u)) - 8;
    e = 1 - up;
    return u << up;
}

/* x shifted right, where the lowest bit says whether anything but zeros was lost. */
FN ulong shift_right(ulong x, INT by) {
    if (by > 62) return ulong(x != 0);
    return (x >> by) | ulong((x & ((ulong(1) << by) - 1)) != 0);
}

/* s 2^(e - 189), to nearest, ties to even: the highest bit of s is number 62. */
FN UINT round_bits(UINT sign, INT e, ulong s) {
    if (e >= 255) return sign | 0x7f800000u;
    if (e < -23) return sign;
    INT drop = e > 0 ? 39 : 40 - e;
    ulong lost = s & ((ulong(1) << drop) - 1), half_way = ulong(1) << (drop - 1);
    UINT kept = UINT(s >> drop), up = UINT(lost > half_way || (lost == half_way && (kept & 1u) == 1u));
    return sign | ((e > 0 ? (UINT(e) << 23) + (kept - 0x00800000u) : kept) + up);
}

SELDOM UINT integer_product(UINT a, UINT b) {
    UINT sign = (a ^ b) & 0x80000000u, ua = a & 0x7fffffffu, ub = b & 0x7fffffffu;
    if (is_nan(a) || is_nan(b)) return nan_bits(a, b);
    if (ua == 0u || ub == 0u) return max(ua, ub) == 0x7f800000u ? 0xffc00000u : sign;
    if (max(ua, ub) == 0x7f800000u) return sign | 0x7f800000u;
    INT ea, eb;
    UINT ma = significand(ua, ea), mb = significand(ub, eb);
    ulong p = ulong(ma) * mb;
    INT zeros = leading_zeros(p); /* 16 or 17 */
    return round_bits(sign, ea + eb - 110 - zeros, p << (zeros - 1));
}

SELDOM UINT integer_sum(UINT a, UINT b) {
    UINT ua = a & 0x7fffffffu, ub = b & 0x7fffffffu;
    if (is_nan(a) || is_nan(b)) return nan_bits(a, b);
    if (ub == 0u) return ua == 0u ? a & b : a;
    if (ua == 0u) return b;
    bool differ = ((a ^ b) >> 31) == 1u;
    if (ua == ub && differ) return ua == 0x7f800000u ? 0xffc00000u : 0u;
    if (ua < ub) {
        UINT t = a;
        a = b;
        b = t;
        t = ua;
        ua = ub;
        ub = t;
    }
    if (ua == 0x7f800000u) return a;
    INT ea, eb;
    UINT ma = significand(ua, ea), mb = significand(ub, eb);
    ulong large = ulong(ma) << 38, small = shift_right(ulong(mb) << 38, ea - eb);
    ulong s = differ ? large - small : large + small;
    INT zeros = leading_zeros(s);
    return round_bits(a & 0x80000000u, ea + 2 - zeros, s << (zeros - 1));
}

SELDOM UINT integer_quotient(UINT a, UINT b) {
    UINT sign = (a ^ b) & 0x80000000u, ua = a & 0x7fffffffu, ub = b & 0x7fffffffu;
    if (max(ua, ub) > 0x7f800000u || (ua == ub && (ua == 0u || ua == 0x7f800000u))) return nan_bits(a, b);
    if (ua == 0x7f800000u || ub == 0u) return sign | 0x7f800000u;
    if (ub == 0x7f800000u || ua == 0u) return sign;
    INT ea, eb;
    UINT ma = significand(ua, ea), mb = significand(ub, eb);
    ulong n = ulong(ma) << 38, q = n / mb;
    q |= ulong(q * mb != n);
    INT zeros = leading_zeros(q); /* 25 or 26 */
    return round_bits(sign, ea - eb + 152 - zeros, q << (zeros - 1));
}

/* s = floor(sqrt(m 2^k)) has 24 bits; the device's guess may be some units off. The root is above s + 1/2 exactly when
 * the rest is above s. */
SELDOM UINT integer_root(UINT u) {
    if ((u << 1) == 0u || u == 0x7f800000u) return u;
    if (u > 0x7f800000u) return is_nan(u) ? u | 0x00400000u : 0xffc00000u;
    INT e;
    ulong n = ulong(significand(u, e)) << ((e & 1) == 1 ? 23 : 24);
    ulong s = ulong(precise::sqrt(float(n)));
    for (INT turn = 0; turn < 8; turn++) s = s * s > n ? s - 1 : (s + 1) * (s + 1) <= n ? s + 1 : s;
    return (UINT((e + 126 + (e & 1)) / 2) << 23) + (UINT(s) - 0x00800000u) + UINT(n - s * s > s);
}

/* In the order of values, for what is no NaN. */
FN INT order_of(UINT u) { return u >> 31 == 1u ? -INT(u & 0x7fffffffu) : INT(u); }

/* ---- Operations ---- */

#if ARITHMETIC == ARITHMETIC_OF_INTEGERS
FN REAL operator*(REAL a, REAL b) { return as_real(integer_product(as_uint(a), as_uint(b))); }
FN REAL operator+(REAL a, REAL b) { return as_real(integer_sum(as_uint(a), as_uint(b))); }
FN REAL operator-(REAL a, REAL b) {
    return as_real(is_nan(as_uint(b)) ? nan_bits(as_uint(a), as_uint(b))
                                      : integer_sum(as_uint(a), as_uint(b) ^ 0x80000000u));
}
FN MASK comparable(REAL a, REAL b) { return !is_nan(as_uint(a)) && !is_nan(as_uint(b)); }
FN MASK gt(REAL a, REAL b) { return comparable(a, b) && order_of(as_uint(a)) > order_of(as_uint(b)); }
FN MASK ge(REAL a, REAL b) { return comparable(a, b) && order_of(as_uint(a)) >= order_of(as_uint(b)); }
FN MASK eq(REAL a, REAL b) { return comparable(a, b) && order_of(as_uint(a)) == order_of(as_uint(b)); }
FN REAL nearest(REAL x) { return (x + splat(12582912.0f)) - splat(12582912.0f); }
#else
FN bool shows(UINT result, UINT least) {
    return ARITHMETIC == ARITHMETIC_OF_DEVICE || (result & 0x7fffffffu) - least <= 0x7f800000u - least;
}
FN REAL operator*(REAL a, REAL b) {
    REAL r = real_of(float_of(a) * float_of(b));
    if (shows(as_uint(r), 0x00800000u)) return r;
    return as_real(integer_product(as_uint(a), as_uint(b)));
}
FN REAL operator+(REAL a, REAL b) {
    REAL r = real_of(float_of(a) + float_of(b));
    if (shows(as_uint(r), 0x0d000000u)) return r;
    return as_real(integer_sum(as_uint(a), as_uint(b)));
}
FN REAL operator-(REAL a, REAL b) {
    REAL r = real_of(float_of(a) - float_of(b));
    if (shows(as_uint(r), 0x0d000000u)) return r;
    return as_real(is_nan(as_uint(b)) ? nan_bits(as_uint(a), as_uint(b))
                                      : integer_sum(as_uint(a), as_uint(b) ^ 0x80000000u));
}
FN bool both_tiny(REAL a, REAL b) {
    return ARITHMETIC != ARITHMETIC_OF_DEVICE && ((as_uint(a) | as_uint(b)) & 0x7fffffffu) < 0x00800000u;
}
FN MASK gt(REAL a, REAL b) {
    return both_tiny(a, b) ? order_of(as_uint(a)) > order_of(as_uint(b)) : float_of(a) > float_of(b);
}
FN MASK ge(REAL a, REAL b) {
    return both_tiny(a, b) ? order_of(as_uint(a)) >= order_of(as_uint(b)) : float_of(a) >= float_of(b);
}
FN MASK eq(REAL a, REAL b) {
    return both_tiny(a, b) ? order_of(as_uint(a)) == order_of(as_uint(b)) : float_of(a) == float_of(b);
}
FN REAL nearest(REAL x) { return real_of((float_of(x) + 12582912.0f) - 12582912.0f); }
#endif

/* Beside a constant. */
FN REAL operator*(REAL a, float b) { return a * real_of(b); }
FN REAL operator+(REAL a, float b) { return a + real_of(b); }
FN REAL operator-(REAL a, float b) { return a - real_of(b); }
FN REAL operator-(REAL a) { return as_real(as_uint(a) ^ 0x80000000u); }
FN MASK lt(REAL a, REAL b) { return gt(b, a); }
FN MASK le(REAL a, REAL b) { return ge(b, a); }
FN MASK ne(REAL a, REAL b) { return !eq(a, b); }

#define gt_i(a, b)  (int(a) > int(b))
#define lt_i(a, b)  (int(a) < int(b))
#define eq_i(a, b)  (int(a) == int(b))
#define and_m(a, b) ((a) & (b))
#define or_m(a, b)  ((a) | (b))
#define not_m(a)    (!(a))
#define any(m)      (m)
FN REAL select_r(MASK m, REAL a, REAL b) { return as_real(m ? as_uint(a) : as_uint(b)); }
FN INT select_i(MASK m, INT a, INT b) { return m ? a : b; }
FN UINT select_u(MASK m, UINT a, UINT b) { return m ? a : b; }

FN REAL max_r(REAL a, REAL b) { return select_r(gt(a, b), a, b); }
FN REAL min_r(REAL a, REAL b) { return select_r(lt(a, b), a, b); }
FN MASK lt_loose(REAL a, REAL b) { return lt(a, b); } /* beside a constant there is nothing to check */
FN REAL max_loose(REAL a, REAL b) { return max_r(a, b); }
FN REAL min_loose(REAL a, REAL b) { return min_r(a, b); }
FN INT max_i(INT a, INT b) { return max(a, b); }
FN INT min_i(INT a, INT b) { return min(a, b); }
FN UINT max_u(UINT a, UINT b) { return max(a, b); }
FN REAL abs_(REAL x) { return as_real(as_uint(x) & 0x7fffffffu); }
FN REAL div_rn(REAL a, REAL b) { return as_real(integer_quotient(as_uint(a), as_uint(b))); }
FN REAL sqrt_rn(REAL a) { return as_real(integer_root(as_uint(a))); }
FN INT to_int(REAL x) { return int(float_of(x)); }
FN REAL to_real(INT i) { return real_of(float(i)); }
FN REAL trunc_r(REAL x) { return real_of(trunc(float_of(x))); }
FN REAL positive_zero(REAL x) { return as_real((as_uint(x) << 1) == 0u ? 0u : as_uint(x)); }
FN REAL mul_v(REAL a, REAL b) { return a * b; }
FN REAL add_v(REAL a, REAL b) { return a + b; }
FN REAL sub_v(REAL a, REAL b) { return a - b; }
FN bool nan_safe(REAL x) { return true; }
#define at_once(rare, tame) (rare)

/* Lanes look up different places: choosing is quicker than a divergent load. */
FN UINT lookup_4(float a, float b, float c, float d, INT i) {
    UINT low = as_type<uint>((i & 1) != 0 ? b : a), high = as_type<uint>((i & 1) != 0 ? d : c);
    return (i & 2) != 0 ? high : low;
}
#define TABLE4(name, a, b, c, d)                                                                                       \
    FN REAL name(INT i) { return as_real(lookup_4(a, b, c, d, i)); }
#define TABLE8(name, a, b, c, d, e, f, g, h)                                                                           \
    FN REAL name(INT i) { return as_real((i & 4) != 0 ? lookup_4(e, f, g, h, i) : lookup_4(a, b, c, d, i)); }
#define TABLE16(name, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                                  \
    FN REAL name(INT at) {                                                                                             \
        UINT low = (at & 4) != 0 ? lookup_4(e, f, g, h, at) : lookup_4(a, b, c, d, at);                                \
        UINT high = (at & 4) != 0 ? lookup_4(m, n, o, p, at) : lookup_4(i, j, k, l, at);                               \
        return as_real((at & 8) != 0 ? high : low);                                                                    \
    }
#define LOOKUP4(name, i)  name(i)
#define LOOKUP8(name, i)  name(i)
#define LOOKUP16(name, i) name(i)

#include "dialect/common.h"

/* ---- What formats reach beyond a lane, by members of the struct that they are part of ---- */

#define LANE_STATE                                                                                                     \
    device const uint *words;  /* the format's table */                                                                \
    INT pack_lane, pack_lanes; /* this lane's place in its block, and how many there are */

#define WORDS(name)
#define WORDS_OF(name) words
#define WORDS_IN(t)    device const uint *t
#define WORD(t, i)     (t)[i]

/* What a block's lanes show to each other lies in threadgroup memory, value k of the block's lane j at 32 k + j. */
#define PEERS(s)      threadgroup const uint *s
#define PEER(s, k, j) as_real((s)[32 * (k) + (j)])
#define PEER_INDEX(s) pack_lane

/* Packed blocks are bytes of threadgroup memory. The lanes of a block pack it together. */
#define BYTES_IN(b)        threadgroup const uchar *b
#define GET8(b, k)         UINT((b)[k])
#define GET16(b, k)        (GET8(b, k) | GET8(b, (k) + 1) << 8)
#define GET32(b, k)        (GET16(b, k) | GET16(b, (k) + 2) << 16)
#define PACK_ARGS(c, h, b) threadgroup const uchar *c, threadgroup const uint *h, threadgroup uchar *b
#define CODE(c, i)         UINT((c)[i])
#define HEAD(h, k, j)      (h)[(k)*32 + (j)]
#define PUT8(b, k, v)      ((b)[k] = uchar(v))
#define PUT16(b, k, v)     (PUT8(b, k, v), PUT8(b, (k) + 1, (v) >> 8))
#define PUT32(b, k, v)     (PUT16(b, k, v), PUT16(b, (k) + 2, (v) >> 16))
#define PARALLEL(i, n)     for (INT i = pack_lane; i < (n); i += pack_lanes)
#define ONCE               if (pack_lane == 0)

#endif
