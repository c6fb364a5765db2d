/* Which kernels this processor gets: the baseline first, then each stronger tier that is present and allowed. */
#include "backends/cpu/cpu_kernels.h"
#include "base/shared.h"

#ifdef QDQ_TIER_X86
#include <cpuid.h>
#endif

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

#define DECLARE_EARLIER(name, tier) extern const qdq_cpu_format_lanes qdq_cpu_##name##_##tier##_earlier_lanes;
#define EARLIER_ROW(name, tier)     {#name, &qdq_cpu_##name##_##tier##_earlier_lanes},
#define END                                                                                                            \
    { NULL, NULL }

#define EARLIER_SEARCH(name) DECLARE_EARLIER(name, c)
#include "formats/earlier.def"
#undef EARLIER_SEARCH
#define EARLIER_SEARCH(name) EARLIER_ROW(name, c)
static const qdq_cpu_earlier c_earlier[] = {
#include "formats/earlier.def"
    END,
};
#undef EARLIER_SEARCH

#ifdef QDQ_TIER_SIMD128
#define EARLIER_SEARCH(name) DECLARE_EARLIER(name, simd128)
#include "formats/earlier.def"
#undef EARLIER_SEARCH
#define EARLIER_SEARCH(name) EARLIER_ROW(name, simd128)
static const qdq_cpu_earlier simd128_earlier[] = {
#include "formats/earlier.def"
    END,
};
#undef EARLIER_SEARCH
#endif

#ifdef QDQ_TIER_X86
#define EARLIER_SEARCH(name) DECLARE_EARLIER(name, avx2) DECLARE_EARLIER(name, avx512)
#include "formats/earlier.def"
#undef EARLIER_SEARCH
#define EARLIER_SEARCH(name) EARLIER_ROW(name, avx2)
static const qdq_cpu_earlier avx2_earlier[] = {
#include "formats/earlier.def"
    END,
};
#undef EARLIER_SEARCH
#define EARLIER_SEARCH(name) EARLIER_ROW(name, avx512)
static const qdq_cpu_earlier avx512_earlier[] = {
#include "formats/earlier.def"
    END,
};
#undef EARLIER_SEARCH
#endif

static const qdq_cpu_kernels tiers[] = {
    {"c", &qdq_cpu_c_tile, c_formats, c_earlier},
#ifdef QDQ_TIER_SIMD128
    {"simd128", &qdq_cpu_simd128_tile, simd128_formats, simd128_earlier},
#endif
#ifdef QDQ_TIER_X86
    {"avx2", &qdq_cpu_avx2_tile, avx2_formats, avx2_earlier},
    {"avx512", &qdq_cpu_avx512_tile, avx512_formats, avx512_earlier},
#endif
};

#ifdef QDQ_TIER_X86
/* The registers that the operating system saves and restores, by XCR0's bits. */
static uint32_t kept_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Asked of the processor itself: what compilers offer for it is missing, or always 0, in some builds. */
static uint32_t x86_tiers(void) {
    enum { OSXSAVE = 1 << 27, AVX = 1 << 28 };                                         /* leaf 1, ecx */
    enum { AVX2 = 1 << 5, AVX512F = 1 << 16, AVX512DQ = 1 << 17, AVX512BW = 1 << 30 }; /* leaf 7, ebx */
    const uint32_t AVX512VL = UINT32_C(1) << 31;
    const uint32_t ymm = 0x06, zmm = 0xe6; /* of XCR0 */
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & OSXSAVE) || !(ecx & AVX)) return 0;
    uint32_t kept = kept_registers();
    if ((kept & ymm) != ymm || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & AVX2)) return 0;
    const uint32_t wanted = AVX512F | AVX512DQ | AVX512BW | AVX512VL;
    return (kept & zmm) == zmm && (ebx & wanted) == wanted ? 4 | 8 : 4;
}
#endif

uint32_t qdq_cpu_present_tiers(void) {
    uint32_t present = 1;
#ifdef QDQ_TIER_SIMD128
    present |= 2; /* SSE2 and NEON belong to x86-64 and AArch64 */
#endif
#ifdef QDQ_TIER_X86
    present |= x86_tiers();
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
