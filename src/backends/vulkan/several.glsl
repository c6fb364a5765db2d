// Kernels of several formats at once, of those whose blocks are a lane each: errors of up to four, or one against
// another. The pipeline says which formats; the rest of the module is left out when it is built. CMakeLists.txt makes the
// file that includes the formats and defines EACH_FORMAT(X) as X(name, number) for each.

layout(constant_id = 4) const int FORMAT_0 = -1;
layout(constant_id = 5) const int FORMAT_1 = -1;
layout(constant_id = 6) const int FORMAT_2 = -1;
layout(constant_id = 7) const int FORMAT_3 = -1;

#include "backends/vulkan/tile.glsl"
#include "backends/vulkan/unshared.glsl"

// What a format wants added up in order over its block, which is the lane.
float lane_sum(int kind, float x[32]) {
    float sum = 0.0f;
    for (int i = 0; i < 32 && kind != SUM_NONE; i++) sum = sum + (kind == SUM_MAGNITUDES ? abs_(x[i]) : x[i] * x[i]);
    return sum;
}

#define ROUNDTRIP_IF_IT_IS(NAME, NUMBER)                                                                               \
    if (THIS_FORMAT == NUMBER) {                                                                                       \
        NAME##_params p = NAME##_fit(x, lane_sum(NAME##_SUM, x));                                                     \
        if (p.tame) {                                                                                                  \
            p.tame = true;                                                                                             \
            for (int i = 0; i < 32; i++) y[i] = NAME##_value(NAME##_code(x[i], p, i), p, i);                           \
        } else {                                                                                                       \
            for (int i = 0; i < 32; i++) y[i] = NAME##_value(NAME##_code(x[i], p, i), p, i);                           \
        }                                                                                                              \
    }

#define THIS_FORMAT FORMAT_0
void roundtrip_0(float x[32], out float y[32]) { EACH_FORMAT(ROUNDTRIP_IF_IT_IS) }
#undef THIS_FORMAT
#define THIS_FORMAT FORMAT_1
void roundtrip_1(float x[32], out float y[32]) { EACH_FORMAT(ROUNDTRIP_IF_IT_IS) }
#undef THIS_FORMAT
#define THIS_FORMAT FORMAT_2
void roundtrip_2(float x[32], out float y[32]) { EACH_FORMAT(ROUNDTRIP_IF_IT_IS) }
#undef THIS_FORMAT
#define THIS_FORMAT FORMAT_3
void roundtrip_3(float x[32], out float y[32]) { EACH_FORMAT(ROUNDTRIP_IF_IT_IS) }

void main() {
    uint n = tile_elements();
    load_input_tile(n);
    if (OP == SENSITIVITY_PAIR) load_gradient_tile(n);
    barrier();
    float x[32], y[32], z[32];
    read_row(x);
    if (OP == SENSITIVITY_PAIR) {
        roundtrip_0(x, y);
        roundtrip_1(x, z);
        for (uint i = 0; i < 32; i++) y[i] = y[i] - z[i];
        sensitivity_sums(y, n);
        return;
    }
    // Sums lie format by format.
    uint at = (output_at >> 2) + 4u * this_tile(), next = 4u * ((count + 1023u) / 1024u);
    roundtrip_0(x, y);
    if (FORMAT_1 >= 0) roundtrip_1(x, z);
    error_sums(x, y, n, at);
    if (FORMAT_1 >= 0) error_sums(x, z, n, at + next);
    if (FORMAT_2 >= 0) {
        roundtrip_2(x, y);
        error_sums(x, y, n, at + 2u * next);
    }
    if (FORMAT_3 >= 0) {
        roundtrip_3(x, y);
        error_sums(x, y, n, at + 3u * next);
    }
}
