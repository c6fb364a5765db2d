/* IQ2_XS: a super-block of 256 elements; each 16 share a scale, each 8 a point of a codebook of 512, which gives their
 * magnitudes; 7 signs of each 8 are kept, the eighth makes the number of negative ones even.
 *
 *   byte 0 1    D f16
 *        2 + 8 l + 2 g …    signs of elements 0 … 6 | the number of lane l's point g      (7, 9 bits)
 *        66 + l             the count of elements 16 … 31 | 0 … 15                        (high | low half)
 *
 * Magnitudes are 8, 25, 43; a scale is (count + 0.5) D / 4. Only with an importance matrix. Source of the algorithm:
 * ggml, quantize_row_iq2_xs_impl, dequantize_row_iq2_xs. */
#include "iq_grid.h"

#define iq2_xs_LANES        8
#define iq2_xs_HEADS        3
#define iq2_xs_BYTES        74
#define iq2_xs_SHARED       2
#define iq2_xs_SUM          SUM_NONE
#define iq2_xs_IMPORTANCE   2
#define iq2_xs_WEIGHTED_SUM SUM_SQUARES
#define iq2_xs_LIGHT        0
#define iq2_xs_UNROLLED     0

#define iq2_xs_part   iq_part
#define iq2_xs_params iq_params

WORDS(iq2_xs)
TABLE4(iq2_xs_magnitudes, 8.0f, 25.0f, 43.0f, 0.0f)

LARGE iq_part iq2_xs_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    iq_weights(x, m, sum * 0.00390625f, w);
    return iq_fit_lane(WORDS_OF(iq2_xs), 512, 8, 2, x, w, true, 1e-15f, 9, 0.1f, IQ_OFF);
}

FN REAL iq2_xs_share(iq_part s, int k) { return s.scale[k]; }

FN iq_params iq2_xs_fold_weighted(iq_part s, PEERS(peers)) { return iq_fold(s, peers, 2, 4, 1.0f, 0.25f, true); }

FN REAL iq2_xs_code_weighted(REAL x, iq_params p, int i) { return iq_code(p, 8, i); }

FN REAL iq2_xs_value(REAL code, iq_params p, int i) {
    INT c = to_int(code);
    return iq_value(p, i / 16, LOOKUP4(iq2_xs_magnitudes, c & 3), c);
}

FN UINT iq2_xs_head(iq_params p, int k) {
    if (k == 0) return p.head;
    UINT word = splat_u(0u);
    for (int g = 2 * k - 2; g < 2 * k; g++) {
        UINT number = iq_number(iq_point_list(WORDS_OF(iq2_xs), 512, p.point[g], 8));
        word = word | (number | ((p.signs >> 8 * g) & 127u) << 9) << g % 2 * 16;
    }
    return word;
}

#ifdef BYTES_IN

FN void iq2_xs_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 8) {
        PUT32(b, 2 + 8 * j, HEAD(h, 1, j));
        PUT32(b, 6 + 8 * j, HEAD(h, 2, j));
        PUT8(b, 66 + j, HEAD(h, 0, j) >> 16);
    }
}

FN iq_params iq2_xs_read(BYTES_IN(b), int lane) {
    iq_params p = iq_no_params();
    UINT count = GET8(b, 66 + lane);
    REAL d = f16_value(GET16(b, 0));
    p.d[0] = mul_v(d, (to_real(INT_OF(count & 15u)) + 0.5f) * 0.25f);
    p.d[1] = mul_v(d, (to_real(INT_OF(count >> 4)) + 0.5f) * 0.25f);
    p.tame = nan_safe(p.d[0]) && nan_safe(p.d[1]);
    return p;
}

FN void iq2_xs_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int g = 0; g < 4; g++) {
        UINT word = GET16(b, 2 + 8 * lane + 2 * g);
        iq_group_codes(WORDS_OF(iq2_xs), word & 511u, iq_eight(word >> 9), 8, c, 8 * g);
    }
}

#endif
