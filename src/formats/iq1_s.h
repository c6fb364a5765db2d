/* IQ1_S: a super-block of 256 elements; each 32 share a scale and a shift, each 8 a point of a codebook of 2,048.
 *
 *   byte 0 1    D f16
 *        2 + 4 l + g        the low 8 bits of the number of lane l's point g
 *        34 + 2 l …         down << 15 | count << 12 | the high bits of points 3 | 2 | 1 | 0   (1, 3, 4 x 3 bits)
 *
 * Levels 0, 1, 2 are -1, 0, 1, with an eighth added, or taken away where the lane is shifted down; a lane's scale is
 * (2 count + 1) D. Only with an importance matrix. Source of the algorithm: ggml, quantize_row_iq1_s_impl,
 * dequantize_row_iq1_s; its qsort keeps the order of equal elements, as glibc's did. */
#include "iq1.h"

#define iq1_s_LANES        8
#define iq1_s_HEADS        2
#define iq1_s_BYTES        50
#define iq1_s_SHARED       1
#define iq1_s_SUM          SUM_NONE
#define iq1_s_IMPORTANCE   2
#define iq1_s_WEIGHTED_SUM SUM_SQUARES
#define iq1_s_LIGHT        0
#define iq1_s_UNROLLED     0

WORDS(iq1_s)

STRUCT(iq1_s_part) {
    REAL scale;
    UINT point[4], down;
};
STRUCT(iq1_s_params) {
    REAL d;
    bool tame;
    UINT point[4], down, head;
};

/* Every way to cut the elements, in order of size, into three, with both shifts; least squares rates them. */
LARGE iq1_s_part iq1_s_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32], sum_x[33], sum_w[33], max = abs_(x[0]);
    iq_weights(x, m, sum * 2.0f * 0.00390625f, w);
    for (int i = 1; i < 32; i++) max = max_r(max, abs_(x[i]));
    iq1_sorted s = iq1_sort(x, w, 0, 32);
    sum_x[0] = sum_w[0] = splat(0.0f);
    for (int i = 0; i < 32; i++) {
        sum_x[i + 1] = sum_x[i] + s.w[i] * s.x[i];
        sum_w[i + 1] = sum_w[i] + s.w[i];
    }
    REAL best = splat(-3.40282346638528859812e+38f), scale = splat(0.0f);
    INT first = splat_i(-1), second = splat_i(-1);
    UINT down = splat_u(0u);
    ROLLED for (int i = 0; i <= 32; i++) {
        ROLLED for (int j = i; j <= 32; j++) {
            for (int shift = 0; shift < 2; shift++) {
                float q0 = shift == 0 ? -0.875f : -1.125f, q1 = q0 + 1.0f, q2 = q0 + 2.0f;
                REAL xq = sum_x[i] * q0 + (sum_x[j] - sum_x[i]) * q1 + (sum_x[32] - sum_x[j]) * q2;
                REAL qq = sum_w[i] * q0 * q0 + (sum_w[j] - sum_w[i]) * q1 * q1 + (sum_w[32] - sum_w[j]) * q2 * q2;
                MASK better = and_m(gt(qq, splat(0.0f)), gt(xq * xq, best * qq));
                if (!any(better)) continue;
                scale = select_r(better, div_rn(xq, qq), scale);
                best = select_r(better, scale * xq, best);
                first = select_i(better, splat_i(i), first);
                second = select_i(better, splat_i(j), second);
                down = select_u(better, splat_u(shift), down);
            }
        }
    }
    MASK nothing = or_m(lt(max, splat(1e-12f)), lt_i(first, splat_i(0)));
    MASK turn = lt(scale, splat(0.0f));
    iq1_pick p;
    for (int k = 0; k < 2; k++) {
        UINT levels = iq1_levels(s.index, 32, first, second, 16 * k);
        levels = select_u(turn, 0xaaaaaaaau - levels, levels);
        p.point[2 * k] = levels & 0xffffu;
        p.point[2 * k + 1] = levels >> 16;
    }
    down = select_u(turn, down ^ 1u, down);
    p.scale = abs_(scale);
    p = iq1_on_grid(WORDS_OF(iq1_s), p, x, w, 0, 4, down * 15u);
    iq1_s_part f;
    f.scale = select_r(nothing, splat(0.0f), p.scale);
    f.down = select_u(nothing, splat_u(0u), down);
    for (int g = 0; g < 4; g++) f.point[g] = select_u(nothing, splat_u(0u), p.point[g]);
    return f;
}

FN REAL iq1_s_share(iq1_s_part s, int k) { return s.scale; }

FN iq1_s_params iq1_s_fold_weighted(iq1_s_part s, PEERS(peers)) {
    iq1_s_params p;
    REAL max = splat(0.0f);
    for (int j = 0; j < 8; j++) max = max_r(PEER(peers, 0, j), max);
    MASK none = eq(max, splat(0.0f));
    REAL d = div_rn(max, splat(15.0f)), dh = select_r(none, splat(0.0f), f16_round(d * 1.125f));
    REAL count = select_r(none, splat(0.0f), iq1_count(s.scale, div_rn(splat(1.0f), d)));
    p.d = mul_v(dh, count * 2.0f + 1.0f);
    p.tame = nan_safe(p.d);
    p.down = select_u(none, splat_u(0u), s.down);
    for (int g = 0; g < 4; g++) p.point[g] = s.point[g];
    p.head = f16_bits(dh) | (UINT_OF(to_int(count)) | p.down << 3) << 28;
    return p;
}

FN REAL iq1_s_code_weighted(REAL x, iq1_s_params p, int i) {
    return to_real(INT_OF(iq_level(p.point[i / 8], 8, i % 8) | p.down << 2));
}

FN REAL iq1_s_value(REAL code, iq1_s_params p, int i) {
    return mul_tame(p.tame, p.d, LOOKUP8(iq1_values, to_int(code)));
}

FN UINT iq1_s_head(iq1_s_params p, int k) {
    if (k == 0) return p.head | iq_high_bits(WORDS_OF(iq1_s), 2048, p.point, 0, 8, 3) << 16;
    return iq_low_bytes(WORDS_OF(iq1_s), 2048, p.point, 0, 8);
}

#ifdef BYTES_IN

FN void iq1_s_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 8) PUT32(b, 2 + 4 * j, HEAD(h, 1, j));
    PARALLEL(j, 8) PUT16(b, 34 + 2 * j, HEAD(h, 0, j) >> 16);
}

FN iq1_s_params iq1_s_read(BYTES_IN(b), int lane) {
    iq1_s_params p;
    UINT count = (GET16(b, 34 + 2 * lane) >> 12) & 7u;
    p.d = mul_v(f16_value(GET16(b, 0)), to_real(INT_OF(2u * count + 1u)));
    p.tame = nan_safe(p.d);
    for (int g = 0; g < 4; g++) p.point[g] = splat_u(0u);
    p.down = p.head = splat_u(0u);
    return p;
}

FN void iq1_s_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    UINT word = GET16(b, 34 + 2 * lane);
    for (int g = 0; g < 4; g++) {
        UINT number = GET8(b, 2 + 4 * lane + g) | ((word >> 3 * g) & 7u) << 8;
        iq1_group_codes(WORDS_OF(iq1_s), number, word >> 15, c, 8 * g);
    }
}

#endif
