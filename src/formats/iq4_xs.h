/* IQ4_XS: a super-block of 256 elements; a lane's 32 share a scale d, a whole multiple, -32 … 31, of the super-block's
 * D. A code q is 0 … 15 and stands for d times the value number q (iq4.h). With u = 32 more than the multiple:
 *
 *   byte 0 1    2 3                      4 + k                           8 + 16 j + i
 *        D f16  bits 2 j: u of lane j,   lane 2 k + 1's u & 15           lane j's q[16+i] | lane j's q[i]
 *               its upper two            | lane 2 k's u & 15, to byte 7  (high | low half of the byte)
 *
 * As IQ4_NL otherwise. Source of the algorithm: ggml, quantize_iq4_xs, dequantize_row_iq4_xs. */
#include "iq4.h"

#define iq4_xs_LANES        8
#define iq4_xs_HEADS        1
#define iq4_xs_BYTES        136
#define iq4_xs_SHARED       1
#define iq4_xs_SUM          SUM_NONE
#define iq4_xs_IMPORTANCE   1
#define iq4_xs_WEIGHTED_SUM SUM_SQUARES
#define iq4_xs_LIGHT        0
#define iq4_xs_UNROLLED     1

#define iq4_xs_code_weighted iq4_xs_code
#define iq4_xs_fold_weighted iq4_xs_fold

STRUCT(iq4_xs_part) { REAL scale; };

STRUCT(iq4_xs_params) {
    REAL d, inverse;
    bool tame;
    UINT head; /* D, and u above it */
};

LARGE iq4_xs_part iq4_xs_fit(BLOCK_IN(x), REAL sum) {
    iq4_xs_part s;
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];
    s.scale = iq4_scale(x, w);
    return s;
}

LARGE iq4_xs_part iq4_xs_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) {
    iq4_xs_part s;
    REAL w[32];
    for (int i = 0; i < 32; i++) w[i] = importance_weight(x[i], m[i], sum * 0.0078125f);
    s.scale = iq4_scale(x, w);
    return s;
}

FN REAL iq4_xs_share(iq4_xs_part s, int k) { return s.scale; }

FN iq4_xs_params iq4_xs_fold(iq4_xs_part s, PEERS(peers)) {
    REAL scale[32];
    for (int j = 0; j < 8; j++) scale[j] = PEER(peers, 0, j);
    REAL max = signed_max(scale, 0, 8), step = max * -0.03125f, dh = f16_round(step);
    INT count = max_i(min_i(nearest_int(inverse(step) * s.scale), splat_i(31)), splat_i(-32));
    iq4_xs_params p;
    p.d = mul_v(dh, to_real(count));
    p.tame = nan_safe(p.d);
    p.inverse = inverse(step * to_real(count));
    p.head = f16_bits(dh) | UINT_OF(count + 32) << 16;
    return p;
}

FN REAL iq4_xs_code(REAL x, iq4_xs_params p, int i) { return iq4_code(x * p.inverse); }

FN REAL iq4_xs_value(REAL code, iq4_xs_params p, int i) { return mul_tame(p.tame, p.d, iq4_value(code)); }

FN UINT iq4_xs_head(iq4_xs_params p, int k) { return p.head; }

#ifdef BYTES_IN

FN void iq4_xs_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(k, 2) {
        UINT high = splat_u(0u);
        for (int j = 0; j < 4; j++) high = high | HEAD(h, 0, 4 * k + j) >> 20 << (2 * j);
        PUT8(b, 2 + k, high);
    }
    PARALLEL(k, 4) PUT8(b, 4 + k, (HEAD(h, 0, 2 * k) >> 16 & 15u) | (HEAD(h, 0, 2 * k + 1) >> 16 & 15u) << 4);
    PARALLEL(j, 128) {
        int i = j / 16 * 32 + j % 16;
        PUT8(b, 8 + j, CODE(c, i) | CODE(c, i + 16) << 4);
    }
}

FN iq4_xs_params iq4_xs_read(BYTES_IN(b), int lane) {
    UINT low = GET8(b, 4 + lane / 2) >> (lane & 1) * 4 & 15u;
    UINT high = GET16(b, 2) >> (2 * lane) & 3u;
    iq4_xs_params p;
    p.d = mul_v(f16_value(GET16(b, 0)), to_real(INT_OF(low | high << 4) - 32));
    p.tame = nan_safe(p.d);
    p.inverse = splat(0.0f);
    p.head = splat_u(0u);
    return p;
}

FN void iq4_xs_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int j = 0; j < 16; j++) {
        UINT pair = GET8(b, 8 + 16 * lane + j);
        c[j] = INT_OF(pair & 15u);
        c[j + 16] = INT_OF(pair >> 4);
    }
}

#endif
