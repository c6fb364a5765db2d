/* Q2_0: 64 elements share a scale d, their largest magnitude; a code q is 0 … 3 and stands for (q - 1) d.
 *
 *   byte 0 1    2 + k …   17
 *        d f16  elements 4 k + 3 | 4 k + 2 | 4 k + 1 | 4 k      (2 bits each)
 *
 * Quotients are rounded half away from zero. Source of the algorithm: ggml, quantize_row_q2_0_ref,
 * dequantize_row_q2_0. */
#include "fits.h"

#define q2_0_LANES        2
#define q2_0_HEADS        1
#define q2_0_BYTES        18
#define q2_0_SHARED       1
#define q2_0_SUM          SUM_NONE
#define q2_0_IMPORTANCE   0
#define q2_0_WEIGHTED_SUM SUM_NONE
#define q2_0_LIGHT        0
#define q2_0_UNROLLED     0

STRUCT(q2_0_part) { REAL max; };

STRUCT(q2_0_params) {
    REAL d, inverse;
    bool tame;
};

FN q2_0_part q2_0_fit(BLOCK_IN(x), REAL sum) {
    magnitude m = max_magnitude(x);
    q2_0_part s;
    s.max = m.max;
    return s;
}

FN REAL q2_0_share(q2_0_part s, int k) { return s.max; }

FN q2_0_params q2_0_fold(q2_0_part s, PEERS(peers)) {
    REAL d = max_r(PEER(peers, 0, 0), PEER(peers, 0, 1));
    q2_0_params p;
    p.d = f16_round(d);
    p.tame = nan_safe(p.d);
    p.inverse = inverse(d);
    return p;
}

/* Where the inverse of d overflows, quotients saturate, and what is no number is 0. */
FN REAL q2_0_code(REAL x, q2_0_params p, int i) {
    REAL v = x * p.inverse;
    v = select_r(eq(v, v), v, splat(0.0f));
    return round_half_away(max_r(min_r(v, splat(2.0f)), splat(-1.0f))) + 1.0f;
}

FN REAL q2_0_value(REAL code, q2_0_params p, int i) { return mul_tame(p.tame, code - 1.0f, p.d); }

FN UINT q2_0_head(q2_0_params p, int k) { return f16_bits(p.d); }

#ifdef BYTES_IN

FN void q2_0_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 16)
    PUT8(b, 2 + j, CODE(c, 4 * j) | CODE(c, 4 * j + 1) << 2 | CODE(c, 4 * j + 2) << 4 | CODE(c, 4 * j + 3) << 6);
}

FN q2_0_params q2_0_read(BYTES_IN(b), int lane) {
    q2_0_params p;
    p.d = f16_value(GET16(b, 0));
    p.tame = nan_safe(p.d);
    p.inverse = splat(0.0f);
    return p;
}

FN void q2_0_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) c[i] = INT_OF(GET8(b, 2 + 8 * lane + i / 4) >> (i & 3) * 2 & 3u);
}

#endif
