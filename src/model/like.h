/* A checkpoint's weights as the tensors of a published GGUF, the template. */
#ifndef QDQ_MODEL_LIKE_H
#define QDQ_MODEL_LIKE_H

#include "model/decoding.h"
#include "model/gguf_names.h"

/* What a tensor of the template is made of: tensors of the checkpoint, each a matrix of the same extents, one behind
 * the other; more than one are experts. */
typedef struct qdq_gathered {
    const qdq_tensor *const *parts;
    uint64_t n_parts;
    uint64_t rows, columns; /* of a part; where rows of one element move, columns is 1 */
    uint64_t heads;         /* rows stand as llama's conversion moves them; 0: as they are */
    float added;            /* to each value: 1 to gemma's norms */
} qdq_gathered;

/* Decodes such a tensor; layout: the qdq_gathered. */
void qdq_decode_gathered(const qdq_decoding *decoding, uint64_t first, uint32_t n, float *values);
/* The part that has an element, and *index: which of its elements it is. */
const qdq_tensor *qdq_gathered_at(const qdq_gathered *gathered, uint64_t *index);

/* How rows and values of the checkpoint's tensor may stand in the template. */
typedef struct qdq_like_rule {
    uint64_t heads;    /* rows may be moved; 0: not */
    bool moves;        /* the architecture's conversion does move them: what counts where values cannot tell */
    bool may_add;      /* 1 may have been added to all values */
    bool other_values; /* weights of another training are taken */
} qdq_like_rule;

/* Compares rows of the template's tensor, whose elements can be read, with what it would be made of, and settles heads
 * and added. QDQ_BAD_DATA: other weights, with the first difference. */
qdq_status qdq_like_probe(const qdq_tensor *wanted, const qdq_like_rule *rule, qdq_gathered *made);

#endif
