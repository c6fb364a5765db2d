/* The dialect's operations that a compiler or a device could get wrong, numbered, so that a backend can offer each of
 * them by itself to proofs. vulkan/proof.comp has the same numbers. */
#ifndef QDQ_DIALECT_OPERATIONS_H
#define QDQ_DIALECT_OPERATIONS_H

#define QDQ_DIALECT_OPERATIONS(X)                                                                                      \
    X(DIV_RN, div_rn)                                                                                                  \
    X(SQRT_RN, sqrt_rn)                                                                                                \
    X(PRODUCT, product)                                                                                                \
    X(SUM, sum)                                                                                                        \
    X(DIFFERENCE, difference)                                                                                          \
    X(MUL_V, mul_v)                                                                                                    \
    X(ADD_V, add_v)                                                                                                    \
    X(SUB_V, sub_v)                                                                                                    \
    X(MAX_R, max_r)                                                                                                    \
    X(MIN_R, min_r)                                                                                                    \
    X(COMPARE, compare)                                                                                                \
    X(F16_ROUND, f16_round)                                                                                            \
    X(F16_BITS, f16_bits)                                                                                              \
    X(F16_VALUE, f16_value)                                                                                            \
    X(ROUND_HALF_AWAY, round_half_away)                                                                                \
    X(NEAREST_INT, nearest_int)                                                                                        \
    X(POSITIVE_ZERO, positive_zero)

typedef enum qdq_dialect_operation {
#define X(upper, lower) QDQ_##upper,
    QDQ_DIALECT_OPERATIONS(X)
#undef X
        QDQ_DIALECT_OPERATION_COUNT
} qdq_dialect_operation;

#endif
