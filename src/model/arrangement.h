/* Which tensors a quantized GGUF has, in which order and under which names: as llama-quantize arranges them. */
#ifndef QDQ_MODEL_ARRANGEMENT_H
#define QDQ_MODEL_ARRANGEMENT_H

#include "files/files.h"

typedef struct qdq_arranged {
    uint64_t index;   /* in the model */
    const char *name; /* the model's, or with another number of its layer */
    uint32_t shard;   /* of the output's files, from 0; 0 unless qdq_arrange_by_shards() says otherwise */
} qdq_arranged;

typedef struct qdq_arrangement {
    qdq_arranged *tensors;
    uint64_t n;
    uint32_t shards; /* the output's files */
    bool by_shards;  /* they are named as a split set, even if there is one */
    char **renamed;  /* names that are not the model's; one a tensor, NULL elsewhere */
    bool pruned;     /* layers were asked to be left out */
    uint32_t blocks; /* how many layers are left, where some were */
} qdq_arrangement;

/* From a GGUF: layer by layer, and by name within one. From others: as they are. prune: layers, ascending and each
 * once, that are left out; those behind them move up. */
qdq_status qdq_arrange(const qdq_model *model, const uint32_t *prune, size_t n_prune, qdq_arrangement *arrangement);
/* Then: the tensors shard by shard of the model's split set, in the order in which its files have them.
 * QDQ_UNSUPPORTED: the model is no GGUF, or a shard has no tensors left. */
qdq_status qdq_arrange_by_shards(const qdq_model *model, qdq_arrangement *arrangement);
void qdq_arrangement_free(qdq_arrangement *arrangement);

#endif
