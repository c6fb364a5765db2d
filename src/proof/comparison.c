#include "proof/comparison.h"

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
    const qdq_comparison *comparison;
    const qdq_quantizer *subject, *reference;
    const qdq_reference *definer; /* says what C defines; NULL: by magnitude */
    uint32_t block, bytes;        /* elements and bytes a block */
    uint32_t unit_blocks;         /* blocks a unit */
    uint64_t blocks, batch_blocks, batches;
    qdq_compare_progress *progress;
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
    if (!r->comparison->against_ggml) return false;
    for (uint32_t i = 0; i < r->block; i++)
        if (memcmp(&a[i], &b[i], 4) != 0 && !(a[i] != a[i] && b[i] != b[i])) return false;
    return true;
}

static bool same_block(const run *r, const arrays *a, uint64_t i) {
    return (r->comparison->inputs.packed ||
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
    if (r->comparison->inputs.packed) return;
    memcpy(v->expected_block, a->expected_blocks + i * r->bytes, r->bytes);
    memcpy(v->input, a->x + i * r->block, r->block * 4);
}

/* Both quantizers' outputs of the batch. */
static qdq_status run_both(run *r, int worker, const arrays *a, uint64_t n) {
    const qdq_comparison *p = r->comparison;
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
    const qdq_inputs *inputs = &r->comparison->inputs;
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
    uint64_t blocks, differing;
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
    bool apart = r->comparison->against_ggml && !r->comparison->inputs.packed;
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
    v->undefined += u.blocks;
    v->undefined_differing += u.differing;
    if (failure[0]) memcpy(v->undefined_failure, failure, sizeof failure);
    if (t.differing && !r->comparison->count_all && first / r->batch_blocks < r->end) r->end = first / r->batch_blocks;
    bool go_on = !r->progress || r->progress(r->progress_context, blocks * r->block);
    qdq_mutex_unlock(&r->mutex);
    return go_on ? QDQ_OK : qdq_fail(QDQ_CANCELLED, "cancelled");
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

qdq_status qdq_compare(const qdq_comparison *comparison, const qdq_quantizer *subject, const qdq_quantizer *reference,
                       int workers, qdq_compare_progress *progress, void *context, qdq_verdict *verdict) {
    memset(verdict, 0, sizeof *verdict);
    const qdq_format_row *row = qdq_format_get(comparison->format);
    if (!row || row->block_elements > QDQ_PROOF_MAX_BLOCK || row->block_bytes > QDQ_PROOF_MAX_BYTES || workers < 1)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "no proof of format %d with %d threads", (int)comparison->format,
                        workers);
    if (comparison->weights && (comparison->row == 0 || comparison->row % row->block_elements != 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: rows of %u elements", row->name, (unsigned)comparison->row);
    run r = {.comparison = comparison,
             .subject = subject,
             .reference = reference,
             .definer = comparison->weights ? NULL : qdq_reference_of(row->name),
             .block = row->block_elements,
             .bytes = row->block_bytes,
             .unit_blocks = comparison->weights ? comparison->row / row->block_elements : 1,
             .progress = progress,
             .progress_context = context,
             .verdict = verdict};
    uint64_t elements = subject->batch > reference->batch ? subject->batch : reference->batch;
    uint64_t unit = (uint64_t)r.unit_blocks * r.block;
    r.batch_blocks = (elements > unit ? elements / unit : 1) * r.unit_blocks;
    r.blocks = comparison->inputs.blocks * r.unit_blocks;
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
