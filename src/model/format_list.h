/* Formats by name, one or several, and F32, F16 and BF16 beside them. */
#ifndef QDQ_MODEL_FORMAT_LIST_H
#define QDQ_MODEL_FORMAT_LIST_H

#include "base/limits.h"
#include "qdq_model.h"

/* F32, F16 and BF16, where weights may become those: blocks of one element, converted on the host. */
enum { QDQ_FORMAT_F32 = -10, QDQ_FORMAT_F16 = -11, QDQ_FORMAT_BF16 = -12 };
/* Is it one of these? Then *dtype (may be NULL) is what it stores. */
bool qdq_format_is_float(qdq_format format, qdq_dtype *dtype);
/* qdq_parse_formats() without f32, f16 and bf16. */
qdq_status qdq_parse_block_formats(const char *text, qdq_format formats[QDQ_MAX_FORMATS], uint32_t *n);
/* The format, or the float, with that ggml type; QDQ_FORMAT_NONE: there is none. */
qdq_format qdq_target_by_ggml_type(uint32_t type);
/* The format's table row, of floats too; the format must exist. */
qdq_format_info qdq_describe_format(qdq_format format);

#endif
