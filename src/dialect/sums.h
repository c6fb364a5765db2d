/* What a lane adds up over its 32 elements for a tile's error and sensitivity, written once as formats are. The terms
 * come one after another, so that no backend has to keep the values that they are of. All is by value, which compilers
 * turn into registers; where a loop is unrolled, the branches on `i` go.
 *
 * A backend adds the lanes' sums: lane l takes lane l + 16, then l + 8, 4, 2, 1. That makes a full binary tree of the
 * tile's 1,024 terms. Ten levels, with three roundings inside a term: far below 1e-6 of the terms' sum. */

#ifndef LARGER                                     /* a dialect may have its own */
#define LARGER(size, largest) max_r(size, largest) /* a NaN is passed over */
#endif

/* A sum of 32 terms in the order of a binary tree over neighbours, (0+1)+(2+3) …: term i is added to its neighbour, the
 * pair to the pair before, and so on. */
STRUCT(tree) { REAL one, two, four, eight, sixteen, all; };

FN tree empty_tree() {
    tree t;
    t.one = t.two = t.four = t.eight = t.sixteen = t.all = splat(0.0f);
    return t;
}

FN tree with_term(tree t, int i, REAL v) {
    if ((i & 1) == 0) {
        t.one = v;
        return t;
    }
    v = t.one + v;
    if ((i & 2) == 0) {
        t.two = v;
        return t;
    }
    v = t.two + v;
    if ((i & 4) == 0) {
        t.four = v;
        return t;
    }
    v = t.four + v;
    if ((i & 8) == 0) {
        t.eight = v;
        return t;
    }
    v = t.eight + v;
    if ((i & 16) == 0)
        t.sixteen = v;
    else
        t.all = t.sixteen + v;
    return t;
}

/* The square of v, times the importance m if that is given. */
FN REAL square_term(REAL v, REAL m, bool weighted) { return weighted ? m * (v * v) : v * v; }

/* Of the weights w: their squares. */
FN tree with_weight(tree ww, int i, REAL w, REAL m, bool weighted) {
    return with_term(ww, i, square_term(w, m, weighted));
}

/* Of the errors d = w - v, and of the values v that w became: squares, and the largest size of an error. */
STRUCT(error_sums) {
    tree dd, vv;
    REAL largest;
};
FN error_sums no_errors() {
    error_sums e;
    e.dd = e.vv = empty_tree();
    e.largest = splat(0.0f);
    return e;
}
FN error_sums with_error(error_sums e, int i, REAL w, REAL v, REAL m, bool weighted) {
    REAL d = w - v;
    e.largest = LARGER(abs_(d), e.largest);
    e.dd = with_term(e.dd, i, square_term(d, m, weighted));
    e.vv = with_term(e.vv, i, square_term(v, m, weighted));
    return e;
}

/* Of the products t of gradient g and difference d = low - high: they themselves, their sizes, their squares. */
STRUCT(sensitivity_sums) { tree t, size, tt; };
FN sensitivity_sums no_sensitivities() {
    sensitivity_sums s;
    s.t = s.size = s.tt = empty_tree();
    return s;
}
FN sensitivity_sums with_difference(sensitivity_sums s, int i, REAL g, REAL d) {
    REAL t = g * d;
    s.t = with_term(s.t, i, t);
    s.size = with_term(s.size, i, abs_(t));
    s.tt = with_term(s.tt, i, t * t);
    return s;
}
