/* Codebooks (base/codebook.h): the search for the best points, and what the formats with 2- and 3-bit codebooks share.
 *
 * A group is `elements` of a lane's elements that one point stands for, 4 or 8. A point travels as its levels, 16 bits:
 * element k's from bit k * 16 / elements up. */
#ifndef QDQ_FORMATS_IQ_GRID_H
#define QDQ_FORMATS_IQ_GRID_H

#include "fits.h"

/* Where vectors look through lists (dialect/lists.h), an array must lie in rows for them. */
#ifndef LIST_ROWS
#define LIST_NONE
#define LIST_ROWS(x)
#define LIST_OF(x) x
#define LIST_IN(x) BLOCK_IN(x)
#endif

TABLE8(iq_odd, 1.0f, 3.0f, 5.0f, 7.0f, 9.0f, 11.0f, 13.0f, 15.0f)

FN UINT iq_level(UINT point, int elements, int k) { return (point >> 16 / elements * k) & (elements == 8 ? 3u : 7u); }

/* 2 level + 1: the magnitude that a fit takes a level for. */
FN REAL iq_magnitude(UINT point, int elements, int k) {
    INT level = INT_OF(iq_level(point, elements, k));
    return elements == 8 ? LOOKUP4(iq_odd, level) : LOOKUP8(iq_odd, level);
}

/* A cell's list; its point's number, if it is a point. */
FN UINT iq_list(WORDS_IN(t), int points, INT cell) { return WORD(t, cell + points); }
FN UINT iq_number(UINT list) { return list & 0x3ffffu; }
FN MASK iq_is_point(UINT list, int points) { return lt_i(iq_number(list), splat_u(points)); }

/* The list of a point. */
FN UINT iq_point_list(WORDS_IN(t), int points, UINT point, int elements) {
    UINT cell = iq_level(point, elements, elements - 1);
    for (int k = elements - 2; k >= 0; k--) cell = cell * (elements == 8 ? 3u : 8u) + iq_level(point, elements, k);
    return iq_list(t, points, INT_OF(cell));
}

/* The point of the list for which scale (2 level + 1) is nearest to the group x[at …], by squares that the weights w
 * multiply; of equally near ones the first. */
#ifndef LIST_NONE
FN UINT iq_nearest(WORDS_IN(t), UINT list, LIST_IN(x), LIST_IN(w), int at, int elements, REAL scale) {
    return list_nearest(t, list, x, w, at, elements == 8 ? 4 : 8, scale, iq_odd, splat_i(0));
}
#else
FN UINT iq_nearest(WORDS_IN(t), UINT list, LIST_IN(x), LIST_IN(w), int at, int elements, REAL scale) {
    INT word = INT_OF(list & 0x3ffffu), left = INT_OF(list >> 18);
    UINT pair = WORD(t, word), best = pair & 0xffffu;
    REAL least = splat(3.40282346638528859812e+38f);
    for (;;) {
        for (int half = 0; half < 2; half++) {
            UINT point = half == 0 ? pair & 0xffffu : pair >> 16;
            REAL sum = splat(0.0f);
            for (int k = 0; k < elements; k++) {
                REAL off = scale * iq_magnitude(point, elements, k) - x[at + k];
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

/* The list of the cell that x[at …] / scale falls into, for inverse = 1 / scale. calm: no element is wild. */
FN UINT iq_cell_list(WORDS_IN(t), int points, BLOCK_IN(x), int at, int elements, REAL inverse, bool calm) {
    REAL cell = splat(0.0f);
    for (int k = elements - 1; k >= 0; k--) {
        REAL v = (inverse * x[at + k] - 1.0f) * 0.5f;
        float top = elements == 8 ? 2.0f : 7.0f;
        cell = cell * (elements == 8 ? 3.0f : 8.0f) + (calm ? calm_code(v, top) : whole_code(v, top));
    }
    return iq_list(t, points, to_int(cell));
}

/* A lane in one or two parts, each with a scale of its own. */
STRUCT(iq_part) {
    REAL scale[2]; /* -1: all of the part is next to nothing */
    UINT point[8]; /* one a group */
    UINT signs;    /* bit i: element i is negative */
};

STRUCT(iq_magnitudes) {
    REAL x[32];
    UINT signs;
};

/* The magnitudes of x and their signs. Where only 7 signs of 8 are kept, the eighth follows from their number, which
 * must be even: else the element with the least w x x, of equals the first, has its sign turned, and its magnitude is a
 * negative one. */
FN iq_magnitudes iq_split(BLOCK_IN(x), BLOCK_IN(w), bool even) {
    iq_magnitudes m;
    m.signs = splat_u(0u);
    for (int i = 0; i < 32; i++) {
        m.x[i] = abs_(x[i]);
        m.signs = m.signs | select_u(lt(x[i], splat(0.0f)), splat_u(1u << i), splat_u(0u));
    }
    if (!even) return m;
    UINT odd = m.signs ^ m.signs >> 4;
    odd = odd ^ odd >> 2;
    odd = odd ^ odd >> 1;
    for (int k = 0; k < 4; k++) {
        REAL least = w[8 * k] * m.x[8 * k] * m.x[8 * k];
        UINT which = splat_u(1u << (8 * k));
        for (int i = 8 * k + 1; i < 8 * k + 8; i++) {
            REAL v = w[i] * m.x[i] * m.x[i];
            MASK less = lt(v, least);
            least = select_r(less, v, least);
            which = select_u(less, splat_u(1u << i), which);
        }
        which = select_u(eq_i((odd >> 8 * k) & 1u, splat_u(1u)), which, splat_u(0u));
        m.signs = m.signs ^ which;
        for (int i = 8 * k; i < 8 * k + 8; i++) m.x[i] = as_real(as_uint(m.x[i]) ^ ((which << (31 - i)) & 0x80000000u));
    }
    return m;
}

FN REAL iq_max(BLOCK_IN(x), int at, int n) {
    REAL max = x[at];
    for (int i = at + 1; i < at + n; i++) max = max_r(max, x[i]);
    return max;
}

/* Which groups are looked up once more with the scale that was found: those off the codebook, all if one was off, all.
 */
#define IQ_OFF        0
#define IQ_ALL_IF_OFF 1
#define IQ_ALL        2

STRUCT(iq_sums) { REAL xq, qq; };

FN iq_sums iq_add(BLOCK_IN(wx), BLOCK_IN(w), ARRAY_IN(UINT, point, 8), int at, int n, int elements) {
    iq_sums s;
    s.xq = s.qq = splat(0.0f);
    ROLLED for (int g = at / elements; g < (at + n) / elements; g++) for (int k = 0; k < elements; k++) {
        int i = g * elements + k;
        REAL q = iq_magnitude(point[g], elements, k);
        s.xq = s.xq + wx[i] * q;
        s.qq = s.qq + w[i] * q * q;
    }
    return s;
}

/* Points and a scale for each of `parts` parts of a lane. start: each part's scale if no other is better; reach: its
 * largest magnitude, or what takes its place; a part that is `nothing` has neither. Scales reach / (top + step k),
 * k = -turns … turns, are tried: each element's level, then the nearest points to those that are off the codebook;
 * least squares rates them. */
FN iq_part iq_fit(WORDS_IN(t), int points, int elements, int parts, BLOCK_IN(x), BLOCK_IN(w), UINT signs,
                  ARRAY_IN(REAL, start, 2), ARRAY_IN(REAL, reach, 2), ARRAY_IN(MASK, nothing, 2), int turns, float step,
                  int again) {
    iq_part f;
    REAL root[32], wx[32];
    UINT point[8];
    f.signs = signs;
    f.scale[0] = f.scale[1] = splat(0.0f);
    for (int g = 0; g < 8; g++) f.point[g] = splat_u(0u);
    int n = 32 / parts, groups = n / elements;
    float top = elements == 8 ? 5.0f : 15.0f;
    for (int i = 0; i < 32; i++) {
        root[i] = sqrt_rn(w[i]);
        wx[i] = w[i] * x[i];
    }
    LIST_ROWS(x)
    LIST_ROWS(root)
    ROLLED for (int p = 0; p < parts; p++) {
        REAL best = splat(0.0f), scale = start[p], far = splat(0.0f);
        UINT off = splat_u(again == IQ_OFF ? 0u : 1u);
        for (int i = n * p; i < n * p + n; i++) far = far + abs_(x[i]);
        REAL most = select_r(nothing[p], splat(1.0f), reach[p]);
        bool calm = !any(wild(div_rn(splat(2.0f * top), most) * far));
        MASK redo = nothing[p];
        ROLLED for (int turn = -turns; turn <= turns + 1; turn++) {
            REAL inverse = div_rn(splat(turn) * step + top, most), tried = div_rn(splat(1.0f), inverse);
            bool last = turn > turns; /* with the scale that was found */
            if (last) {
                redo = gt(scale, splat(0.0f));
                if (again != IQ_ALL) redo = and_m(redo, gt_i(off, splat_u(0u)));
                if (!any(redo)) break;
                inverse = div_rn(splat(1.0f), scale);
                tried = scale;
                calm = false;
            }
            UINT turned = splat_u(0u);
            ROLLED for (int g = groups * p; g < groups * p + groups; g++) {
                UINT list = iq_cell_list(t, points, x, g * elements, elements, inverse, calm);
                UINT bit = splat_u(1u << (g - groups * p));
                point[g] = iq_nearest(t, list, LIST_OF(x), LIST_OF(root), g * elements, elements, tried);
                turned = turned | select_u(iq_is_point(list, points), splat_u(0u), bit);
                if (last && again == IQ_OFF) point[g] = select_u(gt_i(off & bit, splat_u(0u)), point[g], f.point[g]);
            }
            iq_sums s = iq_add(wx, w, point, n * p, n, elements);
            MASK better = and_m(gt(s.qq, splat(0.0f)), last ? redo : gt(s.xq * s.xq, best * s.qq));
            scale = select_r(better, div_rn(s.xq, s.qq), scale);
            best = select_r(better, scale * s.xq, best);
            if (last) better = redo;
            off = select_u(better, turned, off);
            for (int g = groups * p; g < groups * p + groups; g++) f.point[g] = select_u(better, point[g], f.point[g]);
        }
        UINT own = splat_u(parts == 1 ? 0xffffffffu : p == 0 ? 0xffffu : 0xffff0000u);
        f.signs = select_u(lt(scale, splat(0.0f)), f.signs ^ own, f.signs);
        f.signs = select_u(nothing[p], f.signs & ~own, f.signs);
        f.scale[p] = select_r(nothing[p], splat(-1.0f), abs_(scale));
        for (int g = groups * p; g < groups * p + groups; g++)
            f.point[g] = select_u(nothing[p], splat_u(0u), f.point[g]);
    }
    return f;
}

/* The fit of a lane whose parts reach as far as their largest element, and are nothing below `least`. */
FN iq_part iq_fit_lane(WORDS_IN(t), int points, int elements, int parts, BLOCK_IN(x), BLOCK_IN(w), bool even,
                       float least, int turns, float step, int again) {
    iq_magnitudes m = iq_split(x, w, even);
    REAL start[2], reach[2];
    MASK nothing[2];
    for (int p = 0; p < parts; p++) {
        reach[p] = iq_max(m.x, 32 / parts * p, 32 / parts);
        start[p] = div_rn(reach[p], splat(elements == 8 ? 5.0f : 15.0f));
        nothing[p] = lt(reach[p], splat(least));
    }
    return iq_fit(t, points, elements, parts, m.x, w, m.signs, start, reach, nothing, turns, step, again);
}

/* m sqrt(s + x x), how much an element weighs where its importance is m. */
FN void iq_weights(BLOCK_IN(x), BLOCK_IN(m), REAL s, BLOCK_OUT(w)) {
    for (int i = 0; i < 32; i++) w[i] = m[i] * sqrt_rn(s + x[i] * x[i]);
}

STRUCT(iq_params) {
    REAL d[2];
    bool tame;
    UINT point[8], signs;
    UINT head; /* the block's scale, a binary16 | part 0's count << 16 | part 1's << 20 */
};

/* All zero, and tame. */
FN iq_params iq_no_params(void) {
    iq_params p;
    p.tame = true;
    p.d[0] = p.d[1] = splat(0.0f);
    for (int g = 0; g < 8; g++) p.point[g] = splat_u(0u);
    p.signs = p.head = splat_u(0u);
    return p;
}

/* A block's scale is a 31st of its largest, times fudge; a part's is 2 count + 1 of these, with count 0 … 15. unit:
 * what a value is counted in. erase: a block of nothing has neither points nor signs. */
FN iq_params iq_fold(iq_part s, PEERS(peers), int parts, int groups, float fudge, float unit, bool erase) {
    iq_params p = iq_no_params();
    REAL max = splat(0.0f);
    for (int j = 0; j < 8; j++)
        for (int k = 0; k < parts; k++) max = max_r(PEER(peers, k, j), max);
    MASK none = eq(max, splat(0.0f));
    REAL d = div_rn(max, splat(31.0f)), inverse = div_rn(splat(1.0f), d);
    REAL dh = f16_round(d * fudge);
    dh = select_r(none, splat(0.0f), dh);
    p.head = f16_bits(dh);
    for (int k = 0; k < parts; k++) {
        REAL scale = max_r(s.scale[k], splat(0.0f));
        REAL count = select_r(none, splat(0.0f), whole_code((inverse * scale - 1.0f) * 0.5f, 15.0f));
        p.d[k] = mul_v(dh, (count + 0.5f) * unit);
        p.tame = p.tame && nan_safe(p.d[k]);
        p.head = p.head | UINT_OF(to_int(count)) << (16 + 4 * k);
    }
    for (int g = 0; g < groups; g++) p.point[g] = s.point[g];
    p.signs = s.signs;
    if (erase && any(none)) {
        for (int g = 0; g < groups; g++) p.point[g] = select_u(none, splat_u(0u), p.point[g]);
        p.signs = select_u(none, splat_u(0u), p.signs);
    }
    return p;
}

/* An element's code: its level | 8 if it is negative. */
FN REAL iq_code(iq_params p, int elements, int i) {
    UINT sign = (p.signs >> i) & 1u;
    return to_real(INT_OF(iq_level(p.point[i / elements], elements, i % elements) | sign << 3));
}

/* The part's d times the magnitude of a code's level, unit. The reference turns the sign last, a NaN's too. */
FN REAL iq_value(iq_params p, int part, REAL unit, INT code) {
    return as_real(as_uint(mul_tame(p.tame, p.d[part], unit)) ^ (UINT_OF(code) >> 3 << 31));
}

/* The bits from `shift` up of four points' numbers, `width` bits each. */
LARGE UINT iq_bits(WORDS_IN(t), int points, UINT a, UINT b, UINT c, UINT d, int elements, int shift, int width) {
    UINT mask = splat_u((1u << width) - 1u), word = splat_u(0u);
    for (int g = 0; g < 4; g++) {
        UINT point = g == 0 ? a : g == 1 ? b : g == 2 ? c : d;
        UINT number = iq_number(iq_point_list(t, points, point, elements));
        word = word | (number >> shift & mask) << (width * g);
    }
    return word;
}
/* Of points first … first + 3: the low bytes of their numbers, and the bits above, `width` of them. */
#define iq_low_bytes(t, points, point, first, elements)                                                                \
    iq_bits(t, points, point[first], point[(first) + 1], point[(first) + 2], point[(first) + 3], elements, 0, 8)
#define iq_high_bits(t, points, point, first, elements, width)                                                         \
    iq_bits(t, points, point[first], point[(first) + 1], point[(first) + 2], point[(first) + 3], elements, 8, width)

/* Seven signs a group of 8. */
FN UINT iq_sevens(UINT signs) {
    return (signs & 0x7fu) | (signs & 0x7f00u) >> 1 | (signs & 0x7f0000u) >> 2 | (signs & 0x7f000000u) >> 3;
}

/* The codes of the group at c[at] from its point's number and its signs. */
FN void iq_group_codes(WORDS_IN(t), UINT number, UINT signs, int elements, CODES_INOUT(c), int at) {
    UINT point = WORD(t, INT_OF(number));
    for (int k = 0; k < elements; k++) c[at + k] = INT_OF(iq_level(point, elements, k) | ((signs >> k) & 1u) << 3);
}

/* The eighth sign makes their number even. */
FN UINT iq_eight(UINT seven) {
    UINT odd = seven ^ seven >> 4;
    odd = odd ^ odd >> 2;
    odd = odd ^ odd >> 1;
    return seven | (odd & 1u) << 7;
}

#endif
