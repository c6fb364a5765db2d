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

enum { TILE = 1024, PITCH = 36, ROWS = 32 * PITCH };
enum { DTYPE_F32, DTYPE_F16, DTYPE_BF16 }; /* as in qdq.h */

/* A binary16, exactly; NaNs keep sign and payload and become quiet, which the processor's own conversion loses. */
FN float f16_float(UINT h) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"((unsigned short)h));
    UINT nan = (h & 0x8000u) << 16 | 0x7fc00000u | (h & 0x3ffu) << 13;
    return (h & 0x7fffu) > 0x7c00u ? as_real(nan) : r;
}

FN float half_float(UINT h, bool bf16) { return bf16 ? as_real(h << 16) : f16_float(h); }

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
        float v = 0.0f;
        if (32 * j + lane < n)
            v = a.dtype == DTYPE_F32 ? ((const float *)a.address)[at]
                                     : half_float(((const uint16_t *)a.address)[at], a.dtype == DTYPE_BF16);
        rows[PITCH * j + lane] = v;
    }
}

/* Elements first … first + n - 1 of an array; the tile's others are +0. */
FN void load_tile(const qdq_cuda_array &a, uint64_t first, int n, float *rows, int lane) {
    if (a.pitch) {
        load_pitched(a, first, n, rows, lane);
        return;
    }
    bool whole = n == TILE && aligned16(a.address);
    if (a.dtype == DTYPE_F32) {
        const float *src = (const float *)a.address + first;
        if (whole) {
            float4 v[8];
#pragma unroll
            for (int j = 0; j < 8; j++) v[j] = ((const float4 *)src)[32 * j + lane];
#pragma unroll
            for (int j = 0; j < 8; j++) *(float4 *)&rows[PITCH * (4 * j + lane / 8) + lane % 8 * 4] = v[j];
        } else {
#pragma unroll 4
            for (int j = 0; j < 32; j++) {
                int i = 32 * j + lane;
                rows[PITCH * j + lane] = i < n ? src[i] : 0.0f;
            }
        }
        return;
    }
    const uint16_t *src = (const uint16_t *)a.address + first;
    bool bf16 = a.dtype == DTYPE_BF16;
    if (whole) {
        uint4 v[4];
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = ((const uint4 *)src)[32 * j + lane];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            UINT w[4] = {v[j].x, v[j].y, v[j].z, v[j].w};
            float4 *to = (float4 *)&rows[PITCH * (8 * j + lane / 4) + lane % 4 * 8];
#pragma unroll
            for (int k = 0; k < 2; k++)
                to[k] = make_float4(half_float(w[2 * k] & 0xffffu, bf16), half_float(w[2 * k] >> 16, bf16),
                                    half_float(w[2 * k + 1] & 0xffffu, bf16), half_float(w[2 * k + 1] >> 16, bf16));
        }
    } else {
#pragma unroll 4
        for (int j = 0; j < 32; j++) {
            int i = 32 * j + lane;
            rows[PITCH * j + lane] = i < n ? half_float(src[i], bf16) : 0.0f;
        }
    }
}

FN UINT half_bits(float v, bool bf16) { return bf16 ? narrow_bf16(v) : narrow_f16(v); }

FN void store_halves(const float *rows, const qdq_cuda_array &a, uint64_t first, int n, int lane) {
    uint16_t *dst = (uint16_t *)a.address + first;
    bool bf16 = a.dtype == DTYPE_BF16;
    if (n == TILE && aligned16(a.address)) {
#pragma unroll 1
        for (int j = 0; j < 4; j++) {
            float x[8];
            const float4 *from = (const float4 *)&rows[PITCH * (8 * j + lane / 4) + lane % 4 * 8];
            *(float4 *)x = from[0];
            *(float4 *)&x[4] = from[1];
            UINT w[4];
#pragma unroll
            for (int k = 0; k < 4; k++) w[k] = half_bits(x[2 * k], bf16) | half_bits(x[2 * k + 1], bf16) << 16;
            ((uint4 *)dst)[32 * j + lane] = make_uint4(w[0], w[1], w[2], w[3]);
        }
    } else {
#pragma unroll 1
        for (int j = 0; j < 32; j++) {
            int i = 32 * j + lane;
            if (i < n) dst[i] = (uint16_t)half_bits(rows[PITCH * j + lane], bf16);
        }
    }
}

FN void store_pitched(const float *rows, const qdq_cuda_array &a, uint64_t first, int n, int lane) {
    uint64_t mine = find_row(a, first, n, lane);
#pragma unroll 1
    for (int j = 0; j < 32; j++) {
        uint64_t at = __shfl_sync(0xffffffffu, mine, j) + lane;
        float v = rows[PITCH * j + lane];
        if (32 * j + lane >= n) continue;
        if (a.dtype == DTYPE_F32)
            ((float *)a.address)[at] = v;
        else
            ((uint16_t *)a.address)[at] = (uint16_t)half_bits(v, a.dtype == DTYPE_BF16);
    }
}

/* And back: the first n elements, as what the array has. */
FN void store_tile(const float *rows, const qdq_cuda_array &a, uint64_t first, int n, int lane) {
    if (a.pitch) {
        store_pitched(rows, a, first, n, lane);
        return;
    }
    if (a.dtype != DTYPE_F32) {
        store_halves(rows, a, first, n, lane);
        return;
    }
    float *dst = (float *)a.address + first;
    if (n == TILE && aligned16(a.address)) {
#pragma unroll
        for (int j = 0; j < 8; j++)
            ((float4 *)dst)[32 * j + lane] = *(const float4 *)&rows[PITCH * (4 * j + lane / 8) + lane % 8 * 4];
    } else {
#pragma unroll 4
        for (int j = 0; j < 32; j++) {
            int i = 32 * j + lane;
            if (i < n) dst[i] = rows[PITCH * j + lane];
        }
    }
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

/* The importance of a lane's elements, 0 past the last one; returns their row, counted from the kernel's first. Rows are
 * multiples of 32 long, so a lane's elements lie together in one. */
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
