/* Proofs of the dialect's own operations on a device, against plain C that shares nothing with the dialect: binary64
 * arithmetic, rounded once. */
#ifndef QDQ_PROOF_OPERATION_PROOFS_H
#define QDQ_PROOF_OPERATION_PROOFS_H

#include <stdbool.h>

#include "dialect/operations.h"
#include "qdq.h"

const char *qdq_operation_name(qdq_dialect_operation operation);
/* The bits that the operation of the bits of a and b must have. */
uint32_t qdq_operation_expected(qdq_dialect_operation operation, uint32_t a, uint32_t b);
/* Are the bits that came out of a and b right? Those expected; or another NaN where the dialect does not promise which:
 * of two NaNs mul_v, add_v and sub_v may take either, since compilers swap factors and summands. */
bool qdq_operation_agrees(qdq_dialect_operation operation, uint32_t a, uint32_t b, uint32_t got);

typedef struct qdq_operation_verdict {
    uint64_t compared, differing;
    uint32_t a, b, got, expected; /* the first difference */
} qdq_operation_verdict;

/* All 2^32 bit patterns as a, or every stride-th (odd). Where there is a b: beside each of 14, whole and odd divisors,
 * ends of the ranges, NaN, and b takes the patterns too, beside a = 1; in operations other than division one pattern in
 * 15. QDQ_UNSUPPORTED: the device does not offer
 * its operations one by one. threads: of the comparison; progress and context as qdq_compare's. */
qdq_status qdq_prove_operation(qdq_device *device, qdq_dialect_operation operation, uint64_t stride, int threads,
                               bool (*progress)(void *context, uint64_t elements), void *context,
                               qdq_operation_verdict *verdict);
/* How many pairs qdq_prove_operation compares. */
uint64_t qdq_operation_pairs(qdq_dialect_operation operation, uint64_t stride);

#endif
