/* TOY6: 32 elements share a scale d; a code q is -32 … 31, stored as q + 32, and stands for q d. Of no model: the format
 * that tests/walk adds.
 *
 *   byte 0 1    2 + 3 k …
 *        d f16  four codes of 6 bits, 4 k … 4 k + 3, the first lowest
 *
 * d = amax / 31. Codes come from the unrounded scale, values from the binary16 one. */
#include "fits.h"

#define toy6_LANES        1
#define toy6_HEADS        1
#define toy6_BYTES        26
#define toy6_SHARED       0
#define toy6_SUM          SUM_NONE
#define toy6_IMPORTANCE   0
#define toy6_WEIGHTED_SUM SUM_NONE
#define toy6_LIGHT        1
#define toy6_UNROLLED     0

STRUCT(toy6_params) {
    REAL d, inverse;
    bool tame;
};

FN toy6_params toy6_fit(BLOCK_IN(x), REAL sum) {
    toy6_params p;
    magnitude m = max_magnitude(x);
    REAL d = div_rn(m.max, splat(31.0f));
    p.inverse = inverse(d);
    p.d = f16_round(d);
    p.tame = m.finite && !any(eq(p.inverse, as_real(splat_u(0x7f800000u)))) && nan_safe(p.d);
    return p;
}

FN REAL toy6_code(REAL x, toy6_params p, int i) { return signed_code(x * p.inverse, 32.0f); }

FN REAL toy6_value(REAL code, toy6_params p, int i) { return mul_tame(p.tame, code, p.d); }

FN UINT toy6_head(toy6_params p, int k) { return f16_bits(p.d); }

#ifdef BYTES_IN

/* The six bits of code i. */
#define toy6_bits(c, i) ((CODE(c, i) + 32u) & 63u)

FN void toy6_pack(PACK_ARGS(c, h, b)) {
    ONCE PUT16(b, 0, HEAD(h, 0, 0));
    PARALLEL(k, 8) {
        UINT first = toy6_bits(c, 4 * k) | toy6_bits(c, 4 * k + 1) << 6;
        UINT four = first | toy6_bits(c, 4 * k + 2) << 12 | toy6_bits(c, 4 * k + 3) << 18;
        PUT8(b, 2 + 3 * k, four);
        PUT8(b, 3 + 3 * k, four >> 8);
        PUT8(b, 4 + 3 * k, four >> 16);
    }
}

FN toy6_params toy6_read(BYTES_IN(b), int lane) {
    toy6_params p;
    p.d = f16_value(GET16(b, 0));
    p.tame = nan_safe(p.d);
    p.inverse = splat(0.0f);
    return p;
}

FN void toy6_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int k = 0; k < 8; k++) {
        UINT four = GET16(b, 2 + 3 * k) | GET8(b, 4 + 3 * k) << 16;
        for (int i = 0; i < 4; i++) c[4 * k + i] = INT_OF(four >> (6 * i) & 63u) - 32;
    }
}

#endif
