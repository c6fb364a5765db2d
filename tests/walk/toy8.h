/* TOY8: the upper byte of a binary16, rounded to nearest, ties to even: 5 bits of exponent, 2 of mantissa. A NaN
 * becomes the quiet one of its sign. Of no model: the source that tests/walk adds. */
#define toy8_BYTES    1
#define toy8_EXPONENT 0x7cu

FN REAL toy8_load(UINT bits) { return f16_value(bits << 8); }

/* Normal values round off 21 bits with an integer carry, which also makes what is too large infinite; subnormal ones,
 * multiples of 2^-16, are what is left of a sum with 128, whose last place is 2^-16. */
FN UINT toy8_store(REAL x) {
    UINT a = as_uint(x) & 0x7fffffffu;
    UINT normal = ((a + 0xfffffu + ((a >> 21) & 1u)) >> 21) - 448u;
    UINT small = as_uint(as_real(a) + 128.0f) & 7u;
    UINT r = select_u(lt_i(a, splat_u(0x38800000u)), small, normal);
    r = select_u(gt_i(a, splat_u(0x47700000u)), splat_u(0x7cu), r);
    r = select_u(gt_i(a, splat_u(0x7f800000u)), splat_u(0x7eu), r);
    return r | ((as_uint(x) >> 24) & 0x80u);
}
