// What every kernel does with tiles: loads, stores and sums. An invocation is a lane of 32 elements, 32 of them hold a
// tile, a workgroup holds TILES tiles.
//
// A warp, 32 invocations, reads and writes 16 bytes each side by side; what a lane wants lies side by side too. Between the
// two, elements are staged in shared memory, half a tile at a time: 16 rows of 9 quads, a lane's elements in the first 8
// of its row, so that 8 lanes reading one column, and 8 writing neighbouring quads, both touch 32 different banks. Half a
// tile, since shared memory limits how many tiles run at once: an H100 gives 64 KiB to all workgroups of a processor.

#include "backends/vulkan/kernel_args.h"
#include "dialect/sums.h"
#include "every_source.h"

layout(constant_id = QDQ_VK_ID_OP) const uint OP = 0;
layout(constant_id = QDQ_VK_ID_TILES) const uint TILES = 2;
layout(local_size_x_id = QDQ_VK_ID_LANES) in;
#ifdef UNROLLED_ONLY
const bool WEIGHTED = false;
#else
layout(constant_id = QDQ_VK_ID_WEIGHTED) const bool WEIGHTED = false; // importance is given
#endif

// The sources' numbers, as in qdq_dtype: f32_dtype …
#define SOURCE(NAME, NUMBER, TYPE, FILE_TYPE, SPELLING) const uint NAME##_dtype = NUMBER;
#include "sources/sources.def"
#undef SOURCE

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

// What the files of the sources say, by dtype: the bytes of an element, its value, and the bits of a value.
uint bytes_of(uint dtype) {
    uint bytes = 4u;
#define SOURCE(NAME, NUMBER, TYPE, FILE_TYPE, SPELLING) if (dtype == NUMBER) bytes = NAME##_BYTES;
#include "sources/sources.def"
#undef SOURCE
    return bytes;
}
float value_of(uint bits, uint dtype) {
    float x = 0.0f;
#define SOURCE(NAME, NUMBER, TYPE, FILE_TYPE, SPELLING) \
    if (dtype == NUMBER) x = NAME##_load(bits & (0xffffffffu >> (32 - 8 * NAME##_BYTES)));
#include "sources/sources.def"
#undef SOURCE
    return x;
}
uint bits_of(float x, uint dtype) {
    uint bits = 0u;
#define SOURCE(NAME, NUMBER, TYPE, FILE_TYPE, SPELLING) if (dtype == NUMBER) bits = NAME##_store(x);
#include "sources/sources.def"
#undef SOURCE
    return bits;
}
// A lane's elements of 2 bytes, eight in each 16.
#define SOURCE(NAME, NUMBER, TYPE, FILE_TYPE, SPELLING)                                                                \
    void NAME##_of_halves(uvec4 eight[4], inout float x[32]) {                                                         \
        for (uint k = 0; k < 4; k++)                                                                                   \
            for (uint j = 0; j < 4; j++) {                                                                             \
                x[8u * k + 2u * j] = NAME##_load(eight[k][j] & 0xffffu);                                               \
                x[8u * k + 2u * j + 1u] = NAME##_load(eight[k][j] >> 16);                                              \
            }                                                                                                          \
    }
#include "sources/sources.def"
#undef SOURCE
void values_of_halves(uvec4 eight[4], uint dtype, inout float x[32]) {
#define SOURCE(NAME, NUMBER, TYPE, FILE_TYPE, SPELLING) \
    if (NAME##_BYTES == 2 && dtype == NUMBER) NAME##_of_halves(eight, x);
#include "sources/sources.def"
#undef SOURCE
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
// Byte `at` is where the first is. Ranges are below 4 GiB, so that positions fit. What is not whole, and elements of a
// byte, are read one by one, through the stage, since a loop that is not unrolled would put x itself into memory.
#define READER(NAME, ARRAY, QUADS, AT, DTYPE)                                                                          \
    float NAME##_element(uint e) {                                                                                     \
        if (e >= count) return 0.0f;                                                                                   \
        uint byte = AT + bytes_of(DTYPE) * e;                                                                          \
        return value_of(ARRAY[byte >> 2] >> (8u * (byte & 3u)), DTYPE);                                                \
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
        values_of_halves(eight, DTYPE, x);                                                                             \
    }                                                                                                                  \
    void NAME##_one_by_one(uint now, inout float x[32]) {                                                              \
        barrier();                                                                                                     \
        if (stages(now)) {                                                                                             \
            ROLLED for (uint i = 0; i < 32; i++) stage_element(i, NAME##_here(i));                                     \
            unstage_row(x);                                                                                            \
        }                                                                                                              \
    }                                                                                                                  \
    void NAME##_of_lane(inout float x[32]) {                                                                           \
        if (is_whole(AT) && DTYPE == f32_dtype) {                                                                      \
            uvec4 quad[8];                                                                                             \
            NAME##_across(quad);                                                                                       \
            unstage(quad, x);                                                                                          \
        } else if (is_whole(AT) && bytes_of(DTYPE) == 2u) {                                                            \
            NAME##_halves(x);                                                                                          \
        } else {                                                                                                       \
            NAME##_one_by_one(0u, x);                                                                                  \
            NAME##_one_by_one(1u, x);                                                                                  \
        }                                                                                                              \
    }

READER(input, input_words, input_quads, input_at, input_dtype)
READER(gradient, gradient_words, gradient_quads, gradient_at, gradient_dtype)
READER(low, low_words, low_quads, low_at, f32_dtype)

// Both, so that memory is waited for once.
void input_and_gradient(inout float x[32], inout float g[32]) {
    if (is_whole(input_at | gradient_at) && input_dtype == f32_dtype && gradient_dtype == f32_dtype) {
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

// store_half, of what is no float. The words at the ends may hold others' elements.
void store_half_rounded(uint now, uint n) {
    uint bytes = bytes_of(output_dtype), have = n > 512u * now ? min(n - 512u * now, 512u) : 0u;
    uint first = output_at + bytes * (1024u * this_tile() + 512u * now), end = first + bytes * have;
    if (have == 0u) return;
    for (uint w = (first >> 2) + lane(); 4u * w < end; w += 32u) {
        uint word = 0u, mask = 0u;
        ROLLED for (uint byte = 4u * w; byte < 4u * w + 4u; byte += bytes) {
            if (byte < first || byte >= end) continue;
            word |= bits_of(staged_element((byte - first) >> (bytes >> 1)), output_dtype) << (8u * (byte & 3u));
            mask |= (0xffffffffu >> (32u - 8u * bytes)) << (8u * (byte & 3u));
        }
        if (mask == 0xffffffffu) {
            output_words[w] = word;
        } else {
            atomicAnd(output_words[w], ~mask);
            atomicOr(output_words[w], word);
        }
    }
}

// Half a tile's floats from the stage to the output: a barrier is before lanes stage theirs, and one after.
void store_half(uint now, uint n) {
    if (output_dtype != f32_dtype) {
        store_half_rounded(now, n);
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
