/* Whole pieces of work shared out among processes that do not speak with each other. */
#ifndef QDQ_MODEL_SHARES_H
#define QDQ_MODEL_SHARES_H

#include <stddef.h>

#include "qdq.h"

enum { QDQ_SHARES = 1 << 16 }; /* parts at most */

/* The part, counted from 1, of each of n works of these costs; parts cost about the same, the first has the dearest
 * work, and every process comes to the same. QDQ_OUT_OF_MEMORY. */
qdq_status qdq_shares_of(size_t n, const double *costs, uint32_t parts, uint32_t *part_of);

#endif
