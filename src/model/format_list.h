/* Formats by name, one or several. */
#ifndef QDQ_MODEL_FORMAT_LIST_H
#define QDQ_MODEL_FORMAT_LIST_H

#include "base/limits.h"
#include "qdq_model.h"

/* Has it blocks of one element? The format must exist. */
bool qdq_format_is_source(qdq_format format);
/* qdq_parse_formats() without formats of blocks of one element. */
qdq_status qdq_parse_block_formats(const char *text, qdq_format formats[QDQ_MAX_FORMATS], uint32_t *n);
/* Has a word that names nothing the letters and digits of this name, in this order: q4km, Q4-K-M? */
bool qdq_word_means(const char *word, const char *name);
/* The format's table row; the format must exist. */
qdq_format_info qdq_describe_format(qdq_format format);

#endif
