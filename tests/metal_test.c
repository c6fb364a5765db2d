/* What the Metal backend does beyond what devices share (device_test.c): what fails is a status with a sentence,
 * nothing leaks, pages are wrapped without a copy, and "auto" takes a device only if its subnormals are right. On the
 * look-alike of Metal (fake_metal/), which QDQ_METAL_LIBRARY names. */
#include "support.h"

#include <dlfcn.h>

#include "backends/backend.h"
#include "base/error.h"

/* The look-alike's own calls. */
static void (*set_fault)(const char *name, long n);
static long (*live_objects)(void);
static const char *(*compile)(const char *text);

enum { N = 4 * QDQ_TILE, PAGE = 4096 };
static float x[N], y[N], expected[N];

static void fill(void) {
    uint64_t seed = 5;
    for (int i = 0; i < N; i++) x[i] = random_float(&seed) * (i < QDQ_TILE ? 0x1p-135f : 1.0f);
}

static qdq_buffer *make_buffer(qdq_device *device, const void *contents) {
    qdq_buffer *buffer;
    uint64_t n = N;
    assert_ok(qdq_buffer_create(device, QDQ_F32, 1, &n, &buffer));
    if (contents) assert_ok(qdq_buffer_write(buffer, 0, contents, sizeof x));
    return buffer;
}

/* Round trip and errors of a device that is opened for it; the first failure, or QDQ_OK with y and the sums as they
 * must be. Everything is closed again. */
static qdq_status work(const char *name, const char *format) {
    qdq_format f = qdq_format_by_name(format);
    qdq_device *device = NULL;
    qdq_buffer *in = NULL, *out = NULL;
    qdq_encoder *encoder = NULL;
    uint64_t n = N;
    qdq_error_sums sums = {0}, right = {0};
    qdq_status status = qdq_device_open(name, &device);
    if (status == QDQ_OK) status = qdq_buffer_create(device, QDQ_F32, 1, &n, &in);
    if (status == QDQ_OK) status = qdq_buffer_create(device, QDQ_F32, 1, &n, &out);
    if (status == QDQ_OK) status = qdq_buffer_write(in, 0, x, sizeof x);
    if (status == QDQ_OK) status = qdq_encoder_create(device, &encoder);
    if (status == QDQ_OK) status = qdq_encode_roundtrip(encoder, f, in, out, NULL);
    if (status == QDQ_OK) status = qdq_encode_error(encoder, 1, &f, in, &sums, NULL);
    if (status == QDQ_OK) status = qdq_encoder_commit_and_wait(encoder);
    if (status == QDQ_OK) status = qdq_buffer_read(out, 0, y, sizeof y);
    char message[1024];
    snprintf(message, sizeof message, "%s", qdq_error_message());
    if (status == QDQ_OK) {
        assert_ok(qdq_roundtrip(f, x, expected, N));
        assert_ok(qdq_error(f, x, N, &right));
        assert_memory_equal(y, expected, sizeof y);
        assert_memory_equal(&sums, &right, sizeof sums);
    }
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    qdq_buffer_free(out);
    qdq_device_close(device);
    if (status != QDQ_OK) assert_int_equal(qdq_fail(status, "%s", message), status);
    return status;
}

static void what_fails_is_a_status_and_nothing_leaks(void **state) {
    (void)state;
    assert_ok(work("metal", "iq2_s")); /* what is kept for good is there now */
    const long before = live_objects();
    static const struct {
        const char *fault;
        long times; /* 0: whenever it is asked for; else each time up to that one */
        qdq_status status;
        const char *says;
    } faults[] = {
        {"queue", 1, QDQ_DEVICE_ERROR, "device 'metal:0' gives no queue"},
        {"buffer", 5, QDQ_OUT_OF_MEMORY, "no memory for a Metal buffer of "},
        {"compile", 2, QDQ_DEVICE_ERROR, "program_source:1:1: error: a fault was asked for"},
        {"pipeline", 9, QDQ_DEVICE_ERROR, "Metal does not build "},
        {"lost", 1, QDQ_DEVICE_ERROR, "operations on a Metal device: the fake device is lost"},
        {"wide", 0, QDQ_UNSUPPORTED, "in simdgroups of 64 threads"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        for (long n = faults[i].times > 0; n <= faults[i].times; n++) {
            set_fault(faults[i].fault, n);
            assert_refused(work("metal", "iq2_s"), faults[i].status, faults[i].says);
            set_fault("", 0);
            assert_int_equal(live_objects(), before);
        }
    assert_ok(work("metal", "iq2_s"));
    assert_int_equal(live_objects(), before);
}

/* An older system asks for exact arithmetic in another way; a kernel may have few threads. */
static void other_systems_are_served(void **state) {
    (void)state;
    static const char *const faults[] = {"old", "few threads"};
    for (int i = 0; i < 2; i++) {
        set_fault(faults[i], 0);
        assert_ok(work("metal", "q4_0"));
        assert_ok(work("metal", "iq1_m"));
        set_fault("", 0);
    }
    setenv("QDQ_METAL_ARITHMETIC", "integers", 1);
    assert_ok(work("metal", "q6_K"));
    unsetenv("QDQ_METAL_ARITHMETIC");
}

static void pages_are_wrapped_without_a_copy(void **state) {
    (void)state;
    qdq_format f = qdq_format_by_name("q8_0");
    qdq_device *device;
    qdq_buffer *in, *out, *part, *none;
    qdq_encoder *encoder;
    assert_ok(qdq_device_open("metal", &device));
    float *pages = aligned_alloc(PAGE, PAGE + sizeof x);
    memcpy(pages, x, sizeof x);
    uint64_t n = N - 32; /* the last page is not whole */
    assert_ok(qdq_buffer_wrap_const(device, QDQ_F32, 1, &n, pages, 4 * n, &in));
    assert_ptr_equal(qdq_buffer_host(in), pages);
    out = make_buffer(device, NULL);
    assert_ok(qdq_buffer_slice(out, 0, n, &part));
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_encode_roundtrip(encoder, f, in, part, NULL));
    assert_refused(qdq_encode_roundtrip(encoder, f, part, in, NULL), QDQ_INVALID_ARGUMENT, "read-only");
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    assert_ok(qdq_buffer_read(part, 0, y, 4 * n));
    assert_ok(qdq_roundtrip(f, x, expected, n));
    assert_memory_equal(y, expected, 4 * n);
    assert_refused(qdq_buffer_wrap(device, QDQ_F32, 1, &n, pages + 1, 4 * n, &none), QDQ_INVALID_ARGUMENT,
                   "does not begin a page of 4096 bytes");
    assert_null(none);
    qdq_encoder_free(encoder);
    qdq_buffer_free(part);
    qdq_buffer_free(out);
    qdq_buffer_free(in);
    qdq_device_close(device);
    free(pages);
}

/* The look-alike has two devices, and the proof of each is made once: the second one's here as if it were trusted. */
static void only_a_proved_device_is_taken(void **state) {
    (void)state;
    qdq_device *device;
    qdq_device_info info = {.size = sizeof info};
    assert_ok(qdq_device_open("auto", &device));
    assert_ok(qdq_device_describe(device, &info));
    assert_string_equal(info.name, "metal:0");
    qdq_device_close(device);
    setenv("QDQ_METAL_ARITHMETIC", "device", 1);
    assert_false(qdq_metal_backend.recommended(1));
    unsetenv("QDQ_METAL_ARITHMETIC");
    assert_false(qdq_metal_backend.recommended(1)); /* not asked again */
    assert_true(qdq_metal_backend.recommended(0));
}

/* What the look-alike compiles as Metal's compiler would is also read for address spaces. */
static void pointers_keep_to_their_address_spaces(void **state) {
    (void)state;
    static const char text[] = "#include <metal_stdlib>\n"
                               "using namespace metal;\n"
                               "kernel void one(device const uint *a [[buffer(0)]],\n"
                               "                threadgroup uint *b [[threadgroup(0)]]) {\n"
                               "    %s const uint *p = a;\n"
                               "    b[0] = *p;\n"
                               "}\n";
    char wrong[sizeof text + 16], right[sizeof text + 16];
    snprintf(right, sizeof right, text, "device");
    snprintf(wrong, sizeof wrong, text, "thread");
    assert_string_equal(compile(right), "");
#ifdef QDQ_TEST_ADDRESS_SPACES
    if (!strstr(compile(wrong), "__global")) fail_msg("%s", compile(wrong));
#else
    (void)wrong;
#endif
    assert_non_null(strstr(compile("kernel void two(threadgroup uint *b [[threadgroup(0)]]) { b = 1.5; }"), "error"));
}

static void a_device_that_is_not_there_is_told(void **state) {
    (void)state;
    qdq_device *device;
    assert_refused(qdq_device_open("metal:2", &device), QDQ_DEVICE_ERROR, "this machine has 2 of them");
}

int main(void) {
    const char *library = getenv("QDQ_METAL_LIBRARY");
    void *handle = library ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *calls[3] = {NULL, NULL, NULL};
    if (handle) calls[0] = dlsym(handle, "fake_metal_set_fault");
    if (handle) calls[1] = dlsym(handle, "fake_metal_live");
    if (handle) calls[2] = dlsym(handle, "fake_metal_compile");
    if (!calls[0] || !calls[1] || !calls[2]) {
        printf("SKIPPED: QDQ_METAL_LIBRARY names no look-alike of Metal\n");
        return 77;
    }
    memcpy(&set_fault, &calls[0], sizeof calls[0]);
    memcpy(&live_objects, &calls[1], sizeof calls[1]);
    memcpy(&compile, &calls[2], sizeof calls[2]);
    fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fails_is_a_status_and_nothing_leaks),
        cmocka_unit_test(other_systems_are_served),
        cmocka_unit_test(pages_are_wrapped_without_a_copy),
        cmocka_unit_test(only_a_proved_device_is_taken),
        cmocka_unit_test(pointers_keep_to_their_address_spaces),
        cmocka_unit_test(a_device_that_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
