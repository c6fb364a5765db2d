/* Inputs for proofs. A block is a function of its number (and a seed), so it can be had again from the number that a
 * difference names, whatever the threads and batches were. No libm: the same floats on every machine. */
#ifndef QDQ_PROOF_INPUTS_H
#define QDQ_PROOF_INPUTS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct qdq_inputs qdq_inputs;
struct qdq_inputs {
    /* Fills block number `block`: n floats, or n bytes of a packed block. */
    void (*fill)(const qdq_inputs *inputs, uint64_t block, void *out, uint32_t n);
    bool packed;     /* fill gives packed blocks */
    uint64_t blocks; /* how many there are */
    uint64_t stride; /* of sweeps: 1 takes every bit pattern */
    uint64_t seed;
    uint32_t extreme; /* of element sweeps: its bits */
};

/* Blocks whose extreme element is each of the 2^32 bit patterns, or every stride-th (odd): pattern v at a place that
 * moves, beside it fixed fractions of v (of 1 where v is not finite). */
qdq_inputs qdq_inputs_scales(uint64_t stride);
/* Blocks of one fixed element and n - 1 of the 2^32 bit patterns, or of every stride-th (odd). */
qdq_inputs qdq_inputs_elements(uint32_t extreme, uint32_t n, uint64_t stride);
/* Blocks that are one number throughout: each of the 2^16 binary16, or bfloat16, numbers. */
qdq_inputs qdq_inputs_halves(void);
qdq_inputs qdq_inputs_bfloats(void);
/* Weights as models have them: bell-shaped at several scales, some through bf16 and f16. All finite. */
qdq_inputs qdq_inputs_random(uint64_t seed, uint64_t blocks);
/* What breaks quantizers: ties, half-way cases, zeros of both signs, outliers, subnormals, overflow, NaNs, … */
qdq_inputs qdq_inputs_adversarial(uint64_t seed, uint64_t blocks);
/* Packed blocks in which each 16-bit word in turn takes each of its values (or every stride-th), the rest random. */
qdq_inputs qdq_inputs_words(uint64_t seed, uint32_t block_bytes, uint64_t stride);

#endif
