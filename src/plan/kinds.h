/* What an error costs in tensors of a kind: the knowledge that weights alone do not show. */
#ifndef QDQ_PLAN_KINDS_H
#define QDQ_PLAN_KINDS_H

#include <stdbool.h>
#include <stdint.h>

/* What is asked of a model before its tensors are weighed. */
typedef struct qdq_kinds {
    uint32_t layers; /* one more than the largest number of a layer */
    bool has_output; /* a matrix of its own makes the logits; if not, the embedding does */
    bool is_encoder; /* a BERT, which makes no logits: of those nothing is known */
} qdq_kinds;

/* gguf: the tensor's name in GGUF. Adds what it tells of the model. */
void qdq_kinds_see(qdq_kinds *kinds, const char *gguf);
/* How much of the model's damage a unit of this tensor's relative squared error does: near 1 for all matrices of a
 * language model together. 0: the name is empty. */
double qdq_kinds_weight(const qdq_kinds *kinds, const char *gguf);
/* Is the tensor the matrix by which a feed-forward layer adds to what flows from layer to layer? *layer: its layer. */
bool qdq_kinds_writes(const char *gguf, int64_t *layer);
/* What multiplies the weight of such a tensor; energy: of what it adds, before: of what those of the layers before it
 * add together. */
double qdq_kinds_outburst(const qdq_kinds *kinds, double energy, double before);

#endif
