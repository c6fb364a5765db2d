#include "proof/reference.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/bits.h"

/* 2^e for a normal binary64. */
static double power_of_two(int e) {
    uint64_t u = (uint64_t)(e + 1023) << 52;
    double d;
    memcpy(&d, &u, 8);
    return d;
}

uint16_t qdq_reference_half(float x) {
    uint16_t sign = (uint16_t)(bits_of(x) >> 16 & 0x8000u);
    float a = fabsf(x);
    if (isnan(x)) return sign | 0x7e00;
    if (a >= 65520.0f) return sign | 0x7c00;
    /* The place of the last bit: 2^(e-10) in [2^e, 2^(e+1)), 2^-24 below 2^-14. */
    int e = (int)(bits_of(a) >> 23) - 127;
    if (e < -14) e = -14;
    /* Next to 2^52 a binary64 has no room for a fraction: adding it rounds to a whole number, ties to even. */
    double whole = (double)a * power_of_two(10 - e) + 0x1p52 - 0x1p52;
    return (uint16_t)(sign | (((e + 14) << 10) + (int)whole));
}

float qdq_reference_half_value(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    int exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) {
        uint32_t quiet = fraction ? 0x00400000u : 0u;
        return float_of(sign | 0x7f800000u | quiet | (uint32_t)fraction << 13);
    }
    double a = exponent == 0 ? fraction * 0x1p-24 : (1024 + fraction) * power_of_two(exponent - 25);
    return sign ? -(float)a : (float)a;
}

static void put_half(uint8_t *at, float x) {
    uint16_t h = qdq_reference_half(x);
    at[0] = (uint8_t)h;
    at[1] = (uint8_t)(h >> 8);
}

static float get_half(const uint8_t *at) { return qdq_reference_half_value((uint16_t)(at[0] | at[1] << 8)); }

/* The result r of an operation on a and b, with the NaN that x86 makes: a's, else b's, else the negative quiet one. */
static float with_nan(float r, float a, float b) {
    if (r == r) return r;
    if (a != a) return float_of(bits_of(a) | 0x00400000u);
    if (b != b) return float_of(bits_of(b) | 0x00400000u);
    return float_of(0xffc00000u);
}

/* A cast that saturates at low and high; a NaN gives 0. (No branches here and below: the loops are run billions of
 * times, and compilers make vectors of them.) */
static int cast(float v, float low, float high) {
    v = v == v ? v : 0.0f;
    v = v > low ? v : low;
    v = v < high ? v : high;
    return (int)v;
}

/* 1 where C's cast to int8_t has no value. */
static int out_of_range(float v) { return !((v > -129.0f) & (v < 128.0f)); }

static bool all_finite(const float *x) {
    uint32_t worst = 0;
    for (int i = 0; i < 32; i++) {
        uint32_t a = bits_of(x[i]) & 0x7fffffffu;
        if (a > worst) worst = a;
    }
    return worst < 0x7f800000u;
}

/* The first element of the largest magnitude; NaNs lose every comparison. */
static float largest(const float *x) {
    float magnitude = 0.0f, best = 0.0f;
    for (int i = 0; i < 32; i++)
        if (fabsf(x[i]) > magnitude) {
            magnitude = fabsf(x[i]);
            best = x[i];
        }
    return best;
}

static float reciprocal(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

/* 32 four-bit codes: element j in the low half of byte j, element j + 16 in the high half. */
static void put_nibbles(uint8_t *at, const int *code) {
    for (int j = 0; j < 16; j++) at[j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
}

static void get_nibbles(const uint8_t *at, int *code) {
    for (int j = 0; j < 16; j++) {
        code[j] = at[j] & 15;
        code[j + 16] = at[j] >> 4;
    }
}

/* The fifth bits of 32 codes, element i in bit i of four bytes. */
static void put_fifth_bits(uint8_t *at, const int *code) {
    for (int k = 0; k < 4; k++) {
        at[k] = 0;
        for (int i = 0; i < 8; i++) at[k] |= (uint8_t)((code[8 * k + i] >> 4 & 1) << i);
    }
}

static void add_fifth_bits(const uint8_t *at, int *code) {
    for (int i = 0; i < 32; i++) code[i] |= (at[i / 8] >> i % 8 & 1) << 4;
}

/* Codes 0 … 2 half - 1 for (q - half) d, where the largest element gets code 0. */
static bool symmetric_codes(const float *x, int half, float *d, int *code) {
    int undefined = 0;
    *d = largest(x) / (float)-half;
    float id = reciprocal(*d), zero = (float)half + 0.5f, top = (float)(2 * half - 1);
    for (int i = 0; i < 32; i++) {
        float scaled = x[i] * id, shifted = scaled + zero;
        undefined |= out_of_range(shifted);
        code[i] = cast(shifted, 0.0f, top);
    }
    return !undefined && all_finite(x);
}

/* Codes 0 … top for q d + m. */
static bool affine_codes(const float *x, int top, float *d, float *m, int *code) {
    int undefined = 0;
    float low = FLT_MAX, high = -FLT_MAX;
    for (int i = 0; i < 32; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    *d = (high - low) / (float)top;
    *m = low;
    float id = reciprocal(*d);
    for (int i = 0; i < 32; i++) {
        float scaled = (x[i] - low) * id, shifted = scaled + 0.5f;
        undefined |= out_of_range(shifted);
        code[i] = cast(shifted, 0.0f, (float)top);
    }
    return !undefined && all_finite(x);
}

static void symmetric_values(const int *code, int zero, float d, float *y) {
    for (int i = 0; i < 32; i++) y[i] = with_nan((float)(code[i] - zero) * d, 0.0f, d);
}

static void affine_values(const int *code, float d, float m, float *y) {
    for (int i = 0; i < 32; i++) {
        float product = with_nan((float)code[i] * d, 0.0f, d);
        y[i] = with_nan(product + m, product, m);
    }
}

static bool quantize_q4_0(const float *x, uint8_t *block) {
    int code[32];
    float d;
    bool defined = symmetric_codes(x, 8, &d, code);
    put_half(block, d);
    put_nibbles(block + 2, code);
    return defined;
}

static void dequantize_q4_0(const uint8_t *block, float *y) {
    int code[32];
    get_nibbles(block + 2, code);
    symmetric_values(code, 8, get_half(block), y);
}

static bool quantize_q4_1(const float *x, uint8_t *block) {
    int code[32];
    float d, m;
    bool defined = affine_codes(x, 15, &d, &m, code);
    put_half(block, d);
    put_half(block + 2, m);
    put_nibbles(block + 4, code);
    return defined;
}

static void dequantize_q4_1(const uint8_t *block, float *y) {
    int code[32];
    get_nibbles(block + 4, code);
    affine_values(code, get_half(block), get_half(block + 2), y);
}

static bool quantize_q5_0(const float *x, uint8_t *block) {
    int code[32];
    float d;
    bool defined = symmetric_codes(x, 16, &d, code);
    put_half(block, d);
    put_fifth_bits(block + 2, code);
    put_nibbles(block + 6, code);
    return defined;
}

static void dequantize_q5_0(const uint8_t *block, float *y) {
    int code[32];
    get_nibbles(block + 6, code);
    add_fifth_bits(block + 2, code);
    symmetric_values(code, 16, get_half(block), y);
}

static bool quantize_q5_1(const float *x, uint8_t *block) {
    int code[32];
    float d, m;
    bool defined = affine_codes(x, 31, &d, &m, code);
    put_half(block, d);
    put_half(block + 2, m);
    put_fifth_bits(block + 4, code);
    put_nibbles(block + 8, code);
    return defined;
}

static void dequantize_q5_1(const uint8_t *block, float *y) {
    int code[32];
    get_nibbles(block + 8, code);
    add_fifth_bits(block + 4, code);
    affine_values(code, get_half(block), get_half(block + 2), y);
}

/* To the nearest whole number, halves away from zero. What |v| has beyond its whole part is exact, so the comparison
 * is too. From 2^23 on there is no fraction, and NaN is no less. */
static float rounded(float v) {
    float a = fabsf(v), small = a < 0x1p23f ? a : 0.0f, whole = (float)(int)small;
    whole = small - whole >= 0.5f ? whole + 1.0f : whole;
    whole = a < 0x1p23f ? whole : a;
    return v < 0.0f ? -whole : whole;
}

static bool quantize_q8_0(const float *x, uint8_t *block) {
    int undefined = 0;
    float d = fabsf(largest(x)) / 127.0f, id = reciprocal(d);
    put_half(block, d);
    for (int i = 0; i < 32; i++) {
        float v = rounded(x[i] * id);
        undefined |= out_of_range(v);
        block[2 + i] = (uint8_t)cast(v, -128.0f, 127.0f);
    }
    return !undefined && all_finite(x);
}

static void dequantize_q8_0(const uint8_t *block, float *y) {
    int code[32];
    for (int i = 0; i < 32; i++) code[i] = block[2 + i] < 128 ? block[2 + i] : block[2 + i] - 256;
    symmetric_values(code, 0, get_half(block), y);
}

void qdq_reference_q4_0_fused(const float *x, uint8_t *block) {
    int code[32];
    float d = largest(x) / -8.0f, id = reciprocal(d);
    for (int i = 0; i < 32; i++) code[i] = cast(fmaf(x[i], id, 8.5f), 0.0f, 15.0f);
    put_half(block, d);
    put_nibbles(block + 2, code);
}

const qdq_reference *qdq_reference_of(const char *format_name) {
    static const qdq_reference references[] = {
        {"q4_0", quantize_q4_0, dequantize_q4_0}, {"q4_1", quantize_q4_1, dequantize_q4_1},
        {"q5_0", quantize_q5_0, dequantize_q5_0}, {"q5_1", quantize_q5_1, dequantize_q5_1},
        {"q8_0", quantize_q8_0, dequantize_q8_0},
    };
    for (size_t i = 0; i < sizeof references / sizeof references[0]; i++)
        if (strcmp(references[i].name, format_name) == 0) return &references[i];
    return NULL;
}
