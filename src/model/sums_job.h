/* Sums of whole tensors that are to be measured, and what they depend on. */
#ifndef QDQ_MODEL_SUMS_JOB_H
#define QDQ_MODEL_SUMS_JOB_H

#include "files/checksum.h"
#include "model/pass.h"
#include "qdq_model.h"

/* Words of 64 bits that a sum has at most; the first three are doubles. */
enum { QDQ_SUM_WORDS = 5, QDQ_SUM_DOUBLES = 3 };

/* A tensor, and its n sums, which follow one another. */
typedef struct qdq_sums_tensor {
    uint64_t index; /* of the model */
    uint32_t n;
    void *sums;
    double cost;    /* to measure it (model/costs.h) */
    uint64_t bytes; /* that are read for it */
} qdq_sums_tensor;

typedef struct qdq_sums_job {
    /* Set by the caller. */
    const char *what; /* "error": sums of another name are others */
    const qdq_selection *selection;
    const qdq_gradients *gradients; /* NULL: none are used */
    uint32_t words;                 /* of a sum */
    bool shared;                    /* with other processes, which must agree about all that sums depend on */
    /* Puts the work on tensors[i] into the pass, which adds to its sums. */
    qdq_status (*put)(void *context, qdq_pass *pass, uint64_t i);
    void *context;
    /* Made by the calls below. */
    uint64_t n;
    qdq_sums_tensor *tensors;
    qdq_checksum plan; /* of all but the model that sums depend on */
} qdq_sums_job;

/* Room for `most` tensors. What fails wants no end. */
qdq_status qdq_sums_begin(qdq_sums_job *job, const qdq_pass *pass, uint64_t most);
/* The next tensor, in the model's order; its n sums, zeros now, come of these formats, and of its gradient. */
qdq_status qdq_sums_add(qdq_sums_job *job, uint64_t index, uint32_t n_formats, const qdq_format *formats, uint32_t n,
                        void *sums);
void qdq_sums_end(qdq_sums_job *job);

#endif
