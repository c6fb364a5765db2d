/* BF16: the upper half of a binary32, rounded to nearest, ties to even. A NaN keeps its sign and what fits of its
 * payload, and becomes quiet. */
#define bf16_BYTES    2
#define bf16_EXPONENT 0x7f80u

FN REAL bf16_load(UINT bits) { return as_real(bits << 16); }

FN UINT bf16_store(REAL x) { return narrow_bf16(x); }
