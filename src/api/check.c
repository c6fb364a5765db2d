#include "api/check.h"

#include <stdio.h>

#include "api/device.h"
#include "base/error.h"
#include "base/format.h"

void qdq_kernel_name(char name[QDQ_KERNEL_NAME], qdq_op_kind kind, qdq_format format, qdq_dtype input,
                     qdq_dtype output) {
    static const char *const prefixes[] = {"qdq", "quantize", "dequantize", "error", "sensitivity"};
    const qdq_format_row *row = qdq_format_get(format);
    bool both = kind == QDQ_OP_ROUNDTRIP && output != QDQ_F32;
    snprintf(name, QDQ_KERNEL_NAME, "%s_%s_%s%s%s", prefixes[kind], row ? row->name : "?",
             qdq_dtype_name(kind == QDQ_OP_DEQUANTIZE ? output : input), both ? "_" : "",
             both ? qdq_dtype_name(output) : "");
}

static qdq_status check_count(const char *kernel, qdq_format format, uint64_t count) {
    const qdq_format_row *row = qdq_format_get(format);
    if (!row) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no format has the number %d", kernel, (int)format);
    if (count == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: input must have at least one element", kernel);
    if (count % row->block_elements != 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: input element count (%llu) must be divisible by block size (%u)",
                        kernel, (unsigned long long)count, (unsigned)row->block_elements);
    if (count > UINT64_MAX / 16)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: %llu elements are more than memory can hold", kernel,
                        (unsigned long long)count);
    return QDQ_OK;
}

static qdq_status check_format(const char *kernel, const qdq_op *op, qdq_format format) {
    qdq_status status = check_count(kernel, format, op->count);
    if (status != QDQ_OK) return status;
    const qdq_format_row *row = qdq_format_get(format);
    if (row->importance != QDQ_IMPORTANCE_NEEDED || op->importance.memory || op->kind == QDQ_OP_DEQUANTIZE)
        return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED, "%s: %s needs an importance matrix: give an encoder one in its options", kernel,
                    row->name);
}

qdq_status qdq_check_formats(char kernel[QDQ_KERNEL_NAME], const qdq_op *op) {
    for (uint32_t f = 0; f < op->n_formats; f++) {
        qdq_kernel_name(kernel, op->kind, op->format[f], op->input.dtype, op->output.dtype);
        qdq_status status = check_format(kernel, op, op->format[f]);
        if (status == QDQ_OK && op->kind == QDQ_OP_SENSITIVITY && op->high[f] != QDQ_FORMAT_SOURCE)
            status = check_format(kernel, op, op->high[f]);
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

static qdq_status check_source(const qdq_device *device, const qdq_op *op, qdq_format format) {
    const qdq_format_row *row = qdq_format_get(format); /* NULL: QDQ_FORMAT_SOURCE */
    if (!row || !row->is_source || device->backend->takes_sources) return QDQ_OK;
    char kernel[QDQ_KERNEL_NAME];
    qdq_kernel_name(kernel, op->kind, format, op->input.dtype, op->output.dtype);
    return qdq_fail(QDQ_UNSUPPORTED, "%s: a %s device has no kernels of %s, which has no blocks; a CPU device takes it",
                    kernel, device->backend->name, row->name);
}

qdq_status qdq_build_op(const qdq_device *device, const qdq_op *op) {
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0; f < op->n_formats && status == QDQ_OK; f++) {
        status = check_source(device, op, op->format[f]);
        if (status == QDQ_OK && op->kind == QDQ_OP_SENSITIVITY) status = check_source(device, op, op->high[f]);
    }
    return status == QDQ_OK ? device->backend->build(device->state, op) : status;
}

qdq_status qdq_check_overlap(const char *kernel, const char *what, qdq_extent read, qdq_extent output, bool in_place) {
    if (read.first >= output.first + output.bytes || output.first >= read.first + read.bytes) return QDQ_OK;
    if (in_place && read.first == output.first && read.bytes == output.bytes) return QDQ_OK;
    return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: %s and output overlap%s", kernel, what,
                    in_place ? " without being the same" : "");
}
