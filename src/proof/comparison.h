/* A comparison: one quantizer held against another over a set of inputs, bit for bit. */
#ifndef QDQ_PROOF_COMPARISON_H
#define QDQ_PROOF_COMPARISON_H

#include "proof/inputs.h"
#include "proof/quantizers.h"

enum { QDQ_PROOF_MAX_BLOCK = 256, QDQ_PROOF_MAX_BYTES = 512 };

typedef struct qdq_comparison {
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
} qdq_comparison;

typedef struct qdq_verdict {
    uint64_t blocks, elements;               /* compared */
    uint64_t differing;                      /* blocks; without count_all, at least one */
    uint64_t undefined, undefined_differing; /* blocks, against a ggml; not in the above */
    char undefined_failure[96];              /* what ended the ggml on them, or "" */
    /* The differing block of the lowest number: its input, and both outputs. */
    uint64_t first;
    uint32_t n_elements, n_bytes;
    float input[QDQ_PROOF_MAX_BLOCK];                                            /* when not packed */
    uint8_t got_block[QDQ_PROOF_MAX_BYTES], expected_block[QDQ_PROOF_MAX_BYTES]; /* packed: got is the input */
    float got[QDQ_PROOF_MAX_BLOCK], expected[QDQ_PROOF_MAX_BLOCK];
} qdq_verdict;

/* Called now and then, from any of the threads, one at a time, after so many more elements; false: QDQ_CANCELLED. May
 * be NULL. */
typedef bool qdq_compare_progress(void *context, uint64_t elements);

/* Holds subject against reference with `workers` threads; both must have been opened for as many. A difference is no
 * failure of the call: see verdict->differing. */
qdq_status qdq_compare(const qdq_comparison *comparison, const qdq_quantizer *subject, const qdq_quantizer *reference,
                       int workers, qdq_compare_progress *progress, void *context, qdq_verdict *verdict);

#endif
