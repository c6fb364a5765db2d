/* The handles' insides. */
#ifndef QDQ_API_DEVICE_H
#define QDQ_API_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "backends/backend.h"

struct qdq_device {
    const qdq_backend *backend;
    void *state;
    uint32_t index;
    _Atomic int64_t references; /* handles, buffers and encoders */
};

/* Memory that a buffer and its slices share. */
typedef struct qdq_storage {
    qdq_device *device;
    void *memory;
    _Atomic int64_t references;
} qdq_storage;

struct qdq_buffer {
    qdq_storage *storage;
    qdq_dtype dtype;
    uint64_t offset; /* bytes into the storage */
    uint64_t count;  /* elements */
    uint64_t row;    /* the last extent */
};

/* Can the device fill buffers from a reader, which it calls from several threads at once? */
bool qdq_device_fills(const qdq_device *device);
/* As qdq_buffer_write, of what read brings. The device must fill. Its errors, or read's. */
qdq_status qdq_buffer_fill(qdq_buffer *buffer, uint64_t offset, uint64_t bytes, qdq_reader *read, void *context);

void qdq_device_retain(qdq_device *device);
void qdq_storage_retain(qdq_storage *storage);
void qdq_storage_release(qdq_storage *storage);

#endif
