/* MXFP4: 32 elements share a scale, a power of two; a code is a number of four bits (fp4.h).
 *
 *   byte 0                     1 + j
 *        e: d = 2^(e - 128)    q[16+j] | q[j], to byte 16      (high | low half)
 *
 * e is floor(log2f(max)) + 125, max the largest magnitude. glibc's log2f rounds up to a whole number k = 1, 2, … just
 * below 2^k; how many floats are concerned follows from the last place of log2 there, and is, for floor(log2 max) = E
 * and n = E or, if that is negative, -1 - E:
 *
 *   n           0, 1   2, 3   4 … 7   8 … 15   16 … 31   32 … 63   64 …
 *   how many    0      1      2       5        11        22        44       = 44 >> (6 - floor(log2 n))
 *
 * checked for every positive normal float against glibc 2.36, with and without FMA. Below 2^-125, e would be negative
 * and is 0. Source of the algorithm: ggml, quantize_row_mxfp4_ref, dequantize_row_mxfp4. */
#include "fp4.h"

#define mxfp4_LANES        1
#define mxfp4_HEADS        1
#define mxfp4_BYTES        17
#define mxfp4_SHARED       0
#define mxfp4_SUM          SUM_NONE
#define mxfp4_IMPORTANCE   0
#define mxfp4_WEIGHTED_SUM SUM_NONE
#define mxfp4_LIGHT        1
#define mxfp4_UNROLLED     1

STRUCT(mxfp4_params) {
    REAL d;
    bool tame; /* also: no lane is odd */
    UINT e;
};

FN REAL mxfp4_scale(UINT e) { return as_real(select_u(lt_i(e, splat_u(2u)), (e + 1u) << 21, (e - 1u) << 23)); }

FN mxfp4_params mxfp4_fit(BLOCK_IN(x), REAL sum) {
    mxfp4_params p;
    magnitude m = max_magnitude(x);
    INT log = INT_OF(as_uint(m.max) >> 23) - 127;
    INT n = max_i(log, -1 - log);
    INT places = INT_OF(as_uint(to_real(n | 1)) >> 23) - 127;
    INT up = select_i(gt_i(places, splat_i(5)), splat_i(44), splat_i(0));
    up = select_i(eq_i(places, splat_i(5)), splat_i(22), up);
    up = select_i(eq_i(places, splat_i(4)), splat_i(11), up);
    up = select_i(eq_i(places, splat_i(3)), splat_i(5), up);
    up = select_i(eq_i(places, splat_i(2)), splat_i(2), up);
    up = select_i(eq_i(places, splat_i(1)), splat_i(1), up);
    INT e = max_i(INT_OF((as_uint(m.max) + UINT_OF(up)) >> 23) - 2, splat_i(0));
    p.e = UINT_OF(select_i(eq(m.max, as_real(splat_u(0x7f800000u))), splat_i(255), e));
    p.d = mxfp4_scale(p.e);
    p.tame = m.finite && !any(fp4_odd(m.max, p.d)) && nan_safe(p.d);
    return p;
}

FN REAL mxfp4_code(REAL x, mxfp4_params p, int i) { return p.tame ? fp4_code(x, p.d) : fp4_odd_code(x, p.d); }

FN REAL mxfp4_value(REAL code, mxfp4_params p, int i) { return fp4_value(code, p.d, p.tame); }

FN UINT mxfp4_head(mxfp4_params p, int k) { return p.e; }

#ifdef BYTES_IN

FN void mxfp4_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT8(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 16) PUT8(b, 1 + j, CODE(c, j) | CODE(c, j + 16) << 4);
}

FN mxfp4_params mxfp4_read(BYTES_IN(b), int lane) {
    mxfp4_params p;
    p.e = GET8(b, 0);
    p.d = mxfp4_scale(p.e);
    p.tame = nan_safe(p.d);
    return p;
}

FN void mxfp4_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int j = 0; j < 16; j++) {
        c[j] = INT_OF(GET8(b, 1 + j) & 15u);
        c[j + 16] = INT_OF(GET8(b, 1 + j) >> 4);
    }
}

#endif
