/* What llama-quantize's mixtures ask of a model, as llama.cpp reads it (src/llama-model.cpp, llama-hparams). */
#ifndef QDQ_MODEL_RULES_MODEL_H
#define QDQ_MODEL_RULES_MODEL_H

#include "model/architecture.h"

typedef struct qdq_rules_model {
    char architecture[QDQ_ARCHITECTURE];
    uint32_t layers;       /* llama.cpp's n_layer_all: those that predict further tokens included */
    uint32_t experts;      /* 0: none */
    uint32_t heads_per_kv; /* query heads for each head of keys and values, in the first layer; 0: it has none */
    bool is_70b;           /* LLM_TYPE_70B */
} qdq_rules_model;

/* From a GGUF's metadata. QDQ_BAD_DATA: no general.architecture, or no ARCHITECTURE.block_count between 1 and 512. */
qdq_status qdq_rules_model_read(const qdq_model *model, const qdq_kv_list *overrides, qdq_rules_model *facts);

/* The same from numbers that were found elsewhere; architecture: GGUF's. */
void qdq_rules_model_make(const char *architecture, uint32_t layers, uint32_t experts, uint32_t heads,
                          uint32_t kv_heads, qdq_rules_model *facts);

#endif
