/* What the proofs of a device and of a ggml library share: what is asked for, who is held against whom, and how it is
 * told. */
#ifndef QDQ_PROOF_PROVER_H
#define QDQ_PROOF_PROVER_H

#include "proof/comparison.h"

enum { QDQ_IMPORTANCE_ROW = 1024 };

typedef struct qdq_prover {
    qdq_proof_options wish;
    int workers;
    qdq_quantizer subject;             /* the device, or the caller's code */
    float weights[QDQ_IMPORTANCE_ROW]; /* an importance matrix's row, all of it positive */
    qdq_verdict verdict;               /* the last one's */
    char line[256];                    /* the proof under way, for progress */
    uint64_t done, total;              /* numbers of it */
    qdq_proof_report report;
} qdq_prover;

/* Reads the options (NULL: the defaults), checks them and the report's size, and opens the subject. To be closed in
 * every case. */
qdq_status qdq_prover_open(qdq_prover *prover, const qdq_proof_options *options, const qdq_proof_report *report);
void qdq_prover_close(qdq_prover *prover);
/* The formats asked for, from 0; QDQ_FORMAT_NONE: no more. */
qdq_format qdq_prover_format(const qdq_prover *prover, uint32_t index);

/* Begins to tell of progress. */
void qdq_prover_begin(qdq_prover *prover, qdq_format format, const char *inputs, uint64_t total);
/* A qdq_compare_progress whose context is the prover. */
bool qdq_prover_progress(void *prover, uint64_t elements);

/* Holds the subject against the reference: the result is in prover->verdict. */
qdq_status qdq_prover_compare(qdq_prover *prover, const qdq_comparison *comparison, const qdq_quantizer *subject,
                              const qdq_quantizer *reference, const char *inputs);
/* Thins the inputs out to about so many seconds, by a trial of a few batches. 0: leaves them. */
qdq_status qdq_prover_fit_time(qdq_prover *prover, qdq_comparison *comparison, const qdq_quantizer *subject,
                               const qdq_quantizer *reference, double seconds);

/* Counts the proof, and tells the caller; its size is set here. */
qdq_status qdq_prover_tell(qdq_prover *prover, qdq_proof *proof);
/* The same of prover->verdict. */
qdq_status qdq_prover_tell_verdict(qdq_prover *prover, const qdq_comparison *comparison, const char *inputs,
                                   const qdq_quantizer *reference);
/* The same of what is not compared. */
qdq_status qdq_prover_pass_over(qdq_prover *prover, qdq_proof_kind kind, qdq_format format, const char *why);
/* Closes, and hands the report over; returns status. */
qdq_status qdq_prover_end(qdq_prover *prover, qdq_status status, qdq_proof_report *report);

#endif
