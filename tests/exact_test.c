/* dialect/exact.h, which Vulkan's kernels divide and take roots with, on devices that are good and on such as are not.
 */
#include <math.h>

#include "exact_devices.h"
#include "support.h"

#ifndef QDQ_NO_CXX

/* The bits of a result of this processor; of a NaN, those that the contract wants. */
static uint32_t expected(float r, uint32_t a, uint32_t b) {
    if (!isnan(r)) return bits_of(r);
    if (isnan(float_of(a))) return a | 0x00400000u;
    return isnan(float_of(b)) ? b | 0x00400000u : 0xffc00000u;
}

static const char *const names[EXACT_DEVICES] = {"good", "wary", "flushing"};

static void check(exact_device device, exact_operation operation, uint32_t a, uint32_t b, uint32_t want) {
    uint32_t got = exact_operate(device, operation, a, b);
    if (got != want)
        fail_msg("%s device, operation %d of %08x and %08x: %08x, not %08x", names[device], (int)operation, a, b, got,
                 want);
}

static uint32_t comparison(float x, float y) {
    return (x > y) * 1u + (x >= y) * 2u + (x < y) * 4u + (x <= y) * 8u + (x == y) * 16u + (x != y) * 32u;
}

static void check_pair(uint32_t a, uint32_t b) {
    float x = float_of(a), y = float_of(b);
    uint32_t quotient = expected(x / y, a, b), product = expected(x * y, a, b), compared = comparison(x, y);
    for (int device = 0; device < EXACT_DEVICES; device++) check(device, EXACT_DIVIDE, a, b, quotient);
    for (int device = 0; device < EXACT_FLUSHING; device++) {
        check(device, EXACT_COMPARE, a, b, compared);
        check(device, EXACT_MULTIPLY, a, b, product);
    }
    if (signbit(y) || isnan(y)) return;
    uint32_t largest = fabsf(x) > y ? a & 0x7fffffffu : b;
    for (int device = 0; device < EXACT_DEVICES; device++) check(device, EXACT_LARGER, a & 0x7fffffffu, b, largest);
}

/* Everything that is special, and its neighbours, against everything. */
static void special_values_are_right(void **unused) {
    (void)unused;
    static const uint32_t near[] = {0x00000000, 0x00400000, 0x00800000, 0x1f800000, 0x21800000, 0x3f000000,
                                    0x3f800000, 0x40000000, 0x5d800000, 0x5f800000, 0x7f000000, 0x7f800000,
                                    0x7fa00001, 0x7fc00000, 0x00555555, 0x3eaaaaaa, 0x3fb504f3, 0x7effffff};
    enum { N = sizeof near / sizeof near[0] };
    uint32_t all[N * 6], n = 0;
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t off = 0; off < 3; off++)
            for (uint32_t sign = 0; sign < 2; sign++) all[n++] = ((near[i] + off - 1) & 0x7fffffffu) | sign << 31;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++) check_pair(all[i], all[k]);
    for (uint32_t i = 0; i < n; i++)
        for (int device = 0; device < EXACT_DEVICES; device++)
            check(device, EXACT_ROOT, all[i], 0, expected(sqrtf(float_of(all[i])), all[i], all[i]));
}

static void random_pairs_are_right(void **unused) {
    (void)unused;
    uint64_t state = 7;
    for (int i = 0; i < 1000000; i++) {
        uint64_t r = next_random(&state);
        uint32_t a = (uint32_t)r, b = (uint32_t)(r >> 32);
        if (i % 4 == 1) b = (b & 0x807fffffu) | (a & 0x7f800000u);                    /* quotients of 1/2 … 2 */
        if (i % 4 == 2) a = (a & 0x80ffffffu), b = (b & 0x80ffffffu) | 0x3f000000u;   /* subnormal ones */
        if (i % 4 == 3) a = bits_of(float_of(b & 0x3fffffffu) * (float)(1 + a % 16)); /* whole ones, as in ties */
        check_pair(a, b);
    }
}

/* A root's significand depends on these bits alone. */
static void every_root_is_right(void **unused) {
    (void)unused;
    for (uint32_t u = 0x3f800000u; u < 0x40800000u; u++) {
        uint32_t root = bits_of(sqrtf(float_of(u)));
        for (int device = 0; device < EXACT_DEVICES; device++) check(device, EXACT_ROOT, u, 0, root);
    }
    for (uint32_t u = 1; u < 0x00800000u; u += 61)
        for (int device = 0; device < EXACT_DEVICES; device++)
            check(device, EXACT_ROOT, u, 0, bits_of(sqrtf(float_of(u))));
}

#endif

int main(void) {
#ifdef QDQ_NO_CXX
    return 77;
#else
    const struct CMUnitTest tests[] = {cmocka_unit_test(special_values_are_right),
                                       cmocka_unit_test(random_pairs_are_right), cmocka_unit_test(every_root_is_right)};
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
