#version 450
// A copy of `count` times 16 bytes, as the kernels read and write whole tiles: what they are measured by, where it is
// quicker than the driver's own copy.
#include "dialect/glsl.h"
#include "backends/vulkan/tile.glsl"
#include "backends/vulkan/unshared.glsl"

void main() {
    uint step = gl_NumWorkGroups.x * TILES * 32u;
    for (uint i = gl_WorkGroupID.x * TILES * 32u + gl_LocalInvocationID.x; i < count; i += 8u * step) {
        uvec4 quad[8];
        for (uint k = 0; k < 8; k++) if (i + k * step < count) quad[k] = input_quads[i + k * step];
        for (uint k = 0; k < 8; k++) if (i + k * step < count) output_quads[i + k * step] = quad[k];
    }
}
