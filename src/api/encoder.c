#include <stdlib.h>
#include <string.h>

#include "api/check.h"
#include "api/device.h"
#include "base/error.h"
#include "base/format.h"

struct qdq_encoder {
    qdq_device *device;
    qdq_op *ops;
    size_t n_ops, ops_room;
    qdq_storage **held; /* storages that the operations use, kept until they are done */
    size_t n_held, held_room;
    void *ticket;
    bool committed;
    qdq_status submitted; /* what submit said */
};

qdq_status qdq_encoder_create(qdq_device *device, qdq_encoder **out) {
    if (out) *out = NULL;
    if (!device || !out) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_create: a NULL");
    qdq_encoder *encoder = *out = calloc(1, sizeof *encoder);
    if (!encoder) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for an encoder");
    encoder->device = device;
    qdq_device_retain(device);
    return QDQ_OK;
}

static void clear(qdq_encoder *encoder) {
    for (size_t i = 0; i < encoder->n_held; i++) qdq_storage_release(encoder->held[i]);
    encoder->n_held = encoder->n_ops = 0;
    encoder->committed = false;
    encoder->ticket = NULL;
}

void qdq_encoder_free(qdq_encoder *encoder) {
    if (!encoder) return;
    if (encoder->committed) qdq_encoder_wait(encoder);
    clear(encoder);
    free(encoder->ops);
    free(encoder->held);
    qdq_device_close(encoder->device);
    free(encoder);
}

qdq_status qdq_encoder_commit(qdq_encoder *encoder) {
    if (!encoder) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_commit: a NULL");
    if (encoder->committed)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_commit: already committed; wait for it first");
    encoder->submitted =
        encoder->device->backend->submit(encoder->device->state, encoder->ops, encoder->n_ops, &encoder->ticket);
    encoder->committed = true;
    return encoder->submitted;
}

qdq_status qdq_encoder_wait(qdq_encoder *encoder) {
    if (!encoder) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_wait: a NULL");
    if (!encoder->committed) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_wait: nothing is committed");
    qdq_status status = encoder->submitted;
    if (status == QDQ_OK) status = encoder->device->backend->wait(encoder->device->state, encoder->ticket);
    clear(encoder);
    return status;
}

qdq_status qdq_encoder_commit_and_wait(qdq_encoder *encoder) {
    qdq_status status = qdq_encoder_commit(encoder);
    if (!encoder || (status != QDQ_OK && !encoder->committed)) return status;
    return qdq_encoder_wait(encoder);
}

static void *grow(void *array, size_t used, size_t *room, size_t size) {
    if (used < *room) return array;
    size_t more = *room ? *room * 2 : 8;
    void *bigger = realloc(array, more * size);
    if (bigger) *room = more;
    return bigger;
}

static qdq_status hold(qdq_encoder *encoder, qdq_storage *storage) {
    qdq_storage **held = grow(encoder->held, encoder->n_held, &encoder->held_room, sizeof *held);
    if (!held) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record an operation");
    encoder->held = held;
    qdq_storage_retain(storage);
    held[encoder->n_held++] = storage;
    return QDQ_OK;
}

static bool is_source(qdq_dtype dtype) { return dtype == QDQ_F32 || dtype == QDQ_F16 || dtype == QDQ_BF16; }

static qdq_span span_of(const qdq_buffer *buffer) {
    return (qdq_span){buffer->storage->memory, buffer->offset, buffer->dtype};
}

static qdq_status check_buffer(const char *kernel, const qdq_encoder *encoder, const qdq_buffer *buffer,
                               const char *what) {
    if (!buffer) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no %s buffer", kernel, what);
    if (buffer->storage->device != encoder->device)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: the %s buffer belongs to another device than the encoder", kernel,
                        what);
    return QDQ_OK;
}

/* The byte ranges of two buffers touch. */
static bool overlap(const qdq_buffer *a, const qdq_buffer *b) {
    return a->storage == b->storage && a->offset < b->offset + qdq_buffer_bytes(b) &&
           b->offset < a->offset + qdq_buffer_bytes(a);
}

static qdq_status check_importance(const char *kernel, qdq_encoder *encoder, qdq_op *op, const qdq_buffer *input,
                                   const qdq_options *options) {
    qdq_options o = {0};
    if (options && options->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: options->size is not set", kernel);
    if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    op->row = o.row ? o.row : input->row;
    /* The first format that a row does not divide into blocks of, or any, if rows do not divide the whole. */
    const qdq_format_row *uneven = op->count % op->row != 0 ? qdq_format_get(op->format[0]) : NULL;
    for (uint32_t f = 0; f < op->n_formats; f++) {
        const qdq_format_row *format = qdq_format_get(op->format[f]);
        if (!format) continue;
        if (!uneven && (f == 0 || o.importance) && op->row % format->block_elements != 0) uneven = format;
        if (!o.importance && format->importance == 2 && op->kind != QDQ_OP_DEQUANTIZE)
            return qdq_fail(QDQ_UNSUPPORTED, "%s: %s needs an importance matrix", kernel, format->name);
    }
    if (uneven) {
        if (o.row || o.importance)
            return qdq_fail(QDQ_INVALID_ARGUMENT,
                            "%s: rows of %llu elements; they must be divisible by block size (%u) and divide the "
                            "element count (%llu)",
                            kernel, (unsigned long long)op->row, (unsigned)uneven->block_elements,
                            (unsigned long long)op->count);
        op->row = op->count;
    }
    if (!o.importance) return QDQ_OK;
    qdq_status status = check_buffer(kernel, encoder, o.importance, "importance");
    if (status != QDQ_OK) return status;
    if (o.importance->dtype != QDQ_F32 || o.importance->count != op->row)
        return qdq_fail(
            QDQ_INVALID_ARGUMENT, "%s: importance has %llu elements of %s; a row has %llu, and f32 is needed", kernel,
            (unsigned long long)o.importance->count, qdq_dtype_name(o.importance->dtype), (unsigned long long)op->row);
    op->importance = span_of(o.importance);
    return hold(encoder, o.importance->storage);
}

/* Checks the input of an operation and begins its record. */
static qdq_status begin(qdq_encoder *encoder, qdq_op *op, const qdq_buffer *input, char kernel[QDQ_KERNEL_NAME],
                        const qdq_options *options) {
    qdq_kernel_name(kernel, op->kind, op->format[0], input ? input->dtype : QDQ_F32);
    if (!encoder) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no encoder", kernel);
    if (encoder->committed)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: the encoder is committed; wait for it first", kernel);
    qdq_status status = check_buffer(kernel, encoder, input, "input");
    if (status != QDQ_OK) return status;
    status = qdq_check_count(kernel, op->format[0], input->count);
    if (status != QDQ_OK) return status;
    op->count = input->count;
    op->input = span_of(input);
    return check_importance(kernel, encoder, op, input, options);
}

static qdq_status record(qdq_encoder *encoder, const qdq_op *op, const qdq_buffer *const *buffers, size_t n) {
    qdq_status status = encoder->device->backend->build(encoder->device->state, op);
    if (status != QDQ_OK) return status;
    for (size_t i = 0; i < n; i++) {
        status = hold(encoder, buffers[i]->storage);
        if (status != QDQ_OK) return status;
    }
    qdq_op *ops = grow(encoder->ops, encoder->n_ops, &encoder->ops_room, sizeof *ops);
    if (!ops) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record an operation");
    encoder->ops = ops;
    ops[encoder->n_ops++] = *op;
    return QDQ_OK;
}

qdq_status qdq_encode_roundtrip(qdq_encoder *encoder, qdq_format format, const qdq_buffer *input, qdq_buffer *output,
                                const qdq_options *options) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_op op = {.kind = QDQ_OP_ROUNDTRIP, .n_formats = 1, .format = {format}};
    qdq_status status = begin(encoder, &op, input, kernel, options);
    if (status != QDQ_OK) return status;
    status = check_buffer(kernel, encoder, output, "output");
    if (status != QDQ_OK) return status;
    if (output->count != input->count)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: output element count %llu != input element count %llu", kernel,
                        (unsigned long long)output->count, (unsigned long long)input->count);
    if (!is_source(input->dtype) || output->dtype != QDQ_F32)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only f32, f16 or bf16 to f32 supported; got input=%s output=%s",
                        kernel, qdq_dtype_name(input->dtype), qdq_dtype_name(output->dtype));
    bool in_place = input->dtype == QDQ_F32 && input->storage == output->storage && input->offset == output->offset;
    if (overlap(input, output) && !in_place)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: input and output overlap without being the same", kernel);
    op.output = span_of(output);
    return record(encoder, &op, (const qdq_buffer *const[]){input, output}, 2);
}

qdq_status qdq_encode_quantize(qdq_encoder *encoder, qdq_format format, const qdq_buffer *input, qdq_buffer *blocks,
                               const qdq_options *options) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_op op = {.kind = QDQ_OP_QUANTIZE, .n_formats = 1, .format = {format}};
    qdq_status status = begin(encoder, &op, input, kernel, options);
    if (status != QDQ_OK) return status;
    status = check_buffer(kernel, encoder, blocks, "output");
    if (status != QDQ_OK) return status;
    if (!is_source(input->dtype) || blocks->dtype != QDQ_U8)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only f32, f16 or bf16 to u8 supported; got input=%s output=%s",
                        kernel, qdq_dtype_name(input->dtype), qdq_dtype_name(blocks->dtype));
    uint64_t bytes = qdq_format_bytes(format, input->count);
    if (blocks->count != bytes)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: output has %llu bytes; %llu elements make %llu", kernel,
                        (unsigned long long)blocks->count, (unsigned long long)input->count, (unsigned long long)bytes);
    if (overlap(input, blocks)) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: input and output overlap", kernel);
    op.output = span_of(blocks);
    return record(encoder, &op, (const qdq_buffer *const[]){input, blocks}, 2);
}

qdq_status qdq_encode_dequantize(qdq_encoder *encoder, qdq_format format, const qdq_buffer *blocks,
                                 qdq_buffer *output) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_op op = {.kind = QDQ_OP_DEQUANTIZE, .n_formats = 1, .format = {format}};
    qdq_kernel_name(kernel, op.kind, format, QDQ_F32);
    qdq_status status = encoder ? check_buffer(kernel, encoder, output, "output") : QDQ_OK;
    if (status != QDQ_OK) return status;
    /* The output has the elements, so it is what begin() checks. */
    status = begin(encoder, &op, output, kernel, NULL);
    if (status != QDQ_OK) return status;
    status = check_buffer(kernel, encoder, blocks, "input");
    if (status != QDQ_OK) return status;
    if (blocks->dtype != QDQ_U8 || output->dtype != QDQ_F32)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only u8 to f32 supported; got input=%s output=%s", kernel,
                        qdq_dtype_name(blocks->dtype), qdq_dtype_name(output->dtype));
    uint64_t bytes = qdq_format_bytes(format, output->count);
    if (blocks->count != bytes)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: input has %llu bytes; %llu elements need %llu", kernel,
                        (unsigned long long)blocks->count, (unsigned long long)output->count,
                        (unsigned long long)bytes);
    if (overlap(blocks, output)) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: input and output overlap", kernel);
    op.input = span_of(blocks);
    op.output = span_of(output);
    return record(encoder, &op, (const qdq_buffer *const[]){blocks, output}, 2);
}

qdq_status qdq_encode_error(qdq_encoder *encoder, uint32_t n_formats, const qdq_format *formats,
                            const qdq_buffer *input, qdq_error_sums *sums, const qdq_options *options) {
    char kernel[QDQ_KERNEL_NAME];
    if (n_formats == 0 || n_formats > QDQ_MAX_OP_FORMATS)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encode_error: %u formats; from 1 to %d", (unsigned)n_formats,
                        QDQ_MAX_OP_FORMATS);
    if (!formats || !sums)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encode_error: no %s",
                        formats ? "place for the sums" : "formats given");
    qdq_op op = {.kind = QDQ_OP_ERROR, .n_formats = n_formats, .error = sums};
    memcpy(op.format, formats, n_formats * sizeof *formats);
    qdq_status status = begin(encoder, &op, input, kernel, options);
    if (status != QDQ_OK) return status;
    for (uint32_t f = 0; f < n_formats; f++) {
        qdq_kernel_name(kernel, op.kind, formats[f], input->dtype);
        status = qdq_check_count(kernel, formats[f], input->count);
        if (status != QDQ_OK) return status;
    }
    if (!is_source(input->dtype))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only f32, f16 or bf16 supported; got input=%s", kernel,
                        qdq_dtype_name(input->dtype));
    return record(encoder, &op, &input, 1);
}

qdq_status qdq_encode_sensitivity(qdq_encoder *encoder, qdq_format low, qdq_format high, const qdq_buffer *input,
                                  const qdq_buffer *gradient, qdq_sensitivity_sums *sums, const qdq_options *options) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_op op = {.kind = QDQ_OP_SENSITIVITY, .n_formats = 2, .format = {low, high}, .sensitivity = sums};
    qdq_status status = begin(encoder, &op, input, kernel, options);
    if (status != QDQ_OK) return status;
    if (high != QDQ_FORMAT_SOURCE) {
        status = qdq_check_count(kernel, high, input->count);
        if (status != QDQ_OK) return status;
    }
    if (!sums) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no place for the sums", kernel);
    status = check_buffer(kernel, encoder, gradient, "gradient");
    if (status != QDQ_OK) return status;
    if (gradient->count != input->count)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: gradient element count %llu != input element count %llu", kernel,
                        (unsigned long long)gradient->count, (unsigned long long)input->count);
    if (!is_source(input->dtype) || !is_source(gradient->dtype))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only f32, f16 or bf16 supported; got input=%s gradient=%s", kernel,
                        qdq_dtype_name(input->dtype), qdq_dtype_name(gradient->dtype));
    op.gradient = span_of(gradient);
    return record(encoder, &op, (const qdq_buffer *const[]){input, gradient}, 2);
}
