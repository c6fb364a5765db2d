/* Whole pieces of work shared out among processes that do not speak with each other. */
#ifndef QDQ_MODEL_SHARES_H
#define QDQ_MODEL_SHARES_H

#include <stdbool.h>
#include <stddef.h>

#include "qdq.h"

enum { QDQ_SHARES = 1 << 16 }; /* parts at most */

/* Which of n works, of these costs, are those of one part, counted from 1; the parts cost about the same, and every
 * process comes to the same. QDQ_OUT_OF_MEMORY. */
qdq_status qdq_share_of(size_t n, const double *costs, uint32_t part, uint32_t parts, bool *mine);

#endif
