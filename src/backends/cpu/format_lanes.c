/* One format in one tier's lanes. Compiled once a format and tier with -DFORMAT=q4_0 -DFORMAT_FILE="formats/q4_0.h"
 * -DTIER=avx2 and that tier's instruction set; the tier named c has no vectors. */
#include "backends/cpu/kernels.h"

#ifdef QDQ_SCALAR
#include "dialect/scalar.h"
#else
#include "dialect/simd.h"
#endif
#include "dialect/peers.h"
#include "backends/cpu/transpose.h"
#include FORMAT_FILE
#include "backends/cpu/names.h"

enum { PASSES = QDQ_TILE_LANES / WIDTH };

FN void load_pass(const float *tile, int pass, BLOCK_OUT(x)) {
    for (int i = 0; i < 32; i++) memcpy(&x[i], tile + 32 * i + WIDTH * pass, sizeof x[i]);
}
FN void store_pass(BLOCK_IN(x), int pass, float *tile) {
    for (int i = 0; i < 32; i++) memcpy(tile + 32 * i + WIDTH * pass, &x[i], sizeof x[i]);
}

#if F(LANES) == 1

typedef int shared_values;
FN void share_pass(BLOCK_IN(x), int pass, shared_values *shared) {}
FN F(params) fit_pass(BLOCK_IN(x), int pass, const shared_values *shared) { return F(fit)(x); }

#else

/* Each pass of a tile leaves what its lanes found, and what they show to each other. */
typedef struct shared_values {
    F(part) part[PASSES];
    float value[F(SHARED)][QDQ_TILE_LANES];
} shared_values;

FN void share_pass(BLOCK_IN(x), int pass, shared_values *shared) {
    shared->part[pass] = F(fit)(x);
    for (int k = 0; k < F(SHARED); k++) {
        REAL v = F(share)(shared->part[pass], k);
        memcpy(&shared->value[k][WIDTH * pass], &v, sizeof v);
    }
}
FN F(params) fit_pass(BLOCK_IN(x), int pass, const shared_values *shared) {
    peer_view peers = {&shared->value[0][WIDTH * pass], (WIDTH * pass) % F(LANES), F(LANES)};
    return F(fold)(shared->part[pass], peers);
}

#endif

FN REAL requantize(REAL x, F(params) p, int i) { return F(value)(F(code)(x, p, i), p, i); }

static void roundtrip(const float *x, float *y) {
    shared_values shared;
    REAL in[32], out[32];
    if (F(LANES) > 1)
        for (int pass = 0; pass < PASSES; pass++) {
            load_pass(x, pass, in);
            share_pass(in, pass, &shared);
        }
    for (int pass = 0; pass < PASSES; pass++) {
        load_pass(x, pass, in);
        F(params) p = fit_pass(in, pass, &shared);
        for (int i = 0; i < 32; i++) out[i] = requantize(in[i], p, i);
        store_pass(out, pass, y);
    }
}

static void roundtrip_linear(const float *x, float *y, size_t tiles) {
    shared_values shared;
    REAL in[32];
    for (size_t t = 0; t < tiles; t++, x += QDQ_TILE, y += QDQ_TILE) {
        if (F(LANES) > 1)
            for (int pass = 0; pass < PASSES; pass++) {
                load_lanes(x + 32 * WIDTH * pass, in);
                share_pass(in, pass, &shared);
            }
        for (int pass = 0; pass < PASSES; pass++) {
            load_lanes(x + 32 * WIDTH * pass, in);
            F(params) p = fit_pass(in, pass, &shared);
            for (int i = 0; i < 32; i += 4) {
                REAL out4[4];
                for (int k = 0; k < 4; k++) out4[k] = requantize(in[i + k], p, i + k);
                store4(out4, y + 32 * WIDTH * pass + i);
            }
        }
    }
}

static void encode(const float *x, float *codes, uint32_t *heads) {
    shared_values shared;
    REAL in[32], out[32];
    if (F(LANES) > 1)
        for (int pass = 0; pass < PASSES; pass++) {
            load_pass(x, pass, in);
            share_pass(in, pass, &shared);
        }
    for (int pass = 0; pass < PASSES; pass++) {
        load_pass(x, pass, in);
        F(params) p = fit_pass(in, pass, &shared);
        for (int i = 0; i < 32; i++) out[i] = F(code)(in[i], p, i);
        store_pass(out, pass, codes);
        for (int k = 0; k < F(HEADS); k++) {
            UINT h = F(head)(p, k);
            memcpy(heads + 32 * k + WIDTH * pass, &h, sizeof h);
        }
    }
}

const qdq_cpu_format_lanes KERNELS(lanes) = {F(LANES), F(HEADS), roundtrip, roundtrip_linear, encode};
