/* The registry of kernels by name: OP_FORMAT_DTYPE, qdq_FORMAT_DTYPE_OUTPUT, and sensitivity_LOW_HIGH_DTYPE. */
#include <stdio.h>
#include <string.h>

#include "api/check.h"
#include "api/device.h"
#include "base/error.h"
#include "base/format.h"
#include "base/source.h"

enum { FORMAT_NAME = 32 };

static qdq_format format_of(const char *text, size_t length) {
    char name[FORMAT_NAME];
    if (length >= sizeof name) return QDQ_FORMAT_NONE;
    memcpy(name, text, length);
    name[length] = '\0';
    return qdq_format_by_name(name);
}

/* A name, and where the operation has two, both with a _ between: names have underscores of their own, so each is
 * tried.
 */
static bool read_formats(qdq_op *op, const char *text, size_t length) {
    op->n_formats = 1;
    op->format[0] = format_of(text, length);
    op->high[0] = QDQ_FORMAT_SOURCE;
    if (op->format[0] != QDQ_FORMAT_NONE) return true;
    for (size_t i = 1; i + 1 < length && op->kind == QDQ_OP_SENSITIVITY; i++) {
        if (text[i] != '_') continue;
        op->format[0] = format_of(text, i);
        op->high[0] = format_of(text + i + 1, length - i - 1);
        if (op->format[0] != QDQ_FORMAT_NONE && op->high[0] != QDQ_FORMAT_NONE) return true;
    }
    return false;
}

static bool dtype_of(const char *text, size_t length, qdq_dtype *dtype) {
    const qdq_source *source;
    for (uint32_t i = 0; (source = qdq_source_at(i)) != NULL; i++) {
        if (strlen(source->name) != length || strncmp(text, source->name, length) != 0) continue;
        *dtype = source->dtype;
        return true;
    }
    return false;
}

/* FORMATS_DTYPE, and of a round trip FORMAT_DTYPE_DTYPE. */
static bool read_rest(qdq_op *op, const char *text, size_t length) {
    size_t end = length; /* of the formats' names, and where a dtype follows */
    while (end > 0 && text[end - 1] != '_') end--;
    qdq_dtype last, before;
    if (end < 2 || !dtype_of(text + end, length - end, &last)) return false;
    end--;
    op->gradient.dtype = QDQ_F32;
    op->input.dtype = op->kind == QDQ_OP_DEQUANTIZE ? QDQ_U8 : last;
    op->output.dtype = op->kind == QDQ_OP_QUANTIZE ? QDQ_U8 : op->kind == QDQ_OP_DEQUANTIZE ? last : QDQ_F32;
    if (read_formats(op, text, end)) return true;
    size_t first = end;
    while (first > 0 && text[first - 1] != '_') first--;
    if (op->kind != QDQ_OP_ROUNDTRIP || last == QDQ_F32 || first < 2 || !dtype_of(text + first, end - first, &before))
        return false;
    op->input.dtype = before;
    op->output.dtype = last;
    return read_formats(op, text, first - 1);
}

static bool read_name(qdq_op *op, const char *name) {
    static const struct {
        const char *prefix;
        qdq_op_kind kind;
    } kinds[] = {{"qdq_", QDQ_OP_ROUNDTRIP},
                 {"quantize_", QDQ_OP_QUANTIZE},
                 {"dequantize_", QDQ_OP_DEQUANTIZE},
                 {"error_", QDQ_OP_ERROR},
                 {"sensitivity_", QDQ_OP_SENSITIVITY}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t length = strlen(kinds[k].prefix);
        if (strncmp(name, kinds[k].prefix, length) != 0) continue;
        op->kind = kinds[k].kind;
        return read_rest(op, name + length, strlen(name + length));
    }
    return false;
}

qdq_status qdq_device_build_kernel(qdq_device *device, const char *name) {
    if (!device || !name) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_build_kernel: a NULL");
    qdq_op op = {0};
    if (!read_name(&op, name))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "no kernel is called '%.64s'; names are such as qdq_q4_0_f32", name);
    /* A fit that importance steers is another kernel; some formats have no other. */
    bool plain = true, weighted = false;
    const qdq_format formats[] = {op.format[0], op.kind == QDQ_OP_SENSITIVITY ? op.high[0] : QDQ_FORMAT_SOURCE};
    for (int f = 0; f < 2 && op.kind != QDQ_OP_DEQUANTIZE; f++) {
        const qdq_format_row *row = qdq_format_get(formats[f]);
        if (row && row->importance == QDQ_IMPORTANCE_NEEDED) plain = false;
        if (row && row->importance != QDQ_IMPORTANCE_UNUSED) weighted = true;
    }
    qdq_status status = plain ? qdq_build_op(device, &op) : QDQ_OK;
    if (status != QDQ_OK || !weighted) return status;
    static char given;
    op.importance = (qdq_span){.memory = &given, .dtype = QDQ_F32};
    return qdq_build_op(device, &op);
}
