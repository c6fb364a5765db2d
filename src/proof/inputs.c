#include "proof/inputs.h"

#include <string.h>

#include "proof/reference.h"
#include "base/bits.h"

static const uint64_t PATTERNS = (uint64_t)1 << 32;

/* splitmix64. */
static uint64_t next(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t stream(uint64_t seed, uint64_t block) {
    uint64_t state = seed;
    state = next(&state) ^ block;
    return next(&state);
}

static uint32_t below(uint64_t *state, uint32_t n) { return (uint32_t)((next(state) >> 32) * n >> 32); }

/* Nearly normal, variance 1: the sum of four uniform numbers. */
static float bell(uint64_t *state) {
    uint64_t r = next(state);
    int32_t sum = (int32_t)(r & 0xffff) + (int32_t)(r >> 16 & 0xffff) + (int32_t)(r >> 32 & 0xffff) +
                  (int32_t)(r >> 48) - 2 * 65535;
    return (float)sum * (1.7320508f / 65536.0f);
}

static float power_of_two(int e) { return float_of((uint32_t)(e + 127) << 23); } /* -126 … 127 */

/* ---- Sweeps ---- */

/* Round a block, four of them to the block; their signs and sizes differ. */
static const float fractions[32] = {
    0.0f,    -0.9921875f, 0.5f,      -0.5f,    0.0625f, -0.0625f,    0.4375f,  0.3125f, -0.1875f, 0.75f,   -0.25f,
    0.99f,   -0.33f,      0.6875f,   -0.8f,    0.1f,    0.9375f,     -0.4375f, 0.5625f, -0.3125f, 0.1875f, -0.0f,
    0.8125f, -0.6875f,    0.015625f, 0.03125f, -0.9f,   0.49999997f, -0.125f,  0.375f,  0.875f,   0.2f,
};

static void fill_scale(const qdq_inputs *inputs, uint64_t block, void *out, uint32_t n) {
    uint32_t pattern = (uint32_t)(block * inputs->stride);
    float *x = out, v = float_of(pattern);
    float base = (pattern & 0x7f800000u) == 0x7f800000u ? 1.0f : v;
    for (uint32_t i = 0; i < n; i += 32)
        for (uint32_t k = 0; k < 32; k++) x[i + k] = base * fractions[k];
    memcpy(&x[block % n], &pattern, 4);
}

qdq_inputs qdq_inputs_scales(uint64_t stride) {
    return (qdq_inputs){.fill = fill_scale, .blocks = (PATTERNS + stride - 1) / stride, .stride = stride};
}

static void fill_elements(const qdq_inputs *inputs, uint64_t block, void *out, uint32_t n) {
    uint32_t *x = out;
    uint64_t pattern = block * (n - 1) * inputs->stride;
    for (uint32_t i = 0; i < n; i++, pattern += inputs->stride) x[i] = (uint32_t)pattern;
    x[n - 1] = x[block % n];
    x[block % n] = inputs->extreme;
}

qdq_inputs qdq_inputs_elements(uint32_t extreme, uint32_t n, uint64_t stride) {
    uint64_t swept = (PATTERNS + stride - 1) / stride;
    return (qdq_inputs){
        .fill = fill_elements, .blocks = (swept + n - 2) / (n - 1), .stride = stride, .extreme = extreme};
}

static void fill_half(const qdq_inputs *inputs, uint64_t block, void *out, uint32_t n) {
    float *x = out, v = qdq_reference_half_value((uint16_t)block);
    for (uint32_t i = 0; i < n; i++) x[i] = v;
}

qdq_inputs qdq_inputs_halves(void) { return (qdq_inputs){.fill = fill_half, .blocks = 65536, .stride = 1}; }

static void fill_bfloat(const qdq_inputs *inputs, uint64_t block, void *out, uint32_t n) {
    uint32_t *x = out;
    for (uint32_t i = 0; i < n; i++) x[i] = (uint32_t)block << 16;
}

qdq_inputs qdq_inputs_bfloats(void) { return (qdq_inputs){.fill = fill_bfloat, .blocks = 65536, .stride = 1}; }

/* ---- Random weights ---- */

static float to_bfloat(float x) {
    uint32_t u = bits_of(x);
    return float_of((u + 0x7fffu + (u >> 16 & 1)) & 0xffff0000u);
}

static float to_half(float x) { return qdq_reference_half_value(qdq_reference_half(x)); }

static void fill_random(const qdq_inputs *inputs, uint64_t block, void *out, uint32_t n) {
    float *x = out;
    uint64_t state = stream(inputs->seed, block);
    float scale = power_of_two((int)below(&state, 12) - 11);
    uint32_t born = below(&state, 3);
    for (uint32_t i = 0; i < n; i++) {
        float v = bell(&state) * scale;
        x[i] = born == 0 ? v : born == 1 ? to_bfloat(v) : to_half(v);
    }
}

qdq_inputs qdq_inputs_random(uint64_t seed, uint64_t blocks) {
    return (qdq_inputs){.fill = fill_random, .blocks = blocks, .seed = seed};
}

/* ---- Adversarial blocks ---- */

static float nudged(float x, int ulps) { return float_of(bits_of(x) + (uint32_t)ulps); }

static float finite_pattern(uint64_t *state) {
    uint32_t u = (uint32_t)(next(state) >> 32);
    if ((u & 0x7f800000u) == 0x7f800000u) u ^= 0x40000000u;
    return float_of(u);
}

static float any_sign(uint64_t *state, float x) { return next(state) >> 63 ? -x : x; }

enum {
    TIES,
    HALF_WAY,
    EQUAL,
    ZEROS,
    OUTLIER,
    PATTERNS_FINITE,
    SUBNORMAL,
    F16_OVERFLOW,
    F16_UNDERFLOW,
    WIDE,
    NEIGHBOURS,
    SPARSE,
    HEAVY_TAIL,
    ONE_SIGN,
    TINY,
    NOT_FINITE,
    KINDS
};

static void fill_kind(uint32_t kind, uint64_t *state, float *x, uint32_t n) {
    float scale = power_of_two((int)below(state, 24) - 18), largest = bell(state) * scale;
    uint32_t place = below(state, n);
    for (uint32_t i = 0; i < n; i++) x[i] = bell(state) * scale;
    switch (kind) {
    case TIES: /* several elements of the largest magnitude, of either sign */
        largest = 8.0f * scale;
        for (uint32_t i = 0, ties = 2 + below(state, 4); i < ties; i++) x[below(state, n)] = any_sign(state, largest);
        break;
    case HALF_WAY: { /* quotients at k + 1/2 and beside it, for 4, 5 and 8 bits */
        static const float tops[] = {8, 16, 127, 15, 31, 7, 63, 3};
        float top = tops[below(state, 8)], step = scale * (1.0f + (float)below(state, 4096) / 4096.0f);
        for (uint32_t i = 0; i < n; i++) {
            float v = ((float)below(state, (uint32_t)top) + 0.5f) * step;
            x[i] = any_sign(state, nudged(v, (int)below(state, 5) - 2));
        }
        x[place] = any_sign(state, top * step);
        break;
    }
    case EQUAL:
        for (uint32_t i = 0; i < n; i++) x[i] = largest;
        break;
    case ZEROS:
        for (uint32_t i = 0; i < n; i++) x[i] = any_sign(state, 0.0f);
        break;
    case OUTLIER:
        for (uint32_t i = 0; i < n; i++) x[i] = any_sign(state, 0.0f);
        x[place] = largest;
        break;
    case PATTERNS_FINITE:
        for (uint32_t i = 0; i < n; i++) x[i] = finite_pattern(state);
        break;
    case SUBNORMAL:
        for (uint32_t i = 0; i < n; i++) x[i] = any_sign(state, float_of(below(state, 0x01000000u)));
        break;
    case F16_OVERFLOW: /* scales about 65504 */
        for (uint32_t i = 0; i < n; i++) x[i] = bell(state) * 524288.0f * power_of_two((int)below(state, 4) - 1);
        break;
    case F16_UNDERFLOW: /* scales about 2^-24 */
        for (uint32_t i = 0; i < n; i++) x[i] = bell(state) * power_of_two(-22 - (int)below(state, 4));
        break;
    case WIDE:
        for (uint32_t i = 0; i < n; i++) x[i] = bell(state) * power_of_two((int)below(state, 60) - 40);
        break;
    case NEIGHBOURS: /* one number and those next to it */
        for (uint32_t i = 0; i < n; i++) x[i] = any_sign(state, nudged(4.0f * scale, (int)below(state, 9) - 4));
        break;
    case SPARSE:
        for (uint32_t i = 0; i < n; i++)
            if (below(state, 10) != 0) x[i] = any_sign(state, 0.0f);
        break;
    case HEAVY_TAIL:
        for (uint32_t i = 0; i < n; i++) {
            float v = bell(state);
            x[i] = v * v * v * v * v * scale;
        }
        break;
    case ONE_SIGN:
        for (uint32_t i = 0; i < n; i++)
            x[i] = float_of((bits_of(x[i]) & 0x7fffffffu) | (bits_of(largest) & 0x80000000u));
        break;
    case TINY: /* scales whose inverse is infinite, or nearly */
        for (uint32_t i = 0; i < n; i++) x[i] = bell(state) * power_of_two(-126 + (int)below(state, 8));
        break;
    case NOT_FINITE:
        for (uint32_t i = 0, bad = 1 + below(state, 3); i < bad; i++) {
            static const uint32_t odd[] = {0x7f800000u, 0xff800000u, 0x7fc00000u,
                                           0xffc00001u, 0x7f800001u, 0xff923456u};
            uint32_t u = odd[below(state, 6)];
            memcpy(&x[below(state, n)], &u, 4);
        }
        break;
    default: break;
    }
}

/* Every second round of kinds is mixed: each 32 elements are of another kind and scale. */
static void fill_adversarial(const qdq_inputs *inputs, uint64_t block, void *out, uint32_t n) {
    float *x = out;
    uint64_t state = stream(inputs->seed, block);
    if (block / KINDS % 2 == 0) {
        fill_kind((uint32_t)(block % KINDS), &state, x, n);
        return;
    }
    for (uint32_t i = 0; i < n; i += 32)
        fill_kind(n <= 32 ? (uint32_t)(block % KINDS) : below(&state, block % 4 ? NOT_FINITE : KINDS), &state, x + i,
                  n - i < 32 ? n - i : 32);
}

qdq_inputs qdq_inputs_adversarial(uint64_t seed, uint64_t blocks) {
    return (qdq_inputs){.fill = fill_adversarial, .blocks = blocks, .seed = seed};
}

/* ---- Packed blocks ---- */

static void fill_words(const qdq_inputs *inputs, uint64_t block, void *out, uint32_t n) {
    uint8_t *bytes = out;
    uint64_t state = stream(inputs->seed, block);
    for (uint32_t i = 0; i < n; i += 8) {
        uint64_t r = next(&state);
        memcpy(bytes + i, &r, n - i < 8 ? n - i : 8);
    }
    if (n < 2) return;
    uint64_t values = (65536 + inputs->stride - 1) / inputs->stride;
    uint64_t word = block % values * inputs->stride, at = block / values * 2;
    if (at > n - 2) at = n - 2; /* the last word of an odd number of bytes */
    bytes[at] = (uint8_t)word;
    bytes[at + 1] = (uint8_t)(word >> 8);
}

qdq_inputs qdq_inputs_words(uint64_t seed, uint32_t block_bytes, uint64_t stride) {
    return (qdq_inputs){.fill = fill_words,
                        .packed = true,
                        .blocks = (65536 + stride - 1) / stride * ((block_bytes + 1) / 2),
                        .stride = stride,
                        .seed = seed};
}
