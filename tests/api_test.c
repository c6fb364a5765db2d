/* The public API used wrongly: each entry point with NULLs, with nothing, with sizes that overflow, with structs of
 * another size. All come back as errors that say what was wrong; nothing crashes. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/utf8.h"

static const qdq_status bad = QDQ_INVALID_ARGUMENT;

typedef struct things {
    qdq_device *device;
    qdq_encoder *encoder;
    qdq_buffer *in, *out, *bytes;
    qdq_format q4, q8;
    atomic_bool enough;
} things;

static int set_up(void **state) {
    static things t;
    assert_ok(qdq_device_open("cpu", &t.device));
    assert_ok(qdq_encoder_create(t.device, &t.encoder));
    assert_ok(qdq_buffer_create(t.device, QDQ_F32, 1, (uint64_t[]){64}, &t.in));
    assert_ok(qdq_buffer_create(t.device, QDQ_F32, 1, (uint64_t[]){64}, &t.out));
    assert_ok(qdq_buffer_create(t.device, QDQ_U8, 1, (uint64_t[]){36}, &t.bytes));
    t.q4 = qdq_format_by_name("q4_0");
    t.q8 = qdq_format_by_name("q8_0");
    *state = &t;
    return 0;
}

static int tear_down(void **state) {
    things *t = *state;
    qdq_buffer_free(t->in);
    qdq_buffer_free(t->out);
    qdq_buffer_free(t->bytes);
    qdq_encoder_free(t->encoder);
    qdq_device_close(t->device);
    return 0;
}

static void nothing_is_closed_and_described(void **state) {
    qdq_device_close(NULL);
    qdq_buffer_free(NULL);
    qdq_encoder_free(NULL);
    assert_int_equal(qdq_buffer_count(NULL), 0);
    assert_int_equal(qdq_buffer_bytes(NULL), 0);
    assert_int_equal(qdq_dtype_size(qdq_buffer_dtype(NULL)), 0);
    assert_null(qdq_buffer_host(NULL));
    assert_int_equal(qdq_format_by_name(NULL), QDQ_FORMAT_NONE);
    assert_int_equal(qdq_format_by_name(""), QDQ_FORMAT_NONE);
    assert_int_equal(qdq_format_by_ggml_type(UINT32_MAX), QDQ_FORMAT_NONE);
    assert_int_equal(qdq_format_bytes(QDQ_FORMAT_NONE, 32), 0);
    assert_int_equal(qdq_format_bytes(QDQ_FORMAT_SOURCE, 32), 0);
    for (int s = -3; s < 12; s++) assert_true(strlen(qdq_status_name((qdq_status)s)) > 0);
    assert_string_equal(qdq_status_name((qdq_status)99), "unknown status");
    assert_string_equal(qdq_dtype_name((qdq_dtype)99), "?");
    assert_int_equal(qdq_dtype_size((qdq_dtype)-1), 0);
}

static void nulls_are_refused_by_plain_calls(void **state) {
    things *t = *state;
    float x[64] = {0};
    unsigned char blocks[72];
    qdq_error_sums e = {0};
    qdq_sensitivity_sums s = {0};
    assert_refused(qdq_roundtrip(t->q4, NULL, x, 64), bad, "qdq_q4_0_f32: an array is NULL");
    assert_refused(qdq_roundtrip(t->q4, x, NULL, 64), bad, "NULL");
    assert_refused(qdq_quantize(t->q4, NULL, blocks, 64), bad, "quantize_q4_0_f32: an array is NULL");
    assert_refused(qdq_quantize(t->q4, x, NULL, 64), bad, "NULL");
    assert_refused(qdq_dequantize(t->q4, NULL, x, 64), bad, "dequantize_q4_0_f32: an array is NULL");
    assert_refused(qdq_dequantize(t->q4, blocks, NULL, 64), bad, "NULL");
    assert_refused(qdq_error(t->q4, NULL, 64, &e), bad, "error_q4_0_f32: an array is NULL");
    assert_refused(qdq_error(t->q4, x, 64, NULL), bad, "no place for the sums");
    assert_refused(qdq_sensitivity(t->q4, t->q8, NULL, x, 64, &s), bad, "sensitivity_q4_0_f32: an array is NULL");
    assert_refused(qdq_sensitivity(t->q4, t->q8, x, NULL, 64, &s), bad, "NULL");
    assert_refused(qdq_sensitivity(t->q4, t->q8, x, x, 64, NULL), bad, "no place for the sums");
    assert_int_equal(e.count, 0);
    assert_int_equal(s.count, 0);
}

/* No elements, and more than 64 bits can count, by every plain call. */
static void counts_are_checked_by_plain_calls(void **state) {
    things *t = *state;
    float x[64] = {0};
    unsigned char blocks[72];
    qdq_error_sums e = {0};
    qdq_sensitivity_sums s = {0};
    static const struct {
        uint64_t n;
        const char *message;
    } cases[] = {{0, "input must have at least one element"},
                 {33, "input element count (33) must be divisible by block size (32)"},
                 {UINT64_MAX, "must be divisible by block size"},
                 {UINT64_MAX - 31, "more than memory can hold"},
                 {(uint64_t)1 << 62, "more than memory can hold"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t n = cases[i].n;
        assert_refused(qdq_roundtrip(t->q4, x, x, n), bad, cases[i].message);
        assert_refused(qdq_quantize(t->q4, x, blocks, n), bad, cases[i].message);
        assert_refused(qdq_dequantize(t->q4, blocks, x, n), bad, cases[i].message);
        assert_refused(qdq_error(t->q4, x, n, &e), bad, cases[i].message);
        assert_refused(qdq_sensitivity(t->q4, t->q8, x, x, n, &s), bad, cases[i].message);
    }
    assert_refused(qdq_roundtrip(QDQ_FORMAT_NONE, x, x, 64), bad, "no format has the number -1");
    assert_refused(qdq_roundtrip(qdq_format_count(), x, x, 64), bad, "no format has the number");
    assert_refused(qdq_sensitivity(QDQ_FORMAT_SOURCE, t->q8, x, x, 64, &s), bad, "no format has the number -2");
    assert_refused(qdq_sensitivity(t->q4, QDQ_FORMAT_NONE, x, x, 64, &s), bad, "no format has the number -1");
}

static void overlapping_arrays_are_refused(void **state) {
    things *t = *state;
    float x[96] = {1.0f};
    assert_refused(qdq_roundtrip(t->q4, x, x + 1, 64), bad, "qdq_q4_0_f32: input and output overlap");
    assert_refused(qdq_roundtrip(t->q4, x + 32, x, 64), bad, "overlap");
    assert_refused(qdq_quantize(t->q4, x, x, 64), bad, "overlap");
    assert_refused(qdq_dequantize(t->q4, (unsigned char *)x + 255, x, 64), bad, "overlap");
    assert_ok(qdq_roundtrip(t->q4, x, x, 64));
    assert_ok(qdq_roundtrip(t->q4, x, x + 32, 32)); /* they touch */
    assert_ok(qdq_quantize(t->q4, x, x + 64, 64));
}

/* Wraps of memory that overlaps are told by address, as parts of one buffer are; the same memory twice is in place. */
static void overlapping_wraps_are_refused(void **state) {
    things *t = *state;
    static float x[192];
    const uint64_t n = 64, row = 32;
    for (int i = 0; i < 192; i++) x[i] = (float)i * 0.25f;
    qdq_buffer *in, *again, *shifted, *next, *before, *weights;
    unsigned char *bytes = (unsigned char *)x;
    assert_ok(qdq_buffer_wrap_const(t->device, QDQ_F32, 1, &n, x + 32, 256, &in));
    assert_ok(qdq_buffer_wrap(t->device, QDQ_F32, 1, &n, x + 32, 256, &again));
    assert_ok(qdq_buffer_wrap(t->device, QDQ_F32, 1, &n, x + 95, 256, &shifted));
    assert_ok(qdq_buffer_wrap(t->device, QDQ_F32, 1, &n, x + 96, 256, &next));
    assert_ok(qdq_buffer_wrap(t->device, QDQ_U8, 1, (uint64_t[]){36}, bytes + 128 - 35, 36, &before));
    assert_ok(qdq_buffer_wrap(t->device, QDQ_F32, 1, &row, x + 128, 128, &weights));
    qdq_options o = {.size = sizeof o, .importance = weights, .row = row};
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, in, shifted, NULL), bad,
                   "qdq_q4_0_f32: input and output overlap without being the same");
    assert_refused(qdq_encode_quantize(t->encoder, t->q4, in, before, NULL), bad, "input and output overlap");
    assert_refused(qdq_encode_dequantize(t->encoder, t->q4, before, again), bad, "input and output overlap");
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, in, next, &o), bad, "importance and output overlap");
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, again, in, NULL), bad,
                   "the output buffer's memory is read-only");
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, in, next, NULL)); /* they touch */
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, in, again, NULL));
    assert_ok(qdq_encoder_commit_and_wait(t->encoder));
    float y[64], z[64];
    for (int i = 0; i < 64; i++) y[i] = (float)(i + 32) * 0.25f;
    assert_ok(qdq_roundtrip(t->q4, y, z, 64));
    assert_memory_equal(x + 32, z, sizeof z);
    assert_memory_equal(x + 96, z, sizeof z);
    qdq_buffer *const all[] = {in, again, shifted, next, before, weights};
    for (int i = 0; i < 6; i++) qdq_buffer_free(all[i]);
}

static void read_only_memory_is_no_output(void **state) {
    things *t = *state;
    static const float x[64] = {1, 2, 3};
    static const unsigned char packed[36];
    const uint64_t n = 64, size = 36;
    qdq_buffer *in, *blocks, *part;
    assert_refused(qdq_buffer_wrap_const(t->device, QDQ_F32, 1, &n, NULL, 256, &in), bad,
                   "qdq_buffer_wrap_const: no memory given");
    assert_null(in);
    assert_ok(qdq_buffer_wrap_const(t->device, QDQ_F32, 1, &n, x, sizeof x, &in));
    assert_ok(qdq_buffer_wrap_const(t->device, QDQ_U8, 1, &size, packed, sizeof packed, &blocks));
    assert_ok(qdq_buffer_slice(in, 32, 32, &part));
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, t->in, in, NULL), bad,
                   "qdq_q4_0_f32: the output buffer's memory is read-only");
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, part, part, NULL), bad, "read-only");
    assert_refused(qdq_encode_quantize(t->encoder, t->q4, t->in, blocks, NULL), bad, "read-only");
    assert_refused(qdq_encode_dequantize(t->encoder, t->q4, t->bytes, in), bad, "read-only");
    assert_refused(qdq_buffer_write(in, 0, x, 4), bad, "qdq_buffer_write: the buffer's memory is read-only");
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, in, t->out, NULL));
    assert_ok(qdq_encode_dequantize(t->encoder, t->q4, blocks, t->out));
    assert_ok(qdq_encoder_commit_and_wait(t->encoder));
    qdq_buffer_free(in);
    qdq_buffer_free(blocks);
    qdq_buffer_free(part);
}

static void count_release(void *context) { ++*(int *)context; }

/* Once, after the last of buffers, slices and encoders; a call that was refused keeps nothing. */
static void release_comes_once_and_last(void **state) {
    things *t = *state;
    float x[64] = {0};
    int calls = 0;
    qdq_buffer *wrap, *part;
    assert_ok(qdq_buffer_wrap(t->device, QDQ_F32, 1, (uint64_t[]){64}, x, sizeof x, &wrap));
    assert_refused(qdq_buffer_on_release(NULL, count_release, &calls), bad, "a NULL");
    assert_refused(qdq_buffer_on_release(wrap, NULL, &calls), bad, "a NULL");
    assert_refused(qdq_buffer_on_release(t->in, count_release, &calls), bad, "the device's own");
    assert_ok(qdq_buffer_on_release(wrap, count_release, &calls));
    assert_refused(qdq_buffer_on_release(wrap, count_release, &calls), bad, "has a release call already");
    assert_ok(qdq_buffer_slice(wrap, 32, 32, &part));
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, wrap, part, NULL), bad, "element count");
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, part, part, NULL));
    qdq_buffer_free(wrap);
    qdq_buffer_free(part);
    assert_int_equal(calls, 0);
    assert_ok(qdq_encoder_commit_and_wait(t->encoder));
    assert_int_equal(calls, 1);
    assert_ok(qdq_buffer_wrap_const(t->device, QDQ_F32, 1, (uint64_t[]){64}, x, sizeof x, &wrap));
    assert_ok(qdq_buffer_on_release(wrap, count_release, &calls));
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, wrap, wrap, NULL), bad, "read-only");
    qdq_buffer_free(wrap);
    assert_int_equal(calls, 2);
    assert_ok(qdq_buffer_wrap(t->device, QDQ_F32, 1, (uint64_t[]){64}, x, sizeof x, &wrap));
    assert_ok(qdq_buffer_on_release(wrap, count_release, &calls));
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, wrap, wrap, NULL));
    qdq_buffer_free(wrap);
    assert_int_equal(calls, 2);
    assert_ok(qdq_encoder_submit(t->encoder));
    assert_ok(qdq_device_synchronize(t->device));
    assert_int_equal(calls, 3);
}

/* Formats that cannot do without an importance matrix say so. */
static void a_needed_importance_is_asked_for(void **state) {
    things *t = *state;
    qdq_buffer *x, *y;
    assert_ok(qdq_buffer_create(t->device, QDQ_F32, 1, (uint64_t[]){256}, &x));
    assert_ok(qdq_buffer_create(t->device, QDQ_F32, 1, (uint64_t[]){256}, &y));
    static float array[256];
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_format_info info = {.size = sizeof info};
        assert_ok(qdq_format_describe(f, &info));
        if (info.importance != QDQ_IMPORTANCE_NEEDED) continue;
        assert_refused(qdq_roundtrip(f, array, array, 256), QDQ_UNSUPPORTED, "needs an importance matrix");
        assert_refused(qdq_encode_roundtrip(t->encoder, f, x, y, NULL), QDQ_UNSUPPORTED, "needs an importance matrix");
    }
    qdq_buffer_free(x);
    qdq_buffer_free(y);
}

static void nulls_are_refused_by_devices(void **state) {
    things *t = *state;
    qdq_device_info info = {0};
    assert_refused(qdq_device_open("cpu", NULL), bad, "no place for the device");
    assert_refused(qdq_device_open_threads("cpu", 1, NULL), bad, "no place for the device");
    assert_refused(qdq_device_open_stream("cuda", NULL, NULL), bad, "no place for the device");
    assert_refused(qdq_device_open_with("cpu", NULL, NULL), bad, "no place for the device");
    assert_refused(qdq_device_synchronize(NULL), bad, "qdq_device_synchronize: a NULL");
    assert_refused(qdq_device_describe(NULL, &info), bad, "a NULL");
    assert_refused(qdq_device_describe(t->device, NULL), bad, "a NULL");
    assert_refused(qdq_device_describe(t->device, &info), bad, "info->size is not set");
    assert_refused(qdq_device_list(0, NULL), bad, "info->size is not set");
    assert_refused(qdq_device_list(0, &info), bad, "info->size is not set");
    info.size = sizeof info;
    assert_refused(qdq_device_list(UINT32_MAX, &info), bad, "no device has that number");
    assert_refused(qdq_device_build_kernel(NULL, "qdq_q4_0_f32"), bad, "a NULL");
    assert_refused(qdq_device_build_kernel(t->device, NULL), bad, "a NULL");
    qdq_device *none = t->device;
    assert_refused(qdq_device_open("", &none), bad, "no device is called ''");
    assert_null(none);
    assert_refused(qdq_device_open("cpu:", &none), bad, "a number must follow the colon");
    static const char *const no_numbers[] = {"cpu:-1", "cpu:+0", "cpu: 0", "cpu:0 ", "cpu:0x0", "cpu:\t0", "cpu:0:0"};
    for (size_t i = 0; i < sizeof no_numbers / sizeof no_numbers[0]; i++)
        assert_refused(qdq_device_open(no_numbers[i], &none), bad, "a number must follow the colon");
    assert_refused(qdq_device_open("cpu:18446744073709551616", &none), QDQ_DEVICE_ERROR, "numbered from 0");
    assert_refused(qdq_device_open_threads("cpu", -1, &none), bad, "-1 threads");
    assert_refused(qdq_device_open_threads("cpu", INT32_MIN, &none), bad, "threads");
    assert_refused(qdq_device_open_stream("cpu", NULL, &none), QDQ_UNSUPPORTED, "no streams");
}

static void devices_are_opened_with_options(void **state) {
    qdq_device *device = NULL;
    qdq_device_info info = {.size = sizeof info};
    qdq_device_options o = {.threads = 2};
    assert_refused(qdq_device_open_with("cpu", &o, &device), bad, "options->size is not set");
    o.size = sizeof o;
    assert_ok(qdq_device_open_with("cpu", &o, &device));
    assert_ok(qdq_device_describe(device, &info));
    assert_non_null(strstr(info.description, "2 threads"));
    qdq_device_close(device);
    o.threads = -1;
    assert_refused(qdq_device_open_with("cpu", &o, &device), bad, "-1 threads");
    assert_null(device);
    o = (qdq_device_options){.size = sizeof o, .on_stream = 1};
    assert_refused(qdq_device_open_with("cpu", &o, &device), QDQ_UNSUPPORTED, "no streams");
    o.size = offsetof(qdq_device_options, on_stream); /* an older caller's: it is past its end */
    assert_ok(qdq_device_open_with("cpu", &o, &device));
    qdq_device_close(device);
    assert_ok(qdq_device_open_with("cpu", NULL, &device));
    qdq_device_close(device);
}

static void nulls_are_refused_by_formats_and_statistics(void **state) {
    things *t = *state;
    qdq_format_info info = {0};
    qdq_error_sums sums = {0};
    qdq_error_stats stats = {0};
    assert_refused(qdq_format_describe(t->q4, NULL), bad, "info->size is not set");
    assert_refused(qdq_format_describe(t->q4, &info), bad, "info->size is not set");
    info.size = sizeof info;
    assert_refused(qdq_format_describe(QDQ_FORMAT_NONE, &info), bad, "no format has the number -1");
    assert_refused(qdq_error_statistics(NULL, &stats), bad, "a NULL");
    assert_refused(qdq_error_statistics(&sums, NULL), bad, "a NULL");
    assert_refused(qdq_error_statistics(&sums, &stats), bad, "stats->size is not set");
    stats.size = sizeof stats;
    assert_ok(qdq_error_statistics(&sums, &stats)); /* of nothing */
    assert_true(stats.rmse == 0 && stats.relative_rmse == 0 && stats.cosine == 1);
}

static void buffers_are_checked(void **state) {
    things *t = *state;
    qdq_buffer *b = t->in;
    const uint64_t shape[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    float memory[256];
    assert_refused(qdq_buffer_create(NULL, QDQ_F32, 1, shape, &b), bad, "qdq_buffer_create: a NULL");
    assert_refused(qdq_buffer_create(t->device, QDQ_F32, 1, shape, NULL), bad, "a NULL");
    assert_refused(qdq_buffer_create(t->device, QDQ_F32, 1, NULL, &b), bad, "1 dimensions");
    assert_null(b);
    assert_refused(qdq_buffer_create(t->device, QDQ_F32, 0, shape, &b), bad, "0 dimensions; from 1 to 8");
    assert_refused(qdq_buffer_create(t->device, QDQ_F32, 9, shape, &b), bad, "9 dimensions; from 1 to 8");
    assert_refused(qdq_buffer_create(t->device, (qdq_dtype)4, 1, shape, &b), bad, "no such dtype: 4");
    assert_refused(qdq_buffer_create(t->device, QDQ_F32, 3, (uint64_t[]){2, 0, 2}, &b), bad,
                   "extent 1 of the shape is 0");
    assert_refused(qdq_buffer_create(t->device, QDQ_F32, 1, (uint64_t[]){(uint64_t)1 << 62}, &b), bad, "2^64 bytes");
    assert_refused(qdq_buffer_create(t->device, QDQ_F16, 2, (uint64_t[]){(uint64_t)1 << 33, (uint64_t)1 << 31}, &b),
                   bad, "2^64 elements");
    assert_ok(qdq_buffer_create(t->device, QDQ_F16, 8, shape, &b));
    assert_int_equal(qdq_buffer_count(b), 256);
    assert_int_equal(qdq_buffer_bytes(b), 512);
    assert_int_equal(qdq_buffer_dtype(b), QDQ_F16);
    qdq_buffer_free(b);
    assert_refused(qdq_buffer_wrap(NULL, QDQ_F32, 8, shape, memory, sizeof memory, &b), bad, "qdq_buffer_wrap: a NULL");
    b = t->in;
    assert_refused(qdq_buffer_wrap(t->device, QDQ_F32, 8, shape, NULL, sizeof memory, &b), bad, "no memory given");
    assert_null(b);
    assert_refused(qdq_buffer_wrap(t->device, QDQ_F32, 8, shape, memory, sizeof memory, NULL), bad, "a NULL");
    assert_refused(qdq_buffer_wrap(t->device, QDQ_F32, 8, shape, memory, 1023, &b), bad,
                   "1023 bytes of memory; the shape needs 1024");
    assert_refused(qdq_buffer_slice(NULL, 0, 1, &b), bad, "qdq_buffer_slice: a NULL");
    assert_refused(qdq_buffer_slice(t->in, 0, 1, NULL), bad, "a NULL");
    assert_refused(qdq_buffer_slice(t->in, 0, 0, &b), bad, "0 elements from 0");
    assert_refused(qdq_buffer_slice(t->in, 64, 1, &b), bad, "1 elements from 64 of a buffer of 64");
    assert_refused(qdq_buffer_slice(t->in, UINT64_MAX, 2, &b), bad, "of a buffer of 64");
    assert_refused(qdq_buffer_slice(t->in, 1, UINT64_MAX, &b), bad, "of a buffer of 64");
    assert_null(b);
    assert_refused(qdq_buffer_write(NULL, 0, memory, 4), bad, "qdq_buffer_write: a NULL");
    assert_refused(qdq_buffer_write(t->in, 0, NULL, 4), bad, "a NULL");
    assert_refused(qdq_buffer_write(t->in, UINT64_MAX, memory, 4), bad, "of a buffer of 256");
    assert_refused(qdq_buffer_write(t->in, 4, memory, UINT64_MAX), bad, "of a buffer of 256");
    assert_refused(qdq_buffer_read(NULL, 0, memory, 4), bad, "qdq_buffer_read: a NULL");
    assert_refused(qdq_buffer_read(t->in, 0, NULL, 4), bad, "a NULL");
    assert_refused(qdq_buffer_read(t->in, 257, memory, 0), bad, "of a buffer of 256");
    assert_ok(qdq_buffer_read(t->in, 256, NULL, 0));
    assert_ok(qdq_buffer_write(t->in, 0, NULL, 0));
}

/* Views of rows: what makes none, and where none is taken. */
static void rows_are_checked(void **state) {
    things *t = *state;
    qdq_buffer *b = t->in, *view, *matrix;
    static const uint64_t wrong[][4] = {{0, 0, 32, 32},
                                        {0, 2, 0, 32},
                                        {0, 2, 33, 32},
                                        {1, 2, 32, 32},
                                        {0, 3, 32, 32},
                                        {64, 1, 1, 1},
                                        {33, 1, 32, 32},
                                        {UINT64_MAX, 1, 1, 1},
                                        {0, 2, 1, 1 << 20},
                                        {0, UINT64_MAX, 1, UINT64_MAX},
                                        {0, 3, 1, (uint64_t)1 << 63}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_refused(qdq_buffer_rows(t->in, wrong[i][0], wrong[i][1], wrong[i][2], wrong[i][3], &b), bad,
                       "of a buffer of 64");
        assert_null(b);
    }
    assert_refused(qdq_buffer_rows(NULL, 0, 1, 1, 1, &b), bad, "qdq_buffer_rows: a NULL");
    assert_refused(qdq_buffer_rows(t->in, 0, 1, 1, 1, NULL), bad, "a NULL");
    assert_refused(qdq_buffer_rows(t->bytes, 0, 1, 18, 18, &b), bad, "packed blocks lie side by side");
    assert_ok(qdq_buffer_create(t->device, QDQ_F32, 2, (uint64_t[]){2, 80}, &matrix));
    assert_ok(qdq_buffer_rows(matrix, 8, 2, 32, 80, &view));
    assert_int_equal(qdq_buffer_count(view), 64);
    assert_int_equal(qdq_buffer_bytes(view), 256);
    float x[64];
    assert_refused(qdq_buffer_rows(view, 0, 1, 1, 1, &b), bad, "is rows itself");
    assert_refused(qdq_buffer_slice(view, 0, 32, &b), bad, "do not lie side by side");
    assert_refused(qdq_buffer_read(view, 0, x, 4), bad, "qdq_buffer_read: the buffer's rows do not lie side by side");
    assert_refused(qdq_buffer_write(view, 0, x, 4), bad, "do not lie side by side");
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, view, t->out, NULL));
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, t->in, view, NULL));
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, view, view, NULL));
    assert_ok(qdq_encode_dequantize(t->encoder, t->q4, t->bytes, view));
    assert_ok(qdq_encode_quantize(t->encoder, t->q4, view, t->bytes, NULL));
    qdq_options o = {.size = sizeof o, .row = 64};
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, view, t->out, &o), bad,
                   "qdq_q4_0_f32: rows of 32 elements, one every 80");
    o = (qdq_options){.size = sizeof o, .importance = view, .row = 64};
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, t->in, t->out, &o), bad, "importance");
    assert_ok(qdq_encoder_commit_and_wait(t->encoder));
    qdq_buffer_free(view);
    assert_ok(qdq_buffer_rows(matrix, 0, 4, 16, 36, &view));
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, view, t->out, NULL), bad,
                   "rows of 16 elements, one every 36");
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, t->in, view, NULL), bad,
                   "the output's rows of 16 elements must be divisible by block size (32)");
    qdq_sensitivity_sums s = {0};
    assert_refused(qdq_encode_sensitivity(t->encoder, t->q4, t->q8, t->in, view, &s, NULL), bad, "the gradient's rows");
    /* Rows that touch are no rows with gaps. */
    assert_ok(qdq_buffer_rows(t->in, 0, 2, 32, 32, &b));
    assert_ok(qdq_buffer_read(b, 0, x, sizeof x));
    qdq_buffer *const all[] = {view, matrix, b};
    for (int i = 0; i < 3; i++) qdq_buffer_free(all[i]);
}

static void nulls_are_refused_by_encoders(void **state) {
    things *t = *state;
    qdq_error_sums e = {0};
    qdq_sensitivity_sums s = {0};
    qdq_encoder *none = t->encoder;
    assert_refused(qdq_encoder_create(NULL, &none), bad, "qdq_encoder_create: a NULL");
    assert_null(none);
    assert_refused(qdq_encoder_create(t->device, NULL), bad, "a NULL");
    assert_refused(qdq_encoder_commit(NULL), bad, "qdq_encoder_commit: a NULL");
    assert_refused(qdq_encoder_wait(NULL), bad, "qdq_encoder_wait: a NULL");
    assert_refused(qdq_encoder_commit_and_wait(NULL), bad, "a NULL");
    assert_refused(qdq_encoder_submit(NULL), bad, "qdq_encoder_submit: a NULL");
    assert_refused(qdq_encoders_wait(1, NULL), bad, "qdq_encoders_wait: a NULL");
    assert_refused(qdq_encoders_wait(1, (qdq_encoder *[]){NULL}), bad, "qdq_encoder_wait: a NULL");
    none = t->encoder;
    assert_refused(qdq_encoder_create_on(NULL, NULL, &none), bad, "qdq_encoder_create_on: a NULL");
    assert_null(none);
    assert_refused(qdq_encoder_create_on(t->device, NULL, NULL), bad, "a NULL");
    none = t->encoder;
    assert_refused(qdq_encoder_create_on(t->device, &none, &none), QDQ_UNSUPPORTED, "cpu devices have no streams");
    assert_null(none);
    assert_refused(qdq_encode_roundtrip(NULL, t->q4, t->in, t->out, NULL), bad, "no encoder");
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, NULL, t->out, NULL), bad, "qdq_q4_0_f32: no input buffer");
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, t->in, NULL, NULL), bad, "no output buffer");
    assert_refused(qdq_encode_quantize(NULL, t->q4, t->in, t->bytes, NULL), bad, "no encoder");
    assert_refused(qdq_encode_quantize(t->encoder, t->q4, NULL, t->bytes, NULL), bad, "no input buffer");
    assert_refused(qdq_encode_quantize(t->encoder, t->q4, t->in, NULL, NULL), bad, "no output buffer");
    assert_refused(qdq_encode_dequantize(NULL, t->q4, t->bytes, t->out), bad, "no encoder");
    assert_refused(qdq_encode_dequantize(t->encoder, t->q4, NULL, t->out), bad, "dequantize_q4_0_f32: no input buffer");
    assert_refused(qdq_encode_dequantize(t->encoder, t->q4, t->bytes, NULL), bad, "no output buffer");
    assert_refused(qdq_encode_error(NULL, 1, &t->q4, t->in, &e, NULL), bad, "no encoder");
    assert_refused(qdq_encode_error(t->encoder, 1, NULL, t->in, &e, NULL), bad, "no formats given");
    assert_refused(qdq_encode_error(t->encoder, 1, &t->q4, NULL, &e, NULL), bad, "no input buffer");
    assert_refused(qdq_encode_error(t->encoder, 1, &t->q4, t->in, NULL, NULL), bad, "no place for the sums");
    assert_refused(qdq_encode_error(t->encoder, 0, &t->q4, t->in, &e, NULL), bad, "0 formats");
    assert_refused(qdq_encode_error(t->encoder, 65, &t->q4, t->in, &e, NULL), bad, "65 formats");
    assert_refused(qdq_encode_error(t->encoder, UINT32_MAX, &t->q4, t->in, &e, NULL), bad, "formats");
    assert_refused(qdq_encode_error(t->encoder, 1, (qdq_format[]){QDQ_FORMAT_SOURCE}, t->in, &e, NULL), bad,
                   "no format has the number -2");
    assert_refused(qdq_encode_sensitivity(NULL, t->q4, t->q8, t->in, t->in, &s, NULL), bad, "no encoder");
    assert_refused(qdq_encode_sensitivity(t->encoder, t->q4, t->q8, NULL, t->in, &s, NULL), bad, "no input buffer");
    assert_refused(qdq_encode_sensitivity(t->encoder, t->q4, t->q8, t->in, NULL, &s, NULL), bad, "no gradient buffer");
    assert_refused(qdq_encode_sensitivity(t->encoder, t->q4, t->q8, t->in, t->in, NULL, NULL), bad, "no place");
    qdq_error_totals totals = {0};
    assert_refused(qdq_encode_errors(t->encoder, 1, &t->q4, t->in, &totals, NULL), bad, "totals->size is not set");
    totals.size = sizeof totals - 4;
    assert_refused(qdq_encode_errors(t->encoder, 1, &t->q4, t->in, &totals, NULL), bad, "totals->size is not set");
    totals.size = sizeof totals;
    assert_refused(qdq_encode_errors(t->encoder, 1, &t->q4, t->in, NULL, NULL), bad, "no place for the sums");
    assert_refused(qdq_encode_errors(t->encoder, 0, &t->q4, t->in, &totals, NULL), bad, "qdq_encode_errors: 0 formats");
    assert_refused(qdq_encode_errors(NULL, 1, &t->q4, t->in, &totals, NULL), bad, "no encoder");
    assert_refused(qdq_encode_sensitivities(t->encoder, 0, &t->q4, &t->q8, t->in, t->in, &s, NULL), bad, "0 pairs");
    assert_refused(qdq_encode_sensitivities(t->encoder, 65, &t->q4, &t->q8, t->in, t->in, &s, NULL), bad, "65 pairs");
    assert_refused(qdq_encode_sensitivities(t->encoder, 1, NULL, &t->q8, t->in, t->in, &s, NULL), bad, "no formats");
    assert_refused(qdq_encode_sensitivities(t->encoder, 1, &t->q4, NULL, t->in, t->in, &s, NULL), bad, "no formats");
    assert_refused(qdq_encode_sensitivities(t->encoder, 1, &t->q4, &t->q8, t->in, t->in, NULL, NULL), bad, "no place");
    assert_refused(qdq_encode_sensitivities(NULL, 1, &t->q4, &t->q8, t->in, t->in, &s, NULL), bad, "no encoder");
    assert_refused(qdq_encoder_wait(t->encoder), bad, "nothing is committed");
    assert_ok(qdq_encoder_commit_and_wait(t->encoder)); /* nothing of the above was recorded */
    assert_int_equal(e.count, 0);
    assert_int_equal(s.count, 0);
}

/* An operation in one call gives what buffers and an encoder give, and is refused for the same reasons. */
static void an_operation_is_one_call(void **state) {
    things *t = *state;
    float x[64], y[64] = {0}, expected[64], weights[32];
    unsigned char blocks[36] = {0}, expected_blocks[36];
    for (int i = 0; i < 64; i++) x[i] = (float)(i * i % 37) - 11;
    for (int i = 0; i < 32; i++) weights[i] = (float)(i + 1);
    assert_ok(qdq_roundtrip(t->q4, x, expected, 64));
    assert_ok(qdq_quantize(t->q4, x, expected_blocks, 64));
    qdq_dispatch d = {.size = sizeof d, .format = t->q4, .input = x, .output = y, .elements = 64, .row = 32};
    for (d.submit = 0; d.submit < 2; d.submit++) {
        memset(y, 0, sizeof y);
        assert_ok(qdq_device_dispatch(t->device, &d));
        assert_ok(qdq_device_synchronize(t->device));
        assert_memory_equal(y, expected, sizeof y);
    }
    d.submit = 0;
    d.operation = QDQ_OPERATION_QUANTIZE;
    d.output_dtype = QDQ_U8;
    d.output = blocks;
    assert_ok(qdq_device_dispatch(t->device, &d));
    assert_memory_equal(blocks, expected_blocks, sizeof blocks);
    qdq_dispatch back = {.size = sizeof back,
                         .operation = QDQ_OPERATION_DEQUANTIZE,
                         .format = t->q4,
                         .elements = 64,
                         .input_dtype = QDQ_U8,
                         .input = blocks,
                         .output = y};
    memset(y, 0, sizeof y);
    assert_ok(qdq_device_dispatch(t->device, &back));
    assert_memory_equal(y, expected, sizeof y);

    d = (qdq_dispatch){.size = sizeof d, .format = t->q4, .input = x, .output = y, .elements = 64, .row = 32};
    d.importance = weights;
    assert_ok(qdq_device_dispatch(t->device, &d));
    assert_memory_not_equal(y, expected, sizeof y);

    assert_refused(qdq_device_dispatch(NULL, &d), bad, "qdq_device_dispatch: a NULL");
    assert_refused(qdq_device_dispatch(t->device, NULL), bad, "qdq_device_dispatch: a NULL");
    qdq_dispatch wrong = d;
    wrong.size = 0;
    assert_refused(qdq_device_dispatch(t->device, &wrong), bad, "size is not set");
    wrong = d;
    wrong.elements = 0;
    assert_refused(qdq_device_dispatch(t->device, &wrong), bad, "no elements");
    wrong = d;
    wrong.input = NULL;
    assert_refused(qdq_device_dispatch(t->device, &wrong), bad, "no memory given");
    wrong = d;
    wrong.format = QDQ_FORMAT_NONE;
    assert_refused(qdq_device_dispatch(t->device, &wrong), bad, "no format has the number");
    wrong = d;
    wrong.row = 24;
    assert_refused(qdq_device_dispatch(t->device, &wrong), bad, "rows of 24 elements");
    wrong = d;
    wrong.elements = UINT64_MAX / 2;
    assert_refused(qdq_device_dispatch(t->device, &wrong), bad, "2^64 bytes");
    wrong = d;
    wrong.operation = QDQ_OPERATION_ERROR;
    assert_refused(qdq_device_dispatch(t->device, &wrong), bad, "operation 3 is not from array to array");
    wrong = d;
    wrong.stream = &wrong;
    assert_refused(qdq_device_dispatch(t->device, &wrong), QDQ_UNSUPPORTED, "have no streams");
    wrong = d;
    wrong.output = x + 32;
    assert_refused(qdq_device_dispatch(t->device, &wrong), bad, "overlap");
}

static void options_are_checked(void **state) {
    things *t = *state;
    qdq_buffer *few, *half;
    assert_ok(qdq_buffer_create(t->device, QDQ_F32, 1, (uint64_t[]){32}, &few));
    assert_ok(qdq_buffer_create(t->device, QDQ_F16, 1, (uint64_t[]){64}, &half));
    qdq_options o = {.importance = few, .row = 32};
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, t->in, t->out, &o), bad, "options->size is not set");
    o.size = sizeof o;
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, t->in, t->out, &o));
    o.row = 0; /* 64, the input's */
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, t->in, t->out, &o), bad,
                   "importance has 32 elements of f32; a row has 64");
    o.importance = half;
    assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, t->in, t->out, &o), bad, "64 elements of f16");
    o.importance = NULL;
    static const uint64_t rows[] = {1, 33, 48, 96, 128, UINT64_MAX};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        o.row = rows[i];
        assert_refused(qdq_encode_roundtrip(t->encoder, t->q4, t->in, t->out, &o), bad,
                       "must be divisible by block size");
    }
    o = (qdq_options){.size = offsetof(qdq_options, row), .row = 33}; /* an older caller's: row is past its end */
    assert_ok(qdq_encode_roundtrip(t->encoder, t->q4, t->in, t->out, &o));
    assert_ok(qdq_encoder_commit_and_wait(t->encoder));
    qdq_buffer_free(few);
    qdq_buffer_free(half);
}

/* What is past the caller's size is neither written nor, in a bigger struct of a newer caller, lost. */
static void structs_have_the_callers_size(void **state) {
    things *t = *state;
    struct {
        qdq_format_info info;
        unsigned char more[16];
    } format;
    memset(&format, 0xa5, sizeof format);
    format.info.size = offsetof(qdq_format_info, block_bytes);
    assert_ok(qdq_format_describe(t->q4, &format.info));
    assert_int_equal(format.info.block_elements, 32);
    assert_int_equal(format.info.block_bytes, 0xa5a5a5a5u);
    format.info.size = sizeof format;
    assert_ok(qdq_format_describe(t->q4, &format.info));
    assert_int_equal(format.info.block_bytes, 18);
    assert_int_equal(format.info.size, sizeof format);
    for (size_t i = 0; i < sizeof format.more; i++) assert_int_equal(format.more[i], 0xa5);

    qdq_device_info device;
    memset(&device, 0xa5, sizeof device);
    device.size = offsetof(qdq_device_info, description);
    assert_ok(qdq_device_describe(t->device, &device));
    assert_string_equal(device.name, "cpu");
    assert_int_equal((unsigned char)device.description[0], 0xa5);
    device.size = 1; /* less than the size itself */
    assert_ok(qdq_device_list(0, &device));

    qdq_error_sums sums = {.err2 = 4, .ww = 16, .qq = 16, .max_abs = 1, .count = 4};
    qdq_error_stats stats;
    memset(&stats, 0xa5, sizeof stats);
    stats.size = offsetof(qdq_error_stats, relative_rmse);
    double untouched;
    memcpy(&untouched, &stats.relative_rmse, sizeof untouched);
    assert_ok(qdq_error_statistics(&sums, &stats));
    assert_true(stats.rmse == 1);
    assert_memory_equal(&stats.relative_rmse, &untouched, sizeof untouched);
}

/* Programs that are built already rely on these. */
static void layouts_are_fixed(void **state) {
    _Static_assert(sizeof(qdq_format) == 4 && sizeof(qdq_status) == 4 && sizeof(qdq_dtype) == 4, "");
    _Static_assert(sizeof(qdq_error_sums) == 40 && offsetof(qdq_error_sums, max_abs) == 24 &&
                       offsetof(qdq_error_sums, count) == 32,
                   "");
    _Static_assert(sizeof(qdq_error_totals) == sizeof(size_t) + 40 + 32, "");
    _Static_assert(sizeof(qdq_sensitivity_sums) == 32 && offsetof(qdq_sensitivity_sums, count) == 24, "");
    if (sizeof(void *) != 8) skip();
    assert_int_equal(offsetof(qdq_format_info, ggml_type), 16);
    assert_int_equal(offsetof(qdq_format_info, ggml_file_type), 32);
    assert_int_equal(offsetof(qdq_error_stats, cosine), 40);
    assert_int_equal(offsetof(qdq_device_info, description), 40);
    assert_int_equal(offsetof(qdq_device_info, memory), 296);
    assert_int_equal(offsetof(qdq_device_info, available), 308);
    assert_int_equal(offsetof(qdq_device_options, on_stream), 12);
    assert_int_equal(offsetof(qdq_device_options, stream), 16);
    assert_int_equal(QDQ_IMPORTANCE_NEEDED, 2);
    assert_int_equal(offsetof(qdq_options, importance), 8);
    assert_int_equal(offsetof(qdq_options, row), 16);
    assert_int_equal(QDQ_BAD_DATA, 6);
    assert_int_equal(QDQ_U8, 3);
}

static void kernels_are_built_by_name(void **state) {
    things *t = *state;
    static const char *const operations[] = {"qdq", "quantize", "error", "sensitivity"};
    static const char *const dtypes[] = {"f32", "f16", "bf16"};
    char name[96];
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_format_info info = {.size = sizeof info};
        assert_ok(qdq_format_describe(f, &info));
        for (int o = 0; o < 4; o++)
            for (int d = 0; d < 3; d++) {
                snprintf(name, sizeof name, "%s_%s_%s", operations[o], info.name, dtypes[d]);
                assert_ok(qdq_device_build_kernel(t->device, name));
            }
        for (int d = 0; d < 3; d++) {
            snprintf(name, sizeof name, "dequantize_%s_%s", info.name, dtypes[d]);
            assert_ok(qdq_device_build_kernel(t->device, name));
            for (int out = 1; out < 3; out++) {
                snprintf(name, sizeof name, "qdq_%s_%s_%s", info.name, dtypes[d], dtypes[out]);
                assert_ok(qdq_device_build_kernel(t->device, name));
            }
        }
        snprintf(name, sizeof name, "sensitivity_%s_q8_0_f32", info.name);
        assert_ok(qdq_device_build_kernel(t->device, name));
    }
    static const char *const wrong[] = {"",
                                        "_",
                                        "__",
                                        "qdq",
                                        "qdq_",
                                        "qdq__f32",
                                        "qdq_q4_0",
                                        "qdq_q4_0_",
                                        "q4_0_f32",
                                        "x_q4_0_f32",
                                        "qdq_q9_9_f32",
                                        "qdq_q4_0_f64",
                                        "dequantize_q4_0_u8",
                                        "qdq_q4_0_f32_f32",
                                        "qdq_q4_0__bf16",
                                        "qdq_q4_0_u8_bf16",
                                        "qdq__f16_bf16",
                                        "quantize_q4_0_f32_bf16",
                                        "dequantize_q4_0_f32_bf16",
                                        "error_q4_0_f32_bf16",
                                        "qdq_q4_0_f32_f16_bf16",
                                        "qdq_q4_0_u8",
                                        "qdq_f32",
                                        "error__f32",
                                        "qdq_q4_0_q8_0_f32",
                                        "sensitivity_q4_0__f32",
                                        "sensitivity_q4_0_q9_9_f32",
                                        "sensitivity__q8_0_f32",
                                        "qdq_q4_0_f32 ",
                                        "qdq_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_f32"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_refused(qdq_device_build_kernel(t->device, wrong[i]), bad, "no kernel is called");
}

/* A message is the thread's own, the last failure's, and whole however long a name is. */
static void messages_are_bounded(void **state) {
    char name[5000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    qdq_device *none;
    assert_refused(qdq_device_open(name, &none), bad, "no device is called 'xxx");
    assert_true(strlen(qdq_error_message()) < 1024);
    assert_refused(qdq_device_open("what", &none), bad, "no device is called 'what'; there are: auto, cpu");
    assert_true(qdq_format_count() > 0); /* a success changes nothing */
    assert_non_null(strstr(qdq_error_message(), "'what'"));
}

static bool is_utf8(const char *text) {
    size_t left = strlen(text);
    for (size_t step; left > 0; text += step, left -= step)
        if ((step = qdq_utf8_step((const uint8_t *)text, left)) == 0) return false;
    return true;
}

/* However a long name lies under the cut: what the message holds is UTF-8, whole characters only. */
static void messages_are_utf8(void **state) {
    static const char *const characters[] = {"\u00e9", "\u2026", "\U0001f600"};
    static const char *const no_utf8[] = {"\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80"};
    char name[200];
    qdq_device *none;
    for (size_t c = 0; c < 3; c++)
        for (size_t before = 0; before < 70; before++) {
            size_t used = before;
            memset(name, 'x', before);
            while (used < 120) used += (size_t)snprintf(name + used, sizeof name - used, "%s", characters[c]);
            assert_refused(qdq_device_open(name, &none), bad, "no device is called '");
            if (!is_utf8(qdq_error_message())) fail_msg("no UTF-8: %s", qdq_error_message());
        }
    for (size_t i = 0; i < sizeof no_utf8 / sizeof no_utf8[0]; i++) {
        assert_refused(qdq_device_open(no_utf8[i], &none), bad, "no device is called '?");
        assert_true(is_utf8(qdq_error_message()));
    }
    /* Where the whole message is cut, at every place in a character. */
    for (size_t c = 0; c < 3; c++)
        for (int before = 0; before < 4; before++) {
            char text[1200];
            size_t used = (size_t)before;
            memset(text, 'x', used);
            while (used < 1100) used += (size_t)snprintf(text + used, sizeof text - used, "%s", characters[c]);
            qdq_fail(QDQ_BAD_DATA, "%s", text);
            size_t length = strlen(qdq_error_message());
            assert_true(length > 1019 && length < 1024 && is_utf8(qdq_error_message()));
            assert_memory_equal(qdq_error_message(), text, length);
        }
}

/* ---- Fork ---- */

/* A child's verdict: 0, or killed after a while. */
static int wait_for(pid_t child) {
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

enum { LARGE = 512 * QDQ_TILE };

/* What a child does: plain calls, the parent's device and encoder, a device of its own, and a fork again. */
static bool child_works(const things *t, int depth) {
    static float x[LARGE], y[LARGE], z[LARGE];
    uint64_t n = LARGE, seed = 5;
    for (int i = 0; i < LARGE; i++) x[i] = random_float(&seed);
    qdq_encoder *encoder = NULL;
    qdq_buffer *in = NULL, *out = NULL;
    qdq_device *own = NULL;
    qdq_device_info info = {.size = sizeof info};
    bool good = qdq_roundtrip(t->q4, x, y, n) == QDQ_OK &&
                qdq_buffer_wrap_const(t->device, QDQ_F32, 1, &n, x, sizeof x, &in) == QDQ_OK &&
                qdq_buffer_wrap(t->device, QDQ_F32, 1, &n, z, sizeof z, &out) == QDQ_OK &&
                qdq_encoder_create(t->device, &encoder) == QDQ_OK &&
                qdq_encode_roundtrip(encoder, t->q4, in, out, NULL) == QDQ_OK &&
                qdq_encoder_commit_and_wait(encoder) == QDQ_OK && memcmp(y, z, sizeof y) == 0 &&
                qdq_device_open_threads("cpu", 3, &own) == QDQ_OK && qdq_device_describe(own, &info) == QDQ_OK &&
                strstr(info.description, "3 threads") != NULL;
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    qdq_buffer_free(out);
    qdq_device_close(own);
    if (!good || depth == 0) return good;
    pid_t child = fork();
    if (child == 0) _exit(child_works(t, depth - 1) ? 0 : 1);
    return child > 0 && wait_for(child) == 0;
}

static void *keep_busy(void *context) {
    const things *t = context;
    float *x = calloc(LARGE, 4);
    qdq_error_sums sums = {0};
    qdq_encoder *encoder;
    qdq_buffer *in;
    uint64_t n = LARGE;
    bool good = x && qdq_buffer_wrap(t->device, QDQ_F32, 1, &n, x, LARGE * 4, &in) == QDQ_OK &&
                qdq_encoder_create(t->device, &encoder) == QDQ_OK;
    while (good && !atomic_load(&t->enough)) {
        good = qdq_encode_error(encoder, 1, &t->q8, in, &sums, NULL) == QDQ_OK &&
               qdq_encoder_commit_and_wait(encoder) == QDQ_OK && qdq_roundtrip(t->q4, x, x, LARGE) == QDQ_OK;
    }
    qdq_encoder_free(encoder);
    qdq_buffer_free(in);
    free(x);
    return good ? context : NULL;
}

/* From an idle process, and over and over from one whose threads hold the pools. A child that hangs is killed. */
static void children_of_fork_work(void **state) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    skip(); /* TSan follows no threads of a child; a lock of ASan's allocator may be held when another thread forks */
#endif
    things *t = *state;
    float x[64] = {1};
    things mine = {.q4 = t->q4, .q8 = t->q8};
    t = &mine;
    assert_ok(qdq_device_open_threads("cpu", 4, &t->device));
    assert_ok(qdq_roundtrip(t->q4, x, x, 64));
    pthread_t threads[2];
    for (int busy = 0; busy < 2; busy++) {
        for (int i = 0; i < 2 && busy; i++) assert_int_equal(pthread_create(&threads[i], NULL, keep_busy, t), 0);
        for (int turn = 0; turn < (busy ? 40 : 1); turn++) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                alarm(1800);
                _exit(child_works(t, 1) ? 0 : 1);
            }
            int verdict = wait_for(child);
            if (verdict != 0) fail_msg("turn %d: the child ended with 0x%x", turn, (unsigned)verdict);
        }
    }
    atomic_store(&t->enough, true);
    for (int i = 0; i < 2; i++) {
        void *good;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
    assert_ok(qdq_roundtrip(t->q4, x, x, 64));
    qdq_device_close(t->device);
}

/* Plain calls, one device's encoders and messages, from several threads at once. */
enum { THREADS = 4 };

typedef struct caller {
    things *t;
    int number;
    bool good;
} caller;

static void *call(void *context) {
    caller *c = context;
    qdq_format f = c->number % 2 ? c->t->q4 : c->t->q8;
    float x[64], y[64], again[64];
    char expected[64];
    snprintf(expected, sizeof expected, "input element count (%d)", 33 + c->number);
    c->good = true;
    for (int turn = 0; turn < 200 && c->good; turn++) {
        for (int i = 0; i < 64; i++) x[i] = (float)(i * (c->number + 1) - turn) * 0.125f;
        qdq_error_sums plain = {0}, encoded = {0};
        qdq_encoder *encoder = NULL;
        qdq_buffer *in = NULL, *out = NULL;
        const uint64_t n = 64;
        c->good = qdq_roundtrip(f, x, y, n) == QDQ_OK && qdq_error(f, x, n, &plain) == QDQ_OK &&
                  qdq_roundtrip(f, x, y, 33 + (uint64_t)c->number) == bad &&
                  strstr(qdq_error_message(), expected) != NULL &&
                  qdq_encoder_create(c->t->device, &encoder) == QDQ_OK &&
                  qdq_buffer_wrap(c->t->device, QDQ_F32, 1, &n, x, sizeof x, &in) == QDQ_OK &&
                  qdq_buffer_wrap(c->t->device, QDQ_F32, 1, &n, again, sizeof again, &out) == QDQ_OK &&
                  qdq_encode_roundtrip(encoder, f, in, out, NULL) == QDQ_OK &&
                  qdq_encode_error(encoder, 1, &f, in, &encoded, NULL) == QDQ_OK &&
                  qdq_encoder_commit_and_wait(encoder) == QDQ_OK && memcmp(y, again, sizeof y) == 0 &&
                  memcmp(&plain, &encoded, sizeof plain) == 0;
        qdq_buffer_free(in);
        qdq_buffer_free(out);
        qdq_encoder_free(encoder);
    }
    return NULL;
}

static void threads_do_not_meet(void **state) {
    pthread_t threads[THREADS];
    caller callers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller){*state, i, false};
        assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) assert_true(callers[i].good);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_closed_and_described),
        cmocka_unit_test(nulls_are_refused_by_plain_calls),
        cmocka_unit_test(counts_are_checked_by_plain_calls),
        cmocka_unit_test(overlapping_arrays_are_refused),
        cmocka_unit_test(overlapping_wraps_are_refused),
        cmocka_unit_test(read_only_memory_is_no_output),
        cmocka_unit_test(release_comes_once_and_last),
        cmocka_unit_test(a_needed_importance_is_asked_for),
        cmocka_unit_test(nulls_are_refused_by_devices),
        cmocka_unit_test(devices_are_opened_with_options),
        cmocka_unit_test(nulls_are_refused_by_formats_and_statistics),
        cmocka_unit_test(buffers_are_checked),
        cmocka_unit_test(rows_are_checked),
        cmocka_unit_test(nulls_are_refused_by_encoders),
        cmocka_unit_test(an_operation_is_one_call),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(structs_have_the_callers_size),
        cmocka_unit_test(layouts_are_fixed),
        cmocka_unit_test(kernels_are_built_by_name),
        cmocka_unit_test(messages_are_bounded),
        cmocka_unit_test(messages_are_utf8),
        cmocka_unit_test(children_of_fork_work),
        cmocka_unit_test(threads_do_not_meet),
    };
    return cmocka_run_group_tests_name("api", tests, set_up, tear_down);
}
