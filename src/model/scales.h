/* Scales of codes: numbers in tensors beside the codes, in the types that checkpoints keep them in. */
#ifndef QDQ_MODEL_SCALES_H
#define QDQ_MODEL_SCALES_H

#include "files/files.h"

typedef enum qdq_scale_type {
    QDQ_SCALE_F32,
    QDQ_SCALE_F16,
    QDQ_SCALE_BF16,
    QDQ_SCALE_E8M0,
    QDQ_SCALE_E4M3
} qdq_scale_type;

typedef struct qdq_scales {
    const uint8_t *data; /* at any alignment */
    qdq_scale_type type;
} qdq_scales;

/* The values of all codes of E4M3 (OCP, without infinities: 0x7f and 0xff are NaN), E2M1, and E8M0 (2^(code - 127), 255
 * is NaN). */
extern const float qdq_e4m3_values[256], qdq_e2m1_values[16];
float qdq_e8m0_value(uint8_t code);

/* A tensor as scales. U8 is E8M0, as safetensors without F8_E8M0 have it. false: of a type that is none. */
bool qdq_scales_of(const qdq_tensor *tensor, qdq_scales *scales);
float qdq_scale(const qdq_scales *scales, uint64_t index);

#endif
