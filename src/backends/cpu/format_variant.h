/* The drivers of one of a format's two fits. format_lanes.c includes this with
 *   V(name)        the variant's own names
 *   FIT(x, m, sum) the fit of a lane; FOLD, CODE the functions that go with it
 *   SUM            what is added up for it; WEIGHTED is 1 where m is given */

#if F(SHARED) == 0

FN F(params) V(fit_pass)(BLOCK_IN(x), BLOCK_IN(m), REAL sum, int pass, const shared_values *shared) {
    return FIT(x, m, sum);
}
FN void V(share_tile)(const float *x, const float *m, const float *sums, shared_values *shared) {}

#else

FN F(params) V(fit_pass)(BLOCK_IN(x), BLOCK_IN(m), REAL sum, int pass, const shared_values *shared) {
    peer_view peers = {&shared->value[0][WIDTH * pass], (WIDTH * pass) % F(LANES), F(LANES)};
    return FOLD(shared->part[pass], peers);
}
FN void V(share_tile)(const float *x, const float *m, const float *sums, shared_values *shared) {
    REAL in[32], weight[32];
    KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) {
        load_pass(x, pass, in);
        if (WEIGHTED) load_pass(m, pass, weight);
        shared->part[pass] = FIT(in, weight, load_sum(sums, pass));
        for (int k = 0; k < F(SHARED); k++) {
            REAL v = F(share)(shared->part[pass], k);
            store_vector(v, &shared->value[k][WIDTH * pass]);
        }
    }
}

#endif

FN REAL V(requantize)(REAL x, F(params) p, int i) { return F(value)(CODE(x, p, i), p, i); }

static void V(roundtrip)(const float *x, const float *m, const float *sums, float *y) {
    shared_values shared;
    float block_sums[QDQ_TILE_LANES];
    REAL in[32], weight[32];
    if (SUM == SUM_MAGNITUDES || SUM == SUM_SQUARES) sums = add_blocks(x, SUM == SUM_MAGNITUDES, block_sums);
    V(share_tile)(x, m, sums, &shared);
    KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) {
        load_pass(x, pass, in);
        if (WEIGHTED && F(SHARED) == 0) load_pass(m, pass, weight);
        F(params) p = V(fit_pass)(in, weight, load_sum(sums, pass), pass, &shared);
        UNROLLED for (int part = 0; part < 32; part += 8) KEEP_LOOP for (int e = 0; e < 8; e++) {
            int i = part + e;
            REAL v = load_vector(x + 32 * i + WIDTH * pass);
            store_vector(V(requantize)(v, p, i), y + 32 * i + WIDTH * pass);
        }
    }
}

static void V(encode)(const float *x, const float *m, const float *sums, float *codes, uint32_t *heads) {
    shared_values shared;
    float block_sums[QDQ_TILE_LANES];
    REAL in[32], weight[32], out[32];
    if (SUM == SUM_MAGNITUDES || SUM == SUM_SQUARES) sums = add_blocks(x, SUM == SUM_MAGNITUDES, block_sums);
    V(share_tile)(x, m, sums, &shared);
    KEEP_LOOP for (int pass = 0; pass < PASSES; pass++) {
        load_pass(x, pass, in);
        if (WEIGHTED && F(SHARED) == 0) load_pass(m, pass, weight);
        F(params) p = V(fit_pass)(in, weight, load_sum(sums, pass), pass, &shared);
        for (int i = 0; i < 32; i++) out[i] = CODE(in[i], p, i);
        store_pass(out, pass, codes);
        for (int k = 0; k < F(HEADS); k++) {
            UINT h = F(head)(p, k);
            memcpy(heads + 32 * k + WIDTH * pass, &h, sizeof h);
        }
    }
}
