/* How tiles reach the lanes. A warp takes a tile of 1,024 elements, a lane 32 consecutive ones: memory is read in
 * pieces of 16 bytes that lie side by side across the warp, and laid down in shared memory in rows of 32 floats, one a
 * lane, 36 apart, so that neither direction meets a bank twice.
 *
 *   element 32 l + e of the tile  ->  rows[36 l + e]
 */
#ifndef QDQ_BACKENDS_CUDA_TILE_CUH
#define QDQ_BACKENDS_CUDA_TILE_CUH

#include "dialect/cuda.h"
#include "backends/cuda/args.h"
#include "every_source.h"

enum { TILE = 1024, PITCH = 36, ROWS = 32 * PITCH };

template <int bytes> struct unsigned_of;
template <> struct unsigned_of<1> { typedef uint8_t type; };
template <> struct unsigned_of<2> { typedef uint16_t type; };
template <> struct unsigned_of<4> { typedef uint32_t type; };

/* What the file of a source says, for templates. */
#define SOURCE(name, ...)                                                                                              \
    struct name##_source {                                                                                             \
        enum { bytes = name##_BYTES };                                                                                 \
        typedef unsigned_of<bytes>::type element;                                                                      \
        static __device__ __forceinline__ float load(UINT bits) { return name##_load(bits); }                          \
        static __device__ __forceinline__ UINT store(float x) { return name##_store(x); }                              \
    };
#include "sources/sources.def"
#undef SOURCE

/* body(s), s being of the source's type. */
template <class Body> FN void with_source(UINT dtype, Body body) {
    switch (dtype) {
#define SOURCE(name, number, ...)                                                                                      \
    case number:                                                                                                       \
        body(name##_source());                                                                                         \
        break;
#include "sources/sources.def"
#undef SOURCE
    }
}

/* Element `at` from the array's address on. */
FN float load_element(const qdq_cuda_array &a, uint64_t at) {
    float x = 0.0f;
    with_source(a.dtype, [&](auto s) { x = s.load(((const typename decltype(s)::element *)a.address)[at]); });
    return x;
}
FN void store_element(float x, const qdq_cuda_array &a, uint64_t at) {
    with_source(a.dtype, [&](auto s) {
        typedef typename decltype(s)::element element;
        ((element *)a.address)[at] = (element)s.store(x);
    });
}

FN bool aligned16(uint64_t address) { return (address & 15u) == 0; }

/* Where a lane's elements, which lie together in one row, begin in an array with a pitch. */
FN uint64_t find_row(const qdq_cuda_array &a, uint64_t first, int n, int lane) {
    uint64_t at = a.first + first + 32 * lane, row = at / a.columns;
    return 32 * lane < n ? row * a.pitch + (at - row * a.columns) : 0;
}

/* A warp takes the rows of one lane after another, side by side. */
FN void load_pitched(const qdq_cuda_array &a, uint64_t first, int n, float *rows, int lane) {
    uint64_t mine = find_row(a, first, n, lane);
#pragma unroll 1
    for (int j = 0; j < 32; j++) {
        uint64_t at = __shfl_sync(0xffffffffu, mine, j) + lane;
        rows[PITCH * j + lane] = 32 * j + lane < n ? load_element(a, at) : 0.0f;
    }
}

/* The warp's pieces of 16 bytes, and where in the rows a piece's elements lie. */
template <class S> struct pieces {
    enum { elements = 16 / S::bytes, count = 32 / elements /* a lane's */ };
    static __device__ __forceinline__ int place(int j, int lane) {
        return PITCH * (elements * j + lane / (32 / elements)) + lane % (32 / elements) * elements;
    }
};

template <class S> FN float element_of(const UINT *words, int i) {
    UINT word = words[i * S::bytes / 4] >> i * S::bytes % 4 * 8;
    return S::load((typename S::element)word);
}

template <class S> FN void load_pieces(S, const uint4 *src, float *rows, int lane) {
    uint4 v[pieces<S>::count];
#pragma unroll
    for (int j = 0; j < pieces<S>::count; j++) v[j] = src[32 * j + lane];
#pragma unroll
    for (int j = 0; j < pieces<S>::count; j++) {
        UINT w[4] = {v[j].x, v[j].y, v[j].z, v[j].w};
        float4 *to = (float4 *)&rows[pieces<S>::place(j, lane)];
#pragma unroll
        for (int i = 0; i < pieces<S>::elements; i += 4)
            to[i / 4] = make_float4(element_of<S>(w, i), element_of<S>(w, i + 1), element_of<S>(w, i + 2),
                                    element_of<S>(w, i + 3));
    }
}

/* Elements first … first + n - 1 of an array; the tile's others are +0. */
FN void load_tile(const qdq_cuda_array &a, uint64_t first, int n, float *rows, int lane) {
    if (a.pitch) {
        load_pitched(a, first, n, rows, lane);
        return;
    }
    with_source(a.dtype, [&](auto s) {
        typedef typename decltype(s)::element element;
        const element *src = (const element *)a.address + first;
        if (n == TILE && aligned16(a.address)) {
            load_pieces(s, (const uint4 *)src, rows, lane);
        } else {
#pragma unroll 4
            for (int j = 0; j < 32; j++) {
                int i = 32 * j + lane;
                rows[PITCH * j + lane] = i < n ? s.load(src[i]) : 0.0f;
            }
        }
    });
}

/* Two elements of two bytes in one word. */
template <class S> FN UINT store_pair(S, float a, float b) { return S::store(a) | S::store(b) << 16; }
#if __CUDA_ARCH__ >= 800
/* The processor rounds as bf16_store and f16_store do, but for NaNs, which become one and the same there. The sum is a
 * NaN if one of them is. */
FN UINT store_pair(bf16_source s, float a, float b) {
    UINT r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
    return isnan(a + b) ? s.store(a) | s.store(b) << 16 : r;
}
FN UINT store_pair(f16_source s, float a, float b) {
    UINT r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
    return isnan(a + b) ? s.store(a) | s.store(b) << 16 : r;
}
#endif

template <class S> FN void store_pieces(S s, const float *rows, uint4 *dst, int lane) {
#pragma unroll
    for (int j = 0; j < pieces<S>::count; j++) {
        float x[pieces<S>::elements];
        const float4 *from = (const float4 *)&rows[pieces<S>::place(j, lane)];
        UINT w[4] = {0, 0, 0, 0};
#pragma unroll
        for (int i = 0; i < pieces<S>::elements; i += 4) *(float4 *)&x[i] = from[i / 4];
#pragma unroll
        for (int i = 0; i < pieces<S>::elements; i += S::bytes == 2 ? 2 : 1) {
            if (S::bytes == 2)
                w[i / 2] = store_pair(s, x[i], x[i + 1]);
            else
                w[i * S::bytes / 4] |= S::store(x[i]) << i * S::bytes % 4 * 8;
        }
        dst[32 * j + lane] = make_uint4(w[0], w[1], w[2], w[3]);
    }
}

FN void store_pitched(const float *rows, const qdq_cuda_array &a, uint64_t first, int n, int lane) {
    uint64_t mine = find_row(a, first, n, lane);
#pragma unroll 1
    for (int j = 0; j < 32; j++) {
        uint64_t at = __shfl_sync(0xffffffffu, mine, j) + lane;
        if (32 * j + lane < n) store_element(rows[PITCH * j + lane], a, at);
    }
}

/* And back: the first n elements, as what the array has. */
FN void store_tile(const float *rows, const qdq_cuda_array &a, uint64_t first, int n, int lane) {
    if (a.pitch) {
        store_pitched(rows, a, first, n, lane);
        return;
    }
    with_source(a.dtype, [&](auto s) {
        typedef typename decltype(s)::element element;
        element *dst = (element *)a.address + first;
        if (n == TILE && aligned16(a.address)) {
            store_pieces(s, rows, (uint4 *)dst, lane);
        } else {
#pragma unroll(sizeof(element) == 4 ? 4 : 1)
            for (int j = 0; j < 32; j++) {
                int i = 32 * j + lane;
                if (i < n) dst[i] = (element)s.store(rows[PITCH * j + lane]);
            }
        }
    });
}

/* A lane's own row. */
FN void take_row(const float *rows, int lane, float *x) {
#pragma unroll
    for (int i = 0; i < 8; i++) *(float4 *)&x[4 * i] = *(const float4 *)&rows[PITCH * lane + 4 * i];
}
FN void put_row(const float *x, int lane, float *rows) {
#pragma unroll
    for (int i = 0; i < 8; i++) *(float4 *)&rows[PITCH * lane + 4 * i] = *(const float4 *)&x[4 * i];
}

/* The importance of a lane's elements, 0 past the last one; returns their row, counted from the kernel's first. Rows
 * are multiples of 32 long, so a lane's elements lie together in one. */
FN uint64_t take_weights(const qdq_cuda_columns &c, uint64_t first, int n, int lane, float *m) {
    uint64_t at = c.first + first + 32 * lane, row = at / c.row;
    const float *src = (const float *)c.address + (at - row * c.row);
    bool mine = 32 * lane < n;
    if (aligned16(c.address)) {
#pragma unroll
        for (int i = 0; i < 32; i += 4)
            *(float4 *)&m[i] = mine ? *(const float4 *)&src[i] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    } else {
#pragma unroll
        for (int i = 0; i < 32; i++) m[i] = mine ? src[i] : 0.0f;
    }
    return row;
}

/* body(p, i) for each of a lane's elements; compiled for tame parameters and for others, so that the usual loop has no
 * special cases to mind. */
template <class P, class Body> FN void for_elements(P p, Body body) {
    if (p.tame) {
        p.tame = true;
#pragma unroll
        for (int i = 0; i < 32; i++) body(p, i);
    } else {
        p.tame = false;
#pragma unroll
        for (int i = 0; i < 32; i++) body(p, i);
    }
}

struct place {
    int lane, warp;
    uint64_t tile, first; /* element */
    int n;                /* elements of this tile; 0: nothing to do */
};

FN place find_place(uint64_t count) {
    place p;
    p.lane = threadIdx.x % 32;
    p.warp = threadIdx.x / 32;
    p.tile = (uint64_t)blockIdx.x * QDQ_CUDA_WARPS + p.warp;
    p.first = p.tile * TILE;
    uint64_t left = p.first < count ? count - p.first : 0;
    p.n = left < TILE ? (int)left : TILE;
    return p;
}

#endif
