/* IQ4_NL: 32 elements share a scale d; a code q is 0 … 15 and stands for d times the value number q (iq4.h).
 *
 *   byte 0 1    2         …   2+j                …   17
 *        d f16  q16 | q0      q[16+j] | q[j]         q31 | q15      (high | low half of the byte)
 *
 * Elements weigh their squares. Codes come from the unrounded scale, values from the binary16 one. Source of the
 * algorithm: ggml, quantize_iq4_nl, dequantize_row_iq4_nl. */
#include "iq4.h"

#define iq4_nl_LANES        1
#define iq4_nl_HEADS        1
#define iq4_nl_BYTES        18
#define iq4_nl_SHARED       0
#define iq4_nl_SUM          SUM_NONE
#define iq4_nl_IMPORTANCE   1
#define iq4_nl_WEIGHTED_SUM SUM_SQUARES
#define iq4_nl_LIGHT        0
#define iq4_nl_UNROLLED     1

#define iq4_nl_code_weighted iq4_nl_code

STRUCT(iq4_nl_params) {
    REAL d, inverse;
    bool tame;
};

FN iq4_nl_params iq4_nl_found(REAL scale) {
    iq4_nl_params p;
    p.d = f16_round(scale);
    p.tame = nan_safe(p.d);
    p.inverse = inverse(scale);
    return p;
}

LARGE iq4_nl_params iq4_nl_fit(BLOCK_IN(x), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];
    return iq4_nl_found(iq4_scale(x, w));
}

LARGE iq4_nl_params iq4_nl_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum * 0.0625f);
    return iq4_nl_found(iq4_scale(x, w));
}

FN REAL iq4_nl_code(REAL x, iq4_nl_params p, int i) { return iq4_code(x * p.inverse); }

FN REAL iq4_nl_value(REAL code, iq4_nl_params p, int i) { return mul_tame(p.tame, p.d, iq4_value(code)); }

FN UINT iq4_nl_head(iq4_nl_params p, int k) { return f16_bits(p.d); }

#ifdef BYTES_IN

FN void iq4_nl_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 16) PUT8(b, 2 + j, CODE(c, j) | CODE(c, j + 16) << 4);
}

FN iq4_nl_params iq4_nl_read(BYTES_IN(b), int lane) {
    iq4_nl_params p;
    p.d = f16_value(GET16(b, 0));
    p.tame = nan_safe(p.d);
    p.inverse = splat(0.0f);
    return p;
}

FN void iq4_nl_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int j = 0; j < 16; j++) {
        c[j] = INT_OF(GET8(b, 2 + j) & 15u);
        c[j + 16] = INT_OF(GET8(b, 2 + j) >> 4);
    }
}

#endif
