#version 450
// The dialect's operations, one element an invocation: OP of an input word and a gradient word. proof.h has the same
// numbers; past them is what proof.c asks for itself.
#include "dialect/glsl.h"

#include "backends/vulkan/tile.glsl"
#include "backends/vulkan/unshared.glsl"

uint compare(float a, float b) {
    return (gt(a, b) ? 1u : 0u) | (ge(a, b) ? 2u : 0u) | (lt(a, b) ? 4u : 0u) | (le(a, b) ? 8u : 0u) |
           (eq(a, b) ? 16u : 0u) | (ne(a, b) ? 32u : 0u);
}

uint operate(uint ua, uint ub) {
    float a = as_real(ua), b = as_real(ub);
    switch (OP) {
    case 0: return as_uint(div_rn(a, b));
    case 1: return as_uint(sqrt_rn(a));
    case 2: return as_uint(a * b);
    case 3: return as_uint(a + b);
    case 4: return as_uint(a - b);
    case 5: return as_uint(mul_v(a, b));
    case 6: return as_uint(add_v(a, b));
    case 7: return as_uint(sub_v(a, b));
    case 8: return as_uint(max_r(a, b));
    case 9: return as_uint(min_r(a, b));
    case 10: return compare(a, b);
    case 11: return as_uint(f16_round(a));
    case 12: return f16_bits(a);
    case 13: return as_uint(f16_value(ua & 0xffffu));
    case 14: return abs_(a) < 4194304.0f ? as_uint(round_half_away(a)) : ua;
    case 15: return UINT_OF(nearest_int(a));
    case 16: return as_uint(positive_zero(a));
    case 17: return as_uint(fma(a, b, -(a * b))); // what a product is off, if fma rounds once
    case 18: return (a > b ? 1u : 0u) | (a >= b ? 2u : 0u) | (a < b ? 4u : 0u) | (a == b ? 8u : 0u);
    default: return as_uint(max_loose(a, b));
    }
}

void main() {
    uint i = gl_WorkGroupID.x * TILES * 32u + gl_LocalInvocationID.x;
    if (i < count)
        output_words[(output_at >> 2) + i] =
            operate(input_words[(input_at >> 2) + i], gradient_words[(gradient_at >> 2) + i]);
}
