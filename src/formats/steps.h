/* The search for the step in which a super-block counts its scales, or its minima, by weight; after ggml's
 * make_qp_quants. */
#ifndef QDQ_FORMATS_STEPS_H
#define QDQ_FORMATS_STEPS_H

#include "fits.h"

STRUCT(steps) { REAL step, count[32]; /* counts are bytes: a negative one comes out large, as a C cast makes it */ };

/* Counts are all within 0 … top where no value is negative; calm says so. */
FN REAL step_count(REAL v, bool calm, float top) {
    return min_r(calm ? nearest(v) : to_real(nearest_int(v)), splat(top));
}
FN REAL step_byte(REAL count, bool calm) { return calm ? count : to_real(to_int(count) & 255); }

/* The first n values v with weights w. Of nine inverse steps around top / max the one with the least error gives
 * counts; then one value after another takes the count that suits the least-squares step of all the others, five times
 * at most. Where all values are next to nothing or negative, all is 0. */
FN steps fit_steps(BLOCK_IN(v), BLOCK_IN(w), int n, float top) {
    steps f;
    REAL max = splat(0.0f);
    MASK odd = lt(max, max);
    for (int i = 0; i < n; i++) {
        max = max_r(max, v[i]);
        odd = or_m(odd, not_m(ge(v[i], splat(0.0f)))); /* negative, or a NaN */
    }
    MASK nothing = lt(max, splat(1e-15f));
    bool calm = !any(or_m(odd, not_finite(max)));
    REAL best = splat(0.0f), inverse = splat(0.0f);
    ROLLED for (int turn = 0; turn < 9; turn++) {
        int k = turn == 0 ? 0 : turn <= 4 ? turn - 5 : turn - 4;
        REAL try_inverse = div_rn(splat(k) * 0.1f + top, max);
        REAL step = div_rn(splat(1.0f), try_inverse), error = splat(0.0f);
        for (int i = 0; i < n; i++) {
            REAL c = step_count(try_inverse * v[i], calm, top);
            if (turn == 0) c = step_byte(c, calm);
            REAL off = v[i] - step * c;
            error = error + w[i] * off * off;
        }
        MASK better = lt(error, best);
        if (turn == 0) better = eq_i(splat_i(0), splat_i(0));
        best = select_r(better, error, best);
        inverse = select_r(better, try_inverse, inverse);
    }
    REAL lx = splat(0.0f), ll = splat(0.0f);
    for (int i = 0; i < n; i++) {
        REAL c = step_count(inverse * v[i], calm, top);
        lx = lx + w[i] * v[i] * c;
        ll = ll + w[i] * c * c;
        f.count[i] = step_byte(c, calm);
    }
    ROLLED for (int turn = 0; turn < 5; turn++) {
        bool moved = false;
        for (int i = 0; i < n; i++) {
            REAL lx_others = lx - w[i] * v[i] * f.count[i];
            REAL ll_others = ll - w[i] * f.count[i] * f.count[i];
            REAL product = v[i] * ll_others;
            /* The count would be product / lx_others. While that is within a half of what it is, as for most it is,
             * there is nothing to do. (Rounding is off by less than 2e-5 here.) */
            MASK same = lt(abs_(min_r(product, lx_others * top) - f.count[i] * lx_others), lx_others * 0.4999f);
            same = and_m(same, lt(product, lx_others * 4194303.0f));
            if (!any(and_m(not_m(same), gt(lx_others, splat(0.0f))))) continue;
            REAL c = step_count(div_rn(product, lx_others), false, top);
            REAL lx_new = lx_others + w[i] * v[i] * c;
            REAL ll_new = ll_others + w[i] * c * c;
            MASK better = and_m(gt(lx_others, splat(0.0f)), gt(ll_others, splat(0.0f)));
            better = and_m(better, gt(lx_new * lx_new * ll, lx * lx * ll_new));
            better = and_m(better, ne(c, f.count[i]));
            if (!any(better)) continue;
            moved = true;
            f.count[i] = select_r(better, step_byte(c, false), f.count[i]);
            lx = select_r(better, lx_new, lx);
            ll = select_r(better, ll_new, ll);
        }
        if (!moved) break;
    }
    f.step = select_r(gt(ll, splat(0.0f)), div_rn(lx, ll), splat(0.0f));
    f.step = select_r(nothing, splat(0.0f), f.step);
    for (int i = 0; i < n; i++) f.count[i] = select_r(nothing, splat(0.0f), f.count[i]);
    return f;
}

#endif
