#include "proof/proofs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proof/reference.h"
#include "base/error.h"
#include "base/format.h"
#include "base/platform.h"

/* ---- One batch ---- */

/* A batch is whole units: rows with importance, else blocks. */
typedef struct run {
    const qdq_proof *proof;
    const qdq_quantizer *subject, *reference;
    const qdq_reference *definer; /* says what C defines; NULL: by magnitude */
    uint32_t block, bytes;        /* elements and bytes a block */
    uint32_t unit_blocks;         /* blocks a unit */
    uint64_t blocks, batch_blocks, batches;
    qdq_proof_progress *progress;
    void *progress_context;

    qdq_mutex mutex; /* guards what follows */
    uint64_t next;   /* batch */
    uint64_t end;    /* the first batch that is not to be begun */
    qdq_status status;
    char message[256];
    qdq_verdict *verdict;
} run;

/* A worker's arrays: one batch. */
typedef struct arrays {
    float *x, *got, *expected;
    uint8_t *got_blocks, *expected_blocks;
    bool *undefined; /* by unit */
} arrays;

static void free_arrays(arrays *a) {
    free(a->x);
    free(a->got);
    free(a->expected);
    free(a->got_blocks);
    free(a->expected_blocks);
    free(a->undefined);
}

static bool allocate_arrays(const run *r, arrays *a) {
    size_t elements = (size_t)(r->batch_blocks * r->block), bytes = (size_t)(r->batch_blocks * r->bytes);
    *a = (arrays){malloc(elements * 4), malloc(elements * 4), malloc(elements * 4),
                  malloc(bytes),        malloc(bytes),        malloc(r->batch_blocks)};
    return a->x && a->got && a->expected && a->got_blocks && a->expected_blocks && a->undefined;
}

/* Does C define what a ggml does with this block? Without plain C to ask: sums of fourth powers must neither overflow
 * nor vanish. */
static bool defined_in_c(const run *r, const float *x) {
    if (r->definer) {
        uint8_t block[QDQ_PROOF_MAX_BYTES];
        return r->definer->quantize(x, block);
    }
    float top = 0.0f;
    for (uint32_t i = 0; i < r->block; i++) {
        if (!isfinite(x[i])) return false;
        if (fabsf(x[i]) > top) top = fabsf(x[i]);
    }
    return top == 0.0f || (top > 0x1p-28f && top < 0x1p28f);
}

static bool same_values(const run *r, const float *a, const float *b) {
    if (memcmp(a, b, r->block * 4) == 0) return true;
    if (!r->proof->against_ggml) return false;
    for (uint32_t i = 0; i < r->block; i++)
        if (memcmp(&a[i], &b[i], 4) != 0 && !(a[i] != a[i] && b[i] != b[i])) return false;
    return true;
}

static bool same_block(const run *r, const arrays *a, uint64_t i) {
    return (r->proof->inputs.packed ||
            memcmp(a->got_blocks + i * r->bytes, a->expected_blocks + i * r->bytes, r->bytes) == 0) &&
           same_values(r, a->got + i * r->block, a->expected + i * r->block);
}

static void keep_difference(run *r, const arrays *a, uint64_t i, uint64_t number) {
    qdq_verdict *v = r->verdict;
    v->first = number;
    v->n_elements = r->block;
    v->n_bytes = r->bytes;
    memcpy(v->got, a->got + i * r->block, r->block * 4);
    memcpy(v->expected, a->expected + i * r->block, r->block * 4);
    memcpy(v->got_block, a->got_blocks + i * r->bytes, r->bytes);
    if (r->proof->inputs.packed) return;
    memcpy(v->expected_block, a->expected_blocks + i * r->bytes, r->bytes);
    memcpy(v->input, a->x + i * r->block, r->block * 4);
}

/* Would one rounding of x * id + 8.5 have made the expected block? */
static bool is_fused(const run *r, const arrays *a, uint64_t i) {
    if (r->proof->weights || strcmp(qdq_format_get(r->proof->format)->name, "q4_0") != 0) return false;
    uint8_t fused[18];
    qdq_reference_q4_0_fused(a->x + i * r->block, fused);
    return memcmp(fused, a->expected_blocks + i * r->bytes, sizeof fused) == 0;
}

/* Both quantizers' outputs of the batch. */
static qdq_status run_both(run *r, int worker, const arrays *a, uint64_t n) {
    const qdq_proof *p = r->proof;
    uint64_t row = p->row ? p->row : r->block;
    if (p->inputs.packed) {
        qdq_status status = r->subject->dequantize(r->subject->context, worker, p->format, a->got_blocks, n, a->got);
        if (status != QDQ_OK) return status;
        return r->reference->dequantize(r->reference->context, worker, p->format, a->got_blocks, n, a->expected);
    }
    qdq_status status =
        r->subject->quantize(r->subject->context, worker, p->format, a->x, n, p->weights, row, a->got_blocks, a->got);
    if (status != QDQ_OK) return status;
    return r->reference->quantize(r->reference->context, worker, p->format, a->x, n, p->weights, row,
                                  a->expected_blocks, a->expected);
}

/* Inputs are made block by block; with importance row by row, so that a row is of one kind. */
static void fill(run *r, const arrays *a, uint64_t first, uint64_t blocks) {
    const qdq_inputs *inputs = &r->proof->inputs;
    uint32_t elements = r->unit_blocks * r->block;
    for (uint64_t u = 0; u < blocks / r->unit_blocks; u++)
        if (inputs->packed)
            inputs->fill(inputs, first + u, a->got_blocks + u * r->bytes, r->bytes);
        else
            inputs->fill(inputs, first / r->unit_blocks + u, a->x + u * elements, elements);
}

/* Marks the units that C leaves undefined, and sets them to zero; or, the other way round, all others. How many. */
static uint64_t set_apart(run *r, const arrays *a, uint64_t blocks, bool others) {
    uint64_t units = blocks / r->unit_blocks, elements = (uint64_t)r->unit_blocks * r->block, undefined = 0;
    for (uint64_t u = 0; u < units; u++) {
        if (!others) {
            a->undefined[u] = false;
            for (uint64_t b = 0; b < r->unit_blocks; b++)
                if (!defined_in_c(r, a->x + u * elements + b * r->block)) a->undefined[u] = true;
        }
        undefined += a->undefined[u];
        if (a->undefined[u] != others) memset(a->x + u * elements, 0, elements * 4);
    }
    return undefined;
}

typedef struct tally {
    uint64_t blocks, differing, fused;
    bool kept;
} tally;

/* Counts; keeps the first difference if it is the lowest so far and is to be held against the reference. */
static tally count(run *r, const arrays *a, uint64_t first, uint64_t blocks, const bool *undefined, bool which) {
    tally t = {0};
    for (uint64_t i = 0; i < blocks; i++) {
        if (undefined && undefined[i / r->unit_blocks] != which) continue;
        t.blocks++;
        if (same_block(r, a, i)) continue;
        t.differing++;
        if (r->proof->against_ggml && !r->proof->inputs.packed && !which) t.fused += is_fused(r, a, i);
        if (which || t.kept) continue;
        t.kept = true;
        qdq_mutex_lock(&r->mutex);
        if (r->verdict->n_elements == 0 || first + i < r->verdict->first) keep_difference(r, a, i, first + i);
        qdq_mutex_unlock(&r->mutex);
    }
    return t;
}

static qdq_status prove_batch(run *r, int worker, const arrays *a, uint64_t first, uint64_t blocks) {
    qdq_verdict *v = r->verdict;
    bool apart = r->proof->against_ggml && !r->proof->inputs.packed;
    fill(r, a, first, blocks);
    uint64_t undefined = apart ? set_apart(r, a, blocks, false) : 0;
    qdq_status status = run_both(r, worker, a, blocks * r->block);
    if (status != QDQ_OK) return status;
    tally t = count(r, a, first, blocks, apart ? a->undefined : NULL, false), u = {0};
    char failure[sizeof v->undefined_failure] = "";
    if (undefined) {
        fill(r, a, first, blocks);
        set_apart(r, a, blocks, true);
        if (run_both(r, worker, a, blocks * r->block) == QDQ_OK)
            u = count(r, a, first, blocks, a->undefined, true);
        else {
            u.blocks = undefined * r->unit_blocks;
            snprintf(failure, sizeof failure, "%.95s", qdq_error_message());
        }
    }
    qdq_mutex_lock(&r->mutex);
    v->blocks += t.blocks;
    v->elements += t.blocks * r->block;
    v->differing += t.differing;
    v->fused += t.fused;
    v->undefined += u.blocks;
    v->undefined_differing += u.differing;
    if (failure[0]) memcpy(v->undefined_failure, failure, sizeof failure);
    if (t.differing && !r->proof->count_all && first / r->batch_blocks < r->end) r->end = first / r->batch_blocks;
    bool go_on = !r->progress || r->progress(r->progress_context, blocks * r->block);
    qdq_mutex_unlock(&r->mutex);
    return go_on ? QDQ_OK : qdq_fail(QDQ_DEVICE_ERROR, "stopped");
}

/* ---- Threads ---- */

typedef struct worker {
    run *r;
    int number;
    qdq_thread thread;
} worker;

static void stop(run *r, qdq_status status) {
    qdq_mutex_lock(&r->mutex);
    if (r->status == QDQ_OK) {
        r->status = status;
        snprintf(r->message, sizeof r->message, "%s", qdq_error_message());
    }
    r->end = 0;
    qdq_mutex_unlock(&r->mutex);
}

/* Batches are begun in order, so those before the first difference are all done when the threads end. */
static bool next_batch(run *r, uint64_t *batch) {
    qdq_mutex_lock(&r->mutex);
    bool more = r->next < r->end;
    *batch = more ? r->next++ : 0;
    qdq_mutex_unlock(&r->mutex);
    return more;
}

static void *work(void *argument) {
    worker *w = argument;
    run *r = w->r;
    arrays a;
    uint64_t batch;
    if (!allocate_arrays(r, &a)) stop(r, qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a proof's batch"));
    while (next_batch(r, &batch)) {
        uint64_t first = batch * r->batch_blocks;
        uint64_t left = r->blocks - first;
        qdq_status status = prove_batch(r, w->number, &a, first, left < r->batch_blocks ? left : r->batch_blocks);
        if (status != QDQ_OK) stop(r, status);
    }
    free_arrays(&a);
    return NULL;
}

qdq_status qdq_prove(const qdq_proof *proof, const qdq_quantizer *subject, const qdq_quantizer *reference, int workers,
                     qdq_proof_progress *progress, void *context, qdq_verdict *verdict) {
    memset(verdict, 0, sizeof *verdict);
    const qdq_format_row *row = qdq_format_get(proof->format);
    if (!row || row->block_elements > QDQ_PROOF_MAX_BLOCK || row->block_bytes > QDQ_PROOF_MAX_BYTES || workers < 1)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "no proof of format %d with %d threads", (int)proof->format, workers);
    if (proof->weights && (proof->row == 0 || proof->row % row->block_elements != 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: rows of %u elements", row->name, (unsigned)proof->row);
    run r = {.proof = proof,
             .subject = subject,
             .reference = reference,
             .definer = proof->weights ? NULL : qdq_reference_of(row->name),
             .block = row->block_elements,
             .bytes = row->block_bytes,
             .unit_blocks = proof->weights ? proof->row / row->block_elements : 1,
             .progress = progress,
             .progress_context = context,
             .verdict = verdict};
    uint64_t elements = subject->batch > reference->batch ? subject->batch : reference->batch;
    uint64_t unit = (uint64_t)r.unit_blocks * r.block;
    r.batch_blocks = (elements > unit ? elements / unit : 1) * r.unit_blocks;
    r.blocks = proof->inputs.blocks * r.unit_blocks;
    r.batches = r.end = (r.blocks + r.batch_blocks - 1) / r.batch_blocks;
    qdq_mutex_init(&r.mutex);
    worker *threads = calloc((size_t)workers, sizeof *threads);
    int started = 0;
    if (!threads) stop(&r, qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %d threads", workers));
    for (; threads && started < workers; started++) {
        threads[started] = (worker){&r, started, 0};
        if (!qdq_thread_start(&threads[started].thread, work, &threads[started])) break;
    }
    if (threads && started == 0) stop(&r, qdq_fail(QDQ_OUT_OF_MEMORY, "the system refused a thread"));
    for (int w = 0; w < started; w++) qdq_thread_join(threads[w].thread);
    free(threads);
    qdq_mutex_destroy(&r.mutex);
    return r.status == QDQ_OK ? QDQ_OK : qdq_fail(r.status, "%s", r.message);
}

/* ---- Sums ---- */

typedef struct sums {
    qdq_error_sums *error;             /* a format each */
    qdq_sensitivity_sums *sensitivity; /* two a format: beside the next format, and beside the source */
} sums;

static qdq_status take_sums(qdq_device *device, const float *x, const float *g, uint64_t n, const qdq_format *formats,
                            uint32_t n_formats, sums *s) {
    qdq_buffer *input = NULL, *gradient = NULL;
    qdq_encoder *encoder = NULL;
    qdq_status status = qdq_buffer_create(device, QDQ_F32, 1, &n, &input);
    if (status == QDQ_OK) status = qdq_buffer_create(device, QDQ_F32, 1, &n, &gradient);
    if (status == QDQ_OK) status = qdq_buffer_write(input, 0, x, n * 4);
    if (status == QDQ_OK) status = qdq_buffer_write(gradient, 0, g, n * 4);
    if (status == QDQ_OK) status = qdq_encoder_create(device, &encoder);
    memset(s->error, 0, n_formats * sizeof *s->error);
    memset(s->sensitivity, 0, 2 * n_formats * sizeof *s->sensitivity);
    if (status == QDQ_OK) status = qdq_encode_error(encoder, n_formats, formats, input, s->error, NULL);
    for (uint32_t f = 0; f < n_formats && status == QDQ_OK; f++) {
        status = qdq_encode_sensitivity(encoder, formats[f], formats[(f + 1) % n_formats], input, gradient,
                                        &s->sensitivity[2 * f], NULL);
        if (status == QDQ_OK)
            status = qdq_encode_sensitivity(encoder, formats[f], QDQ_FORMAT_SOURCE, input, gradient,
                                            &s->sensitivity[2 * f + 1], NULL);
    }
    if (status == QDQ_OK) status = qdq_encoder_commit_and_wait(encoder);
    qdq_encoder_free(encoder);
    qdq_buffer_free(input);
    qdq_buffer_free(gradient);
    return status;
}

static void compare_sums(const sums *a, const sums *b, const qdq_format *formats, uint32_t n_formats, uint64_t n,
                         char difference[256]) {
    for (uint32_t f = 0; f < n_formats && !difference[0]; f++) {
        const char *name = qdq_format_get(formats[f])->name;
        const qdq_error_sums *e = &a->error[f], *want = &b->error[f];
        if (memcmp(e, want, sizeof *e) != 0)
            snprintf(difference, 256, "error sums of %s, %llu elements: squares %a, expected %a", name,
                     (unsigned long long)n, e->err2, want->err2);
        for (int k = 0; k < 2 && !difference[0]; k++) {
            const qdq_sensitivity_sums *s = &a->sensitivity[2 * f + k], *t = &b->sensitivity[2 * f + k];
            if (memcmp(s, t, sizeof *s) != 0)
                snprintf(difference, 256, "sensitivity sums of %s, %llu elements: %a, expected %a", name,
                         (unsigned long long)n, s->signed_sum, t->signed_sum);
        }
    }
}

static qdq_status open_scalar(qdq_device **device) {
    uint32_t mask = qdq_cpu_mask_in_force();
    qdq_cpu_mask(1);
    qdq_status status = qdq_device_open_threads("cpu", 1, device);
    qdq_cpu_mask(mask);
    return status;
}

qdq_status qdq_prove_sums(const char *device, uint64_t seed, const qdq_format *formats, uint32_t n_formats,
                          uint32_t tensors, uint64_t *compared, char difference[256]) {
    enum { LARGEST = 40 * QDQ_TILE };
    uint64_t block = 32;
    for (uint32_t f = 0; f < n_formats; f++)
        if (qdq_format_get(formats[f])->block_elements > block) block = qdq_format_get(formats[f])->block_elements;
    float *x = malloc(LARGEST * 4), *g = malloc(LARGEST * 4);
    sums got = {calloc(n_formats, sizeof *got.error), calloc(2 * n_formats, sizeof *got.sensitivity)};
    sums expected = {calloc(n_formats, sizeof *got.error), calloc(2 * n_formats, sizeof *got.sensitivity)};
    qdq_device *subject = NULL, *scalar = NULL;
    qdq_status status = x && g && got.error && got.sensitivity && expected.error && expected.sensitivity
                            ? QDQ_OK
                            : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a proof of sums");
    if (status == QDQ_OK) status = qdq_device_open(device, &subject);
    if (status == QDQ_OK) status = open_scalar(&scalar);
    *compared = 0;
    difference[0] = '\0';
    for (uint32_t t = 0; t < tensors && status == QDQ_OK && !difference[0]; t++) {
        /* Lengths from one block to 40 tiles, most of them no whole number of tiles. */
        uint64_t n = ((uint64_t)t * t * 7 % (LARGEST / block) + 1) * block;
        qdq_inputs weights = t % 3 == 2 ? qdq_inputs_adversarial(seed + t, n) : qdq_inputs_random(seed + t, n);
        qdq_inputs gradients = qdq_inputs_random(seed + t + 1000003, n);
        for (uint64_t i = 0; i < n / 32; i++) {
            weights.fill(&weights, i, x + 32 * i, 32);
            gradients.fill(&gradients, i, g + 32 * i, 32);
        }
        status = take_sums(subject, x, g, n, formats, n_formats, &got);
        if (status == QDQ_OK) status = take_sums(scalar, x, g, n, formats, n_formats, &expected);
        if (status == QDQ_OK) compare_sums(&got, &expected, formats, n_formats, n, difference);
        *compared += 3 * n_formats;
    }
    qdq_device_close(subject);
    qdq_device_close(scalar);
    free(x);
    free(g);
    free(got.error);
    free(got.sensitivity);
    free(expected.error);
    free(expected.sensitivity);
    return status;
}
