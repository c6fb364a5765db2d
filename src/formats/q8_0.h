/* Q8_0: 32 elements share a scale d; a code q is -128 … 127, one byte, and stands for q d.
 *
 *   byte 0 1    2    …   2+j    …   33
 *        d f16  q0       q[j]       q31
 *
 * d = amax / 127; a quotient is rounded half away from zero. Codes come from the unrounded scale, values from the
 * binary16 one. Source of the algorithm: ggml, quantize_row_q8_0_ref, dequantize_row_q8_0. */
#include "fits.h"

#define q8_0_LANES        1
#define q8_0_HEADS        1
#define q8_0_BYTES        34
#define q8_0_SHARED       0
#define q8_0_SUM          SUM_NONE
#define q8_0_IMPORTANCE   0
#define q8_0_WEIGHTED_SUM SUM_NONE
#define q8_0_LIGHT        1
#define q8_0_UNROLLED     0

STRUCT(q8_0_params) {
    REAL d, inverse;
    bool tame; /* also: every x * inverse is within -128 … 128 */
};

FN q8_0_params q8_0_fit(BLOCK_IN(x), REAL sum) {
    q8_0_params p;
    magnitude m = max_magnitude(x);
    REAL d = div_rn(m.max, splat(127.0f));
    p.inverse = inverse(d);
    p.d = f16_round(d);
    p.tame = m.finite && !any(eq(p.inverse, as_real(splat_u(0x7f800000u)))) && nan_safe(p.d);
    return p;
}

/* Quotients of infinities and by tiny scales saturate as a C cast to a signed byte does; a NaN is 0. */
FN REAL q8_0_code(REAL x, q8_0_params p, int i) {
    REAL v = x * p.inverse;
    if (!p.tame) {
        v = select_r(eq(v, v), v, splat(0.0f));
        v = max_r(min_r(v, splat(127.0f)), splat(-128.0f));
    }
    return whole_half_away(v);
}

FN REAL q8_0_value(REAL code, q8_0_params p, int i) { return mul_tame(p.tame, code, p.d); }

FN UINT q8_0_head(q8_0_params p, int k) { return f16_bits(p.d); }

#ifdef BYTES_IN

FN void q8_0_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 32) PUT8(b, 2 + j, CODE(c, j));
}

FN q8_0_params q8_0_read(BYTES_IN(b), int lane) {
    q8_0_params p;
    p.d = f16_value(GET16(b, 0));
    p.tame = nan_safe(p.d);
    p.inverse = splat(0.0f);
    return p;
}

FN void q8_0_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int j = 0; j < 32; j++) c[j] = INT_OF(GET8(b, 2 + j) ^ 128u) - 128;
}

#endif
