/* IQ1_M: a super-block of 256 elements; each 16 share a scale, each 8 a shift and a point of a codebook of 2,048.
 *
 *   byte 4 l + g            the low 8 bits of the number of lane l's point g
 *        32 + 2 l + k       down | the high bits of point 2 k + 1 | down | those of point 2 k    (1, 3, 1, 3 bits)
 *        48 + 2 j …         bits 4 j … 4 j + 3 of D, a binary16 | counts of lane 2 j + 1 | of lane 2 j  (4, 2 x 3, 2 x
 * 3)
 *
 * Levels 0, 1, 2 are -1, 0, 1, with an eighth added, or taken away where the group is shifted down; a scale is
 * (2 count + 1) D. Source of the algorithm: ggml, quantize_row_iq1_m_impl as of 2026-09 (llama.cpp #28706), or, where
 * EARLIER is defined, as it was before; dequantize_row_iq1_m; its qsort keeps the order of equal elements, as glibc's
 * did. */
#include "iq1.h"

#define iq1_m_LANES        8
#define iq1_m_HEADS        3
#define iq1_m_BYTES        56
#define iq1_m_SHARED       69
#define iq1_m_SUM          SUM_NONE
#define iq1_m_IMPORTANCE   1
#define iq1_m_WEIGHTED_SUM SUM_SQUARES
#define iq1_m_LIGHT        0
#define iq1_m_UNROLLED     0

WORDS(iq1_m)

STRUCT(iq1_m_part) {
    REAL scale[2], x[32], w[32];
    UINT point[4], down; /* bit g: group g is shifted down */
};
STRUCT(iq1_m_params) {
    REAL d[2];
    bool tame;
    UINT point[4], down, step, counts;
};

/* How a part's elements, in order of size, are cut into three, and its groups shifted: both up, the second down, the
 * first down, both down. */
STRUCT(iq1_m_cuts) {
    REAL scale, best;
    INT cut[2];
    UINT shift;
};

FN iq1_m_cuts iq1_m_uncut(void) {
    iq1_m_cuts c;
    c.scale = splat(0.0f);
    c.best = splat(-3.40282346638528859812e+38f);
    c.cut[0] = c.cut[1] = splat_i(-1);
    c.shift = splat_u(0u);
    return c;
}

/* Least squares rate a way by its sums of w q x and w q q. */
FN iq1_m_cuts iq1_m_rate(iq1_m_cuts c, REAL xq, REAL qq, int i, int j, int shift) {
    MASK better = and_m(gt(qq, splat(0.0f)), gt(xq * xq, c.best * qq));
    if (!any(better)) return c;
    c.scale = select_r(better, div_rn(xq, qq), c.scale);
    c.best = select_r(better, c.scale * xq, c.best);
    c.cut[0] = select_i(better, splat_i(i), c.cut[0]);
    c.cut[1] = select_i(better, splat_i(j), c.cut[1]);
    c.shift = select_u(better, splat_u(shift), c.shift);
    return c;
}

#ifdef EARLIER

STRUCT(iq1_m_sums) { REAL xq[4], qq[4]; };

/* An element at level 0, 1 or 2 joins the sums of the four ways to shift. */
FN iq1_m_sums iq1_m_add(iq1_m_sums s, REAL x, REAL w, MASK first, int level) {
    float up = level - 0.875f, down = level - 1.125f;
    REAL xu = w * up * x, xd = w * down * x, qu = w * up * up, qd = w * down * down;
    s.xq[0] = s.xq[0] + xu;
    s.xq[1] = s.xq[1] + select_r(first, xu, xd);
    s.xq[2] = s.xq[2] + select_r(first, xd, xu);
    s.xq[3] = s.xq[3] + xd;
    s.qq[0] = s.qq[0] + qu;
    s.qq[1] = s.qq[1] + select_r(first, qu, qd);
    s.qq[2] = s.qq[2] + select_r(first, qd, qu);
    s.qq[3] = s.qq[3] + qd;
    return s;
}

/* Every way, its sums added up by themselves. */
FN iq1_m_cuts iq1_m_cut(iq1_sorted s) {
    iq1_m_cuts cuts = iq1_m_uncut();
    iq1_m_sums low;
    for (int k = 0; k < 4; k++) low.xq[k] = low.qq[k] = splat(0.0f);
    ROLLED for (int i = 0; i <= 16; i++) {
        iq1_m_sums middle = low;
        ROLLED for (int j = i; j <= 16; j++) {
            iq1_m_sums all = middle;
            ROLLED for (int e = j; e < 16; e++) all = iq1_m_add(all, s.x[e], s.w[e], lt_i(s.index[e], splat_i(8)), 2);
            for (int k = 0; k < 4; k++) cuts = iq1_m_rate(cuts, all.xq[k], all.qq[k], i, j, k);
            if (j < 16) middle = iq1_m_add(middle, s.x[j], s.w[j], lt_i(s.index[j], splat_i(8)), 1);
        }
        if (i < 16) low = iq1_m_add(low, s.x[i], s.w[i], lt_i(s.index[i], splat_i(8)), 0);
    }
    return cuts;
}

#else

/* Of a part's elements in order of size, the first n: sums of one half's weights and weighted values, at 17 half + n.
 */
STRUCT(iq1_m_sums) { REAL x[34], w[34]; };

FN iq1_m_sums iq1_m_add_up(iq1_sorted s) {
    iq1_m_sums sums;
    for (int half = 0; half < 2; half++) sums.x[17 * half] = sums.w[17 * half] = splat(0.0f);
    ROLLED for (int j = 0; j < 16; j++) {
        MASK first = lt_i(s.index[j], splat_i(8));
        REAL v = s.w[j] * s.x[j];
        sums.x[j + 1] = select_r(first, sums.x[j] + v, sums.x[j]);
        sums.w[j + 1] = select_r(first, sums.w[j] + s.w[j], sums.w[j]);
        sums.x[j + 18] = select_r(first, sums.x[j + 17], sums.x[j + 17] + v);
        sums.w[j + 18] = select_r(first, sums.w[j + 17], sums.w[j + 17] + s.w[j]);
    }
    return sums;
}

/* Every way. The levels of both shifts lie 1 apart, so the sums of w q x are those of all elements at the highest
 * level, less those before each cut; the sums of w q q, with q q of neighbours 0.75 and 1.25 apart, likewise. */
FN iq1_m_cuts iq1_m_cut(iq1_sorted s) {
    iq1_m_cuts cuts = iq1_m_uncut();
    iq1_m_sums sums = iq1_m_add_up(s);
    ROLLED for (int i = 0; i <= 16; i++) ROLLED for (int j = i; j <= 16; j++) {
        REAL up[2], down[2], up_2[2], down_2[2]; /* a half's sums, shifted up or down */
        for (int half = 0; half < 2; half++) {
            REAL before = sums.x[17 * half + i] + sums.x[17 * half + j], all = sums.w[17 * half + 16];
            REAL first = sums.w[17 * half + i], second = sums.w[17 * half + j];
            up[half] = sums.x[17 * half + 16] * 1.125f - before;
            down[half] = sums.x[17 * half + 16] * 0.875f - before;
            up_2[half] = all * 1.125f * 1.125f + first * 0.75f + second * -1.25f;
            down_2[half] = all * 0.875f * 0.875f + first * 1.25f + second * -0.75f;
        }
        for (int k = 0; k < 4; k++) {
            REAL xq = (k < 2 ? up[0] : down[0]) + (k % 2 == 0 ? up[1] : down[1]);
            REAL qq = (k < 2 ? up_2[0] : down_2[0]) + (k % 2 == 0 ? up_2[1] : down_2[1]);
            cuts = iq1_m_rate(cuts, xq, qq, i, j, k);
        }
    }
    return cuts;
}

#endif

LARGE iq1_m_part iq1_m_search(BLOCK_IN(x), BLOCK_IN(w)) {
    iq1_m_part f;
    f.down = splat_u(0u);
    for (int i = 0; i < 32; i++) {
        f.x[i] = x[i];
        f.w[i] = w[i];
    }
    ROLLED for (int part = 0; part < 2; part++) {
        REAL max = abs_(x[16 * part]);
        for (int i = 16 * part + 1; i < 16 * part + 16; i++) max = max_r(max, abs_(x[i]));
        iq1_sorted s = iq1_sort(x, w, 16 * part, 16);
        iq1_m_cuts cuts = iq1_m_cut(s);
        MASK nothing = or_m(lt(max, splat(1e-7f)), lt_i(cuts.cut[0], splat_i(0)));
        MASK turn = lt(cuts.scale, splat(0.0f));
        UINT levels = iq1_levels(s.index, 16, cuts.cut[0], cuts.cut[1], 0);
        levels = select_u(turn, 0xaaaaaaaau - levels, levels);
        UINT shift = select_u(turn, 3u - cuts.shift, cuts.shift);
        UINT down = (shift >> 1 | (shift & 1u) << 1) << (2 * part);
        iq1_pick p;
        for (int g = 0; g < 4; g++) p.point[g] = g % 2 == 0 ? levels & 0xffffu : levels >> 16;
        p.scale = abs_(cuts.scale);
        p = iq1_on_grid(WORDS_OF(iq1_m), p, x, w, 2 * part, 2, down);
        f.scale[part] = select_r(nothing, splat(0.0f), p.scale);
        f.down = f.down | select_u(nothing, splat_u(0u), down);
        for (int g = 2 * part; g < 2 * part + 2; g++) f.point[g] = select_u(nothing, splat_u(0u), p.point[g]);
    }
    return f;
}

FN iq1_m_part iq1_m_fit(BLOCK_IN(x), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];
    return iq1_m_search(x, w);
}

FN iq1_m_part iq1_m_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    iq_weights(x, m, sum * 2.0f * 0.00390625f, w);
    return iq1_m_search(x, w);
}

/* Scales, points and shifts, then all elements and weights: the block's own scale is a fit over all of them. */
FN REAL iq1_m_share(iq1_m_part s, int k) {
    if (k < 2) return s.scale[k];
    if (k < 4) return as_real(s.point[2 * k - 4] | s.point[2 * k - 3] << 16);
    if (k == 4) return as_real(s.down);
    return k < 37 ? s.x[k - 5] : s.w[k - 37];
}

LARGE iq1_m_params iq1_m_fold(iq1_m_part s, PEERS(peers)) {
    iq1_m_params p;
    REAL max = splat(0.0f);
    for (int j = 0; j < 8; j++) max = max_r(PEER(peers, 0, j), max_r(PEER(peers, 1, j), max));
    MASK none = eq(max, splat(0.0f));
    REAL d = div_rn(max, splat(15.0f)), inverse = div_rn(splat(1.0f), d), xq = splat(0.0f), qq = splat(0.0f);
    ROLLED for (int j = 0; j < 8; j++) ROLLED for (int g = 0; g < 4; g++) {
        REAL levels = iq1_count(PEER(peers, g / 2, j), inverse) * 2.0f + 1.0f;
        UINT point = as_uint(PEER(peers, 2 + g / 2, j)) >> (g % 2 * 16);
        UINT down = (as_uint(PEER(peers, 4, j)) >> g) & 1u;
        ROLLED for (int k = 0; k < 8; k++) {
            REAL q = iq1_value(point, k, down) * levels, v = PEER(peers, 37 + 8 * g + k, j) * q;
            xq = xq + v * PEER(peers, 5 + 8 * g + k, j);
            qq = qq + v * q;
        }
    }
    d = select_r(gt(qq, splat(0.0f)), div_rn(xq, qq), d);
    REAL dh = f16_round(d * 1.1125f);
    dh = select_r(or_m(none, ne(dh, dh)), splat(0.0f), dh);
    p.step = f16_bits(dh);
    p.counts = splat_u(0u);
    for (int k = 0; k < 2; k++) {
        REAL count = select_r(none, splat(0.0f), iq1_count(s.scale[k], inverse));
        p.d[k] = mul_v(dh, count * 2.0f + 1.0f);
        p.counts = p.counts | UINT_OF(to_int(count)) << (3 * k);
    }
    p.tame = nan_safe(p.d[0]) && nan_safe(p.d[1]);
    for (int g = 0; g < 4; g++) p.point[g] = s.point[g];
    p.down = select_u(none, splat_u(0u), s.down);
    return p;
}
FN iq1_m_params iq1_m_fold_weighted(iq1_m_part s, PEERS(peers)) { return iq1_m_fold(s, peers); }

FN REAL iq1_m_code(REAL x, iq1_m_params p, int i) {
    return to_real(INT_OF(iq_level(p.point[i / 8], 8, i % 8) | ((p.down >> (i / 8)) & 1u) << 2));
}
FN REAL iq1_m_code_weighted(REAL x, iq1_m_params p, int i) { return iq1_m_code(x, p, i); }

FN REAL iq1_m_value(REAL code, iq1_m_params p, int i) {
    return mul_tame(p.tame, p.d[i / 16], LOOKUP8(iq1_values, to_int(code)));
}

FN UINT iq1_m_head(iq1_m_params p, int k) {
    if (k == 0) return iq_low_bytes(WORDS_OF(iq1_m), 2048, p.point, 0, 8);
    if (k == 1) return p.step | p.counts << 16;
    UINT high = iq_high_bits(WORDS_OF(iq1_m), 2048, p.point, 0, 8, 4);
    for (int g = 0; g < 4; g++) high = high | ((p.down >> g) & 1u) << (4 * g + 3);
    return high;
}

#ifdef BYTES_IN

FN void iq1_m_pack(PACK_ARGS(c, h, b)) {
    PARALLEL(j, 8) PUT32(b, 4 * j, HEAD(h, 0, j));
    PARALLEL(j, 8) PUT16(b, 32 + 2 * j, HEAD(h, 2, j));
    PARALLEL(j, 4) {
        UINT counts = HEAD(h, 1, 2 * j) >> 16 | HEAD(h, 1, 2 * j + 1) >> 16 << 6;
        PUT16(b, 48 + 2 * j, counts | ((HEAD(h, 1, 0) >> 4 * j) & 15u) << 12);
    }
}

FN iq1_m_params iq1_m_read(BYTES_IN(b), int lane) {
    iq1_m_params p;
    UINT step = splat_u(0u), counts = GET16(b, 48 + lane / 2 * 2) >> lane % 2 * 6;
    for (int j = 0; j < 4; j++) step = step | (GET8(b, 49 + 2 * j) >> 4) << 4 * j;
    for (int k = 0; k < 2; k++) p.d[k] = mul_v(f16_value(step), to_real(INT_OF(2u * ((counts >> 3 * k) & 7u) + 1u)));
    p.tame = nan_safe(p.d[0]) && nan_safe(p.d[1]);
    for (int g = 0; g < 4; g++) p.point[g] = splat_u(0u);
    p.down = p.step = p.counts = splat_u(0u);
    return p;
}

FN void iq1_m_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    UINT word = GET16(b, 32 + 2 * lane);
    for (int g = 0; g < 4; g++) {
        UINT high = word >> 4 * g;
        iq1_group_codes(WORDS_OF(iq1_m), GET8(b, 4 * lane + g) | (high & 7u) << 8, (high >> 3) & 1u, c, 8 * g);
    }
}

#endif
