/* The five formats of 32 elements in plain C, element by element, after ggml's published code. Nothing here is shared
 * with the dialect, so that each can be held against the other. Slow and simple. */
#ifndef QDQ_PROOF_REFERENCE_H
#define QDQ_PROOF_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct qdq_reference {
    const char *name;
    /* Packs 32 floats. False: C leaves something on the way undefined (a cast out of its type's range), or an element
     * is not finite; then the block is what the contract says, and ggml's may be another. */
    bool (*quantize)(const float *x, uint8_t *block);
    void (*dequantize)(const uint8_t *block, float *y);
} qdq_reference;

/* NULL for a format that has none. */
const qdq_reference *qdq_reference_of(const char *format_name);

/* The Q4_0 block that comes out where the compiler fuses x * id + 8.5 into one rounding. */
void qdq_reference_q4_0_fused(const float *x, uint8_t *block);

/* binary16, through binary64 arithmetic: to nearest even; and back, NaNs made quiet. */
uint16_t qdq_reference_half(float x);
float qdq_reference_half_value(uint16_t half);

#endif
