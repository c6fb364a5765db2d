/* Kernels: a format's module is loaded when an operation first needs it, and kept while the device is open. */
#include <stdio.h>
#include <stdlib.h>

#include "backends/cuda/cuda_device.h"
#include "base/error.h"
#include "base/format.h"
#include "base/codebook.h"

static qdq_status load_module(qdq_cuda_device *device, const char *name, const unsigned char *code, CUmodule *module) {
    char log[512] = "";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    CUresult error = device->cuda->module_load(module, code, 2, options, values);
    if (error == 0) return QDQ_OK;
    *module = NULL;
    char what[640];
    snprintf(what, sizeof what, "the CUDA kernels of %s cannot be loaded%s%s", name, log[0] ? ": " : "", log);
    return qdq_cuda_fail(device->cuda, error, what);
}

static qdq_status find(qdq_cuda_device *device, CUmodule module, const char *name, CUfunction *function) {
    CUresult error = device->cuda->module_function(function, module, name);
    return error == 0 ? QDQ_OK : qdq_cuda_fail(device->cuda, error, name);
}

/* Brings the format's table of words to the device, and its address to the module's variable. */
static qdq_status load_words(qdq_cuda_device *device, const char *format, qdq_cuda_format_kernels *k) {
    const qdq_cuda_driver *cuda = device->cuda;
    const uint32_t *words;
    size_t n, size;
    qdq_status status = qdq_format_words(format, &words, &n);
    if (status != QDQ_OK || !words) return status;
    char name[64];
    snprintf(name, sizeof name, "qdq_words_%s", format);
    CUdeviceptr variable;
    CUresult error = cuda->module_global(&variable, &size, k->module, name);
    if (error == 0 && !k->words) error = cuda->memory_alloc(&k->words, 4 * n);
    if (error == 0) error = cuda->copy_in(k->words, words, 4 * n, device->in);
    if (error == 0) error = cuda->copy_in(variable, &k->words, sizeof k->words, device->in);
    if (error == 0) error = cuda->stream_wait(device->in); /* any stream may use them from now on */
    return error == 0 ? QDQ_OK : qdq_cuda_fail(cuda, error, name);
}

static qdq_status load_format(qdq_cuda_device *device, qdq_format format) {
    qdq_cuda_format_kernels *k = &device->formats[format];
    if (k->loaded) return QDQ_OK;
    const qdq_format_row *row = qdq_format_get(format);
    const char *format_name = row->name;
    const struct {
        const char *prefix;
        CUfunction *function;
        bool exists;
    } kernels[] = {{"qdq", &k->quantizer[0][0], row->importance < 2},
                   {"quantize", &k->quantizer[1][0], row->importance < 2},
                   {"weighted_qdq", &k->quantizer[0][1], row->importance > 0},
                   {"weighted_quantize", &k->quantizer[1][1], row->importance > 0},
                   {"dequantize", &k->dequantize, true}};
    qdq_status status = QDQ_OK;
    if (!k->module) status = load_module(device, format_name, qdq_cuda_format_image(format)->code, &k->module);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0] && status == QDQ_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s", kernels[i].prefix, format_name);
        if (kernels[i].exists) status = find(device, k->module, name, kernels[i].function);
    }
    if (status == QDQ_OK) status = load_words(device, format_name, k);
    k->loaded = status == QDQ_OK;
    return status;
}

static qdq_status load_sums(qdq_cuda_device *device) {
    if (device->sensitivity) return QDQ_OK;
    qdq_status status = QDQ_OK;
    if (!device->sums_module) status = load_module(device, "the sums", qdq_cuda_sums_image(), &device->sums_module);
    if (status == QDQ_OK) status = find(device, device->sums_module, "qdq_error", &device->error);
    if (status == QDQ_OK) status = find(device, device->sums_module, "qdq_error_weighted", &device->error_weighted);
    if (status == QDQ_OK) status = find(device, device->sums_module, "qdq_row_squares", &device->row_squares);
    if (status == QDQ_OK) status = find(device, device->sums_module, "qdq_sensitivities", &device->sensitivities);
    if (status == QDQ_OK) status = find(device, device->sums_module, "qdq_sensitivity", &device->sensitivity);
    return status;
}

qdq_status qdq_cuda_load_proof(qdq_cuda_device *device) {
    if (device->dialect) return QDQ_OK;
    qdq_status status = QDQ_OK;
    if (!device->proof_module)
        status = load_module(device, "proofs", qdq_cuda_operations_image(), &device->proof_module);
    return status == QDQ_OK ? find(device, device->proof_module, "qdq_dialect", &device->dialect) : status;
}

qdq_status qdq_cuda_load(qdq_cuda_device *device, const qdq_step *step) {
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

void qdq_cuda_unload(qdq_cuda_device *device) {
    for (qdq_format f = 0; device->formats && f < qdq_format_count(); f++) {
        if (device->formats[f].module) device->cuda->module_unload(device->formats[f].module);
        if (device->formats[f].words) device->cuda->memory_free(device->formats[f].words);
    }
    if (device->sums_module) device->cuda->module_unload(device->sums_module);
    if (device->proof_module) device->cuda->module_unload(device->proof_module);
    free(device->formats);
}
