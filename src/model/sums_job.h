/* Sums of whole tensors that are to be measured, and what each of them depends on. */
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
    uint64_t first; /* of its sums, among those of all */
    uint32_t n;
    void *sums;
    double cost;    /* to measure it (model/costs.h) */
    uint64_t bytes; /* that are read for it */
    bool known;     /* set by the caller: its sums are known elsewhere, and not wanted */
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
    uint64_t n, n_sums;
    qdq_sums_tensor *tensors;
    uint64_t plan;  /* a checksum of what all sums depend on, but the model */
    uint64_t *keys; /* of each sum: a checksum of what it depends on besides: whoever has that key has the same bits */
    qdq_checksum tensor;                 /* what the sums of the last tensor have in common */
    const qdq_imatrix_entry *importance; /* of it; NULL: its checksum is not known */
    uint64_t importance_sum;
} qdq_sums_job;

/* Room for so many tensors and sums. */
qdq_status qdq_sums_begin(qdq_sums_job *job, const qdq_pass *pass, uint64_t most_tensors, uint64_t most_sums);
/* The next tensor, in the model's order, and its n sums, zeros now. */
qdq_status qdq_sums_add(qdq_sums_job *job, uint64_t index, uint32_t n, void *sums);
/* That tensor's sum k comes of these formats; of none, of the weights alone. */
qdq_status qdq_sums_of(qdq_sums_job *job, uint32_t k, uint32_t n_formats, const qdq_format *formats);
void qdq_sums_end(qdq_sums_job *job);

#endif
