#include "model/narrow.h"

#include "base/bits.h"

/* Without branches, so that a compiler makes vectors of the loops below. */

static inline uint16_t f16_of(float value) {
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
    /* 2^-14 and above are normal: 13 bits go, the exponent's bias falls from 127 to 15. A carry out of the mantissa
     * rightly enters the exponent. */
    uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13;
    /* Below are multiples of 2^-24, which is what the last bit of a float from 0.5 on is worth: the addition rounds. */
    uint32_t small = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    uint32_t half = magnitude < 0x38800000u ? small : normal;
    /* From 65520 on, half way between the largest and the next that there would be, infinity is nearer. */
    half = magnitude >= 0x477ff000u ? 0x7c00u : half;
    half = magnitude > 0x7f800000u ? 0x7e00u : half;
    return (uint16_t)(bits >> 16 & 0x8000u) | (uint16_t)half;
}

static inline uint16_t bf16_of(float value) {
    uint32_t bits = bits_of(value), rounded = bits + 0x7fffu + (bits >> 16 & 1);
    return (uint16_t)(((bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : rounded) >> 16);
}

uint16_t qdq_f16_of_float(float value) { return f16_of(value); }
uint16_t qdq_bf16_of_float(float value) { return bf16_of(value); }

void qdq_narrow(qdq_dtype dtype, const float *restrict from, uint16_t *restrict to, uint64_t n) {
    if (dtype == QDQ_F16)
        for (uint64_t i = 0; i < n; i++) to[i] = f16_of(from[i]);
    else
        for (uint64_t i = 0; i < n; i++) to[i] = bf16_of(from[i]);
}
