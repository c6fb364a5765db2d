#include "model/shares.h"

#include <stdlib.h>

#include "base/error.h"

typedef struct job {
    double cost;
    size_t index;
} job;

static int dearest_first(const void *a, const void *b) {
    const job *x = a, *y = b;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The dearest first, each to the part that has least so far. */
qdq_status qdq_shares_of(size_t n, const double *costs, uint32_t parts, uint32_t *part_of) {
    size_t bins = n < parts ? n : parts;
    job *jobs = malloc((n + 1) * sizeof *jobs);
    double *loads = calloc(bins + 1, sizeof *loads);
    qdq_status status = jobs != NULL && loads != NULL ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for parts");
    for (size_t i = 0; i < n && status == QDQ_OK; i++) jobs[i] = (job){costs[i], i};
    if (status == QDQ_OK) qsort(jobs, n, sizeof *jobs, dearest_first);
    for (size_t i = 0; i < n && status == QDQ_OK; i++) {
        size_t least = 0;
        for (size_t b = 1; b < bins; b++)
            if (loads[b] < loads[least]) least = b;
        loads[least] += jobs[i].cost;
        part_of[jobs[i].index] = (uint32_t)least + 1;
    }
    free(jobs);
    free(loads);
    return status;
}
