/* Error and sensitivity: a tile is read once, requantized by one format after another, and summed in a fixed tree. The
 * light formats are compiled in (light_formats.h, which the build makes: EACH_LIGHT_FORMAT(X, ) is X(name, number, )
 * for each); of others the round trip is given in memory. And the sums over rows that some fits want. */
#define QDQ_SUMS_ONLY
#include "backends/cuda/tile.cuh"
#include "dialect/sums.h"

#include "light_formats.h"

enum { KERNEL_THREADS = 32 * QDQ_CUDA_WARPS };

/* Three sums across the warp, lane l taking lane l+16, l+8, … l+1. At the first two levels each half of the lanes adds
 * another of the three. The sum of v_k is then in lane 8 k. */
FN float sum_lanes(float v0, float v1, float v2, int lane) {
    bool high = lane & 16, odd = lane & 8;
    float a = (high ? v2 : v0) + __shfl_xor_sync(0xffffffffu, high ? v0 : v2, 16);
    float b = v1 + __shfl_xor_sync(0xffffffffu, v1, 16);
    float c = (odd ? b : a) + __shfl_xor_sync(0xffffffffu, odd ? a : b, 8);
#pragma unroll
    for (int half = 4; half > 0; half /= 2) c = c + __shfl_down_sync(0xffffffffu, c, half);
    return c;
}

/* Of magnitudes, whose bits compare as they do. */
FN float max_lanes(float v) {
    UINT top = as_uint(v);
#if __CUDA_ARCH__ >= 800
    top = __reduce_max_sync(0xffffffffu, top);
#else
#pragma unroll
    for (int half = 16; half > 0; half /= 2) top = max(top, __shfl_xor_sync(0xffffffffu, top, half));
#endif
    return as_real(top);
}

template <bool weighted> FN void error_kernel(const qdq_cuda_error_args &a) {
    __shared__ __align__(16) float stage[QDQ_CUDA_WARPS][ROWS];
    place t = find_place(a.count);
    if (t.n == 0) return;
    load_tile(a.input, t.first, t.n, stage[t.warp], t.lane);
    __syncwarp();
    float x[32], m[weighted ? 32 : 1];
    take_row(stage[t.warp], t.lane, x);
    if (weighted) take_weights(a.importance, t.first, t.n, t.lane, m);
    auto importance = [&](int i) { return weighted ? m[i] : 1.0f; };
    tree ww = empty_tree();
#pragma unroll
    for (int i = 0; i < 32; i++) ww = with_weight(ww, i, x[i], importance(i), weighted);
    uint64_t tiles = (a.count + TILE - 1) / TILE;
#pragma unroll 1
    for (UINT f = 0; f < a.n_formats; f++) {
        error_sums e = no_errors();
        auto add = [&](int i, float value) { e = with_error(e, i, x[i], value, importance(i), weighted); };
        /* Each format adds up what it makes at once, so that its values never have to be kept. */
        switch (a.format[f]) {
#define ADD_UP(name, number, SLOT)                                                                                     \
    case number: {                                                                                                     \
        name##_params p = name##_fit(x, 0.0f);                                                                         \
        for_elements(p, [&](const name##_params &p, int i) { add(i, name##_value(name##_code(x[i], p, i), p, i)); });  \
        break;                                                                                                         \
    }
            EACH_LIGHT_FORMAT(ADD_UP, )
        default: { /* QDQ_CUDA_GIVEN */ const float *given = (const float *)a.given + t.first + 32 * t.lane;
#pragma unroll
            for (int i = 0; i < 32; i += 4) {
                float4 q = 32 * t.lane < t.n ? *(const float4 *)&given[i] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                add(i, q.x);
                add(i + 1, q.y);
                add(i + 2, q.z);
                add(i + 3, q.w);
            }
        }
        }
        float sum = sum_lanes(e.dd.all, ww.all, e.vv.all, t.lane);
        float worst = max_lanes(e.largest);
        /* err2, ww, qq, max_abs */
        float *to = (float *)a.sums + (f * tiles + t.tile) * 4;
        if (t.lane % 8 == 0) to[t.lane / 8] = t.lane < 24 ? sum : worst;
    }
}

extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) qdq_error(const qdq_cuda_error_args a) {
    error_kernel<false>(a);
}
extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) qdq_error_weighted(const qdq_cuda_error_args a) {
    error_kernel<true>(a);
}

/* x becomes its round trip, a lane's block at a time. */
FN void requantize(UINT format, float *x) {
    switch (format) {
#define REQUANTIZE(name, number, SLOT)                                                                                 \
    case number: {                                                                                                     \
        name##_params p = name##_fit(x, 0.0f);                                                                         \
        for_elements(p, [&](const name##_params &p, int i) { x[i] = name##_value(name##_code(x[i], p, i), p, i); });   \
        break;                                                                                                         \
    }
        EACH_LIGHT_FORMAT(REQUANTIZE, )
    default: break;
    }
}

/* x, a lane's row, becomes its round trip in a format, or what is given for it. */
FN void low_or_high(const qdq_cuda_sensitivity_args &a, UINT pair, int which, const place &t, float *x) {
    if (a.format[pair][which] == QDQ_CUDA_GIVEN) {
        const float *given = (const float *)a.given[which] + t.first + 32 * t.lane;
#pragma unroll
        for (int i = 0; i < 32; i += 4)
            *(float4 *)&x[i] = 32 * t.lane < t.n ? *(const float4 *)&given[i] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    } else {
        requantize(a.format[pair][which], x);
    }
}

template <bool several> FN void sensitivity_kernel(const qdq_cuda_sensitivity_args &a) {
    __shared__ __align__(16) float stage[QDQ_CUDA_WARPS][2][ROWS];
    place t = find_place(a.count);
    if (t.n == 0) return;
    float *rows = stage[t.warp][0], *gradients = stage[t.warp][1];
    load_tile(a.input, t.first, t.n, rows, t.lane);
    load_tile(a.gradient, t.first, t.n, gradients, t.lane);
    __syncwarp();
    uint64_t tiles = (a.count + TILE - 1) / TILE;
#pragma unroll 1
    for (UINT p = 0; p < (several ? a.n_pairs : 1u); p++) {
        float low[32], high[32];
        take_row(rows, t.lane, low);
        low_or_high(a, p, 0, t, low);
        take_row(rows, t.lane, high);
        low_or_high(a, p, 1, t, high);
        sensitivity_sums s = no_sensitivities();
#pragma unroll
        for (int i = 0; i < 32; i += 4) {
            float g[4];
            *(float4 *)g = *(const float4 *)&gradients[PITCH * t.lane + i];
#pragma unroll
            for (int k = 0; k < 4; k++) s = with_difference(s, i + k, g[k], low[i + k] - high[i + k]);
        }
        float all = sum_lanes(s.t.all, s.size.all, s.tt.all, t.lane);
        /* signed, absolute, squared */
        float *to = (float *)a.sums + (p * tiles + t.tile) * 3;
        if (t.lane % 8 == 0 && t.lane < 24) to[t.lane / 8] = all;
    }
}

/* Of one pair, and of several: a loop takes registers. */
extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) qdq_sensitivity(const qdq_cuda_sensitivity_args a) {
    sensitivity_kernel<false>(a);
}
extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) qdq_sensitivities(const qdq_cuda_sensitivity_args a) {
    sensitivity_kernel<true>(a);
}

/* A warp takes 32 rows, a lane one, 32 columns at a time. A lane adds its row's squares in their order. */
extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) qdq_row_squares(const qdq_cuda_rows_args a) {
    __shared__ float stage[QDQ_CUDA_WARPS][32][33];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint64_t first = ((uint64_t)blockIdx.x * QDQ_CUDA_WARPS + warp) * 32;
    if (first >= a.rows) return;
    int n = a.rows - first < 32 ? (int)(a.rows - first) : 32;
    float sum = 0.0f;
    for (uint64_t column = 0; column < a.row; column += 32) {
#pragma unroll 8
        for (int r = 0; r < n; r++) {
            uint64_t at = (first + r) * a.pitch + column + lane;
            stage[warp][r][lane] = load_element(a.input, at);
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 32; i++) sum = sum + stage[warp][lane][i] * stage[warp][lane][i];
        __syncwarp();
    }
    if (lane < n) ((float *)a.sums)[first + lane] = div_rn(sum, (float)a.row);
}
