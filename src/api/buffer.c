#include <stdlib.h>

#include "api/device.h"
#include "base/error.h"
#include "base/shared.h"

void qdq_storage_retain(qdq_storage *storage) { atomic_fetch_add(&storage->references, 1); }

void qdq_storage_release(qdq_storage *storage) {
    if (atomic_fetch_sub(&storage->references, 1) != 1) return;
    storage->device->backend->free(storage->device->state, storage->memory);
    if (storage->release) storage->release(storage->context);
    qdq_device_release(storage->device);
    free(storage);
}

/* Elements and bytes of a shape, checked. */
static qdq_status measure(const char *call, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape, uint64_t *count,
                          uint64_t *bytes) {
    if (qdq_dtype_size(dtype) == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no such dtype: %d", call, (int)dtype);
    if (n_dims < 1 || n_dims > 8 || !shape)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: %u dimensions; from 1 to 8 are allowed", call, (unsigned)n_dims);
    *count = 1;
    for (uint32_t d = 0; d < n_dims; d++) {
        if (shape[d] == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: extent %u of the shape is 0", call, (unsigned)d);
        if (__builtin_mul_overflow(*count, shape[d], count))
            return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: the shape has more than 2^64 elements", call);
    }
    if (__builtin_mul_overflow(*count, (uint64_t)qdq_dtype_size(dtype), bytes))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: the shape has more than 2^64 bytes", call);
    return QDQ_OK;
}

/* Makes the handles around memory of the device's own, or the caller's. */
static qdq_status create(const char *call, qdq_device *device, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape,
                         void *owned_by_caller, uint64_t available, qdq_buffer **out) {
    if (out) *out = NULL;
    if (!device || !out) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: a NULL", call);
    uint64_t count = 0, bytes = 0;
    qdq_status status = measure(call, dtype, n_dims, shape, &count, &bytes);
    if (status != QDQ_OK) return status;
    if (owned_by_caller && available < bytes)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: %llu bytes of memory; the shape needs %llu", call,
                        (unsigned long long)available, (unsigned long long)bytes);
    qdq_buffer *buffer = calloc(1, sizeof *buffer);
    qdq_storage *storage = calloc(1, sizeof *storage);
    if (!buffer || !storage) {
        free(buffer);
        free(storage);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: no memory for a buffer", call);
    }
    status = owned_by_caller ? device->backend->wrap(device->state, owned_by_caller, bytes, &storage->memory)
                             : device->backend->alloc(device->state, bytes, &storage->memory);
    if (status != QDQ_OK) {
        free(buffer);
        free(storage);
        return status;
    }
    qdq_device_retain(device);
    storage->device = device;
    storage->wrapped = owned_by_caller != NULL;
    atomic_init(&storage->references, 1);
    *buffer = (qdq_buffer){.storage = storage, .dtype = dtype, .count = count, .row = shape[n_dims - 1]};
    *out = buffer;
    return QDQ_OK;
}

qdq_status qdq_buffer_create(qdq_device *device, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape,
                             qdq_buffer **buffer) {
    return create("qdq_buffer_create", device, dtype, n_dims, shape, NULL, 0, buffer);
}

static qdq_status wrap(const char *call, qdq_device *device, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape,
                       void *memory, uint64_t bytes, qdq_buffer **buffer) {
    if (buffer) *buffer = NULL;
    if (!memory) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: no memory given", call);
    return create(call, device, dtype, n_dims, shape, memory, bytes, buffer);
}

qdq_status qdq_buffer_wrap(qdq_device *device, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape, void *memory,
                           uint64_t bytes, qdq_buffer **buffer) {
    return wrap("qdq_buffer_wrap", device, dtype, n_dims, shape, memory, bytes, buffer);
}

qdq_status qdq_buffer_wrap_const(qdq_device *device, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape,
                                 const void *memory, uint64_t bytes, qdq_buffer **buffer) {
    /* Nothing writes to read-only storages. */
    void *readable = (void *)(uintptr_t)memory;
    qdq_status status = wrap("qdq_buffer_wrap_const", device, dtype, n_dims, shape, readable, bytes, buffer);
    if (status == QDQ_OK) (*buffer)->storage->read_only = true;
    return status;
}

qdq_status qdq_buffer_on_release(qdq_buffer *buffer, void (*release)(void *context), void *context) {
    if (!buffer || !release) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_on_release: a NULL");
    qdq_storage *storage = buffer->storage;
    if (!storage->wrapped)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_on_release: the buffer's memory is the device's own");
    if (storage->release)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_on_release: the buffer's memory has a release call already");
    storage->release = release;
    storage->context = context;
    return QDQ_OK;
}

qdq_status qdq_buffer_slice(qdq_buffer *buffer, uint64_t first, uint64_t count, qdq_buffer **out) {
    if (out) *out = NULL;
    if (!buffer || !out) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_slice: a NULL");
    if (count == 0 || first > buffer->count || count > buffer->count - first)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_slice: %llu elements from %llu of a buffer of %llu",
                        (unsigned long long)count, (unsigned long long)first, (unsigned long long)buffer->count);
    if (buffer->pitch)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_slice: the buffer's rows do not lie side by side");
    qdq_buffer *slice = calloc(1, sizeof *slice);
    if (!slice) return qdq_fail(QDQ_OUT_OF_MEMORY, "qdq_buffer_slice: no memory");
    *slice = *buffer;
    slice->offset += first * qdq_dtype_size(buffer->dtype);
    slice->count = slice->row = count;
    qdq_storage_retain(slice->storage);
    *out = slice;
    return QDQ_OK;
}

qdq_status qdq_buffer_rows(qdq_buffer *buffer, uint64_t first, uint64_t rows, uint64_t columns, uint64_t pitch,
                           qdq_buffer **out) {
    if (out) *out = NULL;
    if (!buffer || !out) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_rows: a NULL");
    if (buffer->pitch)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_rows: the buffer is rows itself; take rows of what it is of");
    if (buffer->dtype == QDQ_U8)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_rows: packed blocks lie side by side");
    uint64_t last;
    if (rows == 0 || columns == 0 || pitch < columns || __builtin_mul_overflow(rows - 1, pitch, &last) ||
        first > buffer->count || last > buffer->count - first || columns > buffer->count - first - last)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "qdq_buffer_rows: %llu rows of %llu elements, one every %llu, from element %llu of a buffer of "
                        "%llu",
                        (unsigned long long)rows, (unsigned long long)columns, (unsigned long long)pitch,
                        (unsigned long long)first, (unsigned long long)buffer->count);
    qdq_status status = qdq_buffer_slice(buffer, first, last + columns, out);
    if (status != QDQ_OK) return status;
    (*out)->count = rows * columns;
    (*out)->row = columns;
    (*out)->pitch = pitch == columns || rows == 1 ? 0 : pitch;
    return QDQ_OK;
}

void qdq_buffer_free(qdq_buffer *buffer) {
    if (!buffer) return;
    qdq_storage_release(buffer->storage);
    free(buffer);
}

qdq_dtype qdq_buffer_dtype(const qdq_buffer *buffer) { return buffer ? buffer->dtype : (qdq_dtype)-1; }
uint64_t qdq_buffer_count(const qdq_buffer *buffer) { return buffer ? buffer->count : 0; }
uint64_t qdq_buffer_bytes(const qdq_buffer *buffer) {
    return buffer ? buffer->count * qdq_dtype_size(buffer->dtype) : 0;
}

uint64_t qdq_buffer_extent(const qdq_buffer *buffer) {
    uint64_t gaps = buffer->pitch ? (buffer->count / buffer->row - 1) * (buffer->pitch - buffer->row) : 0;
    return (buffer->count + gaps) * qdq_dtype_size(buffer->dtype);
}

void *qdq_buffer_host(qdq_buffer *buffer) {
    unsigned char *base = buffer ? buffer->storage->device->backend->host(buffer->storage->memory) : NULL;
    return base ? base + buffer->offset : NULL;
}

static qdq_status check_range(const char *call, const qdq_buffer *buffer, uint64_t offset, const void *host,
                              uint64_t bytes) {
    if (!buffer || (!host && bytes > 0)) return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: a NULL", call);
    if (buffer->pitch)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: the buffer's rows do not lie side by side; copy what they are of",
                        call);
    uint64_t size = qdq_buffer_bytes(buffer);
    if (offset > size || bytes > size - offset)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: %llu bytes at offset %llu of a buffer of %llu", call,
                        (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)size);
    return QDQ_OK;
}

qdq_status qdq_buffer_write(qdq_buffer *buffer, uint64_t offset, const void *from, uint64_t bytes) {
    qdq_status status = check_range("qdq_buffer_write", buffer, offset, from, bytes);
    if (status != QDQ_OK || bytes == 0) return status;
    if (buffer->storage->read_only)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_buffer_write: the buffer's memory is read-only");
    qdq_device *device = buffer->storage->device;
    return device->backend->write(device->state, buffer->storage->memory, buffer->offset + offset, from, bytes);
}

qdq_status qdq_buffer_read(qdq_buffer *buffer, uint64_t offset, void *to, uint64_t bytes) {
    qdq_status status = check_range("qdq_buffer_read", buffer, offset, to, bytes);
    if (status != QDQ_OK || bytes == 0) return status;
    qdq_device *device = buffer->storage->device;
    return device->backend->read(device->state, buffer->storage->memory, buffer->offset + offset, to, bytes);
}

QDQ_SHARED bool qdq_device_fills(const qdq_device *device) { return device->backend->fill != NULL; }

QDQ_SHARED qdq_status qdq_buffer_fill(qdq_buffer *buffer, uint64_t offset, uint64_t bytes, qdq_reader *read,
                                      void *context) {
    qdq_status status = check_range("qdq_buffer_fill", buffer, offset, buffer, bytes);
    if (status != QDQ_OK || bytes == 0) return status;
    qdq_device *device = buffer->storage->device;
    return device->backend->fill(device->state, buffer->storage->memory, buffer->offset + offset, bytes, read, context);
}
