/* One format's kernels: round trip and quantize, without and with importance, and dequantize. Compiled once a format
 * with -DFORMAT=NAME -DFORMAT_FILE="formats/NAME.h". Any source dtype and alignment: the loads alone differ. */
#define JOIN2(a, b) a##_##b
#define JOIN(a, b)  JOIN2(a, b)
#define F(name)     JOIN(FORMAT, name)

#define PACK_LANES F(LANES)
#include "backends/cuda/tile.cuh"
#include FORMAT_FILE

enum {
    LANES = F(LANES),
    BLOCKS = 32 / LANES,            /* a tile's */
    TILE_BYTES = BLOCKS * F(BYTES), /* packed */
    CODE_PITCH = 32 * LANES + 4,    /* a block's codes; the next block's begin a bank further */
    CODE_BYTES = BLOCKS * CODE_PITCH,
    KERNEL_THREADS = 32 * QDQ_CUDA_WARPS
};

/* A tile's rows, and after them, in the same place, what its lanes show to each other. */
enum { SHARED = 32 * F(SHARED), STAGE = SHARED > ROWS ? SHARED : ROWS };

/* The two ways to fit a format. */
#if F(IMPORTANCE) < 2
struct plain {
    enum { weighs = 0, sum = F(SUM) };
    static __device__ __forceinline__ auto fit(BLOCK_IN(x), BLOCK_IN(m), REAL s) { return F(fit)(x, s); }
    static __device__ __forceinline__ REAL code(REAL x, const F(params) & p, int i) { return F(code)(x, p, i); }
#if F(SHARED) > 0
    static __device__ __forceinline__ F(params) fold(const F(part) & part, PEERS(peers)) {
        return F(fold)(part, peers);
    }
#endif
};
#endif
#if F(IMPORTANCE) > 0
struct weighted {
    enum { weighs = 1, sum = F(WEIGHTED_SUM) };
    static __device__ __forceinline__ auto fit(BLOCK_IN(x), BLOCK_IN(m), REAL s) { return F(fit_weighted)(x, m, s); }
    static __device__ __forceinline__ REAL code(REAL x, const F(params) & p, int i) {
        return F(code_weighted)(x, p, i);
    }
#if F(SHARED) > 0
    static __device__ __forceinline__ F(params) fold(const F(part) & part, PEERS(peers)) {
        return F(fold_weighted)(part, peers);
    }
#endif
};
#endif

/* abs(x) or x x over the lane's block, in order. Its lanes all read the same element at a time. */
FN REAL add_block(const float *rows, int lane, bool magnitudes) {
    REAL sum = 0.0f;
#pragma unroll 1
    for (int l = lane & -LANES; l < (lane & -LANES) + LANES; l++)
#pragma unroll
        for (int i = 0; i < 32; i += 4) {
            float x[4];
            *(float4 *)x = *(const float4 *)&rows[PITCH * l + i];
#pragma unroll
            for (int k = 0; k < 4; k++) sum = sum + (magnitudes ? abs_(x[k]) : x[k] * x[k]);
        }
    return sum;
}

/* The lane's elements, from the tile's rows, and their parameters. The rows are done with then, in every lane once the
 * warp is in step again. */
template <class V> FN F(params) fit_lane(const qdq_cuda_format_args &a, const place &t, float *rows, float *x) {
    float m[V::weighs ? 32 : 1];
    uint64_t row = 0;
    if (V::weighs) row = take_weights(a.importance, t.first, t.n, t.lane, m);
    REAL sum = 0.0f;
    if (V::sum == SUM_MAGNITUDES || V::sum == SUM_SQUARES) sum = add_block(rows, t.lane, V::sum == SUM_MAGNITUDES);
    if (V::sum == SUM_ROW && 32 * t.lane < t.n) sum = ((const float *)a.importance.sums)[row];
    take_row(rows, t.lane, x);
#if F(SHARED) == 0
    return V::fit(x, m, sum);
#else
    F(part) part = V::fit(x, m, sum);
    __syncwarp();
#pragma unroll
    for (int k = 0; k < F(SHARED); k++) rows[32 * k + t.lane] = F(share)(part, k);
    __syncwarp();
    return V::fold(part, rows + (t.lane & -LANES));
#endif
}

template <class V> FN void roundtrip(const qdq_cuda_format_args &a) {
    __shared__ __align__(16) float stage[QDQ_CUDA_WARPS][STAGE];
    place t = find_place(a.count);
    if (t.n == 0) return;
    float *rows = stage[t.warp];
    load_tile(a.input, t.first, t.n, rows, t.lane);
    __syncwarp();
    float x[32];
    F(params) p = fit_lane<V>(a, t, rows, x);
    for_elements(p, [&](const F(params) & p, int i) { x[i] = F(value)(V::code(x[i], p, i), p, i); });
    __syncwarp();
    put_row(x, t.lane, rows);
    __syncwarp();
    store_tile(rows, a.output, t.first, t.n, t.lane);
}

/* Packed tiles lie in memory without gaps. The widest pieces that every tile's start is aligned to: */
template <int bytes> struct piece;
template <> struct piece<16> { typedef uint4 type; };
template <> struct piece<8> { typedef uint2 type; };
template <> struct piece<4> { typedef uint32_t type; };
template <> struct piece<2> { typedef uint16_t type; };
template <> struct piece<1> { typedef uint8_t type; };
enum {
    PIECE = TILE_BYTES % 16 == 0  ? 16
            : TILE_BYTES % 8 == 0 ? 8
            : TILE_BYTES % 4 == 0 ? 4
            : TILE_BYTES % 2 == 0 ? 2
                                  : 1
};

/* n bytes between memory and shared memory, side by side across the warp. */
FN void copy_bytes(const uint8_t *from, uint8_t *to, int n, bool wide, int lane) {
    typedef piece<PIECE>::type wide_type;
    if (wide) {
#pragma unroll
        for (int i = 0; i < (TILE_BYTES / PIECE + 31) / 32; i++)
            if (32 * i + lane < TILE_BYTES / PIECE)
                ((wide_type *)to)[32 * i + lane] = ((const wide_type *)from)[32 * i + lane];
    } else {
        for (int i = lane; i < n; i += 32) to[i] = from[i];
    }
}

template <class V> FN void quantize(const qdq_cuda_format_args &a) {
    /* The rows of floats are done with when the codes are there. */
    __shared__ __align__(16) float stage[QDQ_CUDA_WARPS][STAGE];
    __shared__ uint32_t heads[QDQ_CUDA_WARPS][32 * (F(HEADS) > 0 ? F(HEADS) : 1)];
    enum { PACKED = (CODE_BYTES + 15) / 16 * 16 };
    static_assert(PACKED + TILE_BYTES <= ROWS * 4, "codes and blocks fit into a tile's rows");
    place t = find_place(a.count);
    if (t.n == 0) return;
    float *rows = stage[t.warp];
    load_tile(a.input, t.first, t.n, rows, t.lane);
    __syncwarp();
    float x[32];
    F(params) p = fit_lane<V>(a, t, rows, x);
    __syncwarp();
    uint8_t *codes = (uint8_t *)rows + t.lane / LANES * CODE_PITCH, *blocks = (uint8_t *)rows + PACKED;
    UINT word = 0;
    for_elements(p, [&](const F(params) & p, int i) {
        UINT code = (UINT)to_int(V::code(x[i], p, i)) & 255u;
        word = i % 4 == 0 ? code : word | code << i % 4 * 8;
        if (i % 4 == 3) *(UINT *)&codes[t.lane % LANES * 32 + i - 3] = word;
    });
#pragma unroll
    for (int k = 0; k < F(HEADS); k++) heads[t.warp][32 * k + t.lane] = F(head)(p, k);
    __syncwarp();
    int block = t.lane / LANES;
    F(pack)(codes, heads[t.warp] + block * LANES, blocks + block * F(BYTES));
    __syncwarp();
    uint8_t *dst = (uint8_t *)a.output.address + t.tile * TILE_BYTES;
    copy_bytes(blocks, dst, t.n / (32 * LANES) * F(BYTES), t.n == TILE && aligned16(a.output.address), t.lane);
}

FN void dequantize(const qdq_cuda_format_args &a) {
    __shared__ __align__(16) float stage[QDQ_CUDA_WARPS][ROWS];
    static_assert(TILE_BYTES <= ROWS * 4, "blocks fit into a tile's rows");
    place t = find_place(a.count);
    if (t.n == 0) return;
    float *rows = stage[t.warp];
    const uint8_t *src = (const uint8_t *)a.input.address + t.tile * TILE_BYTES;
    copy_bytes(src, (uint8_t *)rows, t.n / (32 * LANES) * F(BYTES), t.n == TILE && aligned16(a.input.address), t.lane);
    __syncwarp();
    float y[32];
    if (32 * t.lane < t.n) {
        const uint8_t *block = (const uint8_t *)rows + t.lane / LANES * F(BYTES);
        F(params) p = F(read)(block, t.lane % LANES);
        INT codes[32];
        F(codes)(block, t.lane % LANES, codes);
        for_elements(p, [&](const F(params) & p, int i) { y[i] = F(value)(to_real(codes[i]), p, i); });
    }
    __syncwarp();
    if (32 * t.lane < t.n) put_row(y, t.lane, rows);
    __syncwarp();
    store_tile(rows, a.output, t.first, t.n, t.lane);
}

/* Of formats that compute much for a lane alone, ten blocks a multiprocessor are faster than more registers (round
 * trips by 6 and 17 % on an H200); of the light ones, whose lanes wait for memory, it is the other way. */
enum { RESIDENT = F(LANES) <= 2 && !F(LIGHT) ? 10 : 1 };

#define KERNEL(name, body)                                                                                             \
    extern "C" __global__ void __launch_bounds__(KERNEL_THREADS, RESIDENT)                                             \
        JOIN(name, FORMAT)(const qdq_cuda_format_args a) {                                                             \
        body(a);                                                                                                       \
    }

KERNEL(dequantize, dequantize)
#if F(IMPORTANCE) < 2
KERNEL(qdq, roundtrip<plain>)
KERNEL(quantize, quantize<plain>)
#endif
#if F(IMPORTANCE) > 0
KERNEL(weighted_qdq, roundtrip<weighted>)
KERNEL(weighted_quantize, quantize<weighted>)
#endif
