/* NVFP4, as ggml has it, without a scale for the tensor: 64 elements, each 16 of which share a scale, an unsigned
 * E4M3 number; a code is a number of four bits (fp4.h).
 *
 *   byte s                                      4 + 8 s + j
 *        the scale of elements 16 s … 16 s+15   element 16 s + 8 + j's q | element 16 s + j's q      (high | low half)
 *
 *   scale  bit 7: unused    6 … 3: exponent, 7 more than it is    2 … 0: mantissa    (exponent 0: subnormal)
 *
 * A scale is a sixth of the largest magnitude, rounded half up, at most 448; 0x7f is read as 0. Source of the
 * algorithm: ggml, quantize_row_nvfp4_ref, ggml_fp32_to_ue4m3, ggml_ue4m3_to_fp32, dequantize_row_nvfp4. */
#include "fp4.h"

#define nvfp4_LANES        2
#define nvfp4_HEADS        1
#define nvfp4_BYTES        36
#define nvfp4_SHARED       0
#define nvfp4_SUM          SUM_NONE
#define nvfp4_IMPORTANCE   0
#define nvfp4_WEIGHTED_SUM SUM_NONE
#define nvfp4_LIGHT        0
#define nvfp4_UNROLLED     1

STRUCT(nvfp4_params) {
    REAL d[2];
    bool tame; /* also: no lane is odd */
    UINT head;
};

/* Normal results round the 20 low bits away, with an integer carry. */
FN UINT nvfp4_scale_bits(REAL v) {
    INT normal = INT_OF((as_uint(v) + 0x80000u) >> 20) - 960;
    normal = select_i(gt_i(normal, splat_i(119)), splat_i(126), normal);
    REAL low = select_r(lt(v, splat(1.0f)), v, splat(1.0f));
    INT small = min_i(to_int(trunc_r(low * 512.0f + 0.5f)), splat_i(7));
    INT bits = select_i(lt_i(as_uint(v), splat_u(0x3c800000u)), small, normal);
    return UINT_OF(select_i(gt(v, splat(0.0f)), bits, splat_i(0)));
}

/* Half the scale. */
FN REAL nvfp4_half(UINT scale) {
    UINT s = scale & 0x7fu;
    REAL normal = as_real((s << 20) + 0x3b800000u);
    REAL small = to_real(INT_OF(s)) * 0.0009765625f;
    REAL d = select_r(lt_i(s, splat_u(8u)), small, normal);
    return select_r(eq_i(scale, splat_u(0x7fu)), splat(0.0f), d);
}

FN nvfp4_params nvfp4_fit(BLOCK_IN(x), REAL sum) {
    nvfp4_params p;
    p.tame = true;
    p.head = splat_u(0u);
    for (int k = 0; k < 2; k++) {
        REAL max = abs_(signed_max(x, 16 * k, 16));
        UINT scale = nvfp4_scale_bits(div_rn(max, splat(6.0f)));
        p.d[k] = nvfp4_half(scale);
        p.tame = p.tame && !any(fp4_odd(max, p.d[k]));
        p.head = p.head | scale << (8 * k);
    }
    return p;
}

FN REAL nvfp4_code(REAL x, nvfp4_params p, int i) {
    return p.tame ? fp4_code(x, p.d[i / 16]) : fp4_odd_code(x, p.d[i / 16]);
}

FN REAL nvfp4_value(REAL code, nvfp4_params p, int i) { return fp4_value(code, p.d[i / 16], p.tame); }

FN UINT nvfp4_head(nvfp4_params p, int k) { return p.head; }

#ifdef BYTES_IN

FN void nvfp4_pack(PACK_ARGS(c, h, b)) {
    PARALLEL(j, 2) PUT16(b, 2 * j, HEAD(h, 0, j));
    PARALLEL(j, 32) {
        int i = j / 8 * 16 + j % 8;
        PUT8(b, 4 + j, CODE(c, i) | CODE(c, i + 8) << 4);
    }
}

FN nvfp4_params nvfp4_read(BYTES_IN(b), int lane) {
    nvfp4_params p;
    for (int k = 0; k < 2; k++) p.d[k] = nvfp4_half(GET8(b, 2 * lane + k));
    p.tame = true;
    p.head = splat_u(0u);
    return p;
}

FN void nvfp4_codes(BYTES_IN(b), int lane, CODES_OUT(c)) {
    for (int i = 0; i < 32; i++) c[i] = INT_OF(GET8(b, 4 + 16 * lane + i / 16 * 8 + i % 8) >> (i & 8) / 2 & 15u);
}

#endif
