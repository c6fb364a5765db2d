/* Is a device's arithmetic right? */
#ifndef QDQ_BACKENDS_QUICK_PROOF_H
#define QDQ_BACKENDS_QUICK_PROOF_H

#include "backends/backend.h"

/* What IEEE-754 and the dialect say of one element. */
uint32_t qdq_dialect_expected(qdq_dialect_operation operation, uint32_t a, uint32_t b);
/* Whether a device's bits are as expected of a and b: the same, or NaNs where a NaN's bits are not promised, or of two
 * NaNs the other, since compilers may swap operands. */
bool qdq_dialect_agrees(qdq_dialect_operation operation, uint32_t a, uint32_t b, uint32_t expected, uint32_t got);

/* The quick proof of the backend's device `index`, made once a process: the operations above on numbers that devices
 * get wrong, and whole formats, beside the CPU's. The backend has `dialect`. "auto" takes no device that fails it. */
bool qdq_backend_proved(const qdq_backend *backend, uint32_t index);

#endif
