/* Q5_0: 32 elements share a scale d; a code q is 0 … 31 and stands for (q - 16) d.
 *
 *   byte 0 1    2 … 5                         6                 …   6+j                  …   21
 *        d f16  bit i: the fifth bit of q[i]  q16 & 15 | q0 & 15    q[16+j] & 15 | q[j] & 15
 *
 * As Q4_0 otherwise. Source of the algorithm: ggml, quantize_row_q5_0_ref, dequantize_row_q5_0. */
#include "symmetric.h"

#define q5_0_LANES        1
#define q5_0_HEADS        1
#define q5_0_BYTES        22
#define q5_0_SHARED       0
#define q5_0_SUM          SUM_NONE
#define q5_0_IMPORTANCE   1
#define q5_0_WEIGHTED_SUM SUM_ROW
#define q5_0_LIGHT        1
#define q5_0_UNROLLED     0

STRUCT(q5_0_params) {
    REAL d, inverse;
    bool tame; /* also: every x * inverse is within -16 … 16, but for rounding */
};

FN q5_0_params q5_0_fit(BLOCK_IN(x), REAL sum) {
    q5_0_params p;
    peak m = signed_peak(x, 0, 32);
    REAL d = m.value * -0.0625f;
    p.inverse = inverse(d);
    p.d = f16_round(d);
    p.tame = m.finite && !any(eq(abs_(p.inverse), as_real(splat_u(0x7f800000u)))) && nan_safe(p.d);
    return p;
}

FN REAL q5_0_code(REAL x, q5_0_params p, int i) { return cast_code(x * p.inverse + 16.5f, 31.0f, p.tame); }

LARGE q5_0_params q5_0_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum);
    symmetric f = fit_symmetric(x, w, 32, 1, 16.0f);
    q5_0_params p;
    p.inverse = f.inverse[0];
    p.d = f16_round(f.scale[0]);
    p.tame = nan_safe(p.d);
    return p;
}

FN REAL q5_0_code_weighted(REAL x, q5_0_params p, int i) { return symmetric_code(x, p.inverse, 16.0f); }

FN REAL q5_0_value(REAL code, q5_0_params p, int i) { return mul_tame(p.tame, code - 16.0f, p.d); }

FN UINT q5_0_head(q5_0_params p, int k) { return f16_bits(p.d); }

#ifdef BYTES_IN

FN void q5_0_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 4) {
        UINT high = splat_u(0u);
        for (int i = 0; i < 8; i++) high = high | (CODE(c, 8 * j + i) >> 4) << i;
        PUT8(b, 2 + j, high);
    }
    PARALLEL(j, 16) PUT8(b, 6 + j, (CODE(c, j) & 15u) | (CODE(c, j + 16) & 15u) << 4);
}

FN q5_0_params q5_0_read(BYTES_IN(b), int lane) {
    q5_0_params p;
    p.d = f16_value(GET16(b, 0));
    p.tame = nan_safe(p.d);
    p.inverse = splat(0.0f);
    return p;
}

FN void q5_0_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    UINT high = GET32(b, 2);
    for (int j = 0; j < 16; j++) {
        c[j] = INT_OF((GET8(b, 6 + j) & 15u) | ((high >> j) & 1u) << 4);
        c[j + 16] = INT_OF(GET8(b, 6 + j) >> 4 | ((high >> (j + 16)) & 1u) << 4);
    }
}

#endif
