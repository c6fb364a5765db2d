/* What the ternary formats share: a super-block of 256 elements has one scale d, its largest magnitude; a code q is 0,
 * 1 or 2 and stands for (q - 1) d. Quotients are rounded half away from zero; where the inverse of d overflows, all
 * are 1, as ggml's conversions give on x86. */
#ifndef QDQ_FORMATS_TQ_H
#define QDQ_FORMATS_TQ_H

#include "fits.h"

STRUCT(tq_part) { REAL max; };

STRUCT(tq_params) {
    REAL d, inverse;
    bool tame;
};

FN tq_part tq_fit(BLOCK_IN(x), REAL sum) {
    magnitude m = max_magnitude(x);
    tq_part s;
    s.max = m.max;
    return s;
}

FN REAL tq_share(tq_part s, int k) { return s.max; }

FN tq_params tq_fold(tq_part s, PEERS(peers)) {
    REAL d = splat(0.0f);
    for (int j = 0; j < 8; j++) d = max_r(PEER(peers, 0, j), d);
    tq_params p;
    p.d = f16_round(d);
    p.tame = nan_safe(p.d);
    p.inverse = inverse(d);
    return p;
}

FN REAL tq_code(REAL x, tq_params p) {
    REAL v = x * p.inverse;
    return select_r(lt(abs_(v), splat(2.0f)), round_half_away(v), splat(0.0f)) + 1.0f;
}

FN REAL tq_value(REAL code, tq_params p) { return mul_tame(p.tame, code - 1.0f, p.d); }

FN UINT tq_head(tq_params p, int k) { return f16_bits(p.d); }

#ifdef BYTES_IN

FN tq_params tq_read(UINT d) {
    tq_params p;
    p.d = f16_value(d);
    p.tame = nan_safe(p.d);
    p.inverse = splat(0.0f);
    return p;
}

#endif
#endif
