/* A CUDA driver that does everything on the CPU, at once, with the CPU's kernels: what the library's own code for CUDA
 * devices puts on streams is tested where there is no such device. Built as libcuda.so.1. Addresses are the host's;
 * what a kernel reads and writes must lie in memory that was asked for. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/cpu_kernels.h"
#include "backends/cuda/args.h"
#include "base/codebook.h"
#include "base/format.h"

#define EXPORT __attribute__((visibility("default")))

enum { GOOD = 0, INVALID = 1, NO_MEMORY = 2, NOT_FOUND = 500, BAD_ADDRESS = 700, LOST = 719 };

/* ---- Devices: as many as FAKE_CUDA_DEVICES says, or one; and FAKE_CUDA_LOST, "1:3", loses device 1 at its third
 * kernel. What lies on one device cannot be reached while another's context is current. ---- */

enum { MAX_DEVICES = 8 };
static int contexts[MAX_DEVICES]; /* a context is the place of its device here */
static _Thread_local int stack[16], depth;

static int device_count(void) {
    const char *text = getenv("FAKE_CUDA_DEVICES");
    int n = text ? atoi(text) : 1;
    return n > 0 && n <= MAX_DEVICES ? n : 1;
}

static int current(void) { return depth > 0 ? stack[depth - 1] : -1; }

static bool is_lost(bool launches) {
    static atomic_int kernels[MAX_DEVICES];
    const char *text = getenv("FAKE_CUDA_LOST");
    int device, after;
    if (!text || sscanf(text, "%d:%d", &device, &after) != 2 || device != current()) return false;
    return (launches ? atomic_fetch_add(&kernels[device], 1) + 1 : atomic_load(&kernels[device])) >= after;
}

/* ---- Memory ---- */

typedef struct region {
    unsigned char *bytes;
    size_t size;
    bool device;
    int ordinal; /* of the device that was current */
    struct region *next;
} region;
static region *regions;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static const region *find_region(uint64_t address, uint64_t bytes) {
    pthread_mutex_lock(&mutex);
    const region *r = regions;
    while (r && (address < (uintptr_t)r->bytes || address + bytes > (uintptr_t)r->bytes + r->size)) r = r->next;
    pthread_mutex_unlock(&mutex);
    return r;
}

/* What the current device can reach. */
static const region *region_of(uint64_t address, uint64_t bytes) {
    const region *r = find_region(address, bytes);
    return r && r->device && r->ordinal != current() ? NULL : r;
}

static int add_region(size_t size, bool device, unsigned char **bytes) {
    region *r = calloc(1, sizeof *r);
    if (!r || size == 0 || posix_memalign((void **)&r->bytes, 256, size) != 0) {
        free(r);
        return NO_MEMORY;
    }
    r->size = size;
    r->device = device;
    r->ordinal = current();
    *bytes = r->bytes;
    pthread_mutex_lock(&mutex);
    r->next = regions;
    regions = r;
    pthread_mutex_unlock(&mutex);
    return GOOD;
}

static int remove_region(const void *bytes) {
    pthread_mutex_lock(&mutex);
    region **at = &regions, *r;
    while (*at && (*at)->bytes != bytes) at = &(*at)->next;
    r = *at;
    if (r) *at = r->next;
    pthread_mutex_unlock(&mutex);
    if (!r) return INVALID;
    free(r->bytes);
    free(r);
    return GOOD;
}

/* Whether a kernel may touch it; sets what launch answers where not. */
static __thread int launch_error;
static void *touch(uint64_t address, uint64_t bytes) {
    if (bytes > 0 && !region_of(address, bytes)) launch_error = BAD_ADDRESS;
    return (void *)(uintptr_t)address;
}

/* ---- Kernels ---- */

typedef enum kernel_kind { ROUNDTRIP, QUANTIZE, DEQUANTIZE, ERROR, SENSITIVITY, ROW_SQUARES, DIALECT } kernel_kind;

typedef struct kernel {
    kernel_kind kind;
    qdq_format format;
    bool weighted;
} kernel;

/* Asked once: on a virtual machine the processor's answer takes microseconds. */
static const qdq_cpu_kernels *tier(void) {
    static const qdq_cpu_kernels *_Atomic best;
    if (!atomic_load(&best)) atomic_store(&best, qdq_cpu_best_tier(15));
    return atomic_load(&best);
}

static uint64_t tiles_of(uint64_t count) { return (count + QDQ_TILE - 1) / QDQ_TILE; }
static size_t tile_count(uint64_t count, uint64_t tile) {
    return count - tile * QDQ_TILE < QDQ_TILE ? (size_t)(count - tile * QDQ_TILE) : QDQ_TILE;
}

/* Where element e of an array is, and how many from there on, of n, lie side by side. */
static uint64_t place_of(const qdq_cuda_array *a, uint64_t e, size_t n, size_t *together) {
    uint64_t size = qdq_dtype_size((qdq_dtype)a->dtype);
    *together = n;
    if (a->pitch == 0) return a->address + e * size;
    uint64_t at = a->first + e, left = a->columns - at % a->columns;
    if (left < n) *together = (size_t)left;
    return a->address + (at / a->columns * a->pitch + at % a->columns) * size;
}

static void load(const qdq_cuda_array *a, uint64_t count, uint64_t tile, float *transposed) {
    float linear[QDQ_TILE];
    size_t size = qdq_dtype_size((qdq_dtype)a->dtype), n = tile_count(count, tile), together;
    for (size_t i = 0; i < n && !launch_error; i += together) {
        uint64_t at = place_of(a, tile * QDQ_TILE + i, n - i, &together);
        const void *from = touch(at, together * size);
        if (!launch_error) tier()->tile->widen((qdq_dtype)a->dtype, from, linear + i, together);
    }
    if (!launch_error) tier()->tile->transpose(linear, n, transposed);
}

static void store(const qdq_cuda_array *a, uint64_t count, uint64_t tile, const float *linear) {
    size_t size = qdq_dtype_size((qdq_dtype)a->dtype), n = tile_count(count, tile), together;
    for (size_t i = 0; i < n && !launch_error; i += together) {
        uint64_t at = place_of(a, tile * QDQ_TILE + i, n - i, &together);
        void *to = touch(at, together * size);
        if (launch_error) return;
        if (a->dtype == QDQ_F32)
            memcpy(to, linear + i, together * 4);
        else
            tier()->tile->narrow((qdq_dtype)a->dtype, linear + i, to, together);
    }
}

static void load_given(uint64_t address, uint64_t count, uint64_t tile, float *transposed) {
    load(&(qdq_cuda_array){.address = address, .dtype = QDQ_F32}, count, tile, transposed);
}

static void load_weights(const qdq_cuda_columns *c, uint64_t count, uint64_t tile, float *transposed, float *row_sums) {
    float linear[QDQ_TILE];
    size_t n = tile_count(count, tile);
    const float *columns = touch(c->address, c->row * 4);
    if (launch_error) return;
    for (size_t i = 0; i < n; i++) linear[i] = columns[(c->first + tile * QDQ_TILE + i) % c->row];
    tier()->tile->transpose(linear, n, transposed);
    for (size_t l = 0; l < QDQ_TILE_LANES; l++) {
        uint64_t row = (c->first + tile * QDQ_TILE + 32 * l) / c->row;
        row_sums[l] = 0.0f;
        if (!c->sums || 32 * l >= n) continue;
        const float *sum = touch(c->sums + 4 * row, 4);
        if (!launch_error) row_sums[l] = *sum;
    }
}

static void requantize(qdq_format format, const float *x, float *y) { tier()->formats[format].lanes->roundtrip(x, y); }

static void run_array(const kernel *k, const qdq_cuda_format_args *a) {
    const qdq_format_row *row = qdq_format_get(k->format);
    const qdq_cpu_format_kernels *f = &tier()->formats[k->format];
    for (uint64_t t = 0; t < tiles_of(a->count) && !launch_error; t++) {
        _Alignas(64) float x[QDQ_TILE], m[QDQ_TILE], row_sums[QDQ_TILE_LANES], linear[QDQ_TILE];
        _Alignas(64) uint32_t heads[QDQ_MAX_HEADS * QDQ_TILE_LANES];
        size_t n = tile_count(a->count, t), blocks = n / row->block_elements, bytes = blocks * row->block_bytes;
        uint64_t first_block = t * QDQ_TILE / row->block_elements * row->block_bytes;
        if (k->kind == DEQUANTIZE) {
            const uint8_t *from = touch(a->input.address + first_block, bytes);
            int8_t codes[QDQ_TILE];
            if (launch_error) return;
            f->bytes->codes(from, codes, blocks);
            f->lanes->decode(from, codes, linear, blocks);
            store(&a->output, a->count, t, linear);
            continue;
        }
        load(&a->input, a->count, t, x);
        if (k->weighted) load_weights(&a->importance, a->count, t, m, row_sums);
        void *to = k->kind == QUANTIZE ? touch(a->output.address + first_block, bytes) : NULL;
        if (launch_error) return;
        if (k->kind == ROUNDTRIP) {
            if (k->weighted)
                f->lanes->weighted_roundtrip(x, m, row_sums, x);
            else
                f->lanes->roundtrip(x, x);
            tier()->tile->restore(x, linear, QDQ_TILE);
            store(&a->output, a->count, t, linear);
            continue;
        }
        if (k->weighted)
            f->lanes->weighted_encode(x, m, row_sums, x, heads);
        else
            f->lanes->encode(x, x, heads);
        uint8_t codes[QDQ_TILE];
        tier()->tile->restore(x, linear, QDQ_TILE);
        for (int i = 0; i < QDQ_TILE; i++) codes[i] = (uint8_t)(int)linear[i];
        f->bytes->pack(codes, heads, to, blocks);
    }
}

static void run_error(const kernel *k, const qdq_cuda_error_args *a) {
    qdq_tile_error *sums = touch(a->sums, a->n_formats * tiles_of(a->count) * sizeof *sums);
    for (uint64_t t = 0; t < tiles_of(a->count) && !launch_error; t++) {
        _Alignas(64) float x[QDQ_TILE], q[QDQ_TILE], m[QDQ_TILE], row_sums[QDQ_TILE_LANES];
        load(&a->input, a->count, t, x);
        if (k->weighted) load_weights(&a->importance, a->count, t, m, row_sums);
        for (uint32_t f = 0; f < a->n_formats && !launch_error; f++) {
            if (a->format[f] == QDQ_CUDA_GIVEN)
                load_given(a->given, a->count, t, q);
            else if (qdq_format_get(a->format[f])->light)
                requantize(a->format[f], x, q);
            else
                launch_error = INVALID;
            if (!launch_error) sums[f * tiles_of(a->count) + t] = tier()->tile->error(x, q, k->weighted ? m : NULL);
        }
    }
}

static void run_sensitivity(const qdq_cuda_sensitivity_args *a) {
    uint64_t tiles = tiles_of(a->count);
    qdq_tile_sensitivity *sums = touch(a->sums, a->n_pairs * tiles * sizeof *sums);
    for (uint64_t t = 0; t < tiles && !launch_error; t++) {
        _Alignas(64) float x[QDQ_TILE], g[QDQ_TILE], q[2][QDQ_TILE];
        load(&a->input, a->count, t, x);
        load(&a->gradient, a->count, t, g);
        for (uint32_t p = 0; p < a->n_pairs && !launch_error; p++) {
            for (int i = 0; i < 2 && !launch_error; i++) {
                uint8_t format = a->format[p][i];
                if (format == QDQ_CUDA_GIVEN)
                    load_given(a->given[i], a->count, t, q[i]);
                else if (format == QDQ_CUDA_UNCHANGED)
                    memcpy(q[i], x, sizeof x);
                else if (qdq_format_get(format)->light)
                    requantize(format, x, q[i]);
                else
                    launch_error = INVALID;
            }
            if (!launch_error) sums[p * tiles + t] = tier()->tile->sensitivity(q[0], q[1], g);
        }
    }
}

static void run_rows(const qdq_cuda_rows_args *a) {
    size_t size = qdq_dtype_size((qdq_dtype)a->input.dtype);
    const unsigned char *from = touch(a->input.address, ((a->rows - 1) * a->pitch + a->row) * size);
    float *sums = touch(a->sums, a->rows * 4);
    for (uint64_t r = 0; r < a->rows && !launch_error; r++) {
        float sum = 0.0f;
        for (uint64_t i = 0; i < a->row; i++) {
            float x;
            tier()->tile->widen((qdq_dtype)a->input.dtype, from + (r * a->pitch + i) * size, &x, 1);
            sum += x * x;
        }
        sums[r] = sum / (float)a->row;
    }
}

EXPORT int cuLaunchKernel(const kernel *k, unsigned grid, unsigned y, unsigned z, unsigned threads, unsigned ty,
                          unsigned tz, unsigned shared, void *stream, void **parameters, void **extra) {
    (void)y, (void)z, (void)ty, (void)tz, (void)shared, (void)stream, (void)extra;
    void *args = parameters[0];
    uint64_t count = 0;
    if (is_lost(true)) return LOST;
    launch_error = GOOD;
    switch (k->kind) {
    case ROUNDTRIP:
    case QUANTIZE:
    case DEQUANTIZE:
        count = ((qdq_cuda_format_args *)args)->count;
        run_array(k, args);
        break;
    case ERROR:
        count = ((qdq_cuda_error_args *)args)->count;
        run_error(k, args);
        break;
    case SENSITIVITY:
        count = ((qdq_cuda_sensitivity_args *)args)->count;
        run_sensitivity(args);
        break;
    case ROW_SQUARES:
        count = ((qdq_cuda_rows_args *)args)->rows * 32; /* a warp 32 rows */
        run_rows(args);
        break;
    case DIALECT: {
        const qdq_cuda_dialect_args *a = args;
        const uint32_t *left = touch(a->a, 4 * a->count), *right = touch(a->b, 4 * a->count);
        uint32_t *out = touch(a->out, 4 * a->count);
        if (!launch_error)
            tier()->tile->dialect((qdq_dialect_operation)a->operation, left, right, out, (size_t)a->count);
        return launch_error;
    }
    }
    uint64_t per_block = (uint64_t)QDQ_CUDA_WARPS * QDQ_TILE;
    if (threads != 32 * QDQ_CUDA_WARPS || grid != (count + per_block - 1) / per_block) return INVALID;
    return launch_error;
}

EXPORT int cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *options, void **values) {
    (void)n, (void)options, (void)values;
    *module = (void *)(uintptr_t)image;
    return GOOD;
}
EXPORT int cuModuleUnload(void *module) { return module ? GOOD : INVALID; }

EXPORT int cuModuleGetFunction(kernel **function, void *module, const char *name) {
    static const struct {
        const char *prefix;
        kernel kernel;
    } of_formats[] = {{"weighted_qdq_", {ROUNDTRIP, 0, true}},
                      {"weighted_quantize_", {QUANTIZE, 0, true}},
                      {"dequantize_", {DEQUANTIZE, 0, false}},
                      {"quantize_", {QUANTIZE, 0, false}},
                      {"qdq_", {ROUNDTRIP, 0, false}}};
    static kernel others[] = {{ERROR, 0, false},       {ERROR, 0, true},        {SENSITIVITY, 0, false},
                              {SENSITIVITY, 0, false}, {ROW_SQUARES, 0, false}, {DIALECT, 0, false}};
    static const char *const other_names[] = {"qdq_error",         "qdq_error_weighted", "qdq_sensitivity",
                                              "qdq_sensitivities", "qdq_row_squares",    "qdq_dialect"};
    static kernel made[5][64];
    if (!module) return INVALID;
    for (size_t i = 0; i < 6; i++)
        if (strcmp(name, other_names[i]) == 0) {
            *function = &others[i];
            return GOOD;
        }
    for (size_t i = 0; i < 5; i++) {
        size_t length = strlen(of_formats[i].prefix);
        qdq_format format = qdq_format_by_name(name + length);
        if (strncmp(name, of_formats[i].prefix, length) != 0 || format == QDQ_FORMAT_NONE) continue;
        uint32_t importance = qdq_format_get(format)->importance;
        if (of_formats[i].kernel.weighted ? importance == 0 : importance == 2 && i != 2) return NOT_FOUND;
        const uint32_t *words;
        size_t n;
        if (qdq_format_words(qdq_format_get(format)->name, &words, &n) != QDQ_OK) return NO_MEMORY;
        kernel *k = &made[i][format];
        *k = of_formats[i].kernel;
        k->format = format;
        *function = k;
        return GOOD;
    }
    return NOT_FOUND;
}

EXPORT int cuModuleGetGlobal_v2(uint64_t *address, size_t *bytes, void *module, const char *name) {
    static unsigned char *variable; /* of all modules: nobody reads it here */
    (void)module, (void)name;
    if (!variable && add_region(8, true, &variable) != GOOD) return NO_MEMORY;
    *address = (uintptr_t)variable;
    *bytes = 8;
    return GOOD;
}

/* ---- The rest: everything is done when it is asked for ---- */

EXPORT int cuInit(unsigned flags) { return flags == 0 ? GOOD : INVALID; }
EXPORT int cuDriverGetVersion(int *version) { return *version = 13000, GOOD; }
EXPORT int cuGetErrorName(int error, const char **name) {
    *name = error == NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_THE_FAKE";
    return GOOD;
}
EXPORT int cuGetErrorString(int error, const char **text) {
    static __thread char number[32];
    snprintf(number, sizeof number, "error %d", error);
    *text = number;
    return GOOD;
}
EXPORT int cuDeviceGetCount(int *count) { return *count = device_count(), GOOD; }
EXPORT int cuDeviceGet(int *device, int ordinal) {
    return *device = ordinal, ordinal < device_count() ? GOOD : INVALID;
}
EXPORT int cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    snprintf(name, (size_t)size, "fake");
    return GOOD;
}
EXPORT int cuDeviceGetPCIBusId(char *name, int size, int device) {
    snprintf(name, (size_t)size, "0000:%02X:00.0", (unsigned)device);
    return GOOD;
}
EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device) { return (void)device, *bytes = (size_t)1 << 30, GOOD; }
EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 1;
    return GOOD;
}
EXPORT int cuDevicePrimaryCtxRetain(void **out, int device) { return *out = &contexts[device], GOOD; }
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) { return (void)device, GOOD; }
EXPORT int cuCtxPushCurrent_v2(void *of) {
    if (!of || depth == sizeof stack / sizeof *stack) return INVALID;
    stack[depth++] = (int)((int *)of - contexts);
    return GOOD;
}
EXPORT int cuCtxPopCurrent_v2(void **out) {
    if (depth == 0) return INVALID;
    *out = &contexts[stack[--depth]];
    return GOOD;
}
EXPORT int cuCtxGetDevice(int *device) { return *device = current(), depth > 0 ? GOOD : INVALID; }
EXPORT int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    unsigned char *memory = NULL;
    int error = bytes > (size_t)1 << 30 ? NO_MEMORY : add_region(bytes, true, &memory);
    if (error == GOOD) memset(memory, 0xa5, bytes);
    *address = (uintptr_t)memory;
    return error;
}
EXPORT int cuMemFree_v2(uint64_t address) { return remove_region((const void *)(uintptr_t)address); }
EXPORT int cuMemGetInfo_v2(size_t *unused, size_t *total) { return *unused = *total = (size_t)1 << 30, GOOD; }
EXPORT int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    unsigned char *made = NULL;
    int error = flags == 0 ? add_region(bytes, false, &made) : INVALID;
    *memory = made;
    return error;
}
EXPORT int cuMemFreeHost(void *memory) { return remove_region(memory); }
EXPORT int cuPointerGetAttributes(unsigned n, int *attributes, void **values, uint64_t address) {
    const region *r = find_region(address, 1);
    if (n != 2 || !r) return INVALID;
    (void)attributes;
    *(unsigned *)values[0] = r->device ? 2 : 1;
    *(int *)values[1] = r->ordinal;
    return GOOD;
}
EXPORT int cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, void *stream) {
    (void)stream;
    if (!region_of(address, bytes)) return BAD_ADDRESS;
    memset((void *)(uintptr_t)address, value, bytes);
    return GOOD;
}
EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    if (!region_of(to, bytes)) return BAD_ADDRESS;
    memcpy((void *)(uintptr_t)to, from, bytes);
    return GOOD;
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    (void)stream;
    if (!region_of(from, bytes)) return BAD_ADDRESS;
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return GOOD;
}
EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    (void)stream;
    if (!region_of(to, bytes) || !region_of(from, bytes)) return BAD_ADDRESS;
    memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
    return GOOD;
}
EXPORT int cuStreamCreate(void **stream, unsigned flags) { return (void)flags, *stream = malloc(1), GOOD; }
EXPORT int cuStreamDestroy_v2(void *stream) { return free(stream), GOOD; }
EXPORT int cuStreamSynchronize(void *stream) { return (void)stream, is_lost(false) ? LOST : GOOD; }
EXPORT int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    (void)stream, (void)flags;
    return event ? GOOD : INVALID;
}
EXPORT int cuStreamGetCtx(void *stream, void **out) {
    return (void)stream, *out = &contexts[current() < 0 ? 0 : current()], GOOD;
}
EXPORT int cuEventCreate(void **event, unsigned flags) { return (void)flags, *event = malloc(1), GOOD; }
EXPORT int cuEventDestroy_v2(void *event) { return free(event), GOOD; }
EXPORT int cuEventRecord(void *event, void *stream) { return (void)stream, event ? GOOD : INVALID; }
EXPORT int cuEventQuery(void *event) { return event ? GOOD : INVALID; }
EXPORT int cuEventSynchronize(void *event) { return event ? GOOD : INVALID; }
EXPORT int cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    *milliseconds = 1.0f;
    return start && end ? GOOD : INVALID;
}
