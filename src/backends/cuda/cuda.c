/* The CUDA backend: devices and memory. Modules, operations and copies have files of their own. */
#include <stdio.h>
#include <stdlib.h>

#include "backends/cuda/cuda_device.h"
#include "backends/quick_proof.h"
#include "base/error.h"

enum { OLDEST = 75 }; /* compute capability 7.5: what the PTX is for */

qdq_status qdq_cuda_enter(qdq_cuda_device *device) {
    CUresult error = device->cuda->context_push(device->context);
    return error == 0 ? QDQ_OK : qdq_cuda_fail(device->cuda, error, "the CUDA device's context");
}

void qdq_cuda_leave(qdq_cuda_device *device) {
    CUcontext context;
    device->cuda->context_pop(&context);
}

static const qdq_cuda_driver *usable_driver(const char **why) {
    if (qdq_cuda_has_images()) return qdq_cuda_get_driver(why);
    *why = "built without CUDA kernels: nvcc was not found; build again where CUDA's compiler is installed";
    return NULL;
}

static uint32_t count(void) {
    const char *why;
    const qdq_cuda_driver *cuda = usable_driver(&why);
    return cuda ? (uint32_t)cuda->devices : 0;
}

static int capability(const qdq_cuda_driver *cuda, CUdevice device) {
    int major = 0, minor = 0;
    cuda->device_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    cuda->device_attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    return 10 * major + minor;
}

static void describe(uint32_t index, qdq_device_info *info) {
    const char *why;
    const qdq_cuda_driver *cuda = usable_driver(&why);
    CUdevice device;
    if (!cuda || cuda->device_get(&device, (int)index) != 0) {
        snprintf(info->name, sizeof info->name, "cuda");
        snprintf(info->description, sizeof info->description, "%s", cuda ? "no such device" : why);
        info->available = 0;
        return;
    }
    char name[80] = "?";
    int processors = 0, version = capability(cuda, device);
    size_t memory = 0;
    cuda->device_name(name, sizeof name, device);
    cuda->device_memory(&memory, device);
    cuda->device_attribute(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
    snprintf(info->name, sizeof info->name, "cuda:%u", (unsigned)index);
    info->memory = memory;
    info->available = version >= OLDEST;
    if (info->available)
        snprintf(info->description, sizeof info->description, "%s, %d multiprocessors, compute capability %d.%d", name,
                 processors, version / 10, version % 10);
    else
        snprintf(info->description, sizeof info->description, "%s: compute capability %d.%d; %d.%d is needed", name,
                 version / 10, version % 10, OLDEST / 10, OLDEST % 10);
    snprintf(info->driver, sizeof info->driver, "CUDA driver %d.%d", cuda->version / 1000, cuda->version % 1000 / 10);
}

static bool recommended(uint32_t index) {
    qdq_device_info info = {.size = sizeof info};
    describe(index, &info);
    return info.available && qdq_backend_proved(&qdq_cuda_backend, index);
}

static void describe_open(const void *device, qdq_device_info *info) {
    describe((uint32_t)((const qdq_cuda_device *)device)->ordinal, info);
}

static void close_device(void *state) {
    qdq_cuda_device *device = state;
    const qdq_cuda_driver *cuda = device->cuda;
    if (device->context && qdq_cuda_enter(device) == QDQ_OK) {
        qdq_cuda_free_tickets(device);
        qdq_cuda_free_staging(device);
        qdq_cuda_free_scratch(device);
        qdq_cuda_unload(device);
        if (device->written) cuda->event_destroy(device->written);
        CUstream streams[] = {device->stream, device->in, device->out};
        for (int i = 0; i < 3; i++)
            if (device->own_streams && streams[i]) cuda->stream_destroy(streams[i]);
        qdq_cuda_leave(device);
    }
    if (device->own_context) cuda->context_release(device->ordinal);
    qdq_mutex_destroy(&device->mutex);
    free(device);
}

/* The caller's stream belongs to a context, which is taken as it is. The default stream, and streams of this backend's
 * own, are in the device's primary context, which CUDA's runtime uses too. */
static CUresult choose_context(qdq_cuda_device *device, CUstream stream) {
    const qdq_cuda_driver *cuda = device->cuda;
    if (stream) return cuda->stream_context(stream, &device->context);
    CUresult error = cuda->context_retain(&device->context, device->ordinal);
    device->own_context = error == 0;
    return error;
}

static CUresult make_streams(qdq_cuda_device *device) {
    const qdq_cuda_driver *cuda = device->cuda;
    device->own_streams = true;
    CUresult error = cuda->stream_create(&device->stream, CU_STREAM_NON_BLOCKING);
    if (error == 0) error = cuda->stream_create(&device->in, CU_STREAM_NON_BLOCKING);
    if (error == 0) error = cuda->stream_create(&device->out, CU_STREAM_NON_BLOCKING);
    if (error == 0) error = cuda->event_create(&device->written, CU_EVENT_DISABLE_TIMING);
    return error;
}

static qdq_status start(qdq_cuda_device *device, uint32_t index, bool given, CUstream stream) {
    const qdq_cuda_driver *cuda = device->cuda;
    qdq_device_info info = {.size = sizeof info};
    describe(index, &info);
    if (!info.available) return qdq_fail(QDQ_UNSUPPORTED, "device 'cuda:%u': %s", (unsigned)index, info.description);
    device->formats = calloc((size_t)qdq_format_count(), sizeof *device->formats);
    if (!device->formats) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    CUdevice actual;
    CUresult error = cuda->device_get(&device->ordinal, (int)index);
    if (error == 0) error = choose_context(device, stream);
    if (error == 0) error = cuda->context_push(device->context);
    if (error != 0) return qdq_cuda_fail(cuda, error, "the CUDA device's context");
    error = cuda->context_device(&actual);
    if (given)
        device->stream = device->in = device->out = stream;
    else if (error == 0)
        error = make_streams(device);
    qdq_cuda_leave(device);
    if (error != 0) return qdq_cuda_fail(cuda, error, "the CUDA device's streams");
    if (actual != device->ordinal)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "device 'cuda:%u': the stream belongs to device %d", (unsigned)index,
                        actual);
    return QDQ_OK;
}

static qdq_status open_with(uint32_t index, bool given, void *stream, void **state) {
    const char *why;
    const qdq_cuda_driver *cuda = usable_driver(&why);
    if (!cuda) return qdq_fail(QDQ_DEVICE_ERROR, "device 'cuda': %s", why);
    qdq_cuda_device *device = calloc(1, sizeof *device);
    if (!device) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    device->cuda = cuda;
    qdq_mutex_init(&device->mutex);
    qdq_status status = start(device, index, given, stream);
    if (status != QDQ_OK)
        close_device(device);
    else
        *state = device;
    return status;
}

static qdq_status open_device(uint32_t index, int threads, void **state) {
    (void)threads;
    return open_with(index, false, NULL, state);
}

static qdq_status open_stream(uint32_t index, void *stream, void **state) {
    return open_with(index, true, stream, state);
}

static qdq_status check_stream(void *state, void *stream) {
    const qdq_cuda_device *device = state;
    CUcontext context = device->context; /* the default stream's */
    CUresult error = stream ? device->cuda->stream_context(stream, &context) : 0;
    if (error != 0) return qdq_cuda_fail(device->cuda, error, "the stream's context");
    if (context == device->context) return QDQ_OK;
    return qdq_fail(QDQ_INVALID_ARGUMENT, "the stream belongs to another context than device 'cuda:%d'",
                    device->ordinal);
}

static qdq_status make_memory(CUdeviceptr address, bool owned, void **out) {
    qdq_cuda_memory *memory = calloc(1, sizeof *memory);
    if (!memory) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a buffer");
    memory->address = address;
    memory->owned = owned;
    *out = memory;
    return QDQ_OK;
}

static qdq_status alloc(void *state, uint64_t bytes, void **memory) {
    qdq_cuda_device *device = state;
    const qdq_cuda_driver *cuda = device->cuda;
    if (bytes > SIZE_MAX) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for %llu bytes", (unsigned long long)bytes);
    qdq_status status = qdq_cuda_enter(device);
    if (status != QDQ_OK) return status;
    CUdeviceptr address = 0;
    CUresult error = cuda->memory_alloc(&address, (size_t)bytes);
    if (error == 0) {
        error = cuda->fill(address, 0, (size_t)bytes, device->in);
        if (error == 0) error = cuda->stream_wait(device->in);
    }
    if (error != 0) {
        char what[96];
        size_t free_bytes = 0, total = 0;
        cuda->memory_info(&free_bytes, &total);
        snprintf(what, sizeof what, "a buffer of %llu bytes, %llu being free", (unsigned long long)bytes,
                 (unsigned long long)free_bytes);
        status = qdq_cuda_fail(cuda, error, what);
    } else {
        status = make_memory(address, true, memory);
    }
    if (status != QDQ_OK && address) cuda->memory_free(address);
    qdq_cuda_leave(device);
    return status;
}

static qdq_status wrap(void *state, void *pointer, uint64_t bytes, void **memory) {
    (void)bytes;
    qdq_cuda_device *device = state;
    CUdeviceptr address = (CUdeviceptr)(uintptr_t)pointer;
    qdq_status status = qdq_cuda_enter(device);
    if (status != QDQ_OK) return status;
    int ordinal;
    unsigned type = qdq_cuda_pointer_type(device->cuda, address, &ordinal);
    qdq_cuda_leave(device);
    if (type == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_wrap: %p is no memory of a CUDA device", pointer);
    if (type == CU_MEMORYTYPE_DEVICE && ordinal != device->ordinal)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_wrap: %p is memory of CUDA device %d, not of %d", pointer,
                        ordinal, device->ordinal);
    return make_memory(address, false, memory);
}

static void free_memory(void *state, void *memory) {
    qdq_cuda_device *device = state;
    qdq_cuda_memory *m = memory;
    if (m->owned && qdq_cuda_enter(device) == QDQ_OK) {
        device->cuda->stream_wait(device->in); /* a copy to it may be under way */
        device->cuda->memory_free(m->address);
        qdq_cuda_leave(device);
    }
    free(m);
}

static void *host(void *memory) {
    (void)memory;
    return NULL;
}

static uint64_t address(const void *memory) { return ((const qdq_cuda_memory *)memory)->address; }

const qdq_backend qdq_cuda_backend = {.name = "cuda",
                                      .count = count,
                                      .recommended = recommended,
                                      .describe = describe,
                                      .open = open_device,
                                      .close = close_device,
                                      .describe_open = describe_open,
                                      .alloc = alloc,
                                      .wrap = wrap,
                                      .free = free_memory,
                                      .host = host,
                                      .address = address,
                                      .write = qdq_cuda_write,
                                      .read = qdq_cuda_read,
                                      .fill = qdq_cuda_fill,
                                      .build = qdq_cuda_build,
                                      .submit = qdq_cuda_submit,
                                      .wait = qdq_cuda_wait,
                                      .is_done = qdq_cuda_is_done,
                                      .check_stream = check_stream,
                                      .open_stream = open_stream,
                                      .time_ops = qdq_cuda_time_ops,
                                      .time_copy = qdq_cuda_time_copy,
                                      .dialect = qdq_cuda_dialect};
