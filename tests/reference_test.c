/* The reference's earlier revision: iq1_m's blocks are those of ggml up to 2026-08, and nothing else is changed. */
#include "support.h"

static qdq_device *open_revision(const char *reference) {
    qdq_device *device;
    qdq_device_options options = {.size = sizeof options, .threads = 2, .reference = reference};
    assert_ok(qdq_device_open_with("cpu", &options, &device));
    return device;
}

static qdq_buffer *make(qdq_device *device, qdq_dtype dtype, uint64_t n, const void *from) {
    qdq_buffer *buffer;
    assert_ok(qdq_buffer_create(device, dtype, 1, &n, &buffer));
    if (from) assert_ok(qdq_buffer_write(buffer, 0, from, n * qdq_dtype_size(dtype)));
    return buffer;
}

/* The blocks, which are the round trip's, and what their error is. */
static void pack(const char *reference, qdq_format format, const char *importance, unsigned char *blocks,
                 qdq_error_sums *sums) {
    size_t size = 0, weights_size = 0;
    float *x = read_data("input.f32", &size);
    float *w = importance ? read_data(importance, &weights_size) : NULL;
    uint64_t n = size / 4, rows[2] = {n / 1024, 1024}, bytes = qdq_format_bytes(format, n);
    qdq_device *device = open_revision(reference);
    qdq_buffer *in, *packed = make(device, QDQ_U8, bytes, NULL), *again = make(device, QDQ_F32, n, NULL);
    assert_ok(qdq_buffer_create(device, QDQ_F32, 2, rows, &in));
    assert_ok(qdq_buffer_write(in, 0, x, size));
    qdq_buffer *out, *weights = w ? make(device, QDQ_F32, 1024, w) : NULL;
    assert_ok(qdq_buffer_create(device, QDQ_F32, 2, rows, &out));
    qdq_options options = {.size = sizeof options, .importance = weights};
    qdq_encoder *encoder;
    assert_ok(qdq_encoder_create(device, &encoder));
    *sums = (qdq_error_sums){0};
    assert_ok(qdq_encode_quantize(encoder, format, in, packed, &options));
    assert_ok(qdq_encode_roundtrip(encoder, format, in, out, &options));
    assert_ok(qdq_encode_dequantize(encoder, format, packed, again));
    assert_ok(qdq_encode_error(encoder, 1, &format, in, sums, &options));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    assert_ok(qdq_buffer_read(packed, 0, blocks, bytes));
    float *y = malloc(size), *z = malloc(size);
    assert_ok(qdq_buffer_read(out, 0, y, size));
    assert_ok(qdq_buffer_read(again, 0, z, size));
    assert_memory_equal(y, z, size);
    qdq_encoder_free(encoder);
    qdq_buffer *const all[] = {in, packed, again, out, weights};
    for (int i = 0; i < 5; i++) qdq_buffer_free(all[i]);
    qdq_device_close(device);
    free(x);
    free(w);
    free(y);
    free(z);
}

static void check(const char *reference, const char *file, const char *importance) {
    size_t size = 0;
    qdq_format format = qdq_format_by_name("iq1_m");
    unsigned char *expected = read_data(file, &size), *made = malloc(size);
    for (uint32_t mask = 1; mask <= 15; mask = 2 * mask + 1) { /* each tier, as far as the processor has it */
        qdq_error_sums sums;
        qdq_cpu_mask(mask);
        pack(reference, format, importance, made, &sums);
        for (size_t i = 0; i < size; i++)
            if (made[i] != expected[i])
                fail_msg("%s, mask %u: byte %zu is %02x, not %02x", file, mask, i, made[i], expected[i]);
    }
    qdq_cpu_mask(0);
    free(expected);
    free(made);
}

static void each_revision_makes_its_own_blocks(void **state) {
    (void)state;
    check("2026-08", "iq1_m_2026_08.blk", NULL);
    check("2026-08", "iq1_m_2026_08.imatrix.blk", "imatrix.f32");
    check("2026-09", "iq1_m.blk", NULL);
    check("2026-09", "iq1_m.imatrix.blk", "imatrix.f32");
    check(NULL, "iq1_m.blk", NULL);
}

static void errors_are_those_of_the_revision(void **state) {
    (void)state;
    static unsigned char blocks[1 << 20];
    qdq_error_sums old, new, other, same;
    pack("2026-08", qdq_format_by_name("iq1_m"), NULL, blocks, &old);
    pack("2026-09", qdq_format_by_name("iq1_m"), NULL, blocks, &new);
    assert_true(old.ww == new.ww &&old.err2 != new.err2);
    pack("2026-08", qdq_format_by_name("q4_K"), NULL, blocks, &other);
    pack(NULL, qdq_format_by_name("q4_K"), NULL, blocks, &same);
    assert_true(other.err2 == same.err2);
}

static void revisions_by_name(void **state) {
    (void)state;
    qdq_device *device = open_revision("2026-08");
    qdq_device_info info = {.size = sizeof info};
    assert_ok(qdq_device_describe(device, &info));
    assert_string_equal(info.reference, "2026-08");
    qdq_device_close(device);
    device = open_revision(NULL);
    assert_ok(qdq_device_describe(device, &info));
    assert_string_equal(info.reference, "2026-09");
    qdq_device_close(device);
    qdq_device_options options = {.size = sizeof options, .reference = "2026-07"};
    assert_int_equal(qdq_device_open_with("cpu", &options, &device), QDQ_INVALID_ARGUMENT);
    assert_non_null(strstr(qdq_error_message(), "not '2026-07'"));
    assert_null(device);
    options.reference = "2026-08";
    assert_ok(qdq_device_open_with("auto", &options, &device));
    assert_ok(qdq_device_describe(device, &info));
    assert_string_equal(info.name, "cpu");
    qdq_device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_revision_makes_its_own_blocks),
        cmocka_unit_test(errors_are_those_of_the_revision),
        cmocka_unit_test(revisions_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
