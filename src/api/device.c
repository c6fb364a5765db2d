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
#ifdef QDQ_HAVE_METAL
    &qdq_metal_backend,
#endif
#ifdef QDQ_HAVE_VULKAN
    &qdq_vulkan_backend,
#endif
    &qdq_cpu_backend,
};
enum { N_BACKENDS = sizeof backends / sizeof backends[0] };

static bool is_earlier(const qdq_device_options *how) {
    return how->reference && strcmp(how->reference, QDQ_REFERENCE_EARLIER) == 0;
}

static qdq_status open_on(const qdq_backend *backend, uint32_t index, const qdq_device_options *how, qdq_device **out) {
    if (how->on_stream && !backend->open_stream)
        return qdq_fail(QDQ_UNSUPPORTED, "device '%s' has no streams that a caller can own", backend->name);
    if (is_earlier(how) && !backend->search_as_earlier)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "device '%s' chooses codes as the reference of %s does; as that of %s the CPU alone does",
                        backend->name, QDQ_REFERENCE, QDQ_REFERENCE_EARLIER);
    qdq_device *device = calloc(1, sizeof *device);
    if (!device) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    qdq_status status = how->on_stream ? backend->open_stream(index, how->stream, &device->state)
                                       : backend->open(index, how->threads, &device->state);
    if (status == QDQ_OK && is_earlier(how)) {
        status = backend->search_as_earlier(device->state);
        if (status != QDQ_OK) backend->close(device->state);
    }
    if (status != QDQ_OK) {
        free(device);
        return status;
    }
    device->earlier = is_earlier(how);
    qdq_mutex_init(&device->waiting);
    qdq_mutex_init(&device->mutex);
    device->backend = backend;
    device->index = index;
    atomic_init(&device->references, 1);
    *out = device;
    return QDQ_OK;
}

static qdq_status open_auto(const qdq_device_options *how, qdq_device **device) {
    qdq_status status = QDQ_DEVICE_ERROR;
    for (int b = 0; b < N_BACKENDS; b++)
        for (uint32_t i = 0; i < backends[b]->count(); i++) {
            if (backends[b]->recommended && !backends[b]->recommended(i)) continue;
            if (is_earlier(how) && !backends[b]->search_as_earlier) continue;
            status = open_on(backends[b], i, how, device);
            if (status == QDQ_OK) return QDQ_OK;
        }
    return status;
}

static qdq_status open_named(const char *name, const qdq_device_options *how, qdq_device **device) {
    if (!device) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_open: no place for the device");
    *device = NULL;
    if (how->reference && !is_earlier(how) && strcmp(how->reference, QDQ_REFERENCE) != 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "the reference's revisions are %s and %s, not '%.40s'",
                        QDQ_REFERENCE_EARLIER, QDQ_REFERENCE, how->reference);
    if (!name || strcmp(name, "auto") == 0) return open_auto(how, device);
    size_t length = strcspn(name, ":");
    for (int b = 0; b < N_BACKENDS; b++) {
        if (strlen(backends[b]->name) != length || strncmp(backends[b]->name, name, length) != 0) continue;
        uint64_t index = 0;
        if (name[length] == ':') {
            const char *digits = name + length + 1;
            index = strtoull(digits, NULL, 10); /* the greatest there is, where it is too large */
            if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0')
                return qdq_fail(QDQ_INVALID_ARGUMENT, "device '%.64s': a number must follow the colon", name);
        }
        uint32_t count = backends[b]->count();
        if (index >= count) {
            if (count > 0)
                return qdq_fail(QDQ_DEVICE_ERROR, "device '%.64s': this machine has %u of them, numbered from 0", name,
                                (unsigned)count);
            qdq_device_info info = {.size = sizeof info};
            backends[b]->describe(0, &info);
            return qdq_fail(QDQ_DEVICE_ERROR, "device '%.64s': %s", name, info.description);
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

qdq_status qdq_device_open_with(const char *name, const qdq_device_options *options, qdq_device **device) {
    qdq_device_options how = {0};
    if (device) *device = NULL;
    if (options && options->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_open_with: options->size is not set");
    if (options) memcpy(&how, options, options->size < sizeof how ? options->size : sizeof how);
    return open_named(name, &how, device);
}

qdq_status qdq_device_open_threads(const char *name, int threads, qdq_device **device) {
    return open_named(name, &(qdq_device_options){.threads = threads}, device);
}

qdq_status qdq_device_open(const char *name, qdq_device **device) { return qdq_device_open_threads(name, 0, device); }

qdq_status qdq_device_open_stream(const char *name, void *stream, qdq_device **device) {
    return open_named(name, &(qdq_device_options){.on_stream = 1, .stream = stream}, device);
}

void qdq_device_retain(qdq_device *device) { atomic_fetch_add(&device->references, 1); }

void qdq_device_release(qdq_device *device) {
    if (atomic_fetch_sub(&device->references, 1) != 1) return;
    device->backend->close(device->state);
    qdq_mutex_destroy(&device->waiting);
    qdq_mutex_destroy(&device->mutex);
    free(device);
}

void qdq_device_close(qdq_device *device) {
    if (!device) return;
    atomic_store(&device->closed, true);
    qdq_device_synchronize(device);
    qdq_device_release(device);
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
    snprintf(full.reference, sizeof full.reference, "%s", device->earlier ? QDQ_REFERENCE_EARLIER : QDQ_REFERENCE);
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
