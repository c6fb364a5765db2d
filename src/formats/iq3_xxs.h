/* IQ3_XXS: a super-block of 256 elements; each 32 share a scale, each 4 a point of a codebook of 256, which gives their
 * magnitudes; 7 signs of each 8 are kept, the eighth makes the number of negative ones even.
 *
 *   byte 0 1    D f16
 *        2 + g              point of elements 4 g … 4 g + 3
 *        66 + 4 l …         lane l's word:  count << 28 | signs of 24 … 30 | 16 … 22 | 8 … 14 | 0 … 6   (4, 4 x 7 bits)
 *
 * A magnitude of level l is 4 (2 l + 1), the highest 62; a lane's scale is (count + 0.5) D / 2. Source of the
 * algorithm: ggml, quantize_row_iq3_xxs_impl, dequantize_row_iq3_xxs. */
#include "iq_grid.h"

#define iq3_xxs_LANES        8
#define iq3_xxs_HEADS        4
#define iq3_xxs_BYTES        98
#define iq3_xxs_SHARED       1
#define iq3_xxs_SUM          SUM_NONE
#define iq3_xxs_IMPORTANCE   1
#define iq3_xxs_WEIGHTED_SUM SUM_SQUARES
#define iq3_xxs_LIGHT        0
#define iq3_xxs_UNROLLED     0

#define iq3_xxs_part   iq_part
#define iq3_xxs_params iq_params

WORDS(iq3_xxs)
TABLE8(iq3_xxs_magnitudes, 4.0f, 12.0f, 20.0f, 28.0f, 36.0f, 44.0f, 52.0f, 62.0f)

LARGE iq_part iq3_xxs_search(BLOCK_IN(x), BLOCK_IN(w)) {
    return iq_fit_lane(WORDS_OF(iq3_xxs), 256, 4, 1, x, w, true, 1e-8f, 15, 0.2f, IQ_OFF);
}

FN iq_part iq3_xxs_fit(BLOCK_IN(x), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];
    return iq3_xxs_search(x, w);
}

FN iq_part iq3_xxs_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    iq_weights(x, m, sum * 2.0f * 0.00390625f, w);
    return iq3_xxs_search(x, w);
}

FN REAL iq3_xxs_share(iq_part s, int k) { return s.scale[0]; }

FN iq_params iq3_xxs_fold(iq_part s, PEERS(peers)) { return iq_fold(s, peers, 1, 8, 1.0125f, 0.5f, true); }
FN iq_params iq3_xxs_fold_weighted(iq_part s, PEERS(peers)) { return iq3_xxs_fold(s, peers); }

FN REAL iq3_xxs_code(REAL x, iq_params p, int i) { return iq_code(p, 4, i); }
FN REAL iq3_xxs_code_weighted(REAL x, iq_params p, int i) { return iq_code(p, 4, i); }

FN REAL iq3_xxs_value(REAL code, iq_params p, int i) {
    INT c = to_int(code);
    return iq_value(p, 0, LOOKUP8(iq3_xxs_magnitudes, c & 7), c);
}

FN UINT iq3_xxs_head(iq_params p, int k) {
    if (k == 0) return p.head;
    if (k == 3) return iq_sevens(p.signs) | (p.head & 0xf0000u) << 12;
    return iq_low_bytes(WORDS_OF(iq3_xxs), 256, p.point, 4 * (k - 1), 4);
}

#ifdef BYTES_IN

FN void iq3_xxs_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 8) {
        PUT32(b, 2 + 8 * j, HEAD(h, 1, j));
        PUT32(b, 6 + 8 * j, HEAD(h, 2, j));
        PUT32(b, 66 + 4 * j, HEAD(h, 3, j));
    }
}

FN iq_params iq3_xxs_read(BYTES_IN(b), int lane) {
    iq_params p = iq_no_params();
    REAL count = to_real(INT_OF(GET8(b, 69 + 4 * lane) >> 4));
    p.d[0] = mul_v(f16_value(GET16(b, 0)), (count + 0.5f) * 0.5f);
    p.tame = nan_safe(p.d[0]);
    return p;
}

FN void iq3_xxs_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    UINT word = GET32(b, 66 + 4 * lane);
    for (int g = 0; g < 8; g++) {
        UINT signs = iq_eight((word >> g / 2 * 7) & 127u) >> g % 2 * 4;
        iq_group_codes(WORDS_OF(iq3_xxs), GET8(b, 2 + 8 * lane + g), signs, 4, c, 4 * g);
    }
}

#endif
