/* How tiles reach the lanes. A simdgroup of 32 threads takes a tile of 1,024 elements, a lane 32 consecutive ones:
 * memory is read in pieces of 16 bytes that lie side by side across the simdgroup, and laid down in threadgroup memory
 * as floats' bits in rows of 32, one a lane, 36 apart, so that neither direction meets a bank twice.
 *
 *   element 32 l + e of the tile  ->  rows[36 l + e]
 */
#include "dialect/metal.h"
#include "dialect/sums.h"
#include "backends/metal/metal_args.h"

enum { TILE = 1024, PITCH = 36, ROWS = 32 * PITCH };

/* ---- Sources, what weights are stored in, as types ---- */

#include "every_source.h"

#define SOURCE(source, number, ...)                                                                                    \
    struct source##_source {                                                                                           \
        enum { bytes = source##_BYTES };                                                                               \
        static UINT load(UINT bits) { return as_uint(source##_load(bits)); }                                           \
        static UINT store(UINT value) { return source##_store(as_real(value)); }                                       \
    };
#include "sources/sources.def"
#undef SOURCE

/* ---- Memory ---- */

typedef device const uchar *memory_in;
typedef device uchar *memory_out;
typedef constant qdq_metal_work &work_in;
typedef constant qdq_metal_array &array_in;

struct place {
    INT lane;
    ulong tile, first; /* element */
    INT n;             /* elements of this tile; 0: nothing to do */
};

FN place find_place(work_in w, UINT group, UINT thread_number) {
    place t;
    t.lane = INT(thread_number % 32);
    t.tile = ulong(group) * w.simdgroups + thread_number / 32;
    t.first = t.tile * TILE;
    ulong left = t.first < w.count ? w.count - t.first : 0;
    t.n = left < TILE ? INT(left) : TILE;
    return t;
}

FN void barrier() { simdgroup_barrier(mem_flags::mem_threadgroup); }

FN bool aligned16(device const void *at) { return (ulong(at) & 15) == 0; }

/* Number i of elements of so many bytes. */
template <int bytes> FN UINT get_element(memory_in from, ulong i) {
    return bytes == 4 ? ((device const uint *)from)[i] : bytes == 2 ? ((device const ushort *)from)[i] : from[i];
}
template <int bytes> FN void put_element(memory_out to, ulong i, UINT bits) {
    if (bytes == 4)
        ((device uint *)to)[i] = bits;
    else if (bytes == 2)
        ((device ushort *)to)[i] = ushort(bits);
    else
        to[i] = uchar(bits);
}

/* Where a lane's elements, which lie together in one row, begin in an array with a pitch. */
FN ulong find_row(array_in a, place t) {
    ulong at = a.first + t.first + 32 * t.lane, row = at / a.columns;
    return row * a.pitch + (at - row * a.columns);
}

/* ---- Tiles ---- */

/* Elements of the tile, the others +0. */
template <class S> FN void load_from(array_in a, memory_in memory, place t, threadgroup uint *rows) {
    memory_in from = memory + a.at;
    if (a.pitch != 0) {
        ulong at = find_row(a, t);
        ROLLED for (INT i = 0; i < 32; i++)
            rows[PITCH * t.lane + i] = 32 * t.lane < t.n ? S::load(get_element<S::bytes>(from, at + i)) : 0u;
        return;
    }
    if (t.n == TILE && aligned16(from)) {
        device const uint4 *pieces = (device const uint4 *)(from + t.first * S::bytes);
        for (INT j = 0; j < 2 * S::bytes; j++) {
            uint4 piece = pieces[32 * j + t.lane];
            INT e = (32 * j + t.lane) * (16 / S::bytes);
            threadgroup uint *to = rows + PITCH * (e / 32) + e % 32;
            for (INT k = 0; k < 16 / S::bytes; k++) {
                UINT bits = piece[k * S::bytes / 4] >> (k * S::bytes % 4 * 8);
                to[k] = S::load(S::bytes == 4 ? bits : bits & ((1u << (S::bytes * 8 % 32)) - 1u));
            }
        }
        return;
    }
    ROLLED for (INT j = 0; j < 32; j++) {
        INT i = 32 * j + t.lane;
        rows[PITCH * j + t.lane] = i < t.n ? S::load(get_element<S::bytes>(from, t.first + i)) : 0u;
    }
}

template <class S> FN void store_to(array_in a, memory_out memory, place t, threadgroup const uint *rows) {
    memory_out to = memory + a.at;
    if (a.pitch != 0) {
        ulong at = find_row(a, t);
        ROLLED for (INT i = 0; i < 32 && 32 * t.lane < t.n; i++)
            put_element<S::bytes>(to, at + i, S::store(rows[PITCH * t.lane + i]));
        return;
    }
    if (t.n == TILE && aligned16(to)) {
        device uint4 *pieces = (device uint4 *)(to + t.first * S::bytes);
        for (INT j = 0; j < 2 * S::bytes; j++) {
            uint4 piece = uint4(0u);
            INT e = (32 * j + t.lane) * (16 / S::bytes);
            threadgroup const uint *from = rows + PITCH * (e / 32) + e % 32;
            for (INT k = 0; k < 16 / S::bytes; k++)
                piece[k * S::bytes / 4] |= S::store(from[k]) << (k * S::bytes % 4 * 8);
            pieces[32 * j + t.lane] = piece;
        }
        return;
    }
    ROLLED for (INT j = 0; j < 32; j++) {
        INT i = 32 * j + t.lane;
        if (i < t.n) put_element<S::bytes>(to, t.first + i, S::store(rows[PITCH * j + t.lane]));
    }
}

FN void load_tile(array_in a, memory_in memory, place t, threadgroup uint *rows) {
    switch (a.dtype) {
#define SOURCE(source, number, ...)                                                                                    \
    case number: load_from<source##_source>(a, memory, t, rows); break;
#include "sources/sources.def"
#undef SOURCE
    default: break;
    }
    barrier();
}

FN void store_tile(array_in a, memory_out memory, place t, threadgroup const uint *rows) {
    barrier();
    switch (a.dtype) {
#define SOURCE(source, number, ...)                                                                                    \
    case number: store_to<source##_source>(a, memory, t, rows); break;
#include "sources/sources.def"
#undef SOURCE
    default: break;
    }
}

/* A lane's own row. */
FN void take_row(threadgroup const uint *rows, INT lane, BLOCK_OUT(x)) {
    for (INT i = 0; i < 32; i++) x[i] = as_real(rows[PITCH * lane + i]);
}

/* The importance of a lane's elements, 0 past the last one. Rows are multiples of 32 long, so they lie together. */
FN void take_weights(work_in w, memory_in importance, place t, BLOCK_OUT(m)) {
    device const uint *from = (device const uint *)(importance + w.importance_at);
    ulong at = 32 * t.lane < t.n ? (w.column + t.first + 32 * t.lane) % w.row : 0;
    for (INT i = 0; i < 32; i++) m[i] = as_real(32 * t.lane < t.n ? from[at + i] : 0u);
}

/* ---- Sums ---- */

/* Three sums, and a largest value by its bits, of the lanes', as sums.h has it: lane l takes lane l + 16, then l + 8,
 * 4, 2, 1. Eight lanes each take the first two levels of one of the four, one of them the rest, and returns its bits. */
FN UINT join(INT s, UINT a, UINT b) { return s == 3 ? max(a, b) : as_uint(as_real(a) + as_real(b)); }
FN UINT join_lanes(uint4 bits, INT lane, threadgroup uint *rows) {
    INT s = lane / 8, l = lane % 8;
    threadgroup uint4 *all = (threadgroup uint4 *)rows;
    barrier();
    all[lane] = bits;
    barrier();
    UINT a = join(s, all[l][s], all[l + 16][s]), b = join(s, all[l + 8][s], all[l + 24][s]);
    UINT v = join(s, a, b);
    barrier();
    rows[lane] = v;
    barrier();
    if (l == 0) {
        threadgroup const uint *c = rows + lane;
        UINT even = join(s, join(s, c[0], c[4]), join(s, c[2], c[6]));
        v = join(s, even, join(s, join(s, c[1], c[5]), join(s, c[3], c[7])));
    }
    barrier();
    return v;
}

/* ---- Kernels ---- */

/* Every kernel has these parameters. */
#define KERNEL(name)                                                                                                   \
    kernel void name(constant qdq_metal_work &w [[buffer(QDQ_METAL_WORK)]],                                            \
                     device const uchar *input [[buffer(QDQ_METAL_INPUT)]],                                            \
                     device uchar *output [[buffer(QDQ_METAL_OUTPUT)]],                                                \
                     device const uchar *gradient [[buffer(QDQ_METAL_GRADIENT)]],                                      \
                     device const uchar *low [[buffer(QDQ_METAL_LOW)]],                                                \
                     device const uchar *high [[buffer(QDQ_METAL_HIGH)]],                                              \
                     device const uchar *importance [[buffer(QDQ_METAL_IMPORTANCE)]],                                  \
                     device const uchar *row_sums [[buffer(QDQ_METAL_ROW_SUMS)]],                                      \
                     device const uint *words [[buffer(QDQ_METAL_WORDS)]],                                             \
                     threadgroup uint *shared_words [[threadgroup(0)]],                                                \
                     uint group [[threadgroup_position_in_grid]],                                                      \
                     uint thread_number [[thread_index_in_threadgroup]])

/* The host puts formats' files into a struct from here on, each once: formats are its members. */
#undef FN
#define FN inline
