#version 450
// The mean square of each row, added up first element first in binary32: 32 rows a workgroup, a lane each, by 32
// columns at a time.
#include "dialect/glsl.h"

#include "backends/vulkan/tile.glsl"
#include "backends/vulkan/unshared.glsl"

void main() {
    uint first = 32u * this_tile(), rows = count / row;
    float sum = 0.0f;
    for (uint column_at = 0; column_at < row; column_at += 32u) {
        for (uint k = 0; k < 32; k++) {
            uint value = 0u;
            if (first + k < rows && column_at + lane() < row) {
                uint element = (first + k) * row + column_at + lane();
                uint byte = input_at + (input_dtype == F32 ? 4u : 2u) * element;
                value = input_words[byte >> 2];
                if (input_dtype != F32) value = widened((value >> (8u * (byte & 2u))) & 0xffffu, input_dtype);
            }
            staged[stage_base() + quad_of(32u * k + lane())][lane() & 3u] = value;
        }
        barrier();
        for (uint i = 0; i < min(32u, row - column_at); i++) {
            float x = staged_element(lane(), i);
            sum = sum + x * x;
        }
        barrier();
    }
    if (first + lane() < rows)
        output_words[(output_at >> 2) + first + lane()] = as_uint(div_rn(sum, row_length));
}
