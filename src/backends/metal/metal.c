/* The Metal backend's table: devices and memory, which the host and the device share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/metal/metal_device.h"
#include "backends/quick_proof.h"
#include "base/error.h"

static uint32_t count(void) {
    const qdq_objc *objc = qdq_objc_get(NULL);
    return objc ? objc->n_devices : 0;
}

static bool recommended(uint32_t index) { return qdq_backend_proved(&qdq_metal_backend, index); }

static void describe(uint32_t index, qdq_device_info *info) {
    const char *why;
    const qdq_objc *objc = qdq_objc_get(&why);
    snprintf(info->name, sizeof info->name, "metal");
    if (!objc || index >= objc->n_devices) {
        snprintf(info->description, sizeof info->description, "%s", objc ? "no such device" : why);
        return;
    }
    void *pool = objc->push();
    objc_id device = objc->devices[index];
    bool unified = SEND(objc, objc_bool, (objc_id, objc_sel))(device, objc->selectors.has_unified_memory);
    snprintf(info->name, sizeof info->name, "metal:%u", (unsigned)index);
    snprintf(info->description, sizeof info->description, "%.100s%s",
             qdq_objc_text(objc, qdq_objc_ask(objc, device, objc->selectors.name)), unified ? ", unified memory" : "");
    snprintf(info->driver, sizeof info->driver, "Metal");
    info->memory = SEND(objc, uint64_t, (objc_id, objc_sel))(device, objc->selectors.working_set);
    info->shared = unified;
    info->available = 1;
    objc->pop(pool);
}

static void describe_open(const void *device, qdq_device_info *info) {
    describe(((const qdq_metal_device *)device)->index, info);
}

void qdq_metal_release(const qdq_metal_device *device, objc_id object) {
    qdq_objc_tell(device->objc, object, device->objc->selectors.release);
}

static void close_device(void *state) {
    qdq_metal_device *device = state;
    void *pool = device->objc->push();
    qdq_metal_unload(device);
    for (int i = 0; i < 2; i++) qdq_metal_release(device, device->scratch[i]);
    qdq_metal_release(device, device->row_sums);
    qdq_metal_release(device, device->queue);
    device->objc->pop(pool);
    if (device->pool) qdq_pool_free(device->pool);
    qdq_mutex_destroy(&device->mutex);
    free(device);
}

static qdq_status open_device(uint32_t index, int threads, void **state) {
    (void)threads;
    const qdq_objc *objc = qdq_objc_get(NULL);
    qdq_metal_device *device = calloc(1, sizeof *device);
    if (!device) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    device->objc = objc;
    device->index = index;
    device->device = objc->devices[index];
    qdq_mutex_init(&device->mutex);
    device->formats = calloc(qdq_format_count(), sizeof *device->formats);
    void *pool = objc->push();
    device->queue = qdq_objc_ask(objc, device->device, objc->selectors.new_queue);
    objc->pop(pool);
    qdq_status status = QDQ_OK;
    if (!device->formats) status = qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a device");
    if (!device->queue) status = qdq_fail(QDQ_DEVICE_ERROR, "device 'metal:%u' gives no queue", (unsigned)index);
    if (status != QDQ_OK)
        close_device(device);
    else
        *state = device;
    return status;
}

qdq_status qdq_metal_new_buffer(const qdq_metal_device *device, uint64_t bytes, objc_id *buffer) {
    const qdq_objc *objc = device->objc;
    uint64_t most = qdq_objc_number(objc, device->device, objc->selectors.max_buffer_length);
    *buffer = NULL;
    if (bytes <= most)
        *buffer = SEND(objc, objc_id, (objc_id, objc_sel, ns_uint, ns_uint))(
            device->device, objc->selectors.buffer_of_length, (ns_uint)bytes, MTL_STORAGE_SHARED);
    if (*buffer) return QDQ_OK;
    return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a Metal buffer of %llu bytes; the device takes %llu at most",
                    (unsigned long long)bytes, (unsigned long long)most);
}

/* Takes the buffer over. */
static qdq_status make_memory(const qdq_metal_device *device, objc_id buffer, void **out) {
    qdq_metal_memory *memory = calloc(1, sizeof *memory);
    if (!memory) {
        qdq_metal_release(device, buffer);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a buffer");
    }
    memory->buffer = buffer;
    memory->bytes = (unsigned char *)qdq_objc_ask(device->objc, buffer, device->objc->selectors.contents);
    *out = memory;
    return QDQ_OK;
}

/* Metal clears new buffers. */
static qdq_status alloc_memory(void *state, uint64_t bytes, void **memory) {
    const qdq_metal_device *device = state;
    void *pool = device->objc->push();
    objc_id buffer;
    qdq_status status = qdq_metal_new_buffer(device, bytes, &buffer);
    if (status == QDQ_OK) status = make_memory(device, buffer, memory);
    device->objc->pop(pool);
    return status;
}

#if defined(__aarch64__) || defined(__arm64__)
enum { PAGE = 16 << 10 };
#else
enum { PAGE = 4 << 10 };
#endif

/* Whole pages: bytes of the last one past the caller's are mapped too, and nobody touches them. */
static qdq_status wrap_memory(void *state, void *given, uint64_t bytes, void **memory) {
    const qdq_metal_device *device = state;
    const qdq_objc *objc = device->objc;
    uint64_t pages = bytes / PAGE + (bytes % PAGE != 0);
    if ((uintptr_t)given % PAGE != 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "qdq_buffer_wrap: %p does not begin a page of %d bytes, as Metal wants it; create a buffer and "
                        "write to it",
                        given, PAGE);
    void *pool = objc->push();
    objc_id buffer = SEND(objc, objc_id, (objc_id, objc_sel, void *, ns_uint, ns_uint, objc_id))(
        device->device, objc->selectors.buffer_of_pages, given, (ns_uint)(pages * PAGE), MTL_STORAGE_SHARED, NULL);
    qdq_status status = QDQ_OK;
    if (buffer)
        status = make_memory(device, buffer, memory);
    else
        status =
            qdq_fail(QDQ_UNSUPPORTED,
                     "qdq_buffer_wrap: Metal does not take these %llu bytes as a buffer; create one and write to it",
                     (unsigned long long)bytes);
    objc->pop(pool);
    return status;
}

static void free_memory(void *state, void *memory) {
    const qdq_metal_device *device = state;
    qdq_metal_memory *m = memory;
    void *pool = device->objc->push();
    qdq_metal_release(device, m->buffer);
    device->objc->pop(pool);
    free(m);
}

static void *host_memory(void *memory) { return ((qdq_metal_memory *)memory)->bytes; }
static uint64_t address(const void *memory) { return (uintptr_t)((const qdq_metal_memory *)memory)->bytes; }

static qdq_status write_memory(void *state, void *memory, uint64_t offset, const void *from, uint64_t bytes) {
    (void)state;
    memcpy(((qdq_metal_memory *)memory)->bytes + offset, from, (size_t)bytes);
    return QDQ_OK;
}

static qdq_status read_memory(void *state, void *memory, uint64_t offset, void *to, uint64_t bytes) {
    (void)state;
    memcpy(to, ((qdq_metal_memory *)memory)->bytes + offset, (size_t)bytes);
    return QDQ_OK;
}

const qdq_backend qdq_metal_backend = {.name = "metal",
                                       .count = count,
                                       .recommended = recommended,
                                       .describe = describe,
                                       .open = open_device,
                                       .close = close_device,
                                       .describe_open = describe_open,
                                       .alloc = alloc_memory,
                                       .wrap = wrap_memory,
                                       .free = free_memory,
                                       .host = host_memory,
                                       .address = address,
                                       .write = write_memory,
                                       .read = read_memory,
                                       .fill = qdq_metal_fill,
                                       .build = qdq_metal_build,
                                       .submit = qdq_metal_submit,
                                       .wait = qdq_metal_wait,
                                       .is_done = qdq_metal_is_done,
                                       .time_ops = qdq_metal_time_ops,
                                       .time_copy = qdq_metal_time_copy,
                                       .dialect = qdq_metal_dialect};
