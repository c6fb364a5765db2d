/* Proofs find what is wrong: quantizers with one planted error each are caught, with the right block named. And the
 * command's quick selftest passes on this CPU's tier (run once a tier by CMake). */
#include "support.h"

#include <math.h>

#include "proof/operation_proofs.h"
#include "proof/comparison.h"
#include "proof/reference.h"
#include "proof/sum_proofs.h"
#include "api/device.h"
#include "base/format.h"

enum { WORKERS = 3 };

static qdq_format format_named(const char *name) {
    qdq_format f = qdq_format_by_name(name);
    assert_int_not_equal(f, QDQ_FORMAT_NONE);
    return f;
}

static const char *const plain_formats[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0"};

/* ---- A quantizer that is plain C but for one mistake ---- */

typedef struct mistake {
    uint32_t trigger; /* bits of an element in whose block … */
    uint32_t byte;    /* … this byte of the packed block */
    int value;        /* or, if byte is past the end, this value */
    uint8_t xor_with; /* is changed so (the value's last byte) */
} mistake;

static qdq_status wrong_quantize(void *context, int worker, qdq_format format, const float *x, uint64_t n,
                                 const float *weights, uint64_t row, uint8_t *blocks, float *values) {
    const mistake *m = context;
    qdq_quantizer plain = qdq_reference_quantizer();
    uint32_t bytes = qdq_format_get(format)->block_bytes;
    qdq_status status = plain.quantize(NULL, worker, format, x, n, weights, row, blocks, values);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        if (bits != m->trigger) continue;
        if (m->byte < bytes)
            blocks[i / 32 * bytes + m->byte] ^= m->xor_with;
        else
            ((uint8_t *)&values[i / 32 * 32 + (uint64_t)m->value])[0] ^= m->xor_with;
    }
    return status;
}

static qdq_status wrong_dequantize(void *context, int worker, qdq_format format, const uint8_t *blocks, uint64_t n,
                                   float *values) {
    const mistake *m = context;
    qdq_quantizer plain = qdq_reference_quantizer();
    qdq_status status = plain.dequantize(NULL, worker, format, blocks, n, values);
    uint32_t bytes = qdq_format_get(format)->block_bytes;
    for (uint64_t b = 0; b < n / 32; b++)
        if ((uint32_t)(blocks[b * bytes] | blocks[b * bytes + 1] << 8) == m->trigger)
            values[b * 32 + (uint64_t)m->value] = -values[b * 32 + (uint64_t)m->value];
    return status;
}

static qdq_quantizer wrong(mistake *m) {
    qdq_quantizer q = qdq_reference_quantizer();
    q.name = "a quantizer with a mistake";
    q.context = m;
    q.quantize = wrong_quantize;
    q.dequantize = wrong_dequantize;
    return q;
}

static qdq_verdict prove(qdq_comparison proof, const qdq_quantizer *subject) {
    static qdq_verdict verdict;
    qdq_quantizer plain = qdq_reference_quantizer();
    assert_ok(qdq_compare(&proof, subject, &plain, WORKERS, NULL, NULL, &verdict));
    return verdict;
}

static void a_wrong_bit_in_one_scale_is_found(void **state) {
    for (size_t f = 0; f < 5; f++) {
        /* Block 1,023 of the sweep has it as its extreme; later ones have it as a fraction of theirs. Changed: the
         * scale's last bit. */
        mistake m = {.trigger = 1023u * 4099u, .byte = 0, .xor_with = 1};
        qdq_quantizer subject = wrong(&m);
        qdq_comparison proof = {.format = format_named(plain_formats[f]), .inputs = qdq_inputs_scales(4099)};
        qdq_verdict v = prove(proof, &subject);
        assert_true(v.differing >= 1);
        assert_int_equal(v.first, 1023);
        assert_int_equal(v.n_elements, 32);
        assert_memory_equal(&v.input[1023 % 32], &m.trigger, 4);
        assert_int_equal(v.got_block[0] ^ v.expected_block[0], 1);
        assert_memory_equal(v.got, v.expected, sizeof(float) * 32);
    }
}

static void a_wrong_value_beside_one_element_is_found(void **state) {
    /* A multiple of the stride, so that the sweep meets it; -0 is told from 0 by one bit. */
    mistake m = {.trigger = 0x80000000u, .byte = UINT32_MAX, .value = 5, .xor_with = 0x80};
    qdq_quantizer subject = wrong(&m);
    qdq_comparison proof = {.format = format_named("q8_0"), .inputs = qdq_inputs_elements(0x42fe0000u, 32, 1)};
    /* From the block that has it in its middle: the whole sweep takes minutes. */
    uint64_t block = 0x80000000u / 31;
    proof.inputs.blocks = 64;
    qdq_inputs whole = proof.inputs;
    float x[32];
    whole.fill(&whole, block, x, 32);
    assert_true(x[block % 32] == 127.0f);
    qdq_verdict v = prove(proof, &subject);
    assert_int_equal(v.differing, 0);
    proof.inputs = qdq_inputs_elements(0x42fe0000u, 32, 4097);
    m.trigger = 4097u * 5003u;
    v = prove(proof, &subject);
    assert_int_equal(v.differing, 1);
    assert_int_equal(v.first, 5003 / 31);
    assert_memory_not_equal(v.got, v.expected, sizeof(float) * 32);
    assert_memory_equal(v.got_block, v.expected_block, 34);
}

static void a_wrong_decoding_of_one_scale_is_found(void **state) {
    for (size_t f = 0; f < 5; f++) {
        mistake m = {.trigger = 0x7bff, .value = 31};
        qdq_quantizer subject = wrong(&m);
        qdq_format format = format_named(plain_formats[f]);
        qdq_comparison proof = {.format = format,
                                .inputs = qdq_inputs_words(1, qdq_format_get(format)->block_bytes, 1)};
        qdq_verdict v = prove(proof, &subject);
        assert_true(v.differing > 0);
        assert_int_equal(v.got_block[0] | v.got_block[1] << 8, 0x7bff);
        assert_true(v.first <= 0x7bff);
    }
}

static void the_first_difference_is_the_same_at_any_number_of_workers(void **state) {
    qdq_comparison proof = {.format = format_named("q4_0"), .inputs = qdq_inputs_adversarial(7, 1 << 15)};
    mistake m = {.trigger = 0x80000000u, .byte = 3, .xor_with = 0x10}; /* -0 comes up in many blocks */
    qdq_quantizer subject = wrong(&m), plain = qdq_reference_quantizer();
    static qdq_verdict first, other;
    assert_ok(qdq_compare(&proof, &subject, &plain, 1, NULL, NULL, &first));
    assert_true(first.differing > 1);
    for (int workers = 2; workers <= 5; workers++) {
        assert_ok(qdq_compare(&proof, &subject, &plain, workers, NULL, NULL, &other));
        assert_int_equal(other.first, first.first);
        assert_memory_equal(other.input, first.input, sizeof first.input);
    }
    proof.count_all = true;
    assert_ok(qdq_compare(&proof, &subject, &plain, 2, NULL, NULL, &other));
    assert_int_equal(other.first, first.first);
    assert_int_equal(other.blocks, 1 << 15);
    assert_true(other.differing >= first.differing);
}

/* ---- Sweeps miss nothing ---- */

static void sweeps_visit_every_pattern(void **state) {
    /* Of the whole sweep, the blocks about the ends; of a thinned one, all blocks. */
    qdq_inputs inputs = qdq_inputs_elements(0x3f800000u, 32, 1);
    assert_true(inputs.blocks * 31 >= (uint64_t)1 << 32 && (inputs.blocks - 1) * 31 < (uint64_t)1 << 32);
    const uint64_t probes[] = {0, 1, 2, 31, 32, inputs.blocks / 2, inputs.blocks - 2, inputs.blocks - 1};
    for (size_t p = 0; p < sizeof probes / sizeof probes[0]; p++) {
        uint32_t x[32], seen = 0;
        inputs.fill(&inputs, probes[p], x, 32);
        for (uint32_t k = 0; k < 31; k++)
            for (int i = 0; i < 32; i++)
                if (x[i] == (uint32_t)(probes[p] * 31 + k) && (uint64_t)i != probes[p] % 32) seen++;
        assert_int_equal(seen, 31);
        assert_int_equal(x[probes[p] % 32], 0x3f800000u);
    }
    inputs = qdq_inputs_scales(1);
    assert_true(inputs.blocks == (uint64_t)1 << 32);
    uint32_t x[32];
    inputs.fill(&inputs, 0xff7fffffu, x, 32);
    assert_int_equal(x[31], 0xff7fffffu);
}

static void inputs_come_again(void **state) {
    qdq_inputs kinds[] = {qdq_inputs_random(3, 64), qdq_inputs_adversarial(3, 64)};
    for (int k = 0; k < 2; k++) {
        float a[256], b[256];
        bool finite = true, seeds_differ = false;
        for (uint64_t i = 0; i < 64; i++) {
            kinds[k].fill(&kinds[k], i, a, 256);
            kinds[k].fill(&kinds[k], i, b, 256);
            assert_memory_equal(a, b, sizeof a);
            qdq_inputs other = kinds[k];
            other.seed++;
            other.fill(&other, i, b, 256);
            seeds_differ |= memcmp(a, b, sizeof a) != 0;
            for (int e = 0; e < 256; e++) finite &= isfinite(a[e]) != 0;
        }
        assert_true(seeds_differ);
        assert_int_equal(finite, k == 0); /* adversarial blocks have NaNs and infinities */
    }
}

/* ---- The plain C itself ---- */

static void plain_c_gives_the_golden_blocks(void **state) {
    size_t size = 0;
    float *x = read_data("input.f32", &size);
    assert_non_null(x);
    for (size_t f = 0; f < 5; f++) {
        char name[32];
        snprintf(name, sizeof name, "%s.blk", plain_formats[f]);
        size_t bytes = 0;
        uint8_t *golden = read_data(name, &bytes);
        assert_non_null(golden);
        const qdq_reference *reference = qdq_reference_of(plain_formats[f]);
        size_t block = bytes / (size / 128);
        for (size_t i = 0; i < size / 128; i++) {
            uint8_t own[32 + 2];
            assert_true(reference->quantize(x + 32 * i, own));
            assert_memory_equal(own, golden + i * block, block);
        }
        free(golden);
    }
    free(x);
}

static void plain_c_says_what_c_leaves_undefined(void **state) {
    uint8_t block[34];
    float x[32] = {1.0f};
    for (size_t f = 0; f < 5; f++) {
        const qdq_reference *reference = qdq_reference_of(plain_formats[f]);
        x[1] = 0.0f;
        assert_true(reference->quantize(x, block));
        x[1] = NAN;
        assert_false(reference->quantize(x, block));
        x[1] = INFINITY;
        assert_false(reference->quantize(x, block));
        float tiny[32] = {0x1p-140f, 0x1p-141f}; /* the scale's inverse overflows */
        assert_false(reference->quantize(tiny, block));
    }
}

static void plain_halves_are_all_right(void **state) {
    for (uint32_t h = 0; h < 65536; h++) {
        float v = qdq_reference_half_value((uint16_t)h);
        if ((h & 0x7fff) > 0x7c00) {
            assert_true(isnan(v));
            assert_int_equal(qdq_reference_half(v), (h & 0x8000) | 0x7e00);
            continue;
        }
        assert_int_equal(qdq_reference_half(v), h);
        /* Half way to the next goes to the even one, a little less or more does not. */
        if ((h & 0x7fff) >= 0x7bff) continue;
        float next = qdq_reference_half_value((uint16_t)(h + 1)), middle = v / 2 + next / 2;
        assert_int_equal(qdq_reference_half(middle), h + (h & 1));
        assert_int_equal(qdq_reference_half(nextafterf(middle, v)), h);
        assert_int_equal(qdq_reference_half(nextafterf(middle, next)), h + 1);
    }
}

/* ---- Devices ---- */

static void the_device_is_proved(void **state) {
    qdq_quantizer device, scalar;
    const char *name = getenv("QDQ_TEST_DEVICE") ? getenv("QDQ_TEST_DEVICE") : "cpu";
    assert_ok(qdq_device_quantizer(name, QDQ_F32, WORKERS, &device));
    assert_ok(qdq_scalar_quantizer(WORKERS, &scalar));
    static qdq_verdict verdict;
    for (qdq_format f = 0; f < qdq_block_format_count(); f++) {
        const qdq_format_row *row = qdq_format_get(f);
        if (row->importance == 2) continue;
        qdq_inputs inputs[] = {qdq_inputs_random(11, 300), qdq_inputs_adversarial(11, 1000), qdq_inputs_scales(4000037),
                               qdq_inputs_elements(0x3f800000u, row->block_elements, 500009),
                               qdq_inputs_words(11, row->block_bytes, 4099)};
        for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
            qdq_comparison proof = {.format = f, .inputs = inputs[i]};
            assert_ok(qdq_compare(&proof, &device, &scalar, WORKERS, NULL, NULL, &verdict));
            if (verdict.differing) fail_msg("%s, inputs %zu: block %d", row->name, i, (int)verdict.first);
            assert_int_equal(verdict.blocks, inputs[i].blocks);
            if (!qdq_reference_of(row->name)) continue;
            verdict = prove(proof, &device);
            if (verdict.differing) fail_msg("%s, inputs %zu: block %d, plain C", row->name, i, (int)verdict.first);
        }
    }
    qdq_quantizer_close(&device);
    qdq_quantizer_close(&scalar);
}

/* ---- The dialect's operations ---- */

static void what_operations_give_is_known(void **state) {
    static const struct {
        qdq_dialect_operation operation;
        uint32_t a, b, result;
    } known[] = {
        {QDQ_DIV_RN, 0x3f800000, 0x40400000, 0x3eaaaaab},  /* 1 / 3 */
        {QDQ_DIV_RN, 0x00000003, 0x40000000, 0x00000002},  /* a subnormal tie goes to the even one */
        {QDQ_SQRT_RN, 0x40000000, 0, 0x3fb504f3},          /* sqrt 2 */
        {QDQ_PRODUCT, 0x3f800001, 0x3f800001, 0x3f800002}, /* (1 + 2^-23)^2 */
        {QDQ_MUL_V, 0x7f800000, 0x00000000, 0xffc00000},   /* inf * 0 */
        {QDQ_ADD_V, 0x7f800001, 0x7fc00002, 0x7fc00001},   /* the first NaN, quiet */
        {QDQ_SUB_V, 0x3f800000, 0xff800123, 0xffc00123},   /* the second, with its sign */
        {QDQ_MAX_R, 0x80000000, 0x00000000, 0x00000000},   /* of two zeros the second */
        {QDQ_MIN_R, 0x7fc00000, 0x3f800000, 0x3f800000},   /* beside a NaN the second */
        {QDQ_COMPARE, 0x7fc00000, 0x3f800000, 32},         /* a NaN is only unequal */
        {QDQ_F16_ROUND, 0x477ff000, 0, 0x7f800000},        /* 65520 */
        {QDQ_F16_BITS, 0x33000001, 0, 0x0001},             /* just over half of 2^-24 */
        {QDQ_F16_BITS, 0x33000000, 0, 0x0000},             /* half of it */
        {QDQ_F16_VALUE, 0x0001, 0, 0x33800000},            /* 2^-24 */
        {QDQ_ROUND_HALF_AWAY, 0x3effffff, 0, 0x00000000},  /* 0.49999997 */
        {QDQ_ROUND_HALF_AWAY, 0xbf000000, 0, 0xbf800000},  /* -0.5 */
        {QDQ_NEAREST_INT, 0x40200000, 0, 2},               /* 2.5 */
        {QDQ_NEAREST_INT, 0xc0600000, 0, (uint32_t)-4},    /* -3.5 */
        {QDQ_POSITIVE_ZERO, 0x80000000, 0, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal(qdq_operation_expected(known[i].operation, known[i].a, known[i].b), known[i].result);
    assert_true(qdq_operation_agrees(QDQ_DIV_RN, 0, 0, 0x7fc00000)); /* 0 / 0: any NaN */
    assert_false(qdq_operation_agrees(QDQ_DIV_RN, 0, 0, 0));
    assert_true(qdq_operation_agrees(QDQ_MUL_V, 0x7f800001, 0x7fc00002, 0x7fc00002));
    assert_false(qdq_operation_agrees(QDQ_MUL_V, 0x7f800001, 0x7fc00002, 0x7fc00003));
    assert_false(qdq_operation_agrees(QDQ_MUL_V, 0x7f800000, 0, 0x7fc00000));
}

/* Division by the reciprocal, which many a device's is: most quotients by 15 are right, some are not. */
static qdq_status sloppy(void *device, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                         uint32_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float x, y;
        memcpy(&x, &a[i], 4);
        memcpy(&y, &b[i], 4);
        out[i] = qdq_operation_expected(operation, a[i], b[i]);
        if (operation != QDQ_DIV_RN || y != 15.0f) continue;
        float quotient = x * (1.0f / 15.0f);
        memcpy(&out[i], &quotient, 4);
    }
    return QDQ_OK;
}

static void a_sloppy_division_is_found(void **state) {
    qdq_backend backend = {.name = "sloppy", .dialect = sloppy};
    qdq_device device = {.backend = &backend};
    qdq_operation_verdict v, other;
    assert_ok(qdq_prove_operation(&device, QDQ_DIV_RN, 65537, 1, NULL, NULL, &v));
    assert_true(v.differing > 0);
    assert_int_equal(v.b, 0x41700000);
    assert_int_equal(v.expected, qdq_operation_expected(QDQ_DIV_RN, v.a, v.b));
    assert_int_not_equal(v.got, v.expected);
    assert_ok(qdq_prove_operation(&device, QDQ_DIV_RN, 65537, WORKERS, NULL, NULL, &other));
    assert_int_equal(other.a, v.a);
    assert_ok(qdq_prove_operation(&device, QDQ_SQRT_RN, 65537, WORKERS, NULL, NULL, &v));
    assert_int_equal(v.differing, 0);
    assert_int_equal(v.compared, qdq_operation_pairs(QDQ_SQRT_RN, 65537));
    backend.dialect = NULL;
    assert_refused(qdq_prove_operation(&device, QDQ_DIV_RN, 1, 1, NULL, NULL, &v), QDQ_UNSUPPORTED, "sloppy");
}

static void the_devices_operations_are_proved(void **state) {
    qdq_device *device;
    assert_ok(qdq_device_open("cpu", &device));
    for (unsigned o = 0; o < QDQ_DIALECT_OPERATION_COUNT; o++) {
        qdq_dialect_operation operation = (qdq_dialect_operation)o;
        qdq_operation_verdict v;
        assert_ok(qdq_prove_operation(device, operation, 65537, WORKERS, NULL, NULL, &v));
        if (v.differing)
            fail_msg("%s of %08x and %08x: %08x, expected %08x", qdq_operation_name(operation), v.a, v.b, v.got,
                     v.expected);
        assert_int_equal(v.compared, qdq_operation_pairs(operation, 65537));
    }
    qdq_device_close(device);
}

static void the_devices_sums_are_proved(void **state) {
    qdq_format formats[] = {format_named("q4_0"), format_named("q4_1"), format_named("q8_0")};
    uint64_t compared;
    char difference[256];
    assert_ok(qdq_prove_sums("cpu", 5, formats, 3, 12, &compared, difference));
    assert_string_equal(difference, "");
    assert_int_equal(compared, 12 * 9);
}

static bool stop_at_once(void *context, uint64_t elements) { return false; }

static void what_cannot_be_proved_is_refused(void **state) {
    static qdq_verdict verdict;
    qdq_quantizer plain = qdq_reference_quantizer();
    qdq_comparison proof = {.format = 9999, .inputs = qdq_inputs_random(1, 10)};
    assert_refused(qdq_compare(&proof, &plain, &plain, 1, NULL, NULL, &verdict), QDQ_INVALID_ARGUMENT, "9999");
    float weights[64] = {1};
    proof = (qdq_comparison){.format = 0, .inputs = qdq_inputs_random(1, 10), .weights = weights, .row = 33};
    assert_refused(qdq_compare(&proof, &plain, &plain, 1, NULL, NULL, &verdict), QDQ_INVALID_ARGUMENT, "rows of 33");
    proof.row = 64;
    assert_refused(qdq_compare(&proof, &plain, &plain, 1, NULL, NULL, &verdict), QDQ_UNSUPPORTED, "importance");
    proof = (qdq_comparison){.format = format_named("q4_0"), .inputs = qdq_inputs_random(1, 1 << 16)};
    assert_refused(qdq_compare(&proof, &plain, &plain, 2, stop_at_once, NULL, &verdict), QDQ_CANCELLED, "cancelled");
    qdq_quantizer none;
    assert_int_not_equal(qdq_device_quantizer("nonesuch", QDQ_F32, 1, &none), QDQ_OK);
    qdq_ggml *ggml;
    assert_refused(qdq_ggml_open("/nonexistent/libggml-base.so", &ggml), QDQ_IO_ERROR, "nonexistent");
    assert_null(ggml);
}

/* The revisions of the reference, by the block that ggml d99724f2 made of the probe, and by this library's. */
static void revisions(void **state) {
    static const uint8_t before[QDQ_PROBE_BYTES] = {
        0x5a, 0x44, 0xd1, 0xfd, 0xe8, 0x4d, 0x37, 0xb1, 0x82, 0x14, 0x47, 0x94, 0x39, 0x61,
        0x84, 0xc0, 0x01, 0x5d, 0x63, 0x2a, 0x5c, 0x09, 0xc2, 0x28, 0x05, 0x3f, 0x16, 0x3c,
        0xe6, 0x3d, 0xb0, 0x54, 0xea, 0xe5, 0xdd, 0x82, 0x9d, 0x5e, 0xd2, 0x1b, 0xf0, 0xbf,
        0x0f, 0xed, 0x09, 0x88, 0x30, 0x88, 0xfe, 0x8f, 0xfe, 0xef, 0xf7, 0xff, 0xf7, 0x2f};
    assert_int_equal(qdq_ggml_revision_of_block(before), QDQ_GGML_2026_08);
    float x[QDQ_PROBE];
    uint8_t block[QDQ_PROBE_BYTES];
    qdq_ggml_probe(x);
    assert_int_equal(qdq_quantize(qdq_format_by_name("iq1_m"), x, block, QDQ_PROBE), QDQ_OK);
    assert_int_equal(qdq_ggml_revision_of_block(block), QDQ_GGML_2026_09);
    block[3] ^= 1;
    assert_int_equal(qdq_ggml_revision_of_block(block), QDQ_GGML_OTHER);
}

/* A library, but no ggml. */
static void another_library_is_no_ggml(void **state) {
    qdq_ggml *ggml;
    qdq_status status = qdq_ggml_open("libm.so.6", &ggml);
    if (status == QDQ_IO_ERROR) skip(); /* another C library's system */
    assert_int_equal(status, QDQ_UNSUPPORTED);
    assert_non_null(strstr(qdq_error_message(), "ggml_quantize_chunk"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_bit_in_one_scale_is_found),
        cmocka_unit_test(a_wrong_value_beside_one_element_is_found),
        cmocka_unit_test(a_wrong_decoding_of_one_scale_is_found),
        cmocka_unit_test(the_first_difference_is_the_same_at_any_number_of_workers),
        cmocka_unit_test(sweeps_visit_every_pattern),
        cmocka_unit_test(inputs_come_again),
        cmocka_unit_test(plain_c_gives_the_golden_blocks),
        cmocka_unit_test(plain_c_says_what_c_leaves_undefined),
        cmocka_unit_test(plain_halves_are_all_right),
        cmocka_unit_test(what_operations_give_is_known),
        cmocka_unit_test(a_sloppy_division_is_found),
        cmocka_unit_test(the_devices_operations_are_proved),
        cmocka_unit_test(the_device_is_proved),
        cmocka_unit_test(the_devices_sums_are_proved),
        cmocka_unit_test(what_cannot_be_proved_is_refused),
        cmocka_unit_test(revisions),
        cmocka_unit_test(another_library_is_no_ggml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
