/* Operations that are written in the dialect itself, so that every backend has the same bits. */

/* What a driver adds up for a format, in order (README.md). */
#define SUM_NONE       0
#define SUM_MAGNITUDES 1
#define SUM_SQUARES    2
#define SUM_ROW        3

/* a * b, as mul_v where it is not tame: where neither b is nan_safe nor a finite. */
FN REAL mul_tame(bool tame, REAL a, REAL b) { return tame ? a * b : mul_v(a, b); }

/* ggml's nearest_int, for any x: to nearest, ties to even, up to abs(x) = 2^22; past that, 23 bits of a sum, whatever
 * they may say, since the codes that come of it are the format's. A NaN gives 0. */
FN INT nearest_int(REAL x) {
    INT n = INT_OF(as_uint(x + 12582912.0f) & 0x7fffffu) - 0x400000;
    return select_i(eq(x, x), n, splat_i(0));
}

/* roundf for abs(x) < 2^22: half-way cases go away from zero. The largest float below one half is added instead of one
 * half, since 0.49999997f + 0.5f rounds to 1. The zero of a result has the sign of x. NaN stays NaN. */
FN REAL round_half_away(REAL x) {
    REAL whole = trunc_r(abs_(x) + 0.49999997f);
    return as_real(as_uint(whole) | (as_uint(x) & 0x80000000u));
}

/* The same, but a zero is +0: below -0.49999997 a result is -1 or less. */
FN REAL whole_half_away(REAL x) {
    REAL whole = trunc_r(abs_(x) + 0.49999997f);
    return select_r(lt_loose(x, splat(-0.49999997f)), -whole, whole);
}

/* The nearest binary16, ties to even, as a binary32: overflow (from 65520) is infinite. A NaN becomes 0xffc00000: what
 * formats round are scales, a NaN among them is one that arithmetic made, and processors differ in its sign. Normal
 * results round the 13 low bits off with an integer carry; subnormal ones, multiples of 2^-24, are what is left of a
 * sum with 0.5, whose last place is 2^-24. */
FN REAL f16_round(REAL x) {
    UINT sign = as_uint(x) & 0x80000000u;
    UINT a = as_uint(x) & 0x7fffffffu;
    UINT normal = (a + 0x0fffu + ((a >> 13) & 1u)) & 0xffffe000u;
    normal = select_u(gt_i(normal, splat_u(0x477fe000u)), splat_u(0x7f800000u), normal);
    UINT small = as_uint((as_real(a) + 0.5f) - 0.5f);
    UINT r = select_u(lt_i(a, splat_u(0x38800000u)), small, normal);
    return as_real(select_u(gt_i(a, splat_u(0x7f800000u)), splat_u(0xffc00000u), r | sign));
}

/* The 16 bits of f16_round(x). */
FN UINT f16_bits(REAL x) {
    UINT u = as_uint(f16_round(x));
    UINT a = u & 0x7fffffffu;
    UINT small = as_uint(as_real(a) + 0.5f) & 0x3ffu;
    UINT r = select_u(lt_i(a, splat_u(0x38800000u)), small, (a - 0x38000000u) >> 13);
    r = select_u(gt_i(a, splat_u(0x477fe000u)), splat_u(0x7c00u), r);
    r = select_u(gt_i(a, splat_u(0x7f800000u)), splat_u(0x7e00u), r);
    return r | ((u >> 16) & 0x8000u);
}

#ifndef OWN_F16_VALUE /* the header of a dialect has a quicker one */
/* The value of 16 bits. NaNs keep sign and payload and become quiet. */
FN REAL f16_value(UINT h) {
    UINT a = h & 0x7fffu;
    UINT small = as_uint(to_real(INT_OF(a & 0x3ffu)) * 5.9604644775390625e-8f); /* times 2^-24 */
    UINT r = select_u(lt_i(a, splat_u(0x400u)), small, (a << 13) + 0x38000000u);
    r = select_u(gt_i(a, splat_u(0x7bffu)), (a << 13) | 0x7f800000u, r);
    r = select_u(gt_i(a, splat_u(0x7c00u)), r | 0x00400000u, r);
    return as_real(r | ((h & 0x8000u) << 16));
}
#endif

/* b, or a if both are NaNs: a sum of two NaNs has the bits of its first, and compilers may swap the two. */
FN REAL one_nan(REAL a, REAL b) { return select_r(and_m(ne(a, a), ne(b, b)), a, b); }
