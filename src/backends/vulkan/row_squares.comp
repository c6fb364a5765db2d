#version 450
// The mean square of each row, added up first element first in binary32: 32 rows a workgroup, a lane each.
#include "dialect/glsl.h"

#include "backends/vulkan/tile.glsl"
#include "backends/vulkan/unshared.glsl"

void main() {
    uint here = 32u * this_tile() + lane();
    if (here >= count / row) return;
    float sum = 0.0f;
    for (uint e = here * row; e < (here + 1u) * row; e++) {
        float x = input_element(e);
        sum = sum + x * x;
    }
    output_words[(output_at >> 2) + here] = as_uint(div_rn(sum, row_length));
}
