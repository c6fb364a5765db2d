/* Floats to elements of 16 bits, and the search for what is not finite. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/source.h"
#include "model/finite.h"

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* By the definition of binary16, in arithmetic that is exact. */
static float f16_value(uint16_t h) {
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return (float)(h & 0x8000 ? -magnitude : magnitude);
}

static float bf16_value(uint16_t h) { return float_of((uint32_t)h << 16); }

static uint16_t stored(qdq_dtype dtype, float value) {
    uint16_t half;
    qdq_source_store(qdq_source_get(dtype), &value, &half, 1);
    return half;
}
static uint16_t f16_of(float value) { return stored(QDQ_F16, value); }
static uint16_t bf16_of(float value) { return stored(QDQ_BF16, value); }

/* Rounding is monotonic: between two neighbours it is right everywhere if it is right at the middle and on either side
 * of it. */
static void check_neighbours(uint16_t (*narrow)(float), float (*value)(uint16_t), uint16_t a) {
    uint16_t b = (uint16_t)(a + 1);
    float low = value(a), high = value(b), middle = (float)(((double)low + (double)high) / 2);
    assert_int_equal(narrow(low), a);
    assert_int_equal(narrow(middle), a & 1 ? b : a);
    assert_int_equal(narrow(nextafterf(middle, low)), a);
    assert_int_equal(narrow(nextafterf(middle, high)), b);
}

static void test_f16(void **state) {
    (void)state;
    for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
        for (uint32_t m = 0; m < 0x7bff; m++) check_neighbours(f16_of, f16_value, (uint16_t)(sign | m));
        float s = sign ? -1.0f : 1.0f;
        assert_int_equal(f16_of(s * 65504.0f), sign | 0x7bff);
        assert_int_equal(f16_of(s * nextafterf(65520.0f, 0.0f)), sign | 0x7bff);
        assert_int_equal(f16_of(s * 65520.0f), sign | 0x7c00);
        assert_int_equal(f16_of(s * 3e38f), sign | 0x7c00);
        assert_int_equal(f16_of(s * INFINITY), sign | 0x7c00);
        assert_int_equal(f16_of(s * 1e-45f), sign);
    }
    assert_int_equal(f16_of(float_of(0x7f800001u)), 0x7e00);
    assert_int_equal(f16_of(float_of(0xffffffffu)), 0xfe00);
}

static void test_bf16(void **state) {
    (void)state;
    for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
        for (uint32_t m = 0; m < 0x7f7f; m++) check_neighbours(bf16_of, bf16_value, (uint16_t)(sign | m));
        /* 0x7f7f is the largest; half a step above it is 0x7f7f8000. */
        assert_int_equal(bf16_of(float_of(sign << 16 | 0x7f7f7fffu)), sign | 0x7f7f);
        assert_int_equal(bf16_of(float_of(sign << 16 | 0x7f7f8000u)), sign | 0x7f80);
        assert_int_equal(bf16_of(float_of(sign << 16 | 0x7f800000u)), sign | 0x7f80);
    }
    /* A NaN stays one, though its upper half were an infinity's. */
    assert_int_equal(bf16_of(float_of(0x7f800001u)), 0x7fc0);
    assert_int_equal(bf16_of(float_of(0xff812345u)), 0xffc1);
}

static void test_arrays(void **state) {
    (void)state;
    const float x[3] = {1.0f, -0.0f, 65520.0f};
    uint16_t y[3];
    qdq_source_store(qdq_source_get(QDQ_F16), x, y, 3);
    assert_memory_equal(y, ((uint16_t[]){0x3c00, 0x8000, 0x7c00}), sizeof y);
    qdq_source_store(qdq_source_get(QDQ_BF16), x, y, 3);
    assert_memory_equal(y, ((uint16_t[]){0x3f80, 0x8000, 0x4780}), sizeof y);
}

/* Puts `bad` at places that matter for vectors, steps, pieces and threads, at an odd address. */
static void check_found(qdq_pool *pool, qdq_dtype dtype, uint32_t good, uint32_t bad) {
    static const uint64_t lengths[] = {1, 3, 1023, 1024, 1025, 70000, 200003};
    size_t size = qdq_dtype_size(dtype);
    unsigned char *bytes = malloc(200003 * size + 1), *x = bytes + 1;
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        uint64_t n = lengths[l];
        for (uint64_t i = 0; i < n; i++) memcpy(x + i * size, &good, size);
        assert_int_equal(qdq_first_non_finite(pool, dtype, x, n), n);
        uint64_t places[] = {0, n / 2, n - 1, n > 65536 ? 65536 : 0, n > 65536 ? 65535 : 0};
        for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
            memcpy(x + places[p] * size, &bad, size);
            assert_int_equal(qdq_first_non_finite(pool, dtype, x, n), places[p]);
            memcpy(x + (n - 1) * size, &bad, size); /* the first of several */
            assert_int_equal(qdq_first_non_finite(pool, dtype, x, n), places[p]);
            memcpy(x + places[p] * size, &good, size);
            memcpy(x + (n - 1) * size, &good, size);
        }
    }
    free(bytes);
}

static void test_finite(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        qdq_pool *pool;
        assert_int_equal(qdq_pool_create(threads, &pool), QDQ_OK);
        check_found(pool, QDQ_F32, 0x7f7fffffu, 0x7f800000u);
        check_found(pool, QDQ_F32, 0xff7fffffu, 0xffc00000u);
        check_found(pool, QDQ_F32, 0x807fffffu, 0x7f800001u);
        check_found(pool, QDQ_F16, 0x7bffu, 0xfc00u);
        check_found(pool, QDQ_F16, 0xfbffu, 0x7c01u);
        check_found(pool, QDQ_BF16, 0x7f7fu, 0x7f80u);
        check_found(pool, QDQ_BF16, 0xff7fu, 0xffffu);
        qdq_pool_free(pool);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
