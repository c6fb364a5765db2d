/* What `qdq bench` measures is measured: every operation has a time, and what a device lacks has none. Nothing is said
 * of how fast it is. */
#include "support.h"

#include "qdq.h"

static void every_operation_is_timed(void **state) {
    qdq_format q8_0 = qdq_format_by_name("q8_0");
    for (qdq_dtype dtype = QDQ_F32; dtype <= QDQ_BF16; dtype = (qdq_dtype)(dtype + 1))
        for (int threads = 1; threads <= 2; threads++) {
            qdq_timing timings[QDQ_OPERATION_SENSITIVITY + 1];
            for (int k = 0; k <= QDQ_OPERATION_SENSITIVITY; k++)
                timings[k] = (qdq_timing){.size = sizeof timings[0],
                                          .operation = (qdq_operation)k,
                                          .format = qdq_format_by_name("q4_0"),
                                          .high = k % 2 ? q8_0 : QDQ_FORMAT_SOURCE};
            qdq_copy_timing copy = {.size = sizeof copy};
            qdq_timing_options options = {.size = sizeof options,
                                          .device = "cpu",
                                          .threads = threads,
                                          .dtype = dtype,
                                          .elements = 64 * QDQ_TILE,
                                          .seconds = 0.01};
            assert_ok(qdq_time(&options, QDQ_OPERATION_SENSITIVITY + 1, timings, &copy));
            double source = 64.0 * QDQ_TILE * (double)qdq_dtype_size(dtype), packed = 64.0 * QDQ_TILE * 18 / 32;
            double floats = 64.0 * QDQ_TILE * 4;
            const double bytes[] = {source + floats, source + packed, packed + floats, source, source + floats};
            for (int k = 0; k <= QDQ_OPERATION_SENSITIVITY; k++) {
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
        qdq_timing timings[QDQ_OPERATION_SENSITIVITY + 1];
        for (int k = 0; k <= QDQ_OPERATION_SENSITIVITY; k++)
            timings[k] = (qdq_timing){.size = sizeof timings[0],
                                      .operation = (qdq_operation)k,
                                      .format = f,
                                      .high = QDQ_FORMAT_SOURCE,
                                      .importance = true};
        qdq_copy_timing copy = {.size = sizeof copy};
        qdq_timing_options options = {
            .size = sizeof options, .device = "cpu", .threads = 1, .elements = 4 * QDQ_TILE, .seconds = 0.001};
        assert_ok(qdq_time(&options, QDQ_OPERATION_SENSITIVITY + 1, timings, &copy));
        for (int k = 0; k <= QDQ_OPERATION_SENSITIVITY; k++) assert_true(timings[k].seconds > 0);
    }
}

static void what_cannot_be_timed_is_refused(void **state) {
    qdq_timing timing = {.size = sizeof timing, .operation = QDQ_OPERATION_ROUNDTRIP};
    qdq_timing_options options = {.size = sizeof options, .device = "nonesuch", .elements = QDQ_TILE};
    assert_int_not_equal(qdq_time(&options, 1, &timing, NULL), QDQ_OK);
    assert_non_null(strstr(qdq_error_message(), "nonesuch"));
    options.device = "cpu";
    options.ggml = "/nonexistent/libggml-base.so";
    assert_refused(qdq_time(&options, 1, &timing, NULL), QDQ_IO_ERROR, "nonexistent");
    options.ggml = NULL;
    options.elements = QDQ_TILE + 1;
    assert_refused(qdq_time(&options, 1, &timing, NULL), QDQ_INVALID_ARGUMENT, "1025 elements");
    options.elements = QDQ_TILE;
    options.dtype = QDQ_U8;
    assert_refused(qdq_time(&options, 1, &timing, NULL), QDQ_INVALID_ARGUMENT, "f32, f16 or bf16");
    options.dtype = QDQ_F32;
    timing.format = 12345;
    assert_refused(qdq_time(&options, 1, &timing, NULL), QDQ_INVALID_ARGUMENT, "12345");
    timing.format = 0;
    timing.operation = (qdq_operation)5;
    assert_refused(qdq_time(&options, 1, &timing, NULL), QDQ_INVALID_ARGUMENT, "no operation 5");
    timing.size = 0;
    assert_refused(qdq_time(&options, 1, &timing, NULL), QDQ_INVALID_ARGUMENT, "size");
    assert_refused(qdq_time(NULL, 0, NULL, NULL), QDQ_INVALID_ARGUMENT, "NULL");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_timed),
        cmocka_unit_test(with_importance_too),
        cmocka_unit_test(what_cannot_be_timed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
