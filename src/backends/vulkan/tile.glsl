// What every kernel does with tiles: loads, stores and sums. An invocation is a lane of 32 elements, 32 of them hold a
// tile, a workgroup holds TILES tiles.
//
// A warp, 32 invocations, reads and writes 16 bytes each side by side; what a lane wants lies side by side too. Between the
// two, elements are staged in shared memory, half a tile at a time: 16 rows of 9 quads, a lane's elements in the first 8
// of its row, so that 8 lanes reading one column, and 8 writing neighbouring quads, both touch 32 different banks. Half a
// tile, since shared memory limits how many tiles run at once: an H100 gives 64 KiB to all workgroups of a processor.

#include "backends/vulkan/kernel_args.h"
#include "dialect/sums.h"

layout(constant_id = QDQ_VK_ID_OP) const uint OP = 0;
layout(constant_id = QDQ_VK_ID_TILES) const uint TILES = 2;
layout(local_size_x_id = QDQ_VK_ID_LANES) in;
#ifdef UNROLLED_ONLY
const bool WEIGHTED = false;
#else
layout(constant_id = QDQ_VK_ID_WEIGHTED) const bool WEIGHTED = false; // importance is given
#endif

const uint F32 = 0, F16 = 1, BF16 = 2; // qdq_dtype

layout(push_constant) uniform Work { QDQ_VK_WORK };

layout(set = 0, binding = QDQ_VK_BIND_INPUT) readonly buffer InputWords { uint input_words[]; };
layout(set = 0, binding = QDQ_VK_BIND_INPUT) readonly buffer InputQuads { uvec4 input_quads[]; };
layout(set = 0, binding = QDQ_VK_BIND_OUTPUT) buffer OutputWords { uint output_words[]; };
layout(set = 0, binding = QDQ_VK_BIND_OUTPUT) buffer OutputQuads { uvec4 output_quads[]; };
layout(set = 0, binding = QDQ_VK_BIND_GRADIENT) readonly buffer GradientWords { uint gradient_words[]; };
layout(set = 0, binding = QDQ_VK_BIND_GRADIENT) readonly buffer GradientQuads { uvec4 gradient_quads[]; };
layout(set = 0, binding = QDQ_VK_BIND_LOW) readonly buffer LowWords { uint low_words[]; };
layout(set = 0, binding = QDQ_VK_BIND_LOW) readonly buffer LowQuads { uvec4 low_quads[]; };
layout(set = 0, binding = QDQ_VK_BIND_IMPORTANCE) readonly buffer Importance { uint importance_words[]; };
layout(set = 0, binding = QDQ_VK_BIND_ROW_SUMS) readonly buffer RowSums { float row_sums[]; };
layout(set = 0, binding = QDQ_VK_BIND_WORDS) readonly buffer Words { uint words[]; };

uint word_value(uint at) { return words[at]; }

#ifndef PACKED_QUADS
#define PACKED_QUADS 0
#endif
const uint TILE_QUADS = PACKED_QUADS > 16 * 9 ? PACKED_QUADS : 16 * 9; // packed blocks take turns with the stage
shared uvec4 staged[TILES * TILE_QUADS];
uint lane() { return gl_LocalInvocationID.x & 31u; }
uint tile_here() { return gl_LocalInvocationID.x >> 5; }
uint this_tile() { return gl_WorkGroupID.x * TILES + tile_here(); }
// This lane's first element, how many it has, and how many its tile has; 0 past the last.
uint first_element() { return 1024u * this_tile() + 32u * lane(); }
uint lane_elements() { return first_element() < count ? min(count - first_element(), 32u) : 0u; }
uint tile_elements() { return 1024u * this_tile() < count ? min(count - 1024u * this_tile(), 1024u) : 0u; }

uint widened(uint half_bits, uint dtype) {
    return dtype == BF16 ? half_bits << 16 : as_uint(f16_value(half_bits & 0xffffu));
}
vec4 bf16_quad(uvec2 two) {
    return uintBitsToFloat(uvec4(two.x << 16, two.x & 0xffff0000u, two.y << 16, two.y & 0xffff0000u));
}
vec4 f16_quad(uvec2 two) {
    return vec4(f16_value(two.x & 0xffffu), f16_value(two.x >> 16), f16_value(two.y & 0xffffu), f16_value(two.y >> 16));
}

// The stage. A lane has a row of it when its half is `now`.
bool stages(uint now) { return lane() >> 4 == now; }
uint stage_here() { return tile_here() * TILE_QUADS + 9u * (lane() & 15u); }
uint stage_across() { return tile_here() * TILE_QUADS + 9u * (lane() >> 3) + (lane() & 7u); }
void stage_element(uint i, float y) { staged[stage_here() + (i >> 2)][i & 3u] = as_uint(y); }
void stage_row(float y[32]) {
    for (uint k = 0; k < 8; k++)
        staged[stage_here() + k] = floatBitsToUint(vec4(y[4u * k], y[4u * k + 1u], y[4u * k + 2u], y[4u * k + 3u]));
}
void unstage_row(inout float x[32]) {
    for (uint k = 0; k < 8; k++) {
        vec4 four = uintBitsToFloat(staged[stage_here() + k]);
        for (uint j = 0; j < 4; j++) x[4u * k + j] = four[j];
    }
}
// The tile's quads, as read across it, to each lane's elements.
void unstage_half(uint now, uvec4 a, uvec4 b, uvec4 c, uvec4 d, inout float x[32]) {
    barrier();
    staged[stage_across()] = a;
    staged[stage_across() + 36u] = b;
    staged[stage_across() + 72u] = c;
    staged[stage_across() + 108u] = d;
    barrier();
    if (stages(now)) unstage_row(x);
}
void unstage(uvec4 quad[8], inout float x[32]) {
    unstage_half(0u, quad[0], quad[1], quad[2], quad[3], x);
    unstage_half(1u, quad[4], quad[5], quad[6], quad[7], x);
}

// Whether all tiles of the workgroup are whole, and lie at a multiple of 16 bytes.
bool is_whole(uint at) { return (gl_WorkGroupID.x + 1u) * TILES * 1024u <= count && (at & 15u) == 0u; }

// READER(name, words, quads, at, dtype): name_element is any element, +0 past the last, and name_of_lane this lane's 32.
// Byte `at` is where the first is. Ranges are below 4 GiB, so that positions fit. What is not whole is read one by one,
// through the stage, since a loop that is not unrolled would put x itself into memory.
#define READER(NAME, ARRAY, QUADS, AT, DTYPE)                                                                          \
    float NAME##_element(uint e) {                                                                                     \
        if (e >= count) return 0.0f;                                                                                   \
        uint byte = AT + (DTYPE == F32 ? 4u : 2u) * e, word = ARRAY[byte >> 2];                                        \
        return as_real(DTYPE == F32 ? word : widened((word >> (8u * (byte & 2u))) & 0xffffu, DTYPE));                  \
    }                                                                                                                  \
    float NAME##_here(uint i) { return NAME##_element(first_element() + i); }                                          \
    void NAME##_across(out uvec4 quad[8]) {                                                                            \
        uint first = (AT >> 4) + 256u * this_tile() + lane();                                                          \
        for (uint k = 0; k < 8; k++) quad[k] = QUADS[first + 32u * k];                                                 \
    }                                                                                                                  \
    void NAME##_halves(inout float x[32]) {                                                                            \
        uvec4 eight[4];                                                                                                \
        uint first = (AT >> 4) + (first_element() >> 3);                                                               \
        for (uint k = 0; k < 4; k++) eight[k] = QUADS[first + k];                                                      \
        for (uint k = 0; k < 4; k++) {                                                                                 \
            vec4 low = DTYPE == BF16 ? bf16_quad(eight[k].xy) : f16_quad(eight[k].xy);                                 \
            vec4 high = DTYPE == BF16 ? bf16_quad(eight[k].zw) : f16_quad(eight[k].zw);                                \
            for (uint j = 0; j < 4; j++) {                                                                             \
                x[8u * k + j] = low[j];                                                                                \
                x[8u * k + 4u + j] = high[j];                                                                          \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    void NAME##_one_by_one(uint now, inout float x[32]) {                                                              \
        barrier();                                                                                                     \
        if (stages(now)) {                                                                                             \
            ROLLED for (uint i = 0; i < 32; i++) stage_element(i, NAME##_here(i));                                     \
            unstage_row(x);                                                                                            \
        }                                                                                                              \
    }                                                                                                                  \
    void NAME##_of_lane(inout float x[32]) {                                                                           \
        if (!is_whole(AT)) {                                                                                           \
            NAME##_one_by_one(0u, x);                                                                                  \
            NAME##_one_by_one(1u, x);                                                                                  \
        } else if (DTYPE == F32) {                                                                                     \
            uvec4 quad[8];                                                                                             \
            NAME##_across(quad);                                                                                       \
            unstage(quad, x);                                                                                          \
        } else {                                                                                                       \
            NAME##_halves(x);                                                                                          \
        }                                                                                                              \
    }

READER(input, input_words, input_quads, input_at, input_dtype)
READER(gradient, gradient_words, gradient_quads, gradient_at, gradient_dtype)
READER(low, low_words, low_quads, low_at, F32)

// Both, so that memory is waited for once.
void input_and_gradient(inout float x[32], inout float g[32]) {
    if (is_whole(input_at | gradient_at) && input_dtype == F32 && gradient_dtype == F32) {
        uvec4 quad[8], other[8];
        input_across(quad);
        gradient_across(other);
        unstage(quad, x);
        unstage(other, g);
    } else {
        input_of_lane(x);
        gradient_of_lane(g);
    }
}

// The importance of this lane's elements: rows have a multiple of 32 elements, so a lane's are in one.
float importance_here(uint i) {
    uint at = (importance_at >> 2) + (column + first_element()) % row + i;
    return i < lane_elements() ? as_real(importance_words[at]) : 0.0f;
}
void importance_of_lane(out float m[32]) {
    for (uint i = 0; i < 32; i++) m[i] = importance_here(i);
}

float staged_element(uint i) { return as_real(staged[tile_here() * TILE_QUADS + 9u * (i >> 5) + ((i & 31u) >> 2)][i & 3u]); }
uint narrowed(uint i) { return output_dtype == BF16 ? narrow_bf16(staged_element(i)) : narrow_f16(staged_element(i)); }

// store_half, of 16 bits an element. The words at the ends may hold others' elements.
void store_half_narrow(uint now, uint n) {
    uint have = n > 512u * now ? min(n - 512u * now, 512u) : 0u;
    uint first = output_at + 2048u * this_tile() + 1024u * now, end = first + 2u * have;
    if (have == 0u) return;
    for (uint w = (first >> 2) + lane(); 4u * w < end; w += 32u) {
        bool low = 4u * w >= first, high = 4u * w + 2u < end;
        uint i = low ? (4u * w - first) >> 1 : 0u; // the first of its elements that is ours
        uint bits = low ? narrowed(i) : narrowed(0u) << 16;
        if (low && high) {
            output_words[w] = bits | narrowed(i + 1u) << 16;
        } else {
            atomicAnd(output_words[w], low ? 0xffff0000u : 0x0000ffffu);
            atomicOr(output_words[w], bits);
        }
    }
}

// Half a tile's floats from the stage to the output: a barrier is before lanes stage theirs, and one after.
void store_half(uint now, uint n) {
    if (output_dtype != F32) {
        store_half_narrow(now, n);
        return;
    }
    uint t = lane(), base = tile_here() * TILE_QUADS, at = output_at + 4096u * this_tile() + 2048u * now;
    if (n == 1024u && (at & 15u) == 0u) {
        for (uint k = 0; k < 4; k++) output_quads[(at >> 4) + 32u * k + t] = staged[stage_across() + 36u * k];
    } else {
        for (uint i = t; i < 512u && 512u * now + i < n; i += 32u)
            output_words[(at >> 2) + i] = staged[base + 9u * (i >> 5) + ((i & 31u) >> 2)][i & 3u];
    }
}

// The lanes' sums, added where the stage was as sums.h has it. Each lane brings the bits of three sums and of a largest
// value. Eight invocations each take the first two levels, one of them the rest; it returns the tile's bits.
uint join(uint s, uint a, uint b) { return s == 3u ? max(a, b) : as_uint(as_real(a) + as_real(b)); }
uint join_lanes(uvec4 bits) {
    uint s = lane() >> 3, l = lane() & 7u, base = tile_here() * TILE_QUADS;
    barrier();
    staged[base + lane()] = bits;
    barrier();
    uint first = join(s, staged[base + l][s], staged[base + l + 16u][s]);
    uint v = join(s, first, join(s, staged[base + l + 8u][s], staged[base + l + 24u][s]));
    barrier();
    staged[base + l][s] = v;
    barrier();
    if (l == 0u) {
        uint c[8];
        for (uint i = 0; i < 8; i++) c[i] = staged[base + i][s];
        v = join(s, join(s, join(s, c[0], c[4]), join(s, c[2], c[6])), join(s, join(s, c[1], c[5]), join(s, c[3], c[7])));
    }
    return v;
}

// To the tile's four words of output, from word `at` on.
void store_error(error_sums e, tree ww, uint n, uint at) {
    uint v = join_lanes(uvec4(as_uint(e.dd.all), as_uint(ww.all), as_uint(e.vv.all), as_uint(e.largest)));
    if (n > 0u && (lane() & 7u) == 0u) output_words[at + (lane() >> 3)] = v;
}

// To the tile's three words of output.
void store_sensitivity(sensitivity_sums s, uint n) {
    uint v = join_lanes(uvec4(as_uint(s.t.all), as_uint(s.size.all), as_uint(s.tt.all), 0u));
    if (n > 0u && (lane() & 7u) == 0u && lane() < 24u)
        output_words[(output_at >> 2) + 3u * this_tile() + (lane() >> 3)] = v;
}
