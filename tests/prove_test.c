/* qdq_prove() and qdq_prove_ggml() as programs have them: what is told, what is found, what ends them.
 * QDQ_FAKE_GGML_PATH is that of the library of fake_ggml.c. */
#include "support.h"

#include "qdq.h"
#include "base/platform.h"

typedef struct told {
    uint64_t proofs, passed_over, differing, weighted, calls;
    uint64_t kinds[QDQ_PROOF_SUMS + 1];
    uint64_t differing_blocks[64]; /* a format */
    uint64_t fail_after;           /* proofs; 0: never */
    bool stop;
    uint8_t changed; /* bits in which the first difference's block differs */
    char why[256];
} told;

static qdq_status tell(void *context, const qdq_proof *p) {
    told *t = context;
    assert_int_equal(p->size, sizeof *p);
    if (p->passed_over) {
        t->passed_over++;
        snprintf(t->why, sizeof t->why, "%s", p->passed_over);
        assert_int_equal(p->compared, 0);
        return QDQ_OK;
    }
    t->proofs++;
    t->kinds[p->kind]++;
    t->weighted += p->weighted;
    assert_true(p->compared > 0 && strlen(p->inputs) > 0 && strlen(p->against) > 0);
    bool blocks = p->kind == QDQ_PROOF_PACKING || p->kind == QDQ_PROOF_DECODING;
    assert_int_equal(blocks, p->format != QDQ_FORMAT_NONE);
    assert_int_equal(blocks && p->differing > 0, p->values != NULL);
    assert_int_equal(p->kind == QDQ_PROOF_PACKING && p->differing > 0, p->input != NULL);
    if (p->differing > 0) {
        t->differing++;
        t->differing_blocks[p->format] += p->differing;
        if (p->expected_packed) t->changed = p->packed[0] ^ p->expected_packed[0];
    }
    return t->fail_after > 0 && t->proofs >= t->fail_after ? qdq_fail(QDQ_IO_ERROR, "enough") : QDQ_OK;
}

static bool count_calls(void *context, const char *proof, uint64_t done, uint64_t total) {
    told *t = context;
    assert_true(strlen(proof) > 0 && done <= total);
    t->calls++;
    return !t->stop;
}

static qdq_proof_options options_of(told *t, const char *format, qdq_format *room) {
    *room = qdq_format_by_name(format);
    return (qdq_proof_options){.size = sizeof(qdq_proof_options),
                               .device = "cpu",
                               .formats = room,
                               .n_formats = 1,
                               .threads = 2,
                               .seconds = 0.02,
                               .seed = 3,
                               .proved = tell,
                               .progress = count_calls,
                               .context = t};
}

static void a_device_is_proved(void **state) {
    told t = {0};
    qdq_format format;
    qdq_proof_options options = options_of(&t, "q4_K", &format);
    qdq_proof_report report = {.size = sizeof report};
    assert_ok(qdq_prove(&options, &report));
    assert_int_equal(report.proofs, t.proofs);
    assert_int_equal(report.passed_over, t.passed_over);
    assert_int_equal(report.failed, 0);
    assert_int_equal(t.differing, 0);
    assert_true(t.kinds[QDQ_PROOF_OPERATION] > 10 && t.kinds[QDQ_PROOF_SUMS] == 1 && t.calls > 0);
    if (strcmp(qdq_cpu_tier(), "c") == 0) { /* the reference itself */
        assert_int_equal(t.passed_over, 1);
        return;
    }
    assert_int_equal(t.weighted, 2);
    assert_true(t.kinds[QDQ_PROOF_PACKING] >= 8 && t.kinds[QDQ_PROOF_DECODING] == 1 && report.blocks > 0);
}

static void callbacks_end_a_proof(void **state) {
    told t = {.fail_after = 2};
    qdq_format format;
    qdq_proof_options options = options_of(&t, "q4_K", &format);
    qdq_proof_report report = {.size = sizeof report};
    assert_refused(qdq_prove(&options, &report), QDQ_IO_ERROR, "enough");
    assert_int_equal(report.proofs, 2);
    t = (told){.stop = true};
    assert_refused(qdq_prove(&options, NULL), QDQ_CANCELLED, "cancelled");
    assert_int_equal(t.proofs, 0);
}

/* ---- Code of the caller's ---- */

typedef struct engine {
    uint8_t damage; /* bits of a block's first byte that come out wrong */
    bool without;   /* it does not have the format */
} engine;

static qdq_status own_quantize(void *context, qdq_format format, const float *x, uint64_t n, const float *weights,
                               uint64_t row, void *blocks) {
    const engine *e = context;
    if (e->without || weights) return qdq_fail(QDQ_UNSUPPORTED, "this engine has no such kernel");
    assert_int_equal(n % row, 0);
    qdq_status status = qdq_quantize(format, x, blocks, n);
    qdq_format_info info = {.size = sizeof info};
    assert_ok(qdq_format_describe(format, &info));
    for (uint64_t i = 0; i < n / info.block_elements; i++) ((uint8_t *)blocks)[i * info.block_bytes] ^= e->damage;
    return status;
}

static qdq_status own_dequantize(void *context, qdq_format format, const void *blocks, uint64_t n, float *values) {
    const engine *e = context;
    qdq_status status = qdq_dequantize(format, blocks, values, n);
    for (uint64_t i = 0; i < n && e->damage != 0; i++) values[i] = -values[i];
    return status;
}

static void code_of_the_callers_is_proved(void **state) {
    engine e = {0};
    qdq_codec codec = {.size = sizeof codec, .name = "my engine", .context = &e, .quantize = own_quantize};
    told t = {0};
    qdq_format format;
    qdq_proof_options options = options_of(&t, "tq2_0", &format); /* which uses no importance */
    qdq_proof_report report = {.size = sizeof report};
    options.codec = &codec;
    options.device = "nonesuch"; /* is not asked */
    assert_ok(qdq_prove(&options, &report));
    assert_int_equal(report.failed, 0);
    assert_true(t.kinds[QDQ_PROOF_PACKING] >= 5);
    assert_int_equal(t.kinds[QDQ_PROOF_OPERATION] + t.kinds[QDQ_PROOF_SUMS] + t.kinds[QDQ_PROOF_DECODING], 0);

    e.damage = 4;
    t = (told){0};
    assert_ok(qdq_prove(&options, &report));
    assert_true(report.failed > 0 && t.differing == report.failed);
    assert_int_equal(t.changed, 4);

    e.damage = 0x80;
    t = (told){0};
    codec.quantize = NULL;
    codec.dequantize = own_dequantize;
    assert_ok(qdq_prove(&options, &report));
    assert_int_equal(t.kinds[QDQ_PROOF_DECODING], 1);
    assert_int_equal(t.kinds[QDQ_PROOF_PACKING], 0);
    assert_int_equal(report.failed, 1);

    e.without = true;
    codec.quantize = own_quantize;
    codec.dequantize = NULL;
    assert_ok(qdq_prove(&options, &report));
    assert_int_equal(report.passed_over, 1);
    assert_non_null(strstr(t.why, "no such kernel"));
    codec.quantize = NULL;
    assert_refused(qdq_prove(&options, &report), QDQ_INVALID_ARGUMENT, "neither");
}

/* ---- A ggml ---- */

static const char *library(const char *how) {
    static char path[4096]; /* what getenv() gives moves when the environment is set, or a library opened */
    const char *given = getenv("QDQ_FAKE_GGML_PATH");
    if (!given) skip();
    snprintf(path, sizeof path, "%s", given);
    qdq_set_environment("QDQ_FAKE_GGML", how);
    return path;
}

static void prove_fake(const char *how, qdq_ggml_fusion fusion, told *t, qdq_proof_report *report) {
    const char *path = library(how);
    qdq_ggml_info info = {.size = sizeof info};
    qdq_format formats[3] = {qdq_format_by_name("q4_0"), qdq_format_by_name("q8_0"), qdq_format_by_name("tq2_0")};
    qdq_proof_options options = options_of(t, "q4_0", &formats[0]);
    *t = (told){0};
    *report = (qdq_proof_report){.size = sizeof *report};
    options.n_formats = 3;
    options.elements = 1 << 20;
    assert_ok(qdq_ggml_describe(path, &info));
    assert_null(info.revision); /* it has no iq1_m */
    assert_int_equal(info.fusion, fusion);
    assert_ok(qdq_prove_ggml(path, &options, report));
}

static void a_ggml_is_held_against_the_device(void **state) {
    told t;
    qdq_proof_report report;
    qdq_format q4_0 = qdq_format_by_name("q4_0"), q8_0 = qdq_format_by_name("q8_0");
    prove_fake("", QDQ_GGML_FUSION_NONE, &t, &report);
    /* Random and adversarial weights and decoding, of two formats; q4_0 with importance too, which it passes over. */
    assert_int_equal(t.differing_blocks[q8_0], 0);
    assert_int_equal(t.kinds[QDQ_PROOF_DECODING], 2);
    assert_int_equal(report.passed_over, 1);
    assert_non_null(strstr(t.why, "dequantize_row_tq2_0"));
    uint64_t weighted = t.differing_blocks[q4_0];

    prove_fake("fused", QDQ_GGML_FUSION_FUSED, &t, &report);
    assert_true(t.differing_blocks[q4_0] > weighted);
    assert_int_equal(t.differing_blocks[q8_0], 0);

    prove_fake("other", QDQ_GGML_FUSION_NONE, &t, &report);
    assert_true(t.differing_blocks[q8_0] > (1 << 20) / 32);

    if (!qdq_runs_apart) return; /* it would end this process */
    prove_fake("ends", QDQ_GGML_FUSION_NONE, &t, &report);
    assert_int_equal(t.differing_blocks[q8_0], 0);
    assert_int_equal(t.kinds[QDQ_PROOF_DECODING], 2);
}

static void what_cannot_be_proved_is_refused(void **state) {
    told t = {0};
    qdq_format format;
    qdq_proof_options options = options_of(&t, "q4_0", &format);
    qdq_proof_report report = {0};
    options.device = "nonesuch";
    assert_int_not_equal(qdq_prove(&options, NULL), QDQ_OK);
    options.device = "cpu";
    format = 12345;
    assert_refused(qdq_prove(&options, NULL), QDQ_INVALID_ARGUMENT, "12345");
    format = 0;
    options.threads = 5000;
    assert_refused(qdq_prove(&options, NULL), QDQ_INVALID_ARGUMENT, "5000 threads");
    options.formats = NULL;
    options.threads = 1;
    assert_refused(qdq_prove(&options, NULL), QDQ_INVALID_ARGUMENT, "formats is NULL");
    options.size = 0;
    assert_refused(qdq_prove(&options, NULL), QDQ_INVALID_ARGUMENT, "size");
    assert_refused(qdq_prove(NULL, &report), QDQ_INVALID_ARGUMENT, "report->size");
    assert_refused(qdq_prove_ggml("/nonexistent/libggml-base.so", NULL, NULL), QDQ_IO_ERROR, "nonexistent");
    assert_refused(qdq_prove_ggml(NULL, NULL, NULL), QDQ_INVALID_ARGUMENT, "NULL");
    qdq_ggml_info info = {0};
    assert_refused(qdq_ggml_describe("x", &info), QDQ_INVALID_ARGUMENT, "size");
    info.size = sizeof info;
    assert_refused(qdq_ggml_describe("/nonexistent/libggml-base.so", &info), QDQ_IO_ERROR, "nonexistent");
    assert_int_equal(t.proofs, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_is_proved),
        cmocka_unit_test(callbacks_end_a_proof),
        cmocka_unit_test(code_of_the_callers_is_proved),
        cmocka_unit_test(a_ggml_is_held_against_the_device),
        cmocka_unit_test(what_cannot_be_proved_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
