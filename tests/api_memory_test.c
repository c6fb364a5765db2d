/* The API where memory ends: arrays of exactly the promised size, with a page behind them that nobody may touch, and
 * allocations of the library that fail, each once. The linker wraps what allocates (CMakeLists.txt). */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- Allocations ----------------------------------------------------------------------------------------------- */

static atomic_long live, calls, failing; /* not freed; since counting began; the number of the one that fails, or 0 */

static bool fails(void) { return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&failing); }
static void *counted(void *memory) {
    if (memory) atomic_fetch_add(&live, 1);
    return memory;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
int __real_posix_memalign(void **result, size_t alignment, size_t bytes);
void __real_free(void *memory);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
int __wrap_posix_memalign(void **result, size_t alignment, size_t bytes);
void __wrap_free(void *memory);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);

void *__wrap_malloc(size_t bytes) { return fails() ? NULL : counted(__real_malloc(bytes)); }
void *__wrap_calloc(size_t n, size_t bytes) { return fails() ? NULL : counted(__real_calloc(n, bytes)); }
void *__wrap_realloc(void *old, size_t bytes) {
    if (fails()) return NULL;
    void *memory = __real_realloc(old, bytes);
    return old ? memory : counted(memory);
}
int __wrap_posix_memalign(void **result, size_t alignment, size_t bytes) {
    if (fails()) return ENOMEM;
    int error = __real_posix_memalign(result, alignment, bytes);
    if (error == 0) counted(*result);
    return error;
}
void __wrap_free(void *memory) {
    if (memory) atomic_fetch_sub(&live, 1);
    __real_free(memory);
}
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

/* ---- A user's morning -------------------------------------------------------------------------------------------- */

enum { N = 3 * QDQ_TILE, ROW = 1024 };
static float x[N], y[N], weights[ROW];

static void count_release(void *context) { ++*(int *)context; }

typedef struct morning {
    qdq_device *device;
    qdq_encoder *encoders[2];
    qdq_buffer *in, *out, *half, *blocks, *importance, *view, *part;
    qdq_error_sums sums[3];
    qdq_error_totals totals[3];
    qdq_sensitivity_sums scores[3];
    int wrapped, released;
} morning;

/* Until something fails. */
static qdq_status work(morning *m) {
    qdq_format formats[3] = {qdq_format_by_name("q4_0"), qdq_format_by_name("q4_K"), qdq_format_by_name("iq3_s")};
    const qdq_format to[3] = {QDQ_FORMAT_SOURCE, qdq_format_by_name("q8_0"), formats[0]};
    const uint64_t n = N, row = ROW, bytes = qdq_format_bytes(formats[1], N);
    qdq_status s = QDQ_OK;
#define DO(call)                                                                                                       \
    if ((s = (call)) != QDQ_OK) return s;
    qdq_cpu_mask(1); /* the plain calls' device is opened anew */
    DO(qdq_roundtrip(formats[0], x, y, N))
    DO(qdq_error(formats[2], x, N, &m->sums[0]))
    DO(qdq_device_open_threads("cpu", 3, &m->device))
    DO(qdq_buffer_wrap_const(m->device, QDQ_F32, 1, &n, x, sizeof x, &m->in))
    DO(qdq_buffer_on_release(m->in, count_release, &m->released))
    m->wrapped++;
    DO(qdq_buffer_wrap(m->device, QDQ_F32, 1, &n, y, sizeof y, &m->out))
    DO(qdq_buffer_on_release(m->out, count_release, &m->released))
    m->wrapped++;
    DO(qdq_buffer_create(m->device, QDQ_BF16, 1, &n, &m->half))
    DO(qdq_buffer_create(m->device, QDQ_U8, 1, &bytes, &m->blocks))
    DO(qdq_buffer_create(m->device, QDQ_F32, 1, &row, &m->importance))
    DO(qdq_buffer_write(m->importance, 0, weights, sizeof weights))
    DO(qdq_buffer_slice(m->in, 0, ROW, &m->part))
    DO(qdq_buffer_rows(m->in, 0, 2, 256, ROW, &m->view))
    for (int e = 0; e < 2; e++) DO(qdq_encoder_create(m->device, &m->encoders[e]))
    for (int f = 0; f < 3; f++) DO(qdq_encode_roundtrip(m->encoders[0], formats[f], m->in, m->half, NULL))
    DO(qdq_encode_quantize(m->encoders[0], formats[1], m->in, m->blocks, NULL))
    DO(qdq_encode_dequantize(m->encoders[0], formats[1], m->blocks, m->out))
    DO(qdq_encoder_submit(m->encoders[0]))
    DO(qdq_device_synchronize(m->device))
    qdq_options o = {.size = sizeof o, .importance = m->importance, .row = ROW};
    DO(qdq_encode_error(m->encoders[0], 3, formats, m->in, m->sums, &o))
    DO(qdq_encode_errors(m->encoders[0], 3, formats, m->view, m->totals, NULL))
    DO(qdq_encode_sensitivities(m->encoders[1], 3, formats, to, m->in, m->in, m->scores, &o))
    DO(qdq_encode_quantize(m->encoders[1], formats[1], m->in, m->blocks, &o))
    DO(qdq_encoder_commit(m->encoders[0]))
    DO(qdq_encoder_commit(m->encoders[1]))
    DO(qdq_encoders_wait(2, m->encoders))
#undef DO
    return QDQ_OK;
}

static qdq_status spend(morning *m) {
    *m = (morning){.totals[0].size = sizeof m->totals[0]};
    qdq_status status = work(m);
    for (int e = 0; e < 2; e++) qdq_encoder_free(m->encoders[e]);
    qdq_buffer *const all[] = {m->in, m->out, m->half, m->blocks, m->importance, m->view, m->part};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) qdq_buffer_free(all[i]);
    qdq_device_close(m->device);
    atomic_store(&failing, 0);
    qdq_cpu_mask(~0u);
    return status;
}

/* Each fails once: an error that says so, nothing kept, and all is well the next time. */
static void each_allocation_fails_once(void **state) {
    (void)state;
    morning whole, m;
    float expected[N];
    for (int i = 0; i < N; i++) x[i] = (float)((i * 37) % 101 - 50) * 0.0625f;
    for (int i = 0; i < ROW; i++) weights[i] = (float)(1 + i % 3);
    /* Codebooks are made once and kept: first the failures before they are there. */
    for (long k = 1; k < 100; k++) {
        atomic_store(&calls, 0);
        atomic_store(&failing, k);
        if (spend(&m) == QDQ_OK) break;
        assert_non_null(strstr(qdq_error_message(), "memory"));
    }
    assert_ok(spend(&whole));
    memcpy(expected, y, sizeof y);
    assert_ok(qdq_roundtrip(0, x, y, N)); /* the plain calls' device stays */
    long before = atomic_load(&live), k = 1;
    for (; k < 1000; k++) {
        memset(y, 0, sizeof y);
        atomic_store(&calls, 0);
        atomic_store(&failing, k);
        qdq_status status = spend(&m);
        bool reached = atomic_load(&calls) >= k;
        if (status != QDQ_OK) {
            assert_int_equal(status, QDQ_OUT_OF_MEMORY);
            assert_non_null(strstr(qdq_error_message(), "memory"));
        }
        assert_int_equal(m.released, m.wrapped);
        assert_ok(qdq_roundtrip(0, x, y, N));
        if (atomic_load(&live) != before) fail_msg("allocation %ld: %ld kept", k, atomic_load(&live) - before);
        if (!reached) break;
        assert_int_not_equal(status, QDQ_OK); /* none is for nothing */
    }
    assert_true(k > 40 && k < 1000);
    assert_ok(spend(&m));
    assert_memory_equal(&m.sums, &whole.sums, sizeof m.sums);
    assert_memory_equal(&m.totals, &whole.totals, sizeof m.totals);
    assert_memory_equal(&m.scores, &whole.scores, sizeof m.scores);
    assert_memory_equal(y, expected, sizeof y);
}

/* ---- Proofs and timing ------------------------------------------------------------------------------------------- */

static qdq_status pack(void *context, qdq_format format, const float *from, uint64_t n, const float *importance,
                       uint64_t row, void *blocks) {
    (void)context;
    (void)importance;
    (void)row;
    return qdq_quantize(format, from, blocks, n);
}

static qdq_status unpack(void *context, qdq_format format, const void *blocks, uint64_t n, float *values) {
    (void)context;
    return qdq_dequantize(format, blocks, values, n);
}

static qdq_status prove_and_time(void) {
    qdq_format format = qdq_format_by_name("tq2_0");
    qdq_codec codec = {.size = sizeof codec, .quantize = pack, .dequantize = unpack};
    qdq_proof_options options = {
        .size = sizeof options, .codec = &codec, .formats = &format, .n_formats = 1, .threads = 1, .seconds = 0.0005};
    qdq_proof_report report = {.size = sizeof report};
    qdq_timing timings[2] = {{.size = sizeof timings[0], .operation = QDQ_OPERATION_QUANTIZE, .format = format},
                             {.size = sizeof timings[0], .operation = QDQ_OPERATION_ROUNDTRIP, .format = format}};
    qdq_timing_options wish = {
        .size = sizeof wish, .device = "cpu", .threads = 2, .elements = 2 * QDQ_TILE, .seconds = 0.0005};
    qdq_status status = qdq_prove(&options, &report);
    if (status == QDQ_OK && report.failed > 0) fail_msg("%d proofs have failed", (int)report.failed);
    return status == QDQ_OK ? qdq_time(&wish, 2, timings, NULL) : status;
}

static void proofs_run_out_of_memory(void **state) {
    (void)state;
    assert_ok(prove_and_time());
    long before = atomic_load(&live), k = 1;
    for (bool reached = true; reached; k++) {
        assert_true(k < 2000);
        atomic_store(&calls, 0);
        atomic_store(&failing, k);
        qdq_status status = prove_and_time();
        reached = atomic_load(&calls) >= k;
        atomic_store(&failing, 0);
        assert_int_equal(status, reached ? QDQ_OUT_OF_MEMORY : QDQ_OK);
        if (atomic_load(&live) != before) fail_msg("allocation %ld: %ld kept", k, atomic_load(&live) - before);
    }
    assert_true(k > 40);
}

/* ---- Ends ---------------------------------------------------------------------------------------------------------
 */

enum { PLACE = 1 << 16 }; /* a multiple of a page's size, and more than any array below */

/* `size` bytes right before a page that must not be touched. */
static void *before_a_wall(size_t size) {
    unsigned char *place = mmap(NULL, 2 * PLACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(place, MAP_FAILED);
    assert_true(size <= PLACE);
    assert_int_equal(mprotect(place, PLACE, PROT_READ | PROT_WRITE), 0);
    return place + PLACE - size;
}
static void take_down(void *array, size_t size) {
    assert_int_equal(munmap((unsigned char *)array + size - PLACE, 2 * PLACE), 0);
}

typedef struct walls {
    void *x, *g, *y, *blocks, *weights;
    size_t x_size, y_size, block_bytes, weight_bytes;
} walls;

/* Every operation from arrays that end at a wall; what it makes is what it makes where there is room. */
static void run_to_the_wall(qdq_device *device, qdq_format f, uint64_t n, qdq_dtype in, qdq_dtype out, bool weighted) {
    walls w = {.x_size = n * qdq_dtype_size(in),
               .y_size = n * qdq_dtype_size(out),
               .block_bytes = qdq_format_bytes(f, n),
               .weight_bytes = n * 4};
    w.x = before_a_wall(w.x_size);
    w.g = before_a_wall(w.x_size);
    w.y = before_a_wall(w.y_size);
    w.blocks = before_a_wall(w.block_bytes);
    w.weights = before_a_wall(w.weight_bytes);
    uint64_t seed = 17 + n;
    for (uint64_t i = 0; i < n; i++) {
        float v = random_float(&seed), weight = 1.0f + v * v;
        uint16_t half = in == QDQ_BF16 ? (uint16_t)(bits_of(v) >> 16) : (uint16_t)(0x3800 + next_random(&seed) % 0x400);
        memcpy((char *)w.x + i * qdq_dtype_size(in), in == QDQ_F32 ? (void *)&v : &half, qdq_dtype_size(in));
        memcpy((char *)w.weights + 4 * i, &weight, 4);
    }
    memcpy(w.g, w.x, w.x_size);
    qdq_buffer *x_in, *g_in, *y_out, *blocks, *weights_in, *room_blocks, *room_y;
    assert_ok(qdq_buffer_wrap_const(device, in, 1, &n, w.x, w.x_size, &x_in));
    assert_ok(qdq_buffer_wrap_const(device, in, 1, &n, w.g, w.x_size, &g_in));
    assert_ok(qdq_buffer_wrap(device, out, 1, &n, w.y, w.y_size, &y_out));
    assert_ok(qdq_buffer_wrap(device, QDQ_U8, 1, &w.block_bytes, w.blocks, w.block_bytes, &blocks));
    assert_ok(qdq_buffer_wrap_const(device, QDQ_F32, 1, &n, w.weights, w.weight_bytes, &weights_in));
    assert_ok(qdq_buffer_create(device, QDQ_U8, 1, &w.block_bytes, &room_blocks));
    assert_ok(qdq_buffer_create(device, out, 1, &n, &room_y));
    qdq_options o = {.size = sizeof o, .importance = weighted ? weights_in : NULL};
    qdq_encoder *encoder;
    qdq_error_sums sums = {0};
    qdq_sensitivity_sums scores = {0};
    assert_ok(qdq_encoder_create(device, &encoder));
    assert_ok(qdq_encode_quantize(encoder, f, x_in, blocks, &o));
    assert_ok(qdq_encode_quantize(encoder, f, x_in, room_blocks, &o));
    assert_ok(qdq_encode_error(encoder, 1, &f, x_in, &sums, &o));
    assert_ok(qdq_encode_sensitivity(encoder, f, QDQ_FORMAT_SOURCE, x_in, g_in, &scores, &o));
    assert_ok(qdq_encode_roundtrip(encoder, f, x_in, y_out, &o));
    assert_ok(qdq_encode_dequantize(encoder, f, blocks, room_y));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    assert_memory_equal(w.blocks, qdq_buffer_host(room_blocks), w.block_bytes);
    assert_memory_equal(w.y, qdq_buffer_host(room_y), w.y_size);
    memset(w.y, 0, w.y_size);
    assert_ok(qdq_encode_dequantize(encoder, f, blocks, y_out));
    assert_ok(qdq_encoder_commit_and_wait(encoder));
    assert_memory_equal(w.y, qdq_buffer_host(room_y), w.y_size);
    if (in == QDQ_F32 && out == QDQ_F32 && !weighted) {
        qdq_error_sums plain = {0};
        memset(w.blocks, 0, w.block_bytes);
        assert_ok(qdq_quantize(f, w.x, w.blocks, n));
        assert_memory_equal(w.blocks, qdq_buffer_host(room_blocks), w.block_bytes);
        assert_ok(qdq_dequantize(f, w.blocks, w.y, n));
        assert_ok(qdq_error(f, w.x, n, &plain));
        assert_memory_equal(&plain, &sums, sizeof plain);
        assert_ok(qdq_roundtrip(f, w.x, w.x, n));
        assert_memory_equal(w.x, w.y, w.y_size);
    }
    qdq_encoder_free(encoder);
    qdq_buffer *const all[] = {x_in, g_in, y_out, blocks, weights_in, room_blocks, room_y};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) qdq_buffer_free(all[i]);
    take_down(w.x, w.x_size);
    take_down(w.g, w.x_size);
    take_down(w.y, w.y_size);
    take_down(w.blocks, w.block_bytes);
    take_down(w.weights, w.weight_bytes);
}

static void arrays_end_where_they_should(void **state) {
    (void)state;
    qdq_device *device;
    assert_true(PLACE % sysconf(_SC_PAGESIZE) == 0);
    assert_ok(qdq_device_open("cpu", &device));
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_format_info info = {.size = sizeof info};
        assert_ok(qdq_format_describe(f, &info));
        const uint64_t block = info.block_elements,
                       lengths[] = {block, 2 * block, QDQ_TILE, QDQ_TILE + block, 2 * QDQ_TILE - block};
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            for (int weighted = 0; weighted < 2; weighted++) {
                if (weighted ? info.importance == QDQ_IMPORTANCE_UNUSED : info.importance == QDQ_IMPORTANCE_NEEDED)
                    continue;
                qdq_dtype in = (qdq_dtype)(i % 3), out = (qdq_dtype)((i / 2 + (size_t)f) % 3);
                run_to_the_wall(device, f, lengths[i], in, out, weighted);
                run_to_the_wall(device, f, lengths[i], QDQ_F32, QDQ_F32, weighted);
            }
    }
    qdq_device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_fails_once),
        cmocka_unit_test(proofs_run_out_of_memory),
        cmocka_unit_test(arrays_end_where_they_should),
    };
    return cmocka_run_group_tests_name("api memory", tests, NULL, NULL);
}
