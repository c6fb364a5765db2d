/* Proofs: one quantizer held against another over a set of inputs, bit for bit. */
#ifndef QDQ_PROOF_PROOFS_H
#define QDQ_PROOF_PROOFS_H

#include "proof/inputs.h"
#include "proof/quantizers.h"

enum { QDQ_PROOF_MAX_BLOCK = 256, QDQ_PROOF_MAX_BYTES = 512 };

typedef struct qdq_proof {
    qdq_format format;
    qdq_inputs inputs; /* packed: decoding is proven, else packed bytes and values */
    /* Importance: row weights, one a column, and how many elements a row has; NULL and 0 without. With it the inputs'
     * blocks are rows. */
    const float *weights;
    uint32_t row;
    /* What C leaves undefined is the contract's to define, so a ggml may differ there: such blocks are compared apart
     * and not held against it. NaN values are equal to one another, whatever their bits. */
    bool against_ggml;
    bool count_all; /* go on after a difference */
} qdq_proof;

typedef struct qdq_verdict {
    uint64_t blocks, elements;               /* compared */
    uint64_t differing;                      /* blocks; without count_all, at least one */
    uint64_t undefined, undefined_differing; /* blocks, against a ggml; not in the above */
    char undefined_failure[96];              /* what ended the ggml on them, or "" */
    uint64_t fused; /* Q4_0: of the differing, those that one rounding of x * id + 8.5 explains */
    /* The differing block of the lowest number: its input, and both outputs. */
    uint64_t first;
    uint32_t n_elements, n_bytes;
    float input[QDQ_PROOF_MAX_BLOCK];                                            /* when not packed */
    uint8_t got_block[QDQ_PROOF_MAX_BYTES], expected_block[QDQ_PROOF_MAX_BYTES]; /* packed: got is the input */
    float got[QDQ_PROOF_MAX_BLOCK], expected[QDQ_PROOF_MAX_BLOCK];
} qdq_verdict;

/* Called now and then, from any of the threads, one at a time; false stops the proof (it then fails). May be NULL. */
typedef bool qdq_proof_progress(void *context, uint64_t elements);

/* Holds subject against reference with `workers` threads; both must have been opened for as many. A difference is no
 * failure of the call: see verdict->differing. */
qdq_status qdq_prove(const qdq_proof *proof, const qdq_quantizer *subject, const qdq_quantizer *reference, int workers,
                     qdq_proof_progress *progress, void *context, qdq_verdict *verdict);

/* Error sums of all those formats, and sensitivities of each pair in turn and of each against the source, of random
 * and adversarial tensors of many lengths: the device's beside the scalar lane's, bit for bit. *compared: how many
 * sums. difference: what differs, or "". */
qdq_status qdq_prove_sums(const char *device, uint64_t seed, const qdq_format *formats, uint32_t n_formats,
                          uint32_t tensors, uint64_t *compared, char difference[256]);

#endif
