/* What IQ4_NL and IQ4_XS share: 16 values that lie closer together near zero, and the search for the scale of a lane of
 * 32 elements. The values are ggml's, kvalues_iq4nl in ggml-common.h; the search is after quantize_row_iq4_nl_impl. */
#ifndef QDQ_FORMATS_IQ4_H
#define QDQ_FORMATS_IQ4_H

#include "fits.h"

TABLE16(iq4_values, -127.0f, -104.0f, -83.0f, -65.0f, -49.0f, -35.0f, -22.0f, -10.0f, 1.0f, 13.0f, 25.0f, 38.0f, 53.0f,
        69.0f, 89.0f, 113.0f)
/* The values with even and with odd codes. */
TABLE8(iq4_even, -127.0f, -83.0f, -49.0f, -22.0f, 1.0f, 25.0f, 53.0f, 89.0f)
TABLE8(iq4_odd, -104.0f, -65.0f, -35.0f, -10.0f, 13.0f, 38.0f, 69.0f, 113.0f)
/* From here on upwards an element belongs to the code 2 k + 1, not 2 k: half way between the two. */
TABLE8(iq4_last, -115.5f, -74.0f, -42.0f, -16.0f, 7.0f, 31.5f, 61.0f, 101.0f)
/* … to 4 k + 2 or more, not less. */
TABLE4(iq4_third, -93.5f, -28.5f, 19.0f, 79.0f)

STRUCT(iq4_choice) {
    INT pair;  /* the code's upper three bits */
    MASK even; /* its lowest is 0 */
};

/* The code of the value nearest to v, the higher of two that are as near; 15 for a NaN. */
FN iq4_choice iq4_choose(REAL v) {
    iq4_choice c;
    MASK low = lt_loose(v, splat(-4.5f));
    c.pair = select_i(low, splat_i(0), splat_i(1));
    low = lt_loose(v, select_r(low, splat(-57.0f), splat(45.5f)));
    c.pair = c.pair + c.pair + select_i(low, splat_i(0), splat_i(1));
    low = lt_loose(v, LOOKUP4(iq4_third, c.pair));
    c.pair = c.pair + c.pair + select_i(low, splat_i(0), splat_i(1));
    c.even = lt_loose(v, LOOKUP8(iq4_last, c.pair));
    return c;
}

FN REAL iq4_near(REAL v) {
    iq4_choice c = iq4_choose(v);
    return select_r(c.even, LOOKUP8(iq4_even, c.pair), LOOKUP8(iq4_odd, c.pair));
}

FN REAL iq4_code(REAL v) {
    iq4_choice c = iq4_choose(v);
    return to_real(c.pair + c.pair + select_i(c.even, splat_i(0), splat_i(1)));
}

FN REAL iq4_value(REAL code) { return LOOKUP16(iq4_values, to_int(code)); }

/* The scale that, of 16 that put the largest element near one end of the values, suits the codes it leads to best, by
 * least squares with weights w; 0 where all of x is next to nothing. */
FN REAL iq4_scale(BLOCK_IN(x), BLOCK_IN(w)) {
    REAL max = signed_max(x, 0, 32), scale = splat(0.0f), best = splat(0.0f);
    ROLLED for (int turn = -8; turn <= 7; turn++) {
        REAL inverse = div_rn(splat(turn - 127), max), qx = splat(0.0f), qq = splat(0.0f);
        if (turn == -8) inverse = div_rn(splat(1.0f), div_rn(max, splat(127.0f)));
        for (int i = 0; i < 32; i++) {
            REAL q = iq4_near(inverse * x[i]);
            REAL v = w[i] * q;
            qx = qx + v * x[i];
            qq = qq + v * q;
        }
        MASK better = and_m(gt(qq, splat(0.0f)), gt(qx * qx, best * qq));
        if (turn == -8) better = gt(qq, splat(0.0f));
        scale = select_r(better, div_rn(qx, qq), scale);
        best = select_r(better, scale * qx, best);
    }
    return select_r(lt(abs_(max), splat(1e-15f)), splat(0.0f), scale);
}

#endif
