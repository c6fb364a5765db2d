/* How fast a device does its operations, beside its own copy and a ggml, in one run: what is compared takes turns, and
 * the best time of each counts, so that ratios hold on a machine that does other things too. */

#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "proof/ggml_library.h"
#include "proof/inputs.h"
#include "base/pool.h"
#include "api/check.h"
#include "api/device.h"
#include "base/error.h"
#include "base/format.h"
#include "base/platform.h"

static void keep_best(double *best, double seconds) {
    if (*best == 0.0 || seconds < *best) *best = seconds;
}

/* ---- The copy on a CPU ---- */

typedef struct copy_job {
    unsigned char *to;
    const unsigned char *from;
    size_t share; /* bytes a thread, a multiple of 64 */
    uint32_t repeats;
} copy_job;

static void plain_share(void *context, uint64_t thread) {
    const copy_job *j = context;
    for (uint32_t r = 0; r < j->repeats; r++) {
        memcpy(j->to + thread * j->share, j->from + thread * j->share, j->share);
        __asm__ volatile("" ::: "memory"); /* each repeat copies */
    }
}

#ifdef __SSE2__
static void streaming_share(void *context, uint64_t thread) {
    const copy_job *j = context;
    for (uint32_t r = 0; r < j->repeats; r++) {
        const __m128i *from = (const void *)(j->from + thread * j->share);
        __m128i *to = (void *)(j->to + thread * j->share);
        for (size_t i = 0; i < j->share / 16; i += 4) {
            _mm_prefetch((const char *)(from + i) + 4096, _MM_HINT_NTA);
            __m128i a = _mm_load_si128(from + i), b = _mm_load_si128(from + i + 1);
            __m128i c = _mm_load_si128(from + i + 2), d = _mm_load_si128(from + i + 3);
            _mm_stream_si128(to + i, a);
            _mm_stream_si128(to + i + 1, b);
            _mm_stream_si128(to + i + 2, c);
            _mm_stream_si128(to + i + 3, d);
        }
        _mm_sfence();
    }
}
#endif

/* ---- A bench ---- */

typedef struct bench {
    qdq_device *device;
    qdq_pool *pool; /* for copies; as many threads as the device has. NULL: the device times its own */
    qdq_buffer *input, *gradient, *output, *blocks;
    qdq_buffer *importance; /* of QDQ_TILE columns */
    uint64_t elements;
    qdq_ggml *ggml;
    void *ggml_blocks;
    float *ggml_values;
    qdq_error_sums error;
    qdq_sensitivity_sums sensitivity;
} bench;

/* One of the things that take turns. */
typedef struct contender {
    qdq_op *ops; /* `repeats` of the same */
    uint32_t repeats, ggml_repeats, rounds;
} contender;

static qdq_span span_of(const qdq_buffer *b) {
    return (qdq_span){.memory = b->storage->memory, .offset = b->offset, .dtype = b->dtype};
}

static qdq_op op_of(bench *b, const qdq_timing *t) {
    qdq_op op = {.kind = (qdq_op_kind)t->operation, .count = t->elements, .row = t->elements, .n_formats = 1};
    op.format[0] = t->format;
    op.input = span_of(t->operation == QDQ_OPERATION_DEQUANTIZE ? b->blocks : b->input);
    if (t->operation == QDQ_OPERATION_ROUNDTRIP || t->operation == QDQ_OPERATION_DEQUANTIZE)
        op.output = span_of(b->output);
    if (t->operation == QDQ_OPERATION_QUANTIZE) op.output = span_of(b->blocks);
    if (t->importance && t->operation != QDQ_OPERATION_DEQUANTIZE) {
        op.row = QDQ_TILE;
        op.importance = span_of(b->importance);
    }
    if (t->operation == QDQ_OPERATION_ERROR) op.error = &b->error;
    if (t->operation == QDQ_OPERATION_SENSITIVITY) {
        op.high[0] = t->high;
        op.gradient = span_of(b->gradient);
        op.sensitivity = &b->sensitivity;
    }
    return op;
}

static qdq_status run_ops(bench *b, qdq_op *ops, uint32_t n, double *seconds) {
    const qdq_backend *backend = b->device->backend;
    void *state = b->device->state, *ticket;
    if (backend->time_ops) {
        double times[2] = {0};
        qdq_status status = backend->time_ops(state, ops, n, 1, times);
        *seconds = times[0];
        return status;
    }
    double start = qdq_seconds();
    qdq_status status = backend->submit(state, (qdq_queue){0}, ops, n, &ticket);
    if (status == QDQ_OK) status = backend->wait(state, ticket);
    *seconds = qdq_seconds() - start;
    return status;
}

static double run_ggml(bench *b, const qdq_timing *t, uint32_t repeats) {
    const float *x = qdq_buffer_host(b->input), *m = t->importance ? qdq_buffer_host(b->importance) : NULL;
    uint64_t row = t->importance ? QDQ_TILE : t->elements;
    double start = qdq_seconds();
    for (uint32_t r = 0; r < repeats; r++) {
        if (t->operation == QDQ_OPERATION_DEQUANTIZE)
            qdq_ggml_dequantize(b->ggml, t->format, qdq_buffer_host(b->blocks), b->ggml_values, t->elements);
        else
            qdq_ggml_quantize(b->ggml, t->format, x, b->ggml_blocks, t->elements, row, m);
        if (t->operation == QDQ_OPERATION_ROUNDTRIP)
            qdq_ggml_dequantize(b->ggml, t->format, b->ggml_blocks, b->ggml_values, t->elements);
    }
    return (qdq_seconds() - start) / repeats;
}

static bool ggml_has(const bench *b, const qdq_timing *t) {
    return b->ggml && b->input->dtype == QDQ_F32 && qdq_buffer_host(b->input) &&
           (t->operation == QDQ_OPERATION_ROUNDTRIP || t->operation == QDQ_OPERATION_QUANTIZE ||
            t->operation == QDQ_OPERATION_DEQUANTIZE) &&
           !qdq_ggml_lacks(b->ggml, t->format) &&
           (t->importance || t->operation == QDQ_OPERATION_DEQUANTIZE ||
            !qdq_ggml_needs_importance(b->ggml, t->format));
}

static double bytes_of(const qdq_timing *t, qdq_dtype dtype) {
    double source = (double)t->elements * (double)qdq_dtype_size(dtype), floats = (double)t->elements * 4;
    double packed = (double)qdq_format_bytes(t->format, t->elements);
    switch (t->operation) {
    case QDQ_OPERATION_ROUNDTRIP: return source + floats;
    case QDQ_OPERATION_QUANTIZE: return source + packed;
    case QDQ_OPERATION_DEQUANTIZE: return packed + floats;
    case QDQ_OPERATION_ERROR: return source;
    case QDQ_OPERATION_SENSITIVITY: return source + floats;
    }
    return 0;
}

/* ---- Setting up ---- */

enum { STRETCH = 1 << 16 }; /* elements after which inputs repeat */

/* STRETCH random weights over and over, each 1,024 on a scale of their own, as rows of a model are, narrowed to the
 * buffer's dtype by cutting or, for f16, by its own bits. */
static qdq_status fill(qdq_buffer *buffer, uint64_t seed) {
    float *x = malloc(STRETCH * sizeof *x);
    if (!x) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for inputs");
    qdq_inputs inputs = qdq_inputs_random(seed, STRETCH / QDQ_TILE);
    for (uint64_t i = 0; i < STRETCH / QDQ_TILE; i++) inputs.fill(&inputs, i, x + QDQ_TILE * i, QDQ_TILE);
    uint16_t *half = (uint16_t *)(void *)x;
    if (buffer->dtype != QDQ_F32)
        for (int i = 0; i < STRETCH; i++) {
            uint32_t u;
            memcpy(&u, &x[i], 4);
            /* Exponents about 2^-8 … 2^7 for f16; any bits with those are weights. */
            half[i] = buffer->dtype == QDQ_BF16 ? (uint16_t)(u >> 16)
                                                : (uint16_t)((u >> 16 & 0x8000u) | 0x1c00u | (u >> 10 & 0x1fffu));
        }
    uint64_t bytes = qdq_buffer_bytes(buffer), stretch = STRETCH * qdq_dtype_size(buffer->dtype);
    qdq_status status = QDQ_OK;
    for (uint64_t at = 0; at < bytes && status == QDQ_OK; at += stretch)
        status = qdq_buffer_write(buffer, at, x, bytes - at < stretch ? bytes - at : stretch);
    free(x);
    return status;
}

/* Columns' mean squares, some hundred times others. */
static qdq_status fill_importance(qdq_buffer *buffer) {
    float m[QDQ_TILE];
    qdq_inputs inputs = qdq_inputs_random(3, QDQ_TILE / 32);
    for (uint64_t i = 0; i < QDQ_TILE / 32; i++) inputs.fill(&inputs, i, m + 32 * i, 32);
    for (int i = 0; i < QDQ_TILE; i++) m[i] = m[i] * m[i] + 1e-4f;
    return qdq_buffer_write(buffer, 0, m, sizeof m);
}

static qdq_status open_bench(bench *b, const char *device, int threads, qdq_dtype dtype, const qdq_timing *timings,
                             uint32_t n) {
    uint64_t bytes = 0, columns = QDQ_TILE;
    bool gradient = false;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t need = qdq_format_bytes(timings[i].format, b->elements);
        if (need > bytes) bytes = need;
        gradient |= timings[i].operation == QDQ_OPERATION_SENSITIVITY;
    }
    qdq_status status = qdq_device_open_threads(device, threads, &b->device);
    if (status != QDQ_OK) return status;
    if (!b->device->backend->time_copy) status = qdq_pool_create(threads, &b->pool);
    if (status == QDQ_OK) status = qdq_buffer_create(b->device, dtype, 1, &b->elements, &b->input);
    if (status == QDQ_OK) status = qdq_buffer_create(b->device, QDQ_F32, 1, &b->elements, &b->output);
    if (status == QDQ_OK) status = qdq_buffer_create(b->device, QDQ_U8, 1, &bytes, &b->blocks);
    if (status == QDQ_OK && gradient) status = qdq_buffer_create(b->device, QDQ_F32, 1, &b->elements, &b->gradient);
    if (status == QDQ_OK) status = qdq_buffer_create(b->device, QDQ_F32, 1, &columns, &b->importance);
    if (status == QDQ_OK) status = fill(b->input, 1);
    if (status == QDQ_OK) status = fill_importance(b->importance);
    if (status == QDQ_OK && gradient) status = fill(b->gradient, 2);
    if (b->ggml) {
        b->ggml_blocks = calloc(1, bytes);
        b->ggml_values = calloc(b->elements, 4);
        if (status == QDQ_OK && (!b->ggml_blocks || !b->ggml_values))
            status = qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for ggml's results");
    }
    return status;
}

static void close_bench(bench *b) {
    qdq_buffer_free(b->input);
    qdq_buffer_free(b->gradient);
    qdq_buffer_free(b->output);
    qdq_buffer_free(b->blocks);
    qdq_buffer_free(b->importance);
    qdq_device_close(b->device);
    qdq_pool_free(b->pool);
    free(b->ggml_blocks);
    free(b->ggml_values);
}

/* ---- Turns ---- */

static const double SLICE = 1e-3; /* seconds a turn at least, where turns are made of repeats */

static uint32_t repeats_for(double once) {
    double repeats = once > 0 ? SLICE / once : 1;
    return repeats < 1 ? 1 : repeats > 256 ? 256 : (uint32_t)repeats + 1;
}

/* Before a dequantization the blocks are made its format's: a stretch is packed, and laid out over and over. */
static qdq_status pack_again(bench *b, const qdq_timing *t) {
    qdq_timing packing = *t;
    packing.operation = QDQ_OPERATION_QUANTIZE;
    packing.elements = t->elements < STRETCH ? t->elements : STRETCH;
    qdq_op op = op_of(b, &packing);
    uint64_t stretch = qdq_format_bytes(t->format, packing.elements), bytes = qdq_format_bytes(t->format, t->elements);
    double unused;
    unsigned char *packed = malloc(stretch);
    qdq_status status = packed ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for blocks");
    if (status == QDQ_OK) status = run_ops(b, &op, 1, &unused);
    if (status == QDQ_OK) status = qdq_buffer_read(b->blocks, 0, packed, stretch);
    for (uint64_t at = stretch; at < bytes && status == QDQ_OK; at += stretch)
        status = qdq_buffer_write(b->blocks, at, packed, bytes - at < stretch ? bytes - at : stretch);
    free(packed);
    return status;
}

/* A trial: fewer elements where they would take long, then how many repeats a turn has and how many turns. The trial's
 * elements grow until they take a while: few do not fill a device, and would make it look slow. */
static qdq_status prepare(bench *b, qdq_timing *t, contender *c, double budget) {
    t->elements = b->elements < 65536 ? b->elements : 65536;
    qdq_op op = op_of(b, t);
    double once;
    qdq_status status = qdq_build_op(b->device, &op);
    if (status == QDQ_OK) status = run_ops(b, &op, 1, &once);
    if (status == QDQ_OK) status = run_ops(b, &op, 1, &once);
    while (status == QDQ_OK && once < budget / 16 && t->elements < b->elements) {
        t->elements = b->elements / 4 < t->elements ? b->elements : t->elements * 4;
        op = op_of(b, t);
        status = run_ops(b, &op, 1, &once);
    }
    if (status == QDQ_UNSUPPORTED) return QDQ_OK; /* seconds stay 0 */
    if (status != QDQ_OK) return status;
    double whole = once / (double)t->elements * (double)b->elements;
    double share = whole > budget / 4 ? budget / 4 / whole : 1;
    uint64_t tiles = (uint64_t)((double)(b->elements / QDQ_TILE) * share);
    t->elements = (tiles ? tiles : 1) * QDQ_TILE;
    op = op_of(b, t);
    if (t->operation == QDQ_OPERATION_DEQUANTIZE) status = pack_again(b, t);
    if (status != QDQ_OK) return status;
    status = run_ops(b, &op, 1, &once);
    c->repeats = repeats_for(once);
    double turn = once * c->repeats;
    c->rounds = turn * 3 > budget ? 3 : (uint32_t)(budget / turn);
    c->ops = calloc(c->repeats, sizeof *c->ops);
    if (!c->ops) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a bench");
    for (uint32_t r = 0; r < c->repeats; r++) c->ops[r] = op;
    if (ggml_has(b, t)) {
        qdq_ggml_prepare(b->ggml, t->format);
        c->ggml_repeats = repeats_for(run_ggml(b, t, 1));
    }
    return status;
}

static qdq_status copy_turn(bench *b, uint64_t bytes, uint32_t repeats, qdq_copy_timing *copy) {
    const qdq_backend *backend = b->device->backend;
    double seconds;
    if (!b->pool) {
        double times[2] = {0};
        qdq_status status = backend->time_copy(b->device->state, b->output->storage->memory, b->input->storage->memory,
                                               bytes, 1, times);
        keep_best(&copy->plain, times[0]);
        return status;
    }
    copy_job job = {.to = qdq_buffer_host(b->output), .from = qdq_buffer_host(b->input), .repeats = repeats};
    if (!job.to || !job.from) return QDQ_OK; /* a device that neither copies for us nor shows its memory */
    uint64_t threads = (uint64_t)qdq_pool_threads(b->pool);
    job.share = (size_t)(bytes / threads / 64 * 64);
    double start = qdq_seconds();
    qdq_pool_run(b->pool, threads, plain_share, &job);
    seconds = (qdq_seconds() - start) / repeats;
    keep_best(&copy->plain, seconds);
#ifdef __SSE2__
    start = qdq_seconds();
    qdq_pool_run(b->pool, threads, streaming_share, &job);
    seconds = (qdq_seconds() - start) / repeats;
    keep_best(&copy->streaming, seconds);
#endif
    return QDQ_OK;
}

static qdq_status take_turns(bench *b, qdq_timing *timings, contender *contenders, uint32_t n, double budget,
                             qdq_copy_timing *copy) {
    uint64_t copied = b->elements * qdq_dtype_size(b->input->dtype); /* f16: as many bytes as there are */
    uint32_t rounds = 3, copy_repeats = repeats_for((double)copied / 10e9);
    for (uint32_t i = 0; i < n; i++)
        if (contenders[i].rounds > rounds) rounds = contenders[i].rounds;
    qdq_status status = QDQ_OK;
    /* On a busy machine turns take longer than the trial said; three are taken all the same. */
    double end = qdq_seconds() + budget * (n + 1);
    for (uint32_t r = 0; r < rounds && status == QDQ_OK && (r < 3 || qdq_seconds() < end); r++) {
        status = copy_turn(b, copied, copy_repeats, copy);
        for (uint32_t i = 0; i < n && status == QDQ_OK; i++) {
            qdq_timing *t = &timings[i];
            contender *c = &contenders[i];
            if (r >= c->rounds) continue;
            if (t->operation == QDQ_OPERATION_DEQUANTIZE) status = pack_again(b, t);
            double seconds;
            if (status == QDQ_OK) status = run_ops(b, c->ops, c->repeats, &seconds);
            if (status != QDQ_OK) break;
            keep_best(&t->seconds, seconds / c->repeats);
            if (!c->ggml_repeats) continue;
            keep_best(&t->ggml, run_ggml(b, t, c->ggml_repeats));
        }
    }
    copy->bytes = 2.0 * (double)copied;
    copy->seconds = copy->streaming > 0 && copy->streaming < copy->plain ? copy->streaming : copy->plain;
    return status;
}

static qdq_status run_bench(bench *b, const qdq_timing_options *o, uint32_t n, qdq_timing *timings,
                            contender *contenders, qdq_copy_timing *copy) {
    double seconds = o->seconds > 0 ? o->seconds : 1;
    qdq_status status = o->ggml ? qdq_ggml_open(o->ggml, &b->ggml) : QDQ_OK;
    if (status == QDQ_OK) status = open_bench(b, o->device, o->threads, o->dtype, timings, n);
    for (uint32_t i = 0; i < n && status == QDQ_OK; i++) status = prepare(b, &timings[i], &contenders[i], seconds);
    if (status == QDQ_OK) status = take_turns(b, timings, contenders, n, seconds, copy);
    for (uint32_t i = 0; i < n; i++) {
        timings[i].bytes = bytes_of(&timings[i], o->dtype);
        free(contenders[i].ops);
    }
    close_bench(b);
    qdq_ggml_close(b->ggml);
    return status;
}

/* ---- What is asked for ------------------------------------------------------------------------------------------ */

_Static_assert((int)QDQ_OPERATION_ROUNDTRIP == (int)QDQ_OP_ROUNDTRIP &&
                   (int)QDQ_OPERATION_SENSITIVITY == (int)QDQ_OP_SENSITIVITY,
               "the public numbers are those of operations");

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static qdq_timing *timing_at(qdq_timing *timings, uint32_t i) {
    return (qdq_timing *)(void *)((char *)timings + (size_t)i * timings[0].size);
}

static qdq_status check_timing(const qdq_timing *t) {
    if (t->operation > QDQ_OPERATION_SENSITIVITY)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_time: there is no operation %d", (int)t->operation);
    if (!qdq_format_get(t->format))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_time: there is no format %d", (int)t->format);
    if (t->operation == QDQ_OPERATION_SENSITIVITY && t->high != QDQ_FORMAT_SOURCE && !qdq_format_get(t->high))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_time: there is no format %d", (int)t->high);
    return QDQ_OK;
}

static qdq_status check_options(const qdq_timing_options *o) {
    if (o->elements == 0 || o->elements % QDQ_TILE != 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_time: %llu elements are no positive multiple of %d",
                        (unsigned long long)o->elements, QDQ_TILE);
    if (o->dtype > QDQ_BF16) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_time: weights are f32, f16 or bf16");
    if (!(o->seconds >= 0)) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_time: seconds are below 0");
    return QDQ_OK;
}

qdq_status qdq_time(const qdq_timing_options *options, uint32_t n, qdq_timing *timings, qdq_copy_timing *copy) {
    if (!options || options->size == 0 || (n > 0 && (!timings || timings[0].size < sizeof *timings)) ||
        (copy && copy->size == 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_time: a NULL, or a size is not set");
    qdq_timing_options o = {0};
    memcpy(&o, options, least(options->size, sizeof o));
    qdq_status status = check_options(&o);
    bench b = {.elements = o.elements};
    qdq_copy_timing copied = {.size = copy ? copy->size : 0};
    contender *contenders = calloc(n ? n : 1, sizeof *contenders);
    qdq_timing *own = calloc(n ? n : 1, sizeof *own);
    if (!contenders || !own) status = qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a bench");
    for (uint32_t i = 0; i < n && status == QDQ_OK; i++) {
        own[i] = *timing_at(timings, i);
        own[i].seconds = own[i].ggml = 0;
        status = check_timing(&own[i]);
    }
    if (status == QDQ_OK) status = run_bench(&b, &o, n, own, contenders, &copied);
    for (uint32_t i = 0; i < n && status == QDQ_OK; i++) *timing_at(timings, i) = own[i];
    if (copy && status == QDQ_OK) memcpy(copy, &copied, least(copy->size, sizeof copied));
    free(contenders);
    free(own);
    return status;
}
