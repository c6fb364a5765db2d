/* A device against the CPU, bit for bit: every operation and format, any length, any alignment, in place, cut anywhere,
 * from two threads, and used wrongly. The device is the program's argument, or QDQ_TEST_DEVICE, or "cpu"; a second
 * argument, a pattern, chooses tests, or with a - before it leaves them out. */
#include "support.h"

#include <math.h>
#include <pthread.h>

#include "backends/backend.h"
#include "base/platform.h"
#include "backends/vulkan/vulkan_proof.h"
#include "api/device.h"
#include "base/error.h"
#include "base/format.h"

static const char *device_name = "cpu";
static qdq_device *device, *cpu;
/* A device in software, whose driver compiles a kernel for a second or more. How an element type is loaded and written,
 * and how pairs of formats are scored, is the same text for all formats, so there every fourth format has it all. */
static bool compiles_slowly;
static bool is_look_alike; /* of Metal (fake_metal/) */
static bool has_it_all(qdq_format f) { return !compiles_slowly || f % 4 == 0; }

static qdq_dtype dtype_for(qdq_format f, uint64_t turn) { return has_it_all(f) ? (qdq_dtype)(turn % 3) : QDQ_F32; }

static qdq_format_info describe(qdq_format f) {
    qdq_format_info info = {.size = sizeof info};
    assert_ok(qdq_format_describe(f, &info));
    return info;
}

/* The device has the format's kernels, and it needs no importance matrix, or gets one. */
static bool runs(qdq_format f, bool with_importance) {
    if (!with_importance && describe(f).importance == 2) return false;
    char kernel[64];
    snprintf(kernel, sizeof kernel, "dequantize_%s_f32", describe(f).name);
    return qdq_device_build_kernel(device, kernel) != QDQ_UNSUPPORTED;
}

/* ---- Inputs ---- */

enum { MOST = 40 * QDQ_TILE };

/* Every tile another character: plain, heavy tail, ties, half-way cases, zeros of both signs, one outlier, wide
 * exponents, subnormals, numbers of 16 bits; the last kind, if asked for, has infinities and NaNs. */
static void make_input(float *x, size_t n, uint64_t seed, bool specials) {
    static const float odd[] = {INFINITY, -INFINITY, NAN, -NAN, 3.4e38f, -3.4e38f, 1e-45f, -0.0f, 65504, 65520};
    for (size_t i = 0; i < n; i++) {
        float v = random_float(&seed);
        switch (i / QDQ_TILE % (specials ? 12 : 11)) {
        case 0: break;
        case 1: v = v * v * v * 30; break;
        case 2: v = (float)((int)(next_random(&seed) % 17) - 8) * 0.125f; break;
        case 3: v = (float)((int)(next_random(&seed) % 255) - 127) * 0.5f; break;
        case 4: v = next_random(&seed) % 3 ? v * 1e-3f : copysignf(0, v); break;
        case 5: v = i % 64 == 17 ? v * 1e6f : v; break;
        case 6: v = ldexpf(v, (int)(next_random(&seed) % 250) - 140); break;
        case 7: v = ldexpf(v, -126 - (int)(i / 32 % 23)); break;
        case 8: v = float_of(bits_of(v) & 0xffff0000u); break;
        case 9: v = copysignf(0, v); break;
        case 10: v = ldexpf(v, (int)(i / 32 % 32) * 4 - 30); break;
        case 11:
            if (next_random(&seed) % 40 == 0) v = odd[next_random(&seed) % (sizeof odd / sizeof odd[0])];
            break;
        }
        x[i] = v;
    }
}

/* n elements of a dtype out of floats: the upper halves, or halves of the same order of magnitude. */
static void narrow(qdq_dtype dtype, const float *x, void *out, size_t n) {
    uint16_t *half = out;
    if (dtype == QDQ_F32) memcpy(out, x, n * 4);
    for (size_t i = 0; i < n && dtype != QDQ_F32; i++) {
        uint32_t u = bits_of(x[i]);
        half[i] = (uint16_t)(u >> 16);
        if (dtype == QDQ_F16) half[i] = (uint16_t)((u >> 16 & 0x8000) | ((u >> 13) & 0x7fff));
    }
}

static qdq_buffer *make_buffer(qdq_device *d, qdq_dtype dtype, uint64_t n, const void *contents) {
    qdq_buffer *buffer;
    assert_ok(qdq_buffer_create(d, dtype, 1, &n, &buffer));
    if (contents) assert_ok(qdq_buffer_write(buffer, 0, contents, n * qdq_dtype_size(dtype)));
    return buffer;
}

/* ---- One case on one device ---- */

typedef struct test_case {
    qdq_format format, second; /* second: of error and sensitivity */
    qdq_dtype dtype, gradient_dtype;
    uint64_t n, row;
    uint64_t shift;          /* elements before the input; bytes before the blocks; elements before outputs */
    const float *importance; /* row of them, or NULL */
    bool in_place;
} test_case;

typedef struct outcome {
    float roundtrip[MOST], dequantized[MOST];
    unsigned char blocks[MOST * 4 + 64];
    qdq_error_sums error[2];
    qdq_sensitivity_sums scores, to_source;
} outcome;

static const unsigned char guard = 0xa5;

static qdq_buffer *part_of(qdq_buffer *whole, uint64_t first, uint64_t count) {
    qdq_buffer *part;
    assert_ok(qdq_buffer_slice(whole, first, count, &part));
    return part;
}

static void run_case(qdq_device *d, const test_case *c, const float *x, const float *g, outcome *o) {
    memset(o, 0, sizeof *o);
    uint64_t bytes = qdq_format_bytes(c->format, c->n), room = c->n + c->shift;
    unsigned char *source = malloc(room * 4), *gradient = malloc(room * 4), *fill = malloc(room * 4 + bytes + c->shift);
    memset(fill, guard, room * 4 + bytes + c->shift);
    memset(source, 0, room * 4);
    memset(gradient, 0, room * 4);
    narrow(c->dtype, x, source + c->shift * qdq_dtype_size(c->dtype), c->n);
    narrow(c->gradient_dtype, g, gradient + c->shift * qdq_dtype_size(c->gradient_dtype), c->n);

    qdq_buffer *inputs = make_buffer(d, c->dtype, room, source), *in = part_of(inputs, c->shift, c->n);
    qdq_buffer *gradients = make_buffer(d, c->gradient_dtype, room, gradient);
    qdq_buffer *gr = part_of(gradients, c->shift, c->n);
    qdq_buffer *outputs = c->in_place ? NULL : make_buffer(d, QDQ_F32, room, fill);
    qdq_buffer *out = c->in_place ? in : part_of(outputs, c->shift, c->n);
    qdq_buffer *again = make_buffer(d, QDQ_F32, room, fill), *deq = part_of(again, c->shift, c->n);
    qdq_buffer *packs = make_buffer(d, QDQ_U8, bytes + c->shift + 3, NULL);
    assert_ok(qdq_buffer_write(packs, 0, fill, bytes + c->shift));
    qdq_buffer *blocks = part_of(packs, c->shift, bytes);
    qdq_buffer *weights = c->importance ? make_buffer(d, QDQ_F32, c->row, c->importance) : NULL;
    qdq_options options = {.size = sizeof options, .importance = weights, .row = c->row};
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(d, &encoder));

    qdq_format formats[2] = {c->format, c->second};
    assert_ok(qdq_encode_quantize(encoder, c->format, in, blocks, &options));
    assert_ok(qdq_encode_dequantize(encoder, c->format, blocks, deq));
    assert_ok(qdq_encode_error(encoder, 2, formats, in, o->error, &options));
    assert_ok(qdq_encode_sensitivity(encoder, c->format, c->second, in, gr, &o->scores, &options));
    assert_ok(qdq_encode_sensitivity(encoder, c->format, QDQ_FORMAT_SOURCE, in, gr, &o->to_source, &options));
    assert_ok(qdq_encode_roundtrip(encoder, c->format, in, out, &options));
    assert_ok(qdq_encoder_commit_and_wait(encoder));

    assert_ok(qdq_buffer_read(out, 0, o->roundtrip, c->n * 4));
    assert_ok(qdq_buffer_read(deq, 0, o->dequantized, c->n * 4));
    assert_ok(qdq_buffer_read(packs, 0, o->blocks, bytes + c->shift + 3));
    unsigned char before[64 * 4];
    assert_true(c->shift <= 64);
    assert_ok(qdq_buffer_read(again, 0, before, c->shift * 4));
    for (uint64_t i = 0; i < c->shift * 4; i++) assert_int_equal(before[i], guard);
    qdq_encoder_free(encoder);
    qdq_buffer *const all[] = {inputs, in,  gradients, gr,     outputs, c->in_place ? NULL : out,
                               again,  deq, packs,     blocks, weights};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) qdq_buffer_free(all[i]);
    free(source);
    free(gradient);
    free(fill);
}

static void check_case(const test_case *c, bool specials) {
    static float x[MOST], g[MOST];
    static outcome expected, got;
    char what[128];
    snprintf(what, sizeof what, "%s, %s, n %llu, row %llu, shift %llu%s", describe(c->format).name,
             qdq_dtype_name(c->dtype), (unsigned long long)c->n, (unsigned long long)c->row,
             (unsigned long long)c->shift, c->importance ? ", importance" : "");
    make_input(x, c->n, 7, specials);
    make_input(g, c->n, 8, specials);
    run_case(cpu, c, x, g, &expected);
    run_case(device, c, x, g, &got);
    assert_same_floats(got.roundtrip, expected.roundtrip, c->n, what);
    for (size_t i = 0; i < sizeof got.blocks; i++)
        if (got.blocks[i] != expected.blocks[i])
            fail_msg("%s: byte %zu of the blocks is %02x, expected %02x", what, i, got.blocks[i], expected.blocks[i]);
    assert_same_floats(got.dequantized, expected.dequantized, c->n, what);
    for (int f = 0; f < 2; f++)
        if (memcmp(&got.error[f], &expected.error[f], sizeof got.error[f]) != 0)
            fail_msg("%s: error %d: %a %a %a %a, expected %a %a %a %a", what, f, got.error[f].err2, got.error[f].ww,
                     got.error[f].qq, (double)got.error[f].max_abs, expected.error[f].err2, expected.error[f].ww,
                     expected.error[f].qq, (double)expected.error[f].max_abs);
    if (memcmp(&got.scores, &expected.scores, sizeof got.scores) != 0)
        fail_msg("%s: scores %a %a %a, expected %a %a %a", what, got.scores.signed_sum, got.scores.absolute,
                 got.scores.squared, expected.scores.signed_sum, expected.scores.absolute, expected.scores.squared);
    if (memcmp(&got.to_source, &expected.to_source, sizeof got.to_source) != 0)
        fail_msg("%s: scores to the source %a, expected %a", what, got.to_source.signed_sum,
                 expected.to_source.signed_sum);
}

static qdq_format next_format(qdq_format f) { return (f + 1) % qdq_block_format_count(); }

/* The next format that runs, whose blocks divide n. */
static qdq_format second_format(qdq_format f, uint64_t n, bool with_importance) {
    qdq_format s = next_format(f);
    while (!runs(s, with_importance) || n % describe(s).block_elements != 0) s = next_format(s);
    return s;
}

#define FOR_FORMATS(f, with_importance)                                                                                \
    for (qdq_format f = 0; f < qdq_block_format_count(); f++)                                                          \
        if (runs(f, with_importance))

/* ---- Tests ---- */

static void golden_vectors(void **state) {
    (void)state;
    size_t size = 0;
    float *x = read_data("input.f32", &size);
    assert_non_null(x);
    uint64_t n = size / 4;
    int seen = 0;
    FOR_FORMATS(f, false) {
        char name[64];
        snprintf(name, sizeof name, "%s.blk", describe(f).name);
        size_t block_bytes;
        unsigned char *expected = read_data(name, &block_bytes);
        if (!expected) continue;
        seen++;
        assert_int_equal(block_bytes, qdq_format_bytes(f, n));
        float *y = malloc(size), *z = malloc(size);
        unsigned char *made = malloc(block_bytes);
        qdq_buffer *in = make_buffer(device, QDQ_F32, n, x), *out = make_buffer(device, QDQ_F32, n, NULL);
        qdq_buffer *blocks = make_buffer(device, QDQ_U8, block_bytes, NULL);
        qdq_buffer *again = make_buffer(device, QDQ_F32, n, NULL);
        qdq_encoder *encoder;
        assert_ok(qdq_encoder_create(device, &encoder));
        assert_ok(qdq_encode_roundtrip(encoder, f, in, out, NULL));
        assert_ok(qdq_encode_quantize(encoder, f, in, blocks, NULL));
        assert_ok(qdq_encode_dequantize(encoder, f, blocks, again));
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        assert_ok(qdq_buffer_read(blocks, 0, made, block_bytes));
        assert_ok(qdq_buffer_read(out, 0, y, size));
        assert_ok(qdq_buffer_read(again, 0, z, size));
        for (size_t i = 0; i < block_bytes; i++)
            if (made[i] != expected[i]) fail_msg("%s: byte %zu is %02x, not %02x", name, i, made[i], expected[i]);
        assert_same_floats(y, z, n, name);
        snprintf(name, sizeof name, "%s.f32", describe(f).name);
        float *values = read_data(name, &block_bytes);
        if (values) assert_same_floats(z, values, n, name);
        free(values);
        qdq_encoder_free(encoder);
        qdq_buffer *const all[] = {in, out, blocks, again};
        for (int i = 0; i < 4; i++) qdq_buffer_free(all[i]);
        free(y);
        free(z);
        free(made);
        free(expected);
    }
    free(x);
    assert_true(seen >= 5);
}

static void every_operation_format_and_dtype(void **state) {
    (void)state;
    FOR_FORMATS(f, false) for (uint64_t turn = 0; turn == 0 || (turn < 3 && dtype_for(f, turn) != QDQ_F32); turn++) {
        test_case c = {.format = f,
                       .second = second_format(f, 14 * QDQ_TILE, false),
                       .dtype = dtype_for(f, turn),
                       .gradient_dtype = dtype_for(f, turn + 1),
                       .n = 14 * QDQ_TILE};
        check_case(&c, false);
        check_case(&c, true);
    }
}

static void lengths_that_are_no_multiple_of_a_tile(void **state) {
    (void)state;
    FOR_FORMATS(f, false) {
        uint64_t block = describe(f).block_elements;
        const uint64_t lengths[] = {block, 2 * block, 3 * QDQ_TILE - block, 5 * QDQ_TILE + block,
                                    12 * QDQ_TILE + 3 * block};
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            test_case c = {.format = f, .second = f, .dtype = dtype_for(f, i), .n = lengths[i]};
            check_case(&c, true);
        }
    }
}

static void sub_buffers_at_any_element(void **state) {
    (void)state;
    FOR_FORMATS(f, false) for (uint64_t shift = 1; shift <= 7; shift += shift < 3 ? 1 : 2) {
        test_case c = {.format = f,
                       .second = f,
                       .dtype = dtype_for(f, shift),
                       .gradient_dtype = dtype_for(f, shift + 2),
                       .n = 3 * QDQ_TILE + describe(f).block_elements,
                       .shift = shift};
        check_case(&c, false);
    }
}

static void in_place(void **state) {
    (void)state;
    FOR_FORMATS(f, false) for (uint64_t shift = 0; shift < 2; shift++) {
        test_case c = {.format = f, .second = f, .n = 13 * QDQ_TILE, .shift = shift, .in_place = true};
        check_case(&c, false);
    }
}

static void importance_of_rows(void **state) {
    (void)state;
    static float weights[MOST];
    uint64_t seed = 11;
    for (int i = 0; i < MOST; i++) weights[i] = fabsf(random_float(&seed)) * (i % 7 ? 1.0f : 100.0f);
    weights[5] = 0;
    FOR_FORMATS(f, true) {
        uint64_t block = describe(f).block_elements;
        const uint64_t rows[] = {block, 3 * block, 256 * 12, 256 * 33};
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            uint64_t n = rows[i] * (i < 2 ? 41 : 4);
            test_case c = {.format = f,
                           .second = second_format(f, rows[i], true),
                           .dtype = dtype_for(f, i),
                           .n = n <= MOST ? n : rows[i],
                           .row = rows[i],
                           .shift = i % 2,
                           .importance = weights};
            if (c.n % describe(c.second).block_elements != 0) c.second = f;
            check_case(&c, false);
        }
    }
}

/* One operation over every format, some of them twice; and each against others. Where each pair is a kernel that the
 * driver compiles, each format is low beside itself and the next, and high beside itself and the one before. */
static void several_formats_at_once(void **state) {
    (void)state;
    enum { N = 5 * QDQ_TILE + 256 };
    static float x[N], g[N];
    const bool compiles = strncmp(device_name, "vulkan", 6) == 0;
    make_input(x, N, 91, true);
    make_input(g, N, 92, false);
    qdq_format formats[QDQ_MAX_OP_FORMATS];
    uint32_t n = 0;
    for (int turn = 0; turn < 2; turn++) FOR_FORMATS(f, false) if (n < QDQ_MAX_OP_FORMATS) formats[n++] = f;
    qdq_error_sums sums[QDQ_MAX_OP_FORMATS] = {0}, one = {0};
    qdq_buffer *in = make_buffer(device, QDQ_F32, N, x), *gr = make_buffer(device, QDQ_F32, N, g);
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    for (uint32_t count = 1; count <= n; count += count < 9 ? 1 : n) {
        memset(sums, 0, sizeof sums);
        if (count == 9) count = n;
        assert_ok(qdq_encode_error(encoder, count, formats, in, sums, NULL));
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        for (uint32_t i = 0; i < count; i++) {
            memset(&one, 0, sizeof one);
            assert_ok(qdq_error(formats[i], x, N, &one));
            assert_memory_equal(&sums[i], &one, sizeof one);
        }
    }
    for (uint32_t i = 0; i < n / 2; i++)
        for (uint32_t k = 0; k < n / 2; k++) {
            if (compiles ? (k + n / 2 - i) % (n / 2) > 1 : k % (1 + i % 3) != 0) continue;
            qdq_sensitivity_sums scores = {0}, expected = {0};
            assert_ok(qdq_encode_sensitivity(encoder, formats[i], formats[k], in, gr, &scores, NULL));
            assert_ok(qdq_encoder_commit_and_wait(encoder));
            assert_ok(qdq_sensitivity(formats[i], formats[k], x, g, N, &expected));
            assert_memory_equal(&scores, &expected, sizeof scores);
        }
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    qdq_buffer_free(gr);
}

/* Sums and arrays come out the same in one operation and in pieces cut at tiles. */
static void pieces_give_the_whole(void **state) {
    (void)state;
    static float x[MOST], whole[MOST], pieces[MOST];
    make_input(x, MOST, 21, false);
    FOR_FORMATS(f, false) {
        qdq_error_sums one = {0}, many = {0};
        qdq_sensitivity_sums score = {0}, scores = {0};
        qdq_buffer *in = make_buffer(device, QDQ_F32, MOST, x), *out = make_buffer(device, QDQ_F32, MOST, NULL);
        qdq_buffer *cut_out = make_buffer(device, QDQ_F32, MOST, NULL);
        qdq_encoder *encoder;
        assert_ok(qdq_encoder_create(device, &encoder));
        assert_ok(qdq_encode_roundtrip(encoder, f, in, out, NULL));
        assert_ok(qdq_encode_error(encoder, 1, &f, in, &one, NULL));
        assert_ok(qdq_encode_sensitivity(encoder, f, QDQ_FORMAT_SOURCE, in, in, &score, NULL));
        for (uint64_t first = 0, n = QDQ_TILE; first < MOST; first += n, n = n * 2 % (11 * QDQ_TILE)) {
            if (n > MOST - first) n = MOST - first;
            qdq_buffer *part = part_of(in, first, n), *to = part_of(cut_out, first, n);
            assert_ok(qdq_encode_roundtrip(encoder, f, part, to, NULL));
            assert_ok(qdq_encode_error(encoder, 1, &f, part, &many, NULL));
            assert_ok(qdq_encode_sensitivity(encoder, f, QDQ_FORMAT_SOURCE, part, part, &scores, NULL));
            qdq_buffer_free(part);
            qdq_buffer_free(to);
        }
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        assert_ok(qdq_buffer_read(out, 0, whole, sizeof whole));
        assert_ok(qdq_buffer_read(cut_out, 0, pieces, sizeof pieces));
        assert_same_floats(pieces, whole, MOST, describe(f).name);
        assert_memory_equal(&one, &many, sizeof one);
        assert_memory_equal(&score, &scores, sizeof score);
        qdq_encoder_free(encoder);
        qdq_buffer_free(in);
        qdq_buffer_free(out);
        qdq_buffer_free(cut_out);
    }
}

/* Each dispatch sees what those before it wrote; a thousand of them are one submission. */
static void dispatches_run_in_order(void **state) {
    (void)state;
    enum { N = 4 * QDQ_TILE, TIMES = 1000 };
    static float x[N], y[N], z[N];
    make_input(x, N, 31, false);
    qdq_format f = qdq_format_by_name("q4_0"), g = qdq_format_by_name("q8_0");
    qdq_buffer *a = make_buffer(device, QDQ_F32, N, x), *b = make_buffer(device, QDQ_F32, N, NULL);
    qdq_buffer *blocks = make_buffer(device, QDQ_U8, qdq_format_bytes(g, N), NULL);
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    for (int i = 0; i < TIMES / 4; i++) {
        assert_ok(qdq_encode_roundtrip(encoder, f, a, b, NULL));
        assert_ok(qdq_encode_quantize(encoder, g, b, blocks, NULL));
        assert_ok(qdq_encode_dequantize(encoder, g, blocks, a));
        assert_ok(qdq_encode_roundtrip(encoder, g, a, a, NULL));
    }
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    assert_ok(qdq_buffer_read(a, 0, y, sizeof y));
    for (int i = 0; i < TIMES / 4; i++) {
        assert_ok(qdq_roundtrip(f, x, z, N));
        assert_ok(qdq_roundtrip(g, z, z, N));
        assert_ok(qdq_roundtrip(g, z, x, N));
    }
    assert_same_floats(y, x, N, "after a thousand dispatches");
    qdq_encoder_free(encoder);
    qdq_buffer_free(a);
    qdq_buffer_free(b);
    qdq_buffer_free(blocks);
}

/* Longer than the ranges and launches of small devices: 36 Mi elements; for what only looks like one, longer than a
 * launch. */
static void large_buffers(void **state) {
    (void)state;
    const uint64_t n = (is_look_alike ? 17ull : 36ull) << 20;
    float *x = malloc(n * 4), *y = malloc(n * 4), *z = malloc(n * 4);
    uint64_t seed = 41;
    for (uint64_t i = 0; i < n; i += 2) {
        uint64_t r = next_random(&seed);
        x[i] = (float)(int32_t)r * 0x1p-31f;
        x[i + 1] = (float)(int32_t)(r >> 32) * 0x1p-33f;
    }
    qdq_format formats[2] = {qdq_format_by_name("q4_0"), qdq_format_by_name("q8_0")};
    qdq_error_sums sums[2] = {0}, expected[2] = {0};
    qdq_sensitivity_sums scores = {0}, expected_scores = {0};
    qdq_buffer *in = make_buffer(device, QDQ_F32, n, x);
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_encode_error(encoder, 2, formats, in, sums, NULL));
    assert_ok(qdq_encode_sensitivity(encoder, formats[0], formats[1], in, in, &scores, NULL));
    assert_ok(qdq_encode_roundtrip(encoder, formats[0], in, in, NULL));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    assert_ok(qdq_buffer_read(in, 0, y, n * 4));
    for (int f = 0; f < 2; f++) assert_ok(qdq_error(formats[f], x, n, &expected[f]));
    assert_ok(qdq_sensitivity(formats[0], formats[1], x, x, n, &expected_scores));
    assert_ok(qdq_roundtrip(formats[0], x, z, n));
    assert_same_floats(y, z, n, "large buffers");
    assert_memory_equal(sums, expected, sizeof sums);
    assert_memory_equal(&scores, &expected_scores, sizeof scores);
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    free(x);
    free(y);
    free(z);
}

/* Positions over 4 GiB: 5 GiB of zeros with weights at both ends and about every GiB. On devices with memory for it. */
static void buffers_of_5_gib(void **state) {
    (void)state;
    qdq_device_info info = {.size = sizeof info};
    assert_ok(qdq_device_describe(device, &info));
    if (info.shared || info.memory < 24ull << 30) skip();
    enum { N = 4 * QDQ_TILE, PLACES = 6 };
    const uint64_t gib = 1ull << 28, n = 5 * gib; /* elements */
    static float x[N], y[N], expected[N];
    make_input(x, N, 51, false);
    qdq_format f = qdq_format_by_name("q4_0"), k = qdq_format_by_name("q6_K");
    qdq_buffer *in = make_buffer(device, QDQ_F32, n, NULL), *out = make_buffer(device, QDQ_F32, n, NULL);
    qdq_error_sums sums[2] = {0}, whole[2] = {0};
    for (uint64_t p = 0; p < PLACES; p++) {
        uint64_t at = p == 0 ? 0 : p * gib - (p == 5 ? N : N / 2);
        assert_ok(qdq_buffer_write(in, at * 4, x, sizeof x));
        assert_ok(qdq_error(f, x, N, &whole[0]));
        assert_ok(qdq_error(k, x, N, &whole[1]));
    }
    whole[0].count = whole[1].count = n;
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_encode_roundtrip(encoder, f, in, out, NULL));
    assert_ok(qdq_encode_error(encoder, 2, (qdq_format[]){f, k}, in, sums, NULL));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    assert_ok(qdq_roundtrip(f, x, expected, N));
    for (uint64_t p = 0; p < PLACES; p++) {
        uint64_t at = p == 0 ? 0 : p * gib - (p == 5 ? N : N / 2);
        assert_ok(qdq_buffer_read(out, at * 4, y, sizeof y));
        assert_same_floats(y, expected, N, "a place in 5 GiB");
    }
    assert_memory_equal(sums, whole, sizeof sums);
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    qdq_buffer_free(out);
}

typedef struct worker {
    qdq_format format;
    uint64_t seed;
    bool good;
} worker;

static void *work(void *context) {
    worker *w = context;
    enum { N = 9 * QDQ_TILE };
    float *x = malloc(N * 4), *y = malloc(N * 4), *z = malloc(N * 4);
    qdq_encoder *encoder = NULL;
    qdq_buffer *in = NULL, *out = NULL;
    uint64_t n = N;
    w->good = qdq_encoder_create(device, &encoder) == QDQ_OK &&
              qdq_buffer_create(device, QDQ_F32, 1, &n, &in) == QDQ_OK &&
              qdq_buffer_create(device, QDQ_F32, 1, &n, &out) == QDQ_OK;
    for (int turn = 0; turn < 20 && w->good; turn++) {
        qdq_error_sums sums = {0}, expected = {0};
        make_input(x, N, w->seed + (uint64_t)turn, false);
        w->good = qdq_buffer_write(in, 0, x, N * 4) == QDQ_OK &&
                  qdq_encode_roundtrip(encoder, w->format, in, out, NULL) == QDQ_OK &&
                  qdq_encode_error(encoder, 1, &w->format, in, &sums, NULL) == QDQ_OK &&
                  qdq_encoder_commit_and_wait(encoder) == QDQ_OK && qdq_buffer_read(out, 0, y, N * 4) == QDQ_OK &&
                  qdq_roundtrip(w->format, x, z, N) == QDQ_OK && qdq_error(w->format, x, N, &expected) == QDQ_OK &&
                  memcmp(y, z, N * 4) == 0 && memcmp(&sums, &expected, sizeof sums) == 0;
    }
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    qdq_buffer_free(out);
    free(x);
    free(y);
    free(z);
    return NULL;
}

static void two_encoders_from_two_threads(void **state) {
    (void)state;
    worker workers[2] = {{qdq_format_by_name("q4_0"), 51, false}, {qdq_format_by_name("q8_0"), 61, false}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_true(workers[0].good && workers[1].good);
}

/* Two devices, each with committed work, at once. */
static void two_devices_at_once(void **state) {
    (void)state;
    enum { N = 8 * QDQ_TILE };
    static float x[N], y[N], expected[N];
    make_input(x, N, 71, false);
    qdq_format f = qdq_format_by_name("q5_1");
    qdq_device *other;
    assert_ok(qdq_device_open(device_name, &other));
    qdq_device *const devices[2] = {device, other};
    qdq_buffer *in[2], *out[2];
    qdq_encoder *encoders[2];
    for (int i = 0; i < 2; i++) {
        in[i] = make_buffer(devices[i], QDQ_F32, N, x);
        out[i] = make_buffer(devices[i], QDQ_F32, N, NULL);
        assert_ok(qdq_encoder_create(devices[i], &encoders[i]));
        assert_ok(qdq_encode_roundtrip(encoders[i], f, in[i], out[i], NULL));
        assert_ok(qdq_encoder_commit(encoders[i]));
    }
    assert_ok(qdq_roundtrip(f, x, expected, N));
    for (int i = 1; i >= 0; i--) {
        assert_ok(qdq_encoder_wait(encoders[i]));
        assert_ok(qdq_buffer_read(out[i], 0, y, sizeof y));
        assert_same_floats(y, expected, N, device_name);
        qdq_encoder_free(encoders[i]);
        qdq_buffer_free(in[i]);
        qdq_buffer_free(out[i]);
    }
    qdq_device_close(other);
}

static void only_a_cpu_takes_sources_as_formats(void **state) {
    (void)state;
    static const float x[64];
    qdq_format f = qdq_format_by_name("f16");
    qdq_buffer *in = make_buffer(device, QDQ_F32, 64, x), *out = make_buffer(device, QDQ_F32, 64, NULL);
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    qdq_status status = qdq_encode_roundtrip(encoder, f, in, out, NULL);
    if (strncmp(device_name, "cpu", 3) == 0) {
        assert_ok(status);
        assert_ok(qdq_encoder_commit_and_wait(encoder));
    } else {
        assert_refused(status, QDQ_UNSUPPORTED, "has no kernels of f16, which has no blocks; a CPU device takes it");
        assert_refused(qdq_device_build_kernel(device, "quantize_f16_f32"), QDQ_UNSUPPORTED, "a CPU device takes it");
    }
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    qdq_buffer_free(out);
}

static void wrong_use_is_refused(void **state) {
    (void)state;
    static const float x[64];
    qdq_format f = qdq_format_by_name("q4_0");
    qdq_device *other;
    assert_ok(qdq_device_open(device_name, &other));
    qdq_buffer *in = make_buffer(device, QDQ_F32, 64, x), *out = make_buffer(device, QDQ_F32, 64, NULL);
    qdq_buffer *foreign = make_buffer(other, QDQ_F32, 64, x), *odd = make_buffer(device, QDQ_F32, 33, NULL);
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_refused(qdq_encode_roundtrip(encoder, f, foreign, out, NULL), QDQ_INVALID_ARGUMENT, "another device");
    assert_refused(qdq_encode_roundtrip(encoder, f, in, foreign, NULL), QDQ_INVALID_ARGUMENT, "another device");
    assert_refused(qdq_encode_roundtrip(encoder, f, odd, out, NULL), QDQ_INVALID_ARGUMENT,
                   "qdq_q4_0_f32: input element count (33) must be divisible by block size (32)");
    assert_refused(qdq_encoder_wait(encoder), QDQ_INVALID_ARGUMENT, "nothing is committed");
    assert_ok(qdq_encode_roundtrip(encoder, f, in, out, NULL));
    assert_ok(qdq_encoder_commit(encoder));
    assert_refused(qdq_encode_roundtrip(encoder, f, in, out, NULL), QDQ_INVALID_ARGUMENT, "committed");
    assert_refused(qdq_encoder_commit(encoder), QDQ_INVALID_ARGUMENT, "already committed");
    /* Freed in flight: kept until the encoder is done. */
    qdq_buffer_free(in);
    qdq_buffer_free(out);
    assert_ok(qdq_encoder_wait(encoder));
    /* An encoder without dispatches, and one that is freed while its work runs. */
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    in = make_buffer(device, QDQ_F32, 64, x);
    assert_ok(qdq_encode_roundtrip(encoder, f, in, in, NULL));
    assert_ok(qdq_encoder_commit(encoder));
    qdq_buffer_free(in);
    qdq_encoder_free(encoder);
    qdq_buffer_free(odd);
    qdq_buffer_free(foreign);
    qdq_device_close(other);
    uint64_t huge = UINT64_MAX / 16;
    qdq_buffer *none;
    assert_int_equal(qdq_buffer_create(device, QDQ_F32, 1, &huge, &none), QDQ_OUT_OF_MEMORY);
    assert_null(none);
}

/* Work that nobody waits for: in order, by encoders that are used again and freed at once, as are the buffers. */
static void submitted_work_is_done_in_order(void **state) {
    (void)state;
    enum { N = 6 * QDQ_TILE, TIMES = 40 };
    static float x[N], y[N], expected[N];
    make_input(x, N, 101, false);
    qdq_format q4 = qdq_format_by_name("q4_0"), q5 = qdq_format_by_name("q5_K"), q8 = qdq_format_by_name("q8_0");
    qdq_device *own;
    assert_ok(qdq_device_open(device_name, &own));
    qdq_buffer *a = make_buffer(own, QDQ_F32, N, x), *result = make_buffer(own, QDQ_F32, N, NULL);
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(own, &encoder));
    assert_ok(qdq_encoder_submit(encoder)); /* nothing */
    memcpy(expected, x, sizeof x);
    for (int i = 0; i < TIMES; i++) {
        qdq_buffer *b = make_buffer(own, QDQ_F32, N, NULL);
        qdq_buffer *blocks = make_buffer(own, QDQ_U8, qdq_format_bytes(q8, N), NULL);
        assert_ok(qdq_encode_roundtrip(encoder, i % 2 ? q4 : q5, a, b, NULL));
        assert_ok(qdq_encode_quantize(encoder, q8, b, blocks, NULL));
        assert_ok(qdq_encoder_submit(encoder));
        qdq_buffer_free(b);
        assert_ok(qdq_encode_dequantize(encoder, q8, blocks, i == TIMES - 1 ? result : a));
        assert_ok(qdq_encoder_submit(encoder));
        qdq_buffer_free(blocks);
        assert_ok(qdq_roundtrip(i % 2 ? q4 : q5, expected, expected, N));
        assert_ok(qdq_roundtrip(q8, expected, expected, N));
    }
    qdq_buffer_free(a);
    assert_ok(qdq_device_synchronize(own));
    assert_ok(qdq_device_synchronize(own));
    assert_ok(qdq_buffer_read(result, 0, y, sizeof y));
    assert_same_floats(y, expected, N, "submitted");

    /* Sums are the host's: refused, and still there to be committed. */
    qdq_error_sums sums = {0}, whole = {0};
    assert_ok(qdq_encode_error(encoder, 1, &q4, result, &sums, NULL));
    assert_refused(qdq_encoder_submit(encoder), QDQ_INVALID_ARGUMENT, "dispatch 0 adds to sums");
    assert_ok(qdq_encoder_commit(encoder));
    assert_refused(qdq_encoder_submit(encoder), QDQ_INVALID_ARGUMENT, "already committed");
    assert_ok(qdq_encoder_wait(encoder));
    assert_ok(qdq_error(q4, y, N, &whole));
    assert_memory_equal(&sums, &whole, sizeof sums);

    /* The device may be closed, and then the encoder freed, while work is under way. */
    assert_ok(qdq_encode_roundtrip(encoder, q5, result, result, NULL));
    assert_ok(qdq_encoder_submit(encoder));
    qdq_device_close(own);
    assert_ok(qdq_encode_roundtrip(encoder, q4, result, result, NULL));
    assert_ok(qdq_encoder_submit(encoder));
    qdq_buffer_free(result);
    qdq_encoder_free(encoder);
}

/* One wait for several encoders; the one that has nothing to wait for is told, and the others are waited for. */
static void encoders_are_waited_for_together(void **state) {
    (void)state;
    enum { N = 4 * QDQ_TILE };
    static float x[N];
    make_input(x, N, 103, false);
    qdq_format f = qdq_format_by_name("q6_K");
    qdq_buffer *in = make_buffer(device, QDQ_F32, N, x);
    qdq_encoder *encoders[3];
    qdq_error_sums sums[3] = {0}, expected = {0};
    assert_ok(qdq_error(f, x, N, &expected));
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            assert_ok(qdq_encoder_create_on(device, NULL, &encoders[i]));
        else
            assert_ok(qdq_encoder_create(device, &encoders[i]));
        assert_ok(qdq_encode_error(encoders[i], 1, &f, in, &sums[i], NULL));
        if (i != 1) assert_ok(qdq_encoder_commit(encoders[i]));
    }
    assert_refused(qdq_encoders_wait(3, encoders), QDQ_INVALID_ARGUMENT, "qdq_encoder_wait: nothing is committed");
    assert_memory_equal(&sums[0], &expected, sizeof expected);
    assert_memory_equal(&sums[2], &expected, sizeof expected);
    assert_int_equal(sums[1].count, 0);
    assert_ok(qdq_encoder_commit(encoders[1]));
    assert_ok(qdq_encoders_wait(1, &encoders[1]));
    assert_memory_equal(&sums[1], &expected, sizeof expected);
    assert_ok(qdq_encoders_wait(0, NULL));
    for (int i = 0; i < 3; i++) qdq_encoder_free(encoders[i]);
    qdq_buffer_free(in);
}

/* What the library narrows to, spelled another way: by comparing a value's two neighbours. */
static uint16_t nearest_half(qdq_dtype dtype, float x) {
    uint32_t sign = bits_of(x) >> 16 & 0x8000u;
    if (isnan(x)) return (uint16_t)(dtype == QDQ_BF16 ? (bits_of(x) >> 16 | 0x40u) : (sign | 0x7e00u));
    double size = fabs((double)x);
    /* 16-bit patterns are in the order of their values; infinity stands for the next power of two. */
    uint32_t low = 0, high = dtype == QDQ_BF16 ? 0x7f80u : 0x7c00u;
    const uint32_t top = high;
    double values[2] = {0, ldexp(1, dtype == QDQ_BF16 ? 128 : 16)};
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2, fraction = dtype == QDQ_BF16 ? middle & 0x7fu : middle & 0x3ffu;
        int exponent = (int)(dtype == QDQ_BF16 ? middle >> 7 : middle >> 10), bits = dtype == QDQ_BF16 ? 7 : 10;
        int bias = dtype == QDQ_BF16 ? 127 : 15;
        double v = ldexp(fraction + (exponent ? ldexp(1, bits) : 0), (exponent ? exponent : 1) - bias - bits);
        if (v <= size)
            low = middle, values[0] = v;
        else
            high = middle, values[1] = v;
    }
    double below = size - values[0], above = values[1] - size;
    if (isinf(x)) return (uint16_t)(sign | top);
    bool up = above < below || (above == below && low % 2 == 1);
    return (uint16_t)(sign | (up ? high : low));
}

/* Round trip and dequantize into 16 bits: the rounding of what they give in 32, at any place, and in place. */
static void halves_are_roundings_of_floats(void **state) {
    (void)state;
    enum { N = 13 * QDQ_TILE + 256 };
    static float x[N], y[N], z[N];
    static uint16_t half[N + 64], got[N + 64];
    make_input(x, N, 111, true);
    int turn = 0;
    FOR_FORMATS(f, false) for (int d = QDQ_F16; d <= QDQ_BF16 && has_it_all(f); d++, turn++) {
        qdq_dtype out = (qdq_dtype)d, in = (qdq_dtype)(turn % 3);
        uint64_t n = N - turn % 3 * 256, shift = (uint64_t)(turn % 5), bytes = qdq_format_bytes(f, n);
        char what[96];
        snprintf(what, sizeof what, "%s, %s to %s", describe(f).name, qdq_dtype_name(in), qdq_dtype_name(out));
        static unsigned char source[N * 4];
        narrow(in, x, source, n);
        qdq_buffer *input = make_buffer(device, in, n, source), *wide = make_buffer(device, QDQ_F32, n, NULL);
        qdq_buffer *deq = make_buffer(device, QDQ_F32, n, NULL), *blocks = make_buffer(device, QDQ_U8, bytes, NULL);
        memset(half, guard, sizeof half);
        qdq_buffer *a = make_buffer(device, out, N + 64, half), *b = make_buffer(device, out, N + 64, half);
        qdq_buffer *to = part_of(a, shift, n), *deq_to = part_of(b, shift, n);
        qdq_encoder *encoder;
        assert_ok(qdq_encoder_create(device, &encoder));
        assert_ok(qdq_encode_roundtrip(encoder, f, input, wide, NULL));
        assert_ok(qdq_encode_roundtrip(encoder, f, input, to, NULL));
        assert_ok(qdq_encode_quantize(encoder, f, input, blocks, NULL));
        assert_ok(qdq_encode_dequantize(encoder, f, blocks, deq));
        assert_ok(qdq_encode_dequantize(encoder, f, blocks, deq_to));
        assert_ok(qdq_encode_roundtrip(encoder, f, to, to, NULL)); /* in place, from 16 bits */
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        assert_ok(qdq_buffer_read(wide, 0, y, n * 4));
        assert_ok(qdq_buffer_read(deq, 0, z, n * 4));
        assert_ok(qdq_buffer_read(b, 0, got, sizeof got));
        for (uint64_t i = 0; i < n; i++) {
            half[shift + i] = nearest_half(out, z[i]);
            if (got[shift + i] != half[shift + i])
                fail_msg("%s: element %llu of %a is %04x, not %04x", what, (unsigned long long)i, (double)z[i],
                         got[shift + i], half[shift + i]);
        }
        assert_memory_equal(got, half, sizeof got);
        for (uint64_t i = 0; i < n; i++) half[shift + i] = nearest_half(out, y[i]);
        /* The second round trip, by the CPU, from what the first must have given. */
        qdq_buffer *once = make_buffer(cpu, out, n, half + shift), *twice = make_buffer(cpu, QDQ_F32, n, NULL);
        qdq_encoder *other;
        assert_ok(qdq_encoder_create(cpu, &other));
        assert_ok(qdq_encode_roundtrip(other, f, once, twice, NULL));
        assert_ok(qdq_encoder_commit_and_wait(other));
        assert_ok(qdq_buffer_read(twice, 0, y, n * 4));
        assert_ok(qdq_buffer_read(a, 0, got, sizeof got));
        for (uint64_t i = 0; i < n; i++) half[shift + i] = nearest_half(out, y[i]);
        if (memcmp(got, half, sizeof got) != 0) fail_msg("%s: twice, in place", what);
        qdq_encoder_free(encoder);
        qdq_encoder_free(other);
        qdq_buffer *const all[] = {input, wide, deq, blocks, a, b, to, deq_to, once, twice};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) qdq_buffer_free(all[i]);
    }
}

/* Every low format against the source, one format, and another: in one operation, and pair by pair. */
static void several_sensitivities_at_once(void **state) {
    (void)state;
    enum { N = 6 * QDQ_TILE + 256, ROW = 256 };
    static float x[N], g[N], weights[ROW];
    make_input(x, N, 121, false);
    make_input(g, N, 122, false);
    uint64_t seed = 123;
    for (int i = 0; i < ROW; i++) weights[i] = fabsf(random_float(&seed));
    qdq_buffer *in = make_buffer(device, QDQ_F32, N, x), *gr = make_buffer(device, QDQ_F32, N, g);
    qdq_buffer *w = make_buffer(device, QDQ_F32, ROW, weights);
    qdq_format q8 = qdq_format_by_name("q8_0");
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    for (int weighted = 0; weighted < 2; weighted++) {
        qdq_options o = {.size = sizeof o, .importance = weighted ? w : NULL, .row = ROW};
        qdq_format low[QDQ_MAX_OP_FORMATS], high[QDQ_MAX_OP_FORMATS];
        qdq_sensitivity_sums sums[QDQ_MAX_OP_FORMATS] = {0}, one;
        uint32_t n = 0;
        FOR_FORMATS(f, weighted) for (int k = 0; k < 2 && n < QDQ_MAX_OP_FORMATS && has_it_all(f); k++) {
            low[n] = f;
            high[n] = k == 0 ? QDQ_FORMAT_SOURCE : f % 3 == 0 ? next_format(f) : q8;
            if (high[n] != QDQ_FORMAT_SOURCE && !runs(high[n], weighted)) high[n] = q8;
            n++;
        }
        assert_true(n > (compiles_slowly ? 8 : 30));
        assert_ok(qdq_encode_sensitivities(encoder, n, low, high, in, gr, sums, &o));
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        for (uint32_t i = 0; i < n; i++) {
            memset(&one, 0, sizeof one);
            assert_ok(qdq_encode_sensitivity(encoder, low[i], high[i], in, gr, &one, &o));
            assert_ok(qdq_encoder_commit_and_wait(encoder));
            if (memcmp(&one, &sums[i], sizeof one) != 0)
                fail_msg("pair %u of %u, %s: %a %a %a, by itself %a %a %a", (unsigned)i, (unsigned)n,
                         describe(low[i]).name, sums[i].signed_sum, sums[i].absolute, sums[i].squared, one.signed_sum,
                         one.absolute, one.squared);
        }
    }
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    qdq_buffer_free(gr);
    qdq_buffer_free(w);
}

/* Rows with gaps give what the same rows give side by side; the gaps stay as they were. */
static void rows_with_a_pitch(void **state) {
    (void)state;
    enum { ROWS = 9, COLUMNS = 1280, PITCH = 1797, FIRST = 5, ALL = FIRST + ROWS * PITCH, N = ROWS * COLUMNS };
    static float whole[ALL], side[N], g[N], whole_g[ALL], weights[COLUMNS], y[N], got[ALL], expected[ALL];
    make_input(side, N, 131, false);
    make_input(g, N, 132, false);
    uint64_t seed = 133;
    for (int i = 0; i < COLUMNS; i++) weights[i] = fabsf(random_float(&seed));
    for (int i = 0; i < ALL; i++) whole[i] = whole_g[i] = NAN; /* what a gap would spoil */
    for (int r = 0; r < ROWS; r++) {
        memcpy(whole + FIRST + r * PITCH, side + r * COLUMNS, COLUMNS * 4);
        memcpy(whole_g + FIRST + r * PITCH, g + r * COLUMNS, COLUMNS * 4);
    }
    FOR_FORMATS(f, true) for (int dtype = QDQ_F32; dtype <= QDQ_BF16; dtype++) {
        qdq_dtype in_dtype = (qdq_dtype)dtype, out_dtype = (qdq_dtype)((dtype + f) % 3);
        uint64_t size = qdq_dtype_size(out_dtype), bytes = qdq_format_bytes(f, N);
        static unsigned char narrow_whole[ALL * 4], narrow_side[N * 4], fill[ALL * 4], blocks[2][N * 2 + 4096];
        narrow(in_dtype, whole, narrow_whole, ALL);
        narrow(in_dtype, side, narrow_side, N);
        memset(fill, guard, sizeof fill);
        qdq_buffer *pitched = make_buffer(device, in_dtype, ALL, narrow_whole), *in;
        qdq_buffer *gradients = make_buffer(device, QDQ_F32, ALL, whole_g), *gr;
        qdq_buffer *outputs = make_buffer(device, out_dtype, ALL, fill), *out;
        qdq_buffer *packed = make_buffer(device, QDQ_U8, bytes, NULL),
                   *w = make_buffer(device, QDQ_F32, COLUMNS, weights);
        assert_ok(qdq_buffer_rows(pitched, FIRST, ROWS, COLUMNS, PITCH, &in));
        assert_ok(qdq_buffer_rows(gradients, FIRST, ROWS, COLUMNS, PITCH, &gr));
        assert_ok(qdq_buffer_rows(outputs, FIRST, ROWS, COLUMNS, PITCH, &out));
        qdq_options o = {.size = sizeof o, .importance = w};
        qdq_error_sums sums[2] = {0};
        qdq_sensitivity_sums scores[2] = {0};
        qdq_encoder *encoder;
        assert_ok(qdq_encoder_create(device, &encoder));
        qdq_status status = qdq_encode_error(encoder, 1, &f, in, &sums[0], &o);
        if (status == QDQ_UNSUPPORTED) {
            assert_non_null(strstr(qdq_error_message(), "no rows with a pitch"));
            qdq_encoder_free(encoder);
            qdq_buffer *const made[] = {pitched, gradients, outputs, packed, w, in, gr, out};
            for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) qdq_buffer_free(made[i]);
            skip();
        }
        assert_ok(status);
        assert_ok(qdq_encode_sensitivity(encoder, f, QDQ_FORMAT_SOURCE, in, gr, &scores[0], &o));
        assert_ok(qdq_encode_quantize(encoder, f, in, packed, &o));
        assert_ok(qdq_encode_roundtrip(encoder, f, in, out, &o));
        assert_ok(qdq_encoder_commit_and_wait(encoder));
        assert_ok(qdq_buffer_read(outputs, 0, got, ALL * size));
        assert_ok(qdq_buffer_read(packed, 0, blocks[0], bytes));

        qdq_buffer *flat = make_buffer(cpu, in_dtype, N, narrow_side), *flat_g = make_buffer(cpu, QDQ_F32, N, g);
        qdq_buffer *flat_out = make_buffer(cpu, out_dtype, N, NULL),
                   *flat_blocks = make_buffer(cpu, QDQ_U8, bytes, NULL);
        qdq_buffer *flat_w = make_buffer(cpu, QDQ_F32, COLUMNS, weights);
        qdq_encoder *other;
        assert_ok(qdq_encoder_create(cpu, &other));
        o = (qdq_options){.size = sizeof o, .importance = flat_w, .row = COLUMNS};
        assert_ok(qdq_encode_error(other, 1, &f, flat, &sums[1], &o));
        assert_ok(qdq_encode_sensitivity(other, f, QDQ_FORMAT_SOURCE, flat, flat_g, &scores[1], &o));
        assert_ok(qdq_encode_quantize(other, f, flat, flat_blocks, &o));
        assert_ok(qdq_encode_roundtrip(other, f, flat, flat_out, &o));
        assert_ok(qdq_encoder_commit_and_wait(other));
        assert_ok(qdq_buffer_read(flat_out, 0, y, N * size));
        assert_ok(qdq_buffer_read(flat_blocks, 0, blocks[1], bytes));
        memcpy(expected, fill, ALL * size);
        for (int r = 0; r < ROWS; r++)
            memcpy((unsigned char *)expected + (uint64_t)(FIRST + r * PITCH) * size,
                   (unsigned char *)y + (uint64_t)(r * COLUMNS) * size, COLUMNS * size);
        if (memcmp(got, expected, ALL * size) != 0)
            fail_msg("%s, %s to %s: round trip", describe(f).name, qdq_dtype_name(in_dtype), qdq_dtype_name(out_dtype));
        assert_memory_equal(blocks[0], blocks[1], bytes);
        assert_memory_equal(&sums[0], &sums[1], sizeof sums[0]);
        assert_memory_equal(&scores[0], &scores[1], sizeof scores[0]);
        qdq_encoder_free(encoder);
        qdq_encoder_free(other);
        qdq_buffer *const all[] = {pitched, gradients, outputs,  packed,      w,      in,    gr,
                                   out,     flat,      flat_out, flat_blocks, flat_w, flat_g};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) qdq_buffer_free(all[i]);
    }
}

/* Errors with what has come since the first struct: where the worst tile is, and how many are no numbers. */
static void error_totals_tell_where(void **state) {
    (void)state;
    enum { N = 12 * QDQ_TILE + 512, CUT = 5 * QDQ_TILE };
    static float x[N];
    uint64_t seed = 141;
    for (int i = 0; i < N; i++) x[i] = random_float(&seed);
    for (int i = 0; i < 32; i++) x[7 * QDQ_TILE + 64 + i] *= 1000.0f;
    x[3 * QDQ_TILE] = NAN;
    x[11 * QDQ_TILE + 5] = INFINITY;
    qdq_format formats[] = {qdq_format_by_name("q4_0"), qdq_format_by_name("q6_K"), qdq_format_by_name("q8_0")};
    qdq_buffer *in = make_buffer(device, QDQ_F32, N, x), *first = part_of(in, 0, CUT),
               *rest = part_of(in, CUT, N - CUT);
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    qdq_error_totals whole[3] = {{.size = sizeof whole[0]}}, cut[3] = {{.size = sizeof cut[0]}};
    qdq_error_sums plain[3] = {0};
    assert_ok(qdq_encode_errors(encoder, 3, formats, in, whole, NULL));
    assert_ok(qdq_encode_errors(encoder, 3, formats, first, cut, NULL));
    assert_ok(qdq_encode_errors(encoder, 3, formats, rest, cut, NULL));
    assert_ok(qdq_encode_error(encoder, 3, formats, in, plain, NULL));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    for (int f = 0; f < 3; f++) {
        qdq_error_sums one = {0};
        assert_ok(qdq_error(formats[f], x + 7 * QDQ_TILE, QDQ_TILE, &one));
        assert_memory_equal(&whole[f].sums, &plain[f], sizeof plain[f]);
        assert_int_equal(whole[f].tiles, 13);
        assert_int_equal(whole[f].non_finite_tiles, 2);
        assert_int_equal(whole[f].worst_tile, 7);
        assert_true(whole[f].worst_err2 == one.err2);
        cut[f].size = whole[f].size;
        assert_memory_equal(&cut[f], &whole[f], sizeof whole[f]);
    }
    /* An older caller's, with nothing behind the sums; and a newer one's, whose further members stay as they were. */
    struct {
        size_t size;
        qdq_error_sums sums;
    } old[2] = {{.size = sizeof old[0]}};
    struct {
        qdq_error_totals totals;
        uint64_t more;
    } newer[2] = {{.totals.size = sizeof newer[0], .more = 42}, {.more = 43}};
    assert_ok(qdq_encode_errors(encoder, 2, formats, in, (qdq_error_totals *)(void *)old, NULL));
    assert_ok(qdq_encode_errors(encoder, 2, formats, in, &newer[0].totals, NULL));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    for (int f = 0; f < 2; f++) {
        assert_memory_equal(&old[f].sums, &plain[f], sizeof plain[f]);
        assert_memory_equal(&newer[f].totals.sums, &plain[f], sizeof plain[f]);
        assert_int_equal(newer[f].totals.worst_tile, 7);
        assert_int_equal(newer[f].more, 42 + f);
    }
    qdq_encoder_free(encoder);
    qdq_buffer_free(first);
    qdq_buffer_free(rest);
    qdq_buffer_free(in);
}

static void fresh_buffers_are_zero(void **state) {
    (void)state;
    for (int turn = 0; turn < 3; turn++) {
        uint64_t n = 100003;
        unsigned char *bytes = malloc(n);
        qdq_buffer *buffer = make_buffer(device, QDQ_U8, n, NULL);
        assert_ok(qdq_buffer_read(buffer, 0, bytes, n));
        for (uint64_t i = 0; i < n; i++) assert_int_equal(bytes[i], 0);
        memset(bytes, 0xff, n);
        assert_ok(qdq_buffer_write(buffer, 0, bytes, n));
        qdq_buffer_free(buffer);
        free(bytes);
    }
}

/* Copies at odd places, longer than a driver's staging memory. */
static void copies_at_any_byte(void **state) {
    (void)state;
    uint64_t n = 19000019, seed = 81;
    unsigned char *from = malloc(n), *to = malloc(n);
    for (uint64_t i = 0; i < n; i++) from[i] = (unsigned char)next_random(&seed);
    qdq_buffer *buffer = make_buffer(device, QDQ_U8, n, NULL);
    assert_ok(qdq_buffer_write(buffer, 1, from + 1, n - 1));
    assert_ok(qdq_buffer_write(buffer, 0, from, 1));
    assert_ok(qdq_buffer_read(buffer, 3, to + 3, n - 3));
    assert_ok(qdq_buffer_read(buffer, 0, to, 3));
    assert_memory_equal(from, to, n);
    const unsigned char *host = qdq_buffer_host(buffer);
    if (host) assert_memory_equal(from, host, n);
    qdq_buffer_free(buffer);
    free(from);
    free(to);
}

/* What a reader brings: this byte or that, by place; or, from a byte on, a refusal. */
typedef struct source {
    const unsigned char *bytes;
    uint64_t refused_from;
} source;

static qdq_status read_source(void *context, uint64_t at, void *to, size_t n) {
    const source *s = context;
    if (at + n > s->refused_from)
        return qdq_fail(QDQ_IO_ERROR, "byte %llu is refused", (unsigned long long)s->refused_from);
    memcpy(to, s->bytes + at, n);
    return QDQ_OK;
}

static void readers_fill_buffers(void **state) {
    (void)state;
    if (!qdq_device_fills(device)) skip();
    uint64_t n = 19000019, seed = 82;
    unsigned char *from = malloc(n), *to = malloc(n);
    for (uint64_t i = 0; i < n; i++) from[i] = (unsigned char)next_random(&seed);
    qdq_buffer *buffer = make_buffer(device, QDQ_U8, n, NULL);
    source all = {from, n}, odd = {from + 5, n}, few = {from, n - 1};
    assert_ok(qdq_buffer_fill(buffer, 0, n, read_source, &all));
    assert_ok(qdq_buffer_read(buffer, 0, to, n));
    assert_memory_equal(from, to, n);
    assert_ok(qdq_buffer_fill(buffer, 7, 3, read_source, &odd));
    assert_ok(qdq_buffer_read(buffer, 0, to, n));
    assert_memory_equal(from + 5, to + 7, 3);
    assert_memory_equal(from + 10, to + 10, n - 10);
    assert_int_equal(qdq_buffer_fill(buffer, 0, n, read_source, &few), QDQ_IO_ERROR);
    assert_string_equal(qdq_error_message(), "byte 19000018 is refused");
    assert_int_equal(qdq_buffer_fill(buffer, 1, n, read_source, &all), QDQ_INVALID_ARGUMENT);
    qdq_buffer_free(buffer);
    free(from);
    free(to);
}

static void times_are_told(void **state) {
    (void)state;
    const qdq_backend *backend = device->backend;
    if (!backend->time_ops || !backend->time_copy) skip();
    enum { N = 64 * QDQ_TILE };
    qdq_buffer *in = make_buffer(device, QDQ_F32, N, NULL), *out = make_buffer(device, QDQ_F32, N, NULL);
    qdq_error_sums sums = {0};
    qdq_op op = {.kind = QDQ_OP_ERROR, .n_formats = 1, .count = N, .row = N, .error = &sums};
    op.input = (qdq_span){.memory = in->storage->memory, .dtype = QDQ_F32};
    double seconds[3] = {-1, -1, -1};
    assert_ok(backend->build(device->state, &op));
    assert_ok(backend->time_ops(device->state, &op, 1, 3, seconds));
    for (int i = 0; i < 3; i++) assert_true(seconds[i] >= 0);
    assert_true(sums.count == 0 && sums.ww == 0);
    assert_ok(backend->time_copy(device->state, out->storage->memory, in->storage->memory, N * 4, 3, seconds));
    for (int i = 0; i < 3; i++) assert_true(seconds[i] >= 0);
    qdq_buffer_free(in);
    qdq_buffer_free(out);
}

static void the_device_describes_itself(void **state) {
    (void)state;
    qdq_device_info info = {.size = sizeof info}, listed = {.size = sizeof listed};
    assert_ok(qdq_device_describe(device, &info));
    assert_int_equal(info.available, 1);
    assert_true(info.memory > 0);
    assert_int_equal(strncmp(info.name, device_name, strcspn(device_name, ":")), 0);
    bool found = false;
    for (uint32_t i = 0; qdq_device_list(i, &listed) == QDQ_OK; i++) found |= strcmp(listed.name, info.name) == 0;
    assert_true(found);
}

/* Whichever tests were chosen: the layer has said nothing. */
static bool the_validation_layer_is_silent(void) {
    if (strncmp(device_name, "vulkan", 6) != 0 || !qdq_vulkan_validates()) return true;
    const char *first;
    uint32_t n = qdq_vulkan_messages(&first);
    if (n > 0) printf("the validation layer has %u messages; the first: %s\n", (unsigned)n, first);
    return n == 0;
}

int main(int argc, char **argv) {
    if (getenv("QDQ_TEST_DEVICE")) device_name = getenv("QDQ_TEST_DEVICE");
    if (argc > 1) device_name = argv[1];
    if (argc > 2 && argv[2][0] == '-')
        cmocka_set_skip_filter(argv[2] + 1);
    else if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    if (!getenv("QDQ_VULKAN_VALIDATION")) qdq_set_environment("QDQ_VULKAN_VALIDATION", "1");
    if (qdq_device_open(device_name, &device) != QDQ_OK) {
        printf("SKIPPED: %s\n", qdq_error_message());
        return 77;
    }
    if (qdq_device_open("cpu", &cpu) != QDQ_OK) return 1;
    qdq_device_info info = {.size = sizeof info};
    if (qdq_device_describe(device, &info) != QDQ_OK) return 1;
    compiles_slowly = strstr(info.description, "llvmpipe") != NULL;
    is_look_alike = strncmp(info.description, "Fake", 4) == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_describes_itself),
        cmocka_unit_test(golden_vectors),
        cmocka_unit_test(every_operation_format_and_dtype),
        cmocka_unit_test(lengths_that_are_no_multiple_of_a_tile),
        cmocka_unit_test(sub_buffers_at_any_element),
        cmocka_unit_test(in_place),
        cmocka_unit_test(importance_of_rows),
        cmocka_unit_test(several_formats_at_once),
        cmocka_unit_test(pieces_give_the_whole),
        cmocka_unit_test(dispatches_run_in_order),
        cmocka_unit_test(large_buffers),
        cmocka_unit_test(buffers_of_5_gib),
        cmocka_unit_test(two_encoders_from_two_threads),
        cmocka_unit_test(two_devices_at_once),
        cmocka_unit_test(wrong_use_is_refused),
        cmocka_unit_test(only_a_cpu_takes_sources_as_formats),
        cmocka_unit_test(halves_are_roundings_of_floats),
        cmocka_unit_test(several_sensitivities_at_once),
        cmocka_unit_test(rows_with_a_pitch),
        cmocka_unit_test(error_totals_tell_where),
        cmocka_unit_test(submitted_work_is_done_in_order),
        cmocka_unit_test(encoders_are_waited_for_together),
        cmocka_unit_test(fresh_buffers_are_zero),
        cmocka_unit_test(copies_at_any_byte),
        cmocka_unit_test(readers_fill_buffers),
        cmocka_unit_test(times_are_told),
    };
    int failed = cmocka_run_group_tests_name(device_name, tests, NULL, NULL);
    qdq_device_close(device);
    qdq_device_close(cpu);
    return failed || !the_validation_layer_is_silent();
}
