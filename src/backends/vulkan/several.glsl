// Kernels of several light formats at once: errors of up to four, or one against another. The pipeline says which
// formats; the rest of the module is left out when it is built. light_formats.h, which the build makes, includes the
// formats and defines EACH_LIGHT_FORMAT(X, SLOT) as X(name, number, SLOT) for each.

layout(constant_id = QDQ_VK_ID_FORMAT) const int FORMAT_0 = -1;
layout(constant_id = QDQ_VK_ID_FORMAT + 1) const int FORMAT_1 = -1;
layout(constant_id = QDQ_VK_ID_FORMAT + 2) const int FORMAT_2 = -1;
layout(constant_id = QDQ_VK_ID_FORMAT + 3) const int FORMAT_3 = -1;

#include "backends/vulkan/tile.glsl"
#include "backends/vulkan/unshared.glsl"

// The parameters of the format that a slot of the pipeline is for.
#define PARAMS_OF(NAME, NUMBER, SLOT) NAME##_params of_##NAME;
struct chosen { EACH_LIGHT_FORMAT(PARAMS_OF, ) bool tame; };

chosen with_tame(chosen c, bool tame) {
#define TAME_OF(NAME, NUMBER, SLOT) c.of_##NAME.tame = tame;
    EACH_LIGHT_FORMAT(TAME_OF, )
    return c;
}

#define FIT_IF_IT_IS(NAME, NUMBER, SLOT)                                                                               \
    if (FORMAT_##SLOT == NUMBER) {                                                                                     \
        c.of_##NAME = NAME##_fit(x, 0.0f);                                                          \
        c.tame = c.of_##NAME.tame;                                                                                     \
    }
#define VALUE_IF_IT_IS(NAME, NUMBER, SLOT)                                                                             \
    if (FORMAT_##SLOT == NUMBER) return NAME##_value(NAME##_code(x, c.of_##NAME, i), c.of_##NAME, i);

#define FIT_AND_VALUE(SLOT)                                                                                            \
    chosen fit_##SLOT(float x[32]) {                                                                                   \
        chosen c;                                                                                                      \
        EACH_LIGHT_FORMAT(FIT_IF_IT_IS, SLOT)                                                                                \
        return c;                                                                                                      \
    }                                                                                                                  \
    float value_##SLOT(chosen c, float x, int i) { EACH_LIGHT_FORMAT(VALUE_IF_IT_IS, SLOT) return 0.0f; }
FIT_AND_VALUE(0)
FIT_AND_VALUE(1)
FIT_AND_VALUE(2)
FIT_AND_VALUE(3)

// As in lanes.glsl, for tame parameters all at once, one by one where something is not tame or in doubt.
#define ERRORS(SLOT, AT)                                                                                               \
    {                                                                                                                  \
        chosen c = fit_##SLOT(x);                                                                                      \
        error_sums e = no_errors();                                                                                    \
        tree ww = empty_tree();                                                                                        \
        in_doubt = !c.tame;                                                                                            \
        if (c.tame) {                                                                                                  \
            chosen t = with_tame(c, true);                                                                             \
            for (int i = 0; i < 32; i++) {                                                                             \
                e = with_error(e, i, x[i], value_##SLOT(t, x[i], i), 1.0f, false);                                     \
                ww = with_weight(ww, i, x[i], 1.0f, false);                                                            \
            }                                                                                                          \
        }                                                                                                              \
        if (in_doubt) {                                                                                                \
            chosen t = with_tame(c, false);                                                                            \
            e = no_errors();                                                                                           \
            ROLLED for (uint i = 0; i < 32; i++) {                                                                     \
                float w = input_here(i);                                                                               \
                e = with_error(e, int(i), w, value_##SLOT(t, w, int(i)), 1.0f, false);                                 \
                ww = with_weight(ww, int(i), w, 1.0f, false);                                                          \
            }                                                                                                          \
        }                                                                                                              \
        store_error(e, ww, n, AT);                                                                                     \
    }

void sensitivity(float x[32], float g[32], uint n) {
    chosen low = fit_0(x), high = fit_1(x);
    sensitivity_sums sums = no_sensitivities();
    bool tame = both(low.tame, high.tame);
    in_doubt = !tame;
    if (tame) {
        chosen l = with_tame(low, true), h = with_tame(high, true);
        for (int i = 0; i < 32; i++)
            sums = with_difference(sums, i, g[i], value_0(l, x[i], i) - value_1(h, x[i], i));
    }
    if (in_doubt) {
        chosen l = with_tame(low, false), h = with_tame(high, false);
        ROLLED for (uint i = 0; i < 32; i++) {
            float w = input_here(i);
            sums = with_difference(sums, int(i), gradient_here(i), value_0(l, w, int(i)) - value_1(h, w, int(i)));
        }
    }
    store_sensitivity(sums, n);
}

void main() {
    uint n = tile_elements();
    float x[32], g[32];
    if (OP == QDQ_VK_SENSITIVITY_PAIR) {
        input_and_gradient(x, g);
        sensitivity(x, g, n);
        return;
    }
    input_of_lane(x);
    // Sums lie format by format.
    uint at = (output_at >> 2) + 4u * this_tile(), next = 4u * ((count + 1023u) / 1024u);
    ERRORS(0, at)
    if (FORMAT_1 >= 0) ERRORS(1, at + next)
    if (FORMAT_2 >= 0) ERRORS(2, at + 2u * next)
    if (FORMAT_3 >= 0) ERRORS(3, at + 3u * next)
}
