/* What only CUDA devices have: the caller's stream, and memory that the caller owns. */
#include "support.h"

#include "backends/cuda/driver.h"

enum { N = 64 * QDQ_TILE };

static const qdq_cuda_driver *cuda;

/* Copies and round trips on one stream, in order, with no wait between them. */
static void work_joins_the_callers_stream(void **state) {
    (void)state;
    static float x[N], y[N], expected[N];
    uint64_t seed = 61, n = N;
    for (int i = 0; i < N; i++) x[i] = random_float(&seed);
    CUcontext context;
    CUstream stream;
    CUdeviceptr memory;
    assert_int_equal(cuda->context_retain(&context, 0), 0);
    assert_int_equal(cuda->context_push(context), 0);
    assert_int_equal(cuda->stream_create(&stream, CU_STREAM_NON_BLOCKING), 0);
    assert_int_equal(cuda->memory_alloc(&memory, sizeof x), 0);

    qdq_format f = qdq_format_by_name("q4_K");
    qdq_device *device;
    qdq_buffer *buffer;
    qdq_encoder *encoder;
    assert_ok(qdq_device_open_stream("cuda:0", stream, &device));
    assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &n, (void *)(uintptr_t)memory, sizeof x, &buffer));
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_int_equal(cuda->copy_in(memory, x, sizeof x, stream), 0);
    assert_ok(qdq_encode_roundtrip(encoder, f, buffer, buffer, NULL));
    assert_ok(qdq_encoder_commit(encoder));
    assert_int_equal(cuda->copy_out(y, memory, sizeof y, stream), 0);
    assert_int_equal(cuda->stream_wait(stream), 0);
    assert_ok(qdq_encoder_wait(encoder));
    assert_ok(qdq_roundtrip(f, x, expected, N));
    assert_same_floats(y, expected, N, "on the caller's stream");
    qdq_encoder_free(encoder);
    qdq_buffer_free(buffer);
    qdq_device_close(device);

    /* Both are still the caller's. */
    assert_int_equal(cuda->copy_in(memory, x, sizeof x, stream), 0);
    assert_int_equal(cuda->stream_wait(stream), 0);
    assert_int_equal(cuda->memory_free(memory), 0);
    assert_int_equal(cuda->stream_destroy(stream), 0);
    assert_int_equal(cuda->context_pop(&context), 0);
    assert_int_equal(cuda->context_release(0), 0);
}

static void what_cannot_be_wrapped_is_refused(void **state) {
    (void)state;
    static float x[N];
    uint64_t n = N;
    qdq_device *device;
    qdq_buffer *buffer;
    assert_ok(qdq_device_open("cuda:0", &device));
    assert_int_equal(qdq_buffer_wrap(device, QDQ_F32, 1, &n, x, sizeof x, &buffer), QDQ_INVALID_ARGUMENT);
    qdq_device *other;
    assert_int_equal(qdq_device_open_stream("cpu", NULL, &other), QDQ_UNSUPPORTED);
    qdq_device_close(device);
}

int main(void) {
    const char *why;
    cuda = qdq_cuda_get_driver(&why);
    if (!cuda) {
        printf("SKIPPED: %s\n", why);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_joins_the_callers_stream),
        cmocka_unit_test(what_cannot_be_wrapped_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
