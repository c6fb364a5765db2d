/* What `qdq bench` measures is measured: every operation has a time, and what a device lacks has none. Nothing is said
 * of how fast it is. */
#include "support.h"

#include "proof/timing.h"

static void every_operation_is_timed(void **state) {
    qdq_format q8_0 = qdq_format_by_name("q8_0");
    for (qdq_dtype dtype = QDQ_F32; dtype <= QDQ_BF16; dtype = (qdq_dtype)(dtype + 1))
        for (int threads = 1; threads <= 2; threads++) {
            qdq_timing timings[QDQ_OP_SENSITIVITY + 1];
            for (int k = 0; k <= QDQ_OP_SENSITIVITY; k++)
                timings[k] = (qdq_timing){.kind = (qdq_op_kind)k,
                                          .format = qdq_format_by_name("q4_0"),
                                          .high = k % 2 ? q8_0 : QDQ_FORMAT_SOURCE};
            qdq_copy_timing copy;
            assert_ok(
                qdq_time("cpu", threads, dtype, 64 * QDQ_TILE, 0.01, NULL, timings, QDQ_OP_SENSITIVITY + 1, &copy));
            double source = 64.0 * QDQ_TILE * (double)qdq_dtype_size(dtype), packed = 64.0 * QDQ_TILE * 18 / 32;
            double floats = 64.0 * QDQ_TILE * 4;
            const double bytes[] = {source + floats, source + packed, packed + floats, source, source + floats};
            for (int k = 0; k <= QDQ_OP_SENSITIVITY; k++) {
                assert_true(timings[k].seconds > 0);
                assert_true(timings[k].ggml == 0);
                double share = (double)timings[k].elements / (64.0 * QDQ_TILE);
                assert_true(share > 0 && share <= 1);
                assert_true(timings[k].bytes > bytes[k] * share * 0.999 && timings[k].bytes < bytes[k] * share * 1.001);
            }
            assert_true(copy.plain > 0 && copy.seconds > 0 && copy.seconds <= copy.plain);
            assert_true(copy.bytes == 2 * source);
        }
}

static void with_importance_too(void **state) {
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_timing timings[QDQ_OP_SENSITIVITY + 1];
        for (int k = 0; k <= QDQ_OP_SENSITIVITY; k++)
            timings[k] =
                (qdq_timing){.kind = (qdq_op_kind)k, .format = f, .high = QDQ_FORMAT_SOURCE, .importance = true};
        qdq_copy_timing copy;
        assert_ok(qdq_time("cpu", 1, QDQ_F32, 4 * QDQ_TILE, 0.001, NULL, timings, QDQ_OP_SENSITIVITY + 1, &copy));
        for (int k = 0; k <= QDQ_OP_SENSITIVITY; k++) assert_true(timings[k].seconds > 0);
    }
}

static void a_device_that_is_not_there_is_refused(void **state) {
    qdq_timing timing = {.kind = QDQ_OP_ROUNDTRIP, .format = 0};
    qdq_copy_timing copy;
    assert_int_not_equal(qdq_time("nonesuch", 1, QDQ_F32, QDQ_TILE, 0.01, NULL, &timing, 1, &copy), QDQ_OK);
    assert_non_null(strstr(qdq_error_message(), "nonesuch"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_timed),
        cmocka_unit_test(with_importance_too),
        cmocka_unit_test(a_device_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
