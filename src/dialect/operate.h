/* The dialect's operations by number, for proofs: what a compiler made of each. Included after a dialect's header. */
#ifndef QDQ_DIALECT_OPERATE_H
#define QDQ_DIALECT_OPERATE_H

#include "dialect/operations.h"

FN UINT bit_if(MASK m, UINT bit) { return select_u(m, bit, splat_u(0u)); }

/* Of the bits of a and b; the bits of the result. round_half_away leaves what is outside its range as it is. */
FN UINT operate(qdq_dialect_operation operation, UINT ua, UINT ub) {
    REAL a = as_real(ua), b = as_real(ub);
    switch (operation) {
    case QDQ_DIV_RN: return as_uint(div_rn(a, b));
    case QDQ_SQRT_RN: return as_uint(sqrt_rn(a));
    case QDQ_PRODUCT: return as_uint(a * b);
    case QDQ_SUM: return as_uint(a + b);
    case QDQ_DIFFERENCE: return as_uint(a - b);
    case QDQ_MUL_V: return as_uint(mul_v(a, b));
    case QDQ_ADD_V: return as_uint(add_v(a, b));
    case QDQ_SUB_V: return as_uint(sub_v(a, b));
    case QDQ_MAX_R: return as_uint(max_r(a, b));
    case QDQ_MIN_R: return as_uint(min_r(a, b));
    case QDQ_COMPARE:
        return bit_if(gt(a, b), splat_u(1u)) | bit_if(ge(a, b), splat_u(2u)) | bit_if(lt(a, b), splat_u(4u)) |
               bit_if(le(a, b), splat_u(8u)) | bit_if(eq(a, b), splat_u(16u)) | bit_if(ne(a, b), splat_u(32u));
    case QDQ_F16_ROUND: return as_uint(f16_round(a));
    case QDQ_F16_BITS: return f16_bits(a);
    case QDQ_F16_VALUE: return as_uint(f16_value(ua & 0xffffu));
    case QDQ_ROUND_HALF_AWAY: {
        MASK in_range = lt(abs_(a), splat(4194304.0f));
        return select_u(in_range, as_uint(round_half_away(select_r(in_range, a, splat(0.0f)))), ua);
    }
    case QDQ_NEAREST_INT: return UINT_OF(nearest_int(a));
    case QDQ_POSITIVE_ZERO: return as_uint(positive_zero(a));
    case QDQ_DIALECT_OPERATION_COUNT: break;
    }
    return ua;
}

#endif
