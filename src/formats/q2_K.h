/* Q2_K: a super-block of 256 elements; each 16 share a scale d and a minimum m, which are whole multiples, 0 … 15, of
 * the super-block's D and M. A code q is 0 … 3 and stands for q d - m.
 *
 *   byte s            the minimum | the scale of elements 16 s … 16 s + 15                 (high | low half)
 *        16 + 32 k + i  lane 4 k + 3's q[i] | 4 k + 2's | 4 k + 1's | 4 k's                (2 bits each)
 *        80 81  D f16     82 83  M f16
 *
 * Elements weigh their magnitudes, and so do errors. Source of the algorithm: ggml, quantize_row_q2_K_ref,
 * dequantize_row_q2_K. */
#include "affine.h"
#include "steps.h"

#define q2_K_LANES        8
#define q2_K_HEADS        2
#define q2_K_BYTES        84
#define q2_K_SHARED       6
#define q2_K_SUM          SUM_NONE
#define q2_K_IMPORTANCE   1
#define q2_K_WEIGHTED_SUM SUM_SQUARES
#define q2_K_LIGHT        0
#define q2_K_UNROLLED     1

#define q2_K_part          affine
#define q2_K_code_weighted q2_K_code

STRUCT(q2_K_params) {
    REAL d[2], m[2], per_d[2]; /* per_d: 1 / d */
    REAL inverse[2], base[2];  /* where d is 0, the fit's codes stay */
    bool stays;                /* in some lane */
    bool tame;                 /* also: no lane stays */
    UINT steps, own;
};

LARGE q2_K_part q2_K_fit(BLOCK_IN(x), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = abs_(x[i]);
    return fit_affine(x, w, 2, 3.0f, -0.5f, 0.1f, 16, true);
}

LARGE q2_K_part q2_K_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum * 0.00390625f);
    return fit_affine(x, w, 2, 3.0f, -0.9f, 0.05f, 37, false);
}

FN REAL q2_K_share(q2_K_part s, int k) { return k < 2 ? s.scale[k] : k < 4 ? s.min[k - 2] : s.weight[k - 4]; }

/* The lane's parameters from the block's steps and the counts of its scales and minima, one byte for each half. */
FN q2_K_params q2_K_counted(q2_K_part s, REAL d, REAL m, UINT first, UINT second) {
    q2_K_params p;
    REAL dh = f16_round(d), mh = f16_round(m);
    for (int k = 0; k < 2; k++) {
        UINT count = k == 0 ? first : second;
        p.d[k] = mul_v(dh, to_real(INT_OF(count & 15u)));
        p.m[k] = mul_v(mh, to_real(INT_OF(count >> 4)));
        p.per_d[k] = div_rn(splat(1.0f), p.d[k]);
        p.inverse[k] = s.inverse[k];
        p.base[k] = s.base[k];
    }
    p.stays = any(or_m(eq(p.d[0], splat(0.0f)), eq(p.d[1], splat(0.0f))));
    p.tame = !p.stays && nan_safe(p.d[0]) && nan_safe(p.d[1]) && nan_safe(p.m[0]) && nan_safe(p.m[1]);
    p.steps = f16_bits(dh) | f16_bits(mh) << 16;
    p.own = first | second << 8;
    return p;
}

/* v counted in 15ths of the block's largest, top; a byte, as a C cast makes it. */
FN UINT q2_K_count(REAL v, REAL top) {
    REAL inverse = select_r(gt(top, splat(0.0f)), div_rn(splat(15.0f), top), splat(0.0f));
    return UINT_OF(nearest_int(inverse * v)) & 255u;
}

FN q2_K_params q2_K_fold(q2_K_part s, PEERS(peers)) {
    REAL scale = splat(0.0f), min = splat(0.0f);
    for (int j = 0; j < 8; j++)
        for (int k = 0; k < 2; k++) {
            scale = max_r(PEER(peers, k, j), scale);
            min = max_r(PEER(peers, k + 2, j), min);
        }
    UINT first = (q2_K_count(s.scale[0], scale) | q2_K_count(s.min[0], min) << 4) & 255u;
    UINT second = (q2_K_count(s.scale[1], scale) | q2_K_count(s.min[1], min) << 4) & 255u;
    return q2_K_counted(s, div_rn(scale, splat(15.0f)), div_rn(min, splat(15.0f)), first, second);
}

FN q2_K_params q2_K_fold_weighted(q2_K_part s, PEERS(peers)) {
    REAL scale[32], min[32], weight[32];
    for (int j = 0; j < 8; j++)
        for (int k = 0; k < 2; k++) {
            scale[2 * j + k] = PEER(peers, k, j);
            min[2 * j + k] = PEER(peers, k + 2, j);
            weight[2 * j + k] = PEER(peers, k + 4, j);
        }
    steps d = fit_steps(scale, weight, 16, 15.0f);
    steps m = fit_steps(min, weight, 16, 15.0f);
    INT own[2];
    own[0] = own[1] = splat_i(0);
    for (int j = 0; j < 8; j++)
        for (int k = 0; k < 2; k++) {
            INT count = to_int(d.count[2 * j + k]) | (to_int(m.count[2 * j + k]) << 4 & 255);
            own[k] = select_i(eq_i(PEER_INDEX(peers), splat_i(j)), count, own[k]);
        }
    return q2_K_counted(s, d.step, m.step, UINT_OF(own[0]), UINT_OF(own[1]));
}

FN REAL q2_K_code(REAL x, q2_K_params p, int i) {
    int k = i / 16;
    REAL c = quotient_code(x + p.m[k], p.d[k], p.per_d[k], 0.0f, 3.0f, p.tame);
    if (!p.tame && p.stays) c = select_r(eq(p.d[k], splat(0.0f)), whole_code(p.inverse[k] * (x - p.base[k]), 3.0f), c);
    return c;
}

FN REAL q2_K_value(REAL code, q2_K_params p, int i) {
    int k = i / 16;
    return p.tame ? p.d[k] * code - p.m[k] : sub_v(mul_v(p.d[k], code), p.m[k]);
}

FN UINT q2_K_head(q2_K_params p, int k) { return k == 0 ? p.steps : p.own; }

#ifdef BYTES_IN

FN void q2_K_pack(PACK_ARGS(c, h, b)) {
    PARALLEL(j, 8) PUT16(b, 2 * j, HEAD(h, 1, j));
    PARALLEL(j, 64) {
        int i = j / 32 * 128 + j % 32;
        PUT8(b, 16 + j, CODE(c, i) | CODE(c, i + 32) << 2 | CODE(c, i + 64) << 4 | CODE(c, i + 96) << 6);
    }
    ONCE PUT32(b, 80, HEAD(h, 0, 0));
}

FN q2_K_params q2_K_read(BYTES_IN(b), int lane) {
    q2_K_params p;
    for (int k = 0; k < 2; k++) {
        UINT count = GET8(b, 2 * lane + k);
        p.d[k] = mul_v(f16_value(GET16(b, 80)), to_real(INT_OF(count & 15u)));
        p.m[k] = mul_v(f16_value(GET16(b, 82)), to_real(INT_OF(count >> 4)));
        p.per_d[k] = p.inverse[k] = p.base[k] = splat(0.0f);
    }
    p.stays = false;
    p.tame = nan_safe(p.d[0]) && nan_safe(p.d[1]) && nan_safe(p.m[0]) && nan_safe(p.m[1]);
    p.steps = p.own = splat_u(0u);
    return p;
}

FN void q2_K_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) c[i] = INT_OF((GET8(b, 16 + lane / 4 * 32 + i) >> (lane & 3) * 2) & 3u);
}

#endif
