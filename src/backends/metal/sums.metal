/* Error and sensitivity: a tile is read once, requantized by one format after another, and summed in a fixed tree. The
 * light formats are compiled in: EACH_LIGHT_FORMAT(X), which the host writes, is X(name, number) for each, and the
 * struct `formats` has their files; of others the round trip is given in memory. And the sums over rows that some fits
 * want. */
#undef FN
#define FN static inline

/* x becomes its round trip; false where the format is not compiled in. */
FN bool requantize(thread formats &f, UINT format, BLOCK_OUT(x)) {
    switch (format) {
#define REQUANTIZE(name, number)                                                                                       \
    case number: {                                                                                                     \
        formats::name##_params p = f.name##_fit(x, splat(0.0f));                                                       \
        for (INT i = 0; i < 32; i++) x[i] = f.name##_value(f.name##_code(x[i], p, i), p, i);                           \
        return true;                                                                                                   \
    }
        EACH_LIGHT_FORMAT(REQUANTIZE)
    default: return false;
    }
}

/* A lane's elements of floats in memory, +0 past the last. */
FN void take_given(memory_in given, place t, BLOCK_OUT(x)) {
    device const uint *from = (device const uint *)given + t.first + 32 * t.lane;
    for (INT i = 0; i < 32; i++) x[i] = as_real(32 * t.lane < t.n ? from[i] : 0u);
}

FN void make_values(thread formats &f, UINT format, memory_in given, place t, threadgroup const uint *rows,
                    BLOCK_OUT(x)) {
    if (format == QDQ_METAL_GIVEN) {
        take_given(given, t, x);
        return;
    }
    take_row(rows, t.lane, x);
    requantize(f, format, x);
}

/* The tile's rows, and after them what its lanes' sums are added up in. */
enum { JOINED = 4 * 32 };

#define BEGIN(stages)                                                                                                  \
    place t = find_place(w, group, thread_number);                                                               \
    if (t.n == 0) return;                                                                                              \
    threadgroup uint *rows = shared_words + thread_number / 32 * (stages * ROWS + JOINED);                             \
    formats f;                                                                                                         \
    ulong tiles = (w.count + TILE - 1) / TILE;

/* err2, ww, qq, max_abs to the tile's four words of each format. */
template <bool weighted>
FN void error_of_tile(thread formats &f, work_in w, memory_in input, memory_out output, memory_in low,
                      memory_in importance, place t, ulong tiles, threadgroup uint *rows) {
    load_tile(w.input, input, t, rows);
    REAL x[32], v[32], m[32];
    take_row(rows, t.lane, x);
    for (INT i = 0; i < 32 && !weighted; i++) m[i] = splat(1.0f);
    if (weighted) take_weights(w, importance, t, m);
    tree ww = empty_tree();
    for (INT i = 0; i < 32; i++) ww = with_weight(ww, i, x[i], m[i], weighted);
    ROLLED for (UINT k = 0; k < w.n_formats; k++) {
        make_values(f, w.format[0][k], low, t, rows, v);
        error_sums e = no_errors();
        for (INT i = 0; i < 32; i++) e = with_error(e, i, x[i], v[i], m[i], weighted);
        uint4 own = uint4(as_uint(e.dd.all), as_uint(ww.all), as_uint(e.vv.all), as_uint(e.largest));
        UINT all = join_lanes(own, t.lane, rows + ROWS);
        if (t.lane % 8 == 0) ((device uint *)(output + w.output.at))[(k * tiles + t.tile) * 4 + t.lane / 8] = all;
    }
}

KERNEL(error_kernel) {
    BEGIN(1)
    error_of_tile<false>(f, w, input, output, low, importance, t, tiles, rows);
}
KERNEL(weighted_error_kernel) {
    BEGIN(1)
    error_of_tile<true>(f, w, input, output, low, importance, t, tiles, rows);
}

/* signed, absolute, squared to the tile's three words of each pair. */
KERNEL(sensitivity_kernel) {
    BEGIN(2)
    threadgroup uint *gradients = rows + ROWS;
    load_tile(w.input, input, t, rows);
    load_tile(w.gradient, gradient, t, gradients);
    REAL a[32], b[32];
    ROLLED for (UINT k = 0; k < w.n_formats; k++) {
        make_values(f, w.format[0][k], low, t, rows, a);
        make_values(f, w.format[1][k], high, t, rows, b);
        sensitivity_sums s = no_sensitivities();
        for (INT i = 0; i < 32; i++)
            s = with_difference(s, i, as_real(gradients[PITCH * t.lane + i]), a[i] - b[i]);
        uint4 own = uint4(as_uint(s.t.all), as_uint(s.size.all), as_uint(s.tt.all), 0u);
        UINT all = join_lanes(own, t.lane, rows + 2 * ROWS);
        if (t.lane % 8 == 0 && t.lane < 24)
            ((device uint *)(output + w.output.at))[(k * tiles + t.tile) * 3 + t.lane / 8] = all;
    }
}

/* The mean square of each row, added up first element first: a thread a row, of w.count. */
template <class S> FN REAL add_squares(memory_in from, ulong first, ulong n) {
    REAL sum = splat(0.0f);
    for (ulong i = 0; i < n; i++) {
        REAL x = as_real(S::load(get_element<S::bytes>(from, first + i)));
        sum = sum + x * x;
    }
    return sum;
}
KERNEL(row_squares_kernel) {
    ulong r = ulong(group) * 32 * w.simdgroups + thread_number;
    if (r >= w.count) return;
    memory_in from = input + w.input.at;
    REAL sum = splat(0.0f);
    switch (w.input.dtype) {
#define SOURCE(source, number, ...)                                                                                    \
    case number: sum = add_squares<source##_source>(from, r * w.input.pitch, w.row); break;
#include "sources/sources.def"
#undef SOURCE
    default: break;
    }
    ((device uint *)(output + w.output.at))[r] = as_uint(div_rn(sum, splat(w.row)));
}
