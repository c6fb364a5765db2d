/* Sums of whole tensors, measured by one process or by several that keep them in a folder. Sums of a tensor are never
 * split, so whoever measures it gets the same bits. */
#ifndef QDQ_MODEL_SHARED_SUMS_H
#define QDQ_MODEL_SHARED_SUMS_H

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
    const qdq_model *model;
    uint64_t plan; /* of what is shared: a checksum of all but the model that sums depend on; what differs is refused */
    uint32_t words; /* of a sum */
    uint64_t n;
    const qdq_sums_tensor *tensors; /* in the model's order; their sums are zeros */
    /* Puts the work on tensors[i] into the pass, which adds to its sums. */
    qdq_status (*put)(void *context, qdq_pass *pass, uint64_t i);
    void *context;
} qdq_sums_job;

/* Begins a plan's checksum: what is done, and by which device's reference. */
void qdq_sums_plan_begin(qdq_checksum *sum, const char *what, const qdq_pass *pass);
/* Adds a tensor in a format, with its importance or NULL. */
void qdq_sums_plan_add(qdq_checksum *sum, const qdq_tensor *tensor, qdq_format format,
                       const qdq_imatrix_entry *importance);

/* Measures all tensors; or, with shared, what qdq_shared_sums says. */
qdq_status qdq_sums_measure(const qdq_sums_job *job, qdq_pass *pass, qdq_shared_sums *shared);

/* The line of a journal that has sum k of the model's tensor `index`; and reads one, where nothing else stands. */
typedef struct qdq_sum_line {
    uint64_t index;
    uint32_t k;
    uint64_t words[QDQ_SUM_WORDS];
} qdq_sum_line;
size_t qdq_sum_line_print(const qdq_sum_line *sum, char *line); /* QDQ_JOURNAL_LINE bytes */
bool qdq_sum_line_parse(const char *line, size_t length, qdq_sum_line *sum);

#endif
