/* One format in one tier's lanes. Compiled once a format and tier with -DFORMAT=NAME -DFORMAT_FILE="formats/NAME.h"
 * -DTIER=avx2 and that tier's instruction set; the tier named c has no vectors. */
#include "backends/cpu/format_kernels.h"

#ifdef QDQ_SCALAR
#include "dialect/scalar.h"
#else
#include "dialect/simd.h"
#endif
#include "dialect/peers.h"
#include "dialect/splat_bytes.h"
#include "backends/cpu/transpose.h"
#include FORMAT_FILE
#undef CODE /* of packing, which is not done here */
#include "backends/cpu/tier_names.h"

enum { PASSES = QDQ_TILE_LANES / WIDTH, BLOCKS = QDQ_TILE_LANES / F(LANES) };

FN void load_pass(const float *tile, int pass, BLOCK_OUT(x)) {
    for (int i = 0; i < 32; i++) x[i] = load_vector(tile + 32 * i + WIDTH * pass);
}
FN void store_pass(BLOCK_IN(x), int pass, float *tile) {
    for (int i = 0; i < 32; i++) store_vector(x[i], tile + 32 * i + WIDTH * pass);
}

FN INT load_codes(const int8_t *codes) {
#if WIDTH == 1
    return *codes;
#elif WIDTH == 16
    return (INT)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)codes));
#elif WIDTH == 8
    return (INT)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)codes));
#else
    typedef int8_t bytes __attribute__((vector_size(WIDTH)));
    bytes b;
    memcpy(&b, codes, sizeof b);
    return __builtin_convertvector(b, INT);
#endif
}

FN REAL load_sum(const float *sums, int pass) {
    REAL sum = splat(0.0f);
    if (sums) memcpy(&sum, sums + WIDTH * pass, sizeof sum);
    return sum;
}

/* The sums over the blocks of a transposed tile, one a lane. A block's terms are added one after another, so several
 * blocks are added up side by side. */
FN const float *add_blocks(const float *x, bool magnitudes, float *sums) {
    _Alignas(64) float term[QDQ_CPU_TILE];
    for (int i = 0; i < QDQ_CPU_TILE; i += WIDTH) {
        REAL v;
        memcpy(&v, x + i, sizeof v);
        v = magnitudes ? abs_(v) : v * v;
        memcpy(term + i, &v, sizeof v);
    }
    float sum[BLOCKS] = {0};
    for (int lane = 0; lane < F(LANES); lane++)
        for (int i = 0; i < 32; i++)
            for (int b = 0; b < BLOCKS; b++) sum[b] += term[32 * i + F(LANES) * b + lane];
    for (int l = 0; l < QDQ_TILE_LANES; l++) sums[l] = sum[l / F(LANES)];
    return sums;
}

#if F(SHARED) == 0
typedef int shared_values;
#else
/* Each pass of a tile leaves what its lanes found, and what they show to each other. */
typedef struct shared_values {
    F(part) part[PASSES];
    float value[F(SHARED)][QDQ_TILE_LANES];
} shared_values;
#endif

/* WIDTH elements of one lane at a time: all of a vector's have the lane's parameters. No format's differ within a
 * sixteen. */
static void decode(const uint8_t *blocks, const int8_t *codes, float *y, size_t n) {
    for (size_t i = 0; i < n; i++, blocks += F(BYTES))
        for (int lane = 0; lane < F(LANES); lane++, codes += 32, y += 32) {
            F(params) p = F(read)(blocks, lane);
            for (int e = 0; e < 32; e += WIDTH) store_vector(F(value)(to_real(load_codes(codes + e)), p, e), y + e);
        }
}

#if F(IMPORTANCE) < 2

#define V(name)        plain_##name
#define FIT(x, m, sum) F(fit)(x, sum)
#define FOLD           F(fold)
#define CODE           F(code)
#define SUM            F(SUM)
#define WEIGHTED       0
#include "backends/cpu/format_variant.h"
#undef V
#undef FIT
#undef FOLD
#undef CODE
#undef SUM
#undef WEIGHTED

static void roundtrip(const float *x, float *y) { plain_roundtrip(x, NULL, NULL, y); }

static void encode(const float *x, float *codes, uint32_t *heads) { plain_encode(x, NULL, NULL, codes, heads); }

/* All fits first, then all codes: what a fit waits for (a division, a chain of maxima) overlaps with the next. past is
 * a constant where this is called. */
FN void linear(const float *x, float *y, size_t tiles, bool past) {
    const size_t ahead = past ? 2 * QDQ_CPU_TILE : 0;
    _Alignas(64) float tile[QDQ_CPU_TILE];
    for (size_t t = 0; t < tiles; t++, x += QDQ_CPU_TILE, y += QDQ_CPU_TILE) {
        REAL lanes[32];
#if F(SHARED) == 0 && F(SUM) == SUM_NONE
        F(params) p[PASSES];
        KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) {
            load_lanes(x + 32 * WIDTH * pass, lanes, ahead);
            p[pass] = F(fit)(lanes, splat(0.0f));
            store_pass(lanes, pass, tile);
        }
        KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) for (int i = 0; i < 32; i += STORE_COLUMNS(past)) {
            REAL out[16];
            for (int k = 0; k < STORE_COLUMNS(past); k++)
                out[k] = plain_requantize(load_vector(tile + 32 * (i + k) + WIDTH * pass), p[pass], i + k);
            store_columns(out, y + 32 * WIDTH * pass + i, past);
        }
#else
        KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) {
            load_lanes(x + 32 * WIDTH * pass, lanes, ahead);
            store_pass(lanes, pass, tile);
        }
        roundtrip(tile, tile);
        KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) for (int i = 0; i < 32; i += STORE_COLUMNS(past)) {
            REAL out[16];
            for (int k = 0; k < STORE_COLUMNS(past); k++) out[k] = load_vector(tile + 32 * (i + k) + WIDTH * pass);
            store_columns(out, y + 32 * WIDTH * pass + i, past);
        }
#endif
    }
}

static void roundtrip_linear(const float *x, float *y, size_t tiles) { linear(x, y, tiles, false); }
static void roundtrip_past(const float *x, float *y, size_t tiles) { linear(x, y, tiles, true); }

#else
#define roundtrip        NULL
#define encode           NULL
#define roundtrip_linear NULL
#define roundtrip_past   NULL
#endif

#if F(IMPORTANCE) > 0

#define V(name)        weighted_##name
#define FIT(x, m, sum) F(fit_weighted)(x, m, sum)
#define FOLD           F(fold_weighted)
#define CODE           F(code_weighted)
#define SUM            F(WEIGHTED_SUM)
#define WEIGHTED       1
#include "backends/cpu/format_variant.h"

const qdq_cpu_format_lanes KERNELS(lanes) = {roundtrip,          roundtrip_linear, roundtrip_past, encode,
                                             weighted_roundtrip, weighted_encode,  decode};

#else

const qdq_cpu_format_lanes KERNELS(lanes) = {roundtrip, roundtrip_linear, roundtrip_past, encode, NULL, NULL, decode};

#endif
