/* IQ2_S: a super-block of 256 elements; each 16 share a scale, each 8 a point of a codebook of 1,024, which gives their
 * magnitudes.
 *
 *   byte 0 1    D f16
 *        2 + 4 l + g        the low 8 bits of the number of lane l's point g
 *        34 + 4 l …         the signs of lane l's elements
 *        66 + l             the high bits: of point 3 | 2 | 1 | 0               (2 bits each)
 *        74 + l             the count of elements 16 … 31 | 0 … 15              (high | low half)
 *
 * Magnitudes are 8, 25, 43; a scale is (count + 0.5) D / 4. Source of the algorithm: ggml, quantize_row_iq2_s_impl,
 * dequantize_row_iq2_s. */
#include "iq_grid.h"

#define iq2_s_LANES        8
#define iq2_s_HEADS        4
#define iq2_s_BYTES        82
#define iq2_s_SHARED       2
#define iq2_s_SUM          SUM_SQUARES
#define iq2_s_IMPORTANCE   1
#define iq2_s_WEIGHTED_SUM SUM_SQUARES
#define iq2_s_LIGHT        0
#define iq2_s_UNROLLED     0

#define iq2_s_part   iq_part
#define iq2_s_params iq_params

WORDS(iq2_s)
TABLE4(iq2_s_magnitudes, 8.0f, 25.0f, 43.0f, 0.0f)

LARGE iq_part iq2_s_search(BLOCK_IN(x), BLOCK_IN(w)) {
    return iq_fit_lane(WORDS_OF(iq2_s), 1024, 8, 2, x, w, false, 1e-8f, 9, 0.1f, IQ_OFF);
}

FN iq_part iq2_s_fit(BLOCK_IN(x), REAL sum) {
    REAL w[32], s = sum * 2.0f * 0.00390625f;
    for (int i = 0; i < 32; i++) w[i] = s * 0.25f + x[i] * x[i];
    return iq2_s_search(x, w);
}

FN iq_part iq2_s_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    iq_weights(x, m, sum * 2.0f * 0.00390625f, w);
    return iq2_s_search(x, w);
}

FN REAL iq2_s_share(iq_part s, int k) { return s.scale[k]; }

FN iq_params iq2_s_fold(iq_part s, PEERS(peers)) { return iq_fold(s, peers, 2, 4, 0.9875f, 0.25f, false); }
FN iq_params iq2_s_fold_weighted(iq_part s, PEERS(peers)) { return iq2_s_fold(s, peers); }

FN REAL iq2_s_code(REAL x, iq_params p, int i) { return iq_code(p, 8, i); }
FN REAL iq2_s_code_weighted(REAL x, iq_params p, int i) { return iq_code(p, 8, i); }

FN REAL iq2_s_value(REAL code, iq_params p, int i) {
    INT c = to_int(code);
    return iq_value(p, i / 16, LOOKUP4(iq2_s_magnitudes, c & 3), c);
}

FN UINT iq2_s_head(iq_params p, int k) {
    if (k == 0) return p.head;
    if (k == 1) return iq_low_bytes(WORDS_OF(iq2_s), 1024, p.point, 0, 8);
    if (k == 2) return p.signs;
    return iq_high_bits(WORDS_OF(iq2_s), 1024, p.point, 0, 8, 2);
}

#ifdef BYTES_IN

FN void iq2_s_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 8) {
        PUT32(b, 2 + 4 * j, HEAD(h, 1, j));
        PUT32(b, 34 + 4 * j, HEAD(h, 2, j));
        PUT8(b, 66 + j, HEAD(h, 3, j));
        PUT8(b, 74 + j, HEAD(h, 0, j) >> 16);
    }
}

FN iq_params iq2_s_read(BYTES_IN(b), int lane) {
    iq_params p = iq_no_params();
    UINT count = GET8(b, 74 + lane);
    REAL d = f16_value(GET16(b, 0));
    p.d[0] = mul_v(d, (to_real(INT_OF(count & 15u)) + 0.5f) * 0.25f);
    p.d[1] = mul_v(d, (to_real(INT_OF(count >> 4)) + 0.5f) * 0.25f);
    p.tame = nan_safe(p.d[0]) && nan_safe(p.d[1]);
    return p;
}

FN void iq2_s_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    UINT high = GET8(b, 66 + lane);
    for (int g = 0; g < 4; g++) {
        UINT number = GET8(b, 2 + 4 * lane + g) | (high >> 2 * g & 3u) << 8;
        iq_group_codes(WORDS_OF(iq2_s), number, GET8(b, 34 + 4 * lane + g), 8, c, 8 * g);
    }
}

#endif
