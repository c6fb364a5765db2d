// What every kernel does with tiles: loads, stores and sums. An invocation is a lane of 32 elements, 32 of them hold a
// tile, a workgroup holds TILES tiles. The host chooses TILES by the device's shared memory.
//
// A staged tile lies in shared memory as 32 rows of 9 quads, a lane's elements in the first 8 of its row: 8 lanes reading
// one column, and 8 writing neighbouring quads, both touch 32 different banks.

layout(constant_id = 0) const uint OP = 0;
layout(constant_id = 1) const uint TILES = 2;
layout(local_size_x_id = 2) in;
layout(constant_id = 3) const bool WEIGHTED = false; // importance is given

const uint ROUNDTRIP = 0, QUANTIZE = 1, DEQUANTIZE = 2, ERROR = 3;
const uint SENSITIVITY_LOW = 4;  // of this format against the source
const uint SENSITIVITY_HIGH = 5; // of low values, made before, against this format
const uint SENSITIVITY_PAIR = 6; // of one format against another, several.glsl

const uint F32 = 0, F16 = 1, BF16 = 2; // qdq_dtype

// A byte position is that of the dispatch's first element in the bound range.
layout(push_constant) uniform Work {
    uint count; // elements
    uint input_at, input_dtype;
    uint gradient_at, gradient_dtype;
    uint low_at;
    uint output_at;
    uint importance_at, row_sums_at;
    uint row, column; // elements a row; the column of the first element
    float row_length; // row as a float
};

layout(set = 0, binding = 0) readonly buffer InputWords { uint input_words[]; };
layout(set = 0, binding = 0) readonly buffer InputQuads { uvec4 input_quads[]; };
layout(set = 0, binding = 1) buffer OutputWords { uint output_words[]; };
layout(set = 0, binding = 1) buffer OutputQuads { uvec4 output_quads[]; };
layout(set = 0, binding = 2) readonly buffer GradientWords { uint gradient_words[]; };
layout(set = 0, binding = 2) readonly buffer GradientQuads { uvec4 gradient_quads[]; };
layout(set = 0, binding = 3) readonly buffer LowWords { uint low_words[]; };
layout(set = 0, binding = 3) readonly buffer LowQuads { uvec4 low_quads[]; };
layout(set = 0, binding = 4) readonly buffer Importance { uint importance_words[]; };
layout(set = 0, binding = 5) readonly buffer RowSums { float row_sums[]; };
layout(set = 0, binding = 6) readonly buffer Words { uint words[]; };

uint word_value(uint at) { return words[at]; }

const uint TILE_QUADS = 32 * 9;
shared uvec4 staged[TILES * TILE_QUADS];
const bool TWO_STAGES = WEIGHTED || OP >= SENSITIVITY_LOW;
shared uvec4 staged_2[TWO_STAGES ? TILES * TILE_QUADS : 1];
// Sum s of lane l at 33 s + l.
const uint TILE_SUMS = 4 * 33;
shared uint lane_sums[OP >= ERROR ? TILES * TILE_SUMS : 1];

uint lane() { return gl_LocalInvocationID.x & 31u; }
uint tile_here() { return gl_LocalInvocationID.x >> 5; }
uint this_tile() { return gl_WorkGroupID.x * TILES + tile_here(); }
// Elements of this tile: 1,024 but in the last, and 0 in those past it.
uint tile_elements() {
    uint tile = this_tile();
    return tile * 1024u < count ? min(count - tile * 1024u, 1024u) : 0u;
}
uint quad_of(uint element) { return (element >> 5) * 9u + ((element & 31u) >> 2); }
uint stage_base() { return tile_here() * TILE_QUADS; }

uint widened(uint half_bits, uint dtype) {
    return dtype == BF16 ? half_bits << 16 : as_uint(f16_value(half_bits & 0xffffu));
}

// Four neighbours of 16 bits each in two words.
uvec4 bf16_quad(uvec2 words) { return uvec4(words.x << 16, words.x & 0xffff0000u, words.y << 16, words.y & 0xffff0000u); }
uvec4 f16_quad(uvec2 words) {
    return uvec4(widened(words.x & 0xffffu, F16), widened(words.x >> 16, F16), widened(words.y & 0xffffu, F16),
                 widened(words.y >> 16, F16));
}

// LOADER(name, words, quads, stage) makes name(at, dtype, n): n elements from byte `at` into the staged tile, and +0 for
// what is missing of 1,024. Full tiles at multiples of 16 bytes are read 16 bytes an invocation. Ranges are below
// 4 GiB, so that positions fit.
#define LOADER(NAME, WORDS, QUADS, STAGE)                                                                              \
    void NAME(uint at, uint dtype, uint n) {                                                                           \
        uint t = lane(), base = stage_base();                                                                          \
        if (n == 1024u && (at & 15u) == 0u) {                                                                          \
            uint first = (at >> 4) + t;                                                                                \
            if (dtype == F32) {                                                                                        \
                uvec4 quad[8];                                                                                         \
                for (uint k = 0; k < 8; k++) quad[k] = QUADS[first + 32u * k];                                         \
                for (uint k = 0; k < 8; k++) STAGE[base + quad_of(128u * k + 4u * t)] = quad[k];                       \
                return;                                                                                                \
            }                                                                                                          \
            uvec4 quad[4];                                                                                             \
            for (uint k = 0; k < 4; k++) quad[k] = QUADS[first + 32u * k];                                             \
            if (dtype == BF16)                                                                                         \
                for (uint k = 0; k < 4; k++) {                                                                         \
                    uint to = base + quad_of(256u * k + 8u * t);                                                       \
                    STAGE[to] = bf16_quad(quad[k].xy);                                                                 \
                    STAGE[to + 1u] = bf16_quad(quad[k].zw);                                                            \
                }                                                                                                      \
            else                                                                                                       \
                for (uint k = 0; k < 4; k++) {                                                                         \
                    uint to = base + quad_of(256u * k + 8u * t);                                                       \
                    STAGE[to] = f16_quad(quad[k].xy);                                                                  \
                    STAGE[to + 1u] = f16_quad(quad[k].zw);                                                             \
                }                                                                                                      \
            return;                                                                                                    \
        }                                                                                                              \
        for (uint i = t; i < 1024u; i += 32u) {                                                                        \
            uint value = 0u;                                                                                           \
            if (i < n) {                                                                                               \
                uint byte = at + (dtype == F32 ? 4u : 2u) * i;                                                         \
                value = WORDS[byte >> 2];                                                                              \
                if (dtype != F32) value = widened((value >> (8u * (byte & 2u))) & 0xffffu, dtype);                     \
            }                                                                                                          \
            STAGE[base + quad_of(i)][i & 3u] = value;                                                                  \
        }                                                                                                              \
    }

LOADER(load_input, input_words, input_quads, staged)
LOADER(load_gradient, gradient_words, gradient_quads, staged_2)
LOADER(load_low, low_words, low_quads, staged_2)

// The importance of the tile's columns. A row has 32 elements or more.
void load_importance(uint n) {
    uint c = (column + this_tile() * 1024u % row + lane()) % row;
    for (uint i = lane(); i < 1024u; i += 32u) {
        staged_2[stage_base() + quad_of(i)][i & 3u] = i < n ? importance_words[(importance_at >> 2) + c] : 0u;
        c += 32u;
        c -= c >= row ? row : 0u;
    }
}

// The staged floats of a tile to the output.
void store_tile(uint n) {
    uint at = output_at + 4096u * this_tile(), t = lane(), base = stage_base();
    if (n == 1024u && (at & 15u) == 0u) {
        for (uint k = 0; k < 8; k++)
            output_quads[(at >> 4) + 32u * k + t] = staged[base + quad_of(128u * k + 4u * t)];
    } else {
        for (uint i = t; i < n; i += 32u) output_words[(at >> 2) + i] = staged[base + quad_of(i)][i & 3u];
    }
}

// This lane's elements.
void read_row(out float x[32]) {
    for (uint k = 0; k < 8; k++) {
        vec4 quad = uintBitsToFloat(staged[stage_base() + 9u * lane() + k]);
        for (uint j = 0; j < 4; j++) x[4u * k + j] = quad[j];
    }
}
void write_row(float x[32]) {
    for (uint k = 0; k < 8; k++)
        staged[stage_base() + 9u * lane() + k] =
            floatBitsToUint(vec4(x[4u * k], x[4u * k + 1u], x[4u * k + 2u], x[4u * k + 3u]));
}
float staged_element(uint l, uint i) { return as_real(staged[stage_base() + 9u * l + (i >> 2)][i & 3u]); }
float second_stage(uint i) { return as_real(staged_2[stage_base() + 9u * lane() + (i >> 2)][i & 3u]); }

void load_input_tile(uint n) {
    load_input(input_at + this_tile() * (input_dtype == F32 ? 4096u : 2048u), input_dtype, n);
}
void load_gradient_tile(uint n) {
    load_gradient(gradient_at + this_tile() * (gradient_dtype == F32 ? 4096u : 2048u), gradient_dtype, n);
}

float sum8(float t[8]) { return ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7])); }
float sum4(float t[4]) { return (t[0] + t[1]) + (t[2] + t[3]); }

// The rest of the tree, over lanes: lane l takes lane l+16, 8, 4, 2, 1. Eight invocations a sum take the first two
// levels, one of them the rest; it has the result.
float sum_lanes(uint n_sums) {
    uint s = lane() >> 3, l = lane() & 7u, at = tile_here() * TILE_SUMS + 33u * s + l;
    float v = 0.0f;
    if (s < n_sums)
        v = (as_real(lane_sums[at]) + as_real(lane_sums[at + 16u])) + (as_real(lane_sums[at + 8u]) + as_real(lane_sums[at + 24u]));
    barrier();
    if (s < n_sums) lane_sums[at] = as_uint(v);
    barrier();
    if (l == 0u && s < n_sums) {
        float c[8];
        for (uint i = 0; i < 8; i++) c[i] = as_real(lane_sums[at + i]);
        v = ((c[0] + c[4]) + (c[2] + c[6])) + ((c[1] + c[5]) + (c[3] + c[7]));
    }
    return v;
}

// A lane's three sums and the bits of its largest error to the tile's four words of output.
void store_error(float sums[3], uint largest, uint n, uint at) {
    uint base = tile_here() * TILE_SUMS;
    barrier();
    for (uint s = 0; s < 3; s++) lane_sums[base + 33u * s + lane()] = as_uint(sums[s]);
    if (lane() == 0u) lane_sums[base + 33u * 3u] = 0u;
    barrier();
    atomicMax(lane_sums[base + 33u * 3u], largest);
    float v = sum_lanes(3);
    if (n == 0u) return;
    if ((lane() & 7u) == 0u && lane() < 24u) output_words[at + (lane() >> 3)] = as_uint(v);
    if (lane() == 0u) output_words[at + 3u] = lane_sums[base + 33u * 3u];
}

// A lane's three sums to the tile's three words of output.
void store_sensitivity(float sums[3], uint n, uint at) {
    uint base = tile_here() * TILE_SUMS;
    barrier();
    for (uint s = 0; s < 3; s++) lane_sums[base + 33u * s + lane()] = as_uint(sums[s]);
    barrier();
    float v = sum_lanes(3);
    if (n > 0u && (lane() & 7u) == 0u && lane() < 24u) output_words[at + (lane() >> 3)] = as_uint(v);
}

// The sums of weights x and values q of this lane, to the four words at `at`.
void error_sums(float x[32], float q[32], uint n, uint at) {
    float sums[3], part[3][4];
    uint largest = 0u; // floats that are not negative compare as their bits; NaNs are passed over
    for (uint g = 0; g < 4; g++) {
        float t0[8], t1[8], t2[8];
        for (uint k = 0; k < 8; k++) {
            float w = x[8u * g + k], v = q[8u * g + k], d = w - v;
            uint size = as_uint(d) & 0x7fffffffu;
            largest = max(largest, size > 0x7f800000u ? 0u : size);
            t0[k] = d * d;
            t1[k] = w * w;
            t2[k] = v * v;
            if (WEIGHTED) {
                float m = second_stage(8u * g + k);
                t0[k] = m * t0[k];
                t1[k] = m * t1[k];
                t2[k] = m * t2[k];
            }
        }
        part[0][g] = sum8(t0);
        part[1][g] = sum8(t1);
        part[2][g] = sum8(t2);
    }
    for (uint s = 0; s < 3; s++) sums[s] = sum4(part[s]);
    store_error(sums, largest, n, at);
}

// The scores of d = low - high with the gradient in stage 2.
void sensitivity_sums(float d[32], uint n) {
    float sums[3], part[3][4];
    for (uint g = 0; g < 4; g++) {
        float t0[8], t1[8], t2[8];
        for (uint k = 0; k < 8; k++) {
            float t = second_stage(8u * g + k) * d[8u * g + k];
            t0[k] = t;
            t1[k] = abs_(t);
            t2[k] = t * t;
        }
        part[0][g] = sum8(t0);
        part[1][g] = sum8(t1);
        part[2][g] = sum8(t2);
    }
    for (uint s = 0; s < 3; s++) sums[s] = sum4(part[s]);
    store_sensitivity(sums, n, (output_at >> 2) + 3u * this_tile());
}
