/* Super-blocks of eight lanes with a scale and a minimum each, in six bits: what Q4_K and Q5_K share.
 *
 * Twelve bytes hold the eight scales s and the eight minima m (high | low bits of the byte):
 *
 *   byte 0 … 3    s4 >> 4 | s0    s5 >> 4 | s1    s6 >> 4 | s2    s7 >> 4 | s3      (2 | 6 bits)
 *        4 … 7    m4 >> 4 | m0    m5 >> 4 | m1    m6 >> 4 | m2    m7 >> 4 | m3      (2 | 6 bits)
 *        8 … 11   m4 & 15 | s4 & 15    m5 & 15 | s5 & 15    …                       (4 | 4 bits)
 *
 * Source of the algorithm: ggml, quantize_row_q4_K_ref, quantize_row_q5_K_ref, get_scale_min_k4. */
#ifndef QDQ_FORMATS_SIX_BIT_H
#define QDQ_FORMATS_SIX_BIT_H

#include "affine.h"
#include "steps.h"

STRUCT(six_bit_part) {
    REAL scale, min, weight; /* of the lane, as fitted */
    REAL inverse, base;      /* the fit's codes come of these */
};

STRUCT(six_bit_params) {
    REAL d, m;          /* a code q stands for q d - m */
    REAL per_d;         /* 1 / d */
    REAL inverse, base; /* where d is 0, the fit's codes stay */
    bool stays;         /* in some lane */
    bool tame;          /* also: no lane stays */
    UINT steps, own;    /* for the packer: the block's two binary16, the lane's scale and minimum */
};

FN REAL six_bit_share(six_bit_part s, int k) { return k == 0 ? s.scale : k == 1 ? s.min : s.weight; }

FN six_bit_part six_bit_found(affine f) {
    six_bit_part s;
    s.scale = f.scale[0];
    s.min = f.min[0];
    s.weight = f.weight[0];
    s.inverse = f.inverse[0];
    s.base = f.base[0];
    return s;
}

/* Elements weigh their magnitude plus the lane's root mean square. */
FN six_bit_part six_bit_fit(BLOCK_IN(x), float top, float first, int turns) {
    REAL w[32], squares = splat(0.0f);
    for (int i = 0; i < 32; i++) squares = squares + x[i] * x[i];
    REAL level = sqrt_rn(squares * 0.03125f);
    for (int i = 0; i < 32; i++) w[i] = level + abs_(x[i]);
    return six_bit_found(fit_affine(x, w, 1, top, first, 0.1f, turns, false));
}

FN six_bit_part six_bit_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum, float top) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum * 2.0f * 0.00390625f);
    return six_bit_found(fit_affine(x, w, 1, top, -0.9f, 0.05f, 37, false));
}

/* A count as it is read back. It may be a byte too large for its place, if what it counts was negative: then what
 * is over six bits falls into the two upper bits of the lane four later. before: the count of the lane four earlier. */
FN INT six_bit_kept(INT count, INT before) { return (count & 15) | ((count >> 4 | before >> 6) & 3) << 4; }

/* The lane's parameters from the block's steps and the lane's scale and minimum, as counted and as read back. */
FN six_bit_params six_bit_counted(six_bit_part s, REAL d, REAL m, INT scale, INT min, INT scale_kept, INT min_kept) {
    six_bit_params p;
    REAL dh = f16_round(d), mh = f16_round(m);
    p.d = mul_v(dh, to_real(scale_kept));
    p.m = mul_v(mh, to_real(min_kept));
    p.per_d = div_rn(splat(1.0f), p.d);
    p.inverse = s.inverse;
    p.base = s.base;
    p.stays = any(eq(p.d, splat(0.0f)));
    p.tame = !p.stays && nan_safe(p.d) && nan_safe(p.m);
    p.steps = f16_bits(dh) | f16_bits(mh) << 16;
    p.own = UINT_OF(scale) | UINT_OF(min) << 8;
    return p;
}

/* v counted in 63rds of the block's largest, top. A negative v comes out large, as it does in a C cast to a byte. */
FN INT six_bit_count(REAL v, REAL top) {
    REAL inverse = select_r(gt(top, splat(0.0f)), div_rn(splat(63.0f), top), splat(0.0f));
    return min_i(nearest_int(inverse * v) & 255, splat_i(63));
}

FN six_bit_params six_bit_fold(six_bit_part s, PEERS(peers)) {
    REAL scale = splat(0.0f), min = splat(0.0f);
    for (int j = 0; j < 8; j++) {
        scale = max_r(PEER(peers, 0, j), scale);
        min = max_r(PEER(peers, 1, j), min);
    }
    INT own_scale = six_bit_count(s.scale, scale), own_min = six_bit_count(s.min, min);
    return six_bit_counted(s, div_rn(scale, splat(63.0f)), div_rn(min, splat(63.0f)), own_scale, own_min, own_scale,
                           own_min);
}

/* most: the largest count that is packed. */
FN six_bit_params six_bit_fold_weighted(six_bit_part s, PEERS(peers), int most) {
    REAL scale[32], min[32], weight[32];
    for (int j = 0; j < 8; j++) {
        scale[j] = PEER(peers, 0, j);
        min[j] = PEER(peers, 1, j);
        weight[j] = PEER(peers, 2, j);
    }
    steps d = fit_steps(scale, weight, 8, 63.0f);
    steps m = fit_steps(min, weight, 8, 63.0f);
    INT own_scale = splat_i(0), own_min = splat_i(0), scale_before = splat_i(0), min_before = splat_i(0);
    for (int j = 0; j < 8; j++) {
        MASK own = eq_i(PEER_INDEX(peers), splat_i(j)), later = eq_i(PEER_INDEX(peers), splat_i(j + 4));
        INT a = min_i(to_int(d.count[j]), splat_i(most)), b = min_i(to_int(m.count[j]), splat_i(most));
        own_scale = select_i(own, a, own_scale);
        own_min = select_i(own, b, own_min);
        scale_before = select_i(later, a, scale_before);
        min_before = select_i(later, b, min_before);
    }
    return six_bit_counted(s, d.step, m.step, own_scale, own_min, six_bit_kept(own_scale, scale_before),
                           six_bit_kept(own_min, min_before));
}

FN REAL six_bit_code(REAL x, six_bit_params p, float top) {
    REAL c = quotient_code(x + p.m, p.d, p.per_d, 0.0f, top, p.tame);
    if (!p.tame && p.stays) c = select_r(eq(p.d, splat(0.0f)), whole_code(p.inverse * (x - p.base), top), c);
    return c;
}

FN REAL six_bit_value(REAL code, six_bit_params p) { return p.tame ? code * p.d - p.m : sub_v(mul_v(code, p.d), p.m); }

FN UINT six_bit_head(six_bit_params p, int k) { return k == 0 ? p.steps : p.own; }

#ifdef BYTES_IN

/* The 16 bytes of steps, scales and minima. */
FN void six_bit_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT32(b, 0, HEAD(h, 0, 0));
    PARALLEL(j, 4) {
        UINT early = HEAD(h, 1, j), late = HEAD(h, 1, j + 4);
        UINT scale = late & 255u, min = late >> 8;
        PUT8(b, 4 + j, (early & 255u) | scale >> 4 << 6);
        PUT8(b, 8 + j, early >> 8 | min >> 4 << 6);
        PUT8(b, 12 + j, (scale & 15u) | (min & 15u) << 4);
    }
}

FN six_bit_params six_bit_read(BYTES_IN(b), int lane) {
    UINT early = GET8(b, 4 + (lane & 3)), early_min = GET8(b, 8 + (lane & 3)), late = GET8(b, 12 + (lane & 3));
    UINT scale = lane < 4 ? early & 63u : (late & 15u) | early >> 6 << 4;
    UINT min = lane < 4 ? early_min & 63u : late >> 4 | early_min >> 6 << 4;
    six_bit_params p;
    p.d = mul_v(f16_value(GET16(b, 0)), to_real(INT_OF(scale)));
    p.m = mul_v(f16_value(GET16(b, 2)), to_real(INT_OF(min)));
    p.per_d = p.inverse = p.base = splat(0.0f);
    p.stays = false;
    p.tame = nan_safe(p.d) && nan_safe(p.m);
    p.steps = p.own = splat_u(0u);
    return p;
}

#endif
#endif
