/* The dialect for GLSL 4.50 (Vulkan): a lane is an invocation.
 *
 * Vulkan promises correctly rounded `+ - *` and little else. So division is made here, and square root is corrected, in
 * integers, from guesses; every arithmetic instruction is decorated NoContraction after the
 * compiler (spirv_embed.c), which also keeps a driver from simplifying it; and the modules ask for subnormals and for
 * signed zeros, infinities and NaNs to be kept, where the device has those modes. A device that has the modes neither
 * by request nor by nature fails its proof (proof.c).
 *
 * What a block's lanes share lies in shared memory, which the driver declares after it has seen the format; the
 * format reaches it through the five functions declared here, by index. */
#ifndef QDQ_DIALECT_GLSL_H
#define QDQ_DIALECT_GLSL_H

#extension GL_EXT_control_flow_attributes : require

#define FN
#define LARGE
#define ROLLED [[dont_unroll]]
#define UNROLL [[unroll]]

#define REAL float
#define INT  int
#define UINT uint
#define MASK bool

#define STRUCT(name)         struct name
#define BLOCK_IN(x)          in float x[32]
#define BLOCK_OUT(x)         out float x[32]
#define CODES_IN(c)          in int c[32]
#define CODES_OUT(c)         out int c[32]
#define CODES_INOUT(c)       inout int c[32]
#define ARRAY_IN(type, x, n) in type x[n]

/* Names that GLSL keeps for itself. */
#define half   half_
#define input  input_
#define output output_
#define sample sample_
#define filter filter_
#define active active_
#define common common_

#define splat(f)   float(f)
#define splat_i(i) int(i)
#define splat_u(u) uint(u)
#define INT_OF(u)  int(u)
#define UINT_OF(i) uint(i)
#define as_uint(x) floatBitsToUint(x)
#define as_real(u) uintBitsToFloat(u)

/* Whether the device compares subnormals as what they are; the driver finds out (vulkan/proof.c). One that takes them
 * for zeros there may keep them where it adds and multiplies. Then a second comparison is of numbers that are 2^64
 * larger: it is right for those, and where it overflows, the first is. */
layout(constant_id = 8) const bool KEEPS_SUBNORMALS = false;
FN REAL enlarged(REAL x) { return KEEPS_SUBNORMALS ? x : x * 18446744073709551616.0; }
FN MASK gt(REAL a, REAL b) { return any(bvec2(a > b, enlarged(a) > enlarged(b))); }
FN MASK lt(REAL a, REAL b) { return any(bvec2(a < b, enlarged(a) < enlarged(b))); }
FN MASK ge(REAL a, REAL b) { return all(bvec2(a >= b, enlarged(a) >= enlarged(b))); }
FN MASK le(REAL a, REAL b) { return all(bvec2(a <= b, enlarged(a) <= enlarged(b))); }
FN MASK eq(REAL a, REAL b) { return all(bvec2(a == b, enlarged(a) == enlarged(b))); }
FN MASK ne(REAL a, REAL b) { return !eq(a, b); }

#define gt_i(a, b)        (int(a) > int(b))
#define lt_i(a, b)        (int(a) < int(b))
#define eq_i(a, b)        (int(a) == int(b))
#define and_m(a, b)       both(a, b)
#define or_m(a, b)        either(a, b)
#define not_m(a)          (!(a))
#define any(m)            (m)
#define select_r(m, a, b) ((m) ? (a) : (b))
#define select_i(m, a, b) ((m) ? (a) : (b))
#define select_u(m, a, b) ((m) ? (a) : (b))

FN MASK both(MASK a, MASK b) { return a && b; } /* no branches */
FN MASK either(MASK a, MASK b) { return a || b; }
FN MASK lt_loose(REAL a, REAL b) { return a < b; }
FN REAL max_r(REAL a, REAL b) { return gt(a, b) ? a : b; }
FN REAL min_r(REAL a, REAL b) { return lt(a, b) ? a : b; }
FN REAL max_loose(REAL a, REAL b) { return max(a, b); }
FN REAL min_loose(REAL a, REAL b) { return min(a, b); }
FN INT max_i(INT a, INT b) { return max(a, b); }
FN INT min_i(INT a, INT b) { return min(a, b); }
FN UINT max_u(UINT a, UINT b) { return max(a, b); }
FN REAL abs_(REAL x) { return as_real(as_uint(x) & 0x7fffffffu); }
FN INT to_int(REAL x) { return int(x); }
FN REAL to_real(INT i) { return float(i); }
FN REAL trunc_r(REAL x) { return trunc(x); }
FN REAL nearest(REAL x) { return (x + 12582912.0f) - 12582912.0f; }
FN REAL positive_zero(REAL x) { return as_real((as_uint(x) << 1) == 0u ? 0u : as_uint(x)); }

/* The NaN of an operation on a and b, as x86 makes it. */
FN UINT nan_bits(REAL a, REAL b) {
    if ((as_uint(a) & 0x7fffffffu) > 0x7f800000u) return as_uint(a) | 0x00400000u;
    if ((as_uint(b) & 0x7fffffffu) > 0x7f800000u) return as_uint(b) | 0x00400000u;
    return 0xffc00000u;
}
FN REAL nan_v(REAL a, REAL b, REAL r) {
    [[dont_flatten]] if ((as_uint(r) & 0x7fffffffu) > 0x7f800000u) r = as_real(nan_bits(a, b));
    return r;
}
FN REAL mul_v(REAL a, REAL b) { return nan_v(a, b, a * b); }
FN REAL add_v(REAL a, REAL b) { return nan_v(a, b, a + b); }
FN REAL sub_v(REAL a, REAL b) { return nan_v(a, b, a - b); }
FN bool nan_safe(REAL x) { return (as_uint(x) & 0x7fffffffu) < 0x7f800000u; }

/* Loops over elements put off what is rare and long: kernels run them for tame parameters first, and again without that
 * where one asked for it. */
bool in_doubt;
FN bool at_once(bool rare, bool tame) {
    bool later = both(rare, tame);
    in_doubt = either(in_doubt, later);
    return tame ? false : rare;
}

#define TABLE4(name, a, b, c, d)             const float name[4] = {a, b, c, d};
#define TABLE8(name, a, b, c, d, e, f, g, h) const float name[8] = {a, b, c, d, e, f, g, h};
#define TABLE16(name, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                                  \
    const float name[16] = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
/* Lanes look up different places: choosing is quicker than a divergent load. */
FN REAL lookup_4(REAL a, REAL b, REAL c, REAL d, INT i) {
    bool odd = (i & 1) != 0;
    REAL low = odd ? b : a, high = odd ? d : c;
    return (i & 2) != 0 ? high : low;
}
#define FOUR_OF(name, k, i) lookup_4((name)[k], (name)[(k) + 1], (name)[(k) + 2], (name)[(k) + 3], i)
FN REAL either_of(bool second, REAL a, REAL b) { return second ? b : a; }
#define EIGHT_OF(name, k, i) either_of(((i)&4) != 0, FOUR_OF(name, k, i), FOUR_OF(name, (k) + 4, i))
#define LOOKUP4(name, i)     FOUR_OF(name, 0, i)
#define LOOKUP8(name, i)     EIGHT_OF(name, 0, i)
#define LOOKUP16(name, i)    either_of(((i)&8) != 0, EIGHT_OF(name, 0, i), EIGHT_OF(name, 8, i))

/* The significand of the finite, non-zero magnitude u as 24 bits m, and its exponent e: u is the bits of
 * m 2^(e - 150), where a subnormal has an e below 1. */
FN UINT significand(UINT u, out INT e) {
    e = int(u >> 23);
    if (e > 0) return (u & 0x007fffffu) | 0x00800000u;
    INT up = 23 - findMSB(u);
    e = 1 - up;
    return u << up;
}

/* 1 / b for b of 1 … 2, off by 2^-22 of it at most: of the parabolas the one that is nearest in proportion, off by
 * 1/99, then two of Newton's steps, each of which squares that. */
FN REAL reciprocal(REAL b) {
    REAL r = fma(fma(b, 32.0 / 99.0, -144.0 / 99.0), b, 210.0 / 99.0);
    r = fma(fma(-b, r, 1.0), r, r);
    return fma(fma(-b, r, 1.0), r, r);
}

/* The whole number q nearest to the quotient of two significands, ma 2^k / mb with k = 23, or 24 if ma < mb, so that q
 * has 24 bits; and the rest ma 2^k - q mb, at most mb / 2 in magnitude. Floats make a guess, some units off. Its rest
 * is small, and so comes out exact modulo 2^32; divided by mb, by floats again, it says how far off the guess is. A
 * last step is for what lies so near to half-way that floats do not see the side. */
FN UINT divide(UINT ma, UINT mb, out INT rest) {
    bool less = ma < mb;
    REAL per_b = reciprocal(as_real(mb + 0x3f000000u));
    REAL guess = as_real(ma + (less ? 0x3f800000u : 0x3f000000u)) * per_b; /* 1 … 2, but for its error */
    UINT q = as_uint(guess) - 0x3f000000u;
    rest = int((ma << (less ? 24 : 23)) - q * mb);
    INT off = int(as_uint(float(rest) * (per_b * 1.1920928955078125e-7) + 12582912.0) - 0x4b400000u);
    rest -= off * int(mb);
    INT last = 2 * rest > int(mb) ? 1 : 2 * rest < -int(mb) ? -1 : 0;
    rest -= last * int(mb);
    return q + uint(off + last);
}

/* Any quotients; those of what is not normal, or that are not, come here. A subnormal one is rounded by itself, from q
 * and what is left. */
FN REAL div_special(REAL a, REAL b) {
    UINT sign = (as_uint(a) ^ as_uint(b)) & 0x80000000u;
    UINT ua = as_uint(a) & 0x7fffffffu, ub = as_uint(b) & 0x7fffffffu;
    bool invalid = max(ua, ub) > 0x7f800000u || (ua == ub && (ua == 0u || ua == 0x7f800000u));
    if (invalid) return as_real(nan_bits(a, b));
    if (ua == 0x7f800000u || ub == 0u) return as_real(sign | 0x7f800000u);
    if (ub == 0x7f800000u || ua == 0u) return as_real(sign);
    INT ea, eb;
    UINT ma = significand(ua, ea), mb = significand(ub, eb);
    INT rest, e = ea - eb + (ma < mb ? 126 : 127);
    UINT q = divide(ma, mb, rest);
    if (e >= 255) return as_real(sign | 0x7f800000u);
    if (e > 0) return as_real(sign | ((uint(e) << 23) + (q - 0x00800000u)));
    if (rest < 0) q -= 1u; /* now q is not above the quotient */
    INT down = min(1 - e, 26);
    UINT kept = q >> down, lost = q & ((1u << down) - 1u), half_way = 1u << (down - 1);
    bool up = lost > half_way || (lost == half_way && (rest != 0 || (kept & 1u) == 1u));
    return as_real(sign | (kept + (up ? 1u : 0u)));
}

/* Whether the device's fma rounds once, which Vulkan leaves open; the driver finds out (vulkan/proof.c). */
layout(constant_id = 9) const bool FUSES = false;

/* a / b where fma rounds once, for magnitudes of 2^-60 … 2^60 and a b whose significand is not all ones. The difference
 * of bits is 1 / b but for 5 %, two steps cube that, and one more rounds it correctly; then so does one step more the
 * quotient. Source: Markstein, Computation of elementary functions on the IBM RISC System/6000 processor, 1990. */
FN REAL fused_quotient(REAL a, REAL b) {
    REAL r = as_real(0x7ef311c7u - as_uint(b));
    REAL e = fma(-b, r, 1.0);
    r = fma(r, fma(e, e, e), r);
    e = fma(-b, r, 1.0);
    r = fma(r, fma(e, e, e), r);
    r = fma(r, fma(-b, r, 1.0), r);
    REAL q = a * r;
    return fma(r, fma(-b, q, a), q);
}
FN bool middling(REAL x) { return both(abs(x) >= 8.673617379884035e-19, abs(x) <= 1.152921504606847e18); }

/* a / b, correctly rounded. A quotient of normal numbers that is one itself is never half-way between two. */
FN REAL div_rn(REAL a, REAL b) {
    UINT ua = as_uint(a), ub = as_uint(b);
    if (FUSES) {
        if (both(both(middling(a), middling(b)), (ub & 0x007fffffu) != 0x007fffffu)) return fused_quotient(a, b);
        return div_special(a, b);
    }
    UINT ea = (ua >> 23) & 255u, eb = (ub >> 23) & 255u;
    UINT ma = (ua & 0x007fffffu) | 0x00800000u, mb = (ub & 0x007fffffu) | 0x00800000u;
    UINT e = ea - eb + (ma < mb ? 126u : 127u);
    if (max(ea - 1u, eb - 1u) > 253u || e - 1u > 253u) return div_special(a, b);
    INT rest;
    return as_real(((ua ^ ub) & 0x80000000u) | ((e << 23) + (divide(ma, mb, rest) - 0x00800000u)));
}

/* sqrt(a), correctly rounded, by integers too: s = floor(sqrt(m 2^23)) has 24 bits, the device's guess may be 7 off,
 * the rest says which way, and steps set it right; the root is above s + 1/2 exactly when the rest r = m 2^23 - s^2 is
 * above s. */
FN REAL sqrt_rn(REAL a) {
    UINT u = as_uint(a);
    if ((u << 1) == 0u || u == 0x7f800000u) return a;
    if (u > 0x7f800000u) return as_real((u & 0x7fffffffu) > 0x7f800000u ? u | 0x00400000u : 0xffc00000u);
    INT e;
    UINT m = significand(u, e);
    m <<= 1 - (e & 1);
    UINT s = uint(sqrt(float(m) * 8388608.0));
    UINT r = (m << 23) - s * s;
    for (INT turn = 0; turn < 8; turn++) {
        bool over = r > 0x7fffffffu, under = !over && r > 2u * s;
        r += over ? 2u * s - 1u : under ? 0u - 2u * s - 1u : 0u;
        s += over ? 0xffffffffu : under ? 1u : 0u;
    }
    return as_real((uint((e + 126 + (e & 1)) >> 1) << 23) + (s - 0x00800000u) + (r > s ? 1u : 0u));
}

#include "common.h"

/* What lanes share. Blocks and what is packed are indices into the driver's shared memory. */
REAL peer_value(UINT at);           /* a value that the block's lanes show to each other */
UINT code_value(UINT codes, INT i); /* the code of the block's element i */
UINT head_word(UINT heads, INT k, INT j);
UINT packed_byte(UINT at);
UINT word_value(UINT at); /* of the format's table of words */
void put_byte(UINT at, UINT value);
INT pack_lane, pack_lanes; /* this lane's place in its block, and how many there are */

#define PEERS(s)      uint s
#define PEER(s, k, j) peer_value((s) + uint(32 * (k) + (j)))
#define PEER_INDEX(s) pack_lane

#define WORDS(name)
#define WORDS_OF(name) 0u
#define WORDS_IN(t)    uint t
#define WORD(t, i)     word_value((t) + uint(i))

#define BYTES_IN(b) uint b
#define GET8(b, k)  packed_byte((b) + uint(k))
#define GET16(b, k) (GET8(b, k) | GET8(b, (k) + 1) << 8)
#define GET32(b, k) (GET16(b, k) | GET16(b, (k) + 2) << 16)

#define PACK_ARGS(c, h, b) uint c, uint h, uint b
#define CODE(c, i)         code_value(c, i)
#define HEAD(h, k, j)      head_word(h, k, j)
#define PUT8(b, k, v)      put_byte((b) + uint(k), v)
FN void put_16(UINT at, UINT v) {
    put_byte(at, v);
    put_byte(at + 1u, v >> 8);
}
FN void put_32(UINT at, UINT v) {
    put_16(at, v);
    put_16(at + 2u, v >> 16);
}
#define PUT16(b, k, v) put_16((b) + uint(k), v)
#define PUT32(b, k, v) put_32((b) + uint(k), v)
#define PARALLEL(i, n) for (int i = pack_lane; i < (n); i += pack_lanes)
#define ONCE           if (pack_lane == 0)

#endif
