/* What a ggml library is, and proofs of it: it is held against a device, or against code in its place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proof/prover.h"
#include "proof/reference.h"
#include "base/error.h"
#include "base/format.h"

static const char *const revisions[] = {[QDQ_GGML_2026_08] = QDQ_REFERENCE_EARLIER, [QDQ_GGML_2026_09] = QDQ_REFERENCE};

/* ---- What it is ------------------------------------------------------------------------------------------------- */

/* The reference has revisions. They differ in one search, IQ1_M's, so a block of that format tells. */
static qdq_status find_revision(const qdq_ggml *ggml, const qdq_quantizer *q, qdq_ggml_revision *revision) {
    qdq_format format = qdq_format_by_name("iq1_m");
    float x[QDQ_PROBE];
    uint8_t block[QDQ_PROBE_BYTES];
    *revision = QDQ_GGML_OTHER;
    if (format == QDQ_FORMAT_NONE || qdq_ggml_lacks(ggml, format)) return QDQ_OK;
    qdq_ggml_probe(x);
    qdq_status status = q->quantize(q->context, 0, format, x, QDQ_PROBE, NULL, QDQ_PROBE, block, NULL);
    if (status == QDQ_OK) *revision = qdq_ggml_revision_of_block(block);
    return status;
}

/* Q4_0 blocks that come out otherwise where x * id + 8.5 is rounded once: a few in a thousand. */
enum { FUSION_BLOCKS = 24, Q4_0_BYTES = 18 };

static int find_telling_blocks(float *x) {
    qdq_inputs random = qdq_inputs_random(1, 1 << 16);
    uint8_t twice[Q4_0_BYTES], once[Q4_0_BYTES];
    int n = 0;
    for (uint64_t i = 0; i < random.blocks && n < FUSION_BLOCKS; i++) {
        random.fill(&random, i, x + 32 * n, 32);
        qdq_reference_of("q4_0")->quantize(x + 32 * n, twice);
        qdq_reference_q4_0_fused(x + 32 * n, once);
        n += memcmp(twice, once, sizeof once) != 0;
    }
    return n;
}

static qdq_status find_fusion(const qdq_ggml *ggml, const qdq_quantizer *q, qdq_ggml_fusion *fusion) {
    qdq_format format = qdq_format_by_name("q4_0");
    float x[32 * FUSION_BLOCKS];
    uint8_t got[FUSION_BLOCKS * Q4_0_BYTES], block[Q4_0_BYTES];
    *fusion = QDQ_GGML_FUSION_UNKNOWN;
    int n = find_telling_blocks(x), fused = 0, plain = 0;
    if (n == 0 || qdq_ggml_lacks(ggml, format)) return QDQ_OK;
    qdq_status status = q->quantize(q->context, 0, format, x, 32 * (uint64_t)n, NULL, 32 * (uint64_t)n, got, NULL);
    for (int i = 0; i < n && status == QDQ_OK; i++) {
        qdq_reference_of("q4_0")->quantize(x + 32 * i, block);
        plain += memcmp(got + i * Q4_0_BYTES, block, sizeof block) == 0;
        qdq_reference_q4_0_fused(x + 32 * i, block);
        fused += memcmp(got + i * Q4_0_BYTES, block, sizeof block) == 0;
    }
    if (plain == n) *fusion = QDQ_GGML_FUSION_NONE;
    if (fused == n) *fusion = QDQ_GGML_FUSION_FUSED;
    return status;
}

static qdq_status describe(qdq_ggml *ggml, qdq_ggml_revision *revision, qdq_ggml_fusion *fusion) {
    qdq_quantizer q;
    qdq_status status = qdq_ggml_quantizer(ggml, 1, &q);
    if (status == QDQ_OK) status = find_revision(ggml, &q, revision);
    if (status == QDQ_OK) status = find_fusion(ggml, &q, fusion);
    qdq_quantizer_close(&q);
    return status;
}

qdq_status qdq_ggml_describe(const char *path, qdq_ggml_info *info) {
    if (!path || !info || info->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_ggml_describe: a NULL, or info->size is not set");
    qdq_ggml *ggml;
    qdq_ggml_revision revision = QDQ_GGML_OTHER;
    qdq_ggml_info found = {.size = info->size};
    qdq_status status = qdq_ggml_open(path, &ggml);
    if (status != QDQ_OK) return status;
    status = describe(ggml, &revision, &found.fusion);
    qdq_ggml_close(ggml);
    if (status != QDQ_OK) return status;
    found.revision = revisions[revision];
    memcpy(info, &found, info->size < sizeof found ? info->size : sizeof found);
    return QDQ_OK;
}

/* ---- Proofs ----------------------------------------------------------------------------------------------------- */

typedef struct proving {
    qdq_prover p;
    qdq_ggml *ggml;
    qdq_quantizer library;
    qdq_quantizer earlier; /* the device by the library's revision, where that is an earlier one; or nothing */
    qdq_ggml_revision revision;
} proving;

/* Formats that the library's revision rightly packs otherwise. */
static bool is_packed_otherwise(const proving *s, qdq_format format) {
    return s->revision == QDQ_GGML_2026_08 && format == qdq_format_by_name("iq1_m");
}

static qdq_status prove_inputs(proving *s, qdq_format format, const char *name, qdq_inputs inputs,
                               const float *weights) {
    const qdq_quantizer *subject = s->earlier.quantize && is_packed_otherwise(s, format) ? &s->earlier : &s->p.subject;
    const qdq_proof_options *wish = &s->p.wish;
    qdq_comparison c = {.format = format,
                        .inputs = inputs,
                        .weights = weights,
                        .row = weights ? QDQ_IMPORTANCE_ROW : 0,
                        .against_ggml = true,
                        .count_all = true};
    double seconds = wish->seconds > 0 ? wish->seconds : wish->full ? 0 : 0.3;
    if (!inputs.packed && wish->elements > 0) seconds = 0;
    qdq_status status = qdq_prover_fit_time(&s->p, &c, subject, &s->library, seconds);
    if (status == QDQ_OK) status = qdq_prover_compare(&s->p, &c, subject, &s->library, name);
    if (status == QDQ_BAD_DATA) { /* the library's process has ended */
        char why[192];
        snprintf(why, sizeof why, "%s%s: %.128s", name, weights ? " with importance" : "", qdq_error_message());
        return qdq_prover_pass_over(&s->p, inputs.packed ? QDQ_PROOF_DECODING : QDQ_PROOF_PACKING, format, why);
    }
    return status == QDQ_OK ? qdq_prover_tell_verdict(&s->p, &c, name, &s->library) : status;
}

/* How many blocks, or rows, of so many elements. */
static uint64_t blocks_of(const proving *s, uint64_t unit) {
    uint64_t elements = s->p.wish.elements;
    return elements > 0 ? elements / unit + (elements % unit > 0) : s->p.wish.full ? 1 << 22 : 1 << 16;
}

static qdq_status prove_packing(proving *s, qdq_format format) {
    const qdq_format_row *row = qdq_format_get(format);
    bool needed = qdq_ggml_needs_importance(s->ggml, format);
    uint64_t seed = s->p.wish.seed, blocks = blocks_of(s, row->block_elements);
    qdq_status status = QDQ_OK;
    if (row->importance != QDQ_IMPORTANCE_NEEDED && !needed) {
        status = prove_inputs(s, format, "random", qdq_inputs_random(seed, blocks), NULL);
        if (status == QDQ_OK)
            status = prove_inputs(s, format, "adversarial", qdq_inputs_adversarial(seed, blocks), NULL);
    }
    if (row->importance == QDQ_IMPORTANCE_UNUSED && !needed) return status;
    blocks = blocks_of(s, QDQ_IMPORTANCE_ROW); /* rows, each of one kind */
    if (status == QDQ_OK) status = prove_inputs(s, format, "random", qdq_inputs_random(seed, blocks), s->p.weights);
    if (status == QDQ_OK)
        status = prove_inputs(s, format, "adversarial", qdq_inputs_adversarial(seed, blocks), s->p.weights);
    return status;
}

static qdq_status prove_format(proving *s, qdq_format format) {
    const qdq_codec *codec = s->p.wish.codec;
    const char *lacks = qdq_ggml_lacks(s->ggml, format);
    if (lacks) return qdq_prover_pass_over(&s->p, QDQ_PROOF_PACKING, format, lacks);
    qdq_status status = QDQ_OK;
    if (is_packed_otherwise(s, format) && !s->earlier.quantize)
        status = qdq_prover_pass_over(&s->p, QDQ_PROOF_PACKING, format,
                                      "the library's search is that of " QDQ_REFERENCE_EARLIER
                                      ", before llama.cpp #28706; this one's is that of " QDQ_REFERENCE
                                      ": only decoding is compared");
    else if (!codec || codec->quantize)
        status = prove_packing(s, format);
    if (status == QDQ_UNSUPPORTED) status = qdq_prover_pass_over(&s->p, QDQ_PROOF_PACKING, format, qdq_error_message());
    if (status != QDQ_OK || (codec && !codec->dequantize)) return status;
    qdq_inputs words = qdq_inputs_words(s->p.wish.seed, qdq_format_get(format)->block_bytes, 1);
    status = prove_inputs(s, format, "decoded", words, NULL);
    if (status == QDQ_UNSUPPORTED && codec)
        return qdq_prover_pass_over(&s->p, QDQ_PROOF_DECODING, format, qdq_error_message());
    return status;
}

static qdq_status open_earlier(proving *s) {
    if (s->revision != QDQ_GGML_2026_08 || s->p.wish.codec) return QDQ_OK;
    qdq_status status = qdq_earlier_quantizer(s->p.wish.device, revisions[s->revision], s->p.workers, &s->earlier);
    return status == QDQ_UNSUPPORTED ? QDQ_OK : status;
}

qdq_status qdq_prove_ggml(const char *path, const qdq_proof_options *options, qdq_proof_report *report) {
    proving s = {.revision = QDQ_GGML_OTHER};
    qdq_ggml_fusion fusion;
    qdq_format format;
    if (!path) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_prove_ggml: a NULL path");
    qdq_status status = qdq_prover_open(&s.p, options, report);
    if (status == QDQ_OK) status = qdq_ggml_open(path, &s.ggml);
    if (status == QDQ_OK) status = describe(s.ggml, &s.revision, &fusion);
    if (status == QDQ_OK) status = open_earlier(&s);
    if (status == QDQ_OK) status = qdq_ggml_quantizer(s.ggml, s.p.workers, &s.library);
    for (uint32_t i = 0; status == QDQ_OK && (format = qdq_prover_format(&s.p, i)) != QDQ_FORMAT_NONE; i++)
        status = prove_format(&s, format);
    qdq_quantizer_close(&s.library);
    qdq_quantizer_close(&s.earlier);
    qdq_ggml_close(s.ggml);
    return qdq_prover_end(&s.p, status, report);
}
