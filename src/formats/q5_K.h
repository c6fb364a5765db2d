/* Q5_K: a super-block of 256 elements; a lane's 32 share a scale d and a minimum m, which are whole multiples, 0 … 63,
 * of the super-block's D and M. A code q is 0 … 31 and stands for q d - m.
 *
 *   byte 0 1    2 3    4 … 15                     16 + i                             48 + 32 k + i
 *        D f16  M f16  scales, minima: six_bit.h  bit j: the fifth bit of lane j's   lane 2 k + 1's q[i] & 15
 *                                                 q[i], for i = 0 … 31               | lane 2 k's q[i] & 15, to byte
 * 175
 *
 * As Q4_K otherwise. Source of the algorithm: ggml, quantize_row_q5_K_ref, dequantize_row_q5_K. */
#define q5_K_LANES        8
#define q5_K_HEADS        2
#define q5_K_BYTES        176
#define q5_K_SHARED       3
#define q5_K_SUM          SUM_NONE
#define q5_K_IMPORTANCE   1
#define q5_K_WEIGHTED_SUM SUM_SQUARES
#define q5_K_LIGHT        0
#define q5_K_UNROLLED     0

#include "six_bit.h" /* after the facts: its lanes pack together */

#define q5_K_part          six_bit_part
#define q5_K_params        six_bit_params
#define q5_K_share         six_bit_share
#define q5_K_code_weighted q5_K_code
#define q5_K_fold          six_bit_fold
#define q5_K_head          six_bit_head
#define q5_K_read          six_bit_read

LARGE q5_K_part q5_K_fit(BLOCK_IN(x), REAL sum) { return six_bit_fit(x, 31.0f, -0.5f, 16); }

LARGE q5_K_part q5_K_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) { return six_bit_fit_weighted(x, m, sum, 31.0f); }

FN q5_K_params q5_K_fold_weighted(q5_K_part s, PEERS(peers)) { return six_bit_fold_weighted(s, peers, 63); }

FN REAL q5_K_code(REAL x, q5_K_params p, int i) { return six_bit_code(x, p, 31.0f); }

FN REAL q5_K_value(REAL code, q5_K_params p, int i) { return six_bit_value(code, p); }

#ifdef BYTES_IN

FN void q5_K_pack(PACK_ARGS(c, h, b)) {
    six_bit_pack(c, h, b);
    PARALLEL(i, 32) {
        UINT fifth = splat_u(0u);
        for (int j = 0; j < 8; j++) fifth = fifth | CODE(c, 32 * j + i) >> 4 << j;
        PUT8(b, 16 + i, fifth);
    }
    PARALLEL(j, 128) {
        int i = j / 32 * 64 + j % 32;
        PUT8(b, 48 + j, (CODE(c, i) & 15u) | (CODE(c, i + 32) & 15u) << 4);
    }
}

FN void q5_K_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) {
        UINT low = (GET8(b, 48 + lane / 2 * 32 + i) >> (lane & 1) * 4) & 15u;
        c[i] = INT_OF(low | ((GET8(b, 16 + i) >> lane) & 1u) << 4);
    }
}

#endif
