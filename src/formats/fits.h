/* Fits, codes and bits that several formats share. */
#ifndef QDQ_FORMATS_FITS_H
#define QDQ_FORMATS_FITS_H

/* Maxima run in four chains of neighbours, for the processor to overlap; joined in order, the first of equals
 * still wins. */

STRUCT(peak) {
    REAL value;
    bool finite; /* all elements, of all lanes that run together */
};

/* Of the n elements from x[at] on, the one of the largest magnitude, with its sign; of equal ones the first; +0 if all
 * are zero. NaNs are passed over. As integers the bits of positive floats are above all others, and those of negative
 * ones are above all others as unsigned; both in order of magnitude, infinities and NaNs at the top. The largest and
 * the smallest element decide, unless they are of equal magnitude: then order does. */
FN peak signed_peak(BLOCK_IN(x), int at, int n) {
    INT high[4];
    UINT low[4];
    for (int c = 0; c < 4; c++) {
        high[c] = splat_i(0);
        low[c] = splat_u(0u);
        for (int k = 0; k < n / 4; k++) {
            UINT u = as_uint(x[at + n / 4 * c + k]);
            high[c] = max_i(INT_OF(u), high[c]);
            low[c] = max_u(u, low[c]);
        }
    }
    INT top = max_i(max_i(high[0], high[1]), max_i(high[2], high[3]));
    INT bottom = INT_OF(max_u(max_u(low[0], low[1]), max_u(low[2], low[3])) ^ 0x80000000u);
    bottom = max_i(bottom, splat_i(0)); /* the magnitude of the smallest element; 0 if none is negative */
    peak p;
    p.finite = !any(gt_i(max_i(top, bottom), splat_i(0x7f7fffff)));
    if (!p.finite) {
        REAL most = splat(0.0f), least = splat(0.0f);
        UNROLL for (int k = 0; k < n; k++) {
            most = max_r(x[at + k], most);
            least = min_r(x[at + k], least);
        }
        top = INT_OF(as_uint(most));
        bottom = INT_OF(as_uint(abs_(least)));
    }
    UINT best = select_u(gt_i(bottom, top), UINT_OF(bottom) | 0x80000000u, UINT_OF(top));
    p.value = as_real(best);
    MASK tie = and_m(eq_i(top, bottom), gt_i(top, splat_i(0)));
    if (any(tie)) {
        REAL first = splat(0.0f), size = as_real(UINT_OF(top));
        UNROLL for (int k = 1; k <= n; k++) first = select_r(eq(abs_(x[at + n - k]), size), x[at + n - k], first);
        p.value = select_r(tie, first, p.value);
    }
    return p;
}

FN REAL signed_max(BLOCK_IN(x), int at, int n) {
    peak p = signed_peak(x, at, n);
    return p.value;
}

STRUCT(extremes) { REAL low, high; };

/* The smallest and the largest element, of equal zeros the first; NaNs are passed over. */
FN extremes low_and_high(BLOCK_IN(x)) {
    REAL high[4], low[4];
    for (int c = 0; c < 4; c++) {
        low[c] = splat(3.40282346638528859812e+38f);
        high[c] = splat(-3.40282346638528859812e+38f);
        for (int k = 0; k < 8; k++) {
            low[c] = min_r(x[8 * c + k], low[c]);
            high[c] = max_r(x[8 * c + k], high[c]);
        }
    }
    extremes e;
    e.low = min_r(min_r(low[3], low[2]), min_r(low[1], low[0]));
    e.high = max_r(max_r(high[3], high[2]), max_r(high[1], high[0]));
    return e;
}

STRUCT(magnitude) {
    REAL max;
    bool finite; /* of all lanes that run together */
};

/* The largest magnitude; NaNs are passed over. The bits of magnitudes compare as the magnitudes do, and show NaNs and
 * infinities at the top. */
FN magnitude max_magnitude(BLOCK_IN(x)) {
    INT top[4];
    for (int c = 0; c < 4; c++) {
        top[c] = splat_i(0);
        for (int k = 0; k < 8; k++) top[c] = max_i(INT_OF(as_uint(abs_(x[8 * c + k]))), top[c]);
    }
    INT all = max_i(max_i(top[0], top[1]), max_i(top[2], top[3]));
    magnitude m;
    m.max = as_real(UINT_OF(all));
    m.finite = !any(gt_i(all, splat_i(0x7f7fffff)));
    if (!m.finite) {
        m.max = splat(0.0f);
        UNROLL for (int i = 0; i < 32; i++) m.max = max_r(abs_(x[i]), m.max);
    }
    return m;
}

/* 1 / d, or 0 for d = 0. */
FN REAL inverse(REAL d) { return select_r(ne(d, splat(0.0f)), div_rn(splat(1.0f), d), splat(0.0f)); }

/* What an element weighs where an importance matrix is given: its importance times the root of its own square and the
 * mean square around it. */
FN REAL importance_weight(REAL x, REAL m, REAL mean) { return m * sqrt_rn(mean + x * x); }

/* Codes by nearest_int, which an integer clamp follows. calm_code is the quicker one, for v that is not wild: up to
 * 4194303 in magnitude, and no NaN. */
FN MASK wild(REAL v) { return not_m(le(abs_(v), splat(4194303.0f))); }
FN REAL calm_code(REAL v, float top) { return min_loose(max_loose(nearest(v), splat(0.0f)), splat(top)); }
FN REAL whole_code(REAL v, float top) { return to_real(min_i(max_i(nearest_int(v), splat_i(0)), splat_i(top))); }
/* The same for codes from -top to top - 1. */
FN REAL calm_signed_code(REAL v, float top) { return min_loose(max_loose(nearest(v), splat(-top)), splat(top - 1.0f)); }
FN REAL signed_code(REAL v, float top) {
    return to_real(min_i(max_i(nearest_int(v), splat_i(-top)), splat_i(top - 1.0f)));
}

/* signed_code or whole_code of a / d: the nearest whole number, clamped to low … high, at most 64 in magnitude; r is
 * 1 / d. The product a r is off the rounded quotient by less than 2^-22 of it, so both have the same nearest number
 * unless they lie about half-way between two: only then, and where they are wild, is there a division. */
FN REAL quotient_code(REAL a, REAL d, REAL r, float low, float high, bool tame) {
    REAL q = a * r, c = nearest(q);
    MASK sure = and_m(lt_loose(abs_(q - c), splat(0.49998f)), lt_loose(abs_(q), splat(4194303.0f)));
    c = min_loose(max_loose(c, splat(low)), splat(high));
    if (at_once(any(not_m(sure)), tame))
        c = to_real(min_i(max_i(nearest_int(div_rn(a, d)), splat_i(low)), splat_i(high)));
    return c;
}
FN MASK not_finite(REAL x) { return not_m(le(abs_(x), splat(3.40282346638528859812e+38f))); }

/* A C cast to an integer that saturates at 0 and top, a NaN to 0. Where all is tame, v is no NaN and above -1. */
FN REAL cast_code(REAL v, float top, bool tame) {
    return trunc_r(min_loose(tame ? v : max_loose(v, splat(0.0f)), splat(top)));
}

#endif
