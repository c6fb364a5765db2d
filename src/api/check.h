/* What is wrong with an operation, said in its kernel's name. Shared by encoders and the plain calls. */
#ifndef QDQ_API_CHECK_H
#define QDQ_API_CHECK_H

#include "backends/backend.h"

enum { QDQ_KERNEL_NAME = 96 };

/* "qdq_q4_0_f32", "qdq_q4_0_bf16_f16", "quantize_q8_0_bf16", …; "?" for a format or dtype that is none. Outputs count
 * for round trip and dequantize only. */
void qdq_kernel_name(char name[QDQ_KERNEL_NAME], qdq_op_kind kind, qdq_format format, qdq_dtype input,
                     qdq_dtype output);

/* The operation's formats exist and take its count of elements, and there is an importance matrix where one is needed.
 * Leaves in `kernel` the name of what was refused. */
qdq_status qdq_check_formats(char kernel[QDQ_KERNEL_NAME], const qdq_op *op);
/* The backend's build. QDQ_UNSUPPORTED, too, for a source as a format where the device takes none. */
qdq_status qdq_build_op(const qdq_device *device, const qdq_op *op);

/* Bytes in a space of addresses. */
typedef struct qdq_extent {
    uint64_t first, bytes;
} qdq_extent;

/* An output touches nothing that is read. in_place: the very same elements are allowed. */
qdq_status qdq_check_overlap(const char *kernel, const char *what, qdq_extent read, qdq_extent output, bool in_place);

#endif
