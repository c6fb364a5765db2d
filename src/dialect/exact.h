/* Exact arithmetic on devices that promise correctly rounded `+ - *` of normal numbers, and little else. In what GLSL
 * and C++14 have in common, so that Vulkan's dialect includes it, and a test on the host. One lane: a REAL is a float.
 *
 * What the dialect's header defines before:
 *   KEEPS_SUBNORMALS   a constant bool: comparisons, minimum and maximum see subnormals as what they are
 *   FUSES              a constant bool: the language's fma rounds once
 *   OUT(type, x)       a parameter that the function writes
 *   highest_bit(u)     an INT, the number of the highest bit that is set in a UINT that is not 0
 *   SELDOM             what stands before an `if` that is seldom true, for it to be a branch
 * and the dialect's and_m, or_m, max_u, min_i, max_loose. fma, sqrt and abs are the language's own. */

/* A device that takes subnormals for zeros where it compares may keep them where it adds and multiplies. So a second
 * comparison is of numbers that are 2^64 larger: it is right for those, and where it overflows, the first is. */
FN REAL enlarged(REAL x) { return KEEPS_SUBNORMALS ? x : x * 18446744073709551616.0f; }
FN MASK gt(REAL a, REAL b) { return or_m(a > b, enlarged(a) > enlarged(b)); }
FN MASK lt(REAL a, REAL b) { return or_m(a < b, enlarged(a) < enlarged(b)); }
FN MASK ge(REAL a, REAL b) { return and_m(a >= b, enlarged(a) >= enlarged(b)); }
FN MASK le(REAL a, REAL b) { return and_m(a <= b, enlarged(a) <= enlarged(b)); }
FN MASK eq(REAL a, REAL b) { return and_m(a == b, enlarged(a) == enlarged(b)); }
FN MASK ne(REAL a, REAL b) { return !eq(a, b); }

/* The NaN of an operation on a and b, as x86 makes it. */
FN UINT nan_bits(REAL a, REAL b) {
    if ((as_uint(a) & 0x7fffffffu) > 0x7f800000u) return as_uint(a) | 0x00400000u;
    if ((as_uint(b) & 0x7fffffffu) > 0x7f800000u) return as_uint(b) | 0x00400000u;
    return 0xffc00000u;
}
FN REAL nan_v(REAL a, REAL b, REAL r) {
    SELDOM if ((as_uint(r) & 0x7fffffffu) > 0x7f800000u) r = as_real(nan_bits(a, b));
    return r;
}
FN REAL mul_v(REAL a, REAL b) { return nan_v(a, b, a * b); }
FN REAL add_v(REAL a, REAL b) { return nan_v(a, b, a + b); }
FN REAL sub_v(REAL a, REAL b) { return nan_v(a, b, a - b); }
FN bool nan_safe(REAL x) { return (as_uint(x) & 0x7fffffffu) < 0x7f800000u; }

/* The significand of the finite, non-zero magnitude u as 24 bits m, and its exponent e: u is the bits of
 * m 2^(e - 150), where a subnormal has an e below 1. */
FN UINT significand(UINT u, OUT(INT, e)) {
    e = INT(u >> 23);
    if (e > 0) return (u & 0x007fffffu) | 0x00800000u;
    INT up = 23 - highest_bit(u);
    e = 1 - up;
    return u << up;
}

/* 1 / b for b of 1 … 2, off by 2^-22 of it at most: of the parabolas the one that is nearest in proportion, off by
 * 1/99, then two of Newton's steps, each of which squares that. */
FN REAL reciprocal(REAL b) {
    REAL r = fma(fma(b, 32.0f / 99.0f, -144.0f / 99.0f), b, 210.0f / 99.0f);
    r = fma(fma(-b, r, 1.0f), r, r);
    return fma(fma(-b, r, 1.0f), r, r);
}

/* The whole number q nearest to the quotient of two significands, ma 2^k / mb with k = 23, or 24 if ma < mb, so that q
 * has 24 bits; and the rest ma 2^k - q mb, at most mb / 2 in magnitude. Floats make a guess, some units off. Its rest
 * is small, and so comes out exact modulo 2^32; divided by mb, by floats again, it says how far off the guess is. A
 * last step is for what lies so near to half-way that floats do not see the side. */
FN UINT divide(UINT ma, UINT mb, OUT(INT, rest)) {
    bool less = ma < mb;
    REAL per_b = reciprocal(as_real(mb + 0x3f000000u));
    REAL guess = as_real(ma + (less ? 0x3f800000u : 0x3f000000u)) * per_b; /* 1 … 2, but for its error */
    UINT q = as_uint(guess) - 0x3f000000u;
    rest = INT((ma << (less ? 24 : 23)) - q * mb);
    INT off = INT(as_uint(REAL(rest) * (per_b * 1.1920928955078125e-7f) + 12582912.0f) - 0x4b400000u);
    rest -= off * INT(mb);
    INT last = 2 * rest > INT(mb) ? 1 : 2 * rest < -INT(mb) ? -1 : 0;
    rest -= last * INT(mb);
    return q + UINT(off + last);
}

/* Any quotients; those of what is not normal, or that are not, come here. A subnormal one is rounded by itself, from q
 * and what is left. */
FN REAL div_special(REAL a, REAL b) {
    UINT sign = (as_uint(a) ^ as_uint(b)) & 0x80000000u;
    UINT ua = as_uint(a) & 0x7fffffffu, ub = as_uint(b) & 0x7fffffffu;
    bool invalid = max_u(ua, ub) > 0x7f800000u || (ua == ub && (ua == 0u || ua == 0x7f800000u));
    if (invalid) return as_real(nan_bits(a, b));
    if (ua == 0x7f800000u || ub == 0u) return as_real(sign | 0x7f800000u);
    if (ub == 0x7f800000u || ua == 0u) return as_real(sign);
    INT ea, eb;
    UINT ma = significand(ua, ea), mb = significand(ub, eb);
    INT rest, e = ea - eb + (ma < mb ? 126 : 127);
    UINT q = divide(ma, mb, rest);
    if (e >= 255) return as_real(sign | 0x7f800000u);
    if (e > 0) return as_real(sign | ((UINT(e) << 23) + (q - 0x00800000u)));
    if (rest < 0) q -= 1u; /* now q is not above the quotient */
    INT down = min_i(1 - e, 26);
    UINT kept = q >> down, lost = q & ((1u << down) - 1u), half_way = 1u << (down - 1);
    bool up = lost > half_way || (lost == half_way && (rest != 0 || (kept & 1u) == 1u));
    return as_real(sign | (kept + (up ? 1u : 0u)));
}

/* a / b where fma rounds once, for magnitudes of 2^-60 … 2^60 and a b whose significand is not all ones. The difference
 * of bits is 1 / b but for 5 %, two steps cube that, and one more rounds it correctly; then so does one step more the
 * quotient. Source: Markstein, Computation of elementary functions on the IBM RISC System/6000 processor, 1990. */
FN REAL fused_quotient(REAL a, REAL b) {
    REAL r = as_real(0x7ef311c7u - as_uint(b));
    REAL e = fma(-b, r, 1.0f);
    r = fma(r, fma(e, e, e), r);
    e = fma(-b, r, 1.0f);
    r = fma(r, fma(e, e, e), r);
    r = fma(r, fma(-b, r, 1.0f), r);
    REAL q = a * r;
    return fma(r, fma(-b, q, a), q);
}
FN bool middling(REAL x) { return and_m(abs(x) >= 8.673617379884035e-19f, abs(x) <= 1.152921504606847e18f); }

/* a / b, correctly rounded. A quotient of normal numbers that is one itself is never half-way between two. */
FN REAL div_rn(REAL a, REAL b) {
    UINT ua = as_uint(a), ub = as_uint(b);
    if (FUSES) {
        if (and_m(and_m(middling(a), middling(b)), (ub & 0x007fffffu) != 0x007fffffu)) return fused_quotient(a, b);
        return div_special(a, b);
    }
    UINT ea = (ua >> 23) & 255u, eb = (ub >> 23) & 255u;
    UINT ma = (ua & 0x007fffffu) | 0x00800000u, mb = (ub & 0x007fffffu) | 0x00800000u;
    UINT e = ea - eb + (ma < mb ? 126u : 127u);
    if (max_u(ea - 1u, eb - 1u) > 253u || e - 1u > 253u) return div_special(a, b);
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
    UINT s = UINT(sqrt(REAL(m) * 8388608.0f));
    UINT r = (m << 23) - s * s;
    for (INT turn = 0; turn < 8; turn++) {
        bool over = r > 0x7fffffffu, under = !over && r > 2u * s;
        r += over ? 2u * s - 1u : under ? 0u - 2u * s - 1u : 0u;
        s += over ? 0xffffffffu : under ? 1u : 0u;
    }
    return as_real((UINT((e + 126 + (e & 1)) >> 1) << 23) + (s - 0x00800000u) + (r > s ? 1u : 0u));
}

/* For sums.h: the larger of a magnitude, passed over if it is a NaN, and `largest`, which is none. */
#define LARGER(size, largest) larger(size, largest)
FN REAL larger(REAL size, REAL largest) {
    REAL r = max_loose(size, largest);
    if (!KEEPS_SUBNORMALS) { /* floats that are not negative compare as their bits do */
        UINT u = as_uint(size);
        r = as_real(max_u(u > 0x7f800000u ? 0u : u, as_uint(largest)));
    }
    return r;
}
