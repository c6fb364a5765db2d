/* The dialect's operations one by one, for proofs, in a tier's lanes. */
#ifndef QDQ_BACKENDS_CPU_CPU_OPERATIONS_H
#define QDQ_BACKENDS_CPU_CPU_OPERATIONS_H

#include <string.h>

#include "dialect/operate.h"

static void dialect(qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b, uint32_t *out, size_t n) {
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = n - i < WIDTH ? n - i : WIDTH;
        uint32_t in[2][WIDTH] = {{0}};
        UINT ua, ub;
        memcpy(in[0], a + i, 4 * m);
        memcpy(in[1], b + i, 4 * m);
        memcpy(&ua, in[0], sizeof ua);
        memcpy(&ub, in[1], sizeof ub);
        UINT r = operate(operation, ua, ub);
        memcpy(out + i, &r, 4 * m);
    }
}

#endif
