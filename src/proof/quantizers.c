#include "proof/quantizers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proof/reference.h"
#include "api/device.h"
#include "base/error.h"
#include "base/format.h"
#include "base/platform.h"

void qdq_quantizer_close(qdq_quantizer *q) {
    if (q->close) q->close(q->context);
    memset(q, 0, sizeof *q);
}

/* ---- Devices ---- */

/* One worker's: buffers as large as its largest call so far. */
typedef struct device_worker {
    qdq_device *device;
    qdq_encoder *encoder;
    qdq_buffer *input, *blocks, *values, *weights;
    uint64_t room, blocks_room, weights_room;
    uint16_t *narrow;
} device_worker;

typedef struct device_context {
    qdq_dtype dtype;
    int workers;
    device_worker worker[];
} device_context;

static void close_device(void *context) {
    device_context *c = context;
    for (int w = 0; w < c->workers; w++) {
        device_worker *d = &c->worker[w];
        qdq_encoder_free(d->encoder);
        qdq_buffer_free(d->input);
        qdq_buffer_free(d->blocks);
        qdq_buffer_free(d->values);
        qdq_buffer_free(d->weights);
        qdq_device_close(d->device);
        free(d->narrow);
    }
    free(c);
}

static qdq_status grow(device_worker *d, qdq_dtype dtype, uint64_t need, uint64_t *room, qdq_buffer **buffer) {
    if (need <= *room && *buffer) return QDQ_OK;
    qdq_buffer_free(*buffer);
    *buffer = NULL;
    *room = 0;
    qdq_status status = qdq_buffer_create(d->device, dtype, 1, &need, buffer);
    if (status == QDQ_OK) *room = need;
    return status;
}

static qdq_status make_room(device_context *c, device_worker *d, uint64_t n, uint64_t bytes) {
    if (n > d->room) {
        uint64_t room = d->room;
        qdq_status status = grow(d, QDQ_F32, n, &room, &d->values);
        if (status != QDQ_OK) return status;
        status = grow(d, c->dtype, n, &d->room, &d->input);
        if (status != QDQ_OK) return status;
        free(d->narrow);
        d->narrow = c->dtype == QDQ_F32 ? NULL : malloc(n * 2);
        if (c->dtype != QDQ_F32 && !d->narrow) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for inputs");
    }
    return grow(d, QDQ_U8, bytes, &d->blocks_room, &d->blocks);
}

static qdq_status write_input(device_context *c, device_worker *d, const float *x, uint64_t n) {
    if (c->dtype == QDQ_F32) return qdq_buffer_write(d->input, 0, x, n * 4);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        d->narrow[i] = c->dtype == QDQ_BF16 ? (uint16_t)(bits >> 16) : qdq_reference_half(x[i]);
    }
    return qdq_buffer_write(d->input, 0, d->narrow, n * 2);
}

/* Records, on slices of exactly n elements, the operations that were asked for, and runs them. */
static qdq_status run_device(device_worker *d, qdq_format format, uint64_t n, bool decode, uint64_t bytes, bool pack,
                             bool values, const qdq_options *options) {
    qdq_buffer *x = NULL, *b = NULL, *y = NULL;
    qdq_status status = decode ? QDQ_OK : qdq_buffer_slice(d->input, 0, n, &x);
    if (status == QDQ_OK) status = qdq_buffer_slice(d->blocks, 0, bytes, &b);
    if (status == QDQ_OK) status = qdq_buffer_slice(d->values, 0, n, &y);
    if (status == QDQ_OK && decode) status = qdq_encode_dequantize(d->encoder, format, b, y);
    if (status == QDQ_OK && pack) status = qdq_encode_quantize(d->encoder, format, x, b, options);
    if (status == QDQ_OK && values) status = qdq_encode_roundtrip(d->encoder, format, x, y, options);
    if (status == QDQ_OK) status = qdq_encoder_commit_and_wait(d->encoder);
    qdq_buffer_free(x);
    qdq_buffer_free(b);
    qdq_buffer_free(y);
    return status;
}

static qdq_status device_quantize(void *context, int worker, qdq_format format, const float *x, uint64_t n,
                                  const float *weights, uint64_t row, uint8_t *blocks, float *values) {
    device_context *c = context;
    device_worker *d = &c->worker[worker];
    uint64_t bytes = qdq_format_bytes(format, n);
    qdq_options options = {.size = sizeof options, .row = row};
    qdq_buffer *importance = NULL;
    qdq_status status = make_room(c, d, n, bytes);
    if (status == QDQ_OK) status = write_input(c, d, x, n);
    if (status == QDQ_OK && weights) {
        status = grow(d, QDQ_F32, row, &d->weights_room, &d->weights);
        if (status == QDQ_OK) status = qdq_buffer_write(d->weights, 0, weights, row * 4);
        if (status == QDQ_OK) status = qdq_buffer_slice(d->weights, 0, row, &importance);
        options.importance = importance;
    }
    if (status == QDQ_OK) status = run_device(d, format, n, false, bytes, blocks != NULL, values != NULL, &options);
    if (status == QDQ_OK && blocks) status = qdq_buffer_read(d->blocks, 0, blocks, bytes);
    if (status == QDQ_OK && values) status = qdq_buffer_read(d->values, 0, values, n * 4);
    qdq_buffer_free(importance);
    return status;
}

static qdq_status device_dequantize(void *context, int worker, qdq_format format, const uint8_t *blocks, uint64_t n,
                                    float *values) {
    device_context *c = context;
    device_worker *d = &c->worker[worker];
    uint64_t bytes = qdq_format_bytes(format, n);
    qdq_status status = make_room(c, d, n, bytes);
    if (status == QDQ_OK) status = qdq_buffer_write(d->blocks, 0, blocks, bytes);
    if (status == QDQ_OK) status = run_device(d, format, n, true, bytes, false, false, NULL);
    if (status == QDQ_OK) status = qdq_buffer_read(d->values, 0, values, n * 4);
    return status;
}

static qdq_status open_workers(const char *device, qdq_dtype dtype, const char *reference, int workers,
                               qdq_quantizer *q) {
    qdq_device_options options = {.size = sizeof options, .threads = 1, .reference = reference};
    memset(q, 0, sizeof *q);
    device_context *c = calloc(1, sizeof *c + (size_t)workers * sizeof c->worker[0]);
    if (!c) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a device");
    c->dtype = dtype;
    c->workers = workers;
    qdq_device_info info = {.size = sizeof info};
    qdq_status status = QDQ_OK;
    for (int w = 0; w < workers && status == QDQ_OK; w++) {
        device_worker *d = &c->worker[w];
        /* A CPU device runs one loop at a time, so each worker has its own. Others take many callers at once. */
        if (w == 0 || strcmp(info.name, "cpu") == 0) {
            status = qdq_device_open_with(w ? info.name : device, &options, &d->device);
        } else {
            d->device = c->worker[0].device;
            qdq_device_retain(d->device);
        }
        if (status == QDQ_OK && w == 0) status = qdq_device_describe(d->device, &info);
        if (status == QDQ_OK) status = qdq_encoder_create(d->device, &d->encoder);
    }
    *q = (qdq_quantizer){.name = "the device",
                         .context = c,
                         .batch = strcmp(info.name, "cpu") == 0 ? 1 << 15 : 1 << 20,
                         .quantize = device_quantize,
                         .dequantize = device_dequantize,
                         .close = close_device};
    if (status != QDQ_OK) qdq_quantizer_close(q);
    return status;
}

qdq_status qdq_device_quantizer(const char *device, qdq_dtype dtype, int workers, qdq_quantizer *q) {
    return open_workers(device, dtype, NULL, workers, q);
}

qdq_status qdq_earlier_quantizer(const char *device, const char *reference, int workers, qdq_quantizer *q) {
    return open_workers(device, QDQ_F32, reference, workers, q);
}

qdq_status qdq_scalar_quantizer(int workers, qdq_quantizer *q) {
    uint32_t mask = qdq_cpu_mask_in_force();
    qdq_cpu_mask(1);
    qdq_status status = qdq_device_quantizer("cpu", QDQ_F32, workers, q);
    qdq_cpu_mask(mask);
    q->name = "the scalar lane";
    return status;
}

/* ---- Code of the caller's ---- */

static qdq_status codec_dequantize(void *context, int worker, qdq_format format, const uint8_t *blocks, uint64_t n,
                                   float *values) {
    (void)worker;
    const qdq_codec *codec = context;
    if (codec->dequantize) return codec->dequantize(codec->context, format, blocks, n, values);
    return qdq_dequantize(format, blocks, values, n);
}

static qdq_status codec_quantize(void *context, int worker, qdq_format format, const float *x, uint64_t n,
                                 const float *weights, uint64_t row, uint8_t *blocks, float *values) {
    const qdq_codec *codec = context;
    qdq_status status = codec->quantize(codec->context, format, x, n, weights, row, blocks);
    return status == QDQ_OK ? codec_dequantize(context, worker, format, blocks, n, values) : status;
}

qdq_status qdq_codec_quantizer(const qdq_codec *codec, qdq_quantizer *q) {
    memset(q, 0, sizeof *q);
    if (!codec->quantize && !codec->dequantize)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "a proof: the codec has neither quantize nor dequantize");
    *q = (qdq_quantizer){.name = codec->name ? codec->name : "the codec",
                         .context = (void *)(uintptr_t)codec,
                         .batch = 1 << 15,
                         .quantize = codec_quantize,
                         .dequantize = codec_dequantize};
    return QDQ_OK;
}

/* ---- Plain C ---- */

static const qdq_reference *reference_of(qdq_format format) { return qdq_reference_of(qdq_format_get(format)->name); }

static qdq_status reference_dequantize(void *context, int worker, qdq_format format, const uint8_t *blocks, uint64_t n,
                                       float *values) {
    (void)context;
    (void)worker;
    const qdq_reference *reference = reference_of(format);
    if (!reference) return qdq_fail(QDQ_UNSUPPORTED, "no plain C for %s", qdq_format_get(format)->name);
    for (uint64_t i = 0; i < n / 32; i++)
        reference->dequantize(blocks + i * qdq_format_get(format)->block_bytes, values + 32 * i);
    return QDQ_OK;
}

static qdq_status reference_quantize(void *context, int worker, qdq_format format, const float *x, uint64_t n,
                                     const float *weights, uint64_t row, uint8_t *blocks, float *values) {
    (void)row;
    const qdq_reference *reference = reference_of(format);
    if (!reference || weights)
        return qdq_fail(QDQ_UNSUPPORTED, "no plain C for %s%s", qdq_format_get(format)->name,
                        weights ? " with importance" : "");
    uint32_t bytes = qdq_format_get(format)->block_bytes;
    for (uint64_t i = 0; i < n / 32; i++) {
        uint8_t own[64], *block = blocks ? blocks + i * bytes : own;
        reference->quantize(x + 32 * i, block);
        if (values) reference->dequantize(block, values + 32 * i);
    }
    (void)context;
    (void)worker;
    return QDQ_OK;
}

qdq_quantizer qdq_reference_quantizer(void) {
    return (qdq_quantizer){
        .name = "plain C", .batch = 1 << 15, .quantize = reference_quantize, .dequantize = reference_dequantize};
}

/* ---- ggml ---- */

typedef struct ggml_context {
    qdq_ggml *ggml;
    int workers;
    struct ggml_worker {
        uint8_t *shared; /* with the children: values, then blocks */
        size_t size;
    } worker[];
} ggml_context;

static void close_ggml(void *context) {
    ggml_context *c = context;
    for (int w = 0; w < c->workers; w++)
        if (c->worker[w].shared) qdq_shared_free(c->worker[w].shared, c->worker[w].size);
    free(c);
}

static qdq_status share(struct ggml_worker *w, size_t size) {
    if (size <= w->size) return QDQ_OK;
    if (w->shared) qdq_shared_free(w->shared, w->size);
    w->size = 0;
    w->shared = qdq_shared_alloc(size);
    if (!w->shared) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory to share with a child process");
    w->size = size;
    return QDQ_OK;
}

/* What a child process is to do: quantize x, unless blocks are to be decoded, and dequantize. */
typedef struct ggml_work {
    qdq_ggml *ggml;
    qdq_format format;
    const float *x, *weights;
    uint64_t n, row;
    const uint8_t *decode;
    size_t bytes;
    uint8_t *blocks; /* shared, as the next is */
    float *values;
} ggml_work;

static void do_work(void *context) {
    const ggml_work *work = context;
    qdq_set_environment("GGML_NO_BACKTRACE", "1"); /* no debugger for a failed assertion */
    if (work->decode)
        memcpy(work->blocks, work->decode, work->bytes);
    else
        qdq_ggml_quantize(work->ggml, work->format, work->x, work->blocks, work->n, work->row, work->weights);
    qdq_ggml_dequantize(work->ggml, work->format, work->blocks, work->values, work->n);
}

static qdq_status work_apart(ggml_work *work) {
    int number = 0;
    switch (qdq_run_apart(do_work, work, &number)) {
    case QDQ_END_WELL: return QDQ_OK;
    case QDQ_END_ABORT: return qdq_fail(QDQ_BAD_DATA, "ggml's own assertion failed");
    case QDQ_END_SIGNAL: return qdq_fail(QDQ_BAD_DATA, "ggml ended with signal %d", number);
    case QDQ_END_EXIT: return qdq_fail(QDQ_BAD_DATA, "ggml exited with status %d", number);
    default: return qdq_fail(QDQ_OUT_OF_MEMORY, "no child process for ggml: %s", strerror(errno));
    }
}

static qdq_status ggml_run(void *context, int worker, qdq_format format, const float *x, uint64_t n,
                           const float *weights, uint64_t row, const uint8_t *decode, uint8_t *blocks, float *values) {
    ggml_context *c = context;
    struct ggml_worker *w = &c->worker[worker];
    const char *lacks = qdq_ggml_lacks(c->ggml, format);
    if (lacks) return qdq_fail(QDQ_UNSUPPORTED, "%s: %s", qdq_format_get(format)->name, lacks);
    size_t bytes = (size_t)qdq_format_bytes(format, n);
    qdq_status status = share(w, n * 4 + bytes);
    if (status != QDQ_OK) return status;
    float *y = (float *)(void *)w->shared;
    uint8_t *b = w->shared + n * 4;
    if (!decode) qdq_ggml_prepare(c->ggml, format);
    ggml_work work = {c->ggml, format, x, weights, n, row, decode, bytes, b, y};
    status = work_apart(&work);
    if (status == QDQ_OK && blocks) memcpy(blocks, b, bytes);
    if (status == QDQ_OK && values) memcpy(values, y, n * 4);
    return status;
}

static qdq_status ggml_quantize(void *context, int worker, qdq_format format, const float *x, uint64_t n,
                                const float *weights, uint64_t row, uint8_t *blocks, float *values) {
    return ggml_run(context, worker, format, x, n, weights, row, NULL, blocks, values);
}

static qdq_status ggml_dequantize(void *context, int worker, qdq_format format, const uint8_t *blocks, uint64_t n,
                                  float *values) {
    return ggml_run(context, worker, format, NULL, n, NULL, 0, blocks, NULL, values);
}

qdq_status qdq_ggml_quantizer(qdq_ggml *ggml, int workers, qdq_quantizer *q) {
    memset(q, 0, sizeof *q);
    ggml_context *c = calloc(1, sizeof *c + (size_t)workers * sizeof c->worker[0]);
    if (!c) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for ggml");
    c->ggml = ggml;
    c->workers = workers;
    *q = (qdq_quantizer){.name = "this ggml",
                         .context = c,
                         .batch = 1 << 17,
                         .quantize = ggml_quantize,
                         .dequantize = ggml_dequantize,
                         .close = close_ggml};
    return QDQ_OK;
}
