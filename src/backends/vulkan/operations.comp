#version 450
// The dialect's operations, one element an invocation: OP of an input word and a gradient word; and past them, what
// vulkan_proof.c asks for itself.
#include "dialect/glsl.h"
#include "dialect/operate.h"

#include "backends/vulkan/tile.glsl"
#include "backends/vulkan/unshared.glsl"

uint operate_more(uint ua, uint ub) {
    float a = as_real(ua), b = as_real(ub);
    switch (OP) {
    case QDQ_VK_PRODUCT_ERROR: return as_uint(fma(a, b, -(a * b)));
    case QDQ_VK_PLAIN_COMPARE: return (a > b ? 1u : 0u) | (a >= b ? 2u : 0u) | (a < b ? 4u : 0u) | (a == b ? 8u : 0u);
    case QDQ_VK_PLAIN_MAX: return as_uint(max_loose(a, b));
    default: return operate(OP, ua, ub);
    }
}

void main() {
    uint i = gl_WorkGroupID.x * TILES * 32u + gl_LocalInvocationID.x;
    if (i < count)
        output_words[(output_at >> 2) + i] =
            operate_more(input_words[(input_at >> 2) + i], gradient_words[(gradient_at >> 2) + i]);
}
