/* What turns floats into blocks and values: a device, the scalar lane, plain C, a ggml library. Proofs hold two of
 * them against each other. */
#ifndef QDQ_PROOF_QUANTIZERS_H
#define QDQ_PROOF_QUANTIZERS_H

#include "proof/ggml_library.h"
#include "qdq.h"

typedef struct qdq_quantizer qdq_quantizer;
struct qdq_quantizer {
    const char *name; /* as a sentence has it: "the scalar lane" */
    void *context;
    uint64_t batch; /* elements a call that suit it */
    /* The packed blocks and the round trip's values of x: n elements, a multiple of row; weights: importance, row of
     * them, or NULL. worker: from 0; one call at a time each. QDQ_UNSUPPORTED: it does not have that. */
    qdq_status (*quantize)(void *context, int worker, qdq_format format, const float *x, uint64_t n,
                           const float *weights, uint64_t row, uint8_t *blocks, float *values);
    qdq_status (*dequantize)(void *context, int worker, qdq_format format, const uint8_t *blocks, uint64_t n,
                             float *values);
    void (*close)(void *context);
};

/* The device through the public interface, its inputs handed over as dtype, which must hold them exactly. workers: how
 * many threads will call; a CPU device gets one thread for each. */
qdq_status qdq_device_quantizer(const char *device, qdq_dtype dtype, int workers, qdq_quantizer *quantizer);
/* The device, of f32, by an earlier revision of the reference. QDQ_UNSUPPORTED: it does not have that. */
qdq_status qdq_earlier_quantizer(const char *device, const char *reference, int workers, qdq_quantizer *quantizer);
/* Code of the caller's, which must outlive it. Without dequantize its blocks have the values that this library gives.
 */
qdq_status qdq_codec_quantizer(const qdq_codec *codec, qdq_quantizer *quantizer);
/* The CPU's portable tier, one lane at a time. */
qdq_status qdq_scalar_quantizer(int workers, qdq_quantizer *quantizer);
/* Plain C (reference.h); QDQ_UNSUPPORTED for formats that it does not have. */
qdq_quantizer qdq_reference_quantizer(void);
/* The library, in a child process for each call, so that one that ends is an error (QDQ_BAD_DATA) here. The
 * library must outlive it. */
qdq_status qdq_ggml_quantizer(qdq_ggml *ggml, int workers, qdq_quantizer *quantizer);

void qdq_quantizer_close(qdq_quantizer *quantizer);

#endif
