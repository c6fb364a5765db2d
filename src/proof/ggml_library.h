/* A ggml shared library (libggml-base.so, or one that brings it along), loaded at run time. */
#ifndef QDQ_PROOF_GGML_LIBRARY_H
#define QDQ_PROOF_GGML_LIBRARY_H

#include <stdbool.h>

#include "qdq.h"

typedef struct qdq_ggml qdq_ggml;

/* QDQ_IO_ERROR: it cannot be loaded; QDQ_UNSUPPORTED: it is no ggml, or lacks ggml_quantize_chunk. */
qdq_status qdq_ggml_open(const char *path, qdq_ggml **ggml);
void qdq_ggml_close(qdq_ggml *ggml);

/* NULL when the library has the format under the same name, number and size, with both ways; else why not. */
const char *qdq_ggml_lacks(const qdq_ggml *ggml, qdq_format format);
/* It quantizes to the format only with an importance matrix. */
bool qdq_ggml_needs_importance(const qdq_ggml *ggml, qdq_format format);

/* The reference has revisions. They differ in one search, IQ1_M's, so a block of that format tells. */
typedef enum qdq_ggml_revision {
    QDQ_GGML_OTHER,   /* neither: no iq1_m, or other bytes, as of a library with fused multiply-add */
    QDQ_GGML_2026_08, /* ggml d99724f2 */
    QDQ_GGML_2026_09  /* llama.cpp #28706 and later: this library's */
} qdq_ggml_revision;

/* The weights that tell, and of which revision their block is. */
enum { QDQ_PROBE = 256, QDQ_PROBE_BYTES = 56 };
void qdq_ggml_probe(float x[QDQ_PROBE]);
qdq_ggml_revision qdq_ggml_revision_of_block(const uint8_t block[QDQ_PROBE_BYTES]);

/* In this process and thread; ggml ends the process if it finds something amiss. n: a multiple of row, row of the
 * block. weights: row of them, or NULL. The format must not be lacking. */
void qdq_ggml_quantize(qdq_ggml *ggml, qdq_format format, const float *x, void *blocks, uint64_t n, uint64_t row,
                       const float *weights);
void qdq_ggml_dequantize(qdq_ggml *ggml, qdq_format format, const void *blocks, float *y, uint64_t n);
/* Builds the tables that some formats need; calls from several threads are safe after it. */
void qdq_ggml_prepare(qdq_ggml *ggml, qdq_format format);

#endif
