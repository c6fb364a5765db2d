/* Q5_1: 32 elements share a scale d and a minimum m; a code q is 0 … 31 and stands for q d + m.
 *
 *   byte 0 1    2 3    4 … 7                         8                 …   8+j                      …   23
 *        d f16  m f16  bit i: the fifth bit of q[i]  q16 & 15 | q0 & 15    q[16+j] & 15 | q[j] & 15
 *
 * As Q4_1 otherwise. Source of the algorithm: ggml, quantize_row_q5_1_ref, dequantize_row_q5_1. */
#include "affine.h"

#define q5_1_LANES        1
#define q5_1_HEADS        2
#define q5_1_BYTES        24
#define q5_1_SHARED       0
#define q5_1_SUM          SUM_NONE
#define q5_1_IMPORTANCE   1
#define q5_1_WEIGHTED_SUM SUM_ROW
#define q5_1_LIGHT        1
#define q5_1_UNROLLED     0

STRUCT(q5_1_params) {
    REAL d, m, inverse, low;
    bool tame;
};

FN q5_1_params q5_1_fit(BLOCK_IN(x), REAL sum) {
    q5_1_params p;
    extremes e = low_and_high(x);
    REAL d = div_rn(e.high - e.low, splat(31.0f));
    p.inverse = inverse(d);
    p.low = e.low;
    p.d = f16_round(d);
    p.m = f16_round(e.low);
    p.tame = nan_safe(p.d) && nan_safe(p.m);
    return p;
}

FN REAL q5_1_code(REAL x, q5_1_params p, int i) { return cast_code((x - p.low) * p.inverse + 0.5f, 31.0f, false); }

LARGE q5_1_params q5_1_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum);
    affine f = fit_affine(x, w, 1, 31.0f, -0.9f, 0.05f, 37, false);
    q5_1_params p;
    p.inverse = f.inverse[0];
    p.low = f.base[0];
    p.d = f16_round(f.scale[0]);
    p.m = f16_round(-f.min[0]);
    p.tame = nan_safe(p.d) && nan_safe(p.m);
    return p;
}

FN REAL q5_1_code_weighted(REAL x, q5_1_params p, int i) { return whole_code(p.inverse * (x - p.low), 31.0f); }

FN REAL q5_1_value(REAL code, q5_1_params p, int i) { return p.tame ? code * p.d + p.m : add_v(mul_v(code, p.d), p.m); }

FN UINT q5_1_head(q5_1_params p, int k) { return f16_bits(k == 0 ? p.d : p.m); }

#ifdef BYTES_IN

FN void q5_1_pack(PACK_ARGS(c, h, b)) {
    ONCE {
        PUT16(b, 0, HEAD(h, 0, 0));
        PUT16(b, 2, HEAD(h, 1, 0));
    }
    PARALLEL(j, 4) {
        UINT high = splat_u(0u);
        for (int i = 0; i < 8; i++) high = high | (CODE(c, 8 * j + i) >> 4) << i;
        PUT8(b, 4 + j, high);
    }
    PARALLEL(j, 16) PUT8(b, 8 + j, (CODE(c, j) & 15u) | (CODE(c, j + 16) & 15u) << 4);
}

FN q5_1_params q5_1_read(BYTES_IN(b), int lane) {
    q5_1_params p;
    p.d = f16_value(GET16(b, 0));
    p.m = one_nan(p.d, f16_value(GET16(b, 2)));
    p.tame = nan_safe(p.d) && nan_safe(p.m);
    p.inverse = p.low = splat(0.0f);
    return p;
}

FN void q5_1_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    UINT high = GET32(b, 4);
    for (int j = 0; j < 16; j++) {
        c[j] = INT_OF((GET8(b, 8 + j) & 15u) | ((high >> j) & 1u) << 4);
        c[j + 16] = INT_OF(GET8(b, 8 + j) >> 4 | ((high >> (j + 16)) & 1u) << 4);
    }
}

#endif
