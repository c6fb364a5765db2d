// The kernels of one format. The build makes the file that defines FORMAT, FORMAT_SHARED and FORMAT_IMPORTANCE and
// includes dialect/glsl.h, the format's file and this one.

#define JOIN_2(a, b) a##_##b
#define JOIN(a, b) JOIN_2(a, b)
#define F(name) JOIN(FORMAT, name)

const uint LANES = F(LANES);
const uint LANE_BYTES = F(BYTES) / F(LANES) + (F(BYTES) % F(LANES) > 0 ? 1 : 0);
const uint TURNS = (32 * LANE_BYTES + 6) / 4 / 32 + 1; // in which a tile's words are read; they begin and end anywhere
// Packed blocks: a tile's words as they are read, half a tile's bytes, a word each, as they are made.
#define PACKED_QUADS (OP == QDQ_VK_QUANTIZE ? 4 * LANE_BYTES : 8 * TURNS)
#include "backends/vulkan/tile.glsl"

const uint CODE_WORDS = 9; // a lane's 32 codes, four a word, and one word against bank conflicts
shared uint codes[OP == QDQ_VK_QUANTIZE && LANES > 1 ? TILES * 32 * CODE_WORDS : 1];
uint own_codes[8]; // where a lane is a block
shared uint heads[OP == QDQ_VK_QUANTIZE ? TILES * 32 * F(HEADS) : 1];
#if FORMAT_SHARED > 0
shared uint peers[TILES * 32 * F(SHARED)];
REAL peer_value(uint at) { return as_real(peers[at]); }
#else
REAL peer_value(uint at) { return 0.0f; }
#endif

uint code_value(uint first, int i) {
    uint word = uint(i >> 5) * CODE_WORDS + (uint(i) >> 2 & 7u);
    return ((LANES == 1 ? own_codes[word] : codes[first + word]) >> (8u * (uint(i) & 3u))) & 255u;
}
void set_codes(uint first, uint word, uint four) {
    if (LANES == 1)
        own_codes[word] = four;
    else
        codes[first + word] = four;
}
uint head_word(uint first, int k, int j) { return heads[first + uint(32 * k + j)]; }
uint packed_byte(uint at) { return (staged[at >> 4][(at >> 2) & 3u] >> (8u * (at & 3u))) & 255u; }
void put_byte(uint at, uint value) { staged[at >> 2][at & 3u] = value & 255u; }
uint made_byte(uint at) { return staged[at >> 2][at & 3u]; }

uint block_lane() { return lane() & ~(LANES - 1u); } // the first lane of this block

vec4 input_four(uint e) {
    if (is_whole(input_at) && input_dtype == f32_dtype) return uintBitsToFloat(input_quads[(input_at + 4u * e) >> 4]);
    return vec4(input_element(e), input_element(e + 1u), input_element(e + 2u), input_element(e + 3u));
}

// What the format wants added up in order, see dialect/README.md.
float ordered_sum(int kind) {
    float sum = 0.0f;
    if (kind == SUM_NONE) return sum;
    if (kind == SUM_ROW) {
        if (lane_elements() == 0u) return sum; // no such row
        return row_sums[(row_sums_at >> 2) + (column + first_element()) / row];
    }
    // A block's lanes all read the same elements.
    uint first = first_element() - 32u * (lane() & (LANES - 1u));
    ROLLED for (uint e = first; e < first + 32u * LANES; e += 4u) {
        vec4 x = input_four(e);
        for (uint j = 0; j < 4; j++) sum = sum + (kind == SUM_MAGNITUDES ? abs_(x[j]) : x[j] * x[j]);
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
        importance_of_lane(m);
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

// The usual loop over the lane's elements is compiled for tame parameters alone, so that it is short; what is not tame or
// in doubt goes element by element, each read anew.
float slow_value(uint i, F(params) p) {
    p.tame = false;
    return F(value)(encode(input_here(i), p, int(i)), p, int(i));
}

void roundtrip(float x[32], F(params) p, uint n) {
    float y[32];
    F(params) q = p;
    in_doubt = !p.tame;
    if (p.tame) {
        p.tame = true;
        for (int i = 0; i < 32; i++) y[i] = F(value)(encode(x[i], p, i), p, i);
    }
    ROLLED for (uint now = 0; now < 2; now++) {
        barrier(); // also, others of the block may read until here what is written now
        if (stages(now)) {
            if (!in_doubt)
                stage_row(y);
            else
                ROLLED for (uint i = 0; i < 32; i++) stage_element(i, slow_value(i, q));
        }
        barrier();
        store_half(now, n);
    }
}

// Errors are added up as values come.
void error(float x[32], F(params) p, uint n) {
    float m[32];
    if (WEIGHTED) importance_of_lane(m);
    error_sums e = no_errors();
    tree ww = empty_tree();
    F(params) q = p;
    in_doubt = !p.tame;
    if (p.tame) {
        p.tame = true;
        for (int i = 0; i < 32; i++) {
            float importance = WEIGHTED ? m[i] : 1.0f;
            e = with_error(e, i, x[i], F(value)(encode(x[i], p, i), p, i), importance, WEIGHTED);
            ww = with_weight(ww, i, x[i], importance, WEIGHTED);
        }
    }
    if (in_doubt) {
        e = no_errors();
        ROLLED for (uint i = 0; i < 32; i++) {
            float w = input_here(i), importance = WEIGHTED ? importance_here(i) : 1.0f;
            e = with_error(e, int(i), w, slow_value(i, q), importance, WEIGHTED);
            ww = with_weight(ww, int(i), w, importance, WEIGHTED);
        }
    }
    store_error(e, ww, n, (output_at >> 2) + 4u * this_tile());
}

// Of this format against the source, or of low values against this format.
void sensitivity(float x[32], float g[32], F(params) p, uint n) {
    float low[32];
    if (OP == QDQ_VK_SENSITIVITY_HIGH) low_of_lane(low);
    sensitivity_sums s = no_sensitivities();
    F(params) q = p;
    in_doubt = !p.tame;
    if (p.tame) {
        p.tame = true;
        for (int i = 0; i < 32; i++) {
            float v = F(value)(encode(x[i], p, i), p, i);
            s = with_difference(s, i, g[i], OP == QDQ_VK_SENSITIVITY_LOW ? v - x[i] : low[i] - v);
        }
    }
    if (in_doubt) {
        ROLLED for (uint i = 0; i < 32; i++) {
            float v = slow_value(i, q);
            float d = OP == QDQ_VK_SENSITIVITY_LOW ? v - input_here(i) : low_here(i) - v;
            s = with_difference(s, int(i), gradient_here(i), d);
        }
    }
    store_sensitivity(s, n);
}

uint tile_bytes(uint elements) { return elements / (32 * F(LANES)) * F(BYTES); }

// So many bytes of blocks, staged a byte a word, to the output's from `first` on. The words at the ends may hold others'
// bytes.
void store_bytes(uint first, uint bytes) {
    if (bytes == 0u) return;
    uint base = 4u * TILE_QUADS * tile_here(), end = first + bytes;
    for (uint w = (first >> 2) + lane(); 4u * w < end; w += 32u) {
        uint from = base + 4u * w - first; // wraps below a first byte that is not the word's
        if (4u * w >= first && 4u * w + 4u <= end) {
            output_words[w] =
                made_byte(from) | made_byte(from + 1u) << 8 | made_byte(from + 2u) << 16 | made_byte(from + 3u) << 24;
            continue;
        }
        uint bits = 0u, mask = 0u;
        for (uint j = 0; j < 4; j++) {
            if (4u * w + j < first || 4u * w + j >= end) continue;
            bits |= made_byte(from + j) << (8u * j);
            mask |= 255u << (8u * j);
        }
        atomicAnd(output_words[w], ~mask);
        atomicOr(output_words[w], bits);
    }
}

void encode_all(float x[32], F(params) p, uint to) {
    F(params) q = p;
    in_doubt = !p.tame;
    if (p.tame) {
        p.tame = true;
        for (uint w = 0; w < 8; w++) {
            uint word = 0u;
            for (uint j = 0; j < 4; j++)
                word |= (uint(to_int(encode(x[4u * w + j], p, int(4u * w + j)))) & 255u) << (8u * j);
            set_codes(to, w, word);
        }
    }
    if (in_doubt) {
        q.tame = false;
        uint word = 0u;
        ROLLED for (uint i = 0; i < 32; i++) {
            uint code = uint(to_int(encode(input_here(i), q, int(i)))) & 255u;
            word = (i & 3u) == 0u ? code : word | code << (8u * (i & 3u));
            for (uint w = 0; w < 8; w++)
                if (i == 4u * w + 3u) set_codes(to, w, word);
        }
    }
}

// Blocks are packed half a tile at a time, and stored.
void quantize(float x[32], F(params) p, uint n) {
    uint here = tile_here() * 32u;
    encode_all(x, p, (here + lane()) * CODE_WORDS);
    for (int k = 0; k < F(HEADS); k++) heads[here * F(HEADS) + 32u * uint(k) + lane()] = F(head)(p, k);
    ROLLED for (uint now = 0; now < 2; now++) {
        barrier();
        if (stages(now))
            F(pack)((here + block_lane()) * CODE_WORDS, here * F(HEADS) + block_lane(),
                    4u * TILE_QUADS * tile_here() + (block_lane() & 15u) / LANES * F(BYTES));
        barrier();
        uint elements = n > 512u * now ? min(n - 512u * now, 512u) : 0u;
        store_bytes(output_at + this_tile() * tile_bytes(1024u) + now * tile_bytes(512u), tile_bytes(elements));
    }
}

void dequantize(uint n) {
    uint base = 4u * TILE_QUADS * tile_here();
    uint first = input_at + this_tile() * tile_bytes(1024u);
    uint words = n > 0u ? ((first & 3u) + tile_bytes(n) + 3u) >> 2 : 0u, got[TURNS];
    for (uint k = 0; k < TURNS; k++) {
        uint w = 32u * k + lane();
        got[k] = w < words ? input_words[(first >> 2) + w] : 0u;
    }
    for (uint k = 0; k < TURNS; k++) staged[(base >> 2) + 8u * k + (lane() >> 2)][lane() & 3u] = got[k];
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
    ROLLED for (uint now = 0; now < 2; now++) {
        barrier();
        if (stages(now)) stage_row(y);
        barrier();
        store_half(now, n);
    }
}

void main() {
    uint n = tile_elements();
    pack_lane = int(lane() & (LANES - 1u));
    pack_lanes = int(LANES);
    if (OP == QDQ_VK_DEQUANTIZE) {
        dequantize(n);
        return;
    }
    float x[32], g[32];
    if (OP >= QDQ_VK_SENSITIVITY_LOW)
        input_and_gradient(x, g);
    else
        input_of_lane(x);
    F(params) p = fit_lane(x);
    if (OP == QDQ_VK_ROUNDTRIP)
        roundtrip(x, p, n);
    else if (OP == QDQ_VK_QUANTIZE)
        quantize(x, p, n);
    else if (OP == QDQ_VK_ERROR)
        error(x, p, n);
    else
        sensitivity(x, g, p, n);
}
