/* How fast a device does its operations, beside its own copy and a ggml, in one run: what is compared takes turns, and
 * the best time of each counts, so that ratios hold on a machine that does other things too. */
#ifndef QDQ_PROOF_TIMING_H
#define QDQ_PROOF_TIMING_H

#include "proof/ggml_library.h"
#include "backends/backend.h"

typedef struct qdq_timing {
    qdq_op_kind kind;
    qdq_format format; /* of a sensitivity the low one */
    qdq_format high;   /* of a sensitivity */
    bool importance;   /* with an importance matrix */
    uint64_t elements; /* at most what qdq_time was given: slow formats take fewer */
    double bytes;      /* read and written */
    double seconds;    /* best; 0: the device has no such kernel */
    double ggml;       /* a ggml's best seconds for as many elements on one core; 0: it was not asked or has it not */
} qdq_timing;

typedef struct qdq_copy_timing {
    double bytes;     /* read and written */
    double seconds;   /* the better of the following */
    double plain;     /* memcpy's, or a GPU's own copy */
    double streaming; /* past the cache; 0 where there is none */
} qdq_copy_timing;

/* Times all of timings[] (kind, format, high and importance are given), inputs of dtype, on `elements` elements each, a
 * multiple of QDQ_TILE, with a device opened for `threads` threads. seconds: about how long each may take in all. ggml
 * may be NULL; it quantizes, dequantizes or does both, on one core, with the same importance. */
qdq_status qdq_time(const char *device, int threads, qdq_dtype dtype, uint64_t elements, double seconds, qdq_ggml *ggml,
                    qdq_timing *timings, uint32_t n, qdq_copy_timing *copy);

#endif
