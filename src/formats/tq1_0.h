/* TQ1_0: ternary (tq.h), five codes a byte: of a number t of five ternary digits, the byte is 256 t / 243, rounded up.
 * Its digits come back from the top: a byte's fraction of 256, times 3, has the first digit above the point.
 *
 *   byte i, i = 0 … 31        elements i, 32 + i, … 128 + i of the block, the first the highest digit
 *        32 + i, i = 0 … 15   elements 160 + i, 176 + i, … 224 + i
 *        48 + i, i = 0 … 3    elements 240 + i, 244 + i, 248 + i, 252 + i, and a digit 0
 *        52 53                d f16
 *
 * Source of the algorithm: ggml, quantize_row_tq1_0_ref, dequantize_row_tq1_0. */
#include "tq.h"

#define tq1_0_LANES        8
#define tq1_0_HEADS        1
#define tq1_0_BYTES        54
#define tq1_0_SHARED       1
#define tq1_0_SUM          SUM_NONE
#define tq1_0_IMPORTANCE   0
#define tq1_0_WEIGHTED_SUM SUM_NONE
#define tq1_0_LIGHT        0
#define tq1_0_UNROLLED     0

#define tq1_0_part   tq_part
#define tq1_0_params tq_params
#define tq1_0_fit    tq_fit
#define tq1_0_share  tq_share
#define tq1_0_fold   tq_fold
#define tq1_0_head   tq_head

FN REAL tq1_0_code(REAL x, tq1_0_params p, int i) { return tq_code(x, p); }

FN REAL tq1_0_value(REAL code, tq1_0_params p, int i) { return tq_value(code, p); }

#ifdef BYTES_IN

/* Where byte j of 52 has its first element, and how far apart its elements are. */
FN int tq1_0_first(int j) { return j < 32 ? j : j < 48 ? 128 + j : 192 + j; }
FN int tq1_0_apart(int j) { return j < 32 ? 32 : j < 48 ? 16 : 4; }

FN void tq1_0_pack(PACK_ARGS(c, h, b)) {
    PARALLEL(j, 52) {
        int at = tq1_0_first(j);
        UINT t = splat_u(0u);
        for (int n = 0; n < 5; n++, at += tq1_0_apart(j)) {
            t = t * 3u;
            if (at < 256) t = t + CODE(c, at);
        }
        PUT8(b, j, (t * 256u + 242u) / 243u);
    }
    ONCE PUT16(b, 52, HEAD(h, 0, 0));
}

FN tq1_0_params tq1_0_read(BYTES_IN(b), int lane) { return tq_read(GET16(b, 52)); }

/* 3^n, for n up to 4. */
FN UINT tq1_0_power(int n) {
    return n == 0 ? splat_u(1u) : n == 1 ? splat_u(3u) : n == 2 ? splat_u(9u) : splat_u(n == 3 ? 27u : 81u);
}

/* A byte times 3^n has digit n above the point once what is over 256 is cut off. Lanes 0 … 4 hold one digit of 32
 * bytes, lanes 5 and 6 two digits of 16, lane 7 one of these and four of the last four bytes. */
FN void tq1_0_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    UINT low = tq1_0_power(lane < 5 ? lane : lane < 7 ? 2 * lane - 10 : 4);
    UINT high = tq1_0_power(lane < 5 ? lane : 2 * lane - 9);
    for (int i = 0; i < 32; i++) {
        int j = lane < 5 ? i : i < 16 || lane < 7 ? 32 + i % 16 : 48 + i % 4;
        UINT power = i < 16 ? low : lane < 7 ? high : tq1_0_power((i - 16) / 4);
        c[i] = INT_OF((GET8(b, j) * power & 255u) * 3u >> 8);
    }
}

#endif
