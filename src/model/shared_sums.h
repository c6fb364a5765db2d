/* Sums of whole tensors, measured by one process or by several that keep them in a folder. Sums of a tensor are never
 * split, so whoever measures it gets the same bits. */
#ifndef QDQ_MODEL_SHARED_SUMS_H
#define QDQ_MODEL_SHARED_SUMS_H

#include "model/sums_job.h"

/* Measures all tensors; or, with shared, what qdq_shared_sums says. */
qdq_status qdq_sums_measure(const qdq_sums_job *job, qdq_pass *pass, qdq_shared_sums *shared);

/* The line of a journal that has a sum of the model's tensor `index`; and reads one, where nothing else stands. */
typedef struct qdq_sum_line {
    uint64_t index, key; /* of qdq_sums_job */
    uint64_t words[QDQ_SUM_WORDS];
} qdq_sum_line;
size_t qdq_sum_line_print(const qdq_sum_line *sum, char *line); /* QDQ_JOURNAL_LINE bytes */
bool qdq_sum_line_parse(const char *line, size_t length, qdq_sum_line *sum);

#endif
