/* The search for a scale alone, after ggml's make_qx_quants. */
#ifndef QDQ_FORMATS_SYMMETRIC_H
#define QDQ_FORMATS_SYMMETRIC_H

#include "fits.h"

/* For each part, x is about scale (code - top), where code = signed_code(inverse x, top) + top; but where all of x is
 * next to nothing, the scale is 0, the inverse a NaN, and the code 0. (An inverse of 0 is that of an infinite x, and
 * codes all numbers as top.) */
STRUCT(symmetric) { REAL scale[2], inverse[2]; };
#define INVERSE_OF_NOTHING as_real(splat_u(0xffc00000u))

/* The first n elements fall into `parts` parts (1 or 2), each by itself; weights w. The element of the largest
 * magnitude is coded as -top, then as -(top + 0.1 k) for k = -9 … 9, with the others in proportion; the codes that
 * least squares likes best give the scale. */
FN symmetric fit_symmetric(BLOCK_IN(x), BLOCK_IN(w), int n, int parts, float top) {
    symmetric f;
    REAL wx[32], max[2], best[2];
    bool tame = true;
    int size = n / parts;
    UNROLL for (int p = 0; p < parts; p++) {
        max[p] = signed_max(x, size * p, size);
        f.scale[p] = f.inverse[p] = best[p] = splat(0.0f);
        REAL sum = splat(0.0f);
        for (int k = 0; k < size; k++) {
            int i = size * p + k;
            wx[i] = w[i] * x[i];
            sum = sum + wx[i];
        }
        tame = tame && !any(or_m(not_finite(sum), not_finite(max[p])));
    }
    ROLLED for (int turn = 0; turn < 19; turn++) {
        int k = turn == 0 ? 0 : turn <= 9 ? turn - 10 : turn - 9;
        REAL reach = -(splat(k) * 0.1f + top);
        UNROLL for (int p = 0; p < parts; p++) {
            REAL inverse = div_rn(reach, max[p]), lx = splat(0.0f), ll = splat(0.0f);
            if (tame) UNROLL for (int j = 0; j < size; j++) {
                    int i = size * p + j;
                    REAL c = calm_signed_code(inverse * x[i], top);
                    lx = lx + wx[i] * c;
                    ll = ll + w[i] * c * c;
                }
            else
                UNROLL for (int j = 0; j < size; j++) {
                    int i = size * p + j;
                    REAL c = signed_code(inverse * x[i], top);
                    lx = lx + wx[i] * c;
                    ll = ll + w[i] * c * c;
                }
            REAL scale = select_r(ne(ll, splat(0.0f)), div_rn(lx, ll), splat(0.0f));
            MASK better = and_m(gt(ll, splat(0.0f)), gt(lx * lx, best[p] * ll));
            if (turn == 0) better = eq_i(splat_i(0), splat_i(0));
            f.scale[p] = select_r(better, scale, f.scale[p]);
            f.inverse[p] = select_r(better, inverse, f.inverse[p]);
            best[p] = select_r(better, scale * lx, best[p]);
        }
    }
    UNROLL for (int p = 0; p < parts; p++) {
        MASK nothing = lt(abs_(max[p]), splat(1e-15f));
        f.scale[p] = select_r(nothing, splat(0.0f), f.scale[p]);
        f.inverse[p] = select_r(nothing, INVERSE_OF_NOTHING, f.inverse[p]);
    }
    return f;
}

/* The code that the search found for x. */
FN REAL symmetric_code(REAL x, REAL inverse, float top) {
    return select_r(eq(inverse, inverse), signed_code(inverse * x, top) + top, splat(0.0f));
}

#endif
