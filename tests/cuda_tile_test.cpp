/* backends/cuda/tile.cuh compiled for the host: how tiles of every source are loaded and stored, whole, in part, from
 * odd addresses and with a pitch, is held against base/source.c. The dialect here is the scalar one; a warp's lanes run
 * one after another. */
#include <cstdint>
#include <cstdio>
#include <cstring>

#define restrict __restrict
#include "dialect/scalar.h"
#undef restrict
#define QDQ_DIALECT_CUDA_H /* tile.cuh takes this one */

#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict

struct float4 {
    float x, y, z, w;
};
struct uint4 {
    UINT x, y, z, w;
};
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static uint4 make_uint4(UINT x, UINT y, UINT z, UINT w) { return {x, y, z, w}; }
static struct { unsigned x; } threadIdx, blockIdx;

/* What lane j brings to a shuffle: the test knows it before. */
static uint64_t brought[32];
static uint64_t __shfl_sync(unsigned, uint64_t, int j) { return brought[j]; }

#include "backends/cuda/tile.cuh"
extern "C" {
#include "base/source.h"
}

static uint64_t seed = 88172645463325252u;
static uint32_t next() {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

enum { BYTES = 1 << 16, COLUMNS = 64 };
alignas(16) static unsigned char memory[BYTES], expected[BYTES];
alignas(16) static float rows[ROWS];

static float &row_element(int i) { return rows[PITCH * (i / 32) + i % 32]; }

/* Where in the array element i of the tile is. */
static uint64_t place_of(const qdq_cuda_array &a, uint64_t i) {
    return a.pitch ? i / a.columns * a.pitch + i % a.columns : i;
}

static int check(const qdq_source *source, const qdq_cuda_array &a, unsigned char *at, uint64_t first, int n) {
    for (int lane = 0; lane < 32; lane++) load_tile(a, first, n, rows, lane);
    for (int i = 0; i < TILE; i++) {
        float x = 0.0f;
        if (i < n) qdq_source_load(source, at + place_of(a, first + i) * source->bytes, &x, 1);
        if (std::memcmp(&x, &row_element(i), sizeof x) == 0) continue;
        std::printf("%s: element %d of a tile of %d is loaded as %a, not %a\n", source->name, i, n,
                    (double)row_element(i), (double)x);
        return 1;
    }
    for (float &x : rows) x = as_real(next());
    std::memcpy(expected, memory, BYTES);
    for (int i = 0; i < n; i++)
        qdq_source_store(source, &row_element(i), expected + (at - memory) + place_of(a, first + i) * source->bytes, 1);
    for (int lane = 0; lane < 32; lane++) store_tile(rows, a, first, n, lane);
    if (std::memcmp(memory, expected, BYTES) == 0) return 0;
    std::printf("%s: other bytes than these are stored of a tile of %d\n", source->name, n);
    return 1;
}

int main() {
    const qdq_source *source;
    for (uint32_t s = 0; (source = qdq_source_at(s)) != nullptr; s++)
        for (int trial = 0; trial < 1000; trial++) {
            for (unsigned char &byte : memory) byte = (unsigned char)next();
            unsigned char *at = memory + (trial % 3 == 0 ? 16 * (next() % 9) : source->bytes * (next() % 40));
            int n = trial % 2 ? TILE : 1 + (int)(next() % TILE);
            uint64_t first = TILE * (uint64_t)(next() % 3);
            qdq_cuda_array a = {};
            a.address = (uint64_t)(uintptr_t)at;
            a.dtype = (uint32_t)source->dtype;
            if (trial % 4 >= 2) { /* a lane's elements are in one row */
                n = (n + 31) / 32 * 32;
                a.columns = COLUMNS;
                a.pitch = COLUMNS + next() % 20;
            }
            for (int lane = 0; lane < 32 && a.pitch; lane++) brought[lane] = find_row(a, first, n, lane);
            if (check(source, a, at, first, n)) return 1;
        }
    return 0;
}
