/* The checks of one format: check_formats.c includes this for each, with FORMAT defined. */

static float F(sum)(int kind, const float *x) {
    float sum = 0.0f;
    for (int i = 0; i < 32 * F(LANES) && kind != SUM_NONE; i++)
        sum += kind == SUM_MAGNITUDES ? abs_(x[i]) : x[i] * x[i];
    return kind == SUM_ROW ? sum / (float)(32 * F(LANES)) : sum;
}

static void F(encode_lane)(F(params) p, const float *x, bool weighted) {
    for (int i = 0; i < 32; i++) {
        float code = 0.0f;
#if F(IMPORTANCE) < 2
        if (!weighted) code = F(code)(x[i], p, i);
#endif
#if F(IMPORTANCE) > 0
        if (weighted) code = F(code_weighted)(x[i], p, i);
#endif
        check_code(code, weighted ? TEXT(F(code_weighted)) : TEXT(F(code)));
        codes[32 * this_lane + i] = (uint8_t)(int)code;
    }
    for (int k = 0; k < F(HEADS); k++) head[k][this_lane] = F(head)(p, k);
}

/* Fits a block and encodes it, with importance or without. */
static void F(encode)(const float *x, const float *m, bool weighted) {
    float sum = F(sum)(weighted ? F(WEIGHTED_SUM) : F(SUM), x);
#if F(SHARED) == 0
    for (this_lane = 0; this_lane < F(LANES); this_lane++) {
#if F(IMPORTANCE) < 2
        if (!weighted) F(encode_lane)(F(fit)(x + 32 * this_lane, sum), x + 32 * this_lane, false);
#endif
#if F(IMPORTANCE) > 0
        if (weighted)
            F(encode_lane)(F(fit_weighted)(x + 32 * this_lane, m + 32 * this_lane, sum), x + 32 * this_lane, true);
#endif
    }
#else
    static F(part) part[MOST_LANES];
    for (this_lane = 0; this_lane < F(LANES); this_lane++) {
#if F(IMPORTANCE) < 2
        if (!weighted) part[this_lane] = F(fit)(x + 32 * this_lane, sum);
#endif
#if F(IMPORTANCE) > 0
        if (weighted) part[this_lane] = F(fit_weighted)(x + 32 * this_lane, m + 32 * this_lane, sum);
#endif
        for (int k = 0; k < F(SHARED); k++) shown[k][this_lane] = F(share)(part[this_lane], k);
    }
    for (this_lane = 0; this_lane < F(LANES); this_lane++) {
#if F(IMPORTANCE) < 2
        if (!weighted) F(encode_lane)(F(fold)(part[this_lane], 0), x + 32 * this_lane, false);
#endif
#if F(IMPORTANCE) > 0
        if (weighted) F(encode_lane)(F(fold_weighted)(part[this_lane], 0), x + 32 * this_lane, true);
#endif
    }
#endif
}

static void F(decode)(void) {
    for (this_lane = 0; this_lane < F(LANES); this_lane++) {
        INT c[32];
        F(params) p = F(read)(0, this_lane);
        F(codes)(0, this_lane, c);
        for (int i = 0; i < 32; i++) {
            check_code((float)c[i], TEXT(F(codes)));
            (void)F(value)((float)c[i], p, i);
        }
    }
}

static void JOIN(check, FORMAT)(void) {
    const uint32_t *words;
    size_t n;
    if (qdq_format_words(TEXT(FORMAT), &words, &n) != QDQ_OK) {
        fprintf(stderr, "check_formats: %s\n", qdq_error_message());
        exit(1);
    }
    begin(TEXT(FORMAT), F(LANES), F(HEADS), F(BYTES), F(SHARED));
    float x[32 * F(LANES)], m[32 * F(LANES)];
    for (int trial = 0; trial < TRIALS; trial++) {
        for (int i = 0; i < 32 * F(LANES); i++) {
            x[i] = number();
            m[i] = abs_(number());
        }
        if (F(IMPORTANCE) < 2) {
            F(encode)(x, m, false);
            F(pack)(0, 0, 0);
            F(decode)();
        }
        if (F(IMPORTANCE) > 0) {
            F(encode)(x, m, true);
            F(pack)(0, 0, 0);
            F(decode)();
        }
        for (int k = 0; k < F(BYTES); k++) block[k] = (uint8_t)next();
        F(decode)();
    }
    check_written();
}
