/* Copies between host memory and the device. Small ones are the driver's business. Large ones to and from ordinary
 * memory go through pinned pieces: several threads copy between them and the host's memory while the device moves
 * others. Kernels run meanwhile. A write returns when the last piece is on its way, so that the next one's first pieces
 * fill while it moves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "backends/cuda/cuda_device.h"
#include "base/error.h"

enum {
    PIECE = 2 << 20,
    MOST_THREADS = 12,
    MOST_SLOTS = 2 * MOST_THREADS,
    SMALL = 1 << 18 /* bytes from which staging pays */
};

typedef struct slot {
    unsigned char *bytes; /* PIECE of them */
    CUevent done;         /* the device's use of it */
    struct slot *next;
} slot;

struct qdq_cuda_staging {
    qdq_pool *pool;
    qdq_mutex mutex;
    unsigned char *bytes; /* of all slots, pinned */
    slot slots[MOST_SLOTS];
    slot *first, **last; /* those free to take, the longest in use by the device first */
};

static void free_staging(const qdq_cuda_driver *cuda, qdq_cuda_staging *staging) {
    if (!staging) return;
    for (int i = 0; i < MOST_SLOTS; i++)
        if (staging->slots[i].done) cuda->event_destroy(staging->slots[i].done);
    if (staging->bytes) cuda->host_free(staging->bytes);
    if (staging->pool) qdq_pool_free(staging->pool);
    qdq_mutex_destroy(&staging->mutex);
    free(staging);
}

void qdq_cuda_free_staging(qdq_cuda_device *device) { free_staging(device->cuda, device->staging); }

static void give(qdq_cuda_staging *staging, slot *s) {
    qdq_mutex_lock(&staging->mutex);
    s->next = NULL;
    *staging->last = s;
    staging->last = &s->next;
    qdq_mutex_unlock(&staging->mutex);
}

/* There are two slots a thread, so one is always free. */
static slot *take(qdq_cuda_staging *staging) {
    qdq_mutex_lock(&staging->mutex);
    slot *s = staging->first;
    staging->first = s->next;
    if (!staging->first) staging->last = &staging->first;
    qdq_mutex_unlock(&staging->mutex);
    return s;
}

typedef struct staging_wish {
    const qdq_cuda_driver *cuda;
    qdq_cuda_staging *staging;
    qdq_status status;
} staging_wish;

static qdq_status fill_staging(const qdq_cuda_driver *cuda, qdq_cuda_staging *staging) {
    qdq_status status = qdq_pool_create(0, &staging->pool);
    if (status == QDQ_OK && qdq_pool_threads(staging->pool) > MOST_THREADS) {
        qdq_pool_free(staging->pool);
        staging->pool = NULL;
        status = qdq_pool_create(MOST_THREADS, &staging->pool);
    }
    int slots = status == QDQ_OK ? 2 * qdq_pool_threads(staging->pool) : 0;
    CUresult error = slots > 0 ? cuda->host_alloc((void **)&staging->bytes, (size_t)slots * PIECE, 0) : 0;
    for (int i = 0; i < slots && status == QDQ_OK; i++) {
        slot *s = &staging->slots[i];
        s->bytes = staging->bytes + (size_t)i * PIECE;
        if (error == 0) error = cuda->event_create(&s->done, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC);
        if (error != 0) status = qdq_cuda_fail(cuda, error, "pinned memory for copies to a device");
        give(staging, s);
    }
    return status;
}

static void fill_wish(void *context) {
    staging_wish *w = context;
    w->status = fill_staging(w->cuda, w->staging);
}

/* Its threads and its memory are near the device. */
static qdq_status make_staging(const qdq_cuda_device *device, qdq_cuda_staging **out) {
    const qdq_cuda_driver *cuda = device->cuda;
    char name[32] = "";
    qdq_cuda_staging *staging = calloc(1, sizeof *staging);
    if (!staging) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for copies to a device");
    qdq_mutex_init(&staging->mutex);
    staging->last = &staging->first;
    if (cuda->device_pci(name, sizeof name, device->ordinal) != 0) name[0] = '\0';
    staging_wish wish = {.cuda = cuda, .staging = staging};
    qdq_run_near(name, MOST_THREADS, fill_wish, &wish);
    if (wish.status != QDQ_OK) {
        free_staging(cuda, staging);
        return wish.status;
    }
    *out = staging;
    return QDQ_OK;
}

static qdq_status get_staging(qdq_cuda_device *device) {
    qdq_mutex_lock(&device->mutex);
    qdq_status status = device->staging ? QDQ_OK : make_staging(device, &device->staging);
    qdq_mutex_unlock(&device->mutex);
    return status;
}

typedef struct transfer {
    qdq_cuda_device *device;
    CUdeviceptr address;
    const unsigned char *from; /* of a write */
    unsigned char *to;         /* of a read */
    qdq_reader *reader;        /* of a write whose bytes it brings */
    void *context;             /* its */
    uint64_t bytes;
    _Atomic CUresult error;
    qdq_mutex mutex; /* of what the reader said, if it failed */
    qdq_status status;
    char message[512];
} transfer;

static bool writes(const transfer *t) { return t->to == NULL; }

static bool bring(transfer *t, uint64_t at, unsigned char *to, size_t n) {
    if (!t->reader) {
        memcpy(to, t->from + at, n);
        return true;
    }
    qdq_status status = t->reader(t->context, at, to, n);
    if (status == QDQ_OK) return true;
    qdq_mutex_lock(&t->mutex);
    if (t->status == QDQ_OK) snprintf(t->message, sizeof t->message, "%s", qdq_error_message());
    if (t->status == QDQ_OK) t->status = status;
    qdq_mutex_unlock(&t->mutex);
    return false;
}

static void write_piece(void *context, uint64_t i) {
    transfer *t = context;
    qdq_cuda_device *device = t->device;
    const qdq_cuda_driver *cuda = device->cuda;
    uint64_t at = i * PIECE;
    size_t n = t->bytes - at < PIECE ? (size_t)(t->bytes - at) : PIECE;
    CUresult error = cuda->context_push(device->context);
    if (error != 0) {
        t->error = error;
        return;
    }
    slot *s = take(device->staging);
    error = cuda->event_wait(s->done);
    if (error == 0 && bring(t, at, s->bytes, n)) {
        error = cuda->copy_in(t->address + at, s->bytes, n, device->in);
        if (error == 0) error = cuda->event_record(s->done, device->in);
    }
    if (error != 0) t->error = error;
    give(device->staging, s);
    qdq_cuda_leave(device);
}

static void read_piece(void *context, uint64_t i) {
    transfer *t = context;
    qdq_cuda_device *device = t->device;
    const qdq_cuda_driver *cuda = device->cuda;
    uint64_t at = i * PIECE;
    size_t n = t->bytes - at < PIECE ? (size_t)(t->bytes - at) : PIECE;
    CUresult error = cuda->context_push(device->context);
    if (error != 0) {
        t->error = error;
        return;
    }
    slot *s = take(device->staging);
    error = cuda->event_wait(s->done);
    if (error == 0) error = cuda->copy_out(s->bytes, t->address + at, n, device->out);
    if (error == 0) error = cuda->event_record(s->done, device->out);
    if (error == 0) error = cuda->event_wait(s->done);
    if (error == 0) memcpy(t->to + at, s->bytes, n);
    if (error != 0) t->error = error;
    give(device->staging, s);
    qdq_cuda_leave(device);
}

/* Memory that the device reads and writes itself: pinned by the caller. */
static bool is_pinned(const qdq_cuda_device *device, const void *host) {
    int ordinal;
    return qdq_cuda_pointer_type(device->cuda, (CUdeviceptr)(uintptr_t)host, &ordinal) == CU_MEMORYTYPE_HOST;
}

qdq_status qdq_cuda_after_writes(qdq_cuda_device *device, CUstream stream) {
    if (!device->written) return QDQ_OK;
    CUresult error = device->cuda->event_record(device->written, device->in);
    if (error == 0) error = device->cuda->stream_wait_event(stream, device->written, 0);
    return error == 0 ? QDQ_OK : qdq_cuda_fail(device->cuda, error, "a copy to a CUDA device");
}

/* later: the copy may still be under way at return, the host's memory having been read. */
static qdq_status run(qdq_cuda_device *device, transfer *t, bool later) {
    const qdq_cuda_driver *cuda = device->cuda;
    qdq_status status = qdq_cuda_enter(device);
    if (status != QDQ_OK) return status;
    CUstream stream = writes(t) ? device->in : device->out;
    CUresult error = 0;
    if (!writes(t)) {
        qdq_mutex_lock(&device->mutex);
        status = qdq_cuda_after_writes(device, stream);
        qdq_mutex_unlock(&device->mutex);
    }
    bool staged = t->reader || (t->bytes >= SMALL && !is_pinned(device, t->from ? t->from : t->to));
    if (status == QDQ_OK && staged) status = get_staging(device);
    if (status == QDQ_OK && staged) {
        qdq_pool_run(device->staging->pool, (t->bytes + PIECE - 1) / PIECE, writes(t) ? write_piece : read_piece, t);
        error = t->error;
    } else if (status == QDQ_OK) {
        error = t->from ? cuda->copy_in(t->address, t->from, (size_t)t->bytes, stream)
                        : cuda->copy_out(t->to, t->address, (size_t)t->bytes, stream);
    }
    if (!staged || !later || error != 0) {
        CUresult waited = cuda->stream_wait(stream);
        if (error == 0) error = waited;
    }
    if (status == QDQ_OK && t->status != QDQ_OK) status = qdq_fail(t->status, "%s", t->message);
    if (status == QDQ_OK && error != 0)
        status = qdq_cuda_fail(cuda, error, writes(t) ? "a copy to a CUDA device" : "a copy from a CUDA device");
    qdq_cuda_leave(device);
    return status;
}

/* Memory that only this backend reads needs no wait: its reads, and the operations', come after the copy. */
qdq_status qdq_cuda_write(void *state, void *memory, uint64_t offset, const void *from, uint64_t bytes) {
    qdq_cuda_device *device = state;
    const qdq_cuda_memory *m = memory;
    transfer t = {.device = device, .address = m->address + offset, .from = from, .bytes = bytes};
    return run(device, &t, m->owned && device->written);
}

qdq_status qdq_cuda_fill(void *state, void *memory, uint64_t offset, uint64_t bytes, qdq_reader *read, void *context) {
    qdq_cuda_device *device = state;
    const qdq_cuda_memory *m = memory;
    transfer t = {.device = device, .address = m->address + offset, .reader = read, .context = context, .bytes = bytes};
    qdq_mutex_init(&t.mutex);
    qdq_status status = run(device, &t, m->owned && device->written);
    qdq_mutex_destroy(&t.mutex);
    return status;
}

qdq_status qdq_cuda_read(void *device, void *memory, uint64_t offset, void *to, uint64_t bytes) {
    transfer t = {.device = device, .address = ((qdq_cuda_memory *)memory)->address + offset, .to = to, .bytes = bytes};
    return run(device, &t, false);
}
