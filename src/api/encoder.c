#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/check.h"
#include "api/device.h"
#include "base/error.h"
#include "base/format.h"
#include "base/shared.h"
#include "base/source.h"

struct qdq_encoder {
    qdq_device *device;
    qdq_queue queue;
    qdq_op *ops;
    size_t n_ops, ops_room;
    qdq_storage **held; /* storages that the operations use, kept until they are done */
    size_t n_held, held_room;
    void *ticket;
    bool committed;
    bool keeps;           /* sums, until qdq_encoder_add_sums() */
    qdq_status submitted; /* what submit said */
};

static qdq_status create(const char *call, qdq_device *device, qdq_queue queue, qdq_encoder **out) {
    qdq_encoder *encoder = *out = calloc(1, sizeof *encoder);
    if (!encoder) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: no memory for an encoder", call);
    encoder->device = device;
    encoder->queue = queue;
    qdq_device_retain(device);
    return QDQ_OK;
}

qdq_status qdq_encoder_create(qdq_device *device, qdq_encoder **out) {
    if (out) *out = NULL;
    if (!device || !out) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_create: a NULL");
    return create("qdq_encoder_create", device, (qdq_queue){0}, out);
}

qdq_status qdq_encoder_create_on(qdq_device *device, void *stream, qdq_encoder **out) {
    if (out) *out = NULL;
    if (!device || !out) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_create_on: a NULL");
    const qdq_backend *backend = device->backend;
    if (!backend->check_stream && stream)
        return qdq_fail(QDQ_UNSUPPORTED, "qdq_encoder_create_on: %s devices have no streams; give NULL", backend->name);
    qdq_status status = backend->check_stream ? backend->check_stream(device->state, stream) : QDQ_OK;
    if (status != QDQ_OK) return status;
    return create("qdq_encoder_create_on", device, (qdq_queue){backend->check_stream != NULL, stream}, out);
}

static void let_go(qdq_encoder *encoder) {
    for (size_t i = 0; i < encoder->n_held; i++) qdq_storage_release(encoder->held[i]);
    encoder->n_held = 0;
    encoder->committed = false;
    encoder->ticket = NULL;
}

static void clear(qdq_encoder *encoder) {
    let_go(encoder);
    for (size_t i = 0; i < encoder->n_ops; i++) free(encoder->ops[i].kept);
    encoder->n_ops = 0;
}

QDQ_SHARED void qdq_encoder_keep_sums(qdq_encoder *encoder) { encoder->keeps = true; }

QDQ_SHARED void qdq_encoder_add_sums(qdq_encoder *encoder) {
    for (size_t i = 0; i < encoder->n_ops; i++)
        if (encoder->ops[i].kept) qdq_add_kept_sums(&encoder->ops[i]);
    clear(encoder);
}

void qdq_encoder_free(qdq_encoder *encoder) {
    if (!encoder) return;
    if (encoder->committed) qdq_encoder_wait(encoder);
    clear(encoder);
    free(encoder->ops);
    free(encoder->held);
    qdq_parcels_reap(encoder->device);
    /* Nobody else may be left to wait for what this encoder submitted. */
    if (atomic_load(&encoder->device->closed)) qdq_device_synchronize(encoder->device);
    qdq_device_release(encoder->device);
    free(encoder);
}

qdq_status qdq_encoder_commit(qdq_encoder *encoder) {
    if (!encoder) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_commit: a NULL");
    if (encoder->committed)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_commit: already committed; wait for it first");
    const qdq_device *device = encoder->device;
    encoder->submitted =
        device->backend->submit(device->state, encoder->queue, encoder->ops, encoder->n_ops, &encoder->ticket);
    encoder->committed = true;
    return encoder->submitted;
}

qdq_status qdq_encoder_wait(qdq_encoder *encoder) {
    if (!encoder) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_wait: a NULL");
    if (!encoder->committed) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_wait: nothing is committed");
    qdq_status status = encoder->submitted;
    if (status == QDQ_OK) status = encoder->device->backend->wait(encoder->device->state, encoder->ticket);
    if (encoder->keeps && status == QDQ_OK)
        let_go(encoder);
    else
        clear(encoder);
    qdq_parcels_reap(encoder->device);
    return status;
}

qdq_status qdq_encoder_commit_and_wait(qdq_encoder *encoder) {
    qdq_status status = qdq_encoder_commit(encoder);
    if (!encoder || (status != QDQ_OK && !encoder->committed)) return status;
    return qdq_encoder_wait(encoder);
}

qdq_status qdq_encoders_wait(uint32_t n, qdq_encoder *const *encoders) {
    if (n > 0 && !encoders) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoders_wait: a NULL");
    qdq_status first = QDQ_OK;
    char message[1024];
    for (uint32_t i = 0; i < n; i++) {
        qdq_status status = qdq_encoder_wait(encoders[i]);
        if (first != QDQ_OK || status == QDQ_OK) continue;
        first = status;
        snprintf(message, sizeof message, "%s", qdq_error_message());
    }
    return first == QDQ_OK ? QDQ_OK : qdq_fail(first, "%s", message);
}

static bool has_sums(const qdq_op *op) { return op->kind == QDQ_OP_ERROR || op->kind == QDQ_OP_SENSITIVITY; }

qdq_status qdq_encoder_submit(qdq_encoder *encoder) {
    if (!encoder) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_submit: a NULL");
    if (encoder->committed)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encoder_submit: already committed; wait for it first");
    for (size_t i = 0; i < encoder->n_ops; i++)
        if (has_sums(&encoder->ops[i]))
            return qdq_fail(QDQ_INVALID_ARGUMENT,
                            "qdq_encoder_submit: dispatch %zu adds to sums of the host's; commit, and wait for it", i);
    qdq_device *device = encoder->device;
    qdq_parcels_reap(device);
    if (encoder->n_ops == 0) return QDQ_OK;
    qdq_parcel *parcel = calloc(1, sizeof *parcel);
    if (!parcel) {
        clear(encoder);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "qdq_encoder_submit: no memory");
    }
    *parcel = (qdq_parcel){.ops = encoder->ops, .held = encoder->held, .n_held = encoder->n_held};
    qdq_status status =
        device->backend->submit(device->state, encoder->queue, encoder->ops, encoder->n_ops, &parcel->ticket);
    encoder->ops = NULL;
    encoder->held = NULL;
    encoder->n_ops = encoder->ops_room = encoder->n_held = encoder->held_room = 0;
    if (status == QDQ_OK && device->backend->is_done)
        qdq_parcel_keep(device, parcel);
    else
        qdq_parcel_free(parcel);
    return status;
}

/* Room for `more` after the `used` that there are; NULL, and the array as it was, without memory. */
static void *make_room(void *array, size_t used, size_t more, size_t *room, size_t size) {
    if (array && *room - used >= more) return array;
    size_t wanted = *room ? *room * 2 : 8;
    if (wanted < used + more) wanted = used + more;
    void *bigger = realloc(array, wanted * size);
    if (bigger) *room = wanted;
    return bigger;
}

static bool is_source(qdq_dtype dtype) { return qdq_source_get(dtype) != NULL; }

static qdq_span span_of(const qdq_buffer *buffer) {
    return (qdq_span){.memory = buffer->storage->memory,
                      .offset = buffer->offset,
                      .dtype = buffer->dtype,
                      .columns = buffer->pitch ? buffer->row : 0,
                      .pitch = buffer->pitch};
}

static qdq_status check_buffer(const char *kernel, const qdq_encoder *encoder, const qdq_buffer *buffer,
                               const char *what) {
    if (!buffer) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no %s buffer", kernel, what);
    if (buffer->storage->device != encoder->device)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: the %s buffer belongs to another device than the encoder", kernel,
                        what);
    return QDQ_OK;
}

static qdq_status check_output(const char *kernel, const qdq_encoder *encoder, const qdq_buffer *output) {
    qdq_status status = check_buffer(kernel, encoder, output, "output");
    if (status == QDQ_OK && output->storage->read_only)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: the output buffer's memory is read-only", kernel);
    return status;
}

/* Where the device's memories have addresses, two of them may share bytes; elsewhere only parts of one can. */
static bool can_meet(const qdq_storage *a, const qdq_storage *b) { return a == b || a->device->backend->address; }

static qdq_extent extent_of(const qdq_buffer *buffer) {
    const qdq_backend *backend = buffer->storage->device->backend;
    uint64_t base = backend->address ? backend->address(buffer->storage->memory) : 0;
    return (qdq_extent){base + buffer->offset, qdq_buffer_extent(buffer)};
}

/* in_place: the output may be the input. */
static qdq_status check_overlap(const char *kernel, const qdq_buffer *input, const qdq_buffer *output,
                                const qdq_buffer *importance, bool in_place) {
    qdq_status status = QDQ_OK;
    in_place = in_place && input->pitch == output->pitch && (input->pitch == 0 || input->row == output->row);
    if (can_meet(input->storage, output->storage))
        status = qdq_check_overlap(kernel, "input", extent_of(input), extent_of(output), in_place);
    if (status == QDQ_OK && importance && can_meet(importance->storage, output->storage))
        status = qdq_check_overlap(kernel, "importance", extent_of(importance), extent_of(output), false);
    return status;
}

static qdq_status read_options(const char *kernel, const qdq_options *options, qdq_options *read) {
    *read = (qdq_options){0};
    if (options && options->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: options->size is not set", kernel);
    if (options) memcpy(read, options, options->size < sizeof *read ? options->size : sizeof *read);
    return QDQ_OK;
}

/* Sets op->row. */
static qdq_status check_row(const char *kernel, qdq_op *op, const qdq_buffer *input, const qdq_options *o) {
    op->row = o->row ? o->row : input->row;
    /* The first format that a row does not divide into blocks of, or any, if rows do not divide the whole. */
    const qdq_format_row *uneven = op->count % op->row != 0 ? qdq_format_get(op->format[0]) : NULL;
    for (uint32_t f = 0; f < op->n_formats; f++) {
        const qdq_format_row *format = qdq_format_get(op->format[f]);
        if (format && !uneven && (f == 0 || o->importance) && op->row % format->block_elements != 0) uneven = format;
    }
    if (input->pitch && (uneven || op->row != input->row))
        return qdq_fail(
            QDQ_INVALID_ARGUMENT,
            "%s: rows of %llu elements, one every %llu; they must be the operation's rows, and whole blocks", kernel,
            (unsigned long long)input->row, (unsigned long long)input->pitch);
    if (!uneven) return QDQ_OK;
    if (o->row || o->importance)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "%s: rows of %llu elements; they must be divisible by block size (%u) and divide the "
                        "element count (%llu)",
                        kernel, (unsigned long long)op->row, (unsigned)uneven->block_elements,
                        (unsigned long long)op->count);
    op->row = op->count;
    return QDQ_OK;
}

/* Rows of an output, or a gradient, are whole blocks too, so that no lane meets a gap. */
static qdq_status check_rows(const char *kernel, const char *what, const qdq_op *op, const qdq_buffer *buffer) {
    for (uint32_t f = 0; f < op->n_formats && buffer->pitch; f++) {
        uint32_t block = qdq_format_get(op->format[f])->block_elements;
        if (buffer->row % block != 0)
            return qdq_fail(QDQ_INVALID_ARGUMENT,
                            "%s: the %s's rows of %llu elements must be divisible by block size (%u)", kernel, what,
                            (unsigned long long)buffer->row, (unsigned)block);
    }
    return QDQ_OK;
}

static qdq_status check_importance(const char *kernel, const qdq_encoder *encoder, const qdq_op *op,
                                   const qdq_buffer *importance) {
    if (!importance) return QDQ_OK;
    qdq_status status = check_buffer(kernel, encoder, importance, "importance");
    if (status != QDQ_OK) return status;
    if (importance->dtype == QDQ_F32 && importance->count == op->row && !importance->pitch) return QDQ_OK;
    return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: importance has %llu elements of %s; a row has %llu, and f32 is needed",
                    kernel, (unsigned long long)importance->count, qdq_dtype_name(importance->dtype),
                    (unsigned long long)op->row);
}

/* Checks the input of an operation and begins its record. */
static qdq_status begin(const qdq_encoder *encoder, qdq_op *op, const qdq_buffer *input, char kernel[QDQ_KERNEL_NAME],
                        const qdq_options *options, qdq_options *read) {
    qdq_kernel_name(kernel, op->kind, op->format[0], input ? input->dtype : QDQ_F32, op->output.dtype);
    if (!encoder) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no encoder", kernel);
    if (encoder->committed)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: the encoder is committed; wait for it first", kernel);
    qdq_status status = check_buffer(kernel, encoder, input, "input");
    if (status == QDQ_OK) status = read_options(kernel, options, read);
    if (status != QDQ_OK) return status;
    op->count = input->count;
    op->input = span_of(input);
    if (read->importance) op->importance = span_of(read->importance);
    status = qdq_check_formats(kernel, op);
    if (status == QDQ_OK) status = check_row(kernel, op, input, read);
    if (status == QDQ_OK) status = check_importance(kernel, encoder, op, read->importance);
    return status;
}

/* Appends the operation, and keeps the buffers that it uses, NULLs left out. */
static qdq_status record(qdq_encoder *encoder, const qdq_op *op, const qdq_buffer *const buffers[3]) {
    qdq_storage **held = make_room(encoder->held, encoder->n_held, 3, &encoder->held_room, sizeof *held);
    if (held) encoder->held = held;
    qdq_op *ops = held ? make_room(encoder->ops, encoder->n_ops, 1, &encoder->ops_room, sizeof *ops) : NULL;
    if (!ops) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record an operation");
    encoder->ops = ops;
    qdq_status status = qdq_build_op(encoder->device, op);
    if (status != QDQ_OK) return status;
    uint64_t kept_bytes = encoder->keeps ? qdq_kept_bytes(op) : 0;
    void *kept = kept_bytes > 0 ? malloc((size_t)kept_bytes) : NULL;
    if (kept_bytes > 0 && !kept) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the sums of an operation");
    for (int i = 0; i < 3; i++) {
        if (!buffers[i]) continue;
        qdq_storage_retain(buffers[i]->storage);
        held[encoder->n_held++] = buffers[i]->storage;
    }
    ops[encoder->n_ops] = *op;
    ops[encoder->n_ops++].kept = kept;
    return QDQ_OK;
}

qdq_status qdq_encode_roundtrip(qdq_encoder *encoder, qdq_format format, const qdq_buffer *input, qdq_buffer *output,
                                const qdq_options *options) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_options o;
    qdq_op op = {.kind = QDQ_OP_ROUNDTRIP, .n_formats = 1, .format = {format}};
    if (output) op.output = span_of(output);
    qdq_status status = begin(encoder, &op, input, kernel, options, &o);
    if (status != QDQ_OK) return status;
    status = check_output(kernel, encoder, output);
    if (status != QDQ_OK) return status;
    if (output->count != input->count)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: output element count %llu != input element count %llu", kernel,
                        (unsigned long long)output->count, (unsigned long long)input->count);
    if (!is_source(input->dtype) || !is_source(output->dtype))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only f32, f16 or bf16 supported; got input=%s output=%s", kernel,
                        qdq_dtype_name(input->dtype), qdq_dtype_name(output->dtype));
    status = check_rows(kernel, "output", &op, output);
    if (status != QDQ_OK) return status;
    status = check_overlap(kernel, input, output, o.importance, input->dtype == output->dtype);
    if (status != QDQ_OK) return status;
    return record(encoder, &op, (const qdq_buffer *const[3]){input, output, o.importance});
}

qdq_status qdq_encode_quantize(qdq_encoder *encoder, qdq_format format, const qdq_buffer *input, qdq_buffer *blocks,
                               const qdq_options *options) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_options o;
    qdq_op op = {.kind = QDQ_OP_QUANTIZE, .n_formats = 1, .format = {format}};
    qdq_status status = begin(encoder, &op, input, kernel, options, &o);
    if (status != QDQ_OK) return status;
    status = check_output(kernel, encoder, blocks);
    if (status != QDQ_OK) return status;
    if (!is_source(input->dtype) || blocks->dtype != QDQ_U8)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only f32, f16 or bf16 to u8 supported; got input=%s output=%s",
                        kernel, qdq_dtype_name(input->dtype), qdq_dtype_name(blocks->dtype));
    uint64_t bytes = qdq_format_bytes(format, input->count);
    if (blocks->count != bytes)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: output has %llu bytes; %llu elements make %llu", kernel,
                        (unsigned long long)blocks->count, (unsigned long long)input->count, (unsigned long long)bytes);
    status = check_overlap(kernel, input, blocks, o.importance, false);
    if (status != QDQ_OK) return status;
    op.output = span_of(blocks);
    return record(encoder, &op, (const qdq_buffer *const[3]){input, blocks, o.importance});
}

qdq_status qdq_encode_dequantize(qdq_encoder *encoder, qdq_format format, const qdq_buffer *blocks,
                                 qdq_buffer *output) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_options o;
    qdq_op op = {.kind = QDQ_OP_DEQUANTIZE, .n_formats = 1, .format = {format}};
    if (output) op.output = span_of(output);
    qdq_kernel_name(kernel, op.kind, format, QDQ_U8, op.output.dtype);
    qdq_status status = encoder ? check_output(kernel, encoder, output) : QDQ_OK;
    if (status != QDQ_OK) return status;
    /* The output has the elements, so it is what begin() checks. */
    status = begin(encoder, &op, output, kernel, NULL, &o);
    if (status != QDQ_OK) return status;
    status = check_buffer(kernel, encoder, blocks, "input");
    if (status != QDQ_OK) return status;
    if (blocks->dtype != QDQ_U8 || !is_source(output->dtype))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only u8 to f32, f16 or bf16 supported; got input=%s output=%s",
                        kernel, qdq_dtype_name(blocks->dtype), qdq_dtype_name(output->dtype));
    uint64_t bytes = qdq_format_bytes(format, output->count);
    if (blocks->count != bytes)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: input has %llu bytes; %llu elements need %llu", kernel,
                        (unsigned long long)blocks->count, (unsigned long long)output->count,
                        (unsigned long long)bytes);
    status = check_overlap(kernel, blocks, output, NULL, false);
    if (status != QDQ_OK) return status;
    op.input = span_of(blocks);
    return record(encoder, &op, (const qdq_buffer *const[3]){blocks, output});
}

static qdq_status encode_error(qdq_encoder *encoder, const char *call, qdq_op *op, const qdq_format *formats,
                               const qdq_buffer *input, const qdq_options *options) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_options o;
    if (op->n_formats == 0 || op->n_formats > QDQ_MAX_OP_FORMATS)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: %u formats; from 1 to %d", call, (unsigned)op->n_formats,
                        QDQ_MAX_OP_FORMATS);
    if (!formats || (!op->error && !op->totals))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no %s", call, formats ? "place for the sums" : "formats given");
    op->kind = QDQ_OP_ERROR;
    memcpy(op->format, formats, op->n_formats * sizeof *formats);
    qdq_status status = begin(encoder, op, input, kernel, options, &o);
    if (status != QDQ_OK) return status;
    if (!is_source(input->dtype))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only f32, f16 or bf16 supported; got input=%s", kernel,
                        qdq_dtype_name(input->dtype));
    status = check_rows(kernel, "input", op, input);
    if (status != QDQ_OK) return status;
    return record(encoder, op, (const qdq_buffer *const[3]){input, o.importance});
}

qdq_status qdq_encode_error(qdq_encoder *encoder, uint32_t n_formats, const qdq_format *formats,
                            const qdq_buffer *input, qdq_error_sums *sums, const qdq_options *options) {
    qdq_op op = {.n_formats = n_formats, .error = sums};
    return encode_error(encoder, "qdq_encode_error", &op, formats, input, options);
}

qdq_status qdq_encode_errors(qdq_encoder *encoder, uint32_t n_formats, const qdq_format *formats,
                             const qdq_buffer *input, qdq_error_totals *totals, const qdq_options *options) {
    size_t size = totals ? totals->size : 0;
    if (totals && (size < sizeof(size_t) + sizeof(qdq_error_sums) || size % sizeof(uint64_t) != 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encode_errors: totals->size is not set");
    qdq_op op = {.n_formats = n_formats, .totals = totals, .totals_size = size};
    return encode_error(encoder, "qdq_encode_errors", &op, formats, input, options);
}

static qdq_status encode_sensitivity(qdq_encoder *encoder, qdq_op *op, const qdq_buffer *input,
                                     const qdq_buffer *gradient, const qdq_options *options) {
    char kernel[QDQ_KERNEL_NAME];
    qdq_options o;
    qdq_status status = begin(encoder, op, input, kernel, options, &o);
    if (status != QDQ_OK) return status;
    if (!op->sensitivity) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no place for the sums", kernel);
    status = check_buffer(kernel, encoder, gradient, "gradient");
    if (status != QDQ_OK) return status;
    if (gradient->count != input->count)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: gradient element count %llu != input element count %llu", kernel,
                        (unsigned long long)gradient->count, (unsigned long long)input->count);
    if (!is_source(input->dtype) || !is_source(gradient->dtype))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: only f32, f16 or bf16 supported; got input=%s gradient=%s", kernel,
                        qdq_dtype_name(input->dtype), qdq_dtype_name(gradient->dtype));
    status = check_rows(kernel, "input", op, input);
    if (status == QDQ_OK) status = check_rows(kernel, "gradient", op, gradient);
    if (status != QDQ_OK) return status;
    op->gradient = span_of(gradient);
    return record(encoder, op, (const qdq_buffer *const[3]){input, gradient, o.importance});
}

qdq_status qdq_encode_sensitivity(qdq_encoder *encoder, qdq_format low, qdq_format high, const qdq_buffer *input,
                                  const qdq_buffer *gradient, qdq_sensitivity_sums *sums, const qdq_options *options) {
    qdq_op op = {.kind = QDQ_OP_SENSITIVITY, .n_formats = 1, .format = {low}, .high = {high}, .sensitivity = sums};
    return encode_sensitivity(encoder, &op, input, gradient, options);
}

qdq_status qdq_encode_sensitivities(qdq_encoder *encoder, uint32_t n_pairs, const qdq_format *low,
                                    const qdq_format *high, const qdq_buffer *input, const qdq_buffer *gradient,
                                    qdq_sensitivity_sums *sums, const qdq_options *options) {
    if (n_pairs == 0 || n_pairs > QDQ_MAX_OP_FORMATS)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encode_sensitivities: %u pairs; from 1 to %d", (unsigned)n_pairs,
                        QDQ_MAX_OP_FORMATS);
    if (!low || !high) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_encode_sensitivities: no formats given");
    qdq_op op = {.kind = QDQ_OP_SENSITIVITY, .n_formats = n_pairs, .sensitivity = sums};
    memcpy(op.format, low, n_pairs * sizeof *low);
    memcpy(op.high, high, n_pairs * sizeof *high);
    return encode_sensitivity(encoder, &op, input, gradient, options);
}
