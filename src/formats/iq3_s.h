/* IQ3_S: a super-block of 256 elements; each 32 share a scale, each 4 a point of a codebook of 512, which gives their
 * magnitudes.
 *
 *   byte 0 1    D f16
 *        2 + 8 l + g        the low 8 bits of the number of lane l's point g
 *        66 + l             their high bits, point g's at bit g
 *        74 + 4 l …         the signs of lane l's elements
 *        106 + k            lane 2 k + 1's count | lane 2 k's count      (high | low half)
 *
 * A magnitude of level l is 2 l + 1; a lane's scale is (2 count + 1) D. The reference leaves out the low bytes and the
 * signs of a lane of nothing, so that those of later lanes move up and the last places stay 0. Source of the algorithm:
 * ggml, quantize_row_iq3_s_impl, dequantize_row_iq3_s. */
#include "iq_grid.h"

#define iq3_s_LANES        8
#define iq3_s_HEADS        5
#define iq3_s_BYTES        110
#define iq3_s_SHARED       6
#define iq3_s_SUM          SUM_NONE
#define iq3_s_IMPORTANCE   1
#define iq3_s_WEIGHTED_SUM SUM_SQUARES
#define iq3_s_LIGHT        0
#define iq3_s_UNROLLED     0

#define iq3_s_part   iq_part
#define iq3_s_params iq_params

WORDS(iq3_s)
TABLE8(iq3_s_magnitudes, 1.0f, 3.0f, 5.0f, 7.0f, 9.0f, 11.0f, 13.0f, 15.0f)

LARGE iq_part iq3_s_search(BLOCK_IN(x), BLOCK_IN(w)) {
    return iq_fit_lane(WORDS_OF(iq3_s), 512, 4, 1, x, w, false, 1.4e-45f, 9, 0.2f, IQ_ALL_IF_OFF);
}

FN iq_part iq3_s_fit(BLOCK_IN(x), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];
    return iq3_s_search(x, w);
}

FN iq_part iq3_s_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    iq_weights(x, m, sum * 2.0f * 0.00390625f, w);
    return iq3_s_search(x, w);
}

FN REAL iq3_s_share(iq_part s, int k) {
    if (k == 0) return s.scale[0];
    if (k == 5) return as_real(s.signs);
    return as_real(s.point[2 * k - 2] | s.point[2 * k - 1] << 16);
}

/* What a decoder finds where lanes of nothing were left out. */
FN iq_params iq3_s_move_up(iq_params p, PEERS(peers)) {
    UINT point[8], signs = splat_u(0u);
    INT taken = splat_i(0), place = PEER_INDEX(peers);
    for (int g = 0; g < 8; g++) point[g] = splat_u(0u);
    for (int j = 0; j < 8; j++) {
        MASK some = not_m(lt(PEER(peers, 0, j), splat(0.0f))), here = and_m(some, eq_i(taken, place));
        for (int g = 0; g < 8; g++) {
            UINT pair = as_uint(PEER(peers, 1 + g / 2, j));
            point[g] = select_u(here, g % 2 == 0 ? pair & 0xffffu : pair >> 16, point[g]);
        }
        signs = select_u(here, as_uint(PEER(peers, 5, j)), signs);
        taken = select_i(some, taken + 1, taken);
    }
    for (int g = 0; g < 8; g++) {
        UINT low = iq_number(iq_point_list(WORDS_OF(iq3_s), 512, point[g], 4)) & 0xffu;
        UINT high = iq_number(iq_point_list(WORDS_OF(iq3_s), 512, p.point[g], 4)) & 0x100u;
        p.point[g] = WORD(WORDS_OF(iq3_s), INT_OF(low | high)) & 0xffffu;
    }
    p.signs = signs;
    return p;
}

FN iq_params iq3_s_fold(iq_part s, PEERS(peers)) {
    iq_params p = iq_fold(s, peers, 1, 8, 1.033f, 2.0f, false);
    MASK gap = lt(s.scale[0], splat(0.0f));
    for (int j = 0; j < 8; j++) gap = or_m(gap, lt(PEER(peers, 0, j), splat(0.0f)));
    if (any(gap)) p = iq3_s_move_up(p, peers);
    return p;
}
FN iq_params iq3_s_fold_weighted(iq_part s, PEERS(peers)) { return iq3_s_fold(s, peers); }

FN REAL iq3_s_code(REAL x, iq_params p, int i) { return iq_code(p, 4, i); }
FN REAL iq3_s_code_weighted(REAL x, iq_params p, int i) { return iq_code(p, 4, i); }

FN REAL iq3_s_value(REAL code, iq_params p, int i) {
    INT c = to_int(code);
    return iq_value(p, 0, LOOKUP8(iq3_s_magnitudes, c & 7), c);
}

FN UINT iq3_s_head(iq_params p, int k) {
    if (k == 0) return p.head;
    if (k == 3) return p.signs;
    if (k == 4)
        return iq_high_bits(WORDS_OF(iq3_s), 512, p.point, 0, 4, 1) |
               iq_high_bits(WORDS_OF(iq3_s), 512, p.point, 4, 4, 1) << 4;
    return iq_low_bytes(WORDS_OF(iq3_s), 512, p.point, 4 * (k - 1), 4);
}

#ifdef BYTES_IN

FN void iq3_s_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    /* Byte by byte: gcc 12's vectorizer takes minutes over words here. */
    PARALLEL(j, 64) PUT8(b, 2 + j, HEAD(h, 1 + j % 8 / 4, j / 8) >> j % 4 * 8);
    PARALLEL(j, 8) PUT8(b, 66 + j, HEAD(h, 4, j));
    PARALLEL(j, 32) PUT8(b, 74 + j, HEAD(h, 3, j / 4) >> j % 4 * 8);
    PARALLEL(j, 4) PUT8(b, 106 + j, HEAD(h, 0, 2 * j) >> 16 | HEAD(h, 0, 2 * j + 1) >> 16 << 4);
}

FN iq_params iq3_s_read(BYTES_IN(b), int lane) {
    iq_params p = iq_no_params();
    UINT count = (GET8(b, 106 + lane / 2) >> lane % 2 * 4) & 15u;
    p.d[0] = mul_v(f16_value(GET16(b, 0)), to_real(INT_OF(2u * count + 1u)));
    p.tame = nan_safe(p.d[0]);
    return p;
}

FN void iq3_s_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int k = 0; k < 4; k++) {
        UINT high = GET8(b, 66 + lane) >> 2 * k << 8, signs = GET8(b, 74 + 4 * lane + k);
        UINT first = GET8(b, 2 + 8 * lane + 2 * k) | (high & 256u);
        UINT second = GET8(b, 3 + 8 * lane + 2 * k) | (high >> 1 & 256u);
        iq_group_codes(WORDS_OF(iq3_s), first, signs, 4, c, 8 * k);
        iq_group_codes(WORDS_OF(iq3_s), second, signs >> 4, 4, c, 8 * k + 4);
    }
}

#endif
