/* What MXFP4 and NVFP4 share: a code is a sign and one of eight magnitudes, the E2M1 numbers 0, 0.5, 1, 1.5, 2, 3, 4
 * and 6 of the OCP Microscaling specification; d is half the scale, so that they are whole multiples of d. The element
 * takes the first code whose value is nearest, so the smaller magnitude of two, and +0 for zero (ggml's
 * best_index_mxfp4). */
#ifndef QDQ_FORMATS_FP4_H
#define QDQ_FORMATS_FP4_H

#include "fits.h"

TABLE16(fp4_values, 0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 6.0f, 8.0f, 12.0f, 0.0f, -1.0f, -2.0f, -3.0f, -4.0f, -6.0f, -8.0f,
        -12.0f)

/* Are there elements so large, or is d so large or 0, that differences round and overflow? */
FN MASK fp4_odd(REAL max, REAL d) {
    return or_m(not_m(lt(max, d * 65536.0f)), gt(d, splat(2.12676479325586539665e+37f))); /* 2^124 */
}

/* The nearest in the way the reference looks for it. */
FN REAL fp4_odd_code(REAL x, REAL d) {
    REAL code = splat(0.0f), best = abs_(d * 0.0f - x);
    ROLLED for (int i = 1; i < 16; i++) {
        REAL off = abs_(LOOKUP16(fp4_values, splat_i(i)) * d - x);
        MASK less = lt(off, best);
        code = select_r(less, splat(i), code);
        best = select_r(less, off, best);
    }
    return code;
}

/* Otherwise products and differences are exact where it matters, and a code follows from how many of the points half
 * way between magnitudes the element is past. */
FN REAL fp4_code(REAL x, REAL d) {
    REAL a = abs_(x), zero = splat(0.0f), one = splat(1.0f);
    REAL n = select_r(gt(a, d * 0.5f), one, zero) + select_r(gt(a, d * 1.5f), one, zero);
    n = n + select_r(gt(a, d * 2.5f), one, zero) + select_r(gt(a, d * 3.5f), one, zero);
    n = n + select_r(gt(a, d * 5.0f), one, zero) + select_r(gt(a, d * 7.0f), one, zero);
    n = n + select_r(gt(a, d * 10.0f), one, zero);
    return n + select_r(and_m(lt(x, zero), gt(n, zero)), splat(8.0f), zero);
}

FN REAL fp4_value(REAL code, REAL d, bool tame) { return mul_tame(tame, LOOKUP16(fp4_values, to_int(code)), d); }

#endif
