/* What a model's makers say of its shape: a GGUF's metadata, or the config.json beside Hugging Face's files. */
#ifndef QDQ_MODEL_HYPERPARAMETERS_H
#define QDQ_MODEL_HYPERPARAMETERS_H

#include "model/mixtures.h"
#include "model/selection.h"

typedef struct qdq_hyperparameters {
    qdq_rules_model rules;          /* what llama-quantize's mixtures go by; architecture "": not known */
    uint32_t experts, experts_used; /* of a layer, and by a token; 0: not known, or there are none */
} qdq_hyperparameters;

/* What is not said is 0. QDQ_OUT_OF_MEMORY; QDQ_IO_ERROR: config.json is there, and cannot be read. */
qdq_status qdq_hyperparameters_read(const qdq_selection *selection, qdq_hyperparameters *read);

#endif
