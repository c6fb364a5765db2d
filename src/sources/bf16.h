/* BF16: the upper half of a binary32, rounded to nearest, ties to even. A NaN keeps its sign and what fits of its
 * payload, and becomes quiet. */
#define bf16_BYTES    2
#define bf16_EXPONENT 0x7f80u

FN REAL bf16_load(UINT bits) { return as_real(bits << 16); }

FN UINT bf16_store(REAL x) {
    UINT u = as_uint(x);
    UINT rounded = u + 0x7fffu + ((u >> 16) & 1u);
    return select_u(gt_i(u & 0x7fffffffu, splat_u(0x7f800000u)), u | 0x00400000u, rounded) >> 16;
}
