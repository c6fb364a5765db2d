/* Proofs of a device, or of code in its place: which inputs each format meets, and against what. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proof/operation_proofs.h"
#include "proof/prover.h"
#include "proof/reference.h"
#include "proof/sum_proofs.h"
#include "base/error.h"
#include "base/format.h"

typedef struct proving {
    qdq_prover p;
    bool subject_is_scalar; /* the device is the scalar lane itself */
    qdq_quantizer scalar, plain, from_f16, from_bf16;
} proving;

static const qdq_quantizer *subject(const proving *s) { return &s->p.subject; }

static bool full(const proving *s) { return s->p.wish.full != 0; }

/* Seconds for a proof whose reference is no plain C; 0: as many as it takes. */
static double time_of(const proving *s) { return s->p.wish.seconds > 0 ? s->p.wish.seconds : full(s) ? 0 : 0.05; }

/* ---- Inputs ----------------------------------------------------------------------------------------------------- */

typedef enum family { SCALES, ELEMENTS, WORDS, RANDOM, ADVERSARIAL, HALVES, BFLOATS } family;

/* "4,294,967,296" */
static const char *grouped(uint64_t n, char text[32]) {
    char digits[32], *out = text;
    int length = snprintf(digits, sizeof digits, "%" PRIu64, n);
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return text;
}

/* "each of the …" or "one in 4,099 of the …". */
static void name_share(uint64_t stride, const char *of, char *text, size_t size) {
    char number[32];
    if (stride == 1)
        snprintf(text, size, "each of the %s", of);
    else
        snprintf(text, size, "one in %s of the %s", grouped(stride, number), of);
}

static void name_inputs(family kind, const qdq_inputs *inputs, char *text, size_t size) {
    char share[128];
    name_share(inputs->stride, kind == WORDS ? "values of each 16-bit word of a packed block" : "2^32 binary32 numbers",
               share, sizeof share);
    float extreme;
    memcpy(&extreme, &inputs->extreme, 4);
    switch (kind) {
    case SCALES: snprintf(text, size, "%s as the extreme of a block", share); break;
    case ELEMENTS: snprintf(text, size, "%s beside %g", share, (double)extreme); break;
    case WORDS: snprintf(text, size, "%s, decoded", share); break;
    case RANDOM: snprintf(text, size, "random weights"); break;
    case ADVERSARIAL: snprintf(text, size, "adversarial weights"); break;
    case HALVES: snprintf(text, size, "each binary16 number as the source"); break;
    case BFLOATS: snprintf(text, size, "each bfloat16 number as the source"); break;
    }
}

static qdq_inputs inputs_of(const proving *s, family kind, const qdq_format_row *row, uint32_t extreme, bool plain) {
    bool whole = full(s) || !plain; /* what has no plain C is thinned out by time */
    uint64_t seed = s->p.wish.seed, blocks = full(s) ? 1 << 22 : 1 << 16;
    switch (kind) {
    case SCALES: return qdq_inputs_scales(whole ? 1 : 4099);
    case ELEMENTS: return qdq_inputs_elements(extreme, row->block_elements, whole ? 1 : 1021);
    case WORDS: return qdq_inputs_words(seed, row->block_bytes, whole ? 1 : 5);
    case RANDOM: return qdq_inputs_random(seed, blocks);
    case ADVERSARIAL: return qdq_inputs_adversarial(seed, blocks);
    case HALVES: return qdq_inputs_halves();
    default: return qdq_inputs_bfloats();
    }
}

/* ---- One format ------------------------------------------------------------------------------------------------- */

/* Code of the caller's takes floats alone, and may have one of its two functions alone. */
static bool has(const proving *s, family kind) {
    const qdq_codec *codec = s->p.wish.codec;
    if (!codec) return true;
    if (kind == HALVES || kind == BFLOATS) return false;
    return kind == WORDS ? codec->dequantize != NULL : codec->quantize != NULL;
}

static qdq_status prove_family(proving *s, qdq_format format, family kind, uint32_t extreme,
                               const qdq_quantizer *reference, bool plain) {
    if (!has(s, kind)) return QDQ_OK;
    const qdq_quantizer *held = kind == HALVES ? &s->from_f16 : kind == BFLOATS ? &s->from_bf16 : subject(s);
    qdq_comparison c = {.format = format, .inputs = inputs_of(s, kind, qdq_format_get(format), extreme, plain)};
    char inputs[192];
    qdq_status status = plain ? QDQ_OK : qdq_prover_fit_time(&s->p, &c, held, reference, time_of(s));
    name_inputs(kind, &c.inputs, inputs, sizeof inputs);
    if (status == QDQ_OK) status = qdq_prover_compare(&s->p, &c, held, reference, inputs);
    return status == QDQ_OK ? qdq_prover_tell_verdict(&s->p, &c, inputs, reference) : status;
}

/* 1; -8 and 127, which make the inverse scale 1 in Q4_0 and Q8_0; the largest number. */
static const uint32_t extremes[] = {0x3f800000u, 0xc1000000u, 0x42fe0000u, 0xff7fffffu};

static qdq_status prove_families(proving *s, qdq_format format, bool plain) {
    const qdq_quantizer *reference = plain ? &s->plain : &s->scalar;
    qdq_status status = prove_family(s, format, SCALES, 0, reference, plain);
    size_t sweeps = plain ? sizeof extremes / sizeof extremes[0] : 2;
    for (size_t e = 0; e < sweeps && status == QDQ_OK; e++)
        status = prove_family(s, format, ELEMENTS, extremes[e], reference, plain);
    for (family k = WORDS; k <= BFLOATS && status == QDQ_OK; k++)
        status = prove_family(s, format, k, 0, reference, plain);
    if (plain && !s->subject_is_scalar) {
        if (status == QDQ_OK) status = prove_family(s, format, RANDOM, 0, &s->scalar, plain);
        if (status == QDQ_OK) status = prove_family(s, format, ADVERSARIAL, 0, &s->scalar, plain);
    }
    return status;
}

/* The fit that an importance matrix steers, on rows of one kind each. */
static qdq_status prove_weighted(proving *s, qdq_format format, bool adversarial) {
    if (!has(s, RANDOM)) return QDQ_OK;
    uint64_t rows = (full(s) ? 1 << 22 : 1 << 16) / (QDQ_IMPORTANCE_ROW / 32), seed = s->p.wish.seed;
    qdq_comparison c = {.format = format,
                        .inputs = adversarial ? qdq_inputs_adversarial(seed, rows) : qdq_inputs_random(seed, rows),
                        .weights = s->p.weights,
                        .row = QDQ_IMPORTANCE_ROW};
    const char *inputs = adversarial ? "adversarial weights with importance" : "random weights with importance";
    qdq_status status = qdq_prover_fit_time(&s->p, &c, subject(s), &s->scalar, time_of(s));
    if (status == QDQ_OK) status = qdq_prover_compare(&s->p, &c, subject(s), &s->scalar, inputs);
    return status == QDQ_OK ? qdq_prover_tell_verdict(&s->p, &c, inputs, &s->scalar) : status;
}

static qdq_status prove_format(proving *s, qdq_format format) {
    const qdq_format_row *row = qdq_format_get(format);
    bool plain = qdq_reference_of(row->name) != NULL;
    if (!plain && s->subject_is_scalar)
        return qdq_prover_pass_over(&s->p, QDQ_PROOF_PACKING, format,
                                    "this device is the scalar lane, which other devices are held against");
    qdq_status status = QDQ_OK;
    if (row->importance != QDQ_IMPORTANCE_NEEDED) status = prove_families(s, format, plain);
    bool weighted = row->importance != QDQ_IMPORTANCE_UNUSED && !s->subject_is_scalar;
    for (int adversarial = 0; adversarial < 2 && weighted; adversarial++)
        if (status == QDQ_OK) status = prove_weighted(s, format, adversarial);
    if (status == QDQ_UNSUPPORTED && s->p.wish.codec)
        return qdq_prover_pass_over(&s->p, QDQ_PROOF_PACKING, format, qdq_error_message());
    return status;
}

/* ---- Operations and sums ---------------------------------------------------------------------------------------- */

static qdq_status tell_operation(proving *s, const char *name, const qdq_operation_verdict *v) {
    char text[96];
    snprintf(text, sizeof text, "of %08" PRIx32 " and %08" PRIx32 ": %08" PRIx32 ", expected %08" PRIx32, v->a, v->b,
             v->got, v->expected);
    qdq_proof proof = {.kind = QDQ_PROOF_OPERATION,
                       .format = QDQ_FORMAT_NONE,
                       .inputs = name,
                       .against = s->plain.name,
                       .compared = v->compared,
                       .differing = v->differing,
                       .difference = v->differing ? text : NULL};
    return qdq_prover_tell(&s->p, &proof);
}

/* The kernels' operations, one by one, where the device offers them. */
static qdq_status prove_operations(proving *s) {
    qdq_device *device;
    uint64_t stride = full(s) ? 1 : 65537;
    qdq_status status = qdq_device_open_threads(s->p.wish.device, 1, &device), told = QDQ_OK;
    if (status != QDQ_OK) return status;
    for (unsigned o = 0; o < QDQ_DIALECT_OPERATION_COUNT && status == QDQ_OK && told == QDQ_OK; o++) {
        qdq_dialect_operation operation = (qdq_dialect_operation)o;
        const char *name = qdq_operation_name(operation);
        qdq_operation_verdict v;
        qdq_prover_begin(&s->p, QDQ_FORMAT_NONE, name, qdq_operation_pairs(operation, stride));
        status = qdq_prove_operation(device, operation, stride, s->p.workers, qdq_prover_progress, &s->p, &v);
        if (status == QDQ_OK) told = tell_operation(s, name, &v);
    }
    qdq_device_close(device);
    if (status == QDQ_UNSUPPORTED)
        return qdq_prover_pass_over(&s->p, QDQ_PROOF_OPERATION, QDQ_FORMAT_NONE, qdq_error_message());
    return status == QDQ_OK ? told : status;
}

static qdq_status prove_sums(proving *s) {
    enum { MOST = 64 }; /* of one call */
    char difference[256];
    qdq_format formats[MOST], format;
    uint64_t compared;
    uint32_t n = 0;
    for (uint32_t i = 0; n < MOST && (format = qdq_prover_format(&s->p, i)) != QDQ_FORMAT_NONE; i++)
        if (qdq_format_get(format)->importance != QDQ_IMPORTANCE_NEEDED) formats[n++] = format;
    if (n == 0) return QDQ_OK;
    qdq_status status =
        qdq_prove_sums(s->p.wish.device, s->p.wish.seed, formats, n, full(s) ? 300 : 30, &compared, difference);
    if (status != QDQ_OK) return status;
    qdq_proof proof = {.kind = QDQ_PROOF_SUMS,
                       .format = QDQ_FORMAT_NONE,
                       .inputs = "error and sensitivity of random tensors",
                       .against = s->scalar.name,
                       .compared = compared,
                       .differing = difference[0] != '\0',
                       .difference = difference[0] ? difference : NULL};
    return qdq_prover_tell(&s->p, &proof);
}

/* ---- All of it -------------------------------------------------------------------------------------------------- */

static qdq_status open_others(proving *s) {
    qdq_device *device;
    qdq_device_info info = {.size = sizeof info};
    s->plain = qdq_reference_quantizer();
    qdq_status status = qdq_scalar_quantizer(s->p.workers, &s->scalar);
    if (status != QDQ_OK || s->p.wish.codec) return status;
    status = qdq_device_quantizer(s->p.wish.device, QDQ_F16, s->p.workers, &s->from_f16);
    if (status == QDQ_OK) status = qdq_device_quantizer(s->p.wish.device, QDQ_BF16, s->p.workers, &s->from_bf16);
    if (status == QDQ_OK) status = qdq_device_open_threads(s->p.wish.device, 1, &device);
    if (status != QDQ_OK) return status;
    status = qdq_device_describe(device, &info);
    qdq_device_close(device);
    s->subject_is_scalar = strcmp(info.name, "cpu") == 0 && strcmp(qdq_cpu_tier(), "c") == 0;
    return status;
}

qdq_status qdq_prove(const qdq_proof_options *options, qdq_proof_report *report) {
    proving s = {.subject_is_scalar = false};
    qdq_format format;
    qdq_status status = qdq_prover_open(&s.p, options, report);
    if (status == QDQ_OK) status = open_others(&s);
    if (status == QDQ_OK && !s.p.wish.codec) status = prove_operations(&s);
    for (uint32_t i = 0; status == QDQ_OK && (format = qdq_prover_format(&s.p, i)) != QDQ_FORMAT_NONE; i++)
        status = prove_format(&s, format);
    if (status == QDQ_OK && !s.p.wish.codec) status = prove_sums(&s);
    qdq_quantizer_close(&s.scalar);
    qdq_quantizer_close(&s.from_f16);
    qdq_quantizer_close(&s.from_bf16);
    return qdq_prover_end(&s.p, status, report);
}
