/* Several devices share a model's work: devices_test [LIST]. Sums have the bits, and files the bytes, of one CPU; a
 * device that is lost is named, and nothing is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/platform.h"
#include "qdq_model.h"

/* With importance each expert is a piece; so is each tensor, but for the first, which has two on CPUs. */
enum { EXPERTS = 13, ROWS = 64, COLUMNS = 1024, LARGE = 1500, TENSORS = 9 };

static const char *list = "cpu,cpu,cpu";
static char folder[] = "/tmp/qdq-devices-XXXXXX", source[64], slopes[64], importance[64], one[64], several[64],
            packed[64];

static const uint64_t shapes[TENSORS][3] = {
    {LARGE, COLUMNS}, {EXPERTS, ROWS, COLUMNS}, {ROWS, COLUMNS},     {3, COLUMNS}, {5 * ROWS, COLUMNS / 4},
    {COLUMNS},        {ROWS, COLUMNS},          {2 * ROWS, COLUMNS}, {2, 32},
};

static uint32_t dimensions(int t) { return t == 1 ? 3 : t == 5 ? 1 : 2; }

static void write_model(const char *path, uint32_t state) {
    static uint16_t values[(LARGE + 1) * COLUMNS];
    char name[64];
    qdq_writer *w;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (uint16_t)((state >> 16 & 0x81ff) | 0x3c00);
    }
    assert_int_equal(qdq_writer_create(QDQ_LAYOUT_GGUF, path, &w), QDQ_OK);
    assert_int_equal(qdq_writer_set_string(w, "general.architecture", "llama"), QDQ_OK);
    assert_int_equal(qdq_writer_set_u32(w, "llama.block_count", TENSORS), QDQ_OK);
    for (int t = 0; t < TENSORS; t++) {
        snprintf(name, sizeof name, "blk.%d.ffn_up%s.weight", t, t == 1 ? "_exps" : "");
        assert_int_equal(qdq_writer_add_tensor(w, name, "BF16", dimensions(t), shapes[t]), QDQ_OK);
    }
    for (uint64_t t = 0; t < TENSORS; t++)
        assert_int_equal(qdq_writer_write(w, values + 17 * t, qdq_writer_tensor_bytes(w, t)), QDQ_OK);
    assert_int_equal(qdq_writer_finish(w), QDQ_OK);
}

/* llama-imatrix's first layout. */
static void write_importance(void) {
    static float values[EXPERTS * COLUMNS];
    static const char name[] = "blk.1.ffn_up_exps.weight";
    for (int i = 0; i < EXPERTS * COLUMNS; i++) values[i] = 1.0f + (float)(i % 11);
    FILE *f = fopen(importance, "wb");
    assert_non_null(f);
    int32_t numbers[] = {1, (int32_t)strlen(name), 1, EXPERTS * COLUMNS};
    fwrite(numbers, sizeof *numbers, 2, f);
    fwrite(name, 1, strlen(name), f);
    fwrite(numbers + 2, sizeof *numbers, 2, f);
    fwrite(values, sizeof *values, EXPERTS * COLUMNS, f);
    assert_int_equal(fclose(f), 0);
}

typedef struct world {
    qdq_model *model;
    qdq_imatrix *imatrix;
    qdq_selection *plain, *weighted;
    qdq_gradients *gradients;
} world;

static int open_world(void **state) {
    static world w;
    assert_non_null(mkdtemp(folder));
    snprintf(source, sizeof source, "%s/m.gguf", folder);
    snprintf(slopes, sizeof slopes, "%s/g.gguf", folder);
    snprintf(importance, sizeof importance, "%s/i.dat", folder);
    snprintf(one, sizeof one, "%s/one", folder);
    snprintf(several, sizeof several, "%s/several", folder);
    snprintf(packed, sizeof packed, "%s/packed.gguf", folder);
    write_model(source, 7);
    write_model(slopes, 8);
    write_importance();
    qdq_selection_options options = {.size = sizeof options};
    assert_int_equal(qdq_model_open(source, &w.model), QDQ_OK);
    assert_int_equal(qdq_imatrix_open(importance, &w.imatrix), QDQ_OK);
    assert_int_equal(qdq_selection_create(w.model, NULL, &w.plain), QDQ_OK);
    options.imatrix = w.imatrix;
    assert_int_equal(qdq_selection_create(w.model, &options, &w.weighted), QDQ_OK);
    assert_int_equal(qdq_gradients_open(slopes, w.plain, NULL, &w.gradients), QDQ_OK);
    *state = &w;
    return 0;
}

static int close_world(void **state) {
    world *w = *state;
    qdq_gradients_close(w->gradients);
    qdq_selection_free(w->plain);
    qdq_selection_free(w->weighted);
    qdq_imatrix_close(w->imatrix);
    qdq_model_close(w->model);
    unlink(source);
    unlink(slopes);
    unlink(importance);
    return rmdir(folder);
}

typedef struct crew {
    qdq_device *devices[8];
    uint32_t n;
    qdq_pass *pass;
} crew;

static crew begin(const char *names) {
    crew c = {0};
    assert_int_equal(qdq_devices_open(names, 1, 8, c.devices, &c.n), QDQ_OK);
    assert_int_equal(qdq_pass_create(c.n, c.devices, NULL, &c.pass), QDQ_OK);
    return c;
}

static void end(crew *c) {
    qdq_pass_free(c->pass);
    for (uint32_t i = 0; i < c->n; i++) qdq_device_close(c->devices[i]);
}

enum { FORMATS = 4 };

static void measure(const world *w, const char *names, qdq_error_sums errors[2][FORMATS],
                    qdq_sensitivity_sums *sensitivity) {
    crew c = begin(names);
    qdq_format formats[FORMATS] = {qdq_format_by_name("q4_0"), qdq_format_by_name("q8_0"), qdq_format_by_name("f16"),
                                   qdq_format_by_name("q5_1")};
    for (uint64_t t = 0; t < TENSORS; t++) {
        if (t == 5) continue; /* one dimension */
        assert_int_equal(qdq_pass_error(c.pass, w->plain, t, FORMATS, formats, errors[0]), QDQ_OK);
        assert_int_equal(qdq_pass_error(c.pass, w->weighted, t, FORMATS, formats, errors[1]), QDQ_OK);
    }
    assert_int_equal(qdq_pass_sensitivity(c.pass, w->weighted, 1, w->gradients, 1, formats, formats[1], sensitivity),
                     QDQ_OK);
    assert_int_equal(qdq_pass_flush(c.pass), QDQ_OK);
    end(&c);
}

static void sums(void **state) {
    qdq_error_sums a[2][FORMATS] = {0}, b[2][FORMATS] = {0};
    qdq_sensitivity_sums x = {0}, y = {0};
    measure(*state, "cpu", a, &x);
    measure(*state, list, b, &y);
    assert_true(a[0][0].count > (uint64_t)(LARGE + EXPERTS * ROWS) * COLUMNS);
    assert_true(a[1][0].err2 != a[0][0].err2);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(&x, &y, sizeof x);
}

static void make(const world *w, const char *names, const char *path, const char *format, bool roundtrip) {
    crew c = begin(names);
    qdq_uniform uniform = {w->weighted, qdq_format_by_name(format)};
    qdq_file_options options = {.size = sizeof options, .source_dtype = true};
    qdq_status status =
        roundtrip ? qdq_roundtrip_file(c.pass, w->weighted, path, qdq_uniform_choose, &uniform, &options, NULL)
                  : qdq_quantize_file(c.pass, w->weighted, path, qdq_uniform_choose, &uniform, NULL, NULL);
    assert_int_equal(status, QDQ_OK);
    end(&c);
}

static void assert_same_files(void) {
    static char x[1 << 16], y[1 << 16];
    FILE *a = fopen(one, "rb"), *b = fopen(several, "rb");
    assert_true(a && b);
    for (size_t n = sizeof x; n == sizeof x;) {
        n = fread(x, 1, sizeof x, a);
        assert_int_equal(fread(y, 1, sizeof y, b), n);
        assert_memory_equal(x, y, n);
    }
    fclose(a);
    fclose(b);
    unlink(one);
    unlink(several);
}

static void files(void **state) {
    for (int i = 0; i < 4; i++) {
        const char *format = i < 2 ? "q4_0" : "bf16";
        make(*state, "cpu", one, format, i % 2);
        make(*state, list, several, format, i % 2);
        assert_same_files();
    }
}

/* Weights that are codes are decoded where they are read: on the host, or on their way to a device. */
static void codes(void **state) {
    const world *w = *state;
    const char *const vias[] = {"f32", "f16", "bf16"};
    make(w, "cpu", packed, "q4_0", false);
    for (size_t i = 0; i < sizeof vias / sizeof *vias; i++) {
        world v = {.imatrix = w->imatrix};
        qdq_selection_options options = {.size = sizeof options, .imatrix = w->imatrix};
        qdq_decode_options decode = {.size = sizeof decode, .via = vias[i], .requantize = true};
        qdq_error_sums a[2][FORMATS] = {0}, b[2][FORMATS] = {0};
        qdq_sensitivity_sums x = {0}, y = {0};
        assert_int_equal(qdq_model_open(packed, &v.model), QDQ_OK);
        assert_int_equal(qdq_model_decode(v.model, &decode), QDQ_OK);
        assert_int_equal(qdq_selection_create(v.model, NULL, &v.plain), QDQ_OK);
        assert_int_equal(qdq_selection_create(v.model, &options, &v.weighted), QDQ_OK);
        assert_int_equal(qdq_gradients_open(slopes, v.plain, NULL, &v.gradients), QDQ_OK);
        measure(&v, "cpu", a, &x);
        measure(&v, list, b, &y);
        assert_true(a[0][1].err2 > 0 && x.squared > 0);
        assert_memory_equal(a, b, sizeof a);
        assert_memory_equal(&x, &y, sizeof x);
        make(&v, "cpu", one, "q4_0", true);
        make(&v, list, several, "q4_0", true);
        assert_same_files();
        qdq_gradients_close(v.gradients);
        qdq_selection_free(v.plain);
        qdq_selection_free(v.weighted);
        qdq_model_close(v.model);
    }
    unlink(packed);
}

static void lost(void **state) {
    const world *w = *state;
    if (strstr(list, "cuda") == NULL) skip();
    crew c = begin("cuda:1,cuda:1"); /* whoever takes the pieces */
    qdq_uniform uniform = {w->plain, qdq_format_by_name("q8_0")};
    setenv("FAKE_CUDA_LOST", "1:2", 1);
    qdq_status status = qdq_quantize_file(c.pass, w->plain, several, qdq_uniform_choose, &uniform, NULL, NULL);
    assert_int_equal(status, QDQ_DEVICE_ERROR);
    assert_non_null(strstr(qdq_error_message(), "cuda:1"));
    assert_int_not_equal(access(several, F_OK), 0);
    end(&c);
    unsetenv("FAKE_CUDA_LOST");
}

static qdq_status full(void *context, const void *data, uint64_t bytes) {
    (void)data;
    (void)bytes;
    *(int *)context += 1;
    return qdq_fail(QDQ_IO_ERROR, "full");
}

static bool stop(void *context, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    return --*(int *)context > 0;
}

/* A sink that fails, and a caller that wants no more, end it at once; then there is nothing to do but free it. */
static void ends_early(void **state) {
    const world *w = *state;
    crew c = begin(list);
    int calls = 0;
    qdq_status status = qdq_pass_quantize(c.pass, w->plain, 0, qdq_format_by_name("q4_0"), full, &calls);
    if (status == QDQ_OK) status = qdq_pass_flush(c.pass);
    assert_int_equal(status, QDQ_IO_ERROR);
    assert_string_equal(qdq_error_message(), "full");
    assert_int_equal(calls, 1);
    assert_int_not_equal(qdq_pass_quantize(c.pass, w->plain, 1, qdq_format_by_name("q4_0"), full, &calls), QDQ_OK);
    assert_int_equal(calls, 1);
    end(&c);
    c = begin(list);
    qdq_pass_free(c.pass);
    int left = 3;
    qdq_pass_options options = {.size = sizeof options, .progress = stop, .context = &left};
    assert_int_equal(qdq_pass_create(c.n, c.devices, &options, &c.pass), QDQ_OK);
    qdq_uniform uniform = {w->plain, qdq_format_by_name("q4_0")};
    assert_int_equal(qdq_quantize_file(c.pass, w->plain, several, qdq_uniform_choose, &uniform, NULL, NULL),
                     QDQ_CANCELLED);
    assert_int_not_equal(access(several, F_OK), 0);
    end(&c);
}

static void lists(void **state) {
    (void)state;
    qdq_device *devices[4];
    uint32_t n = 9;
    assert_int_equal(qdq_devices_open("cpu,cpu", 1, 4, devices, &n), QDQ_OK);
    assert_int_equal(n, 2);
    while (n > 0) qdq_device_close(devices[--n]);
    assert_int_equal(qdq_devices_open("cpu:all", 1, 4, devices, &n), QDQ_OK);
    assert_int_equal(n, 1);
    qdq_device_close(devices[0]);
    static const char *const wrong[] = {
        "", ",", "cpu,", ",cpu", "cpu,,cpu", "tpu", "cpu,tpu:all", ":all", "cpu:all:all", "cpu,cpu,cpu,cpu,cpu", "all"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_not_equal(qdq_devices_open(wrong[i], 1, 4, devices, &n), QDQ_OK);
        assert_int_equal(n, 0);
    }
}

static void count_cores(void *context) { *(int *)context = qdq_usable_cores(); }

/* Wherever a device is, or is not: what runs near it has processors, no more than we have, which are ours again then.
 */
static void near_devices(void **state) {
    static const char *const names[] = {"", "0000:00:00.0", "0000:00:01.0", "FFFF:FF:1F.7", "../../../../etc/passwd"};
    int before = qdq_usable_cores();
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int near_it = 0, all = 0;
        qdq_run_near(names[i], 1, count_cores, &near_it);
        assert_in_range(near_it, 1, before);
        qdq_run_near(names[i], before + 1, count_cores, &all); /* too few */
        assert_int_equal(all, before);
        assert_int_equal(qdq_usable_cores(), before);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists), cmocka_unit_test(near_devices), cmocka_unit_test(sums), cmocka_unit_test(files),
        cmocka_unit_test(codes), cmocka_unit_test(ends_early),   cmocka_unit_test(lost)};
    if (argc > 1) list = argv[1];
    return cmocka_run_group_tests(tests, open_world, close_world);
}
