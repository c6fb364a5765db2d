/* The search for a scale and a minimum, after ggml's make_qkx2_quants and make_qkx3_quants. */
#ifndef QDQ_FORMATS_AFFINE_H
#define QDQ_FORMATS_AFFINE_H

#include "fits.h"

/* For each part of a lane, x is about code scale - min, where code = whole_code(inverse (x - base), top). */
STRUCT(affine) { REAL scale[2], min[2], inverse[2], base[2], weight[2]; }; /* weight: the sum of w */

/* Each of the lane's `parts` parts (1 or 2) by itself, with weights w and codes 0 … top. First come the smallest
 * element, or 0 if that is less, as the minimum, and the scale that reaches the largest. Then, `turns` times, the
 * elements are coded with the next of a row of scales, (top + first + by turn) / (largest - minimum); the line that
 * fits these codes best, by weighted least squares but with a minimum of at most 0, is taken if its error is less than
 * any before. Errors are squares, or magnitudes. A minimum that was taken is the one the next turns start from. */
FN affine fit_affine(BLOCK_IN(x), BLOCK_IN(w), int parts, float top, float first, float by, int turns,
                     bool magnitudes) {
    affine f;
    REAL code[32], low[2], high[2], min[2], best[2], sum_x[2];
    MASK same[2];
    bool tame = true;
    int n = 32 / parts;
    UNROLL for (int p = 0; p < parts; p++) {
        low[p] = high[p] = x[n * p];
        f.weight[p] = w[n * p];
        sum_x[p] = w[n * p] * x[n * p];
        for (int k = 1; k < n; k++) {
            int i = n * p + k;
            low[p] = min_loose(x[i], low[p]);
            high[p] = max_loose(x[i], high[p]);
            f.weight[p] = f.weight[p] + w[i];
            sum_x[p] = sum_x[p] + w[i] * x[i];
        }
        tame = tame && !any(not_finite(sum_x[p]));
        /* A NaN, or the sign of a zero, wants the exact ones. */
        if (!tame || any(eq(low[p], splat(0.0f)))) {
            low[p] = high[p] = x[n * p];
            UNROLL for (int k = 1; k < n; k++) {
                low[p] = min_r(x[n * p + k], low[p]);
                high[p] = max_r(x[n * p + k], high[p]);
            }
        }
        low[p] = select_r(gt(low[p], splat(0.0f)), splat(0.0f), low[p]);
        same[p] = eq(high[p], low[p]);
    }
    /* Turn -1 is the first scale and minimum as they are. */
    UNROLL for (int p = 0; p < parts; p++) {
        min[p] = f.base[p] = low[p];
        f.inverse[p] = div_rn(splat(top), select_r(same[p], splat(1.0f), high[p] - low[p]));
        f.scale[p] = div_rn(splat(1.0f), f.inverse[p]);
        best[p] = splat(0.0f);
        bool calm = tame && !any(wild(f.inverse[p] * (high[p] - low[p])));
        for (int k = 0; k < n; k++) {
            int i = n * p + k;
            REAL v = f.inverse[p] * (x[i] - low[p]);
            REAL c = calm ? nearest(v) : whole_code(v, top); /* v is within 0 … top, but for rounding */
            REAL off = f.scale[p] * c + low[p] - x[i];
            best[p] = best[p] + w[i] * (magnitudes ? abs_(off) : off * off);
        }
    }
    ROLLED for (float turn = 0.0f; turn < turns; turn += 1.0f) {
        REAL reach = splat(turn) * by + first + top;
        UNROLL for (int p = 0; p < parts; p++) {
            REAL inverse = div_rn(reach, select_r(same[p], splat(1.0f), high[p] - min[p]));
            REAL farthest = max_loose(abs_(low[p] - min[p]), abs_(high[p] - min[p]));
            REAL most = abs_(inverse * farthest);                  /* of the elements' v below */
            if (tame && !any(not_m(le(most, splat(top + 0.45f))))) /* none is above top once rounded */
                UNROLL for (int k = 0; k < n; k++) code[n * p + k] =
                    max_loose(nearest(inverse * (x[n * p + k] - min[p])), splat(0.0f));
            else if (tame && !any(wild(most)))
                UNROLL for (int k = 0; k < n; k++) code[n * p + k] = calm_code(inverse * (x[n * p + k] - min[p]), top);
            else
                UNROLL for (int k = 0; k < n; k++) code[n * p + k] = whole_code(inverse * (x[n * p + k] - min[p]), top);
            REAL l = splat(0.0f), ll = splat(0.0f), xl = splat(0.0f);
            for (int k = 0; k < n; k++) {
                int i = n * p + k;
                REAL v = w[i] * code[i];
                l = l + v;
                ll = ll + v * code[i];
                xl = xl + v * x[i];
            }
            REAL det = f.weight[p] * ll - l * l;
            REAL m = div_rn(ll * sum_x[p] - l * xl, det);
            MASK above = gt(m, splat(0.0f));
            m = select_r(above, splat(0.0f), m);
            REAL s = div_rn(select_r(above, xl, f.weight[p] * xl - sum_x[p] * l), select_r(above, ll, det));
            REAL error = splat(0.0f);
            for (int k = 0; k < n; k++) {
                int i = n * p + k;
                REAL off = s * code[i] + m - x[i];
                error = error + w[i] * (magnitudes ? abs_(off) : off * off);
            }
            MASK better = and_m(gt(det, splat(0.0f)), lt(error, best[p]));
            best[p] = select_r(better, error, best[p]);
            f.scale[p] = select_r(better, s, f.scale[p]);
            f.inverse[p] = select_r(better, inverse, f.inverse[p]);
            f.base[p] = select_r(better, min[p], f.base[p]);
            min[p] = select_r(better, m, min[p]);
        }
    }
    UNROLL for (int p = 0; p < parts; p++) {
        f.scale[p] = select_r(same[p], splat(0.0f), f.scale[p]);
        f.min[p] = -min[p];
    }
    return f;
}

#endif
