/* The dialect's operations that a compiler or a device could get wrong, numbered, so that a backend can offer each of
 * them by itself to proofs (operate.h). */
#ifndef QDQ_DIALECT_OPERATIONS_H
#define QDQ_DIALECT_OPERATIONS_H

#define QDQ_DIALECT_OPERATIONS(X)                                                                                      \
    X(0, DIV_RN, div_rn)                                                                                               \
    X(1, SQRT_RN, sqrt_rn)                                                                                             \
    X(2, PRODUCT, product)                                                                                             \
    X(3, SUM, sum)                                                                                                     \
    X(4, DIFFERENCE, difference)                                                                                       \
    X(5, MUL_V, mul_v)                                                                                                 \
    X(6, ADD_V, add_v)                                                                                                 \
    X(7, SUB_V, sub_v)                                                                                                 \
    X(8, MAX_R, max_r)                                                                                                 \
    X(9, MIN_R, min_r)                                                                                                 \
    X(10, COMPARE, compare)                                                                                            \
    X(11, F16_ROUND, f16_round)                                                                                        \
    X(12, F16_BITS, f16_bits)                                                                                          \
    X(13, F16_VALUE, f16_value)                                                                                        \
    X(14, ROUND_HALF_AWAY, round_half_away)                                                                            \
    X(15, NEAREST_INT, nearest_int)                                                                                    \
    X(16, POSITIVE_ZERO, positive_zero)

#ifdef GL_core_profile /* GLSL has no enums */
#define qdq_dialect_operation   uint
#define X(number, upper, lower) const uint QDQ_##upper = number;
QDQ_DIALECT_OPERATIONS(X)
#undef X
const uint QDQ_DIALECT_OPERATION_COUNT = 17;
#else
typedef enum qdq_dialect_operation {
#define X(number, upper, lower) QDQ_##upper = number,
    QDQ_DIALECT_OPERATIONS(X)
#undef X
        QDQ_DIALECT_OPERATION_COUNT
} qdq_dialect_operation;
#endif

#endif
