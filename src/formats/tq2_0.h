/* TQ2_0: ternary (tq.h), two bits a code.
 *
 *   byte 32 k + i   lane 4 k + 3's q[i] | 4 k + 2's | 4 k + 1's | 4 k's      (2 bits each)
 *        64 65      d f16
 *
 * A packed code of 3 stands for 2 d. Source of the algorithm: ggml, quantize_row_tq2_0_ref, dequantize_row_tq2_0. */
#include "tq.h"

#define tq2_0_LANES        8
#define tq2_0_HEADS        1
#define tq2_0_BYTES        66
#define tq2_0_SHARED       1
#define tq2_0_SUM          SUM_NONE
#define tq2_0_IMPORTANCE   0
#define tq2_0_WEIGHTED_SUM SUM_NONE
#define tq2_0_LIGHT        0
#define tq2_0_UNROLLED     0

#define tq2_0_part   tq_part
#define tq2_0_params tq_params
#define tq2_0_fit    tq_fit
#define tq2_0_share  tq_share
#define tq2_0_fold   tq_fold
#define tq2_0_head   tq_head

FN REAL tq2_0_code(REAL x, tq2_0_params p, int i) { return tq_code(x, p); }

FN REAL tq2_0_value(REAL code, tq2_0_params p, int i) { return tq_value(code, p); }

#ifdef BYTES_IN

FN void tq2_0_pack(PACK_ARGS(c, h, b)) {
    PARALLEL(j, 64) {
        int i = j / 32 * 128 + j % 32;
        PUT8(b, j, CODE(c, i) | CODE(c, i + 32) << 2 | CODE(c, i + 64) << 4 | CODE(c, i + 96) << 6);
    }
    ONCE PUT16(b, 64, HEAD(h, 0, 0));
}

FN tq2_0_params tq2_0_read(BYTES_IN(b), int lane) { return tq_read(GET16(b, 64)); }

FN void tq2_0_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) c[i] = INT_OF(GET8(b, lane / 4 * 32 + i) >> (lane & 3) * 2 & 3u);
}

#endif
