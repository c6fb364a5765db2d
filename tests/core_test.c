/* The core on the CPU: golden vectors, the prior art's tests, special values, lengths, alignment, threads, the API. */
#include "support.h"

#include <math.h>

#include "base/format.h"
#include "base/source.h"

static qdq_format format_named(const char *name) {
    qdq_format f = qdq_format_by_name(name);
    assert_int_not_equal(f, QDQ_FORMAT_NONE);
    return f;
}

static qdq_format_info describe(qdq_format f) {
    qdq_format_info info = {.size = sizeof info};
    assert_ok(qdq_format_describe(f, &info));
    return info;
}

/* ---- An oracle for the two first formats, written apart from the dialect ---- */

static float through_f16(float x) {
    float a = fabsf(x), r;
    if (isnan(x))
        r = float_of(0x7fc00000u);
    else if (a < 0x1p-14f)
        r = nearbyintf(a * 0x1p24f) * 0x1p-24f;
    else if (a >= 65520.0f)
        r = INFINITY;
    else {
        int e;
        float m = frexpf(a, &e);
        r = ldexpf(nearbyintf(m * 2048.0f), e - 11);
    }
    return copysignf(r, x);
}

static float cast_to(float v, float low, float high) {
    if (isnan(v)) return 0;
    return truncf(fminf(fmaxf(v, low), high)) + 0.0f;
}

static void oracle_q4_0(const float *x, float *y) {
    float amax = 0, max = 0;
    for (int i = 0; i < 32; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    float d = max / -8.0f, id = d != 0 ? 1.0f / d : 0.0f;
    for (int i = 0; i < 32; i++) y[i] = (cast_to(x[i] * id + 8.5f, 0, 15) - 8) * through_f16(d);
}

static void oracle_q8_0(const float *x, float *y) {
    float amax = 0;
    for (int i = 0; i < 32; i++)
        if (fabsf(x[i]) > amax) amax = fabsf(x[i]);
    float d = amax / 127.0f, id = d != 0 ? 1.0f / d : 0.0f;
    for (int i = 0; i < 32; i++) y[i] = cast_to(roundf(x[i] * id), -128, 127) * through_f16(d);
}

static void check_against_oracles(const float *x, size_t n, const char *what) {
    float *y = malloc(n * 4), *expected = malloc(n * 4);
    for (int k = 0; k < 2; k++) {
        assert_ok(qdq_roundtrip(format_named(k ? "q8_0" : "q4_0"), x, y, n));
        for (size_t b = 0; b < n; b += 32) (k ? oracle_q8_0 : oracle_q4_0)(x + b, expected + b);
        assert_same_floats(y, expected, n, what);
    }
    free(y);
    free(expected);
}

/* ---- The prior art's tests ---- */

static void test_ramp(void **state) {
    float x[32];
    for (int i = 0; i < 32; i++) x[i] = ((float)i - 15.5f) * 0.137f;
    check_against_oracles(x, 32, "ramp");
}

static void test_sines(void **state) {
    float x[256];
    for (int b = 0; b < 8; b++)
        for (int i = 0; i < 32; i++)
            x[32 * b + i] = sinf((float)i * 17.0f + (float)b * 31.0f) * ((float)b + 1.0f) * 0.5f;
    check_against_oracles(x, 256, "sines");
}

static void test_zeros(void **state) {
    float x[32] = {0}, y[32];
    check_against_oracles(x, 32, "zeros");
    assert_ok(qdq_roundtrip(format_named("q4_0"), x, y, 32));
    for (int i = 0; i < 32; i++) assert_int_equal(bits_of(y[i]), 0x80000000u); /* 0 times a scale of 0 / -8 */
}

static void test_outlier(void **state) {
    float x[32] = {0};
    x[7] = 5.25f;
    check_against_oracles(x, 32, "one outlier");
    for (int i = 0; i < 32; i++) x[i] = ((float)i - 15.5f) * 0.05f;
    x[3] = -2.0f;
    check_against_oracles(x, 32, "a negative largest element");
}

static void test_half_steps(void **state) {
    float x[32] = {1.0f, 0.5f / 127.0f, -0.5f / 127.0f}, y[32];
    check_against_oracles(x, 32, "half steps");
    assert_ok(qdq_roundtrip(format_named("q8_0"), x, y, 32));
    assert_true(y[1] > 0 && y[2] < 0); /* away from zero */
}

/* Where the prior art's GPU kernels were wrong. */
static void test_first_of_equals(void **state) {
    float x[32] = {0}, y[32];
    x[16] = 3.0f;
    x[1] = -3.0f;
    check_against_oracles(x, 32, "a tie");
    assert_ok(qdq_roundtrip(format_named("q4_0"), x, y, 32));
    assert_true(y[1] == -3.0f && y[16] < 3.0f); /* index 1 sets the scale: its code is exact, the other's is cut */
}

static void test_below_one_half(void **state) {
    float x[32] = {127.0f, 0.49999997f, -0.49999997f}, y[32];
    assert_ok(qdq_roundtrip(format_named("q8_0"), x, y, 32));
    assert_int_equal(bits_of(y[1]), 0);
    assert_int_equal(bits_of(y[2]), 0);
    check_against_oracles(x, 32, "0.49999997");
}

/* ---- Golden vectors ---- */

/* values.txt: "NAME h0 … h23", the hash of each row of 1,024 values. */
static void check_values(const char *name, const float *values) {
    size_t size = 0;
    char *text = read_data("values.txt", &size);
    assert_non_null(text);
    text = realloc(text, size + 1);
    text[size] = '\0';
    char key[64];
    snprintf(key, sizeof key, "\n%s ", name);
    char *at = strstr(text, key);
    if (!at) fail_msg("values.txt has no %s", name);
    at += strlen(key);
    for (int row = 0; row < 24; row++) {
        uint64_t expected = strtoull(at, &at, 16);
        if (hash_bytes(values + 1024 * row, 4096) != expected) fail_msg("%s: values of row %d differ", name, row);
    }
    free(text);
}

static void check_golden(const char *suffix, const float *importance) {
    size_t size = 0;
    float *x = read_data("input.f32", &size);
    assert_non_null(x);
    uint64_t n = size / 4;
    qdq_device *device;
    qdq_encoder *encoder;
    qdq_buffer *in, *out, *weights = NULL;
    assert_ok(qdq_device_open("cpu", &device));
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_buffer_wrap(device, QDQ_F32, 2, (uint64_t[]){n / 1024, 1024}, x, size, &in));
    if (importance)
        assert_ok(
            qdq_buffer_wrap(device, QDQ_F32, 1, (uint64_t[]){1024}, (void *)(uintptr_t)importance, 4096, &weights));
    qdq_options options = {.size = sizeof options, .importance = weights};
    for (qdq_format f = 0; f < qdq_block_format_count(); f++) {
        qdq_format_info info = describe(f);
        char name[64];
        snprintf(name, sizeof name, "%s%s.blk", info.name, suffix);
        size_t block_size = 0;
        unsigned char *expected = read_data(name, &block_size);
        if (!expected && info.importance == 2 && !importance) continue; /* the reference refuses, too */
        if (!expected) fail_msg("no golden blocks %s", name);
        assert_int_equal(block_size, qdq_format_bytes(f, n));
        unsigned char *blocks = calloc(1, block_size);
        float *y = calloc(n, 4), *z = calloc(n, 4);
        assert_ok(qdq_buffer_wrap(device, QDQ_U8, 1, (uint64_t[]){block_size}, blocks, block_size, &out));
        assert_ok(qdq_encode_quantize(encoder, f, in, out, &options));
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        qdq_buffer_free(out);
        for (size_t i = 0; i < block_size; i++)
            if (blocks[i] != expected[i])
                fail_msg("%s: byte %zu (block %zu) is %02x, expected %02x", name, i, i / info.block_bytes, blocks[i],
                         expected[i]);
        name[strlen(name) - 4] = '\0';
        assert_ok(qdq_dequantize(f, blocks, y, n));
        check_values(name, y);
        assert_ok(qdq_buffer_wrap(device, QDQ_F32, 2, (uint64_t[]){n / 1024, 1024}, z, size, &out));
        assert_ok(qdq_encode_roundtrip(encoder, f, in, out, &options));
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        qdq_buffer_free(out);
        assert_same_floats(z, y, n, name);
        free(expected);
        free(blocks);
        free(y);
        free(z);
    }
    qdq_buffer_free(weights);
    qdq_buffer_free(in);
    qdq_encoder_free(encoder);
    qdq_device_close(device);
    free(x);
}

static void test_golden(void **state) { check_golden("", NULL); }

static void test_golden_importance(void **state) {
    size_t size = 0;
    float *importance = read_data("imatrix.f32", &size);
    assert_non_null(importance);
    check_golden(".imatrix", importance);
    free(importance);
}

/* overflow.txt: "NAME h", the hash of the blocks of weights and importances so large that sums overflow. */
static void check_overflow(const char *suffix, const float *importance) {
    size_t size = 0, text_size = 0;
    float *x = read_data("overflow.f32", &size);
    char *text = read_data("overflow.txt", &text_size);
    assert_true(x && text);
    text = realloc(text, text_size + 1);
    text[text_size] = '\0';
    qdq_device *device;
    qdq_encoder *encoder;
    qdq_buffer *in, *out, *weights = NULL;
    assert_ok(qdq_device_open("cpu", &device));
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_buffer_wrap(device, QDQ_F32, 2, (uint64_t[]){size / 4096, 1024}, x, size, &in));
    if (importance)
        assert_ok(
            qdq_buffer_wrap(device, QDQ_F32, 1, (uint64_t[]){1024}, (void *)(uintptr_t)importance, 4096, &weights));
    qdq_options options = {.size = sizeof options, .importance = weights};
    for (qdq_format f = 0; f < qdq_block_format_count(); f++) {
        qdq_format_info info = describe(f);
        if (info.importance == 2 && !importance) continue;
        char key[64];
        snprintf(key, sizeof key, "\n%s%s ", info.name, suffix);
        const char *at = strstr(text, key);
        if (!at) fail_msg("overflow.txt has no %s", key + 1);
        uint64_t bytes = qdq_format_bytes(f, size / 4);
        unsigned char *blocks = calloc(1, bytes);
        assert_ok(qdq_buffer_wrap(device, QDQ_U8, 1, &bytes, blocks, bytes, &out));
        assert_ok(qdq_encode_quantize(encoder, f, in, out, &options));
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        qdq_buffer_free(out);
        if (hash_bytes(blocks, bytes) != strtoull(at + strlen(key), NULL, 16)) fail_msg("%s: other blocks", key + 1);
        free(blocks);
    }
    qdq_buffer_free(weights);
    qdq_buffer_free(in);
    qdq_encoder_free(encoder);
    qdq_device_close(device);
    free(text);
    free(x);
}

static void test_overflow(void **state) { check_overflow("", NULL); }

static void test_overflow_importance(void **state) {
    size_t size = 0;
    float *importance = read_data("overflow_imatrix.f32", &size);
    assert_non_null(importance);
    check_overflow(".imatrix", importance);
    free(importance);
}

/* ---- Special values ---- */

static void test_special_values(void **state) {
    static const uint32_t specials[] = {0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00800000,
                                        0x00ffffff, 0x01000000, 0x33000000, 0x33000001, 0x38800000, 0x477fefff,
                                        0x477ff000, 0x49000000, 0x4b7fffff, 0x7f7fffff, 0xff7fffff, 0x7f800000,
                                        0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0x3f800000, 0x3effffff};
    enum { N = sizeof specials / sizeof specials[0] };
    uint64_t seed = 11;
    float x[32 * 64];
    for (int round = 0; round < 200; round++) {
        for (int b = 0; b < 64; b++) {
            float scale = ldexpf(1.0f, (int)(next_random(&seed) % 250) - 140);
            int kinds = (int)(next_random(&seed) % 4);
            for (int i = 0; i < 32; i++) {
                float *at = &x[32 * b + i];
                *at = random_float(&seed) * scale;
                if (kinds == 1 && next_random(&seed) % 8 == 0) *at = float_of(specials[next_random(&seed) % N]);
                if (kinds == 2) *at = float_of(specials[next_random(&seed) % N]);
                if (kinds == 3) *at = next_random(&seed) & 1 ? scale : -scale;
            }
        }
        float y[32 * 64], expected[32 * 64];
        for (int k = 0; k < 2; k++) {
            assert_ok(qdq_roundtrip(format_named(k ? "q8_0" : "q4_0"), x, y, 32 * 64));
            for (int b = 0; b < 64; b++) (k ? oracle_q8_0 : oracle_q4_0)(x + 32 * b, expected + 32 * b);
            for (int i = 0; i < 32 * 64; i++) {
                /* 0 times an infinite scale: the contract's NaN is x86's */
                if (isnan(expected[i])) expected[i] = float_of(0xffc00000u);
            }
            assert_same_floats(y, expected, 32 * 64, k ? "q8_0 specials" : "q4_0 specials");
        }
    }
}

/* Every 16-bit scale, NaNs included, decodes alike in every tier: compared with the portable one. */
static void test_dequantize_any_bytes(void **state) {
    uint64_t seed = 5;
    uint32_t mask = qdq_cpu_mask(UINT32_MAX);
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_format_info info = describe(f);
        uint64_t blocks = 8192, n = blocks * info.block_elements;
        unsigned char *bytes = malloc(blocks * info.block_bytes);
        float *y = malloc(n * 4), *reference = malloc(n * 4);
        for (uint64_t i = 0; i < blocks * info.block_bytes; i++) bytes[i] = (unsigned char)(next_random(&seed) >> 32);
        qdq_cpu_mask(1);
        assert_ok(qdq_dequantize(f, bytes, reference, n));
        for (uint32_t m = 3; m < 16; m = 2 * m + 1) {
            qdq_cpu_mask(m);
            assert_ok(qdq_dequantize(f, bytes, y, n));
            assert_same_floats(y, reference, n, info.name);
        }
        free(bytes);
        free(y);
        free(reference);
    }
    qdq_cpu_mask(mask);
}

/* ---- Invariants, for every format ---- */

static void fill(float *x, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) {
        if (i % 256 == 0) next_random(&seed);
        float scale = ldexpf(1.0f, (int)(seed >> 40 & 15) - 8);
        x[i] = random_float(&seed) * random_float(&seed) * scale;
    }
}

static bool usable(qdq_format f) { return describe(f).importance != 2; }

/* Any length and alignment, guard bytes before and behind, in place: the bits of one aligned run. */
static void test_lengths_and_alignment(void **state) {
    enum { MAX = 3 * 1024 + 512, GUARD = 64 };
    float *x = malloc(MAX * 4), *whole = malloc(MAX * 4);
    unsigned char *room_in = malloc(MAX * 4 + 2 * GUARD), *room = malloc(MAX * 4 + 2 * GUARD);
    fill(x, MAX, 3);
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        if (!usable(f)) continue;
        qdq_format_info info = describe(f);
        assert_ok(qdq_roundtrip(f, x, whole, MAX));
        for (size_t n = info.block_elements; n <= MAX; n += info.block_elements) {
            size_t shift = n / info.block_elements * 5 % 31;
            memset(room, 0xa5, MAX * 4 + 2 * GUARD);
            memcpy(room_in + shift, x, n * 4);
            float *out = (float *)(void *)(room + GUARD / 2 + shift % 7);
            assert_ok(qdq_roundtrip(f, (const float *)(const void *)(room_in + shift), out, n));
            assert_memory_equal(out, whole, n * 4);
            for (unsigned char *p = room; p < (unsigned char *)out; p++) assert_int_equal(*p, 0xa5);
            for (unsigned char *p = (unsigned char *)out + n * 4; p < room + MAX * 4 + 2 * GUARD; p++)
                assert_int_equal(*p, 0xa5);
            float *same = (float *)(void *)(room_in + shift);
            assert_ok(qdq_roundtrip(f, same, same, n));
            assert_memory_equal(same, whole, n * 4);
        }
    }
    free(x);
    free(whole);
    free(room_in);
    free(room);
}

/* Arrays over the cache take another way through the code. */
static void test_large_arrays(void **state) {
    const size_t n = ((size_t)9 << 20) + 1024 * 3 + 256;
    float *x = malloc(n * 4), *y = malloc(n * 4), *z = malloc(n * 4);
    fill(x, n, 8);
    for (qdq_format f = 0; f < qdq_format_count() && f < 5; f++) {
        assert_ok(qdq_roundtrip(f, x, y, n));
        for (size_t i = 0; i < n; i += 65536) {
            size_t m = n - i < 65536 ? n - i : 65536;
            assert_ok(qdq_roundtrip(f, x + i, z + i, m));
        }
        assert_memory_equal(y, z, n * 4);
    }
    free(x);
    free(y);
    free(z);
}

typedef struct results {
    qdq_error_sums error[64];
    qdq_sensitivity_sums sensitivity;
    uint64_t values; /* hash */
} results;

static void run_on(qdq_device *device, float *x, float *g, size_t n, size_t chunk, results *r) {
    qdq_encoder *encoder;
    float *y = malloc(n * 4);
    qdq_format formats[64];
    uint32_t n_formats = 0;
    for (qdq_format f = 0; f < qdq_format_count(); f++)
        if (usable(f)) formats[n_formats++] = f;
    memset(r, 0, sizeof *r);
    assert_ok(qdq_encoder_create(device, &encoder));
    for (size_t at = 0; at < n; at += chunk) {
        uint64_t m = n - at < chunk ? n - at : chunk;
        qdq_buffer *in, *grad, *out;
        assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &m, x + at, m * 4, &in));
        assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &m, g + at, m * 4, &grad));
        assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &m, y + at, m * 4, &out));
        assert_ok(qdq_encode_error(encoder, n_formats, formats, in, r->error, NULL));
        assert_ok(qdq_encode_sensitivity(encoder, format_named("q4_0"), format_named("q8_0"), in, grad, &r->sensitivity,
                                         NULL));
        assert_ok(qdq_encode_roundtrip(encoder, format_named("q5_1"), in, out, NULL));
        qdq_buffer_free(in); /* the encoder keeps what it needs */
        qdq_buffer_free(grad);
        qdq_buffer_free(out);
    }
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    r->values = hash_bytes(y, n * 4);
    qdq_encoder_free(encoder);
    free(y);
}

/* The same bits at every number of threads, every chunking and every tier. */
static void test_independence(void **state) {
    const size_t n = 1024 * 71 + 512;
    float *x = malloc(n * 4), *g = malloc(n * 4);
    fill(x, n, 21);
    fill(g, n, 22);
    results first, other;
    uint32_t mask = qdq_cpu_mask(1);
    bool have = false;
    const char *tier = "";
    for (uint32_t m = 1; m < 16; m = 2 * m + 1) {
        qdq_cpu_mask(m);
        if (strcmp(tier, qdq_cpu_tier()) == 0) continue; /* this machine has no stronger one */
        tier = qdq_cpu_tier();
        static const int threads[] = {1, 2, 7};
        for (int t = 0; t < 3; t++) {
            qdq_device *device;
            assert_ok(qdq_device_open_threads("cpu", threads[t], &device));
            static const size_t chunk[] = {1024 * 1000, 1024, 1024 * 20};
            for (int c = 0; c < 3; c++) {
                run_on(device, x, g, n, chunk[c], have ? &other : &first);
                if (have) assert_memory_equal(&first, &other, sizeof first);
                have = true;
            }
            qdq_device_close(device);
        }
    }
    qdq_cpu_mask(mask);
    free(x);
    free(g);
}

/* The sums' stated bound, against binary64: 1e-6 of the sum of absolute terms. */
static void test_sums(void **state) {
    const size_t n = 1024 * 40 + 256;
    float *x = malloc(n * 4), *g = malloc(n * 4), *low = malloc(n * 4), *high = malloc(n * 4);
    fill(x, n, 31);
    fill(g, n, 32);
    qdq_format a = format_named("q4_0"), b = format_named("q8_0");
    assert_ok(qdq_roundtrip(a, x, low, n));
    assert_ok(qdq_roundtrip(b, x, high, n));
    for (int source = 0; source < 2; source++) {
        const float *other = source ? x : high;
        double sum = 0, absolute = 0, squared = 0, err2 = 0, ww = 0, qq = 0, wq = 0, max = 0;
        for (size_t i = 0; i < n; i++) {
            double d = (double)g[i] * ((double)low[i] - (double)other[i]), e = (double)x[i] - (double)low[i];
            sum += d;
            absolute += fabs(d);
            squared += d * d;
            err2 += e * e;
            ww += (double)x[i] * (double)x[i];
            qq += (double)low[i] * (double)low[i];
            wq += (double)x[i] * (double)low[i];
            if (fabsf(x[i] - low[i]) > (float)max) max = (double)fabsf(x[i] - low[i]);
        }
        qdq_sensitivity_sums s = {0};
        assert_ok(qdq_sensitivity(a, source ? QDQ_FORMAT_SOURCE : b, x, g, n, &s));
        assert_true(fabs(s.signed_sum - sum) <= 1e-6 * absolute);
        assert_true(fabs(s.absolute - absolute) <= 1e-6 * absolute);
        assert_true(fabs(s.squared - squared) <= 1e-6 * squared);
        assert_int_equal(s.count, n);
        qdq_error_sums e = {0};
        assert_ok(qdq_error(a, x, n, &e));
        assert_true(fabs(e.err2 - err2) <= 1e-6 * err2);
        assert_true(fabs(e.ww - ww) <= 1e-6 * ww);
        assert_true(fabs(e.qq - qq) <= 1e-6 * qq);
        assert_true((double)e.max_abs == max);
        qdq_error_stats stats = {.size = sizeof stats};
        assert_ok(qdq_error_statistics(&e, &stats));
        assert_true(fabs(stats.rmse - sqrt(err2 / (double)n)) <= 1e-6 * stats.rmse);
        assert_true(fabs(stats.cosine - wq / sqrt(ww * qq)) <= 1e-6 && stats.cosine <= 1);
        assert_true(stats.cosine > 0.9 && stats.snr_db > 10);
    }
    free(x);
    free(g);
    free(low);
    free(high);
}

static uint16_t half_bits(float x) { /* exact for the values given: f16 already */
    float a = fabsf(x);
    uint32_t u = bits_of(a);
    uint32_t h = a < 0x1p-14f ? (uint32_t)(a * 0x1p24f) : (u - 0x38000000u) >> 13;
    return (uint16_t)(h | (bits_of(x) >> 16 & 0x8000u));
}

/* f16 and bf16 inputs give the bits of the same values as f32. */
static void test_source_dtypes(void **state) {
    enum { N = 1024 * 5 + 256 };
    float *x = malloc(N * 4), *y = malloc(N * 4), *z = malloc(N * 4);
    unsigned char *half = malloc(N * 2 + 1);
    fill(x, N, 41);
    qdq_device *device;
    qdq_encoder *encoder;
    assert_ok(qdq_device_open("cpu", &device));
    assert_ok(qdq_encoder_create(device, &encoder));
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < N; i++) {
            x[i] = kind ? float_of(bits_of(x[i]) & 0xffff0000u) : through_f16(x[i]);
            uint16_t h = kind ? (uint16_t)(bits_of(x[i]) >> 16) : half_bits(x[i]);
            memcpy(half + 1 + 2 * i, &h, 2); /* misaligned */
        }
        for (qdq_format f = 0; f < qdq_format_count(); f++) {
            if (!usable(f)) continue;
            qdq_buffer *in, *out;
            uint64_t n = N;
            assert_ok(qdq_buffer_wrap(device, kind ? QDQ_BF16 : QDQ_F16, 1, &n, half + 1, N * 2, &in));
            assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &n, z, N * 4, &out));
            assert_ok(qdq_encode_roundtrip(encoder, f, in, out, NULL));
            assert_ok(qdq_encoder_commit_and_wait(encoder));
            assert_ok(qdq_roundtrip(f, x, y, N));
            assert_same_floats(z, y, N, kind ? "bf16" : "f16");
            qdq_buffer_free(in);
            qdq_buffer_free(out);
        }
    }
    qdq_encoder_free(encoder);
    qdq_device_close(device);
    free(x);
    free(y);
    free(z);
    free(half);
}

/* ---- The API ---- */

static void test_refusals(void **state) {
    qdq_device *device, *second;
    qdq_encoder *encoder;
    qdq_buffer *b32, *b64, *b33, *other, *bytes, *foreign, *slice;
    assert_ok(qdq_device_open("cpu", &device));
    assert_ok(qdq_device_open("cpu", &second));
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_buffer_create(device, QDQ_F32, 1, (uint64_t[]){32}, &b32));
    assert_ok(qdq_buffer_create(device, QDQ_F32, 2, (uint64_t[]){2, 32}, &b64));
    assert_ok(qdq_buffer_create(device, QDQ_F32, 1, (uint64_t[]){33}, &b33));
    assert_ok(qdq_buffer_create(device, QDQ_U8, 1, (uint64_t[]){32}, &other));
    assert_ok(qdq_buffer_create(device, QDQ_U8, 1, (uint64_t[]){18}, &bytes));
    assert_ok(qdq_buffer_create(second, QDQ_F32, 1, (uint64_t[]){32}, &foreign));
    qdq_device_close(second); /* the buffer keeps it alive */
    qdq_format q4 = format_named("q4_0"), q8 = format_named("q8_0");
    const qdq_status bad = QDQ_INVALID_ARGUMENT;
    assert_refused(qdq_encode_roundtrip(encoder, q4, b33, b33, NULL), bad,
                   "qdq_q4_0_f32: input element count (33) must be divisible by block size (32)");
    assert_refused(qdq_encode_roundtrip(encoder, q8, b32, b64, NULL), bad,
                   "qdq_q8_0_f32: output element count 64 != input element count 32");
    assert_refused(qdq_encode_roundtrip(encoder, q4, b32, other, NULL), bad, "got input=f32 output=u8");
    assert_refused(qdq_encode_roundtrip(encoder, q4, bytes, b32, NULL), bad, "divisible by block size");
    assert_refused(qdq_encode_roundtrip(encoder, 999, b32, b32, NULL), bad, "no format has the number 999");
    assert_refused(qdq_encode_roundtrip(encoder, q4, foreign, b32, NULL), bad, "another device");
    assert_refused(qdq_encode_roundtrip(encoder, q4, b32, NULL, NULL), bad, "no output buffer");
    assert_refused(qdq_encode_roundtrip(NULL, q4, b32, b32, NULL), bad, "no encoder");
    assert_refused(qdq_encode_quantize(encoder, q8, b32, bytes, NULL), bad, "output has 18 bytes; 32 elements make 34");
    assert_refused(qdq_encode_dequantize(encoder, q8, bytes, b32), bad, "input has 18 bytes");
    assert_refused(qdq_encode_sensitivity(encoder, q4, q8, b32, b64, NULL, NULL), bad, "no place for the sums");
    qdq_sensitivity_sums sums = {0};
    assert_refused(qdq_encode_sensitivity(encoder, q4, q8, b32, b64, &sums, NULL), bad,
                   "gradient element count 64 != input element count 32");
    assert_refused(qdq_encode_error(encoder, 0, &q4, b32, NULL, NULL), bad, "0 formats");
    assert_ok(qdq_buffer_slice(b64, 16, 32, &slice));
    assert_refused(qdq_encode_roundtrip(encoder, q4, b64, slice, NULL), bad, "output element count 32");
    qdq_buffer *front;
    assert_ok(qdq_buffer_slice(b64, 0, 32, &front));
    assert_refused(qdq_encode_roundtrip(encoder, q4, front, slice, NULL), bad, "overlap");
    qdq_buffer_free(front);
    qdq_buffer_free(slice);
    assert_refused(qdq_buffer_slice(b64, 33, 32, &slice), bad, "32 elements from 33 of a buffer of 64");
    assert_refused(qdq_buffer_create(device, QDQ_F32, 1, (uint64_t[]){0}, &slice), bad, "extent 0 of the shape is 0");
    assert_refused(qdq_buffer_create(device, QDQ_F32, 2, (uint64_t[]){1ull << 40, 1ull << 40}, &slice), bad, "2^64");
    assert_refused(qdq_buffer_create(device, QDQ_F32, 1, (uint64_t[]){1ull << 55}, &slice), QDQ_OUT_OF_MEMORY,
                   "no memory");
    float few[4];
    assert_refused(qdq_buffer_wrap(device, QDQ_F32, 1, (uint64_t[]){32}, few, 16, &slice), bad, "16 bytes of memory");
    assert_refused(qdq_buffer_read(b32, 120, few, 16), bad, "16 bytes at offset 120 of a buffer of 128");
    assert_refused(qdq_encoder_wait(encoder), bad, "nothing is committed");
    assert_ok(qdq_encode_roundtrip(encoder, q4, b32, b32, NULL));
    assert_ok(qdq_encoder_commit(encoder));
    assert_refused(qdq_encode_roundtrip(encoder, q4, b32, b32, NULL), bad, "committed");
    assert_refused(qdq_encoder_commit(encoder), bad, "already committed");
    qdq_buffer_free(b32);
    assert_ok(qdq_encoder_wait(encoder));
    assert_refused(qdq_device_open("gpu", &second), bad, "no device is called 'gpu'");
    assert_refused(qdq_device_open("cpu:1", &second), QDQ_DEVICE_ERROR, "numbered from 0");
    assert_refused(qdq_device_open("cpu:x", &second), bad, "a number must follow the colon");
    float x[33] = {0};
    assert_refused(qdq_roundtrip(q4, x, x, 33), bad, "must be divisible by block size (32)");
    assert_refused(qdq_roundtrip(q4, x, x, 0), bad, "input must have at least one element");
    assert_refused(qdq_roundtrip(q4, NULL, x, 32), bad, "NULL");
    assert_refused(qdq_roundtrip(q4, x, x, UINT64_MAX - 31), bad, "more than memory can hold");
    qdq_buffer_free(b64);
    qdq_buffer_free(b33);
    qdq_buffer_free(other);
    qdq_buffer_free(bytes);
    qdq_device *home = device;
    qdq_encoder_free(encoder);
    qdq_device_close(home);
    qdq_buffer_free(foreign);
}

static void test_kernel_names(void **state) {
    qdq_device *device;
    assert_ok(qdq_device_open("cpu", &device));
    static const char *const good[] = {"qdq_q4_0_f32", "quantize_q8_0_bf16", "dequantize_q5_1_f32", "error_q4_1_f16",
                                       "sensitivity_q4_0_f32"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) assert_ok(qdq_device_build_kernel(device, good[i]));
    static const char *const wrong[] = {
        "", "qdq", "qdq_q4_0", "qdq_q9_9_f32", "qdq_q4_0_f64", "dequantize_q4_0_u8", "x_q4_0_f32", "qdq__f32", "_"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_refused(qdq_device_build_kernel(device, wrong[i]), QDQ_INVALID_ARGUMENT, "no kernel is called");
    qdq_device_close(device);
}

/* f32, f16 and bf16: each element by itself, any number of them. */
static void test_sources_as_formats(void **state) {
    enum { N = 3 * QDQ_TILE + 77 };
    static float x[N], y[N], expected[N];
    static unsigned char blocks[4 * N], stored[4 * N];
    uint64_t seed = 77;
    for (size_t i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)(next_random(&seed) >> 32); /* NaNs, infinities and subnormals among them */
        memcpy(&x[i], &bits, sizeof bits);
        if (i % 3 == 0) x[i] = random_float(&seed);
        if (i % 5 == 0) x[i] = ldexpf(random_float(&seed), -20);
    }
    const qdq_source *source;
    for (uint32_t s = 0; (source = qdq_source_at(s)) != NULL; s++) {
        qdq_format f = format_named(source->name);
        qdq_format_info info = describe(f);
        assert_int_equal(info.block_elements, 1);
        assert_int_equal(info.block_bytes, source->bytes);
        assert_int_equal(info.importance, QDQ_IMPORTANCE_UNUSED);
        assert_true(f >= qdq_block_format_count());
        for (size_t n = 1; n <= N; n = n < 70 ? n + 1 : n + 1000) {
            qdq_source_store(source, x, stored, n);
            qdq_source_load(source, stored, expected, n);
            memset(blocks, 0xee, sizeof blocks);
            assert_ok(qdq_quantize(f, x, blocks, n));
            assert_memory_equal(blocks, stored, n * source->bytes);
            assert_int_equal(blocks[n * source->bytes], 0xee);
            assert_ok(qdq_roundtrip(f, x, y, n));
            assert_memory_equal(y, expected, n * 4);
            assert_ok(qdq_dequantize(f, stored, y, n));
            assert_memory_equal(y, expected, n * 4);
        }
    }
    qdq_error_sums sums = {0}, exact = {0};
    qdq_sensitivity_sums scores = {0};
    const float some[4] = {1.0f, 1.0f + 0x1p-9f, 1.0f + 0x1p-12f, -3.0f}, gradient[4] = {2.0f, 4.0f, -8.0f, 1.0f};
    assert_ok(qdq_error(format_named("f32"), some, 4, &exact));
    assert_true(exact.err2 == 0.0 && exact.count == 4);
    assert_ok(qdq_error(format_named("bf16"), some, 4, &sums));
    assert_true(sums.err2 == 0x1p-18 + 0x1p-24 && sums.max_abs == 0x1p-9);
    assert_ok(qdq_sensitivity(format_named("bf16"), format_named("f16"), some, gradient, 4, &scores));
    assert_true(scores.signed_sum == -4 * 0x1p-9);
}

static void test_formats(void **state) {
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_format_info info = describe(f);
        assert_int_equal(qdq_format_by_name(info.name), f);
        assert_int_equal(qdq_format_by_ggml_type(info.ggml_type), f);
        assert_int_equal(qdq_format_bytes(f, info.block_elements * 3ull), info.block_bytes * 3ull);
        if (info.block_elements > 1) assert_int_equal(qdq_format_bytes(f, info.block_elements * 3ull + 1), 0);
    }
    assert_int_equal(qdq_format_by_name("Q4_0"), qdq_format_by_name("q4_0"));
    assert_int_equal(qdq_format_by_name("q4"), QDQ_FORMAT_NONE);
    assert_int_equal(qdq_format_by_name(NULL), QDQ_FORMAT_NONE);
    assert_string_equal(qdq_version(), "0.1.0");
    qdq_device_info info = {.size = sizeof info};
    bool cpu = false;
    for (uint32_t i = 0; qdq_device_list(i, &info) == QDQ_OK; i++) cpu |= strcmp(info.name, "cpu") == 0;
    assert_true(cpu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ramp),
        cmocka_unit_test(test_sines),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_outlier),
        cmocka_unit_test(test_half_steps),
        cmocka_unit_test(test_first_of_equals),
        cmocka_unit_test(test_below_one_half),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_golden_importance),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_overflow_importance),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_dequantize_any_bytes),
        cmocka_unit_test(test_lengths_and_alignment),
        cmocka_unit_test(test_large_arrays),
        cmocka_unit_test(test_independence),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_source_dtypes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_kernel_names),
        cmocka_unit_test(test_sources_as_formats),
        cmocka_unit_test(test_formats),
    };
    printf("CPU tier: %s\n", qdq_cpu_tier());
    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
