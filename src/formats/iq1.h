/* What IQ1_S and IQ1_M share: levels 0, 1, 2 stand for -1, 0, 1, all shifted by an eighth up or down. */
#ifndef QDQ_FORMATS_IQ1_H
#define QDQ_FORMATS_IQ1_H

#include "iq_grid.h"

/* A code is level | 4 if it is shifted down. */
TABLE8(iq1_values, -0.875f, 0.125f, 1.125f, 0.0f, -1.125f, -0.125f, 0.875f, 0.0f)

FN REAL iq1_value(UINT point, int k, UINT down) {
    return LOOKUP8(iq1_values, INT_OF(iq_level(point, 8, k) | down << 2));
}

STRUCT(iq1_sorted) {
    REAL x[32], w[32];
    INT index[32];
};

/* The first n of x[at …], a power of two of them, by size, those of equal size in their order, with their weights.
 * Batcher's merge exchange. */
LARGE iq1_sorted iq1_sort(BLOCK_IN(x), BLOCK_IN(w), int at, int n) {
    iq1_sorted s;
    for (int i = 0; i < n; i++) {
        s.x[i] = x[at + i];
        s.w[i] = w[at + i];
        s.index[i] = splat_i(i);
    }
    ROLLED for (int p = 1; p < n; p *= 2) ROLLED for (int k = p; k >= 1; k /= 2)
        ROLLED for (int i = k % p; i + k < n; i++) {
        int a = i, b = i + k;
        if ((i - k % p) / k % 2 == 1 || a / (2 * p) != b / (2 * p)) continue;
        MASK tie = and_m(eq(s.x[a], s.x[b]), gt_i(s.index[a], s.index[b]));
        MASK swap = or_m(gt(s.x[a], s.x[b]), tie);
        REAL xa = s.x[a], wa = s.w[a];
        INT ia = s.index[a];
        s.x[a] = select_r(swap, s.x[b], xa);
        s.x[b] = select_r(swap, xa, s.x[b]);
        s.w[a] = select_r(swap, s.w[b], wa);
        s.w[b] = select_r(swap, wa, s.w[b]);
        s.index[a] = select_i(swap, s.index[b], ia);
        s.index[b] = select_i(swap, ia, s.index[b]);
    }
    return s;
}

/* The levels of 16 elements, two bits each from bit 0 up: those in places before `first` of the order are 0, before
 * `second` 1, the others 2. */
FN UINT iq1_levels(ARRAY_IN(INT, index, 32), int n, INT first, INT second, int from) {
    UINT word = splat_u(0u);
    for (int j = 0; j < n; j++) {
        UINT level = select_u(gt_i(first, splat_i(j)), splat_u(0u), splat_u(2u));
        level = select_u(and_m(eq_i(level, splat_u(2u)), gt_i(second, splat_i(j))), splat_u(1u), level);
        INT at = index[j] - from;
        MASK here = and_m(gt_i(at, splat_i(-1)), lt_i(at, splat_i(16)));
        word = word | select_u(here, level << UINT_OF((at & 15) * 2), splat_u(0u));
    }
    return word;
}

/* The point of the list nearest to x[at …] at that scale. */
#ifndef LIST_NONE
FN UINT iq1_nearest(WORDS_IN(t), UINT list, LIST_IN(x), LIST_IN(w), int at, REAL scale, UINT down) {
    return list_nearest(t, list, x, w, at, 4, scale, iq1_values, INT_OF(down << 2));
}
#else
LARGE UINT iq1_nearest(WORDS_IN(t), UINT list, LIST_IN(x), LIST_IN(w), int at, REAL scale, UINT down) {
    INT word = INT_OF(list & 0x3ffffu), left = INT_OF(list >> 18);
    UINT pair = WORD(t, word), best = pair & 0xffffu;
    REAL least = splat(3.40282346638528859812e+38f);
    for (;;) {
        for (int half = 0; half < 2; half++) {
            UINT point = half == 0 ? pair & 0xffffu : pair >> 16;
            REAL sum = splat(0.0f);
            for (int k = 0; k < 8; k++) {
                REAL off = scale * iq1_value(point, k, down) - x[at + k];
                sum = sum + w[at + k] * off * off;
            }
            MASK nearer = lt(sum, least);
            least = select_r(nearer, sum, least);
            best = select_u(nearer, point, best);
        }
        MASK more = gt_i(left, splat_i(0));
        if (!any(more)) return best;
        word = select_i(more, word + 1, word);
        left = left - 1;
        pair = WORD(t, word);
    }
}
#endif

STRUCT(iq1_pick) {
    REAL scale;
    UINT point[4];
};

/* Groups first … first + n - 1 of the lane, whose levels are point[…], are brought onto the codebook; where one was off
 * it, the scale is that of least squares. Bit g of down: group g is shifted down. */
FN iq1_pick iq1_on_grid(WORDS_IN(t), iq1_pick s, BLOCK_IN(x), BLOCK_IN(w), int first, int n, UINT down) {
    UINT off = splat_u(0u);
    LIST_ROWS(x)
    LIST_ROWS(w)
    ROLLED for (int g = first; g < first + n; g++) {
        UINT list = iq_point_list(t, 2048, s.point[g], 8);
        off = off | select_u(iq_is_point(list, 2048), splat_u(0u), splat_u(1u));
        s.point[g] = iq1_nearest(t, list, LIST_OF(x), LIST_OF(w), 8 * g, s.scale, (down >> g) & 1u);
    }
    REAL xq = splat(0.0f), qq = splat(0.0f);
    ROLLED for (int g = first; g < first + n; g++) for (int k = 0; k < 8; k++) {
        REAL q = iq1_value(s.point[g], k, (down >> g) & 1u), v = w[8 * g + k] * q;
        xq = xq + v * x[8 * g + k];
        qq = qq + v * q;
    }
    MASK better = and_m(and_m(gt(xq, splat(0.0f)), gt(qq, splat(0.0f))), gt_i(off, splat_u(0u)));
    s.scale = select_r(better, div_rn(xq, qq), s.scale);
    return s;
}

/* How many steps a scale is, 2 count + 1 of them, for the steps' inverse. */
FN REAL iq1_count(REAL scale, REAL inverse) {
    return whole_code((inverse * max_r(scale, splat(0.0f)) - 1.0f) * 0.5f, 7.0f);
}

FN void iq1_group_codes(WORDS_IN(t), UINT number, UINT down, CODES_INOUT(c), int at) {
    UINT point = WORD(t, INT_OF(number));
    for (int k = 0; k < 8; k++) c[at + k] = INT_OF(iq_level(point, 8, k) | down << 2);
}

#endif
