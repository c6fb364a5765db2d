/* Kernels: a format's text is compiled when an operation first needs it, and kept while the device is open. (The system
 * keeps what it has compiled from one run to the next.) */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/metal/metal_device.h"
#include "backends/metal/metal_texts.h"
#include "base/codebook.h"
#include "base/error.h"
#include "base/format.h"
#include "dialect/metal_arithmetic.h"

enum {
    SIMDGROUP = 32,                  /* threads, on every Apple processor; the kernels count on it */
    SHARED_MOST = 32 << 10,          /* bytes of threadgroup memory, on each of them */
    ROWS_BYTES = 32 * 36 * 4,        /* tile.metal's, */
    JOINED_BYTES = 4 * SIMDGROUP * 4 /* and sums.metal's */
};

/* ---- Texts ---- */

/* A text that grows. A failed allocation leaves it NULL for good. */
typedef struct text {
    char *at;
    size_t used, room;
    bool failed;
} text;

static void add(text *t, const char *piece) {
    size_t n = strlen(piece);
    if (t->room - t->used <= n && !t->failed) {
        size_t room = 2 * (t->used + n) + 4096;
        char *bigger = realloc(t->at, room);
        t->failed = !bigger;
        if (bigger) t->at = bigger;
        if (bigger) t->room = room;
    }
    if (t->failed) return;
    memcpy(t->at + t->used, piece, n + 1);
    t->used += n;
}

__attribute__((format(printf, 2, 3))) static void add_line(text *t, const char *format, ...) {
    char line[128];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    add(t, line);
    add(t, "\n");
}

static int arithmetic(void) {
    const char *wanted = getenv("QDQ_METAL_ARITHMETIC"); /* for tests */
    if (wanted && strcmp(wanted, "device") == 0) return ARITHMETIC_OF_DEVICE;
    if (wanted && strcmp(wanted, "integers") == 0) return ARITHMETIC_OF_INTEGERS;
    return ARITHMETIC_CHECKED;
}

static text begin_text(void) {
    text t = {0};
    add_line(&t, "#define ARITHMETIC %d", arithmetic());
    return t;
}

/* The struct that formats are members of. */
static void begin_formats(text *t) {
    add(t, qdq_metal_tile_text);
    add_line(t, "\nstruct formats {\nLANE_STATE");
}
static void end_formats(text *t) { add_line(t, "\n};"); }

static text format_text(qdq_format format) {
    text t = begin_text();
    add_line(&t, "#define FORMAT %s", qdq_format_get(format)->name);
    begin_formats(&t);
    add(&t, qdq_metal_format_texts[format]);
    end_formats(&t);
    add(&t, qdq_metal_format_text);
    return t;
}

static text sums_text(void) {
    text t = begin_text();
    add(&t, "#define EACH_LIGHT_FORMAT(X)");
    for (qdq_format f = 0; f < qdq_block_format_count(); f++)
        if (qdq_format_get(f)->light) {
            char one[64];
            snprintf(one, sizeof one, " X(%s, %u)", qdq_format_get(f)->name, (unsigned)f);
            add(&t, one);
        }
    add(&t, "\n");
    begin_formats(&t);
    for (qdq_format f = 0; f < qdq_block_format_count(); f++)
        if (qdq_format_get(f)->light) add(&t, qdq_metal_format_texts[f]);
    end_formats(&t);
    add(&t, qdq_metal_sums_text);
    return t;
}

static text operations_text(void) {
    text t = begin_text();
    add(&t, qdq_metal_tile_text);
    add(&t, qdq_metal_operations_text);
    return t;
}

/* ---- Libraries and kernels ---- */

/* In safe mode, by the new way to ask for it or the old: a compiler left alone takes liberties. */
static objc_id make_options(const qdq_objc *objc) {
    objc_id options = qdq_objc_ask(objc, objc->class_named("MTLCompileOptions"), objc->selectors.new_object);
    if (qdq_objc_responds(objc, options, objc->selectors.set_math_mode)) {
        SEND(objc, void, (objc_id, objc_sel, long))(options, objc->selectors.set_math_mode, MTL_MATH_SAFE);
        SEND(objc, void, (objc_id, objc_sel, long))(options, objc->selectors.set_functions, MTL_FUNCTIONS_PRECISE);
    } else {
        SEND(objc, void, (objc_id, objc_sel, objc_bool))(options, objc->selectors.set_fast_math, false);
    }
    return options;
}

/* Frees the text. */
static qdq_status make_library(const qdq_metal_device *device, const char *name, text t, objc_id *library) {
    const qdq_objc *objc = device->objc;
    objc_id source = t.failed ? NULL : qdq_objc_string(objc, t.at), options = make_options(objc), error = NULL;
    free(t.at);
    if (!source || !options) {
        qdq_metal_release(device, options);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the Metal kernels of %s", name);
    }
    *library = SEND(objc, objc_id, (objc_id, objc_sel, objc_id, objc_id, objc_id *))(
        device->device, objc->selectors.library_of_source, source, options, &error);
    qdq_metal_release(device, options);
    if (*library) return QDQ_OK; /* an error may be there for a warning */
    return qdq_fail(QDQ_DEVICE_ERROR, "Metal does not compile the kernels of %s: %.800s", name,
                    qdq_objc_error_text(objc, error));
}

/* The function of that name; shared_bytes: a simdgroup's. */
static qdq_status make_kernel(const qdq_metal_device *device, objc_id library, const char *name, ns_uint shared_bytes,
                              qdq_metal_kernel *kernel) {
    const qdq_objc *objc = device->objc;
    objc_id error = NULL, string = qdq_objc_string(objc, name), state = NULL;
    objc_id function =
        SEND(objc, objc_id, (objc_id, objc_sel, objc_id))(library, objc->selectors.function_named, string);
    if (!function) return qdq_fail(QDQ_DEVICE_ERROR, "Metal's library has no %s", name);
    state = SEND(objc, objc_id, (objc_id, objc_sel, objc_id, objc_id *))(device->device, objc->selectors.pipeline_of,
                                                                         function, &error);
    qdq_metal_release(device, function);
    if (!state)
        return qdq_fail(QDQ_DEVICE_ERROR, "Metal does not build %s: %.800s", name, qdq_objc_error_text(objc, error));
    ns_uint width = qdq_objc_number(objc, state, objc->selectors.simdgroup_threads);
    ns_uint threads = qdq_objc_number(objc, state, objc->selectors.max_threads);
    ns_uint simdgroups = QDQ_METAL_SIMDGROUPS;
    if (simdgroups > threads / SIMDGROUP) simdgroups = threads / SIMDGROUP;
    if (shared_bytes > 0 && simdgroups > SHARED_MOST / shared_bytes) simdgroups = SHARED_MOST / shared_bytes;
    if (width != SIMDGROUP || simdgroups == 0) {
        qdq_metal_release(device, state);
        return qdq_fail(QDQ_UNSUPPORTED,
                        "Metal runs %s in simdgroups of %lu threads and threadgroups of %lu; %d are "
                        "needed, as Apple's processors have them",
                        name, width, threads, SIMDGROUP);
    }
    *kernel = (qdq_metal_kernel){state, shared_bytes, (uint32_t)simdgroups};
    return QDQ_OK;
}

static qdq_status make_words(const qdq_metal_device *device, const char *format, objc_id *buffer) {
    const uint32_t *words;
    size_t n;
    qdq_status status = qdq_format_words(format, &words, &n);
    if (status != QDQ_OK || !words) return status;
    status = qdq_metal_new_buffer(device, 4 * n, buffer);
    if (status == QDQ_OK) memcpy(qdq_objc_ask(device->objc, *buffer, device->objc->selectors.contents), words, 4 * n);
    return status;
}

static void unload_kernel(const qdq_metal_device *device, qdq_metal_kernel *kernel) {
    qdq_metal_release(device, kernel->state);
    kernel->state = NULL;
}

static void unload_format(const qdq_metal_device *device, qdq_metal_format_kernels *k) {
    for (int i = 0; i < 4; i++) unload_kernel(device, &k->quantizer[i / 2][i % 2]);
    unload_kernel(device, &k->dequantize);
    qdq_metal_release(device, k->words);
    qdq_metal_release(device, k->library);
    *k = (qdq_metal_format_kernels){0};
}

static qdq_status load_format(qdq_metal_device *device, qdq_format format) {
    qdq_metal_format_kernels *k = &device->formats[format];
    if (k->library) return QDQ_OK;
    const qdq_format_row *row = qdq_format_get(format);
    const struct {
        const char *name;
        qdq_metal_kernel *kernel;
        bool exists;
    } kernels[] = {{"roundtrip_kernel", &k->quantizer[0][0], row->importance < 2},
                   {"quantize_kernel", &k->quantizer[1][0], row->importance < 2},
                   {"weighted_roundtrip_kernel", &k->quantizer[0][1], row->importance > 0},
                   {"weighted_quantize_kernel", &k->quantizer[1][1], row->importance > 0},
                   {"dequantize_kernel", &k->dequantize, true}};
    ns_uint shared = SIMDGROUP * 4 * row->shared; /* what lanes show to each other takes the place of the tile's rows */
    if (shared < ROWS_BYTES) shared = ROWS_BYTES;
    shared += SIMDGROUP * 4 * row->heads;
    qdq_status status = make_library(device, row->name, format_text(format), &k->library);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0] && status == QDQ_OK; i++)
        if (kernels[i].exists) status = make_kernel(device, k->library, kernels[i].name, shared, kernels[i].kernel);
    if (status == QDQ_OK) status = make_words(device, row->name, &k->words);
    if (status != QDQ_OK) unload_format(device, k);
    return status;
}

static void unload_sums(qdq_metal_device *device) {
    for (int i = 0; i < 2; i++) unload_kernel(device, &device->error[i]);
    unload_kernel(device, &device->sensitivity);
    unload_kernel(device, &device->row_squares);
    qdq_metal_release(device, device->sums_library);
    device->sums_library = NULL;
}

static qdq_status load_sums(qdq_metal_device *device) {
    if (device->sums_library) return QDQ_OK;
    qdq_status status = make_library(device, "the sums", sums_text(), &device->sums_library);
    objc_id library = device->sums_library;
    const ns_uint one = ROWS_BYTES + JOINED_BYTES, two = 2 * ROWS_BYTES + JOINED_BYTES;
    if (status == QDQ_OK) status = make_kernel(device, library, "error_kernel", one, &device->error[0]);
    if (status == QDQ_OK) status = make_kernel(device, library, "weighted_error_kernel", one, &device->error[1]);
    if (status == QDQ_OK) status = make_kernel(device, library, "sensitivity_kernel", two, &device->sensitivity);
    if (status == QDQ_OK) status = make_kernel(device, library, "row_squares_kernel", 0, &device->row_squares);
    if (status != QDQ_OK) unload_sums(device);
    return status;
}

qdq_status qdq_metal_load_proof(qdq_metal_device *device) {
    if (device->dialect.state) return QDQ_OK;
    qdq_status status = QDQ_OK;
    if (!device->proof_library) status = make_library(device, "proofs", operations_text(), &device->proof_library);
    return status == QDQ_OK ? make_kernel(device, device->proof_library, "dialect_kernel", 0, &device->dialect)
                            : status;
}

qdq_status qdq_metal_load(qdq_metal_device *device, const qdq_step *step) {
    switch (step->kind) {
    case QDQ_STEP_ROW_SQUARES:
    case QDQ_STEP_ERROR:
    case QDQ_STEP_SENSITIVITY: return load_sums(device);
    case QDQ_STEP_ROUNDTRIP:
    case QDQ_STEP_QUANTIZE:
    case QDQ_STEP_DEQUANTIZE: break;
    }
    return load_format(device, qdq_step_format(step, 0));
}

void qdq_metal_unload(qdq_metal_device *device) {
    for (qdq_format f = 0; device->formats && f < qdq_format_count(); f++) unload_format(device, &device->formats[f]);
    unload_sums(device);
    unload_kernel(device, &device->dialect);
    qdq_metal_release(device, device->proof_library);
    free(device->formats);
}
