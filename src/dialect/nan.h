/* mul_v, add_v and sub_v for the CPU lanes. SSE and AVX give the NaNs that the contract asks for; other processors'
 * NaNs are made over, in the rare lanes that have one. */
#if defined(__SSE2__)

FN REAL mul_v(REAL a, REAL b) { return a * b; }
FN REAL add_v(REAL a, REAL b) { return a + b; }
FN REAL sub_v(REAL a, REAL b) { return a - b; }
FN bool nan_safe(REAL x) {
    (void)x;
    return true;
}

#else

FN REAL nan_v(REAL a, REAL b, REAL r) {
    MASK bad = ne(r, r);
    if (!any(bad)) return r;
    UINT n = select_u(ne(b, b), as_uint(b) | 0x00400000u, splat_u(0xffc00000u));
    n = select_u(ne(a, a), as_uint(a) | 0x00400000u, n);
    return as_real(select_u(bad, n, as_uint(r)));
}
FN REAL mul_v(REAL a, REAL b) { return nan_v(a, b, a * b); }
FN REAL add_v(REAL a, REAL b) { return nan_v(a, b, a + b); }
FN REAL sub_v(REAL a, REAL b) { return nan_v(a, b, a - b); }
FN bool nan_safe(REAL x) { return !any(not_m(le(abs_(x), splat(3.40282346638528859812e+38f)))); }

#endif
