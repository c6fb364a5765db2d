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

/* One device, more streams than there are sets of scratch memory: each takes copies of the caller's, round trips,
 * errors that want scratch memory, and copies back, with no wait between. */
static void encoders_work_on_streams(void **state) {
    (void)state;
    enum { STREAMS = 7, TURNS = 5 };
    static float x[N], y[STREAMS][N], expected[N];
    uint64_t seed = 62, n = N;
    for (int i = 0; i < N; i++) x[i] = random_float(&seed);
    CUcontext context;
    CUstream streams[STREAMS] = {NULL}; /* the first is the default stream */
    CUdeviceptr memory[STREAMS];
    qdq_format q4 = qdq_format_by_name("q4_K"), q3 = qdq_format_by_name("q3_K");
    qdq_device *device;
    qdq_buffer *buffers[STREAMS];
    qdq_encoder *encoders[STREAMS];
    qdq_error_sums sums[STREAMS] = {0}, whole = {0};
    assert_int_equal(cuda->context_retain(&context, 0), 0);
    assert_int_equal(cuda->context_push(context), 0);
    assert_ok(qdq_device_open("cuda:0", &device));
    for (int s = 0; s < STREAMS; s++) {
        if (s > 0) assert_int_equal(cuda->stream_create(&streams[s], CU_STREAM_NON_BLOCKING), 0);
        assert_int_equal(cuda->memory_alloc(&memory[s], sizeof x), 0);
        assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &n, (void *)(uintptr_t)memory[s], sizeof x, &buffers[s]));
        assert_ok(qdq_encoder_create_on(device, streams[s], &encoders[s]));
        assert_int_equal(cuda->copy_in(memory[s], x, sizeof x, streams[s]), 0);
    }
    for (int turn = 0; turn < TURNS; turn++)
        for (int s = 0; s < STREAMS; s++) {
            assert_ok(qdq_encode_roundtrip(encoders[s], q4, buffers[s], buffers[s], NULL));
            assert_ok(qdq_encoder_submit(encoders[s]));
        }
    for (int s = 0; s < STREAMS; s++) {
        assert_ok(qdq_encode_error(encoders[s], 1, &q3, buffers[s], &sums[s], NULL));
        assert_ok(qdq_encoder_commit(encoders[s]));
        assert_int_equal(cuda->copy_out(y[s], memory[s], sizeof x, streams[s]), 0);
    }
    assert_ok(qdq_encoders_wait(STREAMS, encoders));
    memcpy(expected, x, sizeof x);
    for (int turn = 0; turn < TURNS; turn++) assert_ok(qdq_roundtrip(q4, expected, expected, N));
    assert_ok(qdq_error(q3, expected, N, &whole));
    for (int s = 0; s < STREAMS; s++) {
        assert_int_equal(cuda->stream_wait(streams[s]), 0);
        assert_same_floats(y[s], expected, N, "on a stream");
        assert_memory_equal(&sums[s], &whole, sizeof whole);
        qdq_encoder_free(encoders[s]);
        qdq_buffer_free(buffers[s]);
    }
    assert_ok(qdq_device_synchronize(device));
    qdq_device_close(device);
    for (int s = 0; s < STREAMS; s++) {
        assert_int_equal(cuda->memory_free(memory[s]), 0);
        if (s > 0) assert_int_equal(cuda->stream_destroy(streams[s]), 0);
    }
    assert_int_equal(cuda->context_pop(&context), 0);
    assert_int_equal(cuda->context_release(0), 0);
}

/* Wraps that share device memory are told by address; the same memory twice is in place. */
static void overlapping_wraps_are_refused(void **state) {
    (void)state;
    uint64_t n = N;
    CUcontext context;
    CUdeviceptr memory;
    qdq_format f = qdq_format_by_name("q4_0");
    qdq_device *device;
    qdq_encoder *encoder;
    qdq_buffer *in, *again, *shifted, *next;
    assert_int_equal(cuda->context_retain(&context, 0), 0);
    assert_int_equal(cuda->context_push(context), 0);
    assert_int_equal(cuda->memory_alloc(&memory, 8 * N), 0);
    assert_ok(qdq_device_open("cuda:0", &device));
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_buffer_wrap_const(device, QDQ_F32, 1, &n, (void *)(uintptr_t)memory, 4 * N, &in));
    assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &n, (void *)(uintptr_t)memory, 4 * N, &again));
    assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &n, (void *)(uintptr_t)(memory + 4), 4 * N, &shifted));
    assert_ok(qdq_buffer_wrap(device, QDQ_F32, 1, &n, (void *)(uintptr_t)(memory + 4 * N), 4 * N, &next));
    assert_refused(qdq_encode_roundtrip(encoder, f, in, shifted, NULL), QDQ_INVALID_ARGUMENT, "overlap");
    assert_refused(qdq_encode_roundtrip(encoder, f, again, in, NULL), QDQ_INVALID_ARGUMENT, "read-only");
    assert_ok(qdq_encode_roundtrip(encoder, f, in, next, NULL));
    assert_ok(qdq_encode_roundtrip(encoder, f, in, again, NULL));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    qdq_buffer *const all[] = {in, again, shifted, next};
    for (int i = 0; i < 4; i++) qdq_buffer_free(all[i]);
    qdq_encoder_free(encoder);
    qdq_device_close(device);
    assert_int_equal(cuda->memory_free(memory), 0);
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
        cmocka_unit_test(encoders_work_on_streams),
        cmocka_unit_test(overlapping_wraps_are_refused),
        cmocka_unit_test(what_cannot_be_wrapped_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
