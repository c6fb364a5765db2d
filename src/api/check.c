#include "api/check.h"

#include <stdio.h>

#include "base/error.h"
#include "base/format.h"

void qdq_kernel_name(char name[QDQ_KERNEL_NAME], qdq_op_kind kind, qdq_format format, qdq_dtype dtype) {
    static const char *const prefixes[] = {"qdq", "quantize", "dequantize", "error", "sensitivity"};
    const qdq_format_row *row = qdq_format_get(format);
    snprintf(name, QDQ_KERNEL_NAME, "%s_%s_%s", prefixes[kind], row ? row->name : "?",
             qdq_dtype_name(kind == QDQ_OP_DEQUANTIZE ? QDQ_F32 : dtype));
}

qdq_status qdq_check_count(const char *kernel, qdq_format format, uint64_t count) {
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
