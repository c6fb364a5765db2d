/* Q3_K: a super-block of 256 elements; each 16 share a scale d, a whole multiple, -32 … 31, of the super-block's D. A
 * code q is 0 … 7 and stands for (q - 4) d. With u = 32 more than the multiple:
 *
 *   byte i               bit j: the third bit of lane j's q[i], for i = 0 … 31
 *        32 + 32 k + i   lane 4 k + 3's q[i] & 3 | 4 k + 2's | 4 k + 1's | 4 k's           (2 bits each)
 *        96 + s          u of elements 16 (s + 8) … & 15 | u of 16 s … & 15, s = 0 … 7     (high | low half)
 *        104 + s         u >> 4 of 16 (s + 12) … | 16 (s + 8) … | 16 (s + 4) … | 16 s …    (2 bits each)
 *        108 109         D f16
 *
 * Elements weigh their squares. A fit starts from the codes that put the largest element at -4, and then lets one
 * element after another take the code that suits the least-squares scale of all the others. Source of the algorithm:
 * ggml, quantize_row_q3_K_ref, make_q3_quants, dequantize_row_q3_K. */
#include "symmetric.h"

#define q3_K_LANES        8
#define q3_K_HEADS        1
#define q3_K_BYTES        110
#define q3_K_SHARED       4
#define q3_K_SUM          SUM_NONE
#define q3_K_IMPORTANCE   1
#define q3_K_WEIGHTED_SUM SUM_SQUARES
#define q3_K_LIGHT        0
#define q3_K_UNROLLED     0

#define q3_K_code_weighted q3_K_code

STRUCT(q3_K_part) { REAL scale[2], weight[2], codes[4]; /* codes: the fit's, eight a REAL, as digits in base 8 */ };

STRUCT(q3_K_params) {
    REAL d[2], per_d[2]; /* per_d: 1 / d */
    REAL codes[4];       /* where d is 0, the fit's codes stay */
    bool stays;          /* in some lane */
    bool tame;           /* also: no lane stays */
    UINT head;
};

LARGE q3_K_part q3_K_fit(BLOCK_IN(x), REAL sum) {
    REAL w[32], wx[32], code[32], lx_own[32], ll_own[32], lx[2], ll[2];
    MASK nothing[2];
    bool moved[2];
    for (int p = 0; p < 2; p++) {
        REAL max = signed_max(x, 16 * p, 16);
        REAL inverse = div_rn(splat(-4.0f), max), probe = splat(0.0f);
        for (int i = 16 * p; i < 16 * p + 16; i++) {
            w[i] = x[i] * x[i];
            wx[i] = w[i] * x[i];
            probe = probe + wx[i];
        }
        bool tame = !any(or_m(not_finite(probe), not_finite(inverse)));
        lx[p] = ll[p] = splat(0.0f);
        for (int i = 16 * p; i < 16 * p + 16; i++) {
            code[i] = tame ? calm_signed_code(inverse * x[i], 4.0f) : signed_code(inverse * x[i], 4.0f);
            lx_own[i] = wx[i] * code[i];
            ll_own[i] = w[i] * code[i] * code[i];
            lx[p] = lx[p] + lx_own[i];
            ll[p] = ll[p] + ll_own[i];
        }
        nothing[p] = lt(abs_(max), splat(1e-15f));
        moved[p] = true;
    }
    ROLLED for (int turn = 0; turn < 5; turn++) {
        bool first = moved[0], second = moved[1];
        moved[0] = moved[1] = false;
        for (int j = 0; j < 16; j++)
            for (int p = 0; p < 2; p++) {
                if (!(p == 0 ? first : second)) continue;
                int i = j + 16 * p;
                REAL lx_others = lx[p] - lx_own[i];
                REAL ll_others = ll[p] - ll_own[i];
                REAL product = x[i] * ll_others;
                /* The code would be product / lx_others. While that is within a half of what it is, as for most it is,
                 * there is nothing to do. (Rounding is off by less than 1e-6 here.) */
                REAL held = min_r(max_r(product, lx_others * -4.0f), lx_others * 3.0f);
                MASK off = not_m(lt(abs_(held - code[i] * lx_others), lx_others * 0.49999f));
                if (!any(and_m(off, gt(lx_others, splat(0.0f))))) continue;
                REAL c = signed_code(div_rn(product, lx_others), 4.0f);
                REAL lx_c = wx[i] * c, ll_c = w[i] * c * c;
                REAL lx_new = lx_others + lx_c, ll_new = ll_others + ll_c;
                MASK better = gt(lx_new * lx_new * ll[p], lx[p] * lx[p] * ll_new);
                better = and_m(and_m(better, gt(ll_new, splat(0.0f))), gt(lx_others, splat(0.0f)));
                better = and_m(better, ne(c, code[i]));
                moved[p] = moved[p] || any(better);
                code[i] = select_r(better, c, code[i]);
                lx_own[i] = select_r(better, lx_c, lx_own[i]);
                ll_own[i] = select_r(better, ll_c, ll_own[i]);
                lx[p] = select_r(better, lx_new, lx[p]);
                ll[p] = select_r(better, ll_new, ll[p]);
            }
        if (!moved[0] && !moved[1]) break;
    }
    q3_K_part s;
    for (int p = 0; p < 2; p++) {
        s.scale[p] = select_r(gt(ll[p], splat(0.0f)), div_rn(lx[p], ll[p]), splat(0.0f));
        s.scale[p] = select_r(nothing[p], splat(0.0f), s.scale[p]);
        s.weight[p] = splat(0.0f);
        for (int k = 2 * p; k < 2 * p + 2; k++) {
            REAL digits = splat(0.0f);
            for (int i = 8 * k + 7; i >= 8 * k; i--) digits = digits * 8.0f + (code[i] + 4.0f);
            s.codes[k] = select_r(nothing[p], splat(0.0f), digits);
        }
    }
    return s;
}

/* With importance, codes and scale come of one search. */
LARGE q3_K_part q3_K_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum * 2.0f * 0.00390625f);
    symmetric f = fit_symmetric(x, w, 32, 2, 4.0f);
    q3_K_part s;
    for (int p = 0; p < 2; p++) {
        s.scale[p] = f.scale[p];
        s.weight[p] = splat(0.0f);
        for (int i = 16 * p; i < 16 * p + 16; i++) s.weight[p] = s.weight[p] + w[i];
        for (int k = 2 * p; k < 2 * p + 2; k++) {
            s.codes[k] = splat(0.0f);
            for (int i = 8 * k + 7; i >= 8 * k; i--)
                s.codes[k] = s.codes[k] * 8.0f + symmetric_code(x[i], f.inverse[p], 4.0f);
        }
    }
    return s;
}

FN REAL q3_K_share(q3_K_part s, int k) { return k < 2 ? s.scale[k] : s.weight[k - 2]; }

/* The lane's parameters from the block's step in binary16 and u for each half. */
FN q3_K_params q3_K_counted(q3_K_part s, REAL d, UINT first, UINT second) {
    q3_K_params p;
    p.d[0] = mul_v(d, to_real(INT_OF(first) - 32));
    p.d[1] = mul_v(d, to_real(INT_OF(second) - 32));
    for (int k = 0; k < 2; k++) p.per_d[k] = div_rn(splat(1.0f), p.d[k]);
    p.stays = any(or_m(eq(p.d[0], splat(0.0f)), eq(p.d[1], splat(0.0f))));
    p.tame = !p.stays && nan_safe(p.d[0]) && nan_safe(p.d[1]);
    for (int k = 0; k < 4; k++) p.codes[k] = s.codes[k];
    p.head = f16_bits(d) | first << 16 | second << 24;
    return p;
}

FN q3_K_params q3_K_fold(q3_K_part s, PEERS(peers)) {
    REAL scale[32];
    for (int j = 0; j < 8; j++)
        for (int k = 0; k < 2; k++) scale[2 * j + k] = PEER(peers, k, j);
    REAL max = signed_max(scale, 0, 16);
    MASK nothing = eq(max, splat(0.0f));
    REAL inverse = div_rn(splat(-32.0f), max);
    REAL d = select_r(nothing, splat(0.0f), f16_round(div_rn(splat(1.0f), inverse)));
    UINT u[2];
    for (int k = 0; k < 2; k++) {
        INT l = ((nearest_int(inverse * s.scale[k]) + 128) & 255) - 128; /* a cast to a signed byte */
        u[k] = select_u(nothing, splat_u(0u), UINT_OF(max_i(min_i(l, splat_i(31)), splat_i(-32)) + 32));
    }
    return q3_K_counted(s, d, u[0], u[1]);
}

/* With importance the scales' own scale is searched for as that of elements is. */
FN q3_K_params q3_K_fold_weighted(q3_K_part s, PEERS(peers)) {
    REAL scale[32], weight[32];
    for (int j = 0; j < 8; j++)
        for (int k = 0; k < 2; k++) {
            scale[2 * j + k] = PEER(peers, k, j);
            weight[2 * j + k] = PEER(peers, k + 2, j);
        }
    symmetric f = fit_symmetric(scale, weight, 16, 1, 32.0f);
    UINT u[2];
    for (int k = 0; k < 2; k++) u[k] = UINT_OF(to_int(symmetric_code(s.scale[k], f.inverse[0], 32.0f)));
    return q3_K_counted(s, f16_round(f.scale[0]), u[0], u[1]);
}

FN REAL q3_K_code(REAL x, q3_K_params p, int i) {
    REAL d = p.d[i / 16];
    REAL c = quotient_code(x, d, p.per_d[i / 16], -4.0f, 3.0f, p.tame) + 4.0f;
    if (!p.tame && p.stays) {
        INT kept = to_int(p.codes[i / 8]) >> (3 * (i & 7)) & 7;
        c = select_r(eq(d, splat(0.0f)), to_real(kept), c);
    }
    return c;
}

FN REAL q3_K_value(REAL code, q3_K_params p, int i) { return mul_tame(p.tame, p.d[i / 16], code - 4.0f); }

FN UINT q3_K_head(q3_K_params p, int k) { return p.head; }

#ifdef BYTES_IN

/* u of elements 16 s …, s = 0 … 15, from the heads. */
#define q3_K_u(h, s) (HEAD(h, 0, (s) / 2) >> (16 + 8 * ((s)&1)) & 255u)

FN void q3_K_pack(PACK_ARGS(c, h, b)) {
    PARALLEL(i, 32) {
        UINT third = splat_u(0u);
        for (int j = 0; j < 8; j++) third = third | CODE(c, 32 * j + i) >> 2 << j;
        PUT8(b, i, third);
    }
    PARALLEL(j, 64) {
        int i = j / 32 * 128 + j % 32;
        PUT8(b, 32 + j,
             (CODE(c, i) & 3u) | (CODE(c, i + 32) & 3u) << 2 | (CODE(c, i + 64) & 3u) << 4 |
                 (CODE(c, i + 96) & 3u) << 6);
    }
    PARALLEL(s, 8) PUT8(b, 96 + s, (q3_K_u(h, s) & 15u) | (q3_K_u(h, s + 8) & 15u) << 4);
    PARALLEL(s, 4) {
        UINT high = q3_K_u(h, s) >> 4 | q3_K_u(h, s + 4) >> 4 << 2;
        PUT8(b, 104 + s, high | q3_K_u(h, s + 8) >> 4 << 4 | q3_K_u(h, s + 12) >> 4 << 6);
    }
    ONCE PUT16(b, 108, HEAD(h, 0, 0));
}

FN q3_K_params q3_K_read(BYTES_IN(b), int lane) {
    q3_K_params p;
    REAL d = f16_value(GET16(b, 108));
    for (int k = 0; k < 2; k++) {
        int s = 2 * lane + k;
        UINT low = GET8(b, 96 + (s & 7)) >> s / 8 * 4 & 15u;
        UINT high = GET8(b, 104 + (s & 3)) >> s / 4 * 2 & 3u;
        p.d[k] = mul_v(d, to_real(INT_OF(low | high << 4) - 32));
        p.per_d[k] = splat(0.0f);
    }
    for (int k = 0; k < 4; k++) p.codes[k] = splat(0.0f);
    p.stays = false;
    p.tame = nan_safe(p.d[0]) && nan_safe(p.d[1]);
    p.head = splat_u(0u);
    return p;
}

FN void q3_K_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) {
        UINT low = GET8(b, 32 + lane / 4 * 32 + i) >> (lane & 3) * 2 & 3u;
        c[i] = INT_OF(low | (GET8(b, i) >> lane & 1u) << 2);
    }
}

#endif
