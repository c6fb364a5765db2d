/* IQ2_XXS: a super-block of 256 elements; each 32 share a scale, each 8 a point of a codebook of 256, which gives their
 * magnitudes; 7 signs of each 8 are kept, the eighth makes the number of negative ones even.
 *
 *   byte 0 1    D f16
 *        2 + 8 l + g        lane l's point g
 *        6 + 8 l …          count << 28 | signs of 24 … 30 | 16 … 22 | 8 … 14 | 0 … 6     (4, 4 x 7 bits)
 *
 * Magnitudes are 8, 25, 43; a lane's scale is (count + 0.5) D / 4. Only with an importance matrix. Source of the
 * algorithm: ggml, quantize_row_iq2_xxs_impl, dequantize_row_iq2_xxs. */
#include "iq_grid.h"
#include "steps.h"

#define iq2_xxs_LANES        8
#define iq2_xxs_HEADS        3
#define iq2_xxs_BYTES        66
#define iq2_xxs_SHARED       1
#define iq2_xxs_SUM          SUM_NONE
#define iq2_xxs_IMPORTANCE   2
#define iq2_xxs_WEIGHTED_SUM SUM_SQUARES
#define iq2_xxs_LIGHT        0
#define iq2_xxs_UNROLLED     0

#define iq2_xxs_part   iq_part
#define iq2_xxs_params iq_params

WORDS(iq2_xxs)
TABLE4(iq2_xxs_magnitudes, 8.0f, 25.0f, 43.0f, 0.0f)

/* Four even steps, without a codebook, give the scale to start from. */
LARGE iq_part iq2_xxs_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32], start[2], reach[2];
    MASK nothing[2];
    iq_weights(x, m, sum * 0.00390625f, w);
    iq_magnitudes v = iq_split(x, w, true);
    steps s = fit_steps(v.x, w, 32, 4.0f);
    start[0] = start[1] = s.step;
    reach[0] = reach[1] = s.step * 3.0f;
    nothing[0] = nothing[1] = or_m(lt(iq_max(v.x, 0, 32), splat(1e-15f)), not_m(gt(reach[0], splat(0.0f))));
    return iq_fit(WORDS_OF(iq2_xxs), 256, 8, 1, v.x, w, v.signs, start, reach, nothing, 6, 0.1f, IQ_ALL);
}

FN REAL iq2_xxs_share(iq_part s, int k) { return s.scale[0]; }

FN iq_params iq2_xxs_fold_weighted(iq_part s, PEERS(peers)) { return iq_fold(s, peers, 1, 4, 1.0f, 0.25f, true); }

FN REAL iq2_xxs_code_weighted(REAL x, iq_params p, int i) { return iq_code(p, 8, i); }

FN REAL iq2_xxs_value(REAL code, iq_params p, int i) {
    INT c = to_int(code);
    return iq_value(p, 0, LOOKUP4(iq2_xxs_magnitudes, c & 3), c);
}

FN UINT iq2_xxs_head(iq_params p, int k) {
    if (k == 0) return p.head;
    if (k == 1) return iq_low_bytes(WORDS_OF(iq2_xxs), 256, p.point, 0, 8);
    return iq_sevens(p.signs) | (p.head & 0xf0000u) << 12;
}

#ifdef BYTES_IN

FN void iq2_xxs_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 8) {
        PUT32(b, 2 + 8 * j, HEAD(h, 1, j));
        PUT32(b, 6 + 8 * j, HEAD(h, 2, j));
    }
}

FN iq_params iq2_xxs_read(BYTES_IN(b), int lane) {
    iq_params p = iq_no_params();
    REAL count = to_real(INT_OF(GET8(b, 9 + 8 * lane) >> 4));
    p.d[0] = mul_v(f16_value(GET16(b, 0)), (count + 0.5f) * 0.25f);
    p.tame = nan_safe(p.d[0]);
    return p;
}

FN void iq2_xxs_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    UINT word = GET32(b, 6 + 8 * lane);
    for (int g = 0; g < 4; g++)
        iq_group_codes(WORDS_OF(iq2_xxs), GET8(b, 2 + 8 * lane + g), iq_eight((word >> 7 * g) & 127u), 8, c, 8 * g);
}

#endif
