/* What a reader brings goes straight into memory that the device sees, by several threads at once. */
#include <stdio.h>

#include "backends/metal/metal_device.h"
#include "base/error.h"

enum { PIECE = 2 << 20 };

typedef struct filling {
    unsigned char *to;
    uint64_t bytes;
    qdq_reader *read;
    void *context;
    qdq_mutex mutex; /* of what the first reader said that failed */
    qdq_status status;
    char message[1024];
} filling;

static void fill_piece(void *context, uint64_t i) {
    filling *f = context;
    uint64_t at = i * PIECE, n = f->bytes - at < PIECE ? f->bytes - at : PIECE;
    qdq_status status = f->read(f->context, at, f->to + at, (size_t)n);
    if (status == QDQ_OK) return;
    qdq_mutex_lock(&f->mutex);
    if (f->status == QDQ_OK) {
        f->status = status;
        snprintf(f->message, sizeof f->message, "%s", qdq_error_message());
    }
    qdq_mutex_unlock(&f->mutex);
}

static qdq_status need_pool(qdq_metal_device *device) {
    qdq_mutex_lock(&device->mutex);
    qdq_status status = device->pool ? QDQ_OK : qdq_pool_create(0, &device->pool);
    qdq_mutex_unlock(&device->mutex);
    return status;
}

qdq_status qdq_metal_fill(void *state, void *memory, uint64_t offset, uint64_t bytes, qdq_reader *read, void *context) {
    qdq_metal_device *device = state;
    filling f = {.to = ((qdq_metal_memory *)memory)->bytes + offset, .bytes = bytes, .read = read, .context = context};
    qdq_status status = need_pool(device);
    if (status != QDQ_OK) return status;
    qdq_mutex_init(&f.mutex);
    qdq_pool_run(device->pool, (bytes + PIECE - 1) / PIECE, fill_piece, &f);
    qdq_mutex_destroy(&f.mutex);
    return f.status == QDQ_OK ? QDQ_OK : qdq_fail(f.status, "%s", f.message);
}
