/* F16: IEEE binary16. A NaN becomes the quiet one of its sign, without its payload; ggml stores it so. */
#define f16_BYTES    2
#define f16_EXPONENT 0x7c00u

FN REAL f16_load(UINT bits) { return f16_value(bits); }

/* f16_bits, of a scale, does not keep a NaN's sign. */
FN UINT f16_store(REAL x) {
    UINT u = as_uint(x);
    UINT r = select_u(gt_i(u & 0x7fffffffu, splat_u(0x7f800000u)), splat_u(0x7e00u), f16_bits(x) & 0x7fffu);
    return r | ((u >> 16) & 0x8000u);
}
