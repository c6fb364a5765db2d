/* Q4_K: a super-block of 256 elements; a lane's 32 share a scale d and a minimum m, which are whole multiples, 0 … 63,
 * of the super-block's D and M. A code q is 0 … 15 and stands for q d - m.
 *
 *   byte 0 1    2 3    4 … 15                     16 + 32 k + i                             …   143
 *        D f16  M f16  scales, minima: six_bit.h  lane 2 k + 1's q[i] | lane 2 k's q[i]         (high | low half)
 *
 * Elements weigh their magnitude plus the lane's root mean square in the search for scale and minimum; then all are
 * coded anew with what the six bits and binary16 left of them. Source of the algorithm: ggml, quantize_row_q4_K_ref,
 * dequantize_row_q4_K. */
#define q4_K_LANES        8
#define q4_K_HEADS        2
#define q4_K_BYTES        144
#define q4_K_SHARED       3
#define q4_K_SUM          SUM_NONE
#define q4_K_IMPORTANCE   1
#define q4_K_WEIGHTED_SUM SUM_SQUARES
#define q4_K_LIGHT        0
#define q4_K_UNROLLED     0

#include "six_bit.h" /* after the facts: its lanes pack together */

#define q4_K_part          six_bit_part
#define q4_K_params        six_bit_params
#define q4_K_share         six_bit_share
#define q4_K_code_weighted q4_K_code
#define q4_K_fold          six_bit_fold
#define q4_K_head          six_bit_head
#define q4_K_read          six_bit_read

LARGE q4_K_part q4_K_fit(BLOCK_IN(x), REAL sum) { return six_bit_fit(x, 15.0f, -1.0f, 21); }

LARGE q4_K_part q4_K_fit_weighted(BLOCK_IN(x), BLOCK_IN(m), REAL sum) { return six_bit_fit_weighted(x, m, sum, 15.0f); }

FN q4_K_params q4_K_fold_weighted(q4_K_part s, PEERS(peers)) { return six_bit_fold_weighted(s, peers, 255); }

FN REAL q4_K_code(REAL x, q4_K_params p, int i) { return six_bit_code(x, p, 15.0f); }

FN REAL q4_K_value(REAL code, q4_K_params p, int i) { return six_bit_value(code, p); }

#ifdef BYTES_IN

FN void q4_K_pack(PACK_ARGS(c, h, b)) {
    six_bit_pack(c, h, b);
    PARALLEL(j, 128) {
        int i = j / 32 * 64 + j % 32;
        PUT8(b, 16 + j, CODE(c, i) | CODE(c, i + 32) << 4);
    }
}

FN void q4_K_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) c[i] = INT_OF((GET8(b, 16 + lane / 2 * 32 + i) >> (lane & 1) * 4) & 15u);
}

#endif
