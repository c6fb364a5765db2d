/* Q1_0: 128 elements share a scale d, the mean of their magnitudes; a code is 1 for d, of elements that are not
 * negative, or 0 for -d.
 *
 *   byte 0 1    2 + k …   17
 *        d f16  bit i: the code of element 8 k + i
 *
 * Source of the algorithm: ggml, quantize_row_q1_0_ref, dequantize_row_q1_0. */
#include "fits.h"

#define q1_0_LANES        4
#define q1_0_HEADS        1
#define q1_0_BYTES        18
#define q1_0_SHARED       0
#define q1_0_SUM          SUM_MAGNITUDES
#define q1_0_IMPORTANCE   0
#define q1_0_WEIGHTED_SUM SUM_NONE
#define q1_0_LIGHT        0
#define q1_0_UNROLLED     0

STRUCT(q1_0_params) {
    REAL d;
    bool tame; /* always */
};

FN q1_0_params q1_0_fit(BLOCK_IN(x), REAL sum) {
    q1_0_params p;
    p.d = f16_round(sum * 0.0078125f);
    p.tame = true;
    return p;
}

FN REAL q1_0_code(REAL x, q1_0_params p, int i) { return select_r(ge(x, splat(0.0f)), splat(1.0f), splat(0.0f)); }

/* d, or d with its sign turned, a NaN's too. */
FN REAL q1_0_value(REAL code, q1_0_params p, int i) {
    return as_real(as_uint(p.d) ^ select_u(gt(code, splat(0.5f)), splat_u(0u), splat_u(0x80000000u)));
}

FN UINT q1_0_head(q1_0_params p, int k) { return f16_bits(p.d); }

#ifdef BYTES_IN

FN void q1_0_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 16) {
        UINT bits = splat_u(0u);
        for (int i = 0; i < 8; i++) bits = bits | CODE(c, 8 * j + i) << i;
        PUT8(b, 2 + j, bits);
    }
}

FN q1_0_params q1_0_read(BYTES_IN(b), int lane) {
    q1_0_params p;
    p.d = f16_value(GET16(b, 0));
    p.tame = true;
    return p;
}

FN void q1_0_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) c[i] = INT_OF(GET8(b, 2 + 4 * lane + i / 8) >> (i & 7) & 1u);
}

#endif
