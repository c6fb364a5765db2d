/* What a checkpoint's config.json says of its quantization. */
#ifndef QDQ_MODEL_QUANTIZATION_CONFIG_H
#define QDQ_MODEL_QUANTIZATION_CONFIG_H

#include "qdq_model.h"

typedef struct qdq_quantization {
    char method[32];                    /* "fp8", "compressed-tensors", "modelopt", "mxfp4"; "" where it says none */
    uint64_t block_rows, block_columns; /* of scales; 0 where it says none */
    bool zeros_as_they_are;             /* GPTQ's second version */
} qdq_quantization;

/* Of the config.json beside the model's files, or ModelOpt's hf_quant_config.json. QDQ_UNSUPPORTED: a method, or a way
 * of it, whose codes are not read, with its name; QDQ_BAD_DATA: it is not JSON. */
qdq_status qdq_quantization_read(const qdq_model *model, qdq_quantization *quantization);

#endif
