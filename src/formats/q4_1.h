/* Q4_1: 32 elements share a scale d and a minimum m; a code q is 0 … 15 and stands for q d + m.
 *
 *   byte 0 1    2 3    4         …   4+j                …   19
 *        d f16  m f16  q16 | q0      q[16+j] | q[j]         q31 | q15      (high | low half of the byte)
 *
 * Codes come from the unrounded scale and minimum, values from the binary16 ones. Source of the algorithm: ggml,
 * quantize_row_q4_1_ref, dequantize_row_q4_1. */
#include "affine.h"

#define q4_1_LANES        1
#define q4_1_HEADS        2
#define q4_1_BYTES        20
#define q4_1_SHARED       0
#define q4_1_SUM          SUM_NONE
#define q4_1_IMPORTANCE   1
#define q4_1_WEIGHTED_SUM SUM_ROW
#define q4_1_LIGHT        1
#define q4_1_UNROLLED     0

STRUCT(q4_1_params) {
    REAL d, m, inverse, low;
    bool tame;
};

FN q4_1_params q4_1_fit(BLOCK_IN(x), REAL sum) {
    q4_1_params p;
    extremes e = low_and_high(x);
    REAL d = div_rn(e.high - e.low, splat(15.0f));
    p.inverse = inverse(d);
    p.low = e.low;
    p.d = f16_round(d);
    p.m = f16_round(e.low);
    p.tame = nan_safe(p.d) && nan_safe(p.m);
    return p;
}

FN REAL q4_1_code(REAL x, q4_1_params p, int i) { return cast_code((x - p.low) * p.inverse + 0.5f, 15.0f, false); }

LARGE q4_1_params q4_1_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum);
    affine f = fit_affine(x, w, 1, 15.0f, -0.9f, 0.05f, 37, false);
    q4_1_params p;
    p.inverse = f.inverse[0];
    p.low = f.base[0];
    p.d = f16_round(f.scale[0]);
    p.m = f16_round(-f.min[0]);
    p.tame = nan_safe(p.d) && nan_safe(p.m);
    return p;
}

FN REAL q4_1_code_weighted(REAL x, q4_1_params p, int i) { return whole_code(p.inverse * (x - p.low), 15.0f); }

FN REAL q4_1_value(REAL code, q4_1_params p, int i) { return p.tame ? code * p.d + p.m : add_v(mul_v(code, p.d), p.m); }

FN UINT q4_1_head(q4_1_params p, int k) { return f16_bits(k == 0 ? p.d : p.m); }

#ifdef BYTES_IN

FN void q4_1_pack(PACK_ARGS(c, h, b)) {
    ONCE {
        PUT16(b, 0, HEAD(h, 0, 0));
        PUT16(b, 2, HEAD(h, 1, 0));
    }
    PARALLEL(j, 16) PUT8(b, 4 + j, CODE(c, j) | CODE(c, j + 16) << 4);
}

FN q4_1_params q4_1_read(BYTES_IN(b), int lane) {
    q4_1_params p;
    p.d = f16_value(GET16(b, 0));
    p.m = one_nan(p.d, f16_value(GET16(b, 2)));
    p.tame = nan_safe(p.d) && nan_safe(p.m);
    p.inverse = p.low = splat(0.0f);
    return p;
}

FN void q4_1_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int j = 0; j < 16; j++) {
        c[j] = INT_OF(GET8(b, 4 + j) & 15u);
        c[j + 16] = INT_OF(GET8(b, 4 + j) >> 4);
    }
}

#endif
