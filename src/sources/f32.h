/* F32: a binary32 as it is. */
#define f32_BYTES    4
#define f32_EXPONENT 0x7f800000u

FN REAL f32_load(UINT bits) { return as_real(bits); }

FN UINT f32_store(REAL x) { return as_uint(x); }
