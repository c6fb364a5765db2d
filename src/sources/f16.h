/* F16: IEEE binary16. A NaN becomes the quiet one of its sign, without its payload; ggml stores it so. */
#define f16_BYTES    2
#define f16_EXPONENT 0x7c00u

FN REAL f16_load(UINT bits) { return f16_value(bits); }

FN UINT f16_store(REAL x) { return narrow_f16(x); }
