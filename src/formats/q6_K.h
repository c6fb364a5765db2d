/* Q6_K: a super-block of 256 elements; each 16 share a scale d, a whole multiple, -128 … 127, of the super-block's D. A
 * code q is 0 … 63 and stands for (q - 32) d.
 *
 *   byte 64 k + i        lane 4 k + 2's q[i] & 15 | lane 4 k's q[i] & 15        (high | low half)
 *        64 k + 32 + i   lane 4 k + 3's           | lane 4 k + 1's
 *        128 + 32 k + i  lane 4 k + 3's q[i] >> 4 | 4 k + 2's | 4 k + 1's | 4 k's    (2 bits each)
 *        192 + s         the scale of elements 16 s … 16 s + 15
 *        208 209         D f16
 *
 * Elements weigh their squares. Source of the algorithm: ggml, quantize_row_q6_K_ref, dequantize_row_q6_K. */
#include "symmetric.h"

#define q6_K_LANES        8
#define q6_K_HEADS        1
#define q6_K_BYTES        210
#define q6_K_SHARED       2
#define q6_K_SUM          SUM_NONE
#define q6_K_IMPORTANCE   1
#define q6_K_WEIGHTED_SUM SUM_NONE
#define q6_K_LIGHT        0
#define q6_K_UNROLLED     1

#define q6_K_part          symmetric
#define q6_K_fold_weighted q6_K_fold
#define q6_K_code_weighted q6_K_code

STRUCT(q6_K_params) {
    REAL d[2], per_d[2]; /* per_d: 1 / d */
    REAL inverse[2];     /* where d is 0, the fit's codes stay */
    bool stays;          /* in some lane */
    bool tame;           /* also: no lane stays */
    UINT head;
};

LARGE q6_K_part q6_K_fit(BLOCK_IN(x), REAL sum) {
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];
    return fit_symmetric(x, w, 32, 2, 32.0f);
}

LARGE q6_K_part q6_K_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) { return fit_symmetric(x, m, 32, 2, 32.0f); }

FN REAL q6_K_share(q6_K_part s, int k) { return s.scale[k]; }

FN q6_K_params q6_K_fold(q6_K_part s, PEERS(peers)) {
    REAL scale[32];
    for (int j = 0; j < 8; j++)
        for (int k = 0; k < 2; k++) scale[2 * j + k] = PEER(peers, k, j);
    REAL max = signed_max(scale, 0, 16);
    MASK nothing = lt(abs_(max), splat(1e-15f));
    REAL inverse = div_rn(splat(-128.0f), max);
    REAL d = select_r(nothing, splat(0.0f), f16_round(div_rn(splat(1.0f), inverse)));
    q6_K_params p;
    p.head = f16_bits(d);
    for (int k = 0; k < 2; k++) {
        UINT count = UINT_OF(min_i(nearest_int(inverse * s.scale[k]), splat_i(127))) & 255u;
        count = select_u(nothing, splat_u(0u), count);
        p.d[k] = mul_v(d, to_real(INT_OF(count ^ 128u) - 128));
        p.per_d[k] = div_rn(splat(1.0f), p.d[k]);
        p.inverse[k] = select_r(nothing, INVERSE_OF_NOTHING, s.inverse[k]);
        p.head = p.head | count << (16 + 8 * k);
    }
    p.stays = any(or_m(eq(p.d[0], splat(0.0f)), eq(p.d[1], splat(0.0f))));
    p.tame = !p.stays && nan_safe(p.d[0]) && nan_safe(p.d[1]);
    return p;
}

FN REAL q6_K_code(REAL x, q6_K_params p, int i) {
    REAL d = p.d[i / 16];
    REAL c = quotient_code(x, d, p.per_d[i / 16], -32.0f, 31.0f, p.tame) + 32.0f;
    if (!p.tame && p.stays) c = select_r(eq(d, splat(0.0f)), symmetric_code(x, p.inverse[i / 16], 32.0f), c);
    return c;
}

FN REAL q6_K_value(REAL code, q6_K_params p, int i) { return mul_tame(p.tame, p.d[i / 16], code - 32.0f); }

FN UINT q6_K_head(q6_K_params p, int k) { return p.head; }

#ifdef BYTES_IN

FN void q6_K_pack(PACK_ARGS(c, h, b)) {
    PARALLEL(j, 64) {
        int i = j / 32 * 128 + j % 32;
        PUT8(b, j / 32 * 64 + j % 32, (CODE(c, i) & 15u) | (CODE(c, i + 64) & 15u) << 4);
        PUT8(b, j / 32 * 64 + j % 32 + 32, (CODE(c, i + 32) & 15u) | (CODE(c, i + 96) & 15u) << 4);
        PUT8(b, 128 + j,
             CODE(c, i) >> 4 | CODE(c, i + 32) >> 4 << 2 | CODE(c, i + 64) >> 4 << 4 | CODE(c, i + 96) >> 4 << 6);
    }
    PARALLEL(j, 8) PUT16(b, 192 + 2 * j, HEAD(h, 0, j) >> 16);
    ONCE PUT16(b, 208, HEAD(h, 0, 0));
}

FN q6_K_params q6_K_read(BYTES_IN(b), int lane) {
    q6_K_params p;
    REAL d = f16_value(GET16(b, 208));
    for (int k = 0; k < 2; k++) {
        p.d[k] = mul_v(d, to_real(INT_OF(GET8(b, 192 + 2 * lane + k) ^ 128u) - 128));
        p.per_d[k] = p.inverse[k] = splat(0.0f);
    }
    p.stays = false;
    p.tame = nan_safe(p.d[0]) && nan_safe(p.d[1]);
    p.head = splat_u(0u);
    return p;
}

FN void q6_K_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) {
        UINT low = GET8(b, lane / 4 * 64 + (lane & 1) * 32 + i) >> (lane & 2) * 2;
        UINT high = GET8(b, 128 + lane / 4 * 32 + i) >> (lane & 3) * 2;
        c[i] = INT_OF((low & 15u) | (high & 3u) << 4);
    }
}

#endif
