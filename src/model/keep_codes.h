/* Codes that a format of GGUF has too: blocks of the same codes and scales, without a second loss. */
#ifndef QDQ_MODEL_KEEP_CODES_H
#define QDQ_MODEL_KEEP_CODES_H

#include "base/pool.h"
#include "files/files.h"

/* The format whose blocks can have the tensor's codes; QDQ_FORMAT_NONE: none. */
qdq_format qdq_keeps_codes(const qdq_tensor *tensor);
/* Its codes are all that can be made of it: its outer scale is a tensor of its own. */
bool qdq_kept_apart(const qdq_tensor *tensor);
/* How many of the tensor's weights would be others in blocks of that format, since a scale is none of its scales. */
uint64_t qdq_kept_changes(const qdq_tensor *tensor);
/* `count` elements from `first` on, whole blocks, as blocks of that format, on the pool's threads. */
void qdq_keep_codes(qdq_pool *pool, const qdq_tensor *tensor, uint64_t first, uint64_t count, uint8_t *blocks);

#endif
