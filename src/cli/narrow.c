#include "cli/narrow.h"

#include <string.h>

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* value / 2^shift to nearest, ties to even; 0 < shift < 32. */
static uint32_t shift_rounded(uint32_t value, unsigned shift) {
    uint32_t low = value & ((1u << shift) - 1), half = 1u << (shift - 1), kept = value >> shift;
    return kept + (low > half || (low == half && (kept & 1) != 0));
}

uint16_t qdq_f16_of_float(float value) {
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) return sign | 0x7e00u;
    /* From 65520 on, half way between the largest and the next that there would be, infinity is nearer. */
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
    /* 2^-14 and above are normal: 13 bits go, the exponent's bias falls from 127 to 15. A carry out of the mantissa
     * rightly enters the exponent. */
    if (magnitude >= 0x38800000u) return sign | (uint16_t)shift_rounded(magnitude - (112u << 23), 13);
    /* Multiples of 2^-24. Below 2^-25 all round to 0, and 2^-25 itself is a tie with it. */
    if (magnitude <= 0x33000000u) return sign;
    unsigned exponent = magnitude >> 23; /* 102 … 112 */
    return sign | (uint16_t)shift_rounded((magnitude & 0x7fffffu) | 0x800000u, 126 - exponent);
}

uint16_t qdq_bf16_of_float(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)shift_rounded(bits, 16);
}

void qdq_narrow(qdq_dtype dtype, const float *from, uint16_t *to, uint64_t n) {
    if (dtype == QDQ_F16)
        for (uint64_t i = 0; i < n; i++) to[i] = qdq_f16_of_float(from[i]);
    else
        for (uint64_t i = 0; i < n; i++) to[i] = qdq_bf16_of_float(from[i]);
}
