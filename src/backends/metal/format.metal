/* One format's kernels: round trip and quantize, without and with importance, and dequantize. Comes after tile.metal
 * and the struct `formats` that has the format's file; FORMAT is its name. */
#undef FN
#define FN static inline
#define JOIN2(a, b) a##_##b
#define JOIN(a, b)  JOIN2(a, b)
#define F(name)     JOIN(FORMAT, name)

typedef formats::F(params) params;
#if F(SHARED) > 0
typedef formats::F(part) part;
#endif

enum {
    LANES = F(LANES),
    TILE_BYTES = 32 / LANES * F(BYTES),   /* packed */
    CODE_PITCH = 32 * LANES + 4,          /* a block's codes; the next block's begin a bank further */
    CODE_BYTES = (32 / LANES * CODE_PITCH + 15) / 16 * 16,
    SHARED = 32 * F(SHARED),              /* words: what a tile's lanes show to each other, in its rows' place, */
    STAGE = SHARED > ROWS ? SHARED : ROWS /* after which are its heads */
};
static_assert(CODE_BYTES + TILE_BYTES <= ROWS * 4, "codes and blocks fit into a tile's rows");

/* The two ways to fit a format. */
#if F(IMPORTANCE) < 2
struct plain {
    enum { weighs = 0, sum = F(SUM) };
#if F(SHARED) > 0
    static part fit(thread formats &f, BLOCK_IN(x), BLOCK_IN(m), REAL s) { return f.F(fit)(x, s); }
    static params fold(thread formats &f, thread const part &p, PEERS(peers)) { return f.F(fold)(p, peers); }
#else
    static params fit(thread formats &f, BLOCK_IN(x), BLOCK_IN(m), REAL s) { return f.F(fit)(x, s); }
#endif
    static REAL code(thread formats &f, REAL x, thread const params &p, INT i) { return f.F(code)(x, p, i); }
};
#endif
#if F(IMPORTANCE) > 0
struct weighted {
    enum { weighs = 1, sum = F(WEIGHTED_SUM) };
#if F(SHARED) > 0
    static part fit(thread formats &f, BLOCK_IN(x), BLOCK_IN(m), REAL s) { return f.F(fit_weighted)(x, m, s); }
    static params fold(thread formats &f, thread const part &p, PEERS(peers)) { return f.F(fold_weighted)(p, peers); }
#else
    static params fit(thread formats &f, BLOCK_IN(x), BLOCK_IN(m), REAL s) { return f.F(fit_weighted)(x, m, s); }
#endif
    static REAL code(thread formats &f, REAL x, thread const params &p, INT i) { return f.F(code_weighted)(x, p, i); }
};
#endif

/* abs(x) or x x over the lane's block, in order. */
FN REAL add_block(threadgroup const uint *rows, INT lane, bool magnitudes) {
    REAL sum = splat(0.0f);
    ROLLED for (INT l = lane & -LANES; l < (lane & -LANES) + LANES; l++) for (INT i = 0; i < 32; i++) {
        REAL x = as_real(rows[PITCH * l + i]);
        sum = sum + (magnitudes ? abs_(x) : x * x);
    }
    return sum;
}

/* The lane's elements, from the tile's rows, and their parameters. The rows are done with then, in every lane once the
 * simdgroup is in step again. */
template <class V>
FN params fit_lane(thread formats &f, work_in w, memory_in importance, memory_in row_sums, place t,
                   threadgroup uint *rows, BLOCK_OUT(x)) {
    REAL m[V::weighs ? 32 : 1];
    if (V::weighs) take_weights(w, importance, t, m);
    REAL sum = splat(0.0f);
    if (V::sum == SUM_MAGNITUDES || V::sum == SUM_SQUARES) sum = add_block(rows, t.lane, V::sum == SUM_MAGNITUDES);
    if (V::sum == SUM_ROW && 32 * t.lane < t.n)
        sum = as_real(((device const uint *)row_sums)[w.row_sums + (w.column + t.first + 32 * t.lane) / w.row]);
    take_row(rows, t.lane, x);
#if F(SHARED) == 0
    return V::fit(f, x, m, sum);
#else
    part p = V::fit(f, x, m, sum);
    barrier();
    for (INT k = 0; k < F(SHARED); k++) rows[32 * k + t.lane] = as_uint(f.F(share)(p, k));
    barrier();
    return V::fold(f, p, rows + (t.lane & -LANES));
#endif
}

template <class V>
FN void roundtrip(thread formats &f, work_in w, memory_in input, memory_out output, memory_in importance,
                  memory_in row_sums, place t, threadgroup uint *rows) {
    load_tile(w.input, input, t, rows);
    REAL x[32];
    params p = fit_lane<V>(f, w, importance, row_sums, t, rows, x);
    barrier();
    for (INT i = 0; i < 32; i++) rows[PITCH * t.lane + i] = as_uint(f.F(value)(V::code(f, x[i], p, i), p, i));
    store_tile(w.output, output, t, rows);
}

/* Packed tiles lie in memory without gaps. The widest pieces that every tile's start is aligned to: */
template <int bytes> struct piece;
template <> struct piece<16> { typedef uint4 type; };
template <> struct piece<8> { typedef uint2 type; };
template <> struct piece<4> { typedef uint type; };
template <> struct piece<2> { typedef ushort type; };
enum { PIECE = TILE_BYTES % 16 == 0 ? 16 : TILE_BYTES % 8 == 0 ? 8 : TILE_BYTES % 4 == 0 ? 4 : 2 };
static_assert(TILE_BYTES % 2 == 0, "a tile's blocks are pieces of two bytes at least");
typedef piece<PIECE>::type tile_piece;

template <class V>
FN void quantize(thread formats &f, work_in w, memory_in input, memory_out output, memory_in importance,
                 memory_in row_sums, place t, threadgroup uint *rows) {
    threadgroup uint *heads = rows + STAGE;
    load_tile(w.input, input, t, rows);
    REAL x[32];
    params p = fit_lane<V>(f, w, importance, row_sums, t, rows, x);
    barrier();
    INT block = t.lane / LANES;
    threadgroup uchar *codes = (threadgroup uchar *)rows + block * CODE_PITCH;
    threadgroup uchar *blocks = (threadgroup uchar *)rows + CODE_BYTES;
    for (INT k = 0; k < 8; k++) {
        UINT word = 0u;
        for (INT i = 4 * k; i < 4 * k + 4; i++) word |= (UINT(to_int(V::code(f, x[i], p, i))) & 255u) << (i % 4 * 8);
        ((threadgroup uint *)(codes + t.lane % LANES * 32))[k] = word;
    }
    for (INT k = 0; k < F(HEADS); k++) heads[32 * k + t.lane] = f.F(head)(p, k);
    barrier();
    f.F(pack)(codes, heads + block * LANES, blocks + block * F(BYTES));
    barrier();
    INT bytes = t.n / (32 * LANES) * F(BYTES);
    memory_out to = output + w.output.at + t.tile * TILE_BYTES;
    if (t.n == TILE && aligned16(output + w.output.at)) {
        for (INT i = t.lane; i < TILE_BYTES / PIECE; i += 32)
            ((device tile_piece *)to)[i] = ((threadgroup const tile_piece *)blocks)[i];
    } else {
        for (INT i = t.lane; i < bytes; i += 32) to[i] = blocks[i];
    }
}

FN void dequantize(thread formats &f, work_in w, memory_in input, memory_out output, place t, threadgroup uint *rows) {
    threadgroup uchar *blocks = (threadgroup uchar *)rows;
    INT bytes = t.n / (32 * LANES) * F(BYTES);
    memory_in from = input + w.input.at + t.tile * TILE_BYTES;
    if (t.n == TILE && aligned16(input + w.input.at)) {
        for (INT i = t.lane; i < TILE_BYTES / PIECE; i += 32)
            ((threadgroup tile_piece *)blocks)[i] = ((device const tile_piece *)from)[i];
    } else {
        for (INT i = t.lane; i < bytes; i += 32) blocks[i] = from[i];
    }
    barrier();
    REAL y[32];
    if (32 * t.lane < t.n) {
        threadgroup const uchar *block = blocks + t.lane / LANES * F(BYTES);
        params p = f.F(read)(block, t.lane % LANES);
        INT codes[32];
        f.F(codes)(block, t.lane % LANES, codes);
        for (INT i = 0; i < 32; i++) y[i] = f.F(value)(to_real(codes[i]), p, i);
    }
    barrier();
    for (INT i = 0; i < 32 && 32 * t.lane < t.n; i++) rows[PITCH * t.lane + i] = as_uint(y[i]);
    store_tile(w.output, output, t, rows);
}

/* A simdgroup's part of threadgroup memory. */
#define BEGIN                                                                                                          \
    place t = find_place(w, group, thread_number);                                                               \
    if (t.n == 0) return;                                                                                              \
    threadgroup uint *rows = shared_words + thread_number / 32 * (STAGE + 32 * F(HEADS));                              \
    formats f;                                                                                                         \
    f.words = words;                                                                                                   \
    f.pack_lane = t.lane % LANES;                                                                                      \
    f.pack_lanes = LANES;

KERNEL(dequantize_kernel) {
    BEGIN
    dequantize(f, w, input, output, t, rows);
}
#if F(IMPORTANCE) < 2
KERNEL(roundtrip_kernel) {
    BEGIN
    roundtrip<plain>(f, w, input, output, importance, row_sums, t, rows);
}
KERNEL(quantize_kernel) {
    BEGIN
    quantize<plain>(f, w, input, output, importance, row_sums, t, rows);
}
#endif
#if F(IMPORTANCE) > 0
KERNEL(weighted_roundtrip_kernel) {
    BEGIN
    roundtrip<weighted>(f, w, input, output, importance, row_sums, t, rows);
}
KERNEL(weighted_quantize_kernel) {
    BEGIN
    quantize<weighted>(f, w, input, output, importance, row_sums, t, rows);
}
#endif
