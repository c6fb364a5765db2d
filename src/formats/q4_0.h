/* Q4_0: 32 elements share a scale d; a code q is 0 … 15 and stands for (q - 8) d.
 *
 *   byte 0 1    2         …   2+j                …   17
 *        d f16  q16 | q0      q[16+j] | q[j]         q31 | q15      (high | low half of the byte)
 *
 * The element of the largest magnitude gets code 0, whatever its sign: d = max / -8. Codes come from the unrounded
 * scale, values from the binary16 one. Source of the algorithm: ggml, quantize_row_q4_0_ref, dequantize_row_q4_0. */
#include "symmetric.h"

#define q4_0_LANES        1
#define q4_0_HEADS        1
#define q4_0_BYTES        18
#define q4_0_SHARED       0
#define q4_0_SUM          SUM_NONE
#define q4_0_IMPORTANCE   1
#define q4_0_WEIGHTED_SUM SUM_ROW
#define q4_0_LIGHT        1
#define q4_0_UNROLLED     0

STRUCT(q4_0_params) {
    REAL d, inverse;
    bool tame; /* also: every x * inverse is within -8 … 8, but for rounding */
};

FN q4_0_params q4_0_fit(BLOCK_IN(x), REAL sum) {
    q4_0_params p;
    peak m = signed_peak(x, 0, 32);
    REAL d = m.value * -0.125f;
    p.inverse = inverse(d);
    p.d = f16_round(d);
    p.tame = m.finite && !any(eq(abs_(p.inverse), as_real(splat_u(0x7f800000u)))) && nan_safe(p.d);
    return p;
}

FN REAL q4_0_code(REAL x, q4_0_params p, int i) { return cast_code(x * p.inverse + 8.5f, 15.0f, p.tame); }

LARGE q4_0_params q4_0_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum);
    symmetric f = fit_symmetric(x, w, 32, 1, 8.0f);
    q4_0_params p;
    p.inverse = f.inverse[0];
    p.d = f16_round(f.scale[0]);
    p.tame = nan_safe(p.d);
    return p;
}

FN REAL q4_0_code_weighted(REAL x, q4_0_params p, int i) { return symmetric_code(x, p.inverse, 8.0f); }

FN REAL q4_0_value(REAL code, q4_0_params p, int i) { return mul_tame(p.tame, code - 8.0f, p.d); }

FN UINT q4_0_head(q4_0_params p, int k) { return f16_bits(p.d); }

#ifdef BYTES_IN

FN void q4_0_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 16) PUT8(b, 2 + j, CODE(c, j) | CODE(c, j + 16) << 4);
}

FN q4_0_params q4_0_read(BYTES_IN(b), int lane) {
    q4_0_params p;
    p.d = f16_value(GET16(b, 0));
    p.tame = nan_safe(p.d);
    p.inverse = splat(0.0f);
    return p;
}

FN void q4_0_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int j = 0; j < 16; j++) {
        c[j] = INT_OF(GET8(b, 2 + j) & 15u);
        c[j + 16] = INT_OF(GET8(b, 2 + j) >> 4);
    }
}

#endif
