/* The Vulkan dialect by itself: its operations on numbers that devices get wrong, with the validation layer watching.
 * QDQ_TEST_FULL=1 adds all 2^32 square roots and many more quotients. */
#include "support.h"

#include "backends/quick_proof.h"
#include "base/platform.h"
#include "backends/vulkan/vulkan_proof.h"
#include "api/device.h"

static qdq_device *device;

enum { MOST = 1 << 22 };
static uint32_t a[MOST], b[MOST], got[MOST];

static const char *const names[] = {
#define X(number, upper, lower) #lower,
    QDQ_DIALECT_OPERATIONS(X)
#undef X
};

static uint32_t random_word(uint64_t *state) { return (uint32_t)(next_random(state) >> 32); }

static void check(qdq_dialect_operation operation, size_t n) {
    assert_int_equal(qdq_vulkan_dialect(device->state, operation, a, b, got, n), QDQ_OK);
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t expected = qdq_dialect_expected(operation, a[i], b[i]);
        if (qdq_dialect_agrees(operation, a[i], b[i], expected, got[i])) continue;
        if (bad++ < 8) print_error("%s(%08x, %08x) = %08x, not %08x\n", names[operation], a[i], b[i], got[i], expected);
    }
    if (bad > 0) fail_msg("%s: %zu of %zu differ", names[operation], bad, n);
}

/* Every pair of numbers near a change of exponent, at the ends of the range, and simple ones; of both signs. */
static size_t make_pairs(void) {
    static const uint32_t exponents[] = {0,   1,   2,   3,   23,  24,  25,  63,  64,  100, 103, 112, 113, 125, 126, 127,
                                         128, 129, 133, 142, 143, 149, 150, 151, 190, 230, 231, 252, 253, 254, 255};
    static const uint32_t fractions[] = {0,        1,        2,        0x2aaaaa, 0x3fffff, 0x400000,
                                         0x400001, 0x7fe000, 0x7fefff, 0x7ff000, 0x7ffffe, 0x7fffff};
    static uint32_t values[2 * 31 * 12];
    size_t n = 0, pairs = 0;
    for (size_t e = 0; e < 31; e++)
        for (size_t f = 0; f < 12; f++)
            for (uint32_t sign = 0; sign < 2; sign++) values[n++] = sign << 31 | exponents[e] << 23 | fractions[f];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++, pairs++) {
            a[pairs] = values[i];
            b[pairs] = values[j];
        }
    return pairs;
}

static void every_operation_is_exact_at_the_edges(void **state) {
    (void)state;
    size_t n = make_pairs();
    for (int o = 0; o < QDQ_DIALECT_OPERATION_COUNT; o++) check((qdq_dialect_operation)o, n);
}

static void every_operation_is_exact_on_random_bits(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (size_t i = 0; i < MOST / 4; i++) {
        a[i] = random_word(&seed);
        b[i] = random_word(&seed);
    }
    for (int o = 0; o < QDQ_DIALECT_OPERATION_COUNT; o++) check((qdq_dialect_operation)o, MOST / 4);
}

/* Quotients that are subnormal or nearly so, among them all that lie half-way between two subnormals. */
static void small_quotients_are_exact(void **state) {
    (void)state;
    uint64_t seed = 4;
    for (size_t i = 0; i < MOST / 4; i++) {
        uint32_t r = random_word(&seed), down = r % 26;
        uint32_t whole = 0x800000 | (random_word(&seed) & 0x7fffff);
        if (i % 2) whole = whole >> down << down;
        a[i] = (1 + r % 40) << 23 | (whole & 0x7fffff);
        b[i] = (127 + (r >> 8) % 40) << 23 | (i % 4 < 2 ? 0 : random_word(&seed) & 0x7fffff);
    }
    check(QDQ_DIV_RN, MOST / 4);
}

static void all_square_roots_are_exact(void **state) {
    (void)state;
    if (!getenv("QDQ_TEST_FULL")) skip();
    for (uint64_t first = 0; first < (uint64_t)1 << 32; first += MOST) {
        for (uint32_t i = 0; i < MOST; i++) a[i] = (uint32_t)first + i;
        check(QDQ_SQRT_RN, MOST);
    }
}

/* All numerators' significands against chosen denominators: of them, and of few steps, quotients depend alone. */
static void all_numerators_are_exact(void **state) {
    (void)state;
    if (!getenv("QDQ_TEST_FULL")) skip();
    static const uint32_t denominators[] = {0x3f800000, 0x3f800001, 0x3fffffff, 0x3fb504f3, 0x41700000,
                                            0x41f80000, 0x42fe0000, 0x427c0000, 0x3fcccccd, 0x3faaaaab};
    for (size_t d = 0; d < sizeof denominators / sizeof denominators[0]; d++)
        for (uint32_t first = 0; first < 1 << 24; first += MOST) {
            for (uint32_t i = 0; i < MOST; i++) {
                a[i] = 0x3f800000 + first + i;
                b[i] = denominators[d];
            }
            check(QDQ_DIV_RN, MOST);
        }
}

/* "auto" takes a device that is no CPU and whose proof passed; lavapipe's passes, and is not taken. */
static void auto_takes_proved_gpus(void **state) {
    (void)state;
    assert_true(qdq_backend_proved(&qdq_vulkan_backend, device->index));
    qdq_device_info info = {.size = sizeof info};
    assert_ok(qdq_device_describe(device, &info));
    bool software = strstr(info.driver, "llvmpipe") || strstr(info.description, "llvmpipe");
    assert_int_equal(device->backend->recommended(device->index), !software);
}

static void the_validation_layer_is_silent(void **state) {
    (void)state;
    if (!qdq_vulkan_validates()) skip();
    const char *first;
    uint32_t n = qdq_vulkan_messages(&first);
    if (n > 0) fail_msg("%u messages; the first: %s", (unsigned)n, first);
}

int main(void) {
    if (!getenv("QDQ_VULKAN_VALIDATION")) qdq_set_environment("QDQ_VULKAN_VALIDATION", "1");
    if (qdq_device_open("vulkan", &device) != QDQ_OK) {
        printf("SKIPPED: %s\n", qdq_error_message());
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_exact_at_the_edges),
        cmocka_unit_test(every_operation_is_exact_on_random_bits),
        cmocka_unit_test(small_quotients_are_exact),
        cmocka_unit_test(all_square_roots_are_exact),
        cmocka_unit_test(all_numerators_are_exact),
        cmocka_unit_test(auto_takes_proved_gpus),
        cmocka_unit_test(the_validation_layer_is_silent),
    };
    int failed = cmocka_run_group_tests_name("vulkan", tests, NULL, NULL);
    qdq_device_close(device);
    return failed;
}
