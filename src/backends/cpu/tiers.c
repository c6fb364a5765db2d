/* Which kernels this processor gets: the baseline first, then each stronger tier that is present and allowed. */
#include "backends/cpu/cpu_kernels.h"
#include "base/shared.h"

#define DECLARE(name, tier)                                                                                            \
    extern const qdq_cpu_format_lanes qdq_cpu_##name##_##tier##_lanes;                                                 \
    extern const qdq_cpu_format_bytes qdq_cpu_##name##_##tier##_bytes;
#define ROW(name, tier) {&qdq_cpu_##name##_##tier##_lanes, &qdq_cpu_##name##_##tier##_bytes},

#define FORMAT(name, ...) DECLARE(name, c)
#include "formats/formats.def"
#undef FORMAT
#define FORMAT(name, ...) ROW(name, c)
extern const qdq_cpu_tile_kernels qdq_cpu_c_tile;
static const qdq_cpu_format_kernels c_formats[] = {
#include "formats/formats.def"
};
#undef FORMAT

#ifdef QDQ_TIER_SIMD128
#define FORMAT(name, ...) DECLARE(name, simd128)
#include "formats/formats.def"
#undef FORMAT
#define FORMAT(name, ...) ROW(name, simd128)
extern const qdq_cpu_tile_kernels qdq_cpu_simd128_tile;
static const qdq_cpu_format_kernels simd128_formats[] = {
#include "formats/formats.def"
};
#undef FORMAT
#endif

#ifdef QDQ_TIER_X86
#define FORMAT(name, ...) DECLARE(name, avx2) DECLARE(name, avx512)
#include "formats/formats.def"
#undef FORMAT
#define FORMAT(name, ...) ROW(name, avx2)
extern const qdq_cpu_tile_kernels qdq_cpu_avx2_tile, qdq_cpu_avx512_tile;
static const qdq_cpu_format_kernels avx2_formats[] = {
#include "formats/formats.def"
};
#undef FORMAT
#define FORMAT(name, ...) ROW(name, avx512)
static const qdq_cpu_format_kernels avx512_formats[] = {
#include "formats/formats.def"
};
#undef FORMAT
#endif

static const qdq_cpu_kernels tiers[] = {
    {"c", &qdq_cpu_c_tile, c_formats},
#ifdef QDQ_TIER_SIMD128
    {"simd128", &qdq_cpu_simd128_tile, simd128_formats},
#endif
#ifdef QDQ_TIER_X86
    {"avx2", &qdq_cpu_avx2_tile, avx2_formats},
    {"avx512", &qdq_cpu_avx512_tile, avx512_formats},
#endif
};

uint32_t qdq_cpu_present_tiers(void) {
    uint32_t present = 1;
#ifdef QDQ_TIER_SIMD128
    present |= 2; /* SSE2 and NEON belong to x86-64 and AArch64 */
#endif
#ifdef QDQ_TIER_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) present |= 4;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        present |= 8;
#endif
    return present;
}

QDQ_SHARED const qdq_cpu_kernels *qdq_cpu_best_tier(uint32_t mask) {
    uint32_t usable = mask & qdq_cpu_present_tiers();
    const qdq_cpu_kernels *best = &tiers[0];
    for (size_t t = 1; t < sizeof tiers / sizeof tiers[0]; t++)
        if (usable >> t & 1) best = &tiers[t];
    return best;
}
