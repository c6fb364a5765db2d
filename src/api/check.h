/* What is wrong with an operation, said in its kernel's name. Shared by encoders and the plain calls. */
#ifndef QDQ_API_CHECK_H
#define QDQ_API_CHECK_H

#include "backends/backend.h"

enum { QDQ_KERNEL_NAME = 96 };

/* "qdq_q4_0_f32", "quantize_q8_0_bf16", …; "?" for a format or dtype that is none. */
void qdq_kernel_name(char name[QDQ_KERNEL_NAME], qdq_op_kind kind, qdq_format format, qdq_dtype dtype);

/* The format exists and takes count elements. */
qdq_status qdq_check_count(const char *kernel, qdq_format format, uint64_t count);

#endif
