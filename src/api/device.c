#include "api/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* In the order in which "auto" tries them. */
static const qdq_backend *const backends[] = {
#ifdef QDQ_HAVE_CUDA
    &qdq_cuda_backend,
#endif
#ifdef QDQ_HAVE_VULKAN
    &qdq_vulkan_backend,
#endif
    &qdq_cpu_backend,
};
enum { N_BACKENDS = sizeof backends / sizeof backends[0] };

/* How a device is to be opened. */
typedef struct manner {
    int threads;
    bool on_stream;
    void *stream;
} manner;

static qdq_status open_on(const qdq_backend *backend, uint32_t index, const manner *how, qdq_device **out) {
    if (how->on_stream && !backend->open_stream)
        return qdq_fail(QDQ_UNSUPPORTED, "device '%s' has no streams that a caller can own", backend->name);
    qdq_device *device = calloc(1, sizeof *device);
    if (!device) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    qdq_status status = how->on_stream ? backend->open_stream(index, how->stream, &device->state)
                                       : backend->open(index, how->threads, &device->state);
    if (status != QDQ_OK) {
        free(device);
        return status;
    }
    device->backend = backend;
    device->index = index;
    atomic_init(&device->references, 1);
    *out = device;
    return QDQ_OK;
}

static qdq_status open_auto(const manner *how, qdq_device **device) {
    qdq_status status = QDQ_DEVICE_ERROR;
    for (int b = 0; b < N_BACKENDS; b++)
        for (uint32_t i = 0; i < backends[b]->count(); i++) {
            if (backends[b]->recommended && !backends[b]->recommended(i)) continue;
            status = open_on(backends[b], i, how, device);
            if (status == QDQ_OK) return QDQ_OK;
        }
    return status;
}

static qdq_status open_named(const char *name, const manner *how, qdq_device **device) {
    if (!device) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_open: no place for the device");
    *device = NULL;
    if (!name || strcmp(name, "auto") == 0) return open_auto(how, device);
    size_t length = strcspn(name, ":");
    for (int b = 0; b < N_BACKENDS; b++) {
        if (strlen(backends[b]->name) != length || strncmp(backends[b]->name, name, length) != 0) continue;
        uint64_t index = 0;
        if (name[length] == ':') {
            char *end;
            index = strtoull(name + length + 1, &end, 10);
            if (end == name + length + 1 || *end != '\0' || name[length + 1] == '-' || name[length + 1] == '+')
                return qdq_fail(QDQ_INVALID_ARGUMENT, "device '%s': a number must follow the colon", name);
        }
        uint32_t count = backends[b]->count();
        if (index >= count) {
            if (count > 0)
                return qdq_fail(QDQ_DEVICE_ERROR, "device '%s': this machine has %u of them, numbered from 0", name,
                                (unsigned)count);
            qdq_device_info info = {.size = sizeof info};
            backends[b]->describe(0, &info);
            return qdq_fail(QDQ_DEVICE_ERROR, "device '%s': %s", name, info.description);
        }
        return open_on(backends[b], (uint32_t)index, how, device);
    }
    char known[128] = "auto";
    for (int b = N_BACKENDS - 1; b >= 0; b--) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, ", %s", backends[b]->name);
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "no device is called '%.64s'; there are: %s", name, known);
}

qdq_status qdq_device_open_threads(const char *name, int threads, qdq_device **device) {
    return open_named(name, &(manner){.threads = threads}, device);
}

qdq_status qdq_device_open(const char *name, qdq_device **device) { return qdq_device_open_threads(name, 0, device); }

qdq_status qdq_device_open_stream(const char *name, void *stream, qdq_device **device) {
    return open_named(name, &(manner){.on_stream = true, .stream = stream}, device);
}

void qdq_device_retain(qdq_device *device) { atomic_fetch_add(&device->references, 1); }

void qdq_device_close(qdq_device *device) {
    if (!device || atomic_fetch_sub(&device->references, 1) != 1) return;
    device->backend->close(device->state);
    free(device);
}

static void copy_info(qdq_device_info *to, qdq_device_info *full) {
    size_t size = to->size;
    full->size = size;
    memcpy(to, full, size < sizeof *full ? size : sizeof *full);
}

qdq_status qdq_device_describe(const qdq_device *device, qdq_device_info *info) {
    if (!device || !info || info->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_describe: a NULL, or info->size is not set");
    qdq_device_info full = {0};
    device->backend->describe_open(device->state, &full);
    copy_info(info, &full);
    return QDQ_OK;
}

qdq_status qdq_device_list(uint32_t index, qdq_device_info *info) {
    if (!info || info->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_list: info->size is not set");
    for (int b = 0; b < N_BACKENDS; b++) {
        uint32_t count = backends[b]->count(), rows = count ? count : 1;
        if (index < rows) {
            qdq_device_info full = {0};
            backends[b]->describe(index, &full);
            copy_info(info, &full);
            return QDQ_OK;
        }
        index -= rows;
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "no device has that number");
}
