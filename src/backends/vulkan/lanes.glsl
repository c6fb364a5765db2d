// The kernels of one format. CMakeLists.txt makes the file that defines FORMAT, FORMAT_SHARED and FORMAT_IMPORTANCE and
// includes dialect/glsl.h, the format's file and this one.

#define JOIN_2(a, b) a##_##b
#define JOIN(a, b) JOIN_2(a, b)
#define F(name) JOIN(FORMAT, name)

const uint LANES = F(LANES);
const uint LANE_BYTES = F(BYTES) / F(LANES) + (F(BYTES) % F(LANES) > 0 ? 1 : 0);
#include "backends/vulkan/tile.glsl"

// A tile's packed blocks: words as they are read, a byte a word as they are made.
const uint TILE_PACKED = 32 * LANE_BYTES;
shared uint packed[OP == QUANTIZE || OP == DEQUANTIZE ? TILES * TILE_PACKED : 1];

const uint CODE_WORDS = 9; // a lane's 32 codes, four a word, and one word against bank conflicts
shared uint codes[OP == QUANTIZE ? TILES * 32 * CODE_WORDS : 1];
shared uint heads[OP == QUANTIZE ? TILES * 32 * F(HEADS) : 1];
#if FORMAT_SHARED > 0
shared uint peers[TILES * 32 * F(SHARED)];
REAL peer_value(uint at) { return as_real(peers[at]); }
#else
REAL peer_value(uint at) { return 0.0f; }
#endif

uint code_value(uint first, int i) {
    return (codes[first + uint(i >> 5) * CODE_WORDS + (uint(i) >> 2 & 7u)] >> (8u * (uint(i) & 3u))) & 255u;
}
uint head_word(uint first, int k, int j) { return heads[first + uint(32 * k + j)]; }
uint packed_byte(uint at) { return (packed[at >> 2] >> (8u * (at & 3u))) & 255u; }
void put_byte(uint at, uint value) { packed[at] = value & 255u; }

uint block_lane() { return lane() & ~(LANES - 1u); } // the first lane of this block

// What the format wants added up in order, see dialect/README.md.
float ordered_sum(int kind) {
    float sum = 0.0f;
    if (kind == SUM_NONE) return sum;
    if (kind == SUM_ROW) {
        if (32u * lane() >= tile_elements()) return sum; // no such row
        return row_sums[(row_sums_at >> 2) + (column + 1024u * this_tile() + 32u * lane()) / row];
    }
    for (uint l = block_lane(); l < block_lane() + LANES; l++)
        for (uint i = 0; i < 32; i++) {
            float x = staged_element(l, i);
            sum = sum + (kind == SUM_MAGNITUDES ? abs_(x) : x * x);
        }
    return sum;
}

#if FORMAT_SHARED > 0
// Shows what this lane found to its block's others; the place where theirs are.
uint share(F(part) part) {
    uint base = tile_here() * (32 * F(SHARED));
    for (int k = 0; k < F(SHARED); k++) peers[base + 32u * uint(k) + lane()] = as_uint(F(share)(part, k));
    barrier();
    return base + block_lane();
}
#endif

#if FORMAT_IMPORTANCE > 0
const bool FIT_WEIGHTED = WEIGHTED || FORMAT_IMPORTANCE == 2;
#else
const bool FIT_WEIGHTED = false;
#endif

F(params) fit_lane(float x[32]) {
    F(params) p;
#if FORMAT_IMPORTANCE > 0
    if (FIT_WEIGHTED) {
        float m[32];
        for (uint i = 0; i < 32; i++) m[i] = second_stage(i);
        float sum = ordered_sum(F(WEIGHTED_SUM));
#if FORMAT_SHARED > 0
        F(part) part = F(fit_weighted)(x, m, sum);
        p = F(fold_weighted)(part, share(part));
#else
        p = F(fit_weighted)(x, m, sum);
#endif
    }
#endif
#if FORMAT_IMPORTANCE < 2
    if (!FIT_WEIGHTED) {
        float sum = ordered_sum(F(SUM));
#if FORMAT_SHARED > 0
        F(part) part = F(fit)(x, sum);
        p = F(fold)(part, share(part));
#else
        p = F(fit)(x, sum);
#endif
    }
#endif
    return p;
}

float encode(float x, F(params) p, int i) {
#if FORMAT_IMPORTANCE > 0
    if (FIT_WEIGHTED) return F(code_weighted)(x, p, i);
#endif
#if FORMAT_IMPORTANCE < 2
    return F(code)(x, p, i);
#else
    return 0.0f;
#endif
}

// The round trip of the lane's elements. The usual loop is compiled for tame parameters alone, so that it is short; what
// is not tame or in doubt goes element by element, through the lane's row of the staged tile, where x is.
void requantize(float x[32], F(params) p, out float y[32]) {
    if (LANES > 1) barrier(); // a block's sum may still be read
    in_doubt = !p.tame;
    if (p.tame) {
        p.tame = true;
        for (int i = 0; i < 32; i++) y[i] = F(value)(encode(x[i], p, i), p, i);
    }
    if (in_doubt) {
        F(params) q = p;
        q.tame = false;
        ROLLED for (int i = 0; i < 32; i++)
            put_element(uint(i), F(value)(encode(staged_element(lane(), uint(i)), q, i), q, i));
        read_row(y);
    }
}

// Likewise, its errors, which are added up as values come.
error_sums errors(float x[32], F(params) p) {
    error_sums e;
    e.largest = 0u;
    in_doubt = !p.tame;
    if (p.tame) {
        p.tame = true;
        for (int i = 0; i < 32; i++) add_error(e, i, x[i], F(value)(encode(x[i], p, i), p, i));
    }
    if (in_doubt) {
        F(params) q = p;
        q.tame = false;
        e.largest = 0u;
        ROLLED for (int i = 0; i < 32; i++) {
            float w = staged_element(lane(), uint(i));
            add_error(e, i, w, F(value)(encode(w, q, i), q, i));
        }
    }
    return e;
}

uint tile_bytes(uint elements) { return elements / (32 * F(LANES)) * F(BYTES); }

// Bytes of this tile's blocks, staged a byte a word, to the output. The words at the ends may hold others' bytes.
void store_bytes(uint n) {
    if (n == 0u) return;
    uint base = tile_here() * TILE_PACKED;
    uint first = output_at + this_tile() * tile_bytes(1024u), end = first + tile_bytes(n);
    for (uint w = (first >> 2) + lane(); 4u * w < end; w += 32u) {
        uint from = base + 4u * w - first; // wraps below a first byte that is not the word's
        if (4u * w >= first && 4u * w + 4u <= end) {
            output_words[w] = packed[from] | packed[from + 1u] << 8 | packed[from + 2u] << 16 | packed[from + 3u] << 24;
            continue;
        }
        uint bits = 0u, mask = 0u;
        for (uint j = 0; j < 4; j++) {
            if (4u * w + j < first || 4u * w + j >= end) continue;
            bits |= packed[from + j] << (8u * j);
            mask |= 255u << (8u * j);
        }
        atomicAnd(output_words[w], ~mask);
        atomicOr(output_words[w], bits);
    }
}

// Likewise, the codes.
void encode_all(float x[32], F(params) p, uint to) {
    in_doubt = !p.tame;
    if (p.tame) {
        p.tame = true;
        for (uint w = 0; w < 8; w++) {
            uint word = 0u;
            for (uint j = 0; j < 4; j++)
                word |= (uint(to_int(encode(x[4u * w + j], p, int(4u * w + j)))) & 255u) << (8u * j);
            codes[to + w] = word;
        }
    }
    if (in_doubt) {
        F(params) q = p;
        q.tame = false;
        ROLLED for (int i = 0; i < 32; i++) {
            uint code = uint(to_int(encode(staged_element(lane(), uint(i)), q, i))) & 255u;
            uint at = to + (uint(i) >> 2), shift = 8u * (uint(i) & 3u);
            codes[at] = shift == 0u ? code : codes[at] | code << shift;
        }
    }
}

void quantize(float x[32], F(params) p, uint n) {
    uint here = tile_here() * 32u;
    encode_all(x, p, (here + lane()) * CODE_WORDS);
    for (int k = 0; k < F(HEADS); k++) heads[here * F(HEADS) + 32u * uint(k) + lane()] = F(head)(p, k);
    barrier();
    F(pack)((here + block_lane()) * CODE_WORDS, here * F(HEADS) + block_lane(),
            tile_here() * TILE_PACKED + block_lane() / LANES * F(BYTES));
    barrier();
    store_bytes(n);
}

// Each lane reads so many of a tile's words, which begin and end anywhere.
const uint TURNS = (32 * LANE_BYTES + 6) / 4 / 32 + 1;
void dequantize(uint n) {
    uint base = tile_here() * TILE_PACKED;
    uint first = input_at + this_tile() * tile_bytes(1024u);
    uint words = n > 0u ? ((first & 3u) + tile_bytes(n) + 3u) >> 2 : 0u, got[TURNS];
    for (uint k = 0; k < TURNS; k++) {
        uint w = 32u * k + lane();
        got[k] = w < words ? input_words[(first >> 2) + w] : 0u;
    }
    for (uint k = 0; k < TURNS; k++) packed[base + 32u * k + lane()] = got[k];
    barrier();
    uint block = 4u * base + (first & 3u) + block_lane() / LANES * F(BYTES);
    F(params) p = F(read)(block, pack_lane);
    int c[32];
    F(codes)(block, pack_lane, c);
    float y[32];
    if (p.tame) {
        p.tame = true;
        for (int i = 0; i < 32; i++) y[i] = F(value)(to_real(c[i]), p, i);
    } else {
        for (int i = 0; i < 32; i++) y[i] = F(value)(to_real(c[i]), p, i);
    }
    write_row(y);
    barrier();
    store_tile(n);
}

// Stage 2 holds the importance while it is needed, then the low values, then the gradient.
const bool EARLY = !WEIGHTED;
const bool LATE = WEIGHTED && (OP == SENSITIVITY_LOW || OP == SENSITIVITY_HIGH);

void main() {
    uint n = tile_elements();
    pack_lane = int(lane() & (LANES - 1u));
    pack_lanes = int(LANES);
    if (OP == DEQUANTIZE) {
        dequantize(n);
        return;
    }
    load_input_tile(n);
    if (WEIGHTED) load_importance(n);
    if (OP == SENSITIVITY_LOW && EARLY) load_gradient_tile(n);
    if (OP == SENSITIVITY_HIGH && EARLY) load_low(low_at + 4096u * this_tile(), F32, n);
    barrier();

    float x[32], y[32];
    read_row(x);
    F(params) p = fit_lane(x);
    if (OP == QUANTIZE) {
        quantize(x, p, n);
        return;
    }
    if (OP == ERROR) {
        store_error(errors(x, p), n, (output_at >> 2) + 4u * this_tile());
        return;
    }
    requantize(x, p, y);
    if (OP == ROUNDTRIP) {
        write_row(y);
        barrier();
        store_tile(n);
        return;
    }
    if (LATE) {
        barrier();
        if (OP == SENSITIVITY_LOW) load_gradient_tile(n);
        if (OP == SENSITIVITY_HIGH) load_low(low_at + 4096u * this_tile(), F32, n);
        barrier();
    }
    for (int i = 0; i < 32; i++) y[i] = OP == SENSITIVITY_LOW ? y[i] - x[i] : second_stage(uint(i)) - y[i];
    if (OP == SENSITIVITY_HIGH) {
        barrier();
        load_gradient_tile(n);
        barrier();
    }
    sensitivity_sums sums;
    for (int i = 0; i < 32; i++) add_sensitivity(sums, i, y[i]);
    store_sensitivity(sums, n);
}
