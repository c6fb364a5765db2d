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
                for (uint k = 0; k < 8; k++) STAGE[base + quad_of(4u * t) + 36u * k] = quad[k];                        \
                return;                                                                                                \
            }                                                                                                          \
            uvec4 quad[4];                                                                                             \
            for (uint k = 0; k < 4; k++) quad[k] = QUADS[first + 32u * k];                                             \
            if (dtype == BF16)                                                                                         \
                for (uint k = 0; k < 4; k++) {                                                                         \
                    uint to = base + quad_of(8u * t) + 72u * k;                                                        \
                    STAGE[to] = bf16_quad(quad[k].xy);                                                                 \
                    STAGE[to + 1u] = bf16_quad(quad[k].zw);                                                            \
                }                                                                                                      \
            else                                                                                                       \
                for (uint k = 0; k < 4; k++) {                                                                         \
                    uint to = base + quad_of(8u * t) + 72u * k;                                                        \
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
            output_quads[(at >> 4) + 32u * k + t] = staged[base + quad_of(4u * t) + 36u * k];
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
void put_element(uint i, float v) { staged[stage_base() + 9u * lane() + (i >> 2)][i & 3u] = as_uint(v); }
float second_stage(uint i) { return as_real(staged_2[stage_base() + 9u * lane() + (i >> 2)][i & 3u]); }

void load_input_tile(uint n) {
    load_input(input_at + this_tile() * (input_dtype == F32 ? 4096u : 2048u), input_dtype, n);
}
void load_gradient_tile(uint n) {
    load_gradient(gradient_at + this_tile() * (gradient_dtype == F32 ? 4096u : 2048u), gradient_dtype, n);
}

// Sums of a lane's 32 values in the order of a binary tree, as values come: value i is added to its neighbour, the pair to
// the pair before, and so on. No arrays: where a loop is unrolled, the branches go.
struct tree { float one, two, four, eight, sixteen, all; };
void grow(inout tree t, int i, float v) {
    if ((i & 1) == 0) {
        t.one = v;
        return;
    }
    v = t.one + v;
    if ((i & 2) == 0) {
        t.two = v;
        return;
    }
    v = t.two + v;
    if ((i & 4) == 0) {
        t.four = v;
        return;
    }
    v = t.four + v;
    if ((i & 8) == 0) {
        t.eight = v;
        return;
    }
    v = t.eight + v;
    if ((i & 16) == 0)
        t.sixteen = v;
    else
        t.all = t.sixteen + v;
}

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

// What an error adds up over a lane: squares of d = w - v, of weights w and of values v; and the largest size of d.
struct error_sums {
    tree dd, ww, vv;
    uint largest; // floats that are not negative compare as their bits; NaNs are passed over
};
void add_error(inout error_sums e, int i, float w, float v) {
    float d = w - v;
    if (KEEPS_SUBNORMALS) {
        e.largest = as_uint(max_loose(abs(d), as_real(e.largest)));
    } else {
        uint size = as_uint(d) & 0x7fffffffu;
        e.largest = max(e.largest, size > 0x7f800000u ? 0u : size);
    }
    float m = WEIGHTED ? second_stage(uint(i)) : 1.0f;
    grow(e.dd, i, WEIGHTED ? m * (d * d) : d * d);
    grow(e.ww, i, WEIGHTED ? m * (w * w) : w * w);
    grow(e.vv, i, WEIGHTED ? m * (v * v) : v * v);
}

// To the tile's four words of output, from word `at` on.
void store_error(error_sums e, uint n, uint at) {
    uint base = tile_here() * TILE_SUMS;
    barrier();
    lane_sums[base + lane()] = as_uint(e.dd.all);
    lane_sums[base + 33u + lane()] = as_uint(e.ww.all);
    lane_sums[base + 66u + lane()] = as_uint(e.vv.all);
    if (lane() == 0u) lane_sums[base + 99u] = 0u;
    barrier();
    atomicMax(lane_sums[base + 99u], e.largest);
    float v = sum_lanes(3);
    if (n == 0u) return;
    if ((lane() & 7u) == 0u && lane() < 24u) output_words[at + (lane() >> 3)] = as_uint(v);
    if (lane() == 0u) output_words[at + 3u] = lane_sums[base + 99u];
}

// What a sensitivity adds up over a lane: products t of gradient and d = low - high, their sizes, their squares.
struct sensitivity_sums { tree t, size, tt; };
void add_sensitivity(inout sensitivity_sums s, int i, float d) {
    float t = second_stage(uint(i)) * d;
    grow(s.t, i, t);
    grow(s.size, i, abs_(t));
    grow(s.tt, i, t * t);
}

// To the tile's three words of output.
void store_sensitivity(sensitivity_sums s, uint n) {
    uint base = tile_here() * TILE_SUMS;
    barrier();
    lane_sums[base + lane()] = as_uint(s.t.all);
    lane_sums[base + 33u + lane()] = as_uint(s.size.all);
    lane_sums[base + 66u + lane()] = as_uint(s.tt.all);
    barrier();
    float v = sum_lanes(3);
    if (n > 0u && (lane() & 7u) == 0u && lane() < 24u)
        output_words[(output_at >> 2) + 3u * this_tile() + (lane() >> 3)] = as_uint(v);
}
