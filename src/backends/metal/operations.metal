/* The dialect's operations one by one, an element a thread, for proofs. */
#undef FN
#define FN static inline
#include "dialect/operate.h"

KERNEL(dialect_kernel) {
    ulong i = ulong(group) * 32 * w.simdgroups + thread_number;
    if (i >= w.count) return;
    UINT a = ((device const uint *)input)[i], b = ((device const uint *)gradient)[i];
    ((device uint *)output)[i] = operate(qdq_dialect_operation(w.operation), a, b);
}
