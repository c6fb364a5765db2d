#include "proof/prover.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/format.h"
#include "base/platform.h"

/* ---- What is asked for ------------------------------------------------------------------------------------------ */

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static qdq_status read_options(qdq_prover *p, const qdq_proof_options *options) {
    if (options && options->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "a proof: options->size is not set");
    if (options) memcpy(&p->wish, options, least(options->size, sizeof p->wish));
    const qdq_codec *codec = p->wish.codec;
    if (codec && codec->size < sizeof *codec) return qdq_fail(QDQ_INVALID_ARGUMENT, "a proof: codec->size is not set");
    if (p->wish.threads < 0 || p->wish.threads > 4096)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "a proof: %d threads; from 0 to 4096 are allowed", (int)p->wish.threads);
    if (p->wish.n_formats > 0 && !p->wish.formats)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "a proof: formats is NULL, n_formats is not 0");
    for (uint32_t i = 0; i < p->wish.n_formats; i++) {
        const qdq_format_row *row = qdq_format_get(p->wish.formats[i]);
        if (!row) return qdq_fail(QDQ_INVALID_ARGUMENT, "a proof: there is no format %d", (int)p->wish.formats[i]);
        if (row->is_source) return qdq_fail(QDQ_INVALID_ARGUMENT, "a proof: %s has no blocks", row->name);
    }
    p->workers = p->wish.threads ? p->wish.threads : qdq_online_cores();
    return QDQ_OK;
}

qdq_status qdq_prover_open(qdq_prover *p, const qdq_proof_options *options, const qdq_proof_report *report) {
    memset(p, 0, sizeof *p);
    p->report.size = sizeof p->report;
    if (report && report->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "a proof: report->size is not set");
    qdq_status status = read_options(p, options);
    if (status != QDQ_OK) return status;
    qdq_inputs bells = qdq_inputs_random(p->wish.seed, 1);
    bells.fill(&bells, 0, p->weights, QDQ_IMPORTANCE_ROW);
    for (int i = 0; i < QDQ_IMPORTANCE_ROW; i++) p->weights[i] = p->weights[i] * p->weights[i] + 0x1p-20f;
    return p->wish.codec ? qdq_codec_quantizer(p->wish.codec, &p->subject)
                         : qdq_device_quantizer(p->wish.device, QDQ_F32, p->workers, &p->subject);
}

void qdq_prover_close(qdq_prover *p) { qdq_quantizer_close(&p->subject); }

qdq_format qdq_prover_format(const qdq_prover *p, uint32_t index) {
    if (p->wish.n_formats > 0) return index < p->wish.n_formats ? p->wish.formats[index] : QDQ_FORMAT_NONE;
    return index < (uint32_t)qdq_block_format_count() ? (qdq_format)index : QDQ_FORMAT_NONE;
}

/* ---- Comparing -------------------------------------------------------------------------------------------------- */

void qdq_prover_begin(qdq_prover *p, qdq_format format, const char *inputs, uint64_t total) {
    const qdq_format_row *row = qdq_format_get(format);
    snprintf(p->line, sizeof p->line, "%s%s%s", row ? row->name : "", row ? " " : "", inputs);
    p->done = 0;
    p->total = total;
}

bool qdq_prover_progress(void *context, uint64_t elements) {
    qdq_prover *p = context;
    p->done += elements;
    return !p->wish.progress || p->wish.progress(p->wish.context, p->line, p->done, p->total);
}

static uint64_t elements_of(const qdq_comparison *c) {
    return c->row ? c->row : qdq_format_get(c->format)->block_elements;
}

qdq_status qdq_prover_compare(qdq_prover *p, const qdq_comparison *c, const qdq_quantizer *subject,
                              const qdq_quantizer *reference, const char *inputs) {
    qdq_prover_begin(p, c->format, inputs, c->inputs.blocks * elements_of(c));
    return qdq_compare(c, subject, reference, p->workers, qdq_prover_progress, p, &p->verdict);
}

/* What inputs give with that stride, or that many blocks. */
static qdq_inputs thinned(const qdq_inputs *inputs, double factor) {
    qdq_inputs less = *inputs;
    if (factor <= 1.0) return less;
    if (inputs->stride == 0) {
        less.blocks = (uint64_t)((double)inputs->blocks / factor) + 1;
        return less;
    }
    less.stride = inputs->stride * (uint64_t)(factor + 1.0) | 1; /* odd: it visits no pattern twice */
    less.blocks = inputs->blocks / (less.stride / inputs->stride) + 1;
    return less;
}

qdq_status qdq_prover_fit_time(qdq_prover *p, qdq_comparison *c, const qdq_quantizer *subject,
                               const qdq_quantizer *reference, double seconds) {
    if (seconds <= 0) return QDQ_OK;
    qdq_comparison trial = *c;
    uint64_t some = 128 * (uint64_t)p->workers;
    if (c->row) some = (some * qdq_format_get(c->format)->block_elements + c->row - 1) / c->row;
    trial.inputs = thinned(&c->inputs, (double)c->inputs.blocks / (double)some);
    double start = qdq_seconds();
    qdq_status status = qdq_compare(&trial, subject, reference, p->workers, NULL, NULL, &p->verdict);
    double factor = (qdq_seconds() - start) / (double)trial.inputs.blocks * (double)c->inputs.blocks / seconds;
    if (status == QDQ_OK && factor > 1.0) c->inputs = thinned(&c->inputs, factor);
    return status;
}

/* ---- Telling ---------------------------------------------------------------------------------------------------- */

qdq_status qdq_prover_tell(qdq_prover *p, qdq_proof *proof) {
    proof->size = sizeof *proof;
    p->report.passed_over += proof->passed_over != NULL;
    p->report.proofs += proof->passed_over == NULL;
    p->report.failed += proof->differing > 0;
    if (proof->kind == QDQ_PROOF_PACKING || proof->kind == QDQ_PROOF_DECODING) p->report.blocks += proof->compared;
    return p->wish.proved ? p->wish.proved(p->wish.context, proof) : QDQ_OK;
}

qdq_status qdq_prover_tell_verdict(qdq_prover *p, const qdq_comparison *c, const char *inputs,
                                   const qdq_quantizer *reference) {
    const qdq_verdict *v = &p->verdict;
    bool packed = c->inputs.packed;
    qdq_proof proof = {.kind = packed ? QDQ_PROOF_DECODING : QDQ_PROOF_PACKING,
                       .format = c->format,
                       .inputs = inputs,
                       .against = reference->name,
                       .weighted = c->weights != NULL,
                       .compared = v->blocks,
                       .elements = v->elements,
                       .differing = v->differing,
                       .undefined = v->undefined,
                       .undefined_differing = v->undefined_differing,
                       .undefined_failure = v->undefined_failure[0] ? v->undefined_failure : NULL};
    if (v->differing > 0) {
        proof.block = v->first;
        proof.block_elements = v->n_elements;
        proof.block_bytes = v->n_bytes;
        proof.input = packed ? NULL : v->input;
        proof.values = v->got;
        proof.expected_values = v->expected;
        proof.packed = v->got_block;
        proof.expected_packed = packed ? NULL : v->expected_block;
    }
    return qdq_prover_tell(p, &proof);
}

qdq_status qdq_prover_pass_over(qdq_prover *p, qdq_proof_kind kind, qdq_format format, const char *why) {
    char text[256]; /* the message may change during the call */
    snprintf(text, sizeof text, "%s", why);
    qdq_proof proof = {.kind = kind, .format = format, .passed_over = text};
    return qdq_prover_tell(p, &proof);
}

qdq_status qdq_prover_end(qdq_prover *p, qdq_status status, qdq_proof_report *report) {
    qdq_prover_close(p);
    if (report && report->size > 0) {
        p->report.size = report->size;
        memcpy(report, &p->report, least(report->size, sizeof p->report));
    }
    return status;
}
